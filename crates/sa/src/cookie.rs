//! Stateless cookies against floods from forged addresses (RFC 7296 §2.6).

use crate::limits;
use base::{IkeSpi, Instant, Rng, Secret};
use crypto::Suite;
use std::net::IpAddr;
use subtle::ConstantTimeEq;
use wire::num::Prf;

/// The secrets behind the cookies: the present one, and the one before it, which is still accepted.
#[derive(Debug)]
pub struct CookieJar {
    version: u8,
    present: Secret<[u8; 32]>,
    previous: Secret<[u8; 32]>,
    /// When the present secret was drawn; `None` before the first use.
    drawn: Option<Instant>,
}

/// What a cookie is bound to: the parts of an IKE_SA_INIT request that a forger of addresses cannot
/// combine with a cookie that was sent elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct CookieOwner<'a> {
    /// Ni.
    pub nonce: &'a [u8],
    /// IPi.
    pub source: IpAddr,
    /// SPIi.
    pub spi: IkeSpi,
}

impl Default for CookieJar {
    fn default() -> Self {
        Self { version: 0, present: Secret::new([0; 32]), previous: Secret::new([0; 32]), drawn: None }
    }
}

impl CookieJar {
    /// Draws a new secret when the present one has served its time. To be called before each use.
    pub fn rotate(&mut self, now: Instant, rng: &mut dyn Rng) {
        let periods = match self.drawn {
            None => 2,
            Some(drawn) => now.since(drawn).as_nanos() / limits::COOKIE_SECRET_LIFE.as_nanos(),
        };
        for _ in 0..periods.min(2) {
            std::mem::swap(&mut self.previous, &mut self.present);
            rng.fill(self.present.expose_mut());
            self.version = self.version.wrapping_add(1);
            self.drawn = Some(now);
        }
    }

    /// `<VersionIDofSecret> | prf(<secret>, Ni | IPi | SPIi)`.
    pub fn bake(&self, suite: &dyn Suite, owner: CookieOwner<'_>) -> Vec<u8> {
        let mut cookie = vec![self.version];
        cookie.extend(mac(suite, &self.present, owner));
        cookie
    }

    /// Whether we baked this cookie for this owner, not long ago.
    //= rfc7296 §2.6
    //# If a new value for <secret> is chosen while there are connections in the process of being
    //# initialized, an IKE_SA_INIT might be returned with other than the current <VersionIDofSecret>.
    //# The responder MAY accept the second one computed with the previous secret for a short time.
    pub fn accepts(&self, suite: &dyn Suite, owner: CookieOwner<'_>, cookie: &[u8]) -> bool {
        let Some((&version, tag)) = cookie.split_first() else { return false };
        let secret = match self.version.wrapping_sub(version) {
            0 => &self.present,
            1 => &self.previous,
            _ => return false,
        };
        mac(suite, secret, owner).ct_eq(tag).into()
    }
}

fn mac(suite: &dyn Suite, secret: &Secret<[u8; 32]>, owner: CookieOwner<'_>) -> Vec<u8> {
    let v4;
    let v6;
    let source: &[u8] = match owner.source {
        IpAddr::V4(a) => {
            v4 = a.octets();
            &v4
        }
        IpAddr::V6(a) => {
            v6 = a.octets();
            &v6
        }
    };
    let parts: [&[u8]; 3] = [owner.nonce, source, &owner.spi.0.to_be_bytes()];
    match suite.prf(Prf::HMAC_SHA2_256).or_else(|| suite.prf(Prf::HMAC_SHA1)) {
        Some(prf) => prf.compute(secret.expose(), &parts).expose().clone(),
        None => suite.sha1(&[secret.expose(), parts[0], parts[1], parts[2]]).to_vec(),
    }
}
