//! What is known of revocation beyond the configuration: what was fetched, what is being fetched, and the checks that wait
//! for it.
//!
//! No check holds a thread while it waits: it is put aside here, and whoever brings the last thing that it lacks hands it back.
//! A request is under way once however many checks want its answer, and what came of it serves those that come in the next
//! [`limits::FETCH_AGAIN`], or until it expires when a check has found it good ([`limits::KEEP_MOST`] at most, but longer where
//! its server is not there then).

use crate::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use trust::{Evidence, Fetched, Request};

/// A time of the daemon's life, since any fixed moment.
type Now = Duration;

/// A check that waits: `W` is whatever the caller needs to go on with it.
struct Waiting<W> {
    what: W,
    evidence: Evidence,
    missing: BTreeSet<Request>,
}

struct Kept {
    fetched: Fetched,
    /// When it is fetched again.
    until: Now,
    /// How long it is good, where it proved so.
    good: Now,
}

impl Kept {
    fn octets(&self) -> usize {
        self.fetched.as_ref().map_or(0, |bytes| bytes.len())
    }
}

/// What follows for a check that lacks something.
pub(crate) struct Asked<W> {
    /// It can go on at once, since all is known.
    pub(crate) ready: Option<(W, Evidence)>,
    /// What is to be fetched; [`Library::came`] or [`Library::dropped`] has to be told of each.
    pub(crate) fetch: Vec<Request>,
}

/// See the module.
pub(crate) struct Library<W> {
    kept: BTreeMap<Request, Kept>,
    octets: usize,
    /// Servers of which nothing came, by their URIs: why, and when they are asked again.
    down: BTreeMap<String, (String, Now)>,
    under_way: BTreeSet<Request>,
    waiting: Vec<Waiting<W>>,
    warned: BTreeMap<String, Now>,
}

impl<W> Library<W> {
    pub(crate) fn new() -> Self {
        Self {
            kept: BTreeMap::new(),
            octets: 0,
            down: BTreeMap::new(),
            under_way: BTreeSet::new(),
            waiting: Vec::new(),
            warned: BTreeMap::new(),
        }
    }

    /// What need not be fetched: what is there, and what will not come from a server that is down.
    pub(crate) fn known(&self, now: Now, request: &Request) -> Option<Fetched> {
        let kept = self.kept.get(request);
        if let Some(kept) = kept.filter(|kept| kept.until > now) {
            return Some(kept.fetched.clone());
        }
        let (why, _) = self.down.get(request.uri()).filter(|(_, until)| *until > now)?;
        let good = kept.filter(|kept| kept.good > now).map(|kept| kept.fetched.clone());
        Some(good.unwrap_or_else(|| Err(why.clone())))
    }

    /// A check that has `evidence` wants `requests` besides.
    pub(crate) fn ask(
        &mut self,
        now: Now,
        what: W,
        mut evidence: Evidence,
        requests: Vec<Request>,
    ) -> Asked<W> {
        let full = self.waiting.len() >= limits::WAITING_CHECKS;
        let (mut missing, mut fetch) = (BTreeSet::new(), Vec::new());
        for request in requests {
            match self.known(now, &request) {
                Some(fetched) => evidence.add(request, fetched),
                None if full => {
                    let why = format!("{} other checks wait for answers already", limits::WAITING_CHECKS);
                    evidence.add(request, Err(why));
                }
                None => {
                    if self.under_way.insert(request.clone()) {
                        fetch.push(request.clone());
                    }
                    missing.insert(request);
                }
            }
        }
        if missing.is_empty() {
            return Asked { ready: Some((what, evidence)), fetch };
        }
        self.waiting.push(Waiting { what, evidence, missing });
        Asked { ready: None, fetch }
    }

    /// A request has ended; gives back the checks that lack nothing more.
    pub(crate) fn came(&mut self, now: Now, request: &Request, fetched: &Fetched) -> Vec<(W, Evidence)> {
        let fetched = self.store(now, request, fetched);
        self.hand_out(request, &fetched)
    }

    /// A request is not made after all, for a reason that is ours.
    pub(crate) fn dropped(&mut self, request: &Request, why: String) -> Vec<(W, Evidence)> {
        self.hand_out(request, &Err(why))
    }

