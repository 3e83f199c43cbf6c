//! The keys that there are, and those of swanctl.conf that are not here.

/// A kind of table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    /// Its name in full; `NAME` and `CHILD` stand for what the file chooses.
    pub path: &'static str,
    /// Its keys, without those that are tables of their own.
    pub keys: &'static [&'static str],
    /// Its tables.
    pub tables: &'static [&'static str],
}

/// The file itself.
pub const ROOT: Table = Table {
    path: "",
    keys: &[],
    tables: &["connections", "shunts", "secrets", "authorities", "pools", "daemon"],
};

/// A connection.
pub const CONNECTION: Table = Table {
    path: "connections.NAME",
    keys: &[
        "version",
        "local_addrs",
        "remote_addrs",
        "proposals",
        "encap",
        "fragmentation",
        "fragment_size",
        "window_size",
        "mobike",
        "send_cert",
        "send_certreq",
        "dpd_delay",
        "rekey_time",
        "reauth_time",
        "over_time",
        "rand_time",
        "dpd_timeout",
        "keyingtries",
        "retry_initiate_interval",
        "childless",
        "require_pq",
        "ppk_id",
        "ppk_required",
        "full_transcript_auth",
        "clone_ike_sa",
        "follow_redirects",
        "resumption",
        "redirect_to",
        "redirect_clients",
        "redirect_ids",
        "redirect_above",
        "unique",
        "vips",
        "ipv6_link",
        "pools",
        "split_dns",
        "dnssec_anchors",
    ],
    tables: &["local", "remote", "local2", "remote2", "children"],
};

/// How we authenticate.
pub const LOCAL: Table =
    Table { path: "connections.NAME.local", keys: &["auth", "id", "certs", "pubkeys"], tables: &[] };

/// How the peer authenticates.
pub const REMOTE: Table = Table {
    path: "connections.NAME.remote",
    keys: &["auth", "id", "certs", "cacerts", "pubkeys", "revocation", "crls"],
    tables: &[],
};

/// How we authenticate a second time.
pub const LOCAL2: Table = Table { path: "connections.NAME.local2", ..LOCAL };

/// How the peer authenticates a second time.
pub const REMOTE2: Table = Table { path: "connections.NAME.remote2", ..REMOTE };

/// A child SA.
pub const CHILD: Table = Table {
    path: "connections.NAME.children.CHILD",
    keys: &[
        "local_ts",
        "remote_ts",
        "mode",
        "single_pair",
        "esp_proposals",
        "start_action",
        "rekey_time",
        "life_time",
        "rand_time",
        "rekey_bytes",
        "life_bytes",
        "rand_bytes",
        "rekey_packets",
        "life_packets",
        "rand_packets",
        "dpd_action",
        "close_action",
        "inactivity",
        "replay_window",
        "interface",
        "netns",
    ],
    tables: &[],
};

/// What passes by the tunnels, or is dropped.
pub const SHUNT: Table =
    Table { path: "shunts.NAME", keys: &["action", "local_ts", "remote_ts"], tables: &[] };

/// Secrets of three kinds.
pub const SECRETS: Table = Table { path: "secrets", keys: &[], tables: &["ike", "ppk", "private"] };

/// A pre-shared key.
pub const IKE_SECRET: Table =
    Table { path: "secrets.ike.NAME", keys: &["id", "secret", "file"], tables: &[] };

/// A post-quantum pre-shared key.
pub const PPK_SECRET: Table =
    Table { path: "secrets.ppk.NAME", keys: &["id", "secret", "file"], tables: &[] };

/// A private key.
pub const PRIVATE: Table = Table { path: "secrets.private.NAME", keys: &["file", "secret"], tables: &[] };

/// A trust anchor.
pub const AUTHORITY: Table =
    Table { path: "authorities.NAME", keys: &["cacert", "crls", "crl_uris", "ocsp_uris"], tables: &[] };

/// Addresses for peers.
pub const POOL: Table = Table {
    path: "pools.NAME",
    keys: &[
        "addrs",
        "prefixes",
        "prefix_len",
        "dns",
        "nbns",
        "dhcp",
        "subnet",
        "split_include",
        "dns_domains",
        "dnssec_anchors",
    ],
    tables: &["hosts"],
};

/// Addresses that are one peer's alone.
pub const POOL_HOST: Table = Table { path: "pools.NAME.hosts.HOST", keys: &["id", "addrs"], tables: &[] };

/// The daemon itself.
pub const DAEMON: Table = Table {
    path: "daemon",
    keys: &[
        "port",
        "port_nat_t",
        "dataplane",
        "interface",
        "mtu",
        "raw_esp",
        "mark",
        "routing_table",
        "routing_priority",
        "control",
        "crash_secret",
        "ticket_secret",
        "cookie_threshold",
        "cookie_threshold_ip",
        "puzzle_threshold",
        "puzzle_threshold_ip",
        "puzzle_difficulty",
        "puzzle_limit",
        "init_limit_half_open",
        "block_threshold",
        "half_open_timeout",
        "keep_alive",
        "retransmit_timeout",
        "retransmit_base",
        "retransmit_limit",
        "retransmit_tries",
    ],
    tables: &["log", "resolver"],
};

/// What becomes of name servers that a peer gives us.
pub const RESOLVER: Table = Table { path: "daemon.resolver", keys: &["file", "command"], tables: &[] };

/// The log.
pub const LOG: Table = Table { path: "daemon.log", keys: &["level", "format"], tables: &[] };

/// Every kind of table.
pub const TABLES: &[Table] = &[
    ROOT, CONNECTION, LOCAL, REMOTE, LOCAL2, REMOTE2, CHILD, SHUNT, SECRETS, IKE_SECRET, PPK_SECRET, PRIVATE,
    AUTHORITY, POOL, POOL_HOST, DAEMON, RESOLVER, LOG,
];

/// Keys of swanctl.conf that ask for something that this version does not do: they are refused, since to
/// pass over them would change what people get.
pub(crate) const ABSENT: &[&str] = &[
    "aggressive",
    "pull",
    "dscp",
    "ocsp",
    "if_id_in",
    "if_id_out",
    "mediation",
    "mediated_by",
    "mediation_peer",
    "round",
    "cert_policy",
    "aaa_id",
    "eap_id",
    "xauth_id",
    "ca_id",
    "groups",
    "ah_proposals",
    "sha256_96",
    "updown",
    "hostaccess",
    "policies",
    "policies_fwd_out",
    "ipcomp",
    "reqid",
    "priority",
    "interface",
    "mark_in",
    "mark_in_sa",
    "mark_out",
    "set_mark_in",
    "set_mark_out",
    "tfc_padding",
    "hw_offload",
    "copy_df",
    "copy_ecn",
    "copy_dscp",
    "label",
    "label_mode",
    "local_port",
    "remote_port",
    "handle",
    "slot",
    "module",
    "cert_uri_base",
    "eap",
    "xauth",
    "ntlm",
    "rsa",
    "ecdsa",
    "pkcs8",
    "pkcs12",
    "token",
];
