//! The pool for slow jobs: private-key operations and certificate paths, and puzzles beside them.

use crate::driver::{Authority, Hire, Input};
use crate::limits;
use crate::mailbox::Inbox;
use policy::{AuthMethod, Policy};
use sa::{Answer, Job, JobId, TrustRefusal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use trust::Trust;

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
            Job::Prove { connection, name, .. } => {
                self.policy.resolve(*connection, name).is_none_or(|c| c.local.method == AuthMethod::Psk)
            }
            Job::Route { .. } => true,
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
}

/// The Auth Method of a pre-shared key (RFC 7296 §3.8).
const SHARED_KEY_MIC: u8 = 2;

/// A job and who is to answer it.
type Hired = (JobId, Job, Arc<dyn Authority>);

/// Starts the threads that look paths up; what comes back hands a job over without waiting.
pub(crate) fn start_resolver(inbox: &Inbox) -> std::io::Result<Hire> {
    let names = lane(inbox, "resolver", limits::RESOLVER_THREADS, limits::JOB_QUEUE)?;
    Ok(Box::new(move |id, job, authority| names.try_send((id, job, authority)).is_ok()))
}

/// Starts the pool; what comes back hands a job over without waiting.
pub(crate) fn start(inbox: &Inbox) -> std::io::Result<Hire> {
    let keys = lane(inbox, "job", limits::JOB_THREADS, limits::JOB_QUEUE)?;
    let puzzles = lane(inbox, "puzzle", limits::PUZZLE_THREADS, limits::PUZZLE_QUEUE)?;
    Ok(Box::new(move |id, job, authority| {
        let lane = if matches!(job, Job::Puzzle { .. }) { &puzzles } else { &keys };
        lane.try_send((id, job, authority)).is_ok()
    }))
}

/// Threads with a queue of their own: who makes us solve puzzles must not keep our keys waiting.
fn lane(inbox: &Inbox, name: &str, threads: usize, queue: usize) -> std::io::Result<SyncSender<Hired>> {
    let (give, take) = sync_channel::<Hired>(queue);
    let take = Arc::new(Mutex::new(take));
    for number in 0..threads {
        let (take, inbox) = (take.clone(), inbox.clone());
        std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || work(&take, &inbox))?;
    }
    Ok(give)
}

fn work(take: &Mutex<Receiver<Hired>>, inbox: &Inbox) {
    loop {
        let next = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((id, job, authority)) = next else { return };
        // A bug in one job must cost that job, not the pool.
        let answer = catch_unwind(AssertUnwindSafe(|| authority.answer(&job))).unwrap_or_else(|_| {
            tracing::error!("A job broke off; its IKE SA is refused");
            Answer::Refused(TrustRefusal { ours: true, reason: "The job broke off; see the log.".into() })
        });
        if !inbox.send(Input::Job(id, answer)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Mailbox;
    use sa::Puzzle;
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
            Answer::Verified(None)
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
}
