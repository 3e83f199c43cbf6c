//! `revocation` and `crls`.

mod common;

use common::*;
use policy::Demand;
use testcerts::{Authority, Key, List, crl_pem};

const CERTIFIED: &str = "\
[connections.a]
local = { certs = \"moon.pem\", id = \"moon.example.org\" }
[connections.a.children.net]
[connections.a.remote]
id = \"sun.example.org\"
revocation = \"strict\"
crls = [\"root.crl\", \"root.pem\"]
[authorities.root]
cacert = \"ca.pem\"
[secrets.private.moon]
file = \"moon.key\"
";

fn dir() -> Dir {
    let dir = Dir::with_certificates();
    let root = Authority::root(Key::EcdsaP256, "Root");
    let list = root.crl(&List::from(now().0 - 3600));
    dir.write("root.crl", &list);
    dir.write("root.pem", crl_pem(&list).repeat(2));
    let yesterday = List { next_update: now().0 - 100_000, ..List::from(now().0 - 2_000_000) };
    dir.write("old.crl", root.crl(&yesterday));
    dir
}

#[test]
fn s044_what_is_wanted_is_read_with_the_lists() {
    let dir = dir();
    let wanted = |text: &str| dir.good(text).policy.connections[0].remote.revocation.clone();
    let read = wanted(CERTIFIED);
    assert_eq!(read.demand, Demand::Strict);
    assert_eq!(read.crls.len(), 3);
    assert!(read.crls.iter().all(|crl| &*crl.issuer == "C=CH, O=Handfast Test, CN=Root"));
    assert_eq!(wanted(&CERTIFIED.replace("strict", "ifuri")).demand, Demand::IfUri);
    assert_eq!(wanted(&CERTIFIED.replace("revocation = \"strict\"\n", "")).demand, Demand::Relaxed);
    // Those of an authority are every connection's.
    let everybody = CERTIFIED.replace("cacert = \"ca.pem\"", "cacert = \"ca.pem\"\ncrls = \"root.crl\"");
    assert_eq!(wanted(&everybody).crls.len(), 4);
    let places =
        "cacert = \"ca.pem\"\ncrl_uris = [\"http://a/1\", \"http://a/2\"]\nocsp_uris = \"http://a/\"";
    let places = wanted(&CERTIFIED.replace("cacert = \"ca.pem\"", places)).places;
    let [place] = &places[..] else { panic!("{places:?}") };
    assert_eq!((place.crls.len(), &*place.ocsp[0]), (2, "http://a/"));
    assert_eq!(&*place.authority.subject, "C=CH, O=Handfast Test, CN=Root");
    assert!(dir.check(CERTIFIED).problems.is_empty(), "{}", all(&dir.check(CERTIFIED).problems));
}

#[test]
fn s044_a_list_that_cannot_be_used_is_told_with_its_place() {
    let dir = dir();
    for (from, to, place, wanted) in [
        (
            "ca.pem\"",
            "ca.pem\"\nocsp_uris = [\"https://a/\"]",
            ":10:15\n",
            "`https://a/` is not an address that begins with `http://`",
        ),
        ("\"root.crl\"", "\"none.crl\"", ":7:10\n", "none.crl` does not exist"),
        ("\"root.crl\"", "\"ca.pem\"", ":7:10\n", "ca.pem` has no usable CRL: the file has no CRL"),
        ("\"root.crl\"", "\"moon.der\"", ":7:10\n", "has no usable CRL: it is not"),
        ("\"strict\"", "\"always\"", ":6:14\n", "`relaxed`"),
        ("revocation", "revokation", ":6:1\n", "revocation"),
        (
            "\"root.crl\"",
            "\"old.crl\"",
            ":7:8\n",
            "`C=CH, O=Handfast Test, CN=Root` is out of date since yesterday",
        ),
    ] {
        let shown = all(&dir.check(&CERTIFIED.replacen(from, to, 1)).problems);
        assert!(shown.contains(wanted) && shown.contains(place), "{wanted}: {shown}");
    }
}

#[test]
fn s044_it_is_said_where_revocation_means_nothing() {
    let dir = dir();
    let pinned = CERTIFIED.replace("revocation =", "certs = \"sun.pem\"\nrevocation =");
    let shown = all(&dir.check(&pinned).problems);
    assert!(shown.contains("`revocation` has no effect"), "{shown}");
    assert!(shown.contains("name the authority by `cacerts`"), "{shown}");
    let psk = CERTIFIED.replace("id = \"sun.example.org\"", "id = \"sun.example.org\"\nauth = \"psk\"");
    let shown = all(&dir.check(&psk).problems);
    assert!(shown.contains("has `revocation`, but the peer authenticates by pre-shared key"), "{shown}");
}
