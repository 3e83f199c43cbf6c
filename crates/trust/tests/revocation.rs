//! Revoked certificates, and those of which nobody can tell (RFC 5280 §6.3, RFC 6960).

mod common;

use base::WallClock;
use common::*;
use policy::{Demand, Places, RemoteAuth, Revocation};
use sa::Answer;
use std::cell::RefCell;
use testcerts::rcgen::{
    CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, CustomExtension, ExtendedKeyUsagePurpose,
    KeyUsagePurpose, RevocationReason,
};
use testcerts::{Authority, EndEntity, Key, List, Response, Status, crl_pem, der, ocsp_refusal};
use trust::{Evidence, Request, Step, Trust, crls};

const PEER: &str = "peer.example.org";
const DAY: u64 = 86_400;
const LIST: &str = "http://crl.example.org/root.crl";
const SERVER: &str = "http://ocsp.example.org/";

fn root() -> Authority {
    Authority::root(Key::EcdsaP256, "Root")
}

fn named(entity: &mut testcerts::rcgen::CertificateParams, lists: &[&str], servers: &[&str]) {
    if !lists.is_empty() {
        let uris = lists.iter().map(|uri| (*uri).to_owned()).collect();
        entity.crl_distribution_points = vec![CrlDistributionPoint { uris }];
    }
    if !servers.is_empty() {
        let places: Vec<_> = servers
            .iter()
            .map(|uri| {
                der(
                    0x30,
                    &[der(0x06, b"\x2b\x06\x01\x05\x05\x07\x30\x01"), der(0x86, uri.as_bytes())].concat(),
                )
            })
            .collect();
        let oid = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
        entity.custom_extensions.push(CustomExtension::from_oid_content(oid, der(0x30, &places.concat())));
    }
}

/// A peer below `authority` whose certificate names these places.
fn peer(authority: &Authority, lists: &[&str], servers: &[&str]) -> EndEntity {
    authority.issue_with(Key::EcdsaP256, "peer", &[PEER], |params| named(params, lists, servers))
}

fn wanting(demand: Demand, root: &Authority, lists: &[&[u8]]) -> Trust {
    let crls = lists.iter().flat_map(|list| crls(list).unwrap()).collect();
    checker(RemoteAuth { revocation: Revocation { demand, crls, places: vec![] }, ..trusting(&[root.der()]) })
}

/// What became of a check.
struct Outcome {
    refused: Option<String>,
    warnings: Vec<String>,
    asked: Vec<String>,
    keep: Vec<(String, WallClock)>,
}

impl Outcome {
    #[track_caller]
    fn says(&self, fragments: &[&str]) {
        let text = self.refused.as_deref().expect("a refusal");
        for fragment in fragments {
            assert!(text.contains(fragment), "{fragment:?} is not in {text:?}");
        }
        assert!(!text.chars().any(char::is_control), "{text}");
    }

    #[track_caller]
    fn accepted(&self) -> &Self {
        assert_eq!(self.refused, None);
        self
    }

    #[track_caller]
    fn warns(&self, fragments: &[&str]) {
        self.accepted();
        let [text] = &self.warnings[..] else { panic!("{:?}", self.warnings) };
        for fragment in fragments {
            assert!(text.contains(fragment), "{fragment:?} is not in {text:?}");
        }
    }
}

/// Checks `claim`; `serve` answers what is asked for on the way.
fn check(trust: &Trust, claim: &Claim, serve: impl Fn(&Request) -> Result<Vec<u8>, String>) -> Outcome {
    let (mut evidence, mut asked) = (Evidence::default(), Vec::new());
    for _ in 0..10 {
        let answered = match trust.step(&claim.job(), &evidence) {
            Step::Answered(answered) => answered,
            Step::Needs(requests) => {
                for request in requests {
                    asked.push(request.uri().to_owned());
                    let served = serve(&request).map(Into::into);
                    assert!(!evidence.has(&request), "asked twice");
                    evidence.add(request, served);
                }
                continue;
            }
        };
        let refused = match answered.answer {
            Answer::Verified(verified) if verified.certificate.is_some() => None,
            Answer::Refused(refusal) => {
                assert!(!refusal.ours, "{}", refusal.reason);
                Some(refusal.reason)
            }
            other => panic!("{other:?}"),
        };
        let keep =
            answered.keep.into_iter().map(|(request, until)| (request.uri().to_owned(), until)).collect();
        return Outcome { refused, warnings: answered.warnings, asked, keep };
    }
    panic!("it does not end");
}

