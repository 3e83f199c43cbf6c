//! The golden runs of two strongSwan daemons: from their shared secrets and nonces come their keys.

use base::Secret;
use crypto::{CipherSpec, Nonces, PrfFunction, SharedSecrets, Spis, Suite};
use provider::Provider;
use serde_json::Value;
use std::path::Path;
use testkit::hex;
use wire::num::{Encr, Integ, Prf};

#[test]
fn golden_runs_give_the_same_keys() {
    let Some(golden) = testkit::corpus("golden_runs_give_the_same_keys", "golden") else { return };
    let mut compared = [0; 4];
    for directory in std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()) {
        let name = directory.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("v2-") {
            continue;
        }
        let secrets: Value = serde_json::from_slice(&testkit::read(&directory.join("secrets.json"))).unwrap();
        let spis = spis_of(&directory.join("cap.pcap"));
        for side in ["A", "B"] {
            let mut replay = Replay::new(&spis);
            for event in secrets[side].as_array().unwrap() {
                replay.take(&name, event);
            }
            compared[0] += replay.ike_sas;
            compared[1] += replay.children;
            compared[2] += replay.nat_hashes;
            compared[3] += replay.without_keys;
        }
    }
    assert_eq!(
        compared,
        [56, 56, 120, 6],
        "IKE SAs, children, NAT detection hashes, SAs with SKEYSEED alone"
    );
}

/// The distinct pairs of SPIs that the headers of a capture carry in clear, in the order of the SAs.
fn spis_of(capture: &Path) -> Vec<Spis> {
    let mut found: Vec<[u8; 16]> = Vec::new();
    for message in testkit::pcap::ike(&testkit::read(capture)).unwrap() {
        let pair: [u8; 16] = message.payload[..16].try_into().unwrap();
        if pair[8..] != [0; 8] && !found.contains(&pair) {
            found.push(pair);
        }
    }
    let spi = |octets: &[u8]| base::IkeSpi(u64::from_be_bytes(octets.try_into().unwrap()));
    found.iter().map(|pair| Spis { initiator: spi(&pair[..8]), responder: spi(&pair[8..]) }).collect()
}

/// One side's log, replayed: what it says went into a derivation is kept, what it says came out is compared.
struct Replay<'a> {
    spis: &'a [Spis],
    ike: Option<(&'static dyn PrfFunction, CipherSpec)>,
    esp: Option<CipherSpec>,
    /// The latest value under each name.
    seen: std::collections::HashMap<String, Vec<u8>>,
    /// SK_d of the SA that the next exchange runs in.
    sk_d: Vec<u8>,
    expected: Option<crypto::IkeKeys>,
    ike_sas: usize,
    children: usize,
    nat_hashes: usize,
    without_keys: usize,
}

impl<'a> Replay<'a> {
    fn new(spis: &'a [Spis]) -> Self {
        Replay {
            spis,
            ike: None,
            esp: None,
            seen: Default::default(),
            sk_d: Vec::new(),
            expected: None,
            ike_sas: 0,
            children: 0,
            nat_hashes: 0,
            without_keys: 0,
        }
    }

    fn take(&mut self, run: &str, event: &Value) {
        if let Some(proposal) =
            event["event"].as_str().and_then(|text| text.strip_prefix("selected proposal: "))
        {
            self.select(proposal);
            return;
        }
        let Some(name) = event["name"].as_str() else { return };
        let octets = hex(event["hex"].as_str().unwrap());
        match name {
            "natd_hash" => {
                assert_eq!(Provider::new().sha1(&[&self.seen["natd_chunk"]])[..], octets, "{run}");
                self.nat_hashes += 1;
            }
            "SKEYSEED" => self.skeyseed(run, &octets),
            "derive keys using PPK" => self.mix_in_ppk(&octets),
            "prf(secret, keypad)" => {
                let pad = crypto::psk_pad(self.prf(), &self.seen["secret"]);
                assert_eq!(*pad.expose(), octets, "{run}: {name}");
            }
            "AUTH = prf(prf(secret, keypad), octets)" => {
                let signed = &self.seen["octets = message + nonce + prf(Sk_px, IDx') + IntAuth"];
                let auth = crypto::psk_auth(self.prf(), &self.seen["secret"], &[signed]);
                assert_eq!(*auth.expose(), octets, "{run}: {name}");
            }
            _ if name.starts_with("Sk_") => self.ike_key(run, name, &octets),
            _ if name.ends_with(" key") => self.child_key(run, name, &octets),
            _ => {}
        }
        self.seen.insert(name.to_owned(), octets);
    }

