//! Stateless cookies against floods from forged addresses (RFC 7296 §2.6), which can also remember the puzzle that
//! was given with them (RFC 8019 §7.1.1.3).

use crate::{Puzzle, limits};
use base::{IkeSpi, Instant, Rng, Secret};
use crypto::Suite;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
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
    /// Number of the last puzzle.
    serial: u32,
    spent: Spent,
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

/// The puzzle that was given with a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Given {
    /// What it was.
    pub puzzle: Puzzle,
    /// How many were solved before it, one after the other.
    pub before: u8,
    /// Its number: no two cookies with a puzzle are the same.
    pub serial: u32,
    /// When it was given, in tenths of a second.
    at: u32,
}

/// What a cookie of ours tells of whoever shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// It was given alone.
    Cookie,
    /// It was given with a puzzle.
    Puzzle(Given),
}

/// Octets of [`Given`] in a cookie.
const INFO: usize = 12;

impl Default for CookieJar {
    fn default() -> Self {
        Self {
            version: 0,
            present: Secret::new([0; 32]),
            previous: Secret::new([0; 32]),
            drawn: None,
            serial: 0,
            spent: Spent::default(),
        }
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
        cookie.extend(mac(suite, &self.present, owner, &[]));
        cookie
    }

    /// The cookie of a puzzle, `before` of which were solved already. What it asks for stands in it and under its
    /// integrity check: an easier one cannot be claimed.
    //= rfc8019 §7.1.1.3
    //# the Responder MUST make it integrity protected, so that any intended or accidental alteration of this information
    //# in the returned cookie is detectable.
    //= rfc8019 §10
    //# Another approach for the Responder is to maintain a global counter that is incremented every time a cookie is
    //# generated and include this counter in <AdditionalInfo>. This will make every cookie unique.
    pub fn bake_puzzle(
        &mut self,
        suite: &dyn Suite,
        owner: CookieOwner<'_>,
        (puzzle, before): (Puzzle, u8),
        now: Instant,
    ) -> Vec<u8> {
        self.serial = self.serial.wrapping_add(1);
        let info = Given { puzzle, before, serial: self.serial, at: tenths(now) }.emit();
        let mut cookie = vec![self.version];
        cookie.extend(info);
        cookie.extend(mac(suite, &self.present, owner, &info));
        cookie
    }

    /// What we baked for this owner, not long ago, when this cookie is one of those.
    //= rfc7296 §2.6
    //# If a new value for <secret> is chosen while there are connections in the process of being
    //# initialized, an IKE_SA_INIT might be returned with other than the current <VersionIDofSecret>.
    //# The responder MAY accept the second one computed with the previous secret for a short time.
    pub fn accepts(
        &self,
        suite: &dyn Suite,
        owner: CookieOwner<'_>,
        cookie: &[u8],
        now: Instant,
    ) -> Option<Shown> {
        let (&version, rest) = cookie.split_first()?;
        let secret = match self.version.wrapping_sub(version) {
            0 => &self.present,
            1 => &self.previous,
            _ => return None,
        };
        let tag_len = if suite.prf(COOKIE_PRF).is_some() { 32 } else { 20 };
        let (info, tag) = rest.split_at_checked(rest.len().checked_sub(tag_len)?)?;
        if !bool::from(mac(suite, secret, owner, info).ct_eq(tag)) {
            return None;
        }
        if info.is_empty() {
            return Some(Shown::Cookie);
        }
        let given = Given::parse(info)?;
        (given.age(now) <= limits::PUZZLE_LIFE).then_some(Shown::Puzzle(given))
    }

    /// Whether the solution of that puzzle may open an IKE SA: once, and never again.
    //= rfc8019 §7.1.1.3
    //# implementations MUST ensure that an attacker gains no or insignificant benefit from reusing puzzle solutions in
    //# several requests.
    pub fn is_unspent(&mut self, given: &Given, now: Instant) -> bool {
        self.spent.allows(given.serial, now)
    }

    /// It has opened one.
    pub fn spend(&mut self, given: &Given, now: Instant) {
        self.spent.add(given.serial, now);
    }
}