fn dead(_: &Request) -> Result<Vec<u8>, String> {
    Err("it did not answer within 5 s".into())
}

fn claim(entity: &EndEntity) -> Claim {
    Claim::by(entity, fqdn(PEER))
}

//= rfc5280 §6.3.3
#[test]
fn s044_a_revoked_certificate_is_refused_whatever_is_demanded() {
    let root = root();
    let entity = peer(&root, &[], &[]);
    let list = root.crl(&List::from(NOW.0 - DAY).revoke(
        entity.der(),
        NOW.0 - 2 * DAY,
        Some(RevocationReason::KeyCompromise),
    ));
    for demand in [Demand::Relaxed, Demand::IfUri, Demand::Strict] {
        let outcome = check(&wanting(demand, &root, &[&list]), &claim(&entity), dead);
        outcome.says(&[
            "the peer's certificate \"C=CH, O=Handfast Test, CN=peer\" (issued by \"C=CH, O=Handfast Test, CN=Root\")",
            "it was revoked on 2026-09-19 ",
            "(its key was compromised)",
            "the configured CRL of \"C=CH, O=Handfast Test, CN=Root\" says",
            "have a new one issued",
        ]);
        assert_eq!(outcome.asked, [""; 0]);
    }
    // PEM with several lists does as well, and another's list is passed over.
    let other = Authority::root(Key::EcdsaP256, "Other").crl(&List::from(NOW.0 - DAY));
    let both = [crl_pem(&other), crl_pem(&list)].concat();
    check(&wanting(Demand::Relaxed, &root, &[both.as_bytes()]), &claim(&entity), dead).says(&["was revoked"]);
}

#[test]
fn s044_what_is_demanded_decides_where_nobody_can_tell() {
    let root = root();
    let plain = claim(&peer(&root, &[], &[]));
    let placed = claim(&peer(&root, &[LIST], &[SERVER]));
    let none: [&[u8]; 0] = [];
    let of = |demand, claim: &Claim| check(&wanting(demand, &root, &none), claim, dead);
    of(Demand::Relaxed, &plain).accepted();
    of(Demand::IfUri, &plain).accepted();
    assert!(of(Demand::IfUri, &plain).warnings.is_empty());
    of(Demand::Strict, &plain).says(&[
        "whether it is revoked is not known",
        "`revocation = \"strict\"` wants to know",
        "names neither an OCSP server nor a CRL",
        "give a CRL by `crls`",
    ]);
    for demand in [Demand::IfUri, Demand::Strict] {
        let outcome = of(demand, &placed);
        outcome.says(&[
            &format!("`revocation = \"{demand}\"`"),
            "the OCSP server http://ocsp.example.org/ could not be asked: it did not answer within 5 s",
            "the CRL at http://crl.example.org/root.crl could not be asked: it did not answer",
        ]);
        assert_eq!(outcome.asked, [SERVER, LIST]);
    }
    of(Demand::Relaxed, &placed).warns(&[
        "CN=peer",
        "`revocation = \"relaxed\"` lets pass",
        "did not answer",
    ]);
    // The whole of it without anybody to fetch.
    wanting(Demand::Relaxed, &root, &none).answer(&placed.job());
    assert!(placed.refused(&wanting(Demand::Strict, &root, &none)).contains("nothing is fetched here"));
}

#[test]
fn s044_a_good_certificate_is_accepted_whatever_is_demanded() {
    let root = root();
    let list =
        root.crl(&List::from(NOW.0 - DAY).revoke(b"\x30\x06\x30\x04\x02\x00\x02\x00", NOW.0 - DAY, None));
    for demand in [Demand::Relaxed, Demand::IfUri, Demand::Strict] {
        let files = wanting(demand, &root, &[&list]);
        let web = wanting(demand, &root, &[]);
        check(&files, &claim(&peer(&root, &[], &[])), dead).accepted();
        // What a file says need not be fetched.
        let outcome = check(&files, &claim(&peer(&root, &[LIST], &[])), dead);
        assert_eq!(outcome.accepted().asked, [""; 0]);
        let outcome = check(&web, &claim(&peer(&root, &[LIST], &[])), |_| Ok(list.clone()));
        assert_eq!(outcome.accepted().asked, [LIST]);
        assert_eq!(outcome.keep, [(LIST.to_owned(), WallClock(NOW.0 + 29 * DAY))]);
        let outcome = check(&web, &claim(&peer(&root, &[LIST], &[SERVER])), |request| {
            Ok(Response::to(request.body().expect("a request"), Status::Good, NOW.0 - 60).by(&root))
        });
        assert_eq!(outcome.accepted().asked, [SERVER]);
        assert_eq!(outcome.keep, [(SERVER.to_owned(), WallClock(NOW.0 - 60 + 3600))]);
        assert!(outcome.warnings.is_empty());
    }
}

