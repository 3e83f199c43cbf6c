//! Signature algorithms as RFC 7427 and X.509 name them: AlgorithmIdentifiers, and the keys they go with.

use crate::limits::{MAX_RSA_BITS, MIN_RSA_BITS};
use crate::text::quote;
use crypto::{SIGNATURES, SignatureScheme as Scheme};
use pkcs8::ObjectIdentifier as Oid;
use pkcs8::der::asn1::{AnyRef, UintRef};
use pkcs8::der::{Decode, Encode, Reader, SliceReader, Tag, TagMode, TagNumber};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use wire::num::HashAlgorithm as Hash;

const RSA_ENCRYPTION: Oid = Oid::new_unwrap("1.2.840.113549.1.1.1");
const RSASSA_PSS: Oid = Oid::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: Oid = Oid::new_unwrap("1.2.840.113549.1.1.8");
const EC_PUBLIC_KEY: Oid = Oid::new_unwrap("1.2.840.10045.2.1");
const ED25519: Oid = Oid::new_unwrap("1.3.101.112");
const ED448: Oid = Oid::new_unwrap("1.3.101.113");
const ML_DSA_44: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.3.17");
const ML_DSA_65: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.3.18");
const ML_DSA_87: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.3.19");
const SHA1: Oid = Oid::new_unwrap("1.3.14.3.2.26");
const SHA256: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.3");

/// The scheme that the AlgorithmIdentifier `der` names. RSA and ECDSA may come with NULL parameters or
/// without (RFC 7427 §3); RSASSA-PSS takes the hash of its mask generation to be the signature's (RFC 4055 §3.1) and
/// any salt length; SHA-1 is refused in all of them.
//= rfc8247 §3.2
pub(crate) fn read(der: &[u8]) -> Result<Scheme, String> {
    let Ok(algorithm) = AlgorithmIdentifierRef::from_der(der) else {
        return Err("the AlgorithmIdentifier before the signature is not valid DER".into());
    };
    let scheme = if algorithm.oid == RSASSA_PSS { pss(algorithm.parameters)? } else { plain(&algorithm)? };
    match scheme {
        Scheme::RsaPkcs1Sha1 | Scheme::EcdsaSha1 => Err(sha1()),
        scheme => Ok(scheme),
    }
}

fn sha1() -> String {
    "the signature is made with SHA-1, which is refused (RFC 8247 §3.2); the peer must use SHA2-256 or better"
        .into()
}

