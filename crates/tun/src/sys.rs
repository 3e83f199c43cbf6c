//! The system calls on the TUN device. All unsafe code of this crate is here.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

/// Turns an open `/dev/net/tun` into the device that `pattern` names (`%d` becomes a free number).
/// Each packet is preceded by a virtio header. Answers the device's name.
pub(crate) fn attach(file: &File, pattern: &str) -> io::Result<String> {
    // SAFETY: ifreq is plain data; all zero octets are a valid value of it.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let name = pattern.as_bytes();
    if name.len() >= request.ifr_name.len() || name.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (slot, &octet) in request.ifr_name.iter_mut().zip(name) {
        *slot = octet as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives across the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    let octets: Vec<u8> = request.ifr_name.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect();
    String::from_utf8(octets).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The name of the device that `file` is attached to now.
pub(crate) fn attached_name(file: &File) -> io::Result<CString> {
    // SAFETY: ifreq is plain data; all zero octets are a valid value of it.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // SAFETY: TUNGETIFF writes one ifreq, which lives across the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    let octets: Vec<u8> = request.ifr_name.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect();
    Ok(CString::new(octets)?)
}

/// The network namespace that the device of `file` is in now.
pub(crate) fn namespace_of(file: &File) -> io::Result<File> {
    // SAFETY: TUNGETDEVNETNS takes no argument and answers a descriptor or -1.
    let fd = unsafe { libc::ioctl(file.as_raw_fd(), TUNGETDEVNETNS) };
    check(fd)?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// `_IO('T', 227)`
const TUNGETDEVNETNS: libc::Ioctl = 0x54e3;

/// Does something in that network namespace: on a thread of its own, since a thread is in one.
pub(crate) fn within<R: Send>(namespace: &File, work: impl FnOnce() -> R + Send) -> io::Result<R> {
    let there = || {
        // SAFETY: setns takes a descriptor, which is open, and an int.
        check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })?;
        Ok(work())
    };
    let done = thread::scope(|scope| scope.spawn(there).join());
    done.unwrap_or_else(|_| Err(io::Error::other("the thread in it broke off")))
}

/// Tells the kernel which unfinished packets we take: without checksums, and not yet segmented.
pub(crate) fn set_offload(file: &File, features: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features)) })
}

/// Octets of the virtio header before each packet.
pub(crate) fn set_header_len(file: &File, len: libc::c_int) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one int, which lives across the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) })
}

/// Makes reads and writes answer at once.
pub(crate) fn set_nonblocking(file: &File) -> io::Result<()> {
    // SAFETY: fcntl with these commands takes and answers ints only.
    unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        check(flags)?;
        check(libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK))
    }
}

/// The index of the interface `name` in this thread's network namespace.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    index_of(&CString::new(name)?)
}

/// The same.
pub(crate) fn index_of(name: &CStr) -> io::Result<u32> {
    // SAFETY: the name is a string that ends in a zero octet and lives across the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// A counter that can be waited on: how a sleeping thread is woken.
pub(crate) fn event_fd() -> io::Result<File> {
    // SAFETY: eventfd takes ints and answers a descriptor or -1.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    check(fd)?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Waits until a descriptor is readable, at most `limit` where there is one; whether it is.
pub(crate) fn readable(fd: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let limit =
        limit.map_or(-1, |limit| libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX));
    // SAFETY: poll gets one entry, which lives across the call.
    match check(unsafe { libc::poll(&raw mut entry, 1, limit) }) {
        Ok(()) => Ok(entry.revents != 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is waited for, however many descriptors there are; each has a number.
pub(crate) struct Poller(OwnedFd);

/// Descriptors told ready at a time; the others are told next.
const READY: usize = 16;

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes an int and answers a descriptor or -1.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        check(fd)?;
        // SAFETY: the descriptor was just made and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Waits for `fd` too, from now on until it is closed or removed.
    pub(crate) fn add(&self, fd: impl AsFd, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number };
        self.control(libc::EPOLL_CTL_ADD, fd, &mut event)
    }

    /// Waits for it no more.
    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, &mut libc::epoll_event { events: 0, u64: 0 })
    }

    fn control(&self, what: libc::c_int, fd: impl AsFd, event: &mut libc::epoll_event) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: both descriptors are open, and the event lives across the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), what, fd, event) })
    }

    /// Waits until some are ready, and answers their numbers.
    pub(crate) fn wait(&self) -> io::Result<impl Iterator<Item = u64> + use<>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; READY];
        // SAFETY: there is room for as many events as are asked for, and it lives across the call.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), READY as libc::c_int, -1) };
        let count = match check(count) {
            Ok(()) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        Ok(events.into_iter().take(count).map(|event| event.u64))
    }
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