//= rfc5280 §5.1.2.5
#[test]
fn s044_a_stale_crl_tells_nothing_but_what_is_revoked_stays_so() {
    let root = root();
    let entity = peer(&root, &[], &[]);
    let old = || List::from(NOW.0 - 40 * DAY);
    let strict =
        |list: &List| check(&wanting(Demand::Strict, &root, &[&root.crl(list)]), &claim(&entity), dead);
    strict(&old()).says(&["the configured CRL of", "cannot be used: it is out of date since 2026-09-11"]);
    let relaxed = wanting(Demand::Relaxed, &root, &[&root.crl(&old())]);
    check(&relaxed, &claim(&entity), dead).warns(&["out of date since 2026-09-11"]);
    strict(&old().revoke(entity.der(), NOW.0 - 50 * DAY, None))
        .says(&["was revoked on", "(no reason given)"]);
    let held = old().revoke(entity.der(), NOW.0 - 50 * DAY, Some(RevocationReason::CertificateHold));
    strict(&held).says(&["out of date since"]);
    let held = List { this_update: NOW.0 - DAY, next_update: NOW.0 + DAY, ..held };
    strict(&held).says(&["was revoked on", "(it is on hold)", "ask its authority to release it"]);
    strict(&List::from(NOW.0 + 1000)).says(&["correct the clock"]);
    check(&wanting(Demand::Strict, &root, &[&root.crl(&List::from(NOW.0 + 200))]), &claim(&entity), dead)
        .accepted();
}

#[test]
fn s044_a_crl_that_another_signed_tells_nothing() {
    let root = root();
    let impostor = Authority::root(Key::EcdsaP384, "Root");
    let entity = peer(&root, &[LIST], &[]);
    let forged = impostor.crl(&List::from(NOW.0 - DAY));
    let outcome = check(&wanting(Demand::Strict, &root, &[]), &claim(&entity), |_| Ok(forged.clone()));
    outcome.says(&["the CRL at http://crl.example.org/root.crl is of no use: its signature"]);
    assert!(outcome.keep.is_empty());
    // Nor can it refuse a certificate.
    let revoking = impostor.crl(&List::from(NOW.0 - DAY).revoke(entity.der(), NOW.0, None));
    check(&wanting(Demand::Relaxed, &root, &[&revoking]), &claim(&entity), dead).warns(&["its signature"]);
    let other = Authority::root(Key::EcdsaP256, "Other").crl(&List::from(NOW.0 - DAY));
    check(&wanting(Demand::Strict, &root, &[]), &claim(&entity), |_| Ok(other.clone()))
        .says(&["it is of \"C=CH, O=Handfast Test, CN=Other\", not of"]);
    let mut changed = root.crl(&List::from(NOW.0 - DAY));
    let last = changed.len() - 1;
    changed[last] ^= 1;
    check(&wanting(Demand::Strict, &root, &[]), &claim(&entity), |_| Ok(changed.clone()))
        .says(&["its signature was made with another key"]);
}

//= rfc5280 §6.3.3
#[test]
fn s044_an_authority_that_may_not_sign_crls_is_not_heard() {
    let good = root();
    let mute = Authority::root_with(Key::EcdsaP256, "Root", |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    let list = good.crl(&List::from(NOW.0 - DAY));
    check(&wanting(Demand::Strict, &mute, &[&list]), &claim(&peer(&mute, &[], &[])), dead).says(&["cRLSign"]);
}

#[test]
fn s044_a_crl_is_for_its_scope_only() {
    let root = root();
    let entity = peer(&root, &[LIST], &[]);
    let of = |uri: &str, scope| List {
        scope: Some(CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec![uri.to_owned()] },
            scope,
        }),
        ..List::from(NOW.0 - DAY)
    };
    let strict = |list: &List| {
        let list = root.crl(list);
        check(&wanting(Demand::Strict, &root, &[]), &claim(&entity), |_| Ok(list.clone()))
    };
    strict(&of(LIST, None)).accepted();
    strict(&of(LIST, Some(CrlScope::UserCertsOnly))).accepted();
    strict(&of(LIST, Some(CrlScope::CaCertsOnly))).says(&["for certificates of authorities, not of users"]);
    strict(&of("http://crl.example.org/other.crl", None)).says(&["another distribution point"]);
}

