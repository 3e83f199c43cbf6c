//! What both sides say when it does not work (RFC 7296 §2.21).

use crate::common::{A, B, Pair, connection, ike_proposal, net};
use policy::{IdPattern, Identity};
use sa::{Event, Fate, Refusal, RefusalKind, Reply};
use std::sync::Arc;
use std::time::Duration;
use wire::num::KeMethod;

fn refused(pair: &Pair) -> &Refusal {
    match &pair.a.replies[..] {
        [(_, Reply::Refused(refusal))] => refusal,
        other => panic!("{other:?}"),
    }
}

fn errors_on_the_wire(pair: &Pair) -> Vec<String> {
    let sent = pair.b.events.iter().filter_map(|event| match event {
        Event::Message(m) if m.sent => Some(m.payloads.clone()),
        _ => None,
    });
    sent.collect()
}

//= rfc7296 §2.21.2
#[test]
fn a_wrong_psk_is_told_on_both_sides_and_not_on_the_wire() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.a.psk = b"another one".to_vec();
    pair.up();
    pair.settle();
    assert_eq!(refused(&pair).kind, RefusalKind::AuthenticationFailed);
    assert!(refused(&pair).by_peer && refused(&pair).reason.contains("host1.example"));
    assert!(pair.b.refusals()[0].contains("host1.example"));
    assert_eq!(errors_on_the_wire(&pair).last().unwrap(), "N(AUTHENTICATION_FAILED)");
    pair.pass(Duration::from_secs(30));
    assert!(pair.a.endpoint.is_empty() && pair.b.endpoint.is_empty());
}

//= rfc7296 §2.21.2
#[test]
fn an_initiator_that_does_not_believe_the_responder_says_so() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.up();
    pair.step();
    pair.step();
    pair.a.psk = b"changed meanwhile".to_vec();
    pair.settle();
    assert_eq!(refused(&pair).kind, RefusalKind::AuthenticationFailed);
    assert!(!refused(&pair).by_peer);
    let ended = |e: &Event| matches!(e, Event::IkeDown(_, Fate::Refused(r)) if r.by_peer);
    assert_eq!(pair.b.count(ended), 1);
    assert!(pair.b.sad.is_empty());
    pair.pass(Duration::from_secs(30));
    assert!(pair.a.endpoint.is_empty() && pair.b.endpoint.is_empty());
}

#[test]
fn an_unknown_identity_names_the_nearest_connection() {
    let mut b = connection(B, A);
    b.remote.id = IdPattern::Is(Identity::Fqdn("somebody.else".to_string()));
    let mut pair = Pair::new(connection(A, B), b);
    pair.up();
    pair.settle();
    assert_eq!(refused(&pair).kind, RefusalKind::AuthenticationFailed);
    let told = &pair.b.refusals()[0];
    assert!(
        told.contains("host1.example") && told.contains("somebody.else") && told.contains("net"),
        "{told}"
    );
}

#[test]
fn no_common_proposal_is_explained_by_the_responder() {
    let mut b = connection(B, A);
    b.proposals = vec![ike_proposal(&[KeMethod::ECP_384])];
    let mut pair = Pair::new(connection(A, B), b);
    pair.up();
    pair.settle();
    let told = &pair.b.refusals()[0];
    assert!(told.contains("x25519") && told.contains("ecp384"), "{told}");
    assert_eq!(pair.b.endpoint.len(), 0);
    pair.pass(Duration::from_secs(5));
    assert_eq!(refused(&pair).kind, RefusalKind::NoProposalChosen);
    assert!(pair.a.endpoint.is_empty());
}

