//! Identities, and which connection a peer is for.

use dataplane::{AddressRange, Mode};
use policy::{
    AddressPattern, AuthMethod, Child, ChildLifetime, Claims, Closeness, Configuration, Connection,
    ConnectionId, EncapChoice, EndAction, Ends, Extensions, IdPattern, Identity, IkeLifetime, LocalAuth,
    Policy, RemoteAuth, SendCert, Sides, StartAction, Unique, by_claims, candidates, dn_from_text,
    match_identity, select_child,
};
use std::sync::Arc;
use std::time::Duration;

fn fqdn(name: &str) -> Identity {
    Identity::Fqdn(name.into())
}

fn email(name: &str) -> Identity {
    Identity::Email(name.into())
}

#[test]
fn names_compare_without_case_and_dns_by_value() {
    let exact = |a: Identity, b: Identity| match_identity(&IdPattern::Is(a), &b) == Ok(Closeness::Exact);
    assert!(exact(fqdn("GW.example.org"), fqdn("gw.Example.ORG.")));
    assert!(exact(email("Fred@example.org"), email("Fred@EXAMPLE.org")));
    assert!(!exact(email("fred@example.org"), email("Fred@example.org")));
    assert!(exact(Identity::Ipv4([10, 0, 0, 1].into()), Identity::Ipv4([10, 0, 0, 1].into())));
    assert!(!exact(fqdn("10.0.0.1"), Identity::Ipv4([10, 0, 0, 1].into())));
    let dn = |text| Identity::Dn(dn_from_text(text).unwrap());
    assert!(exact(dn("C=CH, O=Example, CN=gw"), dn("C=ch, O=EXAMPLE, CN=GW")));
    assert!(!exact(dn("C=CH, O=Example, CN=gw"), dn("C=CH, CN=gw, O=Example")));
    assert!(exact(Identity::KeyId(b"x".to_vec()), Identity::KeyId(b"x".to_vec())));
    assert_eq!(match_identity(&IdPattern::Any, &Identity::Null), Ok(Closeness::Any));
}

#[test]
fn wildcards_stand_for_labels_and_mailboxes() {
    let below = IdPattern::FqdnBelow("example.org".into());
    for good in ["gw.example.org", "a.b.Example.org", "gw.example.org."] {
        assert_eq!(match_identity(&below, &fqdn(good)), Ok(Closeness::Wildcard), "{good}");
    }
    for bad in ["example.org", "gwexample.org", ".example.org", "gw.example.org.evil", "é.xample.org", ""] {
        assert!(match_identity(&below, &fqdn(bad)).is_err(), "{bad}");
    }
    let at = IdPattern::EmailAt("example.org".into());
    assert!(match_identity(&at, &email("fred@Example.org")).is_ok());
    assert!(match_identity(&at, &email("@example.org")).is_err());
    assert!(match_identity(&at, &email("fred@sub.example.org")).is_err());
    assert!(match_identity(&at, &fqdn("fred@example.org")).is_err());
}

#[test]
fn a_mismatch_says_both_and_their_kinds() {
    let why =
        match_identity(&IdPattern::Is(fqdn("gw.example.org")), &Identity::KeyId(b"gw.example.org".to_vec()));
    assert_eq!(
        why.unwrap_err(),
        "the identity is `keyid:gw.example.org` (ID_KEY_ID), wanted is `gw.example.org` (ID_FQDN)"
    );
    let long = match_identity(&IdPattern::Is(fqdn("a")), &fqdn(&"x".repeat(60_000))).unwrap_err();
    assert!(long.len() < 400);
}