/// CRLs made by hand: octets after the issuer's name, then the extensions.
#[test]
fn s044_crls_of_unknown_kinds_are_refused_by_name() {
    let root = root();
    let (this, next) = (der(0x18, b"20260901000000Z"), der(0x18, b"20261001000000Z"));
    let good = root.crl(&List::from(NOW.0 - DAY));
    let algorithm = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    let at =
        good.windows(algorithm.len()).position(|window| window == algorithm).expect("ECDSA with SHA-256");
    let from_issuer = &good[at + algorithm.len()..];
    let issuer = &from_issuer[..2 + usize::from(from_issuer[1])];
    let list = |version: &[u8], times: &[u8], extensions: &[u8]| {
        let extensions = match extensions {
            [] => Vec::new(),
            some => der(0xa0, &der(0x30, some)),
        };
        root.sign(&der(0x30, &[version, algorithm, issuer, times, &extensions].concat()))
    };
    let times = [this.clone(), next.clone()].concat();
    let number = |id: &[u8], critical: bool, value: &[u8]| {
        let critical = if critical { der(0x01, &[0xff]) } else { Vec::new() };
        der(0x30, &[der(0x06, id), critical, der(0x04, value)].concat())
    };
    let v2 = der(0x02, &[1]);
    assert!(crls(&list(&v2, &times, &number(b"\x55\x1d\x14", false, &der(0x02, &[1])))).is_ok());
    for (bytes, word) in [
        (list(&v2, &times, &number(b"\x55\x1d\x1b", true, &der(0x02, &[1]))), "delta CRL"),
        (list(&v2, &times, &number(b"\x55\x1d\x1c", true, &der(0x30, &der(0x84, &[0xff])))), "indirect CRL"),
        (list(&v2, &times, &number(b"\x2b\x06\x01", true, &[5, 0])), "critical extension"),
        (list(&[], &times, &[]), "version 2"),
        (list(&v2, &this, &number(b"\x55\x1d\x14", false, &der(0x02, &[1]))), "(nextUpdate)"),
        (b"no DER".to_vec(), "not the DER of a CRL"),
    ] {
        let why = crls(&bytes).unwrap_err().to_string();
        assert!(why.contains(word), "{word}: {why}");
    }
    assert!(crls(root.pem().as_bytes()).unwrap_err().to_string().contains("the file has no CRL"));
    let bad = [crl_pem(&good), crl_pem(b"no DER")].concat();
    assert!(crls(bad.as_bytes()).unwrap_err().to_string().contains("CRL 2 of the file"));
}

fn respond(root: &Authority, demand: Demand, make: impl Fn(&[u8]) -> Vec<u8>) -> Outcome {
    let entity = peer(root, &[], &[SERVER]);
    check(&wanting(demand, root, &[]), &claim(&entity), |request| {
        Ok(make(request.body().expect("a request")))
    })
}

#[test]
fn s044_ocsp_says_good_revoked_or_unknown() {
    let root = root();
    let of = |demand, status| {
        respond(&root, demand, |request| Response::to(request, status, NOW.0 - 60).by(&root))
    };
    of(Demand::Strict, Status::Good).accepted();
    for (reason, text) in
        [(None, "no reason given"), (Some(4), "it was superseded"), (Some(200), "not known here")]
    {
        of(Demand::Relaxed, Status::Revoked(NOW.0 - 3 * DAY, reason)).says(&[
            "it was revoked on 2026-09-18 ",
            text,
            "as the OCSP server http://ocsp.example.org/ says",
        ]);
    }
    of(Demand::Strict, Status::Unknown).says(&["does not know the certificate (unknown)"]);
    of(Demand::Relaxed, Status::Unknown).warns(&["(unknown)"]);
}