fn plain(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<Scheme, String> {
    let row = SIGNATURES.iter().find(|(_, _, written)| {
        AlgorithmIdentifierRef::from_der(written).is_ok_and(|written| written.oid == algorithm.oid)
    });
    let Some((scheme, hash, _)) = row else {
        return Err(format!("the signature algorithm {} is not known", quote(&algorithm.oid.to_string())));
    };
    match algorithm.parameters {
        None => Ok(*scheme),
        Some(parameters) if parameters.is_null() && *hash != Hash::IDENTITY => Ok(*scheme),
        Some(_) => {
            Err(format!("the signature algorithm {} has parameters, and may have none", algorithm.oid))
        }
    }
}

fn pss(parameters: Option<AnyRef<'_>>) -> Result<Scheme, String> {
    let malformed =
        |_: pkcs8::der::Error| "the parameters of the RSASSA-PSS signature are not valid DER".to_owned();
    let Some(parameters) = parameters else { return Err(sha1()) };
    let (hash, mask) = parameters.sequence(pss_fields).map_err(malformed)?;
    let hash = hash.map_or(SHA1, |hash| hash.oid);
    let mask_hash = match mask {
        None => SHA1,
        Some(mask) if mask.oid == MGF1 => match mask.parameters {
            Some(inner) => inner.decode_as::<AlgorithmIdentifierRef<'_>>().map_err(malformed)?.oid,
            None => SHA1,
        },
        Some(mask) => {
            return Err(format!("the mask generation {} of the RSASSA-PSS signature is not MGF1", mask.oid));
        }
    };
    if hash != mask_hash {
        return Err(format!(
            "the RSASSA-PSS signature uses hash {hash} but {mask_hash} in its mask, which is not supported"
        ));
    }
    match hash {
        SHA256 => Ok(Scheme::RsaPssSha256),
        SHA384 => Ok(Scheme::RsaPssSha384),
        SHA512 => Ok(Scheme::RsaPssSha512),
        SHA1 => Err(sha1()),
        other => Err(format!("the hash {other} of the RSASSA-PSS signature is not known")),
    }
}

type PssFields<'a> = (Option<AlgorithmIdentifierRef<'a>>, Option<AlgorithmIdentifierRef<'a>>);

/// hashAlgorithm and maskGenAlgorithm of RSASSA-PSS-params (RFC 4055 §3.1).
fn pss_fields<'a>(reader: &mut SliceReader<'a>) -> Result<PssFields<'a>, pkcs8::der::Error> {
    let hash = reader.context_specific(TagNumber(0), TagMode::Explicit)?;
    let mask = reader.context_specific(TagNumber(1), TagMode::Explicit)?;
    // The library that verifies takes the length of the salt from the signature itself.
    let _salt: Option<u32> = reader.context_specific(TagNumber(2), TagMode::Explicit)?;
    match reader.context_specific::<u8>(TagNumber(3), TagMode::Explicit)? {
        None | Some(1) => Ok((hash, mask)),
        Some(_) => Err(pkcs8::der::ErrorKind::Failed.into()),
    }
}

/// What kind of public key a SubjectPublicKeyInfo holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyKind {
    /// rsaEncryption, with the bits of its modulus.
    Rsa(usize),
    /// id-RSASSA-PSS: signs with PSS only (RFC 4055 §1.2).
    RsaPss(usize),
    /// On a named curve.
    Ec(Curve),
    /// RFC 8410.
    Ed25519,
    /// RFC 8410.
    Ed448,
    /// RFC 9881, by its parameter set.
    MlDsa(ParameterSet),
}

/// A parameter set of ML-DSA (FIPS 204 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ParameterSet {
    P44,
    P65,
    P87,
}

impl ParameterSet {
    fn scheme(self) -> Scheme {
        match self {
            ParameterSet::P44 => Scheme::MlDsa44,
            ParameterSet::P65 => Scheme::MlDsa65,
            ParameterSet::P87 => Scheme::MlDsa87,
        }
    }

    /// Octets of a public key (FIPS 204 §4, table 2).
    fn key_len(self) -> usize {
        match self {
            ParameterSet::P44 => 1312,
            ParameterSet::P65 => 1952,
            ParameterSet::P87 => 2592,
        }
    }

    fn name(self) -> &'static str {
        match self {
            ParameterSet::P44 => "ML-DSA-44",
            ParameterSet::P65 => "ML-DSA-65",
            ParameterSet::P87 => "ML-DSA-87",
        }
    }
}

/// A named curve and how ECDSA goes with it: the octets of r and s, the hash that fits, the method of RFC 4754.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) octets: usize,
    pub(crate) scheme: Scheme,
    pub(crate) method: u8,
}

const CURVES: &[(&str, Curve)] = &[
    ("1.2.840.10045.3.1.7", curve("P-256", 32, Scheme::EcdsaSha256, 9)),
    ("1.3.132.0.34", curve("P-384", 48, Scheme::EcdsaSha384, 10)),
    ("1.3.132.0.35", curve("P-521", 66, Scheme::EcdsaSha512, 11)),
];

const fn curve(name: &'static str, octets: usize, scheme: Scheme, method: u8) -> Curve {
    Curve { name, octets, scheme, method }
}

