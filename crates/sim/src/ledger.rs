//! What may never happen to a key: every key, IV and plaintext that the endpoints of a world use is
//! written down here, and a second use that breaks the rules is a violation.

use crate::limits::{PRINTED_SECRETS, SHORTEST_SECRET};
use dataplane::ChildSpec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The ledger of one world.
#[derive(Default)]
pub struct Ledger {
    ike: BTreeMap<Vec<u8>, IkeKey>,
    esp: BTreeMap<Vec<u8>, EspKey>,
    secrets: BTreeSet<Vec<u8>>,
    /// By first octet, for the search.
    by_first: BTreeMap<u8, Vec<Vec<u8>>>,
    /// How the latest begin, in the order they came and for the search.
    latest: VecDeque<[u8; 8]>,
    printed: BTreeSet<[u8; 8]>,
    /// Those that are text.
    texts: Vec<String>,
    words: Vec<Vec<u8>>,
    violations: Vec<String>,
}

/// One sealing key of IKE: who seals, for which SA, and what has been sealed.
struct IkeKey {
    host: usize,
    spis: [u8; 16],
    /// IV → hash of header and plaintext.
    ivs: BTreeMap<Vec<u8>, u64>,
    /// (exchange, response, message id, fragment, fragments) → hash of the plaintext.
    messages: BTreeMap<(u8, bool, u32, u16, u16), u64>,
}

struct EspKey {
    spi: u32,
    sender: Option<usize>,
    receiver: Option<usize>,
}

impl Ledger {
    /// Takes out what went wrong since the last call.
    pub(crate) fn violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    /// From now on `secret` may be seen nowhere.
    pub fn secret(&mut self, secret: &[u8]) {
        if secret.len() < SHORTEST_SECRET || !self.secrets.insert(secret.to_vec()) {
            return;
        }
        self.by_first.entry(secret[0]).or_default().push(secret.to_vec());
        if let Some(start) = secret.first_chunk::<8>()
            && self.printed.insert(*start)
        {
            self.latest.push_back(*start);
            if self.latest.len() > PRINTED_SECRETS {
                let oldest = self.latest.pop_front();
                oldest.map(|oldest| self.printed.remove(&oldest));
            }
        }
        self.texts.extend(std::str::from_utf8(secret).map(str::to_string));
    }

    /// From now on `word` may not be in the clear on the wire: an identity, for example.
    pub fn private(&mut self, word: &[u8]) {
        if !self.words.iter().any(|known| known == word) {
            self.words.push(word.to_vec());
        }
    }

    /// Whether a datagram shows a secret or a private word.
    pub(crate) fn check_wire(&mut self, host: &str, bytes: &[u8]) {
        for (at, first) in bytes.iter().enumerate() {
            let shown = self.by_first.get(first).into_iter().flatten().any(|s| bytes[at..].starts_with(s));
            if shown {
                self.violations.push(format!("{host} sends a secret in the clear, at octet {at}"));
            }
        }
        for word in &self.words {
            if bytes.windows(word.len()).any(|window| window == word) {
                let word = String::from_utf8_lossy(word);
                self.violations.push(format!("{host} sends “{word}” unencrypted"));
            }
        }
    }

    /// Whether a line that could go to a log shows a secret.
    pub(crate) fn check_text(&mut self, host: &str, text: &str) {
        let shown = self.is_printed(text) || self.texts.iter().any(|secret| text.contains(secret));
        if shown {
            self.violations.push(format!("{host} prints a secret: {text}"));
        }
    }

    /// Whether the first octets of a secret stand somewhere, as hexadecimal digits or as a list of numbers.
    fn is_printed(&self, text: &str) -> bool {
        let mut octets: VecDeque<u8> = VecDeque::new();
        let is_shown = |octets: &VecDeque<u8>| {
            let start: Vec<u8> = octets.iter().copied().collect();
            start.first_chunk::<8>().is_some_and(|start| self.printed.contains(start))
        };
        // Numbers one after the other, as a list of octets is printed.
        for word in text.split([',', '[', ']', '(', ')']) {
            match word.trim_start().parse() {
                Ok(octet) => octets.push_back(octet),
                Err(_) => octets.clear(),
            }
            if octets.len() > 8 {
                octets.pop_front();
            }
            if octets.len() == 8 && is_shown(&octets) {
                return true;
            }
        }
        let digits = text.as_bytes().split(|octet| !octet.is_ascii_hexdigit());
        digits.filter(|run| run.len() >= 16).flat_map(|run| run.windows(16)).any(|digits| {
            let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let octets: Option<Vec<u8>> = digits.chunks(2).map(octet).collect();
            octets
                .and_then(|octets| octets.first_chunk::<8>().copied())
                .is_some_and(|start| self.printed.contains(&start))
        })
    }