    fn hand_out(&mut self, request: &Request, fetched: &Fetched) -> Vec<(W, Evidence)> {
        self.under_way.remove(request);
        let mut ready = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            if waiting.missing.remove(request) {
                waiting.evidence.add(request.clone(), fetched.clone());
            }
            match waiting.missing.is_empty() {
                true => ready.push((waiting.what, waiting.evidence)),
                false => self.waiting.push(waiting),
            }
        }
        ready
    }

    /// Keeps what came. Where nothing did, what is good still serves until the next attempt.
    fn store(&mut self, now: Now, request: &Request, fetched: &Fetched) -> Fetched {
        let old = self.kept.remove(request);
        self.octets -= old.as_ref().map_or(0, Kept::octets);
        let until = self.until(now, request, fetched);
        let kept = match (old, fetched) {
            (Some(old), Err(_)) if old.good > now => Kept { until, ..old },
            _ => Kept { fetched: fetched.clone(), until, good: Duration::ZERO },
        };
        let serves = kept.fetched.clone();
        self.octets += kept.octets();
        self.kept.insert(request.clone(), kept);
        while self.kept.len() > limits::KEPT_ANSWERS || self.octets > limits::KEPT_OCTETS {
            let first =
                self.kept.iter().min_by_key(|(_, kept)| kept.until).map(|(request, _)| request.clone());
            let Some(old) = first.and_then(|first| self.kept.remove(&first)) else { break };
            self.octets -= old.octets();
        }
        serves
    }

    /// When a request may be made again, before what came proves good. That of a server that is down is not put off by those
    /// who want something of it meanwhile.
    fn until(&mut self, now: Now, request: &Request, fetched: &Fetched) -> Now {
        let until = now + limits::FETCH_AGAIN;
        match fetched {
            Ok(_) => {
                self.down.remove(request.uri());
                until
            }
            Err(why) => {
                self.down.retain(|_, (_, until)| *until > now);
                if self.down.len() >= limits::KEPT_ANSWERS {
                    self.down.clear();
                }
                self.down.entry(request.uri().to_owned()).or_insert_with(|| (why.clone(), until)).1
            }
        }
    }

    /// The answer to `request` proved good, and is so for another `left`.
    pub(crate) fn keep(&mut self, now: Now, request: &Request, left: Duration) {
        if let Some(kept) = self.kept.get_mut(request).filter(|kept| kept.fetched.is_ok()) {
            // What was not fetched just now is fetched again when it is due.
            let fresh = kept.good == Duration::ZERO;
            kept.good = now + left;
            if fresh {
                kept.until = now + left.min(limits::KEEP_MOST);
            }
        }
    }

    /// Whether a warning is to be given: not where it was a short while ago.
    pub(crate) fn warns(&mut self, now: Now, warning: &str) -> bool {
        self.warned.retain(|_, until| *until > now);
        if self.warned.contains_key(warning) {
            return false;
        }
        if self.warned.len() >= limits::WARNINGS {
            self.warned.clear();
        }
        self.warned.insert(warning.to_owned(), now + limits::WARN_AGAIN);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    fn list(number: usize) -> Request {
        Request::crl(&format!("http://example.org/{number}"))
    }

    fn good(octets: usize) -> Fetched {
        Ok(vec![0; octets].into())
    }

    fn ask(library: &mut Library<u32>, now: Now, what: u32, requests: &[usize]) -> (bool, usize) {
        let requests = requests.iter().map(|number| list(*number)).collect();
        let asked = library.ask(now, what, Evidence::default(), requests);
        (asked.ready.is_some(), asked.fetch.len())
    }

    #[test]
    fn s044_many_checks_share_one_fetch_and_go_on_when_all_is_there() {
        let mut library = Library::new();
        assert_eq!(ask(&mut library, SOON, 1, &[1, 2]), (false, 2));
        assert_eq!(ask(&mut library, SOON, 2, &[2]), (false, 0));
        assert_eq!(ask(&mut library, SOON, 3, &[2, 3]), (false, 1));
        let ready = library.came(SOON, &list(2), &good(1));
        assert_eq!(ready.iter().map(|(what, _)| *what).collect::<Vec<_>>(), [2]);
        assert!(ready[0].1.has(&list(2)) && !ready[0].1.has(&list(1)));
        assert_eq!(ask(&mut library, SOON, 4, &[2]), (true, 0));
        let ready = library.came(SOON, &list(1), &Err(String::new()));
        assert!(ready[0].0 == 1 && ready[0].1.has(&list(1)) && ready[0].1.has(&list(2)));
        assert_eq!(library.came(SOON, &list(3), &good(1)).len(), 1);
        assert_eq!(ask(&mut library, SOON, 5, &[4]), (false, 1));
        let ready = library.dropped(&list(4), "too much to do".to_owned());
        assert!(ready[0].0 == 5 && ready[0].1.has(&list(4)) && library.known(SOON, &list(4)).is_none());
    }

    /// Limits: FETCH_AGAIN, KEEP_MOST.
    #[test]
    fn s044_what_came_is_kept_for_its_time() {
        let mut library = Library::new();
        for (number, fetched) in [(1, good(1)), (2, good(1)), (3, good(1)), (4, Err("no".to_owned()))] {
            ask(&mut library, Duration::ZERO, 0, &[number]);
            library.came(Duration::ZERO, &list(number), &fetched);
        }
        let hour = Duration::from_secs(3600);
        library.keep(Duration::ZERO, &list(1), hour);
        library.keep(Duration::ZERO, &list(2), limits::KEEP_MOST * 9);
        library.keep(Duration::ZERO, &list(4), hour);
        let mut known = |now: Duration, number| ask(&mut library, now, 0, &[number]).0;
        // Answers that proved good, those that did not, and none.
        assert!(known(hour - SOON, 1) && !known(hour, 1));
        assert!(known(limits::KEEP_MOST - SOON, 2) && !known(limits::KEEP_MOST, 2));
        for number in [3, 4] {
            assert!(known(limits::FETCH_AGAIN - SOON, number) && !known(limits::FETCH_AGAIN, number));
        }
    }

    /// An OCSP server that is down is down for every certificate.
    #[test]
    fn s044_a_server_that_is_down_is_left_alone_for_a_while() {
        let mut library = Library::<u32>::new();
        let of = |body: u8| Request::ocsp("http://example.org/", [body].as_slice().into());
        assert!(library.known(SOON, &of(1)).is_none());
        library.came(SOON, &of(1), &Err("gone".to_owned()));
        let back = SOON + limits::FETCH_AGAIN;
        assert!(library.known(back - SOON, &of(2)).is_some_and(|fetched| fetched == Err("gone".to_owned())));
        library.came(back - SOON, &of(2), &Err("still gone".to_owned()));
        assert!(library.known(back, &of(2)).is_none() && library.known(back, &of(3)).is_none());
        library.came(back, &of(2), &Err("gone".to_owned()));
        library.came(back, &of(3), &good(1));
        assert!(library.known(back, &of(4)).is_none(), "it is back");
        for number in 0..limits::KEPT_ANSWERS + 3 {
            library.came(back, &list(number), &Err("gone".to_owned()));
            assert!(library.down.len() <= limits::KEPT_ANSWERS);
        }
    }

    #[test]
    fn s044_a_good_answer_outlives_a_server_that_is_gone() {
        let mut library = Library::new();
        let due = limits::KEEP_MOST;
        ask(&mut library, Duration::ZERO, 0, &[1]);
        library.came(Duration::ZERO, &list(1), &good(7));
        library.keep(Duration::ZERO, &list(1), due * 2);
        assert_eq!(ask(&mut library, due, 1, &[1]), (false, 1));
        let ready = library.came(due, &list(1), &Err("gone".to_owned()));
        assert!(ready[0].1.has(&list(1)));
        assert_eq!(library.octets, 7, "the old answer is still there");
        // The server is left alone for a while, then asked again, and in the end the old answer is none.
        library.keep(due, &list(1), due);
        assert_eq!(ask(&mut library, due + limits::FETCH_AGAIN - SOON, 2, &[1]), (true, 0));
        assert_eq!(ask(&mut library, due + limits::FETCH_AGAIN, 3, &[1]), (false, 1));
        library.came(due * 2, &list(1), &Err("gone".to_owned()));
        assert_eq!(library.octets, 0);
    }

    /// Limits: KEPT_ANSWERS, KEPT_OCTETS.
    #[test]
    fn s044_what_is_kept_is_bounded() {
        let mut library = Library::<u32>::new();
        for number in 0..limits::KEPT_ANSWERS + 3 {
            library.came(Duration::from_nanos(number as u64), &list(number), &good(1));
        }
        assert_eq!((library.kept.len(), library.octets), (limits::KEPT_ANSWERS, limits::KEPT_ANSWERS));
        assert!(
            !library.kept.contains_key(&list(2)) && library.kept.contains_key(&list(3)),
            "the oldest goes"
        );
        let mut library = Library::<u32>::new();
        for number in 0..10 {
            library.came(Duration::from_secs(number), &list(number as usize), &good(limits::KEPT_OCTETS / 4));
            assert!(library.octets <= limits::KEPT_OCTETS);
        }
        assert_eq!(library.kept.len(), 4);
        library.came(SOON, &list(11), &good(limits::KEPT_OCTETS + 1));
        assert_eq!(library.kept.len(), 4, "what is too large alone goes");
    }

    /// Limit: WAITING_CHECKS.
    #[test]
    fn s044_checks_that_wait_are_bounded() {
        let mut library = Library::new();
        for number in 0..limits::WAITING_CHECKS as u32 {
            assert!(!ask(&mut library, SOON, number, &[1]).0);
        }
        let asked = library.ask(SOON, 0, Evidence::default(), vec![list(1), list(2)]);
        assert!(asked.fetch.is_empty());
        let (_, evidence) = asked.ready.expect("it goes on without");
        assert!(evidence.has(&list(1)) && evidence.has(&list(2)));
        assert_eq!(library.came(SOON, &list(1), &good(1)).len(), limits::WAITING_CHECKS);
    }

    /// Limits: WARN_AGAIN, WARNINGS.
    #[test]
    fn s044_a_warning_is_given_once() {
        let mut library = Library::<u32>::new();
        assert!(library.warns(SOON, "a") && !library.warns(SOON, "a") && library.warns(SOON, "b"));
        assert!(!library.warns(SOON + limits::WARN_AGAIN - SOON, "a"));
        assert!(library.warns(SOON + limits::WARN_AGAIN, "a"));
        for number in 0..limits::WARNINGS * 3 {
            assert!(library.warns(SOON, &number.to_string()));
            assert!(library.warned.len() <= limits::WARNINGS);
        }
    }
}