impl Given {
    fn emit(&self) -> [u8; INFO] {
        let [p0, p1] = self.puzzle.prf.0.to_be_bytes();
        let [s0, s1, s2, s3] = self.serial.to_be_bytes();
        let [t0, t1, t2, t3] = self.at.to_be_bytes();
        [self.puzzle.difficulty, p0, p1, self.before, s0, s1, s2, s3, t0, t1, t2, t3]
    }

    fn parse(info: &[u8]) -> Option<Self> {
        let &[difficulty, p0, p1, before, s0, s1, s2, s3, t0, t1, t2, t3] =
            <&[u8; INFO]>::try_from(info).ok()?;
        let puzzle = Puzzle { prf: Prf(u16::from_be_bytes([p0, p1])), difficulty };
        let (serial, at) = (u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([t0, t1, t2, t3]));
        Some(Self { puzzle, before, serial, at })
    }

    /// How long ago it was given.
    pub fn age(&self, now: Instant) -> Duration {
        Duration::from_millis(u64::from(tenths(now).wrapping_sub(self.at)) * 100)
    }
}

/// A moment as cookies have it; wraps after 13 years, long after the cookie is out of date.
fn tenths(now: Instant) -> u32 {
    (now.as_nanos() / 100_000_000) as u32
}

/// The puzzles whose solutions have opened an IKE SA, for as long as their cookies are good.
#[derive(Debug, Default)]
struct Spent {
    present: BTreeSet<u32>,
    before: BTreeSet<u32>,
    since: Instant,
}

impl Spent {
    fn rotate(&mut self, now: Instant) {
        let age = now.since(self.since);
        if age >= limits::PUZZLE_LIFE {
            self.before = std::mem::take(&mut self.present);
            if age >= limits::PUZZLE_LIFE * 2 {
                self.before.clear();
            }
            self.since = now;
        }
    }

    fn allows(&mut self, serial: u32, now: Instant) -> bool {
        self.rotate(now);
        let known = self.present.contains(&serial) || self.before.contains(&serial);
        !known && self.present.len() < limits::MAX_SPENT_PUZZLES
    }

    fn add(&mut self, serial: u32, now: Instant) {
        self.rotate(now);
        self.present.insert(serial);
    }
}

/// What cookies are made with; SHA-1 where it is missing.
const COOKIE_PRF: Prf = Prf::HMAC_SHA2_256;

fn mac(suite: &dyn Suite, secret: &Secret<[u8; 32]>, owner: CookieOwner<'_>, info: &[u8]) -> Vec<u8> {
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
    // The lengths first, so that no cookie reads as one of another nonce, SPI and puzzle.
    let lengths = [(owner.nonce.len() & 0xff) as u8, info.len() as u8];
    let spi = owner.spi.0.to_be_bytes();
    let parts: [&[u8]; 5] = [&lengths, owner.nonce, source, &spi, info];
    match suite.prf(COOKIE_PRF).or_else(|| suite.prf(Prf::HMAC_SHA1)) {
        Some(prf) => prf.compute(secret.expose(), &parts).expose().clone(),
        None => suite.sha1(&[secret.expose(), parts[0], parts[1], parts[2], parts[3], parts[4]]).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solution_opens_one_ike_sa_and_memory_of_it_is_bounded() {
        let start = Instant::from_nanos(1_000_000_000_000);
        let mut spent = Spent::default();
        assert!(spent.allows(7, start));
        spent.add(7, start);
        let late = start + limits::PUZZLE_LIFE;
        for now in [start, late] {
            assert!(!spent.allows(7, now), "its cookie is still good");
        }
        for serial in 0..limits::MAX_SPENT_PUZZLES as u32 {
            spent.add(1000 + serial, late);
        }
        assert!(!spent.allows(8, late), "full: a new puzzle is wanted");
        let over = late + limits::PUZZLE_LIFE * 2;
        assert!(spent.allows(7, over) && spent.allows(8, over));
        assert!(spent.present.is_empty() && spent.before.is_empty());
    }
}