    /// `IKE:AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/ECP_256` and the like.
    fn select(&mut self, proposal: &str) {
        let (protocol, transforms) = proposal.split_once(':').unwrap();
        let parts: Vec<&str> = transforms.split('/').collect();
        let (encr, bits) = encryption(parts[0]);
        let integ = Integ::ALL.iter().find(|id| parts[1..].contains(&id.name().unwrap()));
        let shape = Provider::new().cipher_spec(encr, bits, integ.copied().unwrap_or(Integ::NONE)).unwrap();
        if protocol == "ESP" {
            self.esp = Some(shape);
            return;
        }
        let prf = *Prf::ALL.iter().find(|id| parts.contains(&id.name().unwrap())).unwrap();
        let provider: &'static Provider = Box::leak(Box::new(Provider::new()));
        // A rekeyed IKE SA's SKEYSEED comes from the old PRF; the runs keep it from SA to SA.
        self.ike = Some((provider.prf(prf).unwrap(), shape));
    }

    fn prf(&self) -> &'static dyn PrfFunction {
        self.ike.unwrap().0
    }

    fn nonces(&self) -> Nonces<'_> {
        let (initiator, responder) = self.seen["nonces"].split_at(32);
        Nonces { initiator, responder }
    }

    fn skeyseed(&mut self, run: &str, octets: &[u8]) {
        let (g_ir, nonces) = (&self.seen["key exchange secret"], self.nonces());
        let more = &self.seen["additional key exchange secret"];
        let skeyseed = match self.sk_d.as_slice() {
            [] => crypto::skeyseed(self.prf(), nonces, g_ir),
            sk_d => {
                let mut shared = SharedSecrets::from(Secret::new(g_ir.clone()));
                shared.push(&Secret::new(more.clone()));
                crypto::skeyseed_rekeyed(self.prf(), &sk_d.into(), nonces, &shared)
            }
        };
        assert_eq!(*skeyseed.expose(), octets, "{run}: SKEYSEED {}", self.ike_sas);
        // An additional key exchange (RFC 9370 §2.2.2) gives the same SA new keys.
        let sa = if run == "v2-psk-mlkem768" { self.ike_sas.saturating_sub(1) } else { self.ike_sas };
        let Some(spis) = self.spis.get(sa) else {
            // The capture ends before the new SPIs stand in a header: SKEYSEED is all there is to compare.
            self.expected = None;
            self.without_keys += 1;
            return;
        };
        let keys = crypto::ike_keys(self.prf(), &skeyseed, nonces, *spis, self.ike.unwrap().1).unwrap();
        self.sk_d = keys.d.expose().clone();
        self.expected = Some(keys);
        self.ike_sas += 1;
    }

    /// RFC 8784 §3: SK_d, SK_pi and SK_pr go through prf+ under the PPK.
    fn mix_in_ppk(&mut self, ppk: &[u8]) {
        let prf = self.prf();
        let keys = self.expected.as_mut().unwrap();
        for key in [&mut keys.d, &mut keys.pi, &mut keys.pr] {
            *key = crypto::prf_plus(prf, ppk, &[key.expose()], prf.len()).unwrap();
        }
        self.sk_d = keys.d.expose().clone();
    }

    fn ike_key(&self, run: &str, name: &str, octets: &[u8]) {
        let Some(keys) = self.expected.as_ref() else { return };
        let key = match name {
            "Sk_d secret" => &keys.d,
            "Sk_ai secret" => &keys.ai,
            "Sk_ar secret" => &keys.ar,
            "Sk_ei secret" => &keys.ei,
            "Sk_er secret" => &keys.er,
            "Sk_pi secret" => &keys.pi,
            "Sk_pr secret" => &keys.pr,
            _ => panic!("{run}: unknown key {name}"),
        };
        assert_eq!(*key.expose(), octets, "{run}: {name}");
    }

    fn child_key(&mut self, run: &str, name: &str, octets: &[u8]) {
        // The seed is g^ir if there was one, the nonces, and an additional secret (RFC 9370 §2.2.4). The function
        // under test puts three parts in a row, so that it matters not where they are cut.
        let nonces = Nonces { initiator: &self.seen["seed"], responder: &[] };
        let keys =
            crypto::child_keys(self.prf(), &self.sk_d[..].into(), None, nonces, self.esp.unwrap()).unwrap();
        let key = match name {
            "encryption initiator key" => &keys.initiator.encr,
            "encryption responder key" => &keys.responder.encr,
            "integrity initiator key" => &keys.initiator.integ,
            "integrity responder key" => &keys.responder.integ,
            _ => panic!("{run}: unknown key {name}"),
        };
        assert_eq!(*key.expose(), octets, "{run}: {name}");
        self.children += usize::from(name == "encryption initiator key");
    }
}

/// `AES_CBC_128`: the algorithm and its key length in bits, 0 where it has only one.
fn encryption(text: &str) -> (Encr, u16) {
    if text == "3DES_CBC" {
        return (Encr::TRIPLE_DES, 0);
    }
    for id in Encr::ALL {
        match text.strip_prefix(id.name().unwrap()) {
            Some("") => return (*id, 0),
            Some(rest) => match rest.strip_prefix('_').and_then(|bits| bits.parse().ok()) {
                Some(bits @ (128 | 192 | 256)) => return (*id, bits),
                _ => continue,
            },
            None => continue,
        }
    }
    panic!("unknown encryption {text}");
}