    /// An endpoint seals `data`; `aad` begins with the IKE header where the key is an IKE SA's.
    pub(crate) fn sealed(&mut self, host: usize, key: &[u8], iv: &[u8], aad: &[u8], data: &[u8]) {
        let Some(header) = aad.get(..28) else { return };
        let spis: [u8; 16] = header[..16].try_into().unwrap_or_default();
        let fresh = || IkeKey { host, spis, ivs: BTreeMap::new(), messages: BTreeMap::new() };
        let used = self.ike.entry(key.to_vec()).or_insert_with(fresh);
        if (used.host, used.spis) != (host, spis) {
            self.violations.push("one key of IKE serves two SAs or two directions".to_string());
            return;
        }
        let message_id = u32::from_be_bytes([header[20], header[21], header[22], header[23]]);
        let hash = fnv(fnv(FNV, data), aad);
        if !iv.is_empty() && used.ivs.insert(iv.to_vec(), hash).is_some_and(|before| before != hash) {
            self.violations.push(format!("an IV is used twice under one key (message id {message_id})"));
        }
        let (number, total) = match aad.len().checked_sub(4) {
            Some(at) if is_skf(aad) => {
                (u16::from_be_bytes([aad[at], aad[at + 1]]), u16::from_be_bytes([aad[at + 2], aad[at + 3]]))
            }
            _ => (0, 0),
        };
        let name = (header[18], header[19] & 0x20 != 0, message_id, number, total);
        if used.messages.insert(name, fnv(FNV, data)).is_some() {
            self.violations.push(format!("message id {message_id} is sealed twice under one key: {name:?}"));
        }
    }

    /// A data plane installs a child SA.
    pub(crate) fn installed(&mut self, host: usize, spec: &ChildSpec) {
        for (direction, sends) in [(&spec.outbound, true), (&spec.inbound, false)] {
            let mut key = direction.encr_key.expose().clone();
            key.extend_from_slice(direction.integ_key.expose());
            self.secret(direction.encr_key.expose());
            self.secret(direction.integ_key.expose());
            if key.is_empty() {
                continue;
            }
            if self.ike.contains_key(&key) {
                self.violations.push(format!("child {} has a key of an IKE SA", spec.name));
            }
            let spi = direction.spi.0;
            let used = self.esp.entry(key).or_insert(EspKey { spi, sender: None, receiver: None });
            let place = if sends { &mut used.sender } else { &mut used.receiver };
            if used.spi != spi || place.replace(host).is_some() {
                self.violations
                    .push(format!("one key of ESP serves two SAs: {:08x} and {spi:08x}", used.spi));
            }
        }
    }

    /// How many keys have been seen.
    pub fn keys(&self) -> usize {
        self.ike.len() + self.esp.len()
    }
}

/// Whether the last payload before the IV is SKF: its fixed header is four octets longer than SK's.
fn is_skf(aad: &[u8]) -> bool {
    let (mut kind, mut at) = (aad[16], 28);
    while at + 4 < aad.len() && kind != crate::peek::SKF && kind != crate::peek::SK {
        kind = aad[at];
        at += usize::from(u16::from_be_bytes([aad[at + 2], aad[at + 3]])).max(4);
    }
    kind == crate::peek::SKF
}

/// The offset basis of FNV-1a.
pub(crate) const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a over eight octets at a time: to tell apart, not to protect.
pub(crate) fn fnv(mut hash: u64, octets: &[u8]) -> u64 {
    for chunk in octets.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word) ^ ((chunk.len() as u64) << 60))
            .wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(spi: u8, message_id: u8) -> Vec<u8> {
        let mut aad = vec![spi; 16];
        aad.extend([crate::peek::SK, 0x20, 35, 8, 0, 0, 0, message_id, 0, 0, 0, 60, 0, 0, 0, 32]);
        aad
    }

    #[test]
    fn a_second_use_of_a_key_or_an_iv_or_an_id_is_found() {
        let mut ledger = Ledger::default();
        ledger.sealed(0, b"key", b"iv-00001", &header(1, 1), b"one");
        assert!(ledger.violations().is_empty());
        ledger.sealed(0, b"key", b"iv-00001", &header(1, 2), b"two");
        assert!(ledger.violations()[0].contains("IV is used twice"));
        ledger.sealed(0, b"key", b"iv-00002", &header(1, 1), b"three");
        assert!(ledger.violations()[0].contains("sealed twice"));
        ledger.sealed(0, b"key", b"iv-00003", &header(2, 1), b"four");
        assert!(ledger.violations()[0].contains("two SAs"));
        ledger.sealed(1, b"key", b"iv-00004", &header(1, 3), b"five");
        assert!(ledger.violations()[0].contains("two SAs or two directions"));
    }

    #[test]
    fn a_secret_is_found_in_octets_hex_and_decimals() {
        let mut ledger = Ledger::default();
        ledger.secret(b"golden handshake");
        ledger.private(b"alice.example");
        ledger.check_wire("a", b"..golden handshake..");
        ledger.check_wire("a", b"..alice.example..");
        ledger.check_text("a", "key: 676f6c64656e2068616e");
        ledger.check_text("a", &format!("{:?}", b"golden handshake"));
        ledger.check_text("a", "psk golden handshake");
        assert_eq!(ledger.violations().len(), 5);
        ledger.check_wire("a", b"golden hand");
        ledger.check_text("a", "nothing");
        assert!(ledger.violations().is_empty());
    }
}
