//! The words of proposal strings: swanctl's names of the algorithms that there are.

use crate::proposal::ADDITIONAL;
use wire::num::{Encr, EsnMode, Integ, KeMethod, Prf};

/// What a word of a proposal string stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// Encryption with its key length in bits (0 where there is one only).
    Encr(Encr, u16),
    /// An integrity algorithm; in an IKE proposal without a PRF it names the PRF too.
    Integ(Integ),
    /// A pseudorandom function.
    Prf(Prf),
    /// A key exchange method.
    Ke(KeMethod),
    /// A method of an additional key exchange, and which one, from 1 to 7: `ke1_mlkem768` (RFC 9370).
    Additional(u8, KeMethod),
    /// A sequence number mode.
    Esn(EsnMode),
}

use Word::{Encr as E, Esn as S, Integ as I, Ke as K, Prf as P};

/// Every word; the first one of a meaning is the one that is printed.
pub const WORDS: &[(&str, Word)] = &[
    ("aes128", E(Encr::AES_CBC, 128)),
    ("aes192", E(Encr::AES_CBC, 192)),
    ("aes256", E(Encr::AES_CBC, 256)),
    ("aes", E(Encr::AES_CBC, 128)),
    ("aes128cbc", E(Encr::AES_CBC, 128)),
    ("aes192cbc", E(Encr::AES_CBC, 192)),
    ("aes256cbc", E(Encr::AES_CBC, 256)),
    ("aes128ctr", E(Encr::AES_CTR, 128)),
    ("aes192ctr", E(Encr::AES_CTR, 192)),
    ("aes256ctr", E(Encr::AES_CTR, 256)),
    ("aes128gcm16", E(Encr::AES_GCM_16, 128)),
    ("aes192gcm16", E(Encr::AES_GCM_16, 192)),
    ("aes256gcm16", E(Encr::AES_GCM_16, 256)),
    ("aes128gcm12", E(Encr::AES_GCM_12, 128)),
    ("aes192gcm12", E(Encr::AES_GCM_12, 192)),
    ("aes256gcm12", E(Encr::AES_GCM_12, 256)),
    ("aes128gcm8", E(Encr::AES_GCM_8, 128)),
    ("aes192gcm8", E(Encr::AES_GCM_8, 192)),
    ("aes256gcm8", E(Encr::AES_GCM_8, 256)),
    ("aes128gcm128", E(Encr::AES_GCM_16, 128)),
    ("aes192gcm128", E(Encr::AES_GCM_16, 192)),
    ("aes256gcm128", E(Encr::AES_GCM_16, 256)),
    ("aes128gcm96", E(Encr::AES_GCM_12, 128)),
    ("aes192gcm96", E(Encr::AES_GCM_12, 192)),
    ("aes256gcm96", E(Encr::AES_GCM_12, 256)),
    ("aes128gcm64", E(Encr::AES_GCM_8, 128)),
    ("aes192gcm64", E(Encr::AES_GCM_8, 192)),
    ("aes256gcm64", E(Encr::AES_GCM_8, 256)),
    ("aes128gcm", E(Encr::AES_GCM_16, 128)),
    ("aes192gcm", E(Encr::AES_GCM_16, 192)),
    ("aes256gcm", E(Encr::AES_GCM_16, 256)),
    ("aes128ccm16", E(Encr::AES_CCM_16, 128)),
    ("aes192ccm16", E(Encr::AES_CCM_16, 192)),
    ("aes256ccm16", E(Encr::AES_CCM_16, 256)),
    ("aes128ccm12", E(Encr::AES_CCM_12, 128)),
    ("aes192ccm12", E(Encr::AES_CCM_12, 192)),
    ("aes256ccm12", E(Encr::AES_CCM_12, 256)),
    ("aes128ccm8", E(Encr::AES_CCM_8, 128)),
    ("aes192ccm8", E(Encr::AES_CCM_8, 192)),
    ("aes256ccm8", E(Encr::AES_CCM_8, 256)),
    ("aes128ccm128", E(Encr::AES_CCM_16, 128)),
    ("aes192ccm128", E(Encr::AES_CCM_16, 192)),
    ("aes256ccm128", E(Encr::AES_CCM_16, 256)),
    ("aes128ccm96", E(Encr::AES_CCM_12, 128)),
    ("aes192ccm96", E(Encr::AES_CCM_12, 192)),
    ("aes256ccm96", E(Encr::AES_CCM_12, 256)),
    ("aes128ccm64", E(Encr::AES_CCM_8, 128)),
    ("aes192ccm64", E(Encr::AES_CCM_8, 192)),
    ("aes256ccm64", E(Encr::AES_CCM_8, 256)),
    ("aes128ccm", E(Encr::AES_CCM_16, 128)),
    ("aes192ccm", E(Encr::AES_CCM_16, 192)),
    ("aes256ccm", E(Encr::AES_CCM_16, 256)),
    ("chacha20poly1305", E(Encr::CHACHA20_POLY1305, 0)),
    ("chacha20poly1305compat", E(Encr::CHACHA20_POLY1305, 0)),
    ("3des", E(Encr::TRIPLE_DES, 0)),
    ("null", E(Encr::NULL, 0)),
    ("sha256", I(Integ::HMAC_SHA2_256_128)),
    ("sha2_256", I(Integ::HMAC_SHA2_256_128)),
    ("sha384", I(Integ::HMAC_SHA2_384_192)),
    ("sha2_384", I(Integ::HMAC_SHA2_384_192)),
    ("sha512", I(Integ::HMAC_SHA2_512_256)),
    ("sha2_512", I(Integ::HMAC_SHA2_512_256)),
    ("sha1", I(Integ::HMAC_SHA1_96)),
    ("sha", I(Integ::HMAC_SHA1_96)),
    ("md5", I(Integ::HMAC_MD5_96)),
    ("aesxcbc", I(Integ::AES_XCBC_96)),
    ("aescmac", I(Integ::AES_CMAC_96)),
    ("prfsha256", P(Prf::HMAC_SHA2_256)),
    ("prfsha384", P(Prf::HMAC_SHA2_384)),
    ("prfsha512", P(Prf::HMAC_SHA2_512)),
    ("prfsha1", P(Prf::HMAC_SHA1)),
    ("prfmd5", P(Prf::HMAC_MD5)),
    ("prfaesxcbc", P(Prf::AES128_XCBC)),
    ("prfaescmac", P(Prf::AES128_CMAC)),
    ("x25519", K(KeMethod::CURVE25519)),
    ("curve25519", K(KeMethod::CURVE25519)),
    ("x448", K(KeMethod::CURVE448)),
    ("curve448", K(KeMethod::CURVE448)),
    ("ecp256", K(KeMethod::ECP_256)),
    ("ecp384", K(KeMethod::ECP_384)),
    ("ecp521", K(KeMethod::ECP_521)),
    ("ecp256bp", K(KeMethod::BRAINPOOL_256)),
    ("ecp384bp", K(KeMethod::BRAINPOOL_384)),
    ("ecp512bp", K(KeMethod::BRAINPOOL_512)),
    ("mlkem512", K(KeMethod::ML_KEM_512)),
    ("mlkem768", K(KeMethod::ML_KEM_768)),
    ("mlkem1024", K(KeMethod::ML_KEM_1024)),
    ("modp1024", K(KeMethod::MODP_1024)),
    ("modp1536", K(KeMethod::MODP_1536)),
    ("modp2048", K(KeMethod::MODP_2048)),
    ("modp3072", K(KeMethod::MODP_3072)),
    ("modp4096", K(KeMethod::MODP_4096)),
    ("modp6144", K(KeMethod::MODP_6144)),
    ("modp8192", K(KeMethod::MODP_8192)),
    ("modpnone", K(KeMethod::NONE)),
    ("none", K(KeMethod::NONE)),
    ("noesn", S(EsnMode::NONE)),
    ("esn", S(EsnMode::ESN)),
];