fn connection(name: &str, remote_addrs: Vec<AddressPattern>, remote_id: IdPattern) -> Arc<Connection> {
    Arc::new(Connection {
        name: name.into(),
        local_addrs: vec![AddressPattern::Any],
        remote_addrs,
        proposals: policy::default_ike(),
        local: LocalAuth {
            method: AuthMethod::Psk,
            id: Some(fqdn(&format!("{name}.gw"))),
            certs: vec![],
            pubkey: None,
        },
        remote: RemoteAuth {
            method: AuthMethod::Psk,
            id: remote_id,
            certs: vec![],
            authorities: vec![],
            pubkeys: Vec::new(),
            revocation: policy::Revocation::default(),
        },
        local2: None,
        remote2: None,
        children: vec![],
        encap: EncapChoice::Auto,
        fragmentation: true,
        fragment_size: 1280,
        send_cert: SendCert::IfAsked,
        send_certreq: true,
        dpd_delay: Duration::ZERO,
        dpd_timeout: Duration::ZERO,
        lifetime: IkeLifetime::default(),
        keyingtries: 0,
        retry_interval: Duration::from_secs(10),
        mobike: true,
        window: 1,
        configuration: Configuration::default(),
        extensions: Extensions::default(),
        unique: Unique::No,
        weak: vec![],
    })
}

fn prefix(text: &str, len: u8) -> AddressPattern {
    AddressPattern::Range(AddressRange::from_prefix(text.parse().unwrap(), len).unwrap())
}

fn three() -> Policy {
    Policy {
        connections: vec![
            connection("roads", vec![AddressPattern::Any], IdPattern::EmailAt("example.org".into())),
            connection(
                "branches",
                vec![prefix("198.51.100.0", 24)],
                IdPattern::FqdnBelow("example.org".into()),
            ),
            connection("office", vec![prefix("198.51.100.7", 32)], IdPattern::Is(fqdn("office.example.org"))),
            connection("any", vec![AddressPattern::Any], IdPattern::Any),
        ],
        ..Policy::default()
    }
}

fn names(policy: &Policy, ids: &[ConnectionId]) -> Vec<String> {
    ids.iter().map(|id| policy.connection(*id).unwrap().name.clone()).collect()
}

