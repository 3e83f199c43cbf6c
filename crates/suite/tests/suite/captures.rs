//! Other people's traffic with its keys.

use base::{IkeSpi, Secret};
use crypto::{IkeKeys, Suite};
use policy::IkeSuite;
use provider::Provider;
use serde_json::Value;
use std::sync::Arc;
use suite::Channel;
use suite::reader::{Reader, ke};
use testkit::{Tree, hex};
use wire::num::{Encr, Integ, KeMethod, Prf};
use wire::{Header, Message, Payload, Sealed};

/// The RUB handshake: a responder of another kind, and the initiator's private value. MODP 1024 is
/// done here by hand, so that the key exchange is read a second time too.
#[test]
fn the_handshake_of_rub_is_read_whole() {
    let test = "the_handshake_of_rub_is_read_whole";
    let Some(path) = testkit::corpus(test, "handshakes/rub_nds.json") else { return };
    let all: Value = serde_json::from_slice(&testkit::read(&path)).unwrap();
    let run = &all["handshakes"]["ikev2_psk"];
    let text = |value: &Value| hex(value.as_str().unwrap());
    let messages: Vec<Vec<u8>> = run["messages"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|message| [text(&message["request"]), text(&message["response"])])
        .collect();
    let response = Message::parse(&messages[1]).unwrap();
    let public = ke(&response.payloads).unwrap().data.to_vec();
    let pkcs8 = text(&run["dh_private_pkcs8_initiator"]);
    let spki = text(&run["dh_public_spki_initiator"]);
    let prime = &spki[spki.windows(8).position(|w| w == [0xff; 8]).unwrap()..][..128];
    let private = &pkcs8[pkcs8.len() - 128..];
    let own = Message::parse(&messages[0]).unwrap().into_owned();
    let two = [&[0; 127][..], &[2]].concat();
    assert_eq!(power(&two, private, prime), ke(&own.payloads).unwrap().data[..]);

    let mut reader = Reader::new(vec![power(&public, private, prime)]);
    let psk = run["psk_ascii"].as_str().unwrap().as_bytes();
    let mut proofs = 0;
    for message in &messages {
        let read = reader.read(message).expect("the keys fit").expect("no fragments");
        for payload in &read.payloads {
            if let Payload::Auth(auth) = payload {
                let suite = Provider::new();
                let prf = suite.prf(Prf::HMAC_SHA1).unwrap();
                let value = crypto::psk_auth(prf, psk, &[&reader.signed_octets(&read)]);
                assert_eq!(value.expose()[..], auth.data[..]);
                proofs += 1;
            }
        }
    }
    assert_eq!(proofs, 2);
    assert!(reader.derived.iter().any(|(name, _)| name == "encryption initiator key"), "the child's keys");
}

/// `base^exponent mod prime`, octets most significant first; slow and plain.
fn power(base: &[u8], exponent: &[u8], prime: &[u8]) -> Vec<u8> {
    let words = |octets: &[u8]| -> Vec<u64> {
        octets.rchunks(8).map(|c| c.iter().fold(0, |sum, o| sum << 8 | u64::from(*o))).collect()
    };
    let (base, prime) = (words(base), words(prime));
    let less = |a: &[u64], b: &[u64]| a.iter().rev().lt(b.iter().rev());
    // a + b mod prime, both below it.
    let add = |a: &[u64], b: &[u64]| {
        let mut carry = 0u128;
        let mut sum: Vec<u64> = Vec::with_capacity(a.len());
        for (x, y) in a.iter().zip(b) {
            carry += u128::from(*x) + u128::from(*y);
            sum.push(carry as u64);
            carry >>= 64;
        }
        if carry > 0 || !less(&sum, &prime) {
            let mut borrow = false;
            for (x, p) in sum.iter_mut().zip(&prime) {
                let (one, under) = x.overflowing_sub(*p);
                let (two, again) = one.overflowing_sub(u64::from(borrow));
                (*x, borrow) = (two, under || again);
            }
        }
        sum
    };
    let times = |a: &[u64], b: &[u64]| {
        let mut product = vec![0; a.len()];
        for bit in (0..64 * b.len()).rev() {
            product = add(&product, &product);
            if b[bit / 64] >> (bit % 64) & 1 == 1 {
                product = add(&product, a);
            }
        }
        product
    };
    let mut result = vec![0; prime.len()];
    result[0] = 1;
    for octet in exponent {
        for bit in (0..8).rev() {
            result = times(&result, &result);
            if octet >> bit & 1 == 1 {
                result = times(&result, &base);
            }
        }
    }
    result.iter().rev().flat_map(|word| word.to_be_bytes()).collect()
}

