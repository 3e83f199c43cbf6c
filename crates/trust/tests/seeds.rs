//! The X.509 and identity seeds of a fuzzing corpus: whatever they hold, there is an answer and no panic.

mod common;

use common::*;
use provider::Provider;
use std::path::PathBuf;
use std::process::Command;
use trust::{certificate, certificates, dn_from_text, dn_to_text, identities, private_key};

/// A directory that goes away, also when the test fails.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may start the program that unpacks the archive")]
fn s176_fuzz_seeds_do_no_harm() {
    let name = "s176_fuzz_seeds_do_no_harm";
    let Some(archive) = testkit::corpus(name, "fuzz/strongswan-x509-seeds.tar.xz") else { return };
    let scratch = Scratch(std::env::temp_dir().join(format!("handfast-seeds-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0).unwrap();
    let unpacked = Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(&scratch.0).status();
    assert!(unpacked.expect("tar").success(), "tar with xz is needed");

    let provider = Provider::new();
    let root = testcerts::Authority::root(testcerts::Key::EcdsaP256, "Root");
    let peer = root.issue(testcerts::Key::EcdsaP256, "peer", &["peer.example.org"]);
    let claim = Claim::by(&peer, fqdn("peer.example.org"));
    let verifier = checker(trusting(&[root.der()]));
    let (mut files, mut readable) = (0, 0);
    for path in testkit::files(&scratch.0) {
        let seed = testkit::read(&path);
        files += 1;
        let _ = private_key(&seed, None);
        let _ = certificates(&provider, &seed);
        let _ = dn_to_text(&seed);
        if let Ok(text) = std::str::from_utf8(&seed) {
            let _ = dn_from_text(text).map(|der| assert!(dn_to_text(&der).is_some(), "{}", path.display()));
        }
        let mut as_end_entity = claim.clone();
        as_end_entity.certs[0].clone_from(&seed);
        as_end_entity.refused(&verifier);
        let mut as_intermediate = claim.clone();
        as_intermediate.certs.push(seed.clone());
        as_intermediate.check(&verifier).unwrap_or_else(|why| panic!("{}: {}", path.display(), why.reason));
        let Ok(read) = certificate(&provider, &seed) else { continue };
        readable += 1;
        assert!(!read.subject.chars().any(char::is_control), "{}", path.display());
        for id in identities(&read) {
            assert!(!id.to_string().chars().any(char::is_control), "{}: {id}", path.display());
            let claim = Claim { remote: id, certs: vec![seed.clone()], ..claim.clone() };
            claim.refused(&verifier);
            claim.refused(&checker(pinning(&[&seed])));
            claim.refused(&checker(trusting(&[&seed])));
        }
    }
    assert_eq!((files, readable > 100), (2116, true), "{readable} readable");
}
