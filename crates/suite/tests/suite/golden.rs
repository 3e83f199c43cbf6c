//! Whole IKE lives of two strongSwan daemons, from their shared secrets: every message decrypted and
//! read, every key and every AUTH value found again.

use base::WallClock;
use crypto::Suite;
use policy::{AuthMethod, ConnectionId, IdPattern, Identity, Policy};
use provider::Provider;
use sa::{Answer, Job, PeerProof, SignedOctets};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use suite::reader::{Read, Reader};
use testkit::hex;
use trust::{Secrets, Trust};
use wire::Payload;
use wire::num::{NotifyType, PayloadType};

const PSK: &[u8] = b"golden handshake psk 0123456789";

/// Runs with what this suite does not read: EAP.
const OTHERS: [&str; 1] = ["v2-eap-md5"];

/// Their captures end before the last exchange, the deletion of the IKE SA.
const CUT_OFF: [&str; 2] = ["v2-psk-aes128-sha256-modp8192", "v2-psk-mlkem768"];

//= rfc7296 §2.14
//= rfc7296 §2.15
//= rfc7296 §2.17
//= rfc7296 §2.18
//= rfc9242 §3.3.2
//= rfc9370 §2.2.2
//= rfc9370 §2.2.4
//= rfc8784 §3
#[test]
fn golden_runs_are_read_whole() {
    let Some(golden) = testkit::corpus("golden_runs_are_read_whole", "golden") else { return };
    let Some(certs) = testkit::corpus("golden_runs_are_read_whole", "golden-certs") else { return };
    let (mut runs, mut all) = (Vec::new(), 0);
    for entry in std::fs::read_dir(golden).unwrap() {
        let directory = entry.unwrap().path();
        let name = directory.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("v2-") && !OTHERS.contains(&name.as_str()) {
            let messages = run(&name, &directory, &certs);
            assert!(messages >= 12, "{name}: {messages} messages");
            runs.push(name);
            all += messages;
        }
    }
    println!(
        "SUMMARY: golden runs: {} read whole, {all} messages, every key and AUTH value found again",
        runs.len()
    );
    assert_eq!(runs.len(), 14, "{runs:?}");
}

/// Reads one run; the number of messages.
fn run(name: &str, directory: &Path, certs: &Path) -> usize {
    let secrets: Value = serde_json::from_slice(&testkit::read(&directory.join("secrets.json"))).unwrap();
    let log = secrets["A"].as_array().unwrap();
    let named = |wanted: &str| -> Vec<Vec<u8>> {
        let fits = |entry: &&Value| entry["name"] == wanted;
        log.iter().filter(fits).map(|entry| hex(entry["hex"].as_str().unwrap())).collect()
    };
    let shared = log.iter().filter(|entry| {
        let name = entry["name"].as_str().unwrap_or_default();
        ["key exchange secret", "additional key exchange secret"].contains(&name)
    });
    let shared = shared.map(|entry| hex(entry["hex"].as_str().unwrap())).filter(|secret| !secret.is_empty());
    let mut reader = Reader::new(shared.collect()).with_ppk("ppk1.test", (0..32).collect());
    let mut said = log.iter().filter_map(|entry| parsed_or_generated(entry["event"].as_str()?));
    let mut proofs = named("AUTH = prf(prf(secret, keypad), octets)").into_iter();
    let mut octets = named("octets = message + nonce + prf(Sk_px, IDx') + IntAuth").into_iter();
    let mut messages = 0;
    for datagram in testkit::pcap::ike(&testkit::read(&directory.join("cap.pcap"))).unwrap() {
        let read = reader.read(&datagram.payload).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let Some(read) = read else { continue };
        messages += 1;
        let line = said.next().unwrap_or_else(|| panic!("{name}: a message that the log does not have"));
        assert_eq!(describe(&read), line, "{name}: message {messages}");
        if read.payloads.iter().any(|payload| payload.kind() == PayloadType::AUTH) {
            let signed = reader.signed_octets(&read);
            assert_eq!(signed, octets.next().unwrap(), "{name}: the octets that AUTH covers");
            check_auth(name, &read, (signed, None), certs, proofs.next());
        }
        let without_ppk = read.payloads.iter().find_map(|payload| match payload {
            Payload::Notify(notify) if notify.kind == NotifyType::NO_PPK_AUTH => Some(notify.data.to_vec()),
            _ => None,
        });
        if let Some(proof) = without_ppk {
            let signed = reader.octets_without_ppk(&read);
            assert_eq!(signed, octets.next().unwrap(), "{name}: the octets that NO_PPK_AUTH covers");
            check_auth(name, &read, (signed, Some(proof)), certs, proofs.next());
        }
    }
    if CUT_OFF.contains(&name) {
        assert_eq!(said.by_ref().count(), 2, "{name}: the exchange that the capture missed");
    }
    assert_eq!(said.next(), None, "{name}: a message that the capture does not have");
    assert_eq!(reader.left(), 0, "{name}: shared secrets that no exchange needed");
    let wanted: Vec<(String, Vec<u8>)> = log
        .iter()
        .filter_map(|entry| Some((entry["name"].as_str()?.to_string(), hex(entry["hex"].as_str()?))))
        .filter(|(name, _)| {
            name == "SKEYSEED"
                || name.starts_with("Sk_")
                || name.ends_with("or key")
                || name.ends_with("er key")
        })
        .collect();
    assert_eq!(reader.derived, wanted, "{name}: keys");
    messages
}