impl KeyKind {
    /// Reads a SubjectPublicKeyInfo.
    pub(crate) fn of(spki: &[u8]) -> Result<KeyKind, String> {
        let unreadable = |_| "its public key cannot be read".to_owned();
        let spki = SubjectPublicKeyInfoRef::from_der(spki).map_err(unreadable)?;
        match spki.algorithm.oid {
            RSA_ENCRYPTION => {
                Ok(KeyKind::Rsa(modulus_bits(spki.subject_public_key.raw_bytes()).map_err(unreadable)?))
            }
            RSASSA_PSS => {
                Ok(KeyKind::RsaPss(modulus_bits(spki.subject_public_key.raw_bytes()).map_err(unreadable)?))
            }
            ED25519 => Ok(KeyKind::Ed25519),
            ED448 => Ok(KeyKind::Ed448),
            ML_DSA_44 => ml_dsa(&spki, ParameterSet::P44),
            ML_DSA_65 => ml_dsa(&spki, ParameterSet::P65),
            ML_DSA_87 => ml_dsa(&spki, ParameterSet::P87),
            EC_PUBLIC_KEY => {
                let oid =
                    spki.algorithm.parameters_oid().map_err(|_| "its curve is not a named one".to_owned())?;
                let known = CURVES.iter().find(|(name, _)| Oid::new_unwrap(name) == oid);
                known
                    .map(|(_, curve)| KeyKind::Ec(*curve))
                    .ok_or_else(|| format!("its curve {oid} is none of P-256, P-384 and P-521"))
            }
            other => Err(format!("its key of type {other} is not known")),
        }
    }

    /// Whether the key is strong enough and not absurdly large (RFC 8247 §4.1.1).
    pub(crate) fn check_size(self) -> Result<(), String> {
        match self {
            KeyKind::Rsa(bits) | KeyKind::RsaPss(bits) if bits < MIN_RSA_BITS => {
                Err(format!("its RSA key has {bits} bits, and at least {MIN_RSA_BITS} are needed"))
            }
            KeyKind::Rsa(bits) | KeyKind::RsaPss(bits) if bits > MAX_RSA_BITS => {
                Err(format!("its RSA key has {bits} bits, and at most {MAX_RSA_BITS} are taken"))
            }
            _ => Ok(()),
        }
    }

    /// The schemes to sign with under RFC 7427, best first. PKCS#1 v1.5 comes before PSS although
    /// RFC 8247 §3.2 prefers the latter: Android's own VPN crashes on PSS, every peer verifies the former, and each
    /// signature covers fresh nonces.
    pub(crate) fn preferences(self) -> Vec<Scheme> {
        let pss = [Scheme::RsaPssSha256, Scheme::RsaPssSha384, Scheme::RsaPssSha512];
        let ecdsa = [Scheme::EcdsaSha256, Scheme::EcdsaSha384, Scheme::EcdsaSha512];
        match self {
            KeyKind::Rsa(_) => {
                let pkcs1 = [Scheme::RsaPkcs1Sha256, Scheme::RsaPkcs1Sha384, Scheme::RsaPkcs1Sha512];
                pkcs1.into_iter().chain(pss).collect()
            }
            KeyKind::RsaPss(_) => pss.to_vec(),
            KeyKind::Ec(curve) => {
                let others = ecdsa.into_iter().filter(|scheme| *scheme != curve.scheme);
                std::iter::once(curve.scheme).chain(others).collect()
            }
            KeyKind::Ed25519 => vec![Scheme::Ed25519],
            KeyKind::Ed448 => vec![Scheme::Ed448],
            KeyKind::MlDsa(set) => vec![set.scheme()],
        }
    }

    /// As people call it.
    pub(crate) fn name(self) -> String {
        match self {
            KeyKind::Rsa(bits) => format!("RSA {bits}"),
            KeyKind::RsaPss(bits) => format!("RSASSA-PSS {bits}"),
            KeyKind::Ec(curve) => format!("ECDSA {}", curve.name),
            KeyKind::Ed25519 => "Ed25519".into(),
            KeyKind::Ed448 => "Ed448".into(),
            KeyKind::MlDsa(set) => set.name().into(),
        }
    }
}

