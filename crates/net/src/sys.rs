//! The system calls: receiving with addresses and ECN, sending with a chosen source, in batches.
//! All unsafe code of this crate is here.

use crate::limits::{MAX_DATAGRAM, MAX_RECEIVE_BATCH, MAX_SEGMENTS};
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// What the kernel told about one received datagram (or train of merged datagrams).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) len: usize,
    pub(crate) remote: SocketAddr,
    pub(crate) local: IpAddr,
    /// The interface it came in by, which a link-local address needs.
    pub(crate) interface: u32,
    /// The outer header's DSCP and ECN octet.
    pub(crate) tos: u8,
    /// Octets of each merged datagram but the last; `None` when nothing was merged.
    pub(crate) segment: Option<usize>,
}

/// Room for control messages; `cmsghdr` wants this alignment.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

const CONTROL_LEN: usize = 192;

/// Buffers for one `recvmmsg` call, made once and used for every call.
pub(crate) struct Receiver {
    octets: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    filled: Vec<Meta>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        // SAFETY: sockaddr_storage is plain data; all zero octets are a valid value of it.
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self {
            octets: vec![0; MAX_DATAGRAM * MAX_RECEIVE_BATCH],
            names: vec![name; MAX_RECEIVE_BATCH],
            controls: vec![Control([0; CONTROL_LEN]); MAX_RECEIVE_BATCH],
            filled: Vec::with_capacity(MAX_RECEIVE_BATCH),
        }
    }

    /// Takes up to `max` datagrams without waiting; answers how many.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
        self.filled.clear();
        let count = max.min(MAX_RECEIVE_BATCH);
        // SAFETY: iovec and mmsghdr are plain data; all zero octets are valid values of both.
        let (mut parts, mut headers): ([libc::iovec; MAX_RECEIVE_BATCH], [libc::mmsghdr; MAX_RECEIVE_BATCH]) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        let slots = self.octets.chunks_exact_mut(MAX_DATAGRAM).zip(&mut self.names).zip(&mut self.controls);
        for (((slot, name), control), (part, header)) in
            slots.zip(parts.iter_mut().zip(&mut headers)).take(count)
        {
            *part = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = part;
            header.msg_iovlen = 1;
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_LEN as _;
        }
        // SAFETY: the first `count` headers point to names, parts, buffers and control room that
        // live in `self` and on this stack until the call returns, with their true lengths.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        for (header, name) in headers.iter().zip(&self.names).take(got) {
            self.filled.push(meta(header, name));
        }
        Ok(got)
    }

    /// The datagrams of the last [`Receiver::receive`], with what is known of each.
    pub(crate) fn datagrams(&mut self) -> impl Iterator<Item = (Meta, &mut [u8])> {
        let slots = self.octets.chunks_exact_mut(MAX_DATAGRAM);
        self.filled.iter().zip(slots).map(|(meta, slot)| (*meta, &mut slot[..meta.len.min(MAX_DATAGRAM)]))
    }
}

