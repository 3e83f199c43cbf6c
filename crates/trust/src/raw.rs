//! Public keys without certificates (RFC 7670).

use crate::algorithm::KeyKind;
use crate::limits::{MAX_CERTIFICATE, MAX_PUBLIC_KEYS};
use crate::pem::{self, is_pem};
use crate::text::Malformed;
use crypto::Suite;
use policy::PublicKey;

/// The public keys in `bytes`, in order: the DER of one SubjectPublicKeyInfo, or PEM of any number (`PUBLIC KEY`).
///
/// # Errors
/// A sentence that says which key cannot be read and why, or that there is none.
pub fn public_keys(suite: &dyn Suite, bytes: &[u8]) -> Result<Vec<PublicKey>, Malformed> {
    if !is_pem(bytes) {
        return Ok(vec![public_key(suite, bytes)?]);
    }
    let mut found = Vec::new();
    for section in pem::sections(bytes) {
        let section = section?;
        match section.label.as_str() {
            "PUBLIC KEY" if found.len() < MAX_PUBLIC_KEYS => {
                found.push(public_key(suite, section.der.expose())?);
            }
            "PUBLIC KEY" => {
                return Err(Malformed(format!("the file has more than {MAX_PUBLIC_KEYS} public keys")));
            }
            "RSA PUBLIC KEY" => {
                let what = "the file has an RSA public key in its own format (PKCS#1): convert it by `openssl rsa \
                            -RSAPublicKey_in -in OLD -out NEW`";
                return Err(Malformed(what.into()));
            }
            _ => {}
        }
    }
    match found.is_empty() {
        true => {
            Err(Malformed("the file has no public key; `openssl pkey -in PRIVATE -pubout` writes one".into()))
        }
        false => Ok(found),
    }
}

/// The public key whose SubjectPublicKeyInfo `spki` is.
///
/// # Errors
/// A sentence that says why it cannot be used.
pub(crate) fn public_key(suite: &dyn Suite, spki: &[u8]) -> Result<PublicKey, Malformed> {
    if spki.len() > MAX_CERTIFICATE {
        return Err(Malformed(format!(
            "a public key of {} octets is longer than {MAX_CERTIFICATE}",
            spki.len()
        )));
    }
    let kind = KeyKind::of(spki).map_err(Malformed)?;
    kind.check_size().map_err(Malformed)?;
    let [a, b, c, d, ..] = suite.sha1(&[spki]);
    let name = format!("{} {a:02x}{b:02x}{c:02x}{d:02x}", kind.name());
    Ok(PublicKey { spki: spki.into(), name: name.into() })
}