/// An ML-DSA key has no parameters and one length.
//= rfc9881 §4
fn ml_dsa(spki: &SubjectPublicKeyInfoRef<'_>, set: ParameterSet) -> Result<KeyKind, String> {
    if spki.algorithm.parameters.is_some() {
        return Err(format!("the algorithm of its {} key has parameters, and may have none", set.name()));
    }
    let len = spki.subject_public_key.raw_bytes().len();
    if len != set.key_len() || spki.subject_public_key.unused_bits() != 0 {
        return Err(format!("its {} key has {len} octets where {} are right", set.name(), set.key_len()));
    }
    Ok(KeyKind::MlDsa(set))
}

fn modulus_bits(key: &[u8]) -> Result<usize, pkcs8::der::Error> {
    let mut reader = SliceReader::new(key)?;
    let bits = reader.sequence(|reader| {
        let modulus = UintRef::decode(reader)?;
        UintRef::decode(reader)?;
        let octets = modulus.as_bytes();
        let unused = octets.first().map_or(0, |first| first.leading_zeros() as usize);
        Ok::<_, pkcs8::der::Error>(octets.len() * 8 - unused)
    })?;
    reader.finish()?;
    Ok(bits)
}

/// RFC 4754's signature, r and s side by side, as an ECDSA-Sig-Value.
pub(crate) fn ecdsa_to_der(raw: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = raw.split_at_checked(raw.len() / 2).filter(|(r, s)| r.len() == s.len() && !r.is_empty())?;
    let integers = [UintRef::new(r).ok()?.to_der().ok()?, UintRef::new(s).ok()?.to_der().ok()?].concat();
    AnyRef::new(Tag::Sequence, &integers).ok()?.to_der().ok()
}

