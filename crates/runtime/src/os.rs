//! The few things of Linux that the daemon needs and `std` does not have: waiting on several
//! descriptors, waking another thread, signals as a descriptor. All of this crate's FFI.

use base::{Instant, Now, Rng, WallClock};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads both clocks; the monotonic one counts from the daemon's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    pub(crate) fn since(start: std::time::Instant) -> Self {
        Self(start)
    }

    pub(crate) fn mono(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: self.mono(), wall: wall() }
    }
}

/// What the clock on the wall says.
pub(crate) fn wall() -> WallClock {
    WallClock(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Wakes a thread that waits in [`wait`].
#[derive(Debug)]
pub(crate) struct Waker {
    fd: OwnedFd,
    /// Whether the descriptor is readable already: saves a system call for each further wake-up.
    rung: AtomicBool,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two plain numbers; a negative result is an error, else a new descriptor.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        Ok(Self { fd: own(fd)?, rung: AtomicBool::new(false) })
    }

    pub(crate) fn wake(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let one = 1u64.to_ne_bytes();
            // SAFETY: the buffer has the eight octets that an eventfd takes, and lives across the call. The
            // only error, a full counter, means that the descriptor is readable, which is what is wanted.
            unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    /// To be called before what woke us is looked at, so that nothing is overlooked.
    pub(crate) fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer has the eight octets that an eventfd gives; EAGAIN leaves it as it is.
        unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        self.rung.store(false, Ordering::Release);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kernel's random numbers.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemRng;

impl SystemRng {
    /// One, boxed.
    pub fn boxed() -> Box<dyn Rng> {
        Box::new(Self)
    }
}

impl Rng for SystemRng {
    fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            // SAFETY: the pointer and the length are those of `out`.
            let got = unsafe { libc::getrandom(out.as_mut_ptr().cast(), out.len(), 0) };
            match usize::try_from(got) {
                Ok(got) => out = &mut std::mem::take(&mut out)[got..],
                Err(_) => {
                    // Only a signal can stop it; without chance there are no keys, so anything else ends us.
                    let error = io::Error::last_os_error();
                    assert_eq!(error.kind(), io::ErrorKind::Interrupted, "no random numbers: {error}");
                }
            }
        }
    }
}

/// A signal that the daemon heeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// SIGTERM, SIGINT and SIGHUP as a descriptor. To be made before any thread, which inherits the mask.
#[derive(Debug)]
pub(crate) struct Signals(OwnedFd);

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: sigset_t is plain data that sigemptyset initialises; all calls take pointers to it
        // that live across them.
        let fd = unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&mut set, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        Ok(Self(own(fd)?))
    }

    /// The next signal that came, if one did.
    pub(crate) fn next(&self) -> Option<Signal> {
        // SAFETY: signalfd_siginfo is plain data; the kernel writes one whole record or nothing.
        let (got, info) = unsafe {
            let mut info: libc::signalfd_siginfo = std::mem::zeroed();
            let size = size_of::<libc::signalfd_siginfo>();
            (libc::read(self.0.as_raw_fd(), std::ptr::from_mut(&mut info).cast(), size), info)
        };
        if usize::try_from(got) != Ok(size_of::<libc::signalfd_siginfo>()) {
            return None;
        }
        let number = i32::try_from(info.ssi_signo).ok()?;
        Some(if number == libc::SIGHUP { Signal::Reload } else { Signal::Stop })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Does `work` with a umask that leaves new files to their owner. The umask is the whole process's: to be called
/// before there are other threads.
pub(crate) fn with_private_files<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: umask takes and answers a number and cannot fail.
    let before = unsafe { libc::umask(0o177) };
    let done = work();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    done
}

fn own(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller just got `fd` from the kernel, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until a descriptor is readable or `timeout` is over; sets `ready` for each that is.
pub(crate) fn wait(fds: &mut Vec<libc::pollfd>, timeout: Option<Duration>) -> io::Result<()> {
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
    });
    let limit_ptr = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `fds` has as many entries as said and `limit_ptr` is null or points to `limit`; both live across the call.
    let got =
        unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, limit_ptr, std::ptr::null()) };
    if got < 0 {
        let error = io::Error::last_os_error();
        fds.iter_mut().for_each(|fd| fd.revents = 0);
        return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
    }
    Ok(())
}

/// An entry for [`wait`].
pub(crate) fn readable(fd: BorrowedFd<'_>) -> libc::pollfd {
    libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_octets_fill_the_whole_of_it() {
        let mut octets = [0; 1000];
        SystemRng.fill(&mut octets);
        assert!(octets.chunks(20).all(|some| some.iter().any(|octet| *octet != 0)));
    }

    #[test]
    fn a_waker_is_readable_from_its_wake_until_it_is_cleared() {
        let waker = Waker::new().unwrap();
        let is_ready = || {
            let mut fds = vec![readable(waker.as_fd())];
            wait(&mut fds, Some(Duration::ZERO)).unwrap();
            fds[0].revents != 0
        };
        assert!(!is_ready());
        waker.wake();
        waker.wake();
        assert!(is_ready());
        waker.clear();
        assert!(!is_ready());
        waker.wake();
        assert!(is_ready(), "it can ring again");
    }
}