/// The meaning of a word.
pub fn lookup(word: &str) -> Option<Word> {
    match additional(word) {
        Some((place, method)) => match find(method)? {
            Word::Ke(method) => Some(Word::Additional(place, method)),
            _ => None,
        },
        None => find(word),
    }
}

fn find(word: &str) -> Option<Word> {
    WORDS.iter().find(|(name, _)| *name == word).map(|(_, meaning)| *meaning)
}

/// Which additional key exchange a word is about, from 1 to 7, and the method's word.
pub(crate) fn additional(word: &str) -> Option<(u8, &str)> {
    let (place, method) = word.strip_prefix("ke")?.split_once('_')?;
    let place: u8 = place.parse().ok()?;
    (1..=ADDITIONAL as u8).contains(&place).then_some((place, method))
}

/// The word for a meaning.
pub fn word_for(meaning: Word) -> Option<&'static str> {
    WORDS.iter().find(|(_, known)| *known == meaning).map(|(name, _)| *name)
}

/// What people call it: the word, or the registry's name, or the number.
pub fn spell(meaning: Word) -> String {
    if let Some(word) = word_for(meaning) {
        return word.to_string();
    }
    match meaning {
        Word::Additional(place, KeMethod::NONE) => format!("ke{place}_none"),
        Word::Additional(place, method) => format!("ke{place}_{}", spell(Word::Ke(method))),
        Word::Encr(encr, 0) => encr.to_string(),
        Word::Encr(encr, bits) => format!("{encr} with {bits} bits"),
        Word::Integ(integ) => integ.to_string(),
        Word::Prf(prf) => prf.to_string(),
        Word::Ke(ke) => ke.to_string(),
        Word::Esn(esn) => esn.to_string(),
    }
}

/// Why an algorithm is weak, if it is. Such a one works only where a connection names it.
pub fn weakness(meaning: Word) -> Option<&'static str> {
    match meaning {
        Word::Encr(Encr::TRIPLE_DES, _) => Some("64-bit blocks"),
        Word::Encr(Encr::NULL, _) => Some("no encryption"),
        Word::Integ(Integ::HMAC_MD5_96) | Word::Prf(Prf::HMAC_MD5) => Some("MD5"),
        Word::Additional(_, method) => weakness(Word::Ke(method)),
        Word::Ke(KeMethod::MODP_1024) => Some("1024-bit group"),
        Word::Ke(KeMethod::MODP_1536) => Some("1536-bit group"),
        _ => None,
    }
}
