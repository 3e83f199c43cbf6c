//! The bounded queues into the IKE thread. Datagrams have one of their own, so that a flood of them
//! cannot keep an order or an answer waiting.

use crate::driver::Input;
use crate::limits;
use crate::os::Waker;
use sa::Path;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The end that other threads hold.
#[derive(Clone)]
pub(crate) struct Inbox {
    inputs: SyncSender<Input>,
    datagrams: SyncSender<(Path, Vec<u8>)>,
    shared: Arc<Shared>,
}

struct Shared {
    waker: Waker,
    overflowed: AtomicU64,
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
        if self.datagrams.try_send((path, bytes.to_vec())).is_err() {
            self.shared.overflowed.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.waker.wake();
    }
}

/// The IKE thread's end.
pub(crate) struct Mailbox {
    inputs: Receiver<Input>,
    datagrams: Receiver<(Path, Vec<u8>)>,
    shared: Arc<Shared>,
}

impl Mailbox {
    pub(crate) fn new() -> io::Result<(Inbox, Self)> {
        let (inputs, take_inputs) = sync_channel(limits::INPUT_QUEUE);
        let (datagrams, take_datagrams) = sync_channel(limits::DATAGRAM_QUEUE);
        let shared = Arc::new(Shared { waker: Waker::new()?, overflowed: AtomicU64::new(0) });
        let inbox = Inbox { inputs, datagrams, shared: shared.clone() };
        Ok((inbox, Self { inputs: take_inputs, datagrams: take_datagrams, shared }))
    }

    /// What to wait on.
    pub(crate) fn waker(&self) -> &Waker {
        &self.shared.waker
    }

    /// The next input, if one is there.
    pub(crate) fn input(&self) -> Option<Input> {
        self.inputs.try_recv().ok()
    }

    /// The next IKE message, if one is there.
    pub(crate) fn datagram(&self) -> Option<(Path, Vec<u8>)> {
        self.datagrams.try_recv().ok()
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
        assert!(
            inbox.send(Input::PlaneEvent(dataplane::DataplaneEvent::SequenceNearEnd(dataplane::ChildId(1))))
        );
        assert!(mailbox.input().is_some());
        assert_eq!(mailbox.datagram(), Some((path, vec![1, 2, 3])));
    }
}
