//! Certificates that must not be trusted, and what the refusal says.

mod common;

use base::WallClock;
use common::*;
use policy::{IdPattern, Identity};
use testcerts::rcgen::{
    BasicConstraints, CidrSubnet, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use testcerts::{Authority, EndEntity, Key};

const PEER: &str = "peer.example.org";

fn root() -> Authority {
    Authority::root(Key::EcdsaP256, "Root")
}

/// What the check says of an end entity below `authority`, with `root` trusted.
fn refused(entity: &EndEntity, root: &Authority) -> String {
    Claim::by(entity, fqdn(PEER)).refused(&checker(trusting(&[root.der()])))
}

fn accepted(entity: &EndEntity, root: &Authority) {
    let outcome = Claim::by(entity, fqdn(PEER)).check(&checker(trusting(&[root.der()])));
    outcome.unwrap_or_else(|why| panic!("{}", why.reason));
}

#[track_caller]
fn says(text: &str, fragments: &[&str]) {
    for fragment in fragments {
        assert!(text.contains(fragment), "{fragment:?} is not in {text:?}");
    }
}

#[test]
fn validity_is_checked_against_the_wall_clock() {
    let entity = root().issue_with(Key::EcdsaP256, "peer", &[PEER], |params| {
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 6, 30);
    });
    says(
        &refused(&entity, &root()),
        &[
            "CN=peer",
            "issued by",
            "CN=Root",
            "expired on 2026-06-30 00:00:00 UTC",
            "it is 2026-09-21",
            "renew it",
        ],
    );
    let at = |wall| Claim { wall: WallClock(wall), ..Claim::by(&entity, fqdn(PEER)) };
    let verifier = checker(trusting(&[root().der()]));
    says(
        &at(1_700_000_000).refused(&verifier),
        &["not valid before 2026-01-01 00:00:00 UTC", "it is 2023-11-14", "clock"],
    );
    at(1_775_000_000).check(&verifier).unwrap();
    let pinned = Claim::by(&entity, fqdn(PEER)).refused(&checker(pinning(&[entity.der()])));
    says(&pinned, &["expired on 2026-06-30"]);
}

#[test]
fn an_expired_intermediate_is_named() {
    let middle = root()
        .intermediate_with(Key::EcdsaP256, "Middle", |params| params.not_after = date_time_ymd(2026, 1, 1));
    says(
        &refused(&middle.issue(Key::EcdsaP256, "peer", &[PEER]), &root()),
        &["the intermediate", "CN=Middle", "expired on 2026-01-01"],
    );
}

#[test]
fn an_authority_expires() {
    let old =
        Authority::root_with(Key::EcdsaP256, "Root", |params| params.not_after = date_time_ymd(2021, 1, 1));
    let entity = old.issue(Key::EcdsaP256, "peer", &[PEER]);
    says(&refused(&entity, &old), &["the trusted authority", "CN=Root", "expired on 2021-01-01"]);
    // The authority's new certificate has the same name and key: either may be configured, in any order.
    let both = Claim::by(&entity, fqdn(PEER)).check(&checker(trusting(&[old.der(), root().der()])));
    both.unwrap_or_else(|why| panic!("{}", why.reason));
}

#[test]
fn an_unknown_authority_is_named() {
    let other = Authority::root(Key::EcdsaP256, "Other");
    says(
        &refused(&other.issue(Key::EcdsaP256, "peer", &[PEER]), &root()),
        &[
            "CN=peer",
            "leads to \"C=CH, O=Handfast Test, CN=Other\"",
            "not among the trusted authorities \"C=CH, O=Handfast Test, CN=Root\"",
        ],
    );
    let impostor = Authority::root(Key::EcdsaP384, "Root");
    says(
        &refused(&impostor.issue(Key::EcdsaP256, "peer", &[PEER]), &root()),
        &["whose name fits but whose key did not"],
    );
    let nothing = Claim::by(&root().issue(Key::EcdsaP256, "peer", &[PEER]), fqdn(PEER));
    let why = nothing.check(&checker(trusting(&[]))).unwrap_err();
    assert!(why.ours);
    says(&why.reason, &["trusts no authority", "CN=peer", "cacerts"]);
}

