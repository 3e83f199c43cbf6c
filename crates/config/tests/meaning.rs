//! What files mean.

mod common;

use common::Dir;
use config::{DataplaneChoice, LogFormat, LogLevel};
use dataplane::Mode;
use policy::{
    AddressPattern, AuthMethod, EncapChoice, EndAction, IdPattern, Identity, SendCert, StartAction, Unique,
};
use std::time::Duration;

const PSK: &str = r#"
[connections.office]
remote_addrs = "192.0.2.2"

[connections.office.local]
auth = "psk"
id = "moon.example.org"

[connections.office.remote]
id = "sun.example.org"

[connections.office.children.net]
local_ts = "10.1.0.0/16"
remote_ts = "10.2.0.0/16"

[secrets.ike.office]
id = "sun.example.org"
secret = "a secret of more than sixteen octets"
"#;

#[test]
fn a_short_file_has_all_the_defaults() {
    let dir = Dir::new();
    assert_eq!(dir.warnings(PSK), Vec::<String>::new());
    let config = dir.good(PSK);
    let office = &config.policy.connections[0];
    assert_eq!(office.name, "office");
    assert_eq!(office.local_addrs, [AddressPattern::Any]);
    assert_eq!(office.proposals, policy::default_ike());
    assert_eq!((office.encap, office.fragmentation, office.fragment_size), (EncapChoice::Force, true, 1280));
    assert_eq!((office.send_cert, office.send_certreq, office.unique), (SendCert::Always, true, Unique::No));
    assert_eq!((office.dpd_delay, office.weak.len()), (Duration::from_secs(30), 0));
    assert!(office.mobike);
    assert_eq!((office.local.method, office.remote.method), (AuthMethod::Psk, AuthMethod::Psk));
    let sun = Identity::Fqdn("sun.example.org".into());
    assert_eq!(office.remote.id, IdPattern::Is(sun.clone()));
    let net = &office.children[0];
    assert_eq!((net.mode, net.start_action, net.replay_window), (Mode::Tunnel, StartAction::None, 1024));
    assert_eq!(net.esp_proposals, policy::default_esp());
    assert_eq!(net.local_ts[0].to_string(), "10.1.0.0/16");
    let secret = config.secrets.psk(office.local.id.as_ref().unwrap(), Some(&sun)).unwrap();
    assert_eq!(secret.expose(), b"a secret of more than sixteen octets");
    assert_eq!((config.daemon.port, config.daemon.port_nat_t), (500, 4500));
    assert_eq!(config.daemon.dataplane, DataplaneChoice::Tun);
}

