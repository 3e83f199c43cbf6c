//! Private keys in PEM or DER, made ready for the provider's loader.

use crate::pem::{self, is_pem};
use crate::text::{Malformed, quote};
use base::Secret;
use pkcs8::der::{Decode, Reader, SliceReader, Tag};
use pkcs8::{EncryptedPrivateKeyInfoRef, Error, PrivateKeyInfoRef, pkcs5};

/// How the DER of a private key is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyFormat {
    /// PrivateKeyInfo (RFC 5208) or OneAsymmetricKey (RFC 5958), not encrypted.
    Pkcs8,
    /// ECPrivateKey (RFC 5915), with the curve in it.
    Sec1,
    /// RSAPrivateKey (RFC 8017 §A.1.2).
    Pkcs1,
}

/// A private key, decoded down to plain DER.
#[derive(Clone, Debug)]
pub struct PrivateKey {
    /// How `der` is laid out.
    pub format: KeyFormat,
    /// The key.
    pub der: Secret,
}

/// The private key in `bytes`: the first one of a PEM file, or DER of any of the formats; PKCS#8
/// encrypted by PBES2 (RFC 8018) needs `passphrase`.
///
/// # Errors
/// A sentence that says what is wrong and what to do; it repeats nothing of the key.
pub fn private_key(bytes: &[u8], passphrase: Option<&Secret>) -> Result<PrivateKey, Malformed> {
    if !is_pem(bytes) {
        return from_der(bytes, passphrase);
    }
    let mut others = Vec::new();
    for section in pem::sections(bytes) {
        let section = section?;
        let format = match section.label.as_str() {
            "PRIVATE KEY" => KeyFormat::Pkcs8,
            "EC PRIVATE KEY" => KeyFormat::Sec1,
            "RSA PRIVATE KEY" => KeyFormat::Pkcs1,
            "ENCRYPTED PRIVATE KEY" => return decrypt(section.der.expose(), passphrase),
            _ => {
                others.push(section.label);
                continue;
            }
        };
        return Ok(PrivateKey { format, der: section.der });
    }
    others.truncate(3);
    Err(Malformed(format!("the file has no private key, but {}", quote(&others.join(", ")))))
}

/// Tells the formats apart by what follows the outer SEQUENCE's header: PKCS#8 has a version and then an
/// AlgorithmIdentifier, SEC1 the version 1 and an octet string, PKCS#1 two integers, encrypted PKCS#8 a sequence.
fn from_der(bytes: &[u8], passphrase: Option<&Secret>) -> Result<PrivateKey, Malformed> {
    let unknown = || Malformed("the file is neither PEM nor the DER of a private key".into());
    let tags = first_tags(bytes).map_err(|_| unknown())?;
    let format = match tags {
        [Tag::Sequence, _] => return decrypt(bytes, passphrase),
        [Tag::Integer, Tag::Sequence] => KeyFormat::Pkcs8,
        [Tag::Integer, Tag::OctetString] => KeyFormat::Sec1,
        [Tag::Integer, Tag::Integer] => KeyFormat::Pkcs1,
        _ => return Err(unknown()),
    };
    Ok(PrivateKey { format, der: Secret::from(bytes) })
}

fn first_tags(bytes: &[u8]) -> Result<[Tag; 2], pkcs8::der::Error> {
    let mut reader = SliceReader::new(bytes)?;
    let tags = reader.sequence(|inner| {
        let first = inner.tlv_bytes().and_then(tag_of)?;
        let second = inner.tlv_bytes().and_then(tag_of)?;
        while !inner.is_finished() {
            inner.tlv_bytes()?;
        }
        Ok::<_, pkcs8::der::Error>([first, second])
    })?;
    reader.finish()?;
    Ok(tags)
}

fn tag_of(tlv: &[u8]) -> Result<Tag, pkcs8::der::Error> {
    Ok(pkcs8::der::Header::peek(&SliceReader::new(tlv)?)?.tag())
}

fn decrypt(der: &[u8], passphrase: Option<&Secret>) -> Result<PrivateKey, Malformed> {
    let encrypted = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|_| unsupported())?;
    let Some(passphrase) = passphrase else {
        return Err(Malformed("the private key is encrypted and there is no passphrase for it".into()));
    };
    let wrong = || Malformed("the private key cannot be decrypted: the passphrase is wrong".into());
    let plain = encrypted.decrypt(passphrase.expose()).map_err(|error| match error {
        Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed) | Error::Asn1(_) => wrong(),
        _ => unsupported(),
    })?;
    // A wrong passphrase survives the check of the padding once in 256 times.
    PrivateKeyInfoRef::try_from(plain.as_bytes()).map_err(|_| wrong())?;
    Ok(PrivateKey { format: KeyFormat::Pkcs8, der: Secret::from(plain.as_bytes()) })
}

fn unsupported() -> Malformed {
    Malformed(
        "the private key is encrypted by a scheme that is not supported (PBES2 with AES or 3DES is): convert it by \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`"
            .into(),
    )
}
