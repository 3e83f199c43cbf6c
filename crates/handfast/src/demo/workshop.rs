//! What the demo leaves in the world while it runs, and how it goes away: a folder and two processes.
//! (The namespaces go with the process that holds them.)

use crate::demo::sys;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The exit code after a signal, as shells have it.
const INTERRUPTED: i32 = 130;

/// How long a daemon may take for its good-bye.
const FAREWELL: Duration = Duration::from_secs(4);

/// The folder and the processes. Dropping it removes them.
pub(crate) struct Workshop {
    folder: PathBuf,
    children: Mutex<Vec<Child>>,
    interrupted: AtomicBool,
}

impl Workshop {
    /// A folder of our own, and a thread that tidies up when a signal comes. Signals must be held back already.
    pub(crate) fn open() -> io::Result<Arc<Self>> {
        let folder = std::env::temp_dir().join(format!("handfast-demo-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let shop =
            Arc::new(Self { folder, children: Mutex::new(Vec::new()), interrupted: AtomicBool::new(false) });
        let weak = Arc::downgrade(&shop);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            sys::wait_for_signal();
            eprintln!("Interrupted: tidying up.");
            if let Some(shop) = weak.upgrade() {
                shop.interrupted.store(true, Ordering::Release);
                shop.tidy();
            }
            std::process::exit(INTERRUPTED);
        })?;
        Ok(shop)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// To be called before the demo says that something failed: after a signal that is only because
    /// everything is being taken away under it, and the thread that does so ends the process.
    pub(crate) fn stop_if_interrupted(&self) {
        while self.interrupted.load(Ordering::Acquire) {
            std::thread::park();
        }
    }

    /// Takes a process into care.
    pub(crate) fn keep(&self, child: Child) {
        self.children().push(child);
    }

    /// Whether a process in our care has ended by itself.
    pub(crate) fn has_ended(&self, pid: u32) -> bool {
        let mut children = self.children();
        let child = children.iter_mut().find(|child| child.id() == pid);
        child.is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until all processes have ended, after asking them to; kills those that do not.
    pub(crate) fn end_processes(&self) {
        let mut children = std::mem::take(&mut *self.children());
        for child in &mut children {
            if matches!(child.try_wait(), Ok(None)) {
                sys::terminate(child.id());
            }
        }
        let end = Instant::now() + FAREWELL;
        for child in &mut children {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn tidy(&self) {
        self.end_processes();
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Vec<Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.tidy();
    }
}