//= rfc7296 §2.9
#[test]
fn disjoint_selectors_cost_the_child_and_not_the_ike_sa() {
    let mut b = connection(B, A);
    Arc::make_mut(&mut b.children[0]).local_ts = vec![net("192.168.0.0/16")];
    let mut pair = Pair::new(connection(A, B), b);
    pair.up();
    pair.settle();
    match &pair.a.replies[..] {
        [(_, Reply::Up { children, refused, .. })] => {
            assert!(children.is_empty());
            assert_eq!(refused[0].1.kind, RefusalKind::TsUnacceptable);
        }
        other => panic!("{other:?}"),
    }
    let told = &pair.b.refusals()[0];
    assert!(told.contains("10.2.0.0/16") && told.contains("192.168.0.0/16"), "{told}");
    assert_eq!((pair.a.endpoint.len(), pair.b.endpoint.len()), (1, 1));
    assert!(errors_on_the_wire(&pair).last().unwrap().ends_with("N(TS_UNACCEPTABLE)"));
}

#[test]
fn s021_no_common_esp_proposal_costs_the_child_only() {
    let mut b = connection(B, A);
    Arc::make_mut(&mut b.children[0]).esp_proposals[0].encr = vec![(wire::num::Encr::CHACHA20_POLY1305, 0)];
    let mut pair = Pair::new(connection(A, B), b);
    pair.up();
    pair.settle();
    assert!(
        matches!(&pair.a.replies[..], [(_, Reply::Up { refused, .. })] if refused[0].1.kind == RefusalKind::NoProposalChosen)
    );
    assert!(pair.b.refusals()[0].contains("chacha20poly1305"), "{:?}", pair.b.refusals());
}

#[test]
fn a_peer_that_never_answers_is_told_with_what_to_check() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.lose = |_| true;
    pair.up();
    pair.pass(Duration::from_secs(300));
    assert_eq!(refused(&pair).kind, RefusalKind::Silent);
    assert!(refused(&pair).reason.contains("firewall"));
    assert_eq!(pair.seen.len(), 7);
    assert!(pair.a.endpoint.is_empty());
}

#[test]
fn a_key_store_that_does_not_answer_ends_the_attempt() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.b.hold_jobs = true;
    pair.up();
    pair.pass(Duration::from_secs(200));
    assert!(pair.b.refusals()[0].contains("in time"), "{:?}", pair.b.refusals());
    assert_eq!(refused(&pair).kind, RefusalKind::AuthenticationFailed);
    // The answer finds nobody.
    pair.b.hold_jobs = false;
    for (id, answer) in pair.b.held_answers() {
        pair.answer_b(id, answer);
    }
    pair.pass(Duration::from_secs(60));
    assert!(pair.a.endpoint.is_empty() && pair.b.endpoint.is_empty());
}

/// A reload may move connections to other places of the file. Whoever is being authenticated just then stays with
/// the connection that was chosen for it, by its name; when that is gone, so is the IKE SA.
#[test]
fn a_reload_in_the_middle_does_not_mix_connections_up() {
    let named = |name: &str| policy::Connection { name: name.to_string(), ..connection(B, A) };
    for (renamed, stands) in [("net", 1), ("other", 0)] {
        let mut pair = Pair::new(connection(A, B), connection(B, A));
        pair.up();
        pair.step();
        // B is half open. Now its first connection is for somebody else.
        let stranger = policy::Connection { remote: connection(A, B).remote, ..named("stranger") };
        let moved = policy::Policy::of([stranger, named(renamed)]);
        let moved = Arc::new(moved);
        let mut secrets = trust::Secrets::new();
        secrets.add_psk(Vec::new(), base::Secret::from(&pair.b.psk[..]));
        pair.b.keeper = Some(trust::Trust::new(moved.clone(), Arc::new(provider::Provider::new()), secrets));
        pair.order_b(sa::Order::Reload(moved));
        pair.settle();
        assert_eq!(pair.b.established(), stands, "{:?}", pair.b.refusals());
        let gone = pair.b.refusals().iter().any(|reason| reason.contains("no longer configured"));
        assert_eq!(gone, stands == 0, "{:?}", pair.b.refusals());
    }
}