#[test]
fn intermediates_come_from_the_peer_or_from_the_configuration() {
    let middle = root().intermediate(Key::EcdsaP384, "Middle").intermediate(Key::Rsa2048, "Lower");
    let entity = middle.issue(Key::Ed25519, "peer", &[PEER]);
    accepted(&entity, &root());
    let mut shuffled = Claim::by(&entity, fqdn(PEER));
    shuffled.certs[1..].reverse();
    shuffled.check(&checker(trusting(&[root().der()]))).unwrap();
    let mut alone = shuffled;
    alone.certs.truncate(1);
    says(
        &alone.refused(&checker(trusting(&[root().der()]))),
        &["leads to", "CN=Lower", "have the peer send the intermediate"],
    );
    alone
        .check(&checker(trusting(&[root().der(), middle.der()])))
        .expect("a configured intermediate is an anchor");
}

/// Limit: `webpki` follows six intermediates.
#[test]
fn a_chain_that_is_too_long_is_refused() {
    let mut authority = root();
    for depth in 1..=8 {
        authority = authority.intermediate(Key::EcdsaP256, &format!("Level {depth}"));
        let entity = authority.issue(Key::EcdsaP256, "peer", &[PEER]);
        match depth {
            ..=6 => accepted(&entity, &root()),
            _ => says(&refused(&entity, &root()), &["too long"]),
        }
    }
}

/// Limit: MAX_PEER_CERTIFICATES.
#[test]
fn no_more_certificates_are_looked_at_than_the_limit() {
    let middle = root().intermediate(Key::EcdsaP256, "Middle");
    let entity = middle.issue(Key::EcdsaP256, "peer", &[PEER]);
    let claim = Claim::by(&entity, fqdn(PEER));
    let noise = root().issue(Key::EcdsaP256, "noise", &[]).der().to_vec();
    let verifier = checker(trusting(&[root().der()]));
    let padded = |count: usize| {
        let mut claim = claim.clone();
        claim.certs.splice(1..1, vec![noise.clone(); count]);
        claim
    };
    padded(trust::limits::MAX_PEER_CERTIFICATES - 1).check(&verifier).unwrap();
    says(&padded(trust::limits::MAX_PEER_CERTIFICATES).refused(&verifier), &["leads to", "CN=Middle"]);
}

#[test]
fn s041_the_identity_must_be_in_the_certificate_by_its_type() {
    let entity =
        root().issue(Key::EcdsaP256, "peer", &[PEER, "192.0.2.1", "2001:db8::1", "peer@example.org"]);
    let verifier = checker(trusting(&[root().der()]));
    let as_who = |id: Identity| Claim { remote: id, ..Claim::by(&entity, fqdn(PEER)) };
    for id in [
        fqdn("PEER.example.ORG"),
        Identity::Ipv4([192, 0, 2, 1].into()),
        Identity::Ipv6("2001:db8::1".parse().unwrap()),
        Identity::Email("peer@example.org".into()),
        dn("C=CH, O=handfast test, CN=peer"),
    ] {
        as_who(id.clone()).check(&verifier).unwrap_or_else(|why| panic!("{id}: {}", why.reason));
    }
    let why = as_who(fqdn("other.example.org")).refused(&verifier);
    says(
        &why,
        &[
            "\"other.example.org\"",
            "a dNSName in the subjectAltName",
            "it is for",
            "CN=peer",
            "192.0.2.1",
            "peer@example.org",
        ],
    );
    says(&as_who(fqdn("peer")).refused(&verifier), &["not for the identity \"peer\""]);
    says(&as_who(fqdn("192.0.2.1")).refused(&verifier), &["not for the identity"]);
    says(&as_who(Identity::Ipv4([192, 0, 2, 2].into())).refused(&verifier), &["an iPAddress"]);
    says(
        &as_who(dn("C=CH, O=Handfast Test, CN=other")).refused(&verifier),
        &["would have to be the subject"],
    );
    says(&as_who(Identity::KeyId(b"peer".to_vec())).refused(&verifier), &["cannot be in a certificate"]);
    says(&as_who(Identity::Null).refused(&verifier), &["cannot be in a certificate"]);
}

#[test]
fn a_wildcard_names_no_gateway() {
    let entity = root().issue(Key::EcdsaP256, "wild", &["*.example.org"]);
    says(&refused(&entity, &root()), &["not for the identity"]);
    let literally = Claim::by(&entity, fqdn("*.example.org")).refused(&checker(trusting(&[root().der()])));
    says(&literally, &["not for the identity"]);
}

