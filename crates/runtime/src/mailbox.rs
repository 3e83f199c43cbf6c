//! The bounded queues into the IKE thread. Datagrams have their own, so that a flood of them cannot keep an order or
//! an answer waiting, and among them the first messages of strangers, so that a flood of those keeps no peer waiting.

use crate::driver::Input;
use crate::limits;
use crate::os::Waker;
use dataplane::DataplaneEvent;
use sa::Path;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wire::num::{ExchangeType, PayloadType};

/// The end that other threads hold.
#[derive(Clone)]
pub(crate) struct Inbox {
    inputs: SyncSender<Input>,
    known: SyncSender<(Path, Vec<u8>)>,
    strangers: SyncSender<(Path, Vec<u8>)>,
    shared: Arc<Shared>,
}

struct Shared {
    waker: Waker,
    overflowed: AtomicU64,
    /// Octets of the messages in the queue of peers and in that of strangers.
    waiting: [AtomicUsize; 2],
    plane: Mutex<PlaneNews>,
}

/// What the data plane told since it was last asked.
#[derive(Default)]
struct PlaneNews {
    /// The latest of each kind and child: at most two for each child there is.
    events: BTreeMap<(u8, u64), DataplaneEvent>,
    /// Why it carries nothing any more.
    fault: Option<String>,
}

impl Shared {
    fn plane(&self) -> MutexGuard<'_, PlaneNews> {
        self.plane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// Puts an input in, waiting while the queue is full; false when the IKE thread is gone.
    pub(crate) fn send(&self, input: Input) -> bool {
        let sent = self.inputs.send(input).is_ok();
        self.shared.waker.wake();
        sent
    }

    /// Puts an IKE message in, or counts it as lost when the IKE thread does not keep up: the
    /// sender's retransmission brings it again.
    pub(crate) fn datagram(&self, path: Path, bytes: &[u8]) {
        let [known, strangers] = &self.shared.waiting;
        let (queue, octets) = match is_strangers(bytes) {
            true => (&self.strangers, strangers),
            false => (&self.known, known),
        };
        let waiting = octets.fetch_add(bytes.len(), Ordering::Relaxed);
        let fits = waiting + bytes.len() <= limits::DATAGRAM_OCTETS;
        if !fits || queue.try_send((path, bytes.to_vec())).is_err() {
            octets.fetch_sub(bytes.len(), Ordering::Relaxed);
            self.shared.overflowed.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.waker.wake();
    }

    /// Takes an event of the data plane; never waits. Its threads must not: the IKE thread may be waiting for
    /// them. A newer event of the same kind and child takes the place of an older one.
    pub(crate) fn plane_event(&self, event: DataplaneEvent) {
        let key = match &event {
            DataplaneEvent::SequenceNearEnd(id) => (0, id.0),
            DataplaneEvent::Mapping { id, .. } => (1, id.0),
            DataplaneEvent::FirstPacket(id) => (2, id.0),
            DataplaneEvent::Expired { id, hard } => (3 + u8::from(*hard), id.0),
            DataplaneEvent::Acquire { id, .. } => (5, id.0),
            DataplaneEvent::UnknownSpi { .. } => (6, 0),
        };
        self.shared.plane().events.insert(key, event);
        self.shared.waker.wake();
    }

    /// The data plane has ended by itself.
    pub(crate) fn plane_fault(&self, reason: String) {
        self.shared.plane().fault.get_or_insert(reason);
        self.shared.waker.wake();
    }
}

/// Whether a message is a first one without a cookie, of which a forger of addresses can send any number. Whoever has
/// shown a cookie, or has an IKE SA, does not wait behind those.
fn is_strangers(bytes: &[u8]) -> bool {
    let Some([spi_r @ .., next, _, exchange, flags]) = bytes.get(8..20) else { return true };
    let first =
        *exchange == ExchangeType::IKE_SA_INIT.0 && flags & RESPONSE == 0 && spi_r.iter().all(|o| *o == 0);
    //= rfc7296 §2.6
    //# the initiator MUST […] include the Notify payload containing the received COOKIE data as the first payload
    first && *next != PayloadType::NOTIFY.0
}

/// The flag of a response (RFC 7296 §3.1).
const RESPONSE: u8 = 0x20;

/// The IKE thread's end.
pub(crate) struct Mailbox {
    inputs: Receiver<Input>,
    known: Receiver<(Path, Vec<u8>)>,
    strangers: Receiver<(Path, Vec<u8>)>,
    shared: Arc<Shared>,
}

impl Mailbox {
    pub(crate) fn new() -> io::Result<(Inbox, Self)> {
        let (inputs, take_inputs) = sync_channel(limits::INPUT_QUEUE);
        let (known, take_known) = sync_channel(limits::DATAGRAM_QUEUE);
        let (strangers, take_strangers) = sync_channel(limits::DATAGRAM_QUEUE);
        let shared = Shared {
            waker: Waker::new()?,
            overflowed: AtomicU64::new(0),
            waiting: [const { AtomicUsize::new(0) }; 2],
            plane: Mutex::default(),
        };
        let shared = Arc::new(shared);
        let inbox = Inbox { inputs, known, strangers, shared: shared.clone() };
        Ok((inbox, Self { inputs: take_inputs, known: take_known, strangers: take_strangers, shared }))
    }

    /// What to wait on.
    pub(crate) fn waker(&self) -> &Waker {
        &self.shared.waker
    }

    /// The next input, if one is there.
    pub(crate) fn input(&self) -> Option<Input> {
        self.inputs.try_recv().ok()
    }

