//! How others reach what a thread owns: a closure is sent to it, its result comes back. The
//! data path needs no lock then.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

type Task<T> = Box<dyn FnOnce(&mut T) + Send>;

/// The outer end: hands closures to the thread that owns a `T`.
pub(crate) struct Mailbox<T> {
    tasks: Mutex<Sender<Task<T>>>,
    waker: Arc<File>,
}

/// The thread's end.
pub(crate) struct Tasks<T> {
    tasks: Receiver<Task<T>>,
    waker: Arc<File>,
}

/// A pair of ends over `waker`, an eventfd.
pub(crate) fn pair<T>(waker: File) -> (Mailbox<T>, Tasks<T>) {
    let (sender, receiver) = mpsc::channel();
    let waker = Arc::new(waker);
    (Mailbox { tasks: Mutex::new(sender), waker: waker.clone() }, Tasks { tasks: receiver, waker })
}

impl<T: 'static> Mailbox<T> {
    /// Has the thread do `work` between two batches and answers its result; `None` when the thread has ended.
    pub(crate) fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Option<R> {
        let (reply, answer) = mpsc::sync_channel(1);
        let task: Task<T> = Box::new(move |owned| {
            let _ = reply.send(work(owned));
        });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).send(task).ok()?;
        self.wake();
        answer.recv().ok()
    }

    /// Makes the thread look up.
    pub(crate) fn wake(&self) {
        // A full counter means that a wake-up is pending already.
        let _ = (&*self.waker).write(&1u64.to_ne_bytes());
    }
}

impl<T> Tasks<T> {
    /// Does what has been asked for.
    pub(crate) fn run(&self, owned: &mut T) {
        let _ = (&*self.waker).read(&mut [0; 8]);
        while let Ok(task) = self.tasks.try_recv() {
            task(owned);
        }
    }

    /// Readable when something has been asked for.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}