/// Reads the control messages of one received header.
fn meta(header: &libc::mmsghdr, name: &libc::sockaddr_storage) -> Meta {
    let unspecified = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let remote = address(name).unwrap_or(unspecified);
    let mut meta = Meta {
        len: header.msg_len as usize,
        remote,
        local: if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() },
        interface: 0,
        tos: 0,
        segment: None,
    };
    // SAFETY: the kernel filled msg_control with msg_controllen octets of control messages, and the
    // CMSG functions stay within them. Each payload is read unaligned with the type that the kernel
    // documents for its level and type.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(&header.msg_hdr);
        while let Some(control) = at.as_ref() {
            let data = libc::CMSG_DATA(control);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = data.cast::<libc::in_pktinfo>().read_unaligned();
                    meta.local = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into();
                    meta.interface = info.ipi_ifindex as u32;
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    meta.local = Ipv6Addr::from(info.ipi6_addr.s6_addr).into();
                    meta.interface = info.ipi6_ifindex as u32;
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => meta.tos = data.read(),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    meta.tos = data.cast::<libc::c_int>().read_unaligned() as u8;
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = data.cast::<libc::c_int>().read_unaligned();
                    meta.segment = usize::try_from(size).ok().filter(|&size| size > 0);
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(&header.msg_hdr, control);
        }
    }
    meta
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    // SAFETY: sockaddr_storage is large enough and aligned for both, and the family says which it is.
    unsafe {
        match i32::from(name.ss_family) {
            libc::AF_INET => {
                let v4 = &*(&raw const *name).cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                let v6 = &*(&raw const *name).cast::<libc::sockaddr_in6>();
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

/// Where to and how datagrams go: destination, source, and the outer header's DSCP and ECN octet.
#[derive(Clone, Copy)]
pub(crate) struct Heading {
    pub(crate) remote: SocketAddr,
    /// The source address; unspecified leaves it to the routing table.
    pub(crate) local: IpAddr,
    pub(crate) tos: u8,
}

/// The control messages and the address of a heading, in the kernel's form.
struct Envelope {
    name: socket2::SockAddr,
    control: Control,
    control_len: usize,
}

impl Envelope {
    fn new(heading: &Heading, segment: Option<u16>) -> Self {
        let mut envelope =
            Self { name: heading.remote.into(), control: Control([0; CONTROL_LEN]), control_len: 0 };
        match heading.local {
            IpAddr::V4(ip) if !ip.is_unspecified() => {
                let source = libc::in_addr { s_addr: u32::from(ip).to_be() };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: source };
                envelope.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            IpAddr::V6(ip) if !ip.is_unspecified() => {
                let scope = match heading.remote {
                    SocketAddr::V6(remote) => remote.scope_id(),
                    SocketAddr::V4(_) => 0,
                };
                let source = libc::in6_addr { s6_addr: ip.octets() };
                let info = libc::in6_pktinfo { ipi6_addr: source, ipi6_ifindex: scope as _ };
                envelope.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            _ => {}
        }
        if heading.tos != 0 {
            let tos = libc::c_int::from(heading.tos);
            match heading.remote {
                SocketAddr::V4(_) => envelope.push(libc::IPPROTO_IP, libc::IP_TOS, tos),
                SocketAddr::V6(_) => envelope.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, tos),
            }
        }
        if let Some(segment) = segment {
            envelope.push(libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        envelope
    }

    fn push<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        // SAFETY: CMSG_LEN and CMSG_SPACE compute lengths only.
        let (len, space) = unsafe {
            (
                libc::CMSG_LEN(mem::size_of::<T>() as u32),
                libc::CMSG_SPACE(mem::size_of::<T>() as u32) as usize,
            )
        };
        assert!(self.control_len + space <= CONTROL_LEN, "three control messages fit");
        // SAFETY: the assertion leaves room for header and payload; the start is aligned because
        // the room is and CMSG_SPACE is a multiple of the alignment.
        unsafe {
            let at = self.control.0.as_mut_ptr().add(self.control_len).cast::<libc::cmsghdr>();
            (*at).cmsg_level = level;
            (*at).cmsg_type = kind;
            (*at).cmsg_len = len as _;
            libc::CMSG_DATA(at).cast::<T>().write_unaligned(value);
        }
        self.control_len += space;
    }

    /// The header of a message made of `parts`. It points into `self` and `parts`.
    fn header(&mut self, parts: &mut [libc::iovec]) -> libc::msghdr {
        // SAFETY: msghdr is plain data; all zero octets are a valid value of it.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = self.name.as_ptr().cast_mut().cast();
        header.msg_namelen = self.name.len();
        header.msg_iov = parts.as_mut_ptr();
        header.msg_iovlen = parts.len() as _;
        if self.control_len > 0 {
            header.msg_control = self.control.0.as_mut_ptr().cast();
            header.msg_controllen = self.control_len as _;
        }
        header
    }
}

fn part(octets: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() }
}

/// Sends one datagram made of `first` and `second`; with `segment` the kernel cuts it into datagrams
/// of that many octets.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    heading: &Heading,
    (first, second): (&[u8], &[u8]),
    segment: Option<u16>,
    flags: libc::c_int,
) -> io::Result<()> {
    let mut envelope = Envelope::new(heading, segment);
    let mut parts = [part(first), part(second)];
    let header = envelope.header(&mut parts);
    loop {
        // SAFETY: `header` points to the envelope, the parts and the caller's octets, all of which
        // outlive the call; the kernel only reads them.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, flags) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Sends each piece of `octets` (`size` octets each, the last may be shorter) as a datagram of its
/// own. At most [`MAX_SEGMENTS`] pieces. Answers how many the kernel took before an error.
pub(crate) fn send_each(
    socket: BorrowedFd<'_>,
    heading: &Heading,
    octets: &[u8],
    size: usize,
) -> (usize, io::Result<()>) {
    let mut envelope = Envelope::new(heading, None);
    // SAFETY: iovec and mmsghdr are plain data; all zero octets are valid values of both.
    let (mut parts, mut headers): ([libc::iovec; MAX_SEGMENTS], [libc::mmsghdr; MAX_SEGMENTS]) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut count = 0;
    for ((piece, slot), header) in octets.chunks(size.max(1)).zip(&mut parts).zip(&mut headers) {
        *slot = part(piece);
        header.msg_hdr = envelope.header(std::slice::from_mut(slot));
        count += 1;
    }
    let mut done = 0;
    while done < count {
        // SAFETY: `headers[done..count]` point to the envelope, the parts and the caller's octets,
        // all of which outlive the call; the kernel only reads them (and writes msg_len).
        let sent = unsafe {
            let first = headers.as_mut_ptr().add(done);
            libc::sendmmsg(socket.as_raw_fd(), first, (count - done) as libc::c_uint, 0)
        };
        match usize::try_from(sent) {
            Ok(sent) => done += sent,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return (done, Err(error)),
            },
        }
    }
    (done, Ok(()))
}

/// Sets an integer socket option.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the option value is an int that lives across the call, given with its length.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an integer socket option.
pub(crate) fn get_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = mem::size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` octets, which is the size of `value`.
    let done =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
    if done == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Waits until one of `sockets` can be read, or `timeout` is over; answers which can be.
pub fn wait_readable(sockets: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<u64> {
    // SAFETY: pollfd is plain data; all zero octets are a valid value of it.
    let mut polls: [libc::pollfd; 16] = unsafe { mem::zeroed() };
    let count = sockets.len().min(polls.len());
    for (poll, socket) in polls.iter_mut().zip(sockets) {
        *poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    }
    let millis = timeout.map_or(-1, |t| i32::try_from(t.as_millis()).unwrap_or(i32::MAX));
    // SAFETY: `polls` has at least `count` entries and lives across the call.
    let ready = unsafe { libc::poll(polls.as_mut_ptr(), count as libc::nfds_t, millis) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) };
    }
    let bits = polls.iter().take(count).enumerate();
    Ok(bits.fold(0, |bits, (i, poll)| if poll.revents != 0 { bits | 1 << i } else { bits }))
}
