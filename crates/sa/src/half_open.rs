//! How many IKE SAs stand open without an authenticated peer, and what a stranger has to do for one more
//! (RFC 7296 §2.6, RFC 8019 §4 and §6).
//!
//! ```text
//!   nothing wanted ── cookie_threshold ── a cookie ── puzzle_threshold ── a solved puzzle ── init_limit_half_open ── ∅
//! ```
//! The same ladder stands for each source, with its own thresholds.

use crate::rate::Recent;
use crate::{Settings, limits};
use base::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Half-open IKE SAs, in all and by source.
#[derive(Debug)]
pub struct HalfOpen {
    total: usize,
    by_source: BTreeMap<IpAddr, usize>,
    /// Those whose peers were given a puzzle and have not solved it.
    unsolved: usize,
    /// Those whose first protected message was not made with their keys.
    spoiled: Recent,
}

/// What a new first message meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It may be answered at once.
    Open,
    /// Only with a cookie.
    CookieWanted,
    /// Only with a solved puzzle, or with luck.
    PuzzleWanted(Demand),
    /// Not at all: a limit is reached.
    Full,
}

/// What all strangers together make of us, for people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Pressure {
    /// Nothing is asked of strangers.
    #[default]
    Calm,
    /// All of them show cookies.
    Cookies,
    /// All of them solve puzzles.
    Puzzles,
    /// There is no room for another one.
    Full,
}

/// A puzzle, as load and configuration want it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Demand {
    /// The difficulty that the PUZZLE notification names; 0: the initiator chooses.
    pub asked: u8,
    /// The zero bits that get in.
    pub wanted: u8,
    /// Of 256 who show the cookie without a solution, so many get in.
    pub chance: u16,
}

/// What one half-open IKE SA takes up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Where its first message came from.
    pub source: IpAddr,
    /// Its peer was given a puzzle and has not solved it.
    pub unsolved: bool,
}

impl Default for HalfOpen {
    fn default() -> Self {
        let spoiled = Recent::new(limits::SPOILED_WINDOW);
        Self { total: 0, by_source: BTreeMap::new(), unsolved: 0, spoiled }
    }
}

impl HalfOpen {
    /// Whether one more from `source` is welcome.
    pub fn admission(&mut self, settings: &Settings, source: IpAddr, now: Instant) -> Admission {
        let here = self.by_source.get(&prefix(source)).copied().unwrap_or(0);
        if self.total >= settings.max_half_open || here >= settings.block_threshold {
            return Admission::Full;
        }
        let quarters = |count: usize, from: usize, most: usize| {
            (count >= from).then(|| count.saturating_sub(from) * SCALE / most.saturating_sub(from).max(1))
        };
        let all = quarters(self.total, settings.puzzle_threshold, settings.max_half_open);
        let one = quarters(here, settings.puzzle_threshold_ip, settings.block_threshold);
        let spoiled = self.is_spoiled(now).then_some(0);
        match all.max(one).max(spoiled) {
            Some(load) => Admission::PuzzleWanted(demand(settings, load)),
            None if self.total >= settings.cookie_threshold || here >= settings.cookie_threshold_ip => {
                Admission::CookieWanted
            }
            None => Admission::Open,
        }
    }

    /// What all strangers meet, whatever their source.
    pub fn pressure(&mut self, settings: &Settings, now: Instant) -> Pressure {
        let (total, spoiled) = (self.total, self.is_spoiled(now));
        match total {
            _ if total >= settings.max_half_open => Pressure::Full,
            _ if total >= settings.puzzle_threshold || spoiled => Pressure::Puzzles,
            _ if total >= settings.cookie_threshold => Pressure::Cookies,
            _ => Pressure::Calm,
        }
    }

    /// Whether one more may enter whose peer has not solved its puzzle: only so many of the places above the
    /// threshold are for those.
    pub fn has_room_unsolved(&self, settings: &Settings) -> bool {
        let above = settings.max_half_open.saturating_sub(settings.puzzle_threshold);
        self.unsolved < (above / limits::UNSOLVED_SHARE).max(1)
    }

    /// Whether messages come in that make us compute keys for nothing (RFC 8019 §7.2).
    //= rfc8019 §7.2
    //# The Responder constantly monitors the amount of the half-open IKE SA states that receive IKE_AUTH messages that
    //# cannot be decrypted due to integrity check failures. If the percentage of such states is high […] the
    //# Responder may assume that it is under attack and SHOULD use puzzles to make it harder for attackers.
    pub fn is_spoiled(&mut self, now: Instant) -> bool {
        self.spoiled.count(now) >= limits::SPOILED_THRESHOLD
    }