#[test]
fn s041_the_identity_must_be_the_one_that_is_wanted() {
    let entity = root().issue(Key::EcdsaP256, "peer", &[PEER]);
    let verifier = checker(trusting(&[root().der()]));
    let wanted = |wanted| Claim { wanted, ..Claim::by(&entity, fqdn(PEER)) };
    wanted(IdPattern::Is(fqdn(PEER))).check(&verifier).unwrap();
    wanted(IdPattern::FqdnBelow("example.org".into())).check(&verifier).unwrap();
    let why = wanted(IdPattern::Is(fqdn("gw.example.org"))).refused(&verifier);
    says(&why, &["connection \"site\"", "peer.example.org", "gw.example.org", "remote identity"]);
}

#[test]
fn a_pinned_certificate_is_trusted_as_it_is() {
    let authority = |params: &mut testcerts::rcgen::CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    let own = EndEntity::self_signed(Key::EcdsaP256, "peer", &[PEER], authority);
    let claim = Claim::by(&own, fqdn(PEER));
    claim.check(&checker(pinning(&[own.der()]))).unwrap();
    let not_sent = Claim { certs: vec![], ..claim.clone() };
    not_sent.check(&checker(pinning(&[root().der(), own.der()]))).expect("found by its identity");

    says(&claim.refused(&checker(trusting(&[own.der()]))), &["CA:TRUE", "pin"]);
    says(&claim.refused(&checker(trusting(&[root().der()]))), &["(self-signed)", "CA:TRUE"]);
    let other = root().issue(Key::EcdsaP256, "other", &[PEER]);
    says(
        &claim.refused(&checker(pinning(&[other.der()]))),
        &["CN=peer", "not among those", "CN=other", "octet by octet"],
    );
    says(&not_sent.refused(&checker(pinning(&[root().der()]))), &["sent no certificate", "CN=Root"]);
    says(
        &not_sent.refused(&checker(trusting(&[root().der()]))),
        &["sent no certificate", "connection \"site\"", "`certs`"],
    );
    let misnamed = Claim { remote: fqdn("who.example.org"), ..claim };
    says(&misnamed.refused(&checker(pinning(&[own.der()]))), &["not for the identity \"who.example.org\""]);
}

/// Self-signed and no authority: its own trust anchor, once it is configured as one.
#[test]
fn a_self_signed_end_entity_may_be_an_anchor() {
    let own = EndEntity::self_signed(Key::EcdsaP256, "peer", &[PEER], |_| ());
    Claim::by(&own, fqdn(PEER)).check(&checker(trusting(&[own.der()]))).unwrap();
    says(&refused(&own, &root()), &["(self-signed)", "leads to", "CN=peer"]);
}

#[test]
fn s042_basic_constraints_and_path_length_hold() {
    let no_authority =
        root().intermediate_with(Key::EcdsaP256, "Middle", |params| params.is_ca = IsCa::ExplicitNoCa);
    says(
        &refused(&no_authority.issue(Key::EcdsaP256, "peer", &[PEER]), &root()),
        &["not that of an authority (CA:FALSE)"],
    );
    let one = root().intermediate_with(Key::EcdsaP256, "One", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    accepted(&one.issue(Key::EcdsaP256, "peer", &[PEER]), &root());
    let two = one.intermediate(Key::EcdsaP256, "Two");
    says(&refused(&two.issue(Key::EcdsaP256, "peer", &[PEER]), &root()), &["path length"]);
}

//= rfc4945 §5.1.3.2
#[test]
fn s042_key_usage_holds_where_it_is_present() {
    let with = |usages: &[KeyUsagePurpose]| {
        root().issue_with(Key::EcdsaP256, "peer", &[PEER], |params| params.key_usages = usages.to_vec())
    };
    accepted(&with(&[]), &root());
    accepted(&with(&[KeyUsagePurpose::DigitalSignature]), &root());
    accepted(&with(&[KeyUsagePurpose::ContentCommitment]), &root());
    says(
        &refused(&with(&[KeyUsagePurpose::KeyEncipherment]), &root()),
        &["neither digitalSignature nor nonRepudiation"],
    );
    let middle = root().intermediate_with(Key::EcdsaP256, "Middle", |params| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign]
    });
    says(&refused(&middle.issue(Key::EcdsaP256, "peer", &[PEER]), &root()), &["CN=Middle", "keyCertSign"]);
}

#[test]
fn extended_key_usage_holds_where_it_is_present() {
    let with = |usages: &[ExtendedKeyUsagePurpose]| {
        root().issue_with(Key::EcdsaP256, "peer", &[PEER], |params| {
            params.extended_key_usages = usages.to_vec()
        })
    };
    for usage in [
        ExtendedKeyUsagePurpose::Any,
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]),
        ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 8, 2, 2]),
    ] {
        accepted(&with(&[ExtendedKeyUsagePurpose::EmailProtection, usage]), &root());
    }
    says(
        &refused(&with(&[ExtendedKeyUsagePurpose::CodeSigning]), &root()),
        &["extended key usage", "ipsecIKE"],
    );
}