    /// The next IKE message of somebody who is known, or has shown a cookie, if one is there.
    pub(crate) fn known(&self) -> Option<(Path, Vec<u8>)> {
        let (path, bytes) = self.known.try_recv().ok()?;
        let [known, _] = &self.shared.waiting;
        known.fetch_sub(bytes.len(), Ordering::Relaxed);
        Some((path, bytes))
    }

    /// The next first message of a stranger, if one is there.
    pub(crate) fn stranger(&self) -> Option<(Path, Vec<u8>)> {
        let (path, bytes) = self.strangers.try_recv().ok()?;
        let [_, strangers] = &self.shared.waiting;
        strangers.fetch_sub(bytes.len(), Ordering::Relaxed);
        Some((path, bytes))
    }

    /// What the data plane told since the last call.
    pub(crate) fn plane_events(&self) -> impl Iterator<Item = DataplaneEvent> + use<> {
        std::mem::take(&mut self.shared.plane().events).into_values()
    }

    /// Why the data plane has ended, if it has.
    pub(crate) fn plane_fault(&self) -> Option<String> {
        self.shared.plane().fault.clone()
    }

    /// Rings again: not everything was taken.
    pub(crate) fn ring(&self) {
        self.shared.waker.wake();
    }

    /// IKE messages lost since the last call because the queue was full.
    pub(crate) fn overflowed(&self) -> u64 {
        self.shared.overflowed.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::ChildId;

    #[test]
    fn a_flood_of_datagrams_is_counted_and_leaves_room_for_orders() {
        let (inbox, mailbox) = Mailbox::new().unwrap();
        let address = "127.0.0.1:500".parse().unwrap();
        let path = Path { local: address, remote: address, marked: false };
        for _ in 0..limits::DATAGRAM_QUEUE + 3 {
            inbox.datagram(path, &[1, 2, 3]);
        }
        assert_eq!(mailbox.overflowed(), 3);
        assert_eq!(mailbox.overflowed(), 0);
        assert!(inbox.send(Input::PlaneEvent(DataplaneEvent::SequenceNearEnd(ChildId(1)))));
        assert!(mailbox.input().is_some());
        assert_eq!(mailbox.stranger(), Some((path, vec![1, 2, 3])));
    }

    #[test]
    fn long_datagrams_cannot_take_more_memory_than_is_set_aside() {
        let (inbox, mailbox) = Mailbox::new().unwrap();
        let address = "127.0.0.1:500".parse().unwrap();
        let path = Path { local: address, remote: address, marked: false };
        let fit = limits::DATAGRAM_OCTETS / 65_000;
        for _ in 0..limits::DATAGRAM_QUEUE {
            inbox.datagram(path, &[0; 65_000]);
        }
        assert_eq!(mailbox.overflowed(), (limits::DATAGRAM_QUEUE - fit) as u64);
        assert_eq!(std::iter::from_fn(|| mailbox.known()).count(), fit);
        inbox.datagram(path, &[0; 65_000]);
        assert_eq!(mailbox.overflowed(), 0, "there is room again");
    }

    #[test]
    fn a_flood_of_first_messages_keeps_no_cookie_and_no_peer_waiting() {
        let (inbox, mailbox) = Mailbox::new().unwrap();
        let address = "127.0.0.1:500".parse().unwrap();
        let path = Path { local: address, remote: address, marked: false };
        let message = |next: u8, exchange: u8, flags: u8, spi_r: u8| {
            let mut bytes = vec![7; 28];
            bytes[8..16].fill(spi_r);
            (bytes[16], bytes[18], bytes[19]) = (next, exchange, flags);
            bytes
        };
        for _ in 0..limits::DATAGRAM_QUEUE * 2 {
            inbox.datagram(path, &message(33, 34, 0x08, 0));
        }
        let known = [message(41, 34, 0x08, 0), message(33, 34, 0x20, 1), message(46, 35, 0x08, 1)];
        for bytes in &known {
            inbox.datagram(path, bytes);
        }
        assert_eq!(mailbox.overflowed(), limits::DATAGRAM_QUEUE as u64);
        let taken: Vec<Vec<u8>> = std::iter::from_fn(|| mailbox.known()).map(|(_, bytes)| bytes).collect();
        assert_eq!(taken, known);
        assert_eq!(std::iter::from_fn(|| mailbox.stranger()).count(), limits::DATAGRAM_QUEUE);
    }

    /// Somebody on the path can give each ESP packet another source port.
    #[test]
    fn events_of_the_data_plane_never_make_it_wait() {
        let (inbox, mailbox) = Mailbox::new().unwrap();
        let from = |port| std::net::SocketAddr::from(([192, 0, 2, 1], port));
        for port in 1..=60_000 {
            inbox.plane_event(DataplaneEvent::Mapping { id: ChildId(1), remote: from(port) });
        }
        inbox.plane_event(DataplaneEvent::SequenceNearEnd(ChildId(1)));
        let events: Vec<_> = mailbox.plane_events().collect();
        let last = DataplaneEvent::Mapping { id: ChildId(1), remote: from(60_000) };
        assert_eq!(events, [DataplaneEvent::SequenceNearEnd(ChildId(1)), last]);
        assert_eq!(mailbox.plane_events().count(), 0);
    }

    #[test]
    fn the_first_fault_of_the_data_plane_is_kept() {
        let (inbox, mailbox) = Mailbox::new().unwrap();
        assert_eq!(mailbox.plane_fault(), None);
        inbox.plane_fault("one".into());
        inbox.plane_fault("two".into());
        assert_eq!(mailbox.plane_fault().as_deref(), Some("one"));
    }
}
