//! Begins the connections that are to stand from the start, and tries again those that fail.

use crate::desk::Desk;
use crate::driver::Voice;
use crate::protocol::Answer;
use crate::sentence;
use policy::StartAction;
use sa::RefusalKind;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// The wait before the second attempt; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(10);

/// No wait is longer: a peer that comes back is met again within this time.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// The kind of a refusal that says that a name is not configured.
const NOT_FOUND: &str = sentence::refusal_name(RefusalKind::NotFound);

/// One child to be brought up.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Start {
    connection: String,
    /// `None`: all children of the connection start, so one order is enough.
    child: Option<String>,
    attempts: u32,
    due: Option<Instant>,
}

/// Starts what `start_action` says, of the connections named by `only`, or of all.
pub(crate) fn start(desk: &Arc<Desk>, only: Option<&[String]>) {
    let starts = wanted(desk, only);
    if starts.is_empty() {
        return;
    }
    let desk = desk.clone();
    let spawned = std::thread::Builder::new().name("starter".into()).spawn(move || run(&desk, starts));
    if let Err(error) = spawned {
        tracing::error!("Connections with start_action = \"start\" are not begun: {error}");
    }
}

fn wanted(desk: &Desk, only: Option<&[String]>) -> Vec<Start> {
    let policy = desk.policy();
    let mut starts = Vec::new();
    for connection in policy.connections.iter().filter(|c| only.is_none_or(|names| names.contains(&c.name))) {
        let start = |child| Start {
            connection: connection.name.clone(),
            child,
            attempts: 0,
            due: Some(Instant::now()),
        };
        let children: Vec<_> =
            connection.children.iter().filter(|c| c.start_action == StartAction::Start).collect();
        if !children.is_empty() && children.len() == connection.children.len() {
            starts.push(start(None));
        } else {
            starts.extend(children.iter().map(|child| start(Some(child.name.clone()))));
        }
    }
    starts
}

fn run(desk: &Arc<Desk>, starts: Vec<Start>) {
    // One order of each is open at a time, so this queue is never too full for a reply.
    let (to, from) = sync_channel(starts.len());
    let mut open: Vec<Option<Start>> = starts.into_iter().map(Some).collect();
    while open.iter().any(Option::is_some) {
        for tag in 0..open.len() {
            begin(desk, &mut open, tag, &to);
            // Replies are taken between orders, so that many connections cannot fill the queue.
            while let Ok((tag, answer)) = from.try_recv() {
                heed(&mut open, tag, &answer);
            }
        }
        let next = open.iter().flatten().filter_map(|start| start.due).min();
        let wait = next.map_or(LONGEST_RETRY, |due| due.saturating_duration_since(Instant::now()));
        if let Ok((tag, answer)) = from.recv_timeout(wait) {
            heed(&mut open, tag, &answer);
        }
    }
}

/// Gives the order if its time has come.
fn begin(desk: &Arc<Desk>, open: &mut [Option<Start>], tag: usize, to: &SyncSender<(u64, Answer)>) {
    let Some(Some(start)) = open.get_mut(tag) else { return };
    if start.due.is_some_and(|due| due <= Instant::now()) {
        start.due = None;
        start.attempts += 1;
        let voice = Voice { to: to.clone(), tag: tag as u64, progress: false };
        desk.up(&start.connection, start.child.clone(), voice);
    }
}

/// Takes a reply: what is up needs no further attempt.
fn heed(open: &mut [Option<Start>], tag: u64, answer: &Answer) {
    let Some(slot) = usize::try_from(tag).ok().and_then(|tag| open.get_mut(tag)) else { return };
    let why = match answer {
        // A reload has removed it.
        Answer::Refused(refusal) if refusal.kind == NOT_FOUND => {
            tracing::info!("No further attempt to start: {}", refusal.reason);
            *slot = None;
            return;
        }
        Answer::Refused(refusal) => &refusal.reason,
        Answer::Error { text } => text,
        _ => {
            *slot = None;
            return;
        }
    };
    let Some(start) = slot else { return };
    let wait = retry_after(start.attempts);
    tracing::warn!(
        "Connection \"{}\" did not start: {why} Trying again in {} s.",
        start.connection,
        wait.as_secs()
    );
    start.due = Some(Instant::now() + wait);
}

/// The wait after so many attempts.
fn retry_after(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    (FIRST_RETRY * 2u32.pow(doublings)).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::own_refusal;

    fn refused() -> Answer {
        Answer::Error { text: "No route.".into() }
    }

    #[test]
    fn what_fails_is_tried_again_and_what_is_up_is_not() {
        let start = Start { connection: "a".into(), child: None, attempts: 1, due: None };
        let mut open = vec![Some(start.clone()), Some(start)];
        heed(&mut open, 0, &refused());
        heed(&mut open, 1, &Answer::Down { ike_sas: 0, child_sas: 0 });
        assert!(open[0].as_ref().is_some_and(|start| start.due.is_some()));
        assert_eq!(open[1], None);
        heed(&mut open, 7, &refused());
    }

    #[test]
    fn what_a_reload_removed_is_not_tried_again() {
        let start = Start { connection: "a".into(), child: None, attempts: 1, due: None };
        let mut open = vec![Some(start)];
        let gone = own_refusal(RefusalKind::NotFound, "a", "There is no connection \"a\".".into());
        heed(&mut open, 0, &Answer::Refused(gone));
        assert_eq!(open, [None]);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<u64> = (1..=7).map(|attempts| retry_after(attempts).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(retry_after(u32::MAX), LONGEST_RETRY);
    }
}
