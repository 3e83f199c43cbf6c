//! The golden runs with certificates, of two strongSwan daemons: their AUTH payloads, decrypted from the capture, verify
//! over the octets that they logged.

mod common;

use common::{cert, checker, dn, fqdn, trusting};
use crypto::Suite;
use policy::{IdPattern, Identity};
use provider::Provider;
use sa::{Answer, Job, PeerProof, SignedOctets};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use testkit::{corpus, hex};
use trust::Trust;
use wire::num::{Encr, ExchangeType, Integ, Prf};
use wire::{Header, Payload, Sealed, parse_chain, strip_padding};

/// 2027-01-01; the certificates are valid from 2026-11-20 to 2035.
const WALL: base::WallClock = base::WallClock(1_798_761_600);

#[test]
fn golden_auth_payloads_verify() {
    let name = "golden_auth_payloads_verify";
    let (Some(runs), Some(certs)) = (corpus(name, "golden"), corpus(name, "golden-certs")) else { return };
    let authority =
        trust::certificates(&Provider::new(), &testkit::read(&certs.join("ca.pem"))).unwrap().remove(0);
    let verifier = checker(trusting(&[&authority.der]));
    for run in ["v2-ecdsa", "v2-ecdsa-frag"] {
        let run = Run::read(&runs.join(run));
        for (request, identity) in [(true, "conf.test"), (false, "peer.test")] {
            let auth = run.auth(request);
            assert_eq!(auth.proof.method, 14, "ECDSA_WITH_SHA256_DER under RFC 7427");
            let certificate = auth.check(&verifier, fqdn(identity), WALL).unwrap().unwrap();
            let file = trust::certificates(
                &Provider::new(),
                &testkit::read(&certs.join(identity.replace(".test", ".pem"))),
            );
            assert_eq!(certificate.der, file.unwrap()[0].der, "the file that the daemon was given");
            auth.refusals(&verifier, &certificate.subject);
        }
    }
}

/// An AUTH payload with what belongs to it.
struct Auth {
    proof: PeerProof,
    octets: SignedOctets,
}

impl Auth {
    fn check(
        &self,
        trust: &Trust,
        remote: Identity,
        wall: base::WallClock,
    ) -> Result<Option<policy::Certificate>, String> {
        let job = Job::Check {
            connection: policy::ConnectionId(0),
            name: "site".to_string(),
            round: policy::Round::First,
            local: fqdn("us"),
            wanted: IdPattern::Is(remote.clone()),
            remote,
            prf: Prf::HMAC_SHA2_256,
            octets: self.octets.clone(),
            proof: self.proof.clone(),
            wall,
        };
        match trust.answer(&job) {
            Answer::Verified(verified) => Ok(verified.certificate),
            Answer::Refused(refusal) => Err(refusal.reason),
            other => panic!("{other:?}"),
        }
    }

    fn refusals(&self, trust: &Trust, subject: &str) {
        let who = dn(subject);
        self.check(trust, who.clone(), WALL).expect("its subject is an identity of the certificate, too");
        let replayed =
            Auth { octets: SignedOctets(b"other octets".as_slice().into()), proof: self.proof.clone() };
        assert!(replayed.check(trust, who.clone(), WALL).unwrap_err().contains("does not verify"));
        let later = base::WallClock(2_100_000_000);
        assert!(self.check(trust, who.clone(), later).unwrap_err().contains("expired on 2035-02-06"));
        let earlier = base::WallClock(1_700_000_000);
        assert!(self.check(trust, who, earlier).unwrap_err().contains("not valid before 2026-11-20"));
        let misnamed = self.check(trust, fqdn("other.test"), WALL).unwrap_err();
        assert!(misnamed.contains("other.test") && misnamed.contains(".test\""), "{misnamed}");
        let own = cert(&self.proof.certs[0]);
        let own = checker(common::pinning(&[&own.der]));
        self.check(&own, dn(subject), WALL).expect("the same certificate, pinned");
    }
}

/// A run: the datagrams of its IKE_AUTH exchange and the secrets of its first IKE SA.
struct Run {
    /// By direction (whether it is the request) and fragment number.
    datagrams: BTreeMap<(bool, u16), Vec<u8>>,
    /// By name, in the order logged.
    secrets: Vec<(String, Vec<u8>)>,
}

impl Run {
    fn read(directory: &Path) -> Self {
        let mut datagrams = BTreeMap::new();
        for datagram in testkit::pcap::ike(&testkit::read(&directory.join("cap.pcap"))).unwrap() {
            let header = Header::parse(&datagram.payload).unwrap();
            if header.exchange == ExchangeType::IKE_AUTH {
                let sealed = Sealed::locate(&datagram.payload).unwrap().expect("an SK or SKF payload");
                let number = sealed.fragment.map_or(1, |fragment| fragment.number);
                datagrams.insert((!header.flags.response, number), datagram.payload);
            }
        }
        let log: Value = serde_json::from_slice(&testkit::read(&directory.join("secrets.json"))).unwrap();
        let named = |event: &Value| Some((event["name"].as_str()?.to_owned(), hex(event["hex"].as_str()?)));
        Self { datagrams, secrets: log["A"].as_array().unwrap().iter().filter_map(named).collect() }
    }

    /// The `nth` secret whose name starts so.
    fn secret(&self, name: &str, nth: usize) -> &[u8] {
        let mut found = self.secrets.iter().filter(|(known, _)| known.starts_with(name));
        &found.nth(nth).unwrap_or_else(|| panic!("{name}")).1
    }

    fn auth(&self, request: bool) -> Auth {
        let (encryption, integrity) = if request { ("Sk_ei", "Sk_ai") } else { ("Sk_er", "Sk_ar") };
        let provider = Provider::new();
        let (encryption, integrity) = (self.secret(encryption, 0), self.secret(integrity, 0));
        let cipher =
            provider.cipher(Encr::AES_CBC, 128, Integ::HMAC_SHA2_256_128, encryption, integrity).unwrap();
        let (mut inside, mut first) = (Vec::new(), None);
        for ((_, number), datagram) in
            self.datagrams.iter().filter(|((is_request, _), _)| *is_request == request)
        {
            let sealed = Sealed::locate(datagram).unwrap().unwrap();
            first.get_or_insert(sealed.first);
            let spec = cipher.spec();
            let (covered, icv) = datagram.split_at(datagram.len() - spec.icv_len);
            let (iv, ciphertext) = covered[sealed.body.start..].split_at(spec.iv_len);
            let mut plain = ciphertext.to_vec();
            cipher
                .open(iv, &covered[..sealed.aad.end], &mut plain, &[], icv)
                .unwrap_or_else(|error| panic!("fragment {number}: {error:?}"));
            inside.extend(strip_padding(&plain).unwrap());
        }
        let payloads = parse_chain(first.expect("a datagram"), &inside, 0).unwrap();
        let mut proof = PeerProof { method: 0, data: vec![], certs: vec![], raw_key: None, ocsp: vec![] };
        for payload in payloads {
            match payload {
                Payload::Auth(auth) => (proof.method, proof.data) = (auth.method.0, auth.data.to_vec()),
                Payload::Cert(certificate) => proof.certs.push(certificate.data.to_vec()),
                _ => {}
            }
        }
        // The initiator logs the octets of its own proof before those of the responder's.
        let octets = self.secret("octets = ", usize::from(!request));
        Auth { proof, octets: SignedOctets(octets.into()) }
    }
}
