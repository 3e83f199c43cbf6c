//! How many IKE SAs stand open without an authenticated peer (RFC 7296 §2.6, RFC 8019 §4).

use crate::Settings;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Half-open IKE SAs, in all and by source.
#[derive(Debug, Default)]
pub struct HalfOpen {
    total: usize,
    by_source: BTreeMap<IpAddr, usize>,
}

/// What a new first message meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It may be answered at once.
    Open,
    /// Only with a cookie.
    CookieWanted,
    /// Not at all: a limit is reached.
    Full,
}

impl HalfOpen {
    /// Whether one more from `source` is welcome.
    pub fn admission(&self, settings: &Settings, source: IpAddr) -> Admission {
        let here = self.by_source.get(&prefix(source)).copied().unwrap_or(0);
        if self.total >= settings.max_half_open || here >= settings.max_half_open_per_source {
            Admission::Full
        } else if self.total >= settings.cookie_threshold || here >= settings.cookie_threshold_per_source {
            Admission::CookieWanted
        } else {
            Admission::Open
        }
    }

    /// One more.
    pub fn enter(&mut self, source: IpAddr) {
        self.total += 1;
        *self.by_source.entry(prefix(source)).or_default() += 1;
    }

    /// One less: authenticated, or given up.
    pub fn leave(&mut self, source: IpAddr) {
        self.total = self.total.saturating_sub(1);
        if let Some(count) = self.by_source.get_mut(&prefix(source)) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&prefix(source));
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// One IPv6 host owns a whole /64: it counts as one source (RFC 8019 §4.4).
fn prefix(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(a) => IpAddr::V6((u128::from(a) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_come_before_the_door_closes() {
        let settings = Settings {
            cookie_threshold: 2,
            max_half_open: 4,
            max_half_open_per_source: 3,
            ..Settings::default()
        };
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut half_open = HalfOpen::default();
        assert_eq!(half_open.admission(&settings, a), Admission::Open);
        half_open.enter(a);
        half_open.enter(a);
        assert_eq!(half_open.admission(&settings, a), Admission::CookieWanted);
        half_open.enter(a);
        assert_eq!(half_open.admission(&settings, a), Admission::Full);
        assert_eq!(half_open.admission(&settings, b), Admission::CookieWanted);
        half_open.enter(b);
        assert_eq!(half_open.admission(&settings, b), Admission::Full);
        for source in [a, a, a, b] {
            half_open.leave(source);
        }
        assert!(half_open.is_empty() && half_open.by_source.is_empty());
    }

    #[test]
    fn a_source_shows_a_cookie_before_its_places_are_taken() {
        let settings =
            Settings { cookie_threshold_per_source: 1, max_half_open_per_source: 2, ..Settings::default() };
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut half_open = HalfOpen::default();
        half_open.enter(a);
        assert_eq!(half_open.admission(&settings, a), Admission::CookieWanted);
        assert_eq!(half_open.admission(&settings, b), Admission::Open);
        half_open.enter(a);
        assert_eq!(half_open.admission(&settings, a), Admission::Full);
    }

    #[test]
    fn a_64_bit_prefix_is_one_source() {
        let settings = Settings { max_half_open_per_source: 1, ..Settings::default() };
        let mut half_open = HalfOpen::default();
        half_open.enter("2001:db8::1".parse().unwrap());
        assert_eq!(half_open.admission(&settings, "2001:db8::2".parse().unwrap()), Admission::Full);
        assert_eq!(half_open.admission(&settings, "2001:db8:0:1::2".parse().unwrap()), Admission::Open);
    }
}