/// An ECDSA-Sig-Value as RFC 4754 wants it: r and s side by side, each of `octets` octets.
pub(crate) fn ecdsa_to_raw(der: &[u8], octets: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(2 * octets);
    let integers = AnyRef::from_der(der).ok()?.sequence(|reader| {
        let (r, s) = (UintRef::decode(reader)?, UintRef::decode(reader)?);
        Ok::<_, pkcs8::der::Error>([r, s])
    });
    for integer in integers.ok()? {
        let padding = octets.checked_sub(integer.as_bytes().len())?;
        out.resize(out.len() + padding, 0);
        out.extend(integer.as_bytes());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    /// RFC 7427 Appendix A, as printed there.
    #[test]
    fn appendix_a_of_rfc_7427() {
        let rsa = |last: &str| hex(&format!("300d 0609 2a86 4886 f70d 0101 {last}05 00"));
        assert_eq!(read(&rsa("0b")), Ok(Scheme::RsaPkcs1Sha256));
        assert_eq!(read(&rsa("0c")), Ok(Scheme::RsaPkcs1Sha384));
        assert_eq!(read(&rsa("0d")), Ok(Scheme::RsaPkcs1Sha512));
        assert_eq!(read(&hex("300a 0608 2a86 48ce 3d04 0302")), Ok(Scheme::EcdsaSha256));
        assert_eq!(read(&hex("300a 0608 2a86 48ce 3d04 0303")), Ok(Scheme::EcdsaSha384));
        assert_eq!(read(&hex("300a 0608 2a86 48ce 3d04 0304")), Ok(Scheme::EcdsaSha512));
        let pss = "3046 0609 2a86 4886 f70d 0101 0a30 39a0 0f30 0d06 0960 8648 0165 0304 0201 0500 a11c 301a 0609 2a86 4886 \
                   f70d 0101 0830 0d06 0960 8648 0165 0304 0201 0500 a203 0201 20a3 0302 0101";
        assert_eq!(read(&hex(pss)), Ok(Scheme::RsaPssSha256));
    }

    //= rfc8247 §3.2
    #[test]
    fn sha1_is_refused_in_every_shape() {
        for der in [
            "300d 0609 2a86 4886 f70d 0101 0505 00",
            "3009 0607 2a86 48ce 3d04 01",
            "300d 0609 2a86 4886 f70d 0101 0a30 00",
            "300b 0609 2a86 4886 f70d 0101 0a",
            "303e 0609 2a86 4886 f70d 0101 0a30 31a0 0b30 0906 052b 0e03 021a 0500 a118 3016 0609 2a86 4886 f70d 0101 0830 0906 \
             052b 0e03 021a 0500 a203 0201 14a3 0302 0101",
        ] {
            let why = read(&hex(der)).unwrap_err();
            assert!(why.contains("SHA-1"), "{der}: {why}");
        }
    }

    #[test]
    fn what_we_write_we_read() {
        for (scheme, hash, der) in SIGNATURES {
            match read(der) {
                Ok(found) => assert_eq!(found, *scheme),
                Err(why) => assert!(*hash == Hash::SHA1 && why.contains("SHA-1"), "{scheme:?}: {why}"),
            }
            assert_eq!(crypto::signature_identifier(*scheme), Some((*hash, *der)));
        }
    }

    #[test]
    fn null_parameters_are_taken_where_rfc_7427_says_so() {
        assert_eq!(read(&hex("300b 0609 2a86 4886 f70d 0101 0b")), Ok(Scheme::RsaPkcs1Sha256));
        assert_eq!(read(&hex("300c 0608 2a86 48ce 3d04 0302 0500")), Ok(Scheme::EcdsaSha256));
        assert!(read(&hex("3007 0603 2b65 7005 00")).unwrap_err().contains("may have none"), "RFC 8410 §3");
        for set in ["11", "12", "13"] {
            let with_null = hex(&format!("300d 0609 6086 4801 6503 0403 {set}05 00"));
            assert!(read(&with_null).unwrap_err().contains("may have none"), "RFC 9881 §2");
        }
    }

    /// draft-ietf-ipsecme-ikev2-pqc-auth, Appendix A, as printed there; HashML-DSA is none of them.
    #[test]
    fn ml_dsa_identifiers() {
        for (set, scheme) in [("11", Scheme::MlDsa44), ("12", Scheme::MlDsa65), ("13", Scheme::MlDsa87)] {
            let der = hex(&format!("300b 0609 6086 4801 6503 0403 {set}"));
            assert_eq!(read(&der), Ok(scheme));
            assert_eq!(crypto::signature_identifier(scheme), Some((Hash::IDENTITY, &der[..])));
        }
        assert!(read(&hex("300b 0609 6086 4801 6503 0403 20")).unwrap_err().contains("is not known"));
    }

    //= rfc9881 §4
    #[test]
    fn an_ml_dsa_key_has_one_length_and_no_parameters() {
        let spki = |set: u8, len: usize, parameters: &[u8]| {
            let mut identifier = hex("0609 6086 4801 6503 0403");
            identifier.push(set);
            identifier.extend(parameters);
            let identifier = AnyRef::new(Tag::Sequence, &identifier).unwrap().to_der().unwrap();
            let key = vec![7; len];
            let bits = pkcs8::der::asn1::BitStringRef::from_bytes(&key).unwrap().to_der().unwrap();
            AnyRef::new(Tag::Sequence, &[identifier, bits].concat()).unwrap().to_der().unwrap()
        };
        for (set, kind, len) in [
            (0x11, ParameterSet::P44, 1312),
            (0x12, ParameterSet::P65, 1952),
            (0x13, ParameterSet::P87, 2592),
        ] {
            assert_eq!(KeyKind::of(&spki(set, len, &[])), Ok(KeyKind::MlDsa(kind)));
            assert!(KeyKind::of(&spki(set, len, &[5, 0])).unwrap_err().contains("may have none"));
            for wrong in [0, len - 1, len + 1, 65_000] {
                assert!(KeyKind::of(&spki(set, wrong, &[])).unwrap_err().contains("octets where"), "{wrong}");
            }
        }
    }

    #[test]
    fn any_salt_length_but_one_hash() {
        let pss_sha256 = crypto::signature_identifier(Scheme::RsaPssSha256).unwrap().1;
        let mut der = pss_sha256.to_vec();
        *der.last_mut().unwrap() = 0;
        assert_eq!(read(&der), Ok(Scheme::RsaPssSha256));
        let mut der = pss_sha256.to_vec();
        der[59] = 2; // the mask's hash becomes SHA2-384
        assert!(read(&der).unwrap_err().contains("in its mask"));
    }

    #[test]
    fn malformed_identifiers_are_refused() {
        for (_, _, der) in SIGNATURES {
            for cut in 0..der.len() {
                assert!(read(&der[..cut]).is_err());
            }
            assert!(read(&[der, &[0][..]].concat()).is_err(), "trailing octet");
            for at in 0..der.len() {
                for flip in [1u8, 0x80, 0xff] {
                    let mut changed = der.to_vec();
                    changed[at] ^= flip;
                    let _ = read(&changed);
                }
            }
        }
        assert!(read(&hex("3081 0a06 082a 8648 ce3d 0403 02")).is_err(), "a length that is not the shortest");
        assert!(read(&hex("3080 0608 2a86 48ce 3d04 0302 0000")).is_err(), "an indefinite length");
        assert!(read(&hex("3006 0604 2a03 0405")).unwrap_err().contains("1.2.3.4.5"));
    }

    #[test]
    fn raw_and_der_signatures() {
        let mut raw = vec![0; 64];
        raw[31] = 1;
        raw[32] = 0x80;
        let der = ecdsa_to_der(&raw).unwrap();
        assert_eq!(der[..7], [0x30, 38, 0x02, 1, 1, 0x02, 33]);
        assert_eq!(ecdsa_to_raw(&der, 32).unwrap(), raw);
        assert_eq!(ecdsa_to_raw(&der, 31), None, "too long for the curve");
        assert_eq!(ecdsa_to_der(&raw[1..]), None, "an odd length");
        assert_eq!(ecdsa_to_der(&[]), None);
        assert_eq!(ecdsa_to_raw(b"\x30\x03\x02\x01\x81", 32), None, "negative, and one only");
    }

    /// Limits: MIN_RSA_BITS, MAX_RSA_BITS.
    #[test]
    fn rsa_keys_have_a_size_within_the_limits() {
        let key = |bits: usize| {
            let mut modulus = vec![0xff; bits.div_ceil(8)];
            modulus[0] >>= (8 - bits % 8) % 8;
            let integers = [UintRef::new(&modulus).unwrap().to_der().unwrap(), vec![2, 1, 3]].concat();
            let key = AnyRef::new(Tag::Sequence, &integers).unwrap().to_der().unwrap();
            let bits = pkcs8::der::asn1::BitStringRef::from_bytes(&key).unwrap().to_der().unwrap();
            let algorithm = hex("300d 0609 2a86 4886 f70d 0101 0105 00");
            AnyRef::new(Tag::Sequence, &[algorithm, bits].concat()).unwrap().to_der().unwrap()
        };
        for (bits, taken) in
            [(2047, false), (2048, true), (3072, true), (MAX_RSA_BITS, true), (MAX_RSA_BITS + 1, false)]
        {
            let kind = KeyKind::of(&key(bits)).unwrap();
            assert_eq!(kind, KeyKind::Rsa(bits));
            assert_eq!(kind.check_size().is_ok(), taken, "{bits}");
        }
        assert!(KeyKind::Rsa(2047).check_size().unwrap_err().contains("2047 bits"));
        assert!(KeyKind::Rsa(8193).check_size().unwrap_err().contains("at most 8192"));
    }
}