#[test]
fn s044_authorities_of_every_kind_of_key_are_heard() {
    for key in Key::ALL.into_iter().chain(Key::POST_QUANTUM) {
        let root = Authority::root(key, "Root");
        let answer = |status| {
            respond(&root, Demand::Strict, |request| Response::to(request, status, NOW.0 - 60).by(&root))
        };
        answer(Status::Good).accepted();
        answer(Status::Revoked(NOW.0 - DAY, None)).says(&["it was revoked on"]);
        let entity = peer(&root, &[], &[]);
        let list =
            |list: &List| check(&wanting(Demand::Strict, &root, &[&root.crl(list)]), &claim(&entity), dead);
        list(&List::from(NOW.0 - DAY)).accepted();
        list(&List::from(NOW.0 - DAY).revoke(entity.der(), NOW.0 - DAY, None)).says(&["it was revoked on"]);
    }
}

/// Whoever signs must be the issuer, or named by it for this.
//= rfc6960 §4.2.2.2
#[test]
fn s044_ocsp_of_an_untrusted_signer_tells_nothing() {
    let root = root();
    let by = |delegate: &EndEntity| {
        respond(&root, Demand::Strict, |request| {
            Response::to(request, Status::Good, NOW.0 - 60).by_delegate(delegate)
        })
    };
    let signing = |authority: &Authority, key| {
        authority.issue_with(key, "responder", &[], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        })
    };
    for key in [Key::EcdsaP256, Key::Rsa2048, Key::Ed25519, Key::EcdsaP384] {
        by(&signing(&root, key)).accepted();
    }
    by(&root.issue(Key::EcdsaP256, "responder", &[])).says(&["not for OCSP (id-kp-OCSPSigning)"]);
    by(&signing(&Authority::root(Key::EcdsaP256, "Other"), Key::EcdsaP256))
        .says(&["its signer's certificate is not from the issuer"]);
    by(&signing(&Authority::root(Key::EcdsaP384, "Root"), Key::EcdsaP256))
        .says(&["the signature of its signer's certificate"]);
    let below = root.intermediate(Key::EcdsaP256, "Middle");
    by(&signing(&below, Key::EcdsaP256)).says(&["not from the issuer"]);
    let expired = root.issue_with(Key::EcdsaP256, "responder", &[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        params.not_after = testcerts::rcgen::date_time_ymd(2026, 1, 1);
    });
    by(&expired).says(&["its signer's certificate: it expired on 2026-01-01"]);
    let mute = root.issue_with(Key::EcdsaP256, "responder", &[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    });
    by(&mute).says(&["does not allow signatures"]);
    // The very authority of another path, under its own name, and under that of the issuer.
    for (name, word) in [("Other", "neither the issuer of the certificate nor"), ("Root", "its signature")] {
        let other = Authority::root(Key::EcdsaP384, name);
        for status in [Status::Good, Status::Revoked(NOW.0, None)] {
            let outcome = respond(&root, Demand::Strict, |request| {
                Response::to(request, status, NOW.0 - 60).by(&other)
            });
            outcome.says(&[word, "is not known"]);
        }
    }
}

//= rfc6960 §4.2.2.1
#[test]
fn s044_ocsp_is_of_now_and_of_the_certificate_in_question() {
    let root = root();
    let of = |change: fn(&mut Response)| {
        respond(&root, Demand::Strict, move |request| {
            let mut response = Response::to(request, Status::Good, NOW.0 - 60);
            change(&mut response);
            response.by(&Authority::root(Key::EcdsaP256, "Root"))
        })
    };
    of(|_| ()).accepted();
    of(|response| response.next_update = Some(NOW.0)).says(&["it is out of date since 2026-09-21"]);
    of(|response| response.this_update = NOW.0 + 301).says(&["correct the clock"]);
    of(|response| response.this_update = NOW.0 + 299).accepted();
    let recent = of(|response| response.next_update = None);
    assert!(recent.accepted().keep.is_empty());
    of(|response| (response.next_update, response.this_update) = (None, NOW.0 - 301))
        .says(&["does not say how long it holds"]);
    of(|response| *response.id.last_mut().unwrap() ^= 1).says(&["it answers about other certificates"]);
    of(|response| response.id[20] ^= 1).says(&["it answers about other certificates"]);
    of(|response| {
        let content = [der(0x06, b"\x2b\x06\x01"), der(0x01, &[0xff]), der(0x04, b"\x05\x00")].concat();
        response.extensions = der(0x30, &content);
    })
    .says(&["a critical extension that is not known here"]);
}

