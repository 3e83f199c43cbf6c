//! The system calls on the TUN device. All unsafe code of this crate is here.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
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
    let name = CString::new(name)?;
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

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