#[test]
fn a_concrete_address_comes_before_a_prefix_before_any() {
    let policy = three();
    let local = "192.0.2.1".parse().unwrap();
    let found = candidates(&policy, local, "198.51.100.7".parse().unwrap()).unwrap();
    assert_eq!(names(&policy, &found), ["office", "branches", "roads", "any"]);
    let found = candidates(&policy, local, "203.0.113.1".parse().unwrap()).unwrap();
    assert_eq!(names(&policy, &found), ["roads", "any"]);
    let found = candidates(&policy, "2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()).unwrap();
    assert_eq!(names(&policy, &found), ["roads", "any"]);
}

#[test]
fn without_a_candidate_the_nearest_is_told() {
    let policy = Policy {
        connections: vec![connection("office", vec![prefix("198.51.100.7", 32)], IdPattern::Any)],
        ..Policy::default()
    };
    let why = candidates(&policy, "192.0.2.1".parse().unwrap(), "203.0.113.9".parse().unwrap()).unwrap_err();
    assert_eq!(why.nearest, Some(ConnectionId(0)));
    assert_eq!(
        why.to_string(),
        "No connection is for a peer at 203.0.113.9 that sends to 192.0.2.1; the nearest is `office`, but its \
         `remote_addrs` (198.51.100.7) do not contain 203.0.113.9."
    );
    let why = candidates(&Policy::default(), "192.0.2.1".parse().unwrap(), "203.0.113.9".parse().unwrap());
    assert_eq!(why.unwrap_err().to_string(), "No connection is configured.");
}

#[test]
fn identities_choose_among_the_candidates() {
    let policy = three();
    let all = candidates(&policy, "192.0.2.1".parse().unwrap(), "198.51.100.7".parse().unwrap()).unwrap();
    let claims = |peer, us| Claims { peer, us, method: Some(AuthMethod::Psk), suite: None, rounds: None };
    let (office, fred) = (fqdn("office.example.org"), email("fred@example.org"));
    let found = by_claims(&policy, &all, claims(&office, None)).unwrap();
    assert_eq!(names(&policy, &found), ["office", "branches", "any"]);
    let found = by_claims(&policy, &all, claims(&fred, None)).unwrap();
    assert_eq!(names(&policy, &found), ["roads", "any"]);
    let any = fqdn("ANY.gw");
    let found = by_claims(&policy, &all, claims(&office, Some(&any))).unwrap();
    assert_eq!(names(&policy, &found), ["any"]);
}

#[test]
fn a_refusal_tells_all_that_speaks_against_the_nearest() {
    let policy = three();
    let among = [ConnectionId(1), ConnectionId(2)];
    let (peer, us) = (fqdn("office.example.org"), fqdn("nobody"));
    let proposal = &policy::parse_ike("3des-md5-modp1024").unwrap();
    let suite = policy::choose_ike(
        proposal,
        &policy::ike_offers(proposal),
        policy::IkeKe { sent: None, additional: false },
    )
    .unwrap()
    .suite;
    let method = Some(AuthMethod::Pubkey);
    let claims = Claims { peer: &peer, us: Some(&us), method, suite: Some(&suite), rounds: None };
    let why = by_claims(&policy, &among, claims).unwrap_err();
    assert_eq!(
        why.reason,
        "No connection fits; the nearest is `branches`, but the peer asks for `nobody` and our identity there is \
         `branches.gw`; and the peer authenticates by certificate and pre-shared key is wanted; and its `proposals` do not \
         allow 3des-md5-prfmd5-modp1024, which was negotiated before the peer said who it is."
    );
    let claims = Claims { peer: &us, us: None, method: Some(AuthMethod::Psk), suite: None, rounds: None };
    let why = by_claims(&policy, &among, claims).unwrap_err();
    assert!(
        why.reason.contains("of the peer, the identity is `nobody` (ID_FQDN), wanted is `*.example.org`"),
        "{}",
        why.reason
    );
}

#[test]
fn the_child_that_takes_it_all_wins() {
    let ts = |text: &str, len| {
        vec![dataplane::Selector::addresses(AddressRange::from_prefix(text.parse().unwrap(), len).unwrap())]
    };
    let child = |name: &str, mode, local_ts, remote_ts| {
        Arc::new(Child {
            name: name.into(),
            mode,
            local_ts,
            remote_ts,
            single_pair: false,
            esp_proposals: policy::default_esp(),
            start_action: StartAction::None,
            dpd_action: EndAction::Clear,
            close_action: EndAction::Clear,
            inactivity: Duration::ZERO,
            lifetime: ChildLifetime::default(),
            replay_window: 32,
            interface: None,
        })
    };
    let mut office = Connection::clone(&connection("office", vec![AddressPattern::Any], IdPattern::Any));
    let ends = Ends { local: "192.0.2.1".parse().unwrap(), remote: "192.0.2.2".parse().unwrap() };
    let (local, remote) = (ts("10.1.0.0", 16), ts("10.2.0.0", 16));
    let offered = Sides { local: &local, remote: &remote };
    assert!(select_child(&office, offered, ends, false).unwrap_err().reason.contains("has no children"));
    office.children.push(child("host", Mode::Transport, vec![], vec![]));
    let why = select_child(&office, offered, ends, false).unwrap_err();
    assert!(why.reason.contains("wants transport mode"), "{why}");
    office.children.push(child("part", Mode::Tunnel, ts("10.1.1.0", 24), ts("10.2.0.0", 16)));
    office.children.push(child("all", Mode::Tunnel, ts("10.0.0.0", 8), ts("10.0.0.0", 8)));
    let (index, mode, narrowed) = select_child(&office, offered, ends, false).unwrap();
    assert_eq!((index, mode, narrowed.narrowed), (2, Mode::Tunnel, false));
    let hosts = (ts("192.0.2.1", 32), ts("192.0.2.2", 32));
    let offered = Sides { local: &hosts.0, remote: &hosts.1 };
    let (index, mode, _) = select_child(&office, offered, ends, true).unwrap();
    assert_eq!((index, mode), (0, Mode::Transport));
}