#[test]
fn s044_an_ocsp_server_that_refuses_tells_nothing() {
    for (status, word) in [
        (1, "malformedRequest"),
        (2, "internalError"),
        (3, "tryLater"),
        (5, "sigRequired"),
        (6, "unauthorized"),
        (9, "status that is not known"),
    ] {
        respond(&root(), Demand::Strict, |_| ocsp_refusal(status)).says(&[word]);
    }
}

/// RFC 4806: what the peer sends is taken as if its server had said it.
//= rfc4806 §4.1
#[test]
fn s044_an_ocsp_response_of_the_peer_counts() {
    let root = root();
    let entity = peer(&root, &[], &[SERVER]);
    let strict = wanting(Demand::Strict, &root, &[]);
    let request = RefCell::new(Vec::new());
    check(&strict, &claim(&entity), |asked| {
        request.replace(asked.body().expect("a request").to_vec());
        Err(String::new())
    });
    let request = request.into_inner();
    let with = |response: Vec<u8>| Claim { ocsp: vec![response], ..claim(&entity) };
    let good = check(&strict, &with(Response::to(&request, Status::Good, NOW.0 - 60).by(&root)), dead);
    assert_eq!(good.accepted().asked, [""; 0]);
    check(
        &strict,
        &with(Response::to(&request, Status::Revoked(NOW.0, Some(1)), NOW.0 - 60).by(&root)),
        dead,
    )
    .says(&["the OCSP response that the peer sent says"]);
    let stale = check(&strict, &with(Response::to(&request, Status::Good, NOW.0 - 2 * DAY).by(&root)), dead);
    assert_eq!(stale.asked, [SERVER]);
    stale.says(&["the OCSP response that the peer sent cannot be used: it is out of date"]);
}

#[test]
fn s044_every_certificate_of_the_path_is_asked_for_at_once() {
    let root = root();
    let middle = root.intermediate_with(Key::EcdsaP256, "Middle", |params| {
        named(params, &["http://crl.example.org/root.crl"], &[]);
    });
    let entity = peer(&middle, &["http://crl.example.org/middle.crl"], &[]);
    let lists = |revoked: bool| {
        let above = List::from(NOW.0 - DAY);
        let above = if revoked { above.revoke(middle.der(), NOW.0 - DAY, None) } else { above };
        let (above, below) = (root.crl(&above), middle.crl(&List::from(NOW.0 - DAY)));
        move |request: &Request| Ok(if request.uri() == LIST { above.clone() } else { below.clone() })
    };
    let strict = wanting(Demand::Strict, &root, &[]);
    let good = check(&strict, &claim(&entity), lists(false));
    assert_eq!(good.accepted().asked, ["http://crl.example.org/middle.crl", LIST]);
    assert_eq!(good.keep.len(), 2);
    check(&strict, &claim(&entity), lists(true)).says(&[
        "CN=peer\", or rather the intermediate \"C=CH, O=Handfast Test, CN=Middle\"",
        "was revoked on",
    ]);
    // The same where only the intermediate cannot be told of.
    check(&strict, &claim(&entity), |request| {
        if request.uri() == LIST { dead(request) } else { lists(false)(request) }
    })
    .says(&["the intermediate", "CN=Middle", "did not answer"]);
}

/// `crl_uris` and `ocsp_uris`: asked first, and only about the certificates of that authority.
#[test]
fn s044_configured_places_are_asked_about_their_authority() {
    let (root, other) = (root(), Authority::root(Key::EcdsaP256, "Other"));
    let of = |authority: &Authority, demand, entity: &EndEntity| {
        let places = Places {
            authority: cert(authority.der()),
            ocsp: vec!["http://conf/ocsp".into()],
            crls: vec!["http://conf/crl".into()],
        };
        let revocation = Revocation { demand, places: vec![places], ..Revocation::default() };
        check(&checker(RemoteAuth { revocation, ..trusting(&[root.der()]) }), &claim(entity), dead)
    };
    let (plain, placed) = (peer(&root, &[], &[]), peer(&root, &[LIST], &[SERVER]));
    let outcome = of(&root, Demand::IfUri, &plain);
    assert_eq!(outcome.asked, ["http://conf/ocsp", "http://conf/crl"]);
    outcome.says(&["the CRL at http://conf/crl could not be asked"]);
    assert_eq!(
        of(&root, Demand::IfUri, &placed).asked,
        ["http://conf/ocsp", SERVER, "http://conf/crl", LIST]
    );
    assert_eq!(of(&other, Demand::IfUri, &plain).accepted().asked, [""; 0]);
    assert_eq!(of(&Authority::root(Key::EcdsaP384, "Root"), Demand::IfUri, &plain).accepted().asked, [""; 0]);
}

