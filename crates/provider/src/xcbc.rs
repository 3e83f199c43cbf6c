//! AES-XCBC-MAC (RFC 3566), over a library's AES.

use crate::ffi::AesEncrypt;
use zeroize::Zeroize;

/// A keyed AES-XCBC-MAC.
pub(crate) struct Xcbc {
    k1: AesEncrypt,
    k2: [u8; 16],
    k3: [u8; 16],
}

impl Xcbc {
    /// The three keys of RFC 3566 §4 (1).
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        let aes = |key: &[u8; 16]| AesEncrypt::new(key).expect("AES takes every key of 16 octets");
        let base = aes(key);
        let [mut k1, mut k2, mut k3] = [[1; 16], [2; 16], [3; 16]];
        [&mut k1, &mut k2, &mut k3].into_iter().for_each(|k| base.block(k));
        let this = Self { k1: aes(&k1), k2, k3 };
        [&mut k1, &mut k2, &mut k3].into_iter().for_each(Zeroize::zeroize);
        this
    }

    /// The MAC of `parts[0] | parts[1] | …`, not truncated.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut state = [0u8; 16];
        // Octets of the last block that are in `state` already. A full block waits: only when
        // more octets follow is it known not to be the last one, which gets a key of its own.
        let mut filled = 0;
        for mut part in parts.iter().copied() {
            while !part.is_empty() {
                if filled == 16 {
                    self.k1.block(&mut state);
                    filled = 0;
                }
                let (now, rest) = part.split_at(part.len().min(16 - filled));
                xor(&mut state[filled..], now);
                filled += now.len();
                part = rest;
            }
        }
        if filled == 16 {
            xor(&mut state, &self.k2);
        } else {
            xor(&mut state[filled..], &[0x80]);
            xor(&mut state, &self.k3);
        }
        self.k1.block(&mut state);
        state
    }
}

fn xor(into: &mut [u8], from: &[u8]) {
    into.iter_mut().zip(from).for_each(|(into, from)| *into ^= from);
}

impl Drop for Xcbc {
    fn drop(&mut self) {
        self.k2.zeroize();
        self.k3.zeroize();
    }
}