/// The captures that come with an `ikev2_decryption_table`: every protected message opens, and holds
/// the payloads that tshark finds in it.
#[test]
fn captures_with_keys_open() {
    let Some(directory) = testkit::corpus("captures_with_keys_open", "captures") else { return };
    let table = testkit::read(&directory.join("wireshark/ikev2_decryption_table"));
    let table: Vec<Keys> = String::from_utf8(table).unwrap().lines().filter_map(Keys::parse).collect();
    assert_eq!(table.len(), 3);
    let mut opened = 0;
    for name in [
        "ikev2-decrypt-3des-sha1_160.pcap",
        "ikev2-decrypt-aes256cbc.pcapng",
        "ikev2-decrypt-aes256gcm16.pcap",
    ] {
        let capture = testkit::read(&directory.join("wireshark").join(name));
        let decoded = directory.join(format!("decoded/wireshark_{name}.json.gz"));
        let decoded = Tree::parse(&testkit::read(&decoded));
        for datagram in testkit::pcap::ike(&capture).unwrap() {
            let message = &datagram.payload;
            if Sealed::locate(message).unwrap().is_none() {
                continue;
            }
            let header = Header::parse(message).unwrap();
            let keys = table.iter().find(|keys| keys.spis == (header.spi_i, header.spi_r));
            let keys = keys.unwrap_or_else(|| panic!("{name}: no keys for frame {}", datagram.frame));
            let inside =
                keys.channel().open(message).unwrap_or_else(|e| panic!("{name} {}: {e:?}", datagram.frame));
            keys.check_long_mac(message, header.flags.initiator);
            let ours: Vec<u64> = inside.payloads().iter().map(|p| u64::from(p.kind().0)).collect();
            let theirs = payload_types(&decoded.items()[datagram.frame - 1]);
            let sealed = theirs.iter().position(|kind| *kind == 46).expect("SK");
            assert_eq!(ours, theirs[sealed + 1..], "{name}: frame {}", datagram.frame);
            opened += 1;
        }
    }
    assert!(opened >= 6, "{opened}");
    println!("SUMMARY: captures with keys: {opened} messages opened");
}

/// The payload types of a frame in tshark's view, from the outside in.
fn payload_types(tree: &Tree) -> Vec<u64> {
    let mut found = Vec::new();
    fn walk(tree: &Tree, found: &mut Vec<u64>) {
        for (name, value) in tree.entries() {
            if let ("isakmp.typepayload", Tree::Leaf(text)) = (name.as_str(), value) {
                found.extend(text.parse::<u64>().ok().filter(|kind| *kind >= 33));
            }
            walk(value, found);
        }
        tree.items().iter().for_each(|item| walk(item, found));
    }
    walk(tree, &mut found);
    found
}

/// A line of an `ikev2_decryption_table`.
struct Keys {
    spis: (IkeSpi, IkeSpi),
    encr: [Vec<u8>; 2],
    integ: [Vec<u8>; 2],
    algorithms: IkeSuite,
    /// HMAC_SHA1_160, of which the provider has the first 96 bits.
    long_mac: bool,
}

impl Keys {
    fn parse(line: &str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let fields: Vec<&str> = line.split(',').map(|field| field.trim_matches('"')).collect();
        let spi = |text: &str| IkeSpi(u64::from_str_radix(text, 16).unwrap());
        let (encr, key_bits) = match fields[4] {
            text if text.starts_with("3DES") => (Encr::TRIPLE_DES, 0),
            text if text.starts_with("AES-CBC-256") => (Encr::AES_CBC, 256),
            text if text.starts_with("AES-GCM-256 with 16") => (Encr::AES_GCM_16, 256),
            other => panic!("{other}"),
        };
        let integ = match fields[7] {
            text if text.starts_with("HMAC_SHA1_160") => Integ::HMAC_SHA1_96,
            text if text.starts_with("HMAC_SHA2_256_128") => Integ::HMAC_SHA2_256_128,
            text if text.starts_with("NONE") => Integ::NONE,
            other => panic!("{other}"),
        };
        Some(Self {
            spis: (spi(fields[0]), spi(fields[1])),
            encr: [hex(fields[2]), hex(fields[3])],
            integ: [hex(fields[5]), hex(fields[6])],
            long_mac: fields[7].starts_with("HMAC_SHA1_160"),
            algorithms: IkeSuite {
                encr,
                key_bits,
                integ,
                prf: Prf::HMAC_SHA1,
                ke: KeMethod::NONE,
                additional: policy::Additional::default(),
            },
        })
    }

    fn channel(&self) -> Channel {
        let secret = |octets: &[u8]| Secret::from(octets);
        let none = || Secret::new(Vec::new());
        let keys = IkeKeys {
            d: none(),
            pi: none(),
            pr: none(),
            ei: secret(&self.encr[0]),
            er: secret(&self.encr[1]),
            ai: secret(&self.integ[0]),
            ar: secret(&self.integ[1]),
        };
        let mut channel = Channel::of_keys(Arc::new(Provider::new()), self.algorithms, keys);
        channel.icv_on_the_wire = self.long_mac.then_some(20);
        channel
    }

    /// HMAC_SHA1_160 (RFC 4595) whole: it is PRF_HMAC_SHA1 over everything before it.
    fn check_long_mac(&self, message: &[u8], from_initiator: bool) {
        if self.long_mac {
            let suite = Provider::new();
            let prf = suite.prf(Prf::HMAC_SHA1).unwrap();
            let (covered, mac) = message.split_at(message.len() - 20);
            let key = &self.integ[usize::from(!from_initiator)];
            assert_eq!(prf.compute(key, &[covered]).expose()[..], *mac);
        }
    }
}