    /// The first protected message of a half-open IKE SA was not made with its keys.
    pub fn spoil(&mut self, now: Instant) {
        self.spoiled.add(now);
    }

    /// How long a new one may wait for its peer's first protected message.
    //= rfc8019 §4.1
    //# When the system is under attack, as measured by the amount of half-open SAs, it makes sense to reduce this
    //# lifetime.
    pub fn patience(&self, settings: &Settings) -> std::time::Duration {
        match self.total >= settings.cookie_threshold {
            true => settings.half_open_timeout.min(limits::PRESSED_HALF_OPEN_TIMEOUT),
            false => settings.half_open_timeout,
        }
    }

    /// One more.
    pub fn enter(&mut self, place: Place) {
        self.total += 1;
        self.unsolved += usize::from(place.unsolved);
        *self.by_source.entry(prefix(place.source)).or_default() += 1;
    }

    /// One less: authenticated, or given up.
    pub fn leave(&mut self, place: Place) {
        self.total = self.total.saturating_sub(1);
        self.unsolved = self.unsolved.saturating_sub(usize::from(place.unsolved));
        let source = prefix(place.source);
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
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

/// A load of so many is all that there is room for.
const SCALE: usize = 256;

/// The puzzle under a load of 0 (just at the threshold) to 256.
//= rfc8019 §7.1.1.1
//# If the Responder sets a non-zero difficulty level, then the level SHOULD be determined by analyzing the volume of the
//# attack.
//= rfc8019 §7.1
//# The decision whether to process any particular request must be probabilistic, with the probability depending on the
//# Responder's load (i.e., on the volume of attack).
fn demand(settings: &Settings, load: usize) -> Demand {
    let load = load.min(SCALE);
    let rise = (load * usize::from(limits::PUZZLE_RISE) / SCALE) as u8;
    let base = match settings.puzzle_difficulty {
        0 => limits::PUZZLE_DIFFICULTY,
        some => some,
    };
    let wanted = base.saturating_add(rise).min(limits::MAX_PUZZLE_BITS);
    let asked = if settings.puzzle_difficulty == 0 { 0 } else { wanted };
    let chance = (SCALE - load).max(limits::LEAST_CHANCE) as u16;
    Demand { asked, wanted, chance }
}

/// One IPv6 host owns a whole /64: it counts as one source.
//= rfc8019 §4.2
//# For IPv6, ISPs assign between a /48 and a /64, so it does not make sense for rate limiting to work on single IPv6 IPs.
//# Instead, rate limits should be done based on either the /48 or /64 of the misbehaving IPv6 address observed.
pub(crate) fn prefix(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(a) => IpAddr::V6((u128::from(a) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Instant = Instant::from_nanos(1_000_000_000_000);

    fn at(source: &str) -> Place {
        Place { source: source.parse().unwrap(), unsolved: false }
    }

    fn of(half_open: &mut HalfOpen, settings: &Settings, source: &str) -> Admission {
        half_open.admission(settings, source.parse().unwrap(), NOW)
    }

    #[test]
    fn cookies_come_before_the_door_closes() {
        let settings =
            Settings { cookie_threshold: 2, max_half_open: 4, block_threshold: 3, ..Settings::default() };
        let mut half_open = HalfOpen::default();
        let (a, b) = ("192.0.2.1", "192.0.2.2");
        assert_eq!(of(&mut half_open, &settings, a), Admission::Open);
        half_open.enter(at(a));
        half_open.enter(at(a));
        assert_eq!(of(&mut half_open, &settings, a), Admission::CookieWanted);
        half_open.enter(at(a));
        assert_eq!(of(&mut half_open, &settings, a), Admission::Full);
        assert_eq!(of(&mut half_open, &settings, b), Admission::CookieWanted);
        half_open.enter(at(b));
        assert_eq!(of(&mut half_open, &settings, b), Admission::Full);
        for source in [a, a, a, b] {
            half_open.leave(at(source));
        }
        assert!(half_open.is_empty() && half_open.by_source.is_empty());
    }

    #[test]
    fn a_source_shows_a_cookie_before_its_places_are_taken() {
        let settings = Settings { cookie_threshold_ip: 1, block_threshold: 2, ..Settings::default() };
        let mut half_open = HalfOpen::default();
        half_open.enter(at("192.0.2.1"));
        assert_eq!(of(&mut half_open, &settings, "192.0.2.1"), Admission::CookieWanted);
        assert_eq!(of(&mut half_open, &settings, "192.0.2.2"), Admission::Open);
        half_open.enter(at("192.0.2.1"));
        assert_eq!(of(&mut half_open, &settings, "192.0.2.1"), Admission::Full);
    }

    //= rfc8019 §4.2
    #[test]
    fn a_64_bit_prefix_is_one_source() {
        let settings = Settings { block_threshold: 1, ..Settings::default() };
        let mut half_open = HalfOpen::default();
        half_open.enter(at("2001:db8::1"));
        assert_eq!(of(&mut half_open, &settings, "2001:db8::2"), Admission::Full);
        assert_eq!(of(&mut half_open, &settings, "2001:db8:0:1::2"), Admission::Open);
    }

    //= rfc8019 §7.1.1.1
    #[test]
    fn puzzles_come_after_cookies_and_grow_with_the_load() {
        let settings =
            Settings { cookie_threshold: 1, puzzle_threshold: 2, max_half_open: 10, ..Settings::default() };
        let mut half_open = HalfOpen::default();
        let mut seen = Vec::new();
        for n in 0..=10u8 {
            let source = format!("192.0.2.{n}");
            seen.push(of(&mut half_open, &settings, &source));
            half_open.enter(at(&source));
        }
        assert_eq!(seen[..2], [Admission::Open, Admission::CookieWanted]);
        assert_eq!(seen[10], Admission::Full);
        let demands: Vec<Demand> = seen[2..10]
            .iter()
            .map(|admission| match admission {
                Admission::PuzzleWanted(demand) => *demand,
                other => panic!("{other:?}"),
            })
            .collect();
        let base = limits::PUZZLE_DIFFICULTY;
        assert_eq!((demands[0].asked, demands[0].wanted, demands[0].chance), (base, base, 256));
        assert!(demands.is_sorted_by(|a, b| a.wanted <= b.wanted && a.chance > b.chance));
        assert_eq!(demands[7].wanted, base + limits::PUZZLE_RISE * 7 / 8);
        assert!(demands.iter().all(|demand| usize::from(demand.chance) >= limits::LEAST_CHANCE));
    }

    #[test]
    fn one_source_meets_puzzles_alone() {
        let settings = Settings { puzzle_threshold_ip: 1, ..Settings::default() };
        let mut half_open = HalfOpen::default();
        half_open.enter(at("192.0.2.1"));
        assert!(matches!(of(&mut half_open, &settings, "192.0.2.1"), Admission::PuzzleWanted(_)));
        assert_eq!(of(&mut half_open, &settings, "192.0.2.2"), Admission::Open);
    }

    #[test]
    fn difficulty_zero_leaves_the_choice_and_still_wants_work() {
        let settings = Settings { puzzle_threshold: 0, puzzle_difficulty: 0, ..Settings::default() };
        match of(&mut HalfOpen::default(), &settings, "192.0.2.1") {
            Admission::PuzzleWanted(demand) => {
                assert_eq!((demand.asked, demand.wanted), (0, limits::PUZZLE_DIFFICULTY));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn those_without_a_solution_hold_a_bounded_share() {
        let settings = Settings { puzzle_threshold: 0, max_half_open: 40, ..Settings::default() };
        let mut half_open = HalfOpen::default();
        let place = Place { unsolved: true, ..at("192.0.2.1") };
        let mut entered = 0;
        while half_open.has_room_unsolved(&settings) {
            half_open.enter(place);
            entered += 1;
        }
        assert_eq!(entered, 40 / limits::UNSOLVED_SHARE);
        half_open.leave(place);
        assert!(half_open.has_room_unsolved(&settings));
    }

    //= rfc8019 §7.2
    #[test]
    fn junk_in_place_of_authentication_brings_puzzles_for_a_while() {
        let settings = Settings::default();
        let mut half_open = HalfOpen::default();
        for _ in 0..limits::SPOILED_THRESHOLD {
            assert_eq!(of(&mut half_open, &settings, "192.0.2.1"), Admission::Open);
            half_open.spoil(NOW);
        }
        assert!(matches!(of(&mut half_open, &settings, "192.0.2.1"), Admission::PuzzleWanted(_)));
        let later = NOW + limits::SPOILED_WINDOW * 2;
        assert_eq!(half_open.admission(&settings, "192.0.2.1".parse().unwrap(), later), Admission::Open);
    }

    //= rfc8019 §4.1
    #[test]
    fn under_load_a_half_open_ike_sa_waits_less() {
        let settings = Settings { cookie_threshold: 1, ..Settings::default() };
        let mut half_open = HalfOpen::default();
        assert_eq!(half_open.patience(&settings), settings.half_open_timeout);
        half_open.enter(at("192.0.2.1"));
        assert_eq!(half_open.patience(&settings), limits::PRESSED_HALF_OPEN_TIMEOUT);
        let short = Settings { half_open_timeout: Duration::from_secs(3), ..settings };
        assert_eq!(half_open.patience(&short), Duration::from_secs(3));
    }
}
