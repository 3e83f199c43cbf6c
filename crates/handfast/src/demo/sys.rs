//! What the demo needs of Linux beyond `std`: namespaces, a packet socket, signals. All FFI of this crate.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Leaves this thread's network namespace for a new one.
pub(crate) fn unshare_net() -> io::Result<()> {
    // SAFETY: unshare takes flags only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Makes this process root of a user namespace of its own. Only while it has one thread.
pub(crate) fn become_root_of_own_namespace() -> io::Result<()> {
    // SAFETY: both calls take nothing and cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: unshare takes flags only.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Moves this thread into the network namespace behind `file`.
pub(crate) fn enter(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor lives across the call.
    check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// A packet socket that sees everything that crosses the interface, in either direction.
pub(crate) fn packet_socket(interface: u32) -> io::Result<OwnedFd> {
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: socket takes numbers; a negative result is an error, else a new descriptor that nobody else has.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(all));
        check(fd)?;
        OwnedFd::from_raw_fd(fd)
    };
    let size: libc::c_int = 64 << 20;
    // SAFETY: the option is an int and so is `size`. Without the right to exceed the limit the buffer is smaller,
    // and what it then loses is counted.
    unsafe {
        let (at, len) = (std::ptr::from_ref(&size).cast(), size_of::<libc::c_int>() as libc::socklen_t);
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, at, len);
    }
    // SAFETY: sockaddr_ll is plain data; the address lives across the call and its length is right.
    unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        address.sll_ifindex = interface as i32;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        check(libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), len))?;
    }
    Ok(socket)
}

/// How many packets a packet socket lost since the last call because nobody read them in time.
pub(crate) fn packets_lost(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: tpacket_stats is plain data, large enough for what the kernel writes, and `len` says how large.
    unsafe {
        let mut stats: libc::tpacket_stats = std::mem::zeroed();
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        let at = std::ptr::from_mut(&mut stats).cast();
        check(libc::getsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, at, &mut len))?;
        Ok(stats.tp_drops)
    }
}

/// The number of an interface of this thread's network namespace.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: `name` ends with a zero and lives across the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Waits until `fd` is readable, at most `limit`; whether it is.
pub(crate) fn is_readable(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one entry, which lives across the call.
    unsafe { libc::poll(&mut poll, 1, millis) > 0 }
}

/// Keeps SIGINT, SIGTERM and SIGHUP from this thread and those it starts; to be called first of all.
pub(crate) fn hold_signals() {
    // SAFETY: the set is initialised by sigemptyset and lives across the calls.
    unsafe {
        let set = stop_signals();
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// Waits for one of the signals that [`hold_signals`] keeps back; its number.
pub(crate) fn wait_for_signal() -> i32 {
    let mut signal = 0;
    // SAFETY: the set is initialised, and both live across the call.
    unsafe {
        let set = stop_signals();
        libc::sigwait(&set, &mut signal);
    }
    signal
}

/// # Safety
/// None beyond that of the calls, which take a set that lives here.
unsafe fn stop_signals() -> libc::sigset_t {
    // SAFETY: sigset_t is plain data; sigemptyset initialises it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// Sends SIGTERM to a process that we started and have not waited for yet, or to ourselves.
pub(crate) fn terminate(pid: u32) {
    // SAFETY: kill takes numbers; the pid is our own or that of an unreaped child, so it is nobody else's.
    unsafe { libc::kill(pid as i32, libc::SIGTERM) };
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