#[test]
fn name_constraints_hold() {
    let constrained = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>| {
        root().intermediate_with(Key::EcdsaP256, "Middle", |params| {
            params.name_constraints =
                Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded });
        })
    };
    let dns = |name: &str| GeneralSubtree::DnsName(name.into());
    let peer = |authority: &Authority| authority.issue(Key::EcdsaP256, "peer", &[PEER, "192.0.2.1"]);
    accepted(&peer(&constrained(vec![dns("example.org")], vec![])), &root());
    says(&refused(&peer(&constrained(vec![dns("example.com")], vec![])), &root()), &["name constraints"]);
    says(&refused(&peer(&constrained(vec![], vec![dns("example.org")])), &root()), &["name constraints"]);
    let net = |octets| GeneralSubtree::IpAddress(CidrSubnet::V4(octets, [255, 255, 255, 0]));
    accepted(&peer(&constrained(vec![net([192, 0, 2, 0])], vec![])), &root());
    says(&refused(&peer(&constrained(vec![net([198, 51, 100, 0])], vec![])), &root()), &["name constraints"]);
}

//= rfc5280 §4.2
#[test]
fn an_unknown_critical_extension_is_refused() {
    let with = |critical| {
        root().issue_with(Key::EcdsaP256, "peer", &[PEER], |params| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(critical);
            params.custom_extensions.push(extension);
        })
    };
    accepted(&with(false), &root());
    says(&refused(&with(true), &root()), &["critical extension that is not known"]);
}

#[test]
fn a_broken_certificate_is_refused() {
    let entity = root().issue(Key::EcdsaP256, "peer", &[PEER]);
    let good = Claim::by(&entity, fqdn(PEER));
    let verifier = checker(trusting(&[root().der()]));
    for at in 0..good.certs[0].len() {
        let mut claim = good.clone();
        claim.certs[0][at] ^= 1;
        claim.refused(&verifier);
        claim.certs[0].truncate(at);
        says(&claim.refused(&verifier), &["not the DER of an X.509 certificate"]);
    }
    let mut long = good.clone();
    long.certs[0].resize(trust::limits::MAX_CERTIFICATE + 1, 0);
    says(&long.refused(&verifier), &["is longer than 65536"]);
    let mut trailing = good;
    trailing.certs[0].push(0);
    says(&trailing.refused(&verifier), &["not the DER"]);
}

/// Limit: MAX_ALTERNATIVE_NAMES.
#[test]
fn no_more_names_are_compared_than_the_limit() {
    let names: Vec<_> =
        (0..=trust::limits::MAX_ALTERNATIVE_NAMES).map(|n| format!("n{n}.example.org")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let entity = root().issue(Key::EcdsaP256, "peer", &names);
    let verifier = checker(trusting(&[root().der()]));
    let (last, beyond) = (names[names.len() - 2], names[names.len() - 1]);
    Claim::by(&entity, fqdn(last)).check(&verifier).unwrap();
    says(&Claim::by(&entity, fqdn(beyond)).refused(&verifier), &["not for the identity"]);
}

/// Limit: MAX_REFUSAL.
#[test]
fn a_refusal_has_an_end() {
    let names: Vec<_> = (0..9).map(|n| format!("{n}{}.example.org", "x".repeat(300))).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let entity = root().issue(Key::EcdsaP256, &"y".repeat(300), &names);
    let why = Claim::by(&entity, fqdn(&"z".repeat(300))).refused(&checker(trusting(&[root().der()])));
    assert_eq!(why.chars().count(), trust::limits::MAX_REFUSAL + 1, "{why}");
    assert!(why.ends_with('…'));
}

/// What stands in a certificate reaches the log escaped and cut.
#[test]
fn s182_text_from_certificates_cannot_forge_a_log() {
    let name = format!("evil\x1b[2J\nINFO all is well {}", "x".repeat(5000));
    let root_of_evil = Authority::root(Key::EcdsaP256, &name);
    let why = refused(&root_of_evil.issue(Key::EcdsaP256, &name, &[PEER]), &root());
    says(&why, &["evil\\1b[2J\\0aINFO"]);
    assert!(why.chars().count() <= trust::limits::MAX_REFUSAL + 1, "{}", why.len());
}