/// `IKE_AUTH response 1 [ IDr AUTH SA TSi TSr N ]` of a line of the log; fragments have lines of their
/// own there, which are left out.
fn parsed_or_generated(event: &str) -> Option<String> {
    let line = event.strip_prefix("generating ").or_else(|| event.strip_prefix("parsed "))?;
    let notify = |word: &str| if word.starts_with("N(") { "N".to_string() } else { word.to_string() };
    let line: Vec<String> = line.split_whitespace().map(notify).collect();
    (!line.iter().any(|word| word.starts_with("EF("))).then(|| line.join(" "))
}

/// The same of a message that was read.
fn describe(read: &Read) -> String {
    let direction = if read.header.flags.response { "response" } else { "request" };
    let payloads: Vec<&str> = read.payloads.iter().map(|p| p.kind().name().unwrap()).collect();
    let mut words = vec!["["];
    words.extend(payloads);
    words.push("]");
    format!("{} {direction} {} {}", read.header.exchange, read.header.message_id, words.join(" "))
}

/// The AUTH payload proves what it should: by the key's own store, which did not make it.
/// `without_ppk`: in place of the AUTH payload, this does.
fn check_auth(
    name: &str,
    read: &Read,
    (octets, without_ppk): (Vec<u8>, Option<Vec<u8>>),
    certs: &Path,
    logged: Option<Vec<u8>>,
) {
    let auth = read.payloads.iter().find_map(|payload| match payload {
        Payload::Auth(auth) => Some(auth),
        _ => None,
    });
    let auth = auth.unwrap();
    let chain = read.payloads.iter().filter_map(|payload| match payload {
        Payload::Cert(cert) => Some(cert.data.to_vec()),
        _ => None,
    });
    let data = without_ppk.unwrap_or_else(|| auth.data.to_vec());
    if let Some(logged) = logged {
        assert_eq!(data, logged, "{name}: AUTH");
    }
    let ids = ["conf.test", "peer.test"].map(|id| Identity::Fqdn(id.to_string()));
    let remote = ids[usize::from(read.header.flags.response)].clone();
    let job = |octets: &[u8]| Job::Check {
        connection: ConnectionId(0),
        name: "net".to_string(),
        round: policy::Round::First,
        local: ids[usize::from(!read.header.flags.response)].clone(),
        wanted: IdPattern::Is(remote.clone()),
        remote: remote.clone(),
        prf: prf(name),
        octets: SignedOctets(octets.into()),
        proof: PeerProof {
            method: auth.method.0,
            data: data.clone(),
            certs: chain.clone().collect(),
            raw_key: None,
            ocsp: Vec::new(),
        },
        wall: WallClock(1_800_000_000),
    };
    let keeper = keeper(certs, if name.contains("ecdsa") { AuthMethod::Pubkey } else { AuthMethod::Psk });
    let answer = keeper.answer(&job(&octets));
    assert!(matches!(answer, Answer::Verified(_)), "{name}: {answer:?}");
    let mut forged = octets;
    forged[30] ^= 1;
    let answer = keeper.answer(&job(&forged));
    assert!(matches!(answer, Answer::Refused(_)), "{name}: a forged message is accepted: {answer:?}");
}

fn prf(name: &str) -> wire::num::Prf {
    use wire::num::Prf;
    match name {
        _ if name.contains("sha512") => Prf::HMAC_SHA2_512,
        _ if name.contains("mlkem") => Prf::HMAC_SHA2_384,
        _ if name.contains("sha1") => Prf::HMAC_SHA1,
        _ if name.contains("xcbc") => Prf::AES128_XCBC,
        _ => Prf::HMAC_SHA2_256,
    }
}

fn keeper(certs: &Path, method: AuthMethod) -> Trust {
    let suite: Arc<dyn Suite> = Arc::new(Provider::new());
    let address = "10.99.0.1".parse().unwrap();
    let mut connection = sim::site::connection("conf", address, "peer", address);
    connection.remote.method = method;
    connection.remote.authorities =
        trust::certificates(&*suite, &testkit::read(&certs.join("ca.pem"))).unwrap();
    let mut secrets = Secrets::new();
    secrets.add_psk(Vec::new(), PSK.into());
    Trust::new(Arc::new(Policy::of([connection])), suite, secrets)
}