/// Only `http` is asked, and no more places than the limit (MAX_SOURCES, MAX_URI).
#[test]
fn s044_few_places_are_asked_and_only_by_http() {
    let root = root();
    let long = format!("http://{}/", "a".repeat(trust::limits::MAX_URI));
    let entity = peer(
        &root,
        &["http://a/1", "http://a/2", "http://a/3"],
        &[
            "ldap://b/x",
            "https://b/",
            "file:///etc/passwd",
            &long,
            "http://b/ c",
            "HTTP://b/1",
            "http://b/2",
            "http://b/3",
        ],
    );
    let outcome = check(&wanting(Demand::IfUri, &root, &[]), &claim(&entity), dead);
    assert_eq!(outcome.asked, ["HTTP://b/1", "http://b/2", "http://a/1", "http://a/2"]);
    outcome.says(&["\"ldap://b/x\" is not asked, only `http://` is"]);
    let only = peer(&root, &["ldap:///CN=Root?certificateRevocationList"], &[]);
    check(&wanting(Demand::IfUri, &root, &[]), &claim(&only), dead)
        .says(&["is not asked, only `http://` is"]);
}

/// Whoever has no key makes us fetch nothing, and is told nothing of it.
#[test]
fn s044_a_stranger_with_a_certificate_makes_us_fetch_nothing() {
    let root = root();
    let entity = peer(&root, &[LIST], &[SERVER]);
    let mut thief = claim(&entity);
    let last = thief.proof.data.len() - 1;
    thief.proof.data[last] ^= 1;
    let outcome = check(&wanting(Demand::Strict, &root, &[]), &thief, dead);
    assert_eq!(outcome.asked, [""; 0]);
    outcome.says(&["the signature of", "is refused"]);
    let stranger = peer(&Authority::root(Key::EcdsaP256, "Other"), &[LIST], &[SERVER]);
    assert_eq!(check(&wanting(Demand::Strict, &root, &[]), &claim(&stranger), dead).asked, [""; 0]);
}

/// A pinned certificate is trusted as it is.
#[test]
fn s044_nobody_is_asked_about_a_pinned_certificate() {
    let entity = peer(&root(), &[LIST], &[SERVER]);
    let revocation = Revocation { demand: Demand::Strict, ..Revocation::default() };
    let pinned = checker(RemoteAuth { revocation, ..pinning(&[entity.der()]) });
    assert_eq!(check(&pinned, &claim(&entity), dead).accepted().asked, [""; 0]);
}

/// Limits: MAX_CRL, MAX_PEM_CRLS, MAX_OCSP, MAX_OCSP_ANSWERS, MAX_OCSP_CERTIFICATES.
#[test]
fn s044_what_is_too_large_is_not_read() {
    use trust::limits::*;
    let root = root();
    let why = crls(&vec![0x30; MAX_CRL + 1]).unwrap_err().to_string();
    assert!(why.contains("16777217 octets, more than"), "{why}");
    let good = root.crl(&List::from(NOW.0 - DAY));
    assert_eq!(crls(crl_pem(&good).repeat(MAX_PEM_CRLS).as_bytes()).unwrap().len(), MAX_PEM_CRLS);
    let why = crls(crl_pem(&good).repeat(MAX_PEM_CRLS + 1).as_bytes()).unwrap_err().to_string();
    assert!(why.contains("more than 256 CRLs"), "{why}");
    respond(&root, Demand::Strict, |_| vec![0x30; MAX_OCSP + 1]).says(&["65537 octets, more than 65536"]);
    let responder = root.issue_with(Key::EcdsaP256, "responder", &[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    });
    let behind = |others: usize| {
        respond(&root, Demand::Strict, |request| {
            let mut response = Response::to(request, Status::Good, NOW.0 - 60);
            response.certificates = vec![root.der().to_vec(); others];
            response.by_delegate(&responder)
        })
    };
    behind(MAX_OCSP_CERTIFICATES - 1).accepted();
    behind(MAX_OCSP_CERTIFICATES).says(&["neither the issuer"]);
}

