//! Post-quantum pre-shared keys (PPKs): what is computed of them, so that they need not leave.

use crate::secrets::Secrets;
use base::Secret;
use crypto::{PrfFunction, Suite, prf_plus};
use sa::{MixedPpk, PpkAnswer, PpkRequest};
use std::sync::Arc;

/// A post-quantum pre-shared key and its identities.
#[derive(Debug)]
pub(crate) struct Ppk {
    pub(crate) ids: Vec<Arc<str>>,
    pub(crate) secret: Secret,
}

/// Mixes those that are here and that the peer has too.
pub(crate) fn answer(
    suite: &dyn Suite,
    secrets: &Secrets,
    request: &PpkRequest,
) -> Result<PpkAnswer, String> {
    let missing = || format!("{} is not available, so no PPK can be mixed in", request.prf);
    let prf = suite.prf(request.prf).ok_or_else(missing)?;
    let mut answer = PpkAnswer::default();
    for (id, shown) in &request.wanted {
        let Some(ppk) = secrets.ppk(id) else { continue };
        let own = first_octets(prf, ppk, &request.confirmed).ok_or_else(missing)?;
        let print = first_octets(prf, ppk, PRINT).ok_or_else(missing)?;
        // It tells nothing that the peer does not know: whoever has not got the PPK cannot compute one octet of it.
        match shown.is_none_or(|shown| Secret::from(&shown[..]) == Secret::from(&own[..])) {
            true => answer.found.push(MixedPpk {
                id: id.clone(),
                confirmation: own,
                print,
                keys: mix(prf, ppk, request)?,
            }),
            false => answer.mismatched.push(id.clone()),
        }
    }
    Ok(answer)
}

/// What a print is made of: shorter than any nonces and SPIs, so that none is ever a confirmation, or a key.
const PRINT: &[u8] = b"print";

//= rfc9867 §3.1
//# the first 8 octets of a string computed as prf( PPK, Ni | Nr | SPIi | SPIr )
//= rfc9867 §3.2
//# the first 8 octets of a string computed as prf( PPK, Ni | SPIi | SPIr )
fn first_octets<const N: usize>(prf: &dyn PrfFunction, ppk: &Secret, of: &[u8]) -> Option<[u8; N]> {
    prf.compute(ppk.expose(), &[of]).expose().first_chunk().copied()
}

//= rfc8784 §3
//# SK_d  = prf+ (PPK, SK_d')
//# SK_pi = prf+ (PPK, SK_pi')
//# SK_pr = prf+ (PPK, SK_pr')
//= rfc9867 §3.1.1
//# SKEYSEED' = prf+ (PPK, SK_d)
//= rfc9867 §3.2.1
//# SK_d' = prf+ (PPK, SK_d)
fn mix(prf: &dyn PrfFunction, ppk: &Secret, request: &PpkRequest) -> Result<Vec<Secret>, String> {
    let mixed =
        request.keys.iter().map(|key| prf_plus(prf, ppk.expose(), &[key.expose()], key.expose().len()));
    mixed.collect::<Result<_, _>>().map_err(|error| error.to_string())
}
