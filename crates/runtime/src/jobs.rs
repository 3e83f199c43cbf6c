//! The pool for slow jobs: private-key operations and certificate paths, and puzzles and fetches beside them.

use crate::driver::{Authority, Hire, Input};
use crate::fetch::{Fetch, Http};
use crate::library::Library;
use crate::limits;
use crate::mailbox::Inbox;
use policy::{AuthMethod, Policy};
use sa::{Answer, Job, JobId, TrustRefusal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use trust::{Answered, Evidence, Request, Step, Trust};

/// Private keys, PSKs and trust anchors, with the policy that says which job needs which.
pub struct Keys {
    policy: Arc<Policy>,
    trust: Trust,
}

impl Keys {
    /// Answers for the connections of `policy`.
    pub fn new(policy: Arc<Policy>, trust: Trust) -> Self {
        Self { policy, trust }
    }
}

impl Authority for Keys {
    /// A PSK proof is a few hashes: a hop to another thread and back costs more.
    fn is_quick(&self, job: &Job) -> bool {
        match job {
            Job::Prove { connection, name, round, .. } => {
                let connection = self.policy.resolve(*connection, name);
                let auth = connection.and_then(|connection| connection.local_auth(*round));
                auth.is_none_or(|auth| auth.method == AuthMethod::Psk)
            }
            Job::Route { .. } | Job::Ppk(_) => true,
            Job::Check { proof, .. } => proof.method == SHARED_KEY_MIC,
            Job::Puzzle { .. } => false,
            Job::Resolve { .. } => false,
            // The driver does these itself.
            Job::Lease(_) | Job::Release(_) | Job::UseResolver { .. } | Job::DropResolver(_) => true,
        }
    }

    fn answer(&self, job: &Job) -> Answer {
        self.trust.answer(job)
    }

    fn step(&self, job: &Job, evidence: &Evidence) -> Step {
        self.trust.step(job, evidence)
    }
}

/// The Auth Method of a pre-shared key (RFC 7296 §3.8).
const SHARED_KEY_MIC: u8 = 2;

/// A job and who is to answer it, with what was fetched for it.
struct Hired {
    id: JobId,
    job: Job,
    authority: Arc<dyn Authority>,
    evidence: Evidence,
}

impl Hired {
    fn new(id: JobId, job: Job, authority: Arc<dyn Authority>) -> Self {
        Self { id, job, authority, evidence: Evidence::default() }
    }
}

/// Starts the threads that look paths up; what comes back hands a job over without waiting.
pub(crate) fn start_resolver(inbox: &Inbox) -> std::io::Result<Hire> {
    let (names, take) = lane(limits::JOB_QUEUE);
    let worker = Worker { inbox: inbox.clone(), fetching: None };
    crew("resolver", limits::RESOLVER_THREADS, take, worker)?;
    Ok(Box::new(move |id, job, authority| names.try_send(Hired::new(id, job, authority)).is_ok()))
}

/// Starts the pool; what comes back hands a job over without waiting.
pub(crate) fn start(inbox: &Inbox) -> std::io::Result<Hire> {
    start_with(inbox, Arc::new(Http::new()))
}

fn start_with(inbox: &Inbox, fetch: Arc<dyn Fetch>) -> std::io::Result<Hire> {
    let (keys, take) = lane(limits::JOB_QUEUE);
    let fetching = Fetching::start(fetch, keys.clone())?;
    crew("job", limits::JOB_THREADS, take, Worker { inbox: inbox.clone(), fetching: Some(fetching) })?;
    let (puzzles, take) = lane(limits::PUZZLE_QUEUE);
    crew("puzzle", limits::PUZZLE_THREADS, take, Worker { inbox: inbox.clone(), fetching: None })?;
    Ok(Box::new(move |id, job, authority| {
        let lane = if matches!(job, Job::Puzzle { .. }) { &puzzles } else { &keys };
        lane.try_send(Hired::new(id, job, authority)).is_ok()
    }))
}

/// The two ends of a queue, of which several threads take.
type Lane<T> = (SyncSender<T>, Arc<Mutex<Receiver<T>>>);

fn lane<T>(queue: usize) -> Lane<T> {
    let (give, take) = sync_channel(queue);
    (give, Arc::new(Mutex::new(take)))
}

fn next<T>(take: &Mutex<Receiver<T>>) -> Option<T> {
    take.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Threads with a queue of their own: who makes us solve puzzles must not keep our keys waiting.
fn crew(
    name: &str,
    threads: usize,
    take: Arc<Mutex<Receiver<Hired>>>,
    worker: Worker,
) -> std::io::Result<()> {
    for number in 0..threads {
        let (take, worker) = (take.clone(), worker.clone());
        let work = move || while next(&take).is_some_and(|hired| worker.work(hired)) {};
        std::thread::Builder::new().name(format!("{name}-{number}")).spawn(work)?;
    }
    Ok(())
}

/// Does jobs.
#[derive(Clone)]
struct Worker {
    inbox: Inbox,
    /// Who fetches what a check lacks.
    fetching: Option<Arc<Fetching>>,
}

impl Worker {
    /// Does a job, or puts it aside until what it lacks has come; false when nobody wants answers any more.
    fn work(&self, hired: Hired) -> bool {
        let mut at_hand = vec![hired];
        while let Some(hired) = at_hand.pop() {
            let answered = match (self.step(&hired), &self.fetching) {
                (Step::Answered(answered), _) => answered,
                (Step::Needs(_), None) => Answered::plain(ours("Nothing can be fetched for this job.")),
                (Step::Needs(requests), Some(fetching)) => {
                    at_hand.extend(fetching.wait(hired, requests));
                    continue;
                }
            };
            if let Some(fetching) = &self.fetching {
                fetching.learn(&answered);
            }
            if !self.inbox.send(Input::Job(hired.id, answered.answer)) {
                return false;
            }
        }
        true
    }

    /// A bug in one job must cost that job, not the pool.
    fn step(&self, Hired { job, authority, evidence, .. }: &Hired) -> Step {
        catch_unwind(AssertUnwindSafe(|| authority.step(job, evidence))).unwrap_or_else(|_| {
            tracing::error!("A job broke off; its IKE SA is refused");
            Step::Answered(Answered::plain(ours("The job broke off; see the log.")))
        })
    }
}

fn ours(reason: &str) -> Answer {
    Answer::Refused(TrustRefusal { ours: true, reason: reason.to_owned() })
}

/// The threads that fetch, and what has come of it.
struct Fetching {
    started: Instant,
    library: Mutex<Library<Hired>>,
    give: SyncSender<Request>,
}

impl Fetching {
    /// Checks that can go on are given back to `again`.
    fn start(fetch: Arc<dyn Fetch>, again: SyncSender<Hired>) -> std::io::Result<Arc<Self>> {
        let (give, take) = lane::<Request>(limits::FETCH_QUEUE);
        let this = Arc::new(Self { started: Instant::now(), library: Mutex::new(Library::new()), give });
        for number in 0..limits::FETCH_THREADS {
            let (take, fetch, this, again) = (take.clone(), fetch.clone(), this.clone(), again.clone());
            let work = move || {
                while let Some(request) = next(&take) {
                    let known = this.library().known(this.now(), &request);
                    let fetched = known.unwrap_or_else(|| {
                        catch_unwind(AssertUnwindSafe(|| fetch.fetch(&request)))
                            .unwrap_or_else(|_| Err("the fetch broke off; see the log".to_owned()))
                    });
                    // The pool never waits for us, so that there is room soon.
                    let ready = this.library().came(this.now(), &request, &fetched);
                    for (hired, evidence) in ready {
                        if again.send(Hired { evidence, ..hired }).is_err() {
                            return;
                        }
                    }
                }
            };
            std::thread::Builder::new().name(format!("fetch-{number}")).spawn(work)?;
        }
        Ok(this)
    }

    /// Puts a check aside and has fetched what it lacks; gives back what can go on at once.
    fn wait(&self, hired: Hired, requests: Vec<Request>) -> Vec<Hired> {
        let evidence = hired.evidence.clone();
        let asked = self.library().ask(self.now(), hired, evidence, requests);
        let mut ready: Vec<_> = asked.ready.into_iter().collect();
        for request in asked.fetch {
            if self.give.try_send(request.clone()).is_err() {
                let why = format!("{} other answers are waited for already", limits::FETCH_QUEUE);
                ready.extend(self.library().dropped(&request, why));
            }
        }
        ready.into_iter().map(|(hired, evidence)| Hired { evidence, ..hired }).collect()
    }

    /// Takes in what a check has found.
    fn learn(&self, answered: &Answered) {
        let (now, wall) = (self.now(), crate::os::wall());
        let mut library = self.library();
        for (request, until) in &answered.keep {
            library.keep(now, request, Duration::from_secs(until.0.saturating_sub(wall.0)));
        }
        let warnings = answered.warnings.iter().filter(|warning| library.warns(now, warning));
        let warnings: Vec<_> = warnings.collect();
        drop(library);
        warnings.into_iter().for_each(|warning| tracing::warn!("{warning}"));
    }

    fn library(&self) -> MutexGuard<'_, Library<Hired>> {
        self.library.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Mailbox;
    use sa::{Puzzle, Verified};
    use wire::num::Prf;

    /// Answers nobody before it is opened.
    #[derive(Default)]
    struct Gate(Mutex<()>);

    impl Authority for Gate {
        fn is_quick(&self, _: &Job) -> bool {
            false
        }

        fn answer(&self, _: &Job) -> Answer {
            drop(self.0.lock());
            Answer::Verified(Verified::default())
        }
    }

    /// How many jobs like this one are taken on while none of them is done.
    fn taken(hire: &mut Hire, job: &Job) -> usize {
        let gate = Arc::new(Gate::default());
        let closed = gate.0.lock();
        let taken = (0..).take_while(|n| hire(JobId(*n), job.clone(), gate.clone())).count();
        drop(closed);
        taken
    }

    /// Beyond what waits in the queue each thread may have one at hand.
    #[test]
    fn so_many_jobs_wait_and_no_more() {
        let (inbox, _mailbox) = Mailbox::new().unwrap();
        let (mut pool, mut resolver) = (start(&inbox).unwrap(), start_resolver(&inbox).unwrap());
        let puzzle = Puzzle { prf: Prf::HMAC_SHA2_256, difficulty: 20 };
        let puzzle = Job::Puzzle { puzzle, string: Vec::new() };
        let path = Job::Resolve { name: "net".to_string(), local: Vec::new(), remote: Vec::new() };
        let key = Job::Route { remotes: Vec::new() };
        for (taken, queue, threads) in [
            (taken(&mut pool, &puzzle), limits::PUZZLE_QUEUE, limits::PUZZLE_THREADS),
            (taken(&mut pool, &key), limits::JOB_QUEUE, limits::JOB_THREADS),
            (taken(&mut resolver, &path), limits::JOB_QUEUE, limits::RESOLVER_THREADS),
        ] {
            assert!((queue..=queue + threads).contains(&taken), "{taken} of {queue}");
        }
    }

    /// Lacks one answer for each job; the number of what it lacks is the number of its remotes.
    struct Lacking;

    impl Lacking {
        fn request(job: &Job) -> Option<Request> {
            let Job::Route { remotes } = job else { return None };
            (!remotes.is_empty()).then(|| Request::crl(&format!("http://example.org/{}", remotes.len())))
        }
    }

    impl Authority for Lacking {
        fn is_quick(&self, _: &Job) -> bool {
            false
        }

        fn answer(&self, _: &Job) -> Answer {
            Answer::Verified(Verified::default())
        }

        fn step(&self, job: &Job, evidence: &Evidence) -> Step {
            match Self::request(job).filter(|request| !evidence.has(request)) {
                Some(request) => Step::Needs(vec![request]),
                None => Step::Answered(Answered::plain(self.answer(job))),
            }
        }
    }

    /// Fetches nothing before it is opened, and counts.
    #[derive(Default)]
    struct Door {
        closed: Mutex<()>,
        asked: Mutex<Vec<String>>,
    }

    impl Fetch for Door {
        fn fetch(&self, request: &Request) -> trust::Fetched {
            self.asked.lock().unwrap().push(request.uri().to_owned());
            drop(self.closed.lock());
            Err("there is nobody".to_owned())
        }
    }

    fn lacking(number: usize) -> Job {
        Job::Route { remotes: vec![std::net::Ipv4Addr::LOCALHOST.into(); number] }
    }

    /// The jobs that are done, once there are so many, in any order.
    fn done(mailbox: &Mailbox, count: usize) -> Vec<u64> {
        let end = Instant::now() + Duration::from_secs(20);
        let mut ids = Vec::new();
        while ids.len() < count {
            assert!(Instant::now() < end, "only {ids:?} are done");
            match mailbox.input() {
                Some(Input::Job(id, Answer::Verified(_))) => ids.push(id.0),
                Some(_) => panic!("something else than an answer"),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        ids.sort_unstable();
        ids
    }

    #[test]
    fn s044_checks_that_wait_hold_up_nothing_and_share_what_comes() {
        let (inbox, mailbox) = Mailbox::new().unwrap();
        let door = Arc::new(Door::default());
        let closed = door.closed.lock().unwrap();
        let mut pool = start_with(&inbox, door.clone()).unwrap();
        let many = 10 * limits::JOB_THREADS as u64;
        for id in 0..many {
            assert!(pool(JobId(id), lacking(1), Arc::new(Lacking)));
        }
        // Those that lack nothing are done while all of these wait.
        assert!(pool(JobId(many), lacking(0), Arc::new(Lacking)));
        assert_eq!(done(&mailbox, 1), [many]);
        drop(closed);
        assert_eq!(done(&mailbox, many as usize), (0..many).collect::<Vec<_>>());
        assert_eq!(*door.asked.lock().unwrap(), ["http://example.org/1"]);
    }

    /// Limits: FETCH_THREADS, FETCH_QUEUE. What is beyond them goes on without.
    #[test]
    fn s044_what_waits_to_be_fetched_is_bounded() {
        let (inbox, mailbox) = Mailbox::new().unwrap();
        let door = Arc::new(Door::default());
        let closed = door.closed.lock().unwrap();
        let mut pool = start_with(&inbox, door.clone()).unwrap();
        let most = limits::FETCH_QUEUE + limits::FETCH_THREADS;
        for id in 1..=most + 5 {
            assert!(pool(JobId(id as u64), lacking(id), Arc::new(Lacking)));
        }
        assert!(done(&mailbox, 5).len() == 5);
        drop(closed);
        done(&mailbox, most);
        assert!(door.asked.lock().unwrap().len() <= most);
    }
}