/// Each octet changed, each prefix: an answer, and never a good one of what was changed.
#[test]
fn s044_malformed_octets_do_no_harm() {
    let root = root();
    let entity = peer(&root, &[LIST], &[SERVER]);
    let strict = wanting(Demand::Strict, &root, &[]);
    let list = root.crl(&List::from(NOW.0 - DAY).revoke(
        entity.der(),
        NOW.0 - DAY,
        Some(RevocationReason::Superseded),
    ));
    let responder = root.issue_with(Key::EcdsaP256, "responder", &[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    });
    let claim = claim(&entity);
    let with = |make: &dyn Fn(&[u8]) -> Vec<u8>, broken: &dyn Fn(Vec<u8>) -> Vec<u8>, ocsp: bool| {
        check(&strict, &claim, |request| match (request.body(), ocsp) {
            (Some(body), true) => Ok(broken(make(body))),
            (None, false) => Ok(broken(list.clone())),
            _ => Err("not this one".into()),
        })
    };
    let revoked = |request: &[u8]| {
        Response::to(request, Status::Revoked(NOW.0 - DAY, Some(1)), NOW.0 - 60).by_delegate(&responder)
    };
    let whole = with(&revoked, &|bytes| bytes, true);
    whole.says(&["was revoked"]);
    with(&revoked, &|bytes| bytes, false).says(&["it was superseded"]);
    for ocsp in [true, false] {
        for place in (0..list.len().max(700)).step_by(3) {
            for change in [0x01, 0x80] {
                let flip = |mut bytes: Vec<u8>| {
                    let place = place % bytes.len();
                    bytes[place] ^= change;
                    bytes
                };
                assert!(with(&revoked, &flip, ocsp).refused.is_some(), "at {place}");
            }
            let cut = |mut bytes: Vec<u8>| {
                bytes.truncate(place);
                bytes
            };
            assert!(with(&revoked, &cut, ocsp).refused.is_some(), "before {place}");
        }
    }
}

/// A folder of this test, removed with it.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A second reader and writer: OpenSSL reads our request, we read its response, signed by the authority and by a delegate,
/// named by name and by key.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test may start OpenSSL, whose responses are of the present")]
fn s044_openssl_answers_us() {
    let folder = Folder(std::env::temp_dir().join(format!("handfast-ocsp-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let at = |name: &str| folder.0.join(name).display().to_string();
    let root = root();
    let responder = root.issue_with(Key::Rsa2048, "responder", &[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    });
    root.write(&folder.0, "ca").unwrap();
    responder.write(&folder.0, "responder").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let entity = peer(&root, &[], &[SERVER]);
    let serial: String = testcerts::serial(entity.der()).iter().map(|octet| format!("{octet:02X}")).collect();
    let serial = serial.trim_start_matches("00");
    for (state, words) in [
        ("V\t491231000000Z\t", None),
        (
            "R\t491231000000Z\t260901000000Z,keyCompromise",
            Some("revoked on 2026-09-01 00:00:00 UTC (its key was compromised)"),
        ),
    ] {
        std::fs::write(at("index"), format!("{state}\t{serial}\tunknown\t/CN=peer\n")).unwrap();
        for by in [&[][..], &["-resp_key_id"]] {
            let outcome = check(
                &wanting(Demand::Strict, &root, &[]),
                &Claim { wall: WallClock(now), ..claim(&entity) },
                |request| {
                    std::fs::write(at("request"), request.body().expect("a request")).unwrap();
                    let (index, ca, cert, key) =
                        (at("index"), at("ca.pem"), at("responder.pem"), at("responder.key"));
                    let (asked, answer) = (at("request"), at("answer"));
                    let args = ["ocsp", "-index", &index, "-CA", &ca, "-rsigner", &cert, "-rkey", &key];
                    let files = ["-reqin", &asked, "-respout", &answer, "-ndays", "1"];
                    let run = std::process::Command::new("openssl").args(args).args(files).args(by).output();
                    let run = run.expect("openssl is installed");
                    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
                    Ok(std::fs::read(at("answer")).unwrap())
                },
            );
            match words {
                None => assert_eq!(outcome.accepted().keep.len(), 1),
                Some(words) => outcome.says(&[words]),
            }
        }
    }
}
