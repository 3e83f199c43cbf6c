//! Tokens by which an endpoint that has lost its memory shows that it has (RFC 6290).

use base::{IkeSpi, Secret};
use crypto::Suite;
use wire::num::Prf;

/// Octets of the secret behind the tokens.
pub const CRASH_SECRET: usize = 32;

/// Octets of a token: as few as RFC 6290 §5 allows, since it is told to whoever asks, and no guess comes near them.
const TOKEN: usize = 16;

/// The token of the IKE SA with these SPIs: the same after a restart, and nobody else can make it.
//= rfc6290 §5.1
//# The TOKEN_SECRET_DATA is calculated as follows: TOKEN_SECRET_DATA = HASH(QCD_SECRET | SPI-I | SPI-R)
pub fn crash_token(
    suite: &dyn Suite,
    secret: &Secret<[u8; CRASH_SECRET]>,
    spi_i: IkeSpi,
    spi_r: IkeSpi,
) -> Option<Vec<u8>> {
    // HMAC in place of a plain hash: it is made for that.
    let prf = suite.prf(Prf::HMAC_SHA2_256)?;
    let parts: [&[u8]; 2] = [&spi_i.0.to_be_bytes(), &spi_r.0.to_be_bytes()];
    let mut token = prf.compute(secret.expose(), &parts).expose().clone();
    token.truncate(TOKEN);
    Some(token)
}