#[test]
fn every_key_is_heeded() {
    let text = r#"
[daemon]
port = 1500
port_nat_t = 14500
dataplane = "none"
interface = "vpn0"
mtu = 1350
raw_esp = false
mark = 8
routing_table = 220
routing_priority = 220
control = "/tmp/handfast.sock"
cookie_threshold = 5
cookie_threshold_ip = 3
puzzle_threshold = 20
puzzle_threshold_ip = 2
puzzle_difficulty = 0
puzzle_limit = 18
init_limit_half_open = 50
block_threshold = 3
half_open_timeout = "10s"
keep_alive = 15
retransmit_timeout = 4.0
retransmit_base = 1.5
retransmit_limit = "30s"
retransmit_tries = 5
log = { level = "debug", format = "json" }

[connections.office]
version = 2
local_addrs = ["192.0.2.1", "2001:db8::1"]
remote_addrs = "sun.example.org, 198.51.100.0/24"
proposals = ["aes256gcm16-prfsha384-x25519", "aes128-sha256-modp1024"]
encap = true
fragmentation = "no"
mobike = "no"
fragment_size = 1400
send_cert = "ifasked"
send_certreq = false
dpd_delay = "0s"
dpd_timeout = "2m"
keyingtries = 3
retry_initiate_interval = "7s"
unique = "replace"

[connections.office.local]
auth = "pubkey"
id = "moon.example.org"
certs = "moon.pem"

[connections.office.remote]
auth = "psk"
id = "*.example.org"

[connections.office.children.host]
mode = "transport"
local_ts = "dynamic"
remote_ts = ["198.51.100.7[tcp/bgp]"]
esp_proposals = "aes128-sha256-modp2048-esn"
start_action = "start"
dpd_action = "restart"
close_action = "trap"
inactivity = "10m"
replay_window = 64
single_pair = true

[connections.office.children.net]
local_ts = ["10.1.0.0/16", "10.0.0.1-10.0.0.9"]
remote_ts = "10.2.0.0/16, 2001:db8:2::/48"

[secrets.ike]
office = { id = ["sun.example.org"], file = "psk" }
[secrets.private.moon]
file = "moon.key"
"#;
    let dir = Dir::with_certificates();
    dir.write_private("psk", "0x000102030405060708090a0b0c0d0e0f\n");
    let config = dir.good(text);
    let daemon = &config.daemon;
    assert_eq!((daemon.port, daemon.port_nat_t, daemon.mtu, daemon.mark), (1500, 14500, 1350, 8));
    assert_eq!(
        (daemon.dataplane, daemon.raw_esp, &*daemon.interface),
        (DataplaneChoice::None, false, "vpn0")
    );
    assert_eq!((daemon.routing_table, daemon.routing_priority), (220, 220));
    assert_eq!(daemon.control.to_str(), Some("/tmp/handfast.sock"));
    assert_eq!((daemon.log.level, daemon.log.format), (LogLevel::Debug, LogFormat::Json));
    let endpoint = &daemon.endpoint;
    assert_eq!((endpoint.cookie_threshold, endpoint.cookie_threshold_ip), (5, 3));
    assert_eq!((endpoint.puzzle_threshold, endpoint.puzzle_threshold_ip), (20, 2));
    assert_eq!((endpoint.puzzle_difficulty, endpoint.puzzle_limit), (0, 18));
    assert_eq!((endpoint.max_half_open, endpoint.block_threshold), (50, 3));
    assert_eq!(
        (endpoint.half_open_timeout, endpoint.keepalive),
        (Duration::from_secs(10), Duration::from_secs(15))
    );
    let backoff = endpoint.backoff;
    assert_eq!((backoff.first, backoff.growth), (Duration::from_secs(4), 150));
    assert_eq!((backoff.longest, backoff.transmissions), (Duration::from_secs(30), 6));

    let office = &config.policy.connections[0];
    let written =
        |patterns: &[AddressPattern]| patterns.iter().map(AddressPattern::to_string).collect::<Vec<_>>();
    assert_eq!(written(&office.local_addrs), ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(written(&office.remote_addrs), ["sun.example.org", "198.51.100.0/24"]);
    assert_eq!(office.proposals[0].to_string(), "aes256gcm16-prfsha384-x25519");
    assert_eq!(office.weak, ["modp1024 (1024-bit group)"]);
    assert_eq!((office.encap, office.fragmentation, office.fragment_size), (EncapChoice::Force, false, 1400));
    assert!(!office.mobike);
    assert_eq!(
        (office.send_cert, office.send_certreq, office.unique),
        (SendCert::IfAsked, false, Unique::Replace)
    );
    assert_eq!(office.dpd_delay, Duration::ZERO);
    assert_eq!((office.dpd_timeout, office.keyingtries), (Duration::from_secs(120), 3));
    assert_eq!(office.retry_interval, Duration::from_secs(7));
    assert_eq!((office.local.method, office.remote.method), (AuthMethod::Pubkey, AuthMethod::Psk));
    assert_eq!(office.local.certs.len(), 1);
    assert_eq!(office.remote.id, IdPattern::FqdnBelow("example.org".into()));
    let [host, net] = &office.children[..] else { panic!("{:?}", office.children) };
    assert!(host.single_pair && !net.single_pair);
    assert_eq!((host.mode, host.start_action, host.replay_window), (Mode::Transport, StartAction::Start, 64));
    assert_eq!((host.dpd_action, host.close_action), (EndAction::Restart, EndAction::Trap));
    assert_eq!(
        (host.local_ts.len(), host.remote_ts[0].to_string().as_str()),
        (0, "198.51.100.7/32[tcp/179]")
    );
    assert_eq!(host.esp_proposals[0].to_string(), "aes128-sha256-modp2048-esn");
    assert_eq!((net.local_ts.len(), net.remote_ts.len()), (2, 2));
    let secret = config
        .secrets
        .psk(office.local.id.as_ref().unwrap(), Some(&Identity::Fqdn("sun.example.org".into())));
    assert_eq!(secret.unwrap().expose().len(), 16);
    assert!(config.secrets.key(&office.local.certs[0]).is_some());
}

#[test]
fn the_certificate_gives_the_identity_and_the_authorities_the_trust() {
    let text = r#"
[connections.b.local]
certs = "moon.der"
[connections.b.children.c]
[connections.a.local]
certs = ["moon.pem", "ca.pem"]
id = "moon.example.org"
[connections.a.remote]
cacerts = "ca.pem"
[connections.a.children.c]
[authorities.root]
cacert = "ca.pem"
[secrets.private.moon]
file = "moon.key"
"#;
    let dir = Dir::with_certificates();
    let config = dir.good(text);
    let [b, a] = &config.policy.connections[..] else { panic!() };
    assert_eq!((&*b.name, &*a.name), ("b", "a"), "the order of the file");
    assert_eq!(b.local.id.as_ref().unwrap().to_string(), "C=CH, O=Handfast Test, CN=moon");
    assert_eq!(b.local.method, AuthMethod::Pubkey);
    assert_eq!(b.remote.authorities, a.remote.authorities);
    assert_eq!((b.remote.authorities.len(), b.remote.id.clone()), (1, IdPattern::Any));
    assert_eq!(a.local.certs.len(), 1, "the root does not travel");
}

#[test]
fn with_a_secret_fixed_addresses_are_the_identities() {
    let text = r#"
[connections.a]
local_addrs = "192.0.2.1"
remote_addrs = "2001:db8::2, 192.0.2.2"
local.auth = "psk"
children.c = {}
[connections.b]
local_addrs = ["192.0.2.1"]
remote_addrs = ["192.0.2.2"]
local = { auth = "psk" }
children.c = {}
[secrets.ike.all]
secret = "0sAAECAwQFBgcICQoLDA0ODw=="
"#;
    let config = Dir::new().good(text);
    let [a, b] = &config.policy.connections[..] else { panic!() };
    assert_eq!(a.local.id, Some(Identity::Ipv4([192, 0, 2, 1].into())));
    assert_eq!(a.remote.id, IdPattern::Any);
    assert_eq!(b.remote.id, IdPattern::Is(Identity::Ipv4([192, 0, 2, 2].into())));
    assert_eq!(config.secrets.psk(&a.local.id.clone().unwrap(), None).unwrap().expose().len(), 16);
}

/// A connection by secret with these lines, and its child with those.
fn lifetimes(lines: &str, child: &str) -> (policy::IkeLifetime, policy::ChildLifetime) {
    let text = format!(
        "[connections.a]\n{lines}\nlocal.auth = \"psk\"\nremote_addrs = \"192.0.2.1\"\n[connections.a.children.c]\n{child}\n\
         [secrets.ike.a]\nsecret = \"a secret of more than sixteen octets\"\n"
    );
    let config = Dir::new().good(&text);
    let connection = &config.policy.connections[0];
    (connection.lifetime, connection.children[0].lifetime)
}

fn seconds(ike: policy::IkeLifetime) -> [u64; 4] {
    [ike.rekey, ike.reauth, ike.over, ike.rand].map(|time| time.as_secs())
}

#[test]
fn lifetimes_that_are_left_out_depend_on_the_others() {
    let (ike, child) = lifetimes("", "");
    assert_eq!((ike, child), (policy::IkeLifetime::default(), policy::ChildLifetime::default()));
    let ike = |lines| seconds(lifetimes(lines, "").0);
    assert_eq!(ike("reauth_time = \"10h\""), [0, 36_000, 3_600, 3_600]);
    assert_eq!(ike("rekey_time = 1000\nreauth_time = 5000"), [1000, 5000, 500, 500]);
    assert_eq!(ike("rekey_time = 0"), [0, 0, 0, 0]);
    assert_eq!(ike("rekey_time = 1000\nover_time = 50\nrand_time = 20"), [1000, 0, 50, 20]);
    let child = |lines| {
        let life = lifetimes("", lines).1;
        [life.rekey, life.life, life.rand].map(|time| time.as_secs())
    };
    assert_eq!(child("rekey_time = 1000"), [1000, 1100, 100]);
    assert_eq!(child("life_time = 1100"), [1000, 1100, 100]);
    assert_eq!(child("rekey_time = 0"), [0, 0, 0]);
    assert_eq!(child("rekey_time = 0\nlife_time = 500"), [0, 500, 0]);
    assert_eq!(child("rekey_time = 1000\nlife_time = 0"), [1000, 0, 0]);
    assert_eq!(child("rekey_time = 100\nlife_time = 1000"), [100, 1000, 100]);
    let volume = |rekey, life, rand| policy::Volume { rekey, life, rand };
    let (_, life) = lifetimes("", "rekey_bytes = \"1g\"\nlife_packets = 1100\nrand_packets = 7");
    assert_eq!(
        (life.bytes, life.packets),
        (volume(1 << 30, (1 << 30) + (1 << 30) / 10, (1 << 30) / 10), volume(1000, 1100, 7))
    );
    let (_, life) = lifetimes("", "rekey_bytes = 1000\nlife_bytes = \"2k\"\nrand_bytes = 0");
    assert_eq!(life.bytes, volume(1000, 2048, 0));
}

#[test]
fn shunts_mean_every_address_of_ours_unless_they_say_which() {
    let shunts = "[shunts.lan]\naction = \"pass\"\nremote_ts = \"10.9.0.0/16, 2001:db8:9::/48\"\n\
                  [shunts.wall]\naction = \"drop\"\nlocal_ts = \"10.1.0.0/16\"\nremote_ts = \"0.0.0.0/0[tcp/25]\"\n\
                  [shunts.six]\naction = \"drop\"\nremote_ts = \"::/0\"\n";
    let config = Dir::new().good(&format!("{PSK}{shunts}"));
    let shown: Vec<String> = config
        .policy
        .shunts
        .iter()
        .map(|shunt| {
            let list =
                |ts: &[dataplane::Selector]| ts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            format!("{} {:?} {} {}", shunt.name, shunt.action, list(&shunt.local_ts), list(&shunt.remote_ts))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "lan Pass 0.0.0.0/0,::/0 10.9.0.0/16,2001:db8:9::/48",
            "wall Drop 10.1.0.0/16 0.0.0.0/0[tcp/25]",
            "six Drop ::/0 ::/0",
        ]
    );
}
