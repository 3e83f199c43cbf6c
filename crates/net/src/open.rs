//! Opening the sockets with the options that each kind needs.

use crate::error::{Error, refused};
use crate::limits::SOCKET_BUFFER;
use crate::sys;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;

/// Which sockets to open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketConfig {
    /// The port of IKE without NAT: 500; 0 lets the kernel choose.
    pub ike_port: u16,
    /// The port of IKE and ESP behind NAT: 4500; 0 lets the kernel choose.
    pub nat_port: u16,
    /// Put on every packet that we send (`SO_MARK`), so that routing rules can tell our own packets
    /// from those that the tunnel is to carry: one bit that nothing else on the machine uses; 0 puts none.
    pub mark: u32,
    /// Whether to open raw sockets for ESP without UDP (IP protocol 50).
    pub raw_esp: bool,
}

/// The usual mark of our own packets.
pub const DEFAULT_MARK: u32 = 0x0100_0000;

impl Default for SocketConfig {
    fn default() -> Self {
        Self { ike_port: 500, nat_port: 4500, mark: DEFAULT_MARK, raw_esp: true }
    }
}

/// What a socket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// UDP 500: IKE messages only.
    Ike,
    /// UDP 4500: IKE messages behind the non-ESP marker, ESP, keepalives (RFC 3948 §2).
    Nat,
    /// IP protocol 50.
    RawEsp,
}

/// The address family of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    fn wildcard(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) socket: Socket,
    pub(crate) kind: Kind,
    pub(crate) family: Family,
    /// The bound port; 0 for raw sockets.
    pub(crate) port: u16,
}

/// All sockets of one daemon, bound to the wildcard addresses.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) channels: Vec<Channel>,
    pub(crate) config: SocketConfig,
    /// Raw sockets of IPv4 and IPv6 that take packets with their own headers.
    pub(crate) whole: [Option<Socket>; 2],
    /// Taken while the don't-fragment setting of the shared port is changed for an IKE message.
    pub(crate) fragmenting: Mutex<()>,
}

impl Sockets {
    /// Opens the sockets of both families; a machine without IPv6 gets those of IPv4 only.
    pub fn open(config: SocketConfig) -> Result<Self, Error> {
        let mut channels = Vec::new();
        for family in [Family::V4, Family::V6] {
            match open_family(&config, family) {
                Ok(opened) => channels.extend(opened),
                Err(Error::Io { source, .. }) if family == Family::V6 && is_absent(&source) => {}
                Err(error) => return Err(error),
            }
        }
        let whole = [Family::V4, Family::V6].map(|family| open_whole(&config, family).ok());
        Ok(Self { channels, config, whole, fragmenting: Mutex::new(()) })
    }

    /// The descriptors to wait on, in the order that [`Sockets::receive`] counts them.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.channels.iter().map(|channel| channel.socket.as_fd())
    }

    /// The port that a kind of socket is bound to (of IPv4, else of IPv6).
    pub fn port(&self, kind: Kind) -> Option<u16> {
        self.channels.iter().find(|channel| channel.kind == kind).map(|channel| channel.port)
    }

    /// The port that a kind of socket is bound to, of the family of `address`; 0 when there is none.
    pub fn find_port(&self, address: IpAddr, kind: Kind) -> u16 {
        self.find(kind, Family::of(address)).map_or(0, |channel| channel.port)
    }

    /// The mark that our own packets carry.
    pub fn mark(&self) -> u32 {
        self.config.mark
    }

    /// Whether ESP without UDP can be sent and received.
    pub fn has_raw_esp(&self, address: IpAddr) -> bool {
        self.find(Kind::RawEsp, Family::of(address)).is_some()
    }

    pub(crate) fn find(&self, kind: Kind, family: Family) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.kind == kind && channel.family == family)
    }

    /// What the kernel knows of the path MTU towards `remote`, outer headers included: the
    /// interface's MTU, or what a router on the way told.
    pub fn path_mtu(&self, remote: IpAddr) -> io::Result<u32> {
        let socket = self.look_up(remote)?;
        let (level, name) = match Family::of(remote) {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_MTU),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
        };
        let mtu = sys::get_option(socket.as_fd(), level, name)?;
        u32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// The source address that the kernel would choose for what we send to `remote` ourselves, past all tunnels.
    pub fn source(&self, remote: IpAddr) -> io::Result<IpAddr> {
        let local = self.look_up(remote)?.local_addr()?.as_socket();
        local.map(|local| local.ip()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// A socket that knows the route to `remote`. Connecting a UDP socket sends nothing, and its port has no meaning.
    fn look_up(&self, remote: IpAddr) -> io::Result<Socket> {
        let socket = Socket::new(domain(Family::of(remote)), Type::DGRAM, Some(Protocol::UDP))?;
        if self.config.mark != 0 {
            socket.set_mark(self.config.mark)?;
        }
        socket.connect(&SocketAddr::new(remote, 4500).into())?;
        Ok(socket)
    }
}

fn domain(family: Family) -> Domain {
    match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    }
}

/// Whether the kernel has no such address family, or no address of it at all.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn open_family(config: &SocketConfig, family: Family) -> Result<Vec<Channel>, Error> {
    let mut channels = vec![
        open_udp(config, family, Kind::Ike, config.ike_port)?,
        open_udp(config, family, Kind::Nat, config.nat_port)?,
    ];
    if config.raw_esp {
        channels.push(open_raw(config, family)?);
    }
    Ok(channels)
}

fn open_udp(config: &SocketConfig, family: Family, kind: Kind, port: u16) -> Result<Channel, Error> {
    let what = format!("open UDP port {port} ({})", family.name());
    let socket = Socket::new(domain(family), Type::DGRAM, Some(Protocol::UDP))
        .map_err(refused(&what, "CAP_NET_BIND_SERVICE"))?;
    if family == Family::V6 {
        socket.set_only_v6(true).map_err(refused(&what, "CAP_NET_BIND_SERVICE"))?;
    }
    socket.bind(&SocketAddr::new(family.wildcard(), port).into()).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::PortInUse { port, family: family.name() },
        _ => refused(&what, "CAP_NET_BIND_SERVICE")(source),
    })?;
    set_common(config, family, &socket)?;
    // An IKE message must get through even where a path's MTU is unknown: no don't-fragment bit.
    if kind == Kind::Ike {
        set_dont_fragment(&socket, family, false).map_err(refused(&what, "CAP_NET_ADMIN"))?;
    } else {
        // Absent before Linux 5.0: datagrams then come one by one, which receive() handles as well.
        let _ = sys::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1);
    }
    let bound = socket.local_addr().map_err(refused(&what, "CAP_NET_ADMIN"))?;
    let port = bound.as_socket().map_or(port, |bound| bound.port());
    Ok(Channel { socket, kind, family, port })
}

fn open_raw(config: &SocketConfig, family: Family) -> Result<Channel, Error> {
    let what = format!("open a raw socket for ESP ({})", family.name());
    let socket = Socket::new(domain(family), Type::RAW, Some(Protocol::from(libc::IPPROTO_ESP)))
        .map_err(refused(&what, "CAP_NET_RAW"))?;
    set_common(config, family, &socket)?;
    Ok(Channel { socket, kind: Kind::RawEsp, family, port: 0 })
}

/// A socket that sends and never receives. Where it cannot be had, nothing passes by the tunnels.
fn open_whole(config: &SocketConfig, family: Family) -> io::Result<Socket> {
    let socket = Socket::new(domain(family), Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    if config.mark == 0 {
        // Without a mark it could lead back into the tunnel.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    socket.set_mark(config.mark)?;
    Ok(socket)
}

fn set_common(config: &SocketConfig, family: Family, socket: &Socket) -> Result<(), Error> {
    if config.mark != 0 {
        let what = format!("mark our own packets with {:#x} (SO_MARK)", config.mark);
        socket.set_mark(config.mark).map_err(refused(&what, "CAP_NET_ADMIN"))?;
    }
    let options: &[_] = match family {
        Family::V4 => &[(libc::IPPROTO_IP, libc::IP_PKTINFO), (libc::IPPROTO_IP, libc::IP_RECVTOS)],
        Family::V6 => {
            &[(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO), (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS)]
        }
    };
    for &(level, name) in options {
        sys::set_option(socket.as_fd(), level, name, 1)
            .map_err(refused("ask for the local address of each datagram", "CAP_NET_ADMIN"))?;
    }
    set_dont_fragment(socket, family, true)
        .map_err(refused("set the don't-fragment bit", "CAP_NET_ADMIN"))?;
    for (forced, polite) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        let size = SOCKET_BUFFER as libc::c_int;
        // Without CAP_NET_ADMIN the kernel's own limit cuts this; smaller buffers still work.
        let _ = sys::set_option(socket.as_fd(), libc::SOL_SOCKET, forced, size)
            .or_else(|_| sys::set_option(socket.as_fd(), libc::SOL_SOCKET, polite, size));
    }
    Ok(())
}

/// With `on`, packets within the known path MTU carry the don't-fragment bit, so that routers tell
/// us of a smaller one, and larger packets leave as fragments; without it every packet may be
/// fragmented on its way. IPv6 has no such bit: its sender always keeps to the known path MTU.
pub(crate) fn set_dont_fragment(socket: &Socket, family: Family, on: bool) -> io::Result<()> {
    let (level, name, value) = match (family, on) {
        (Family::V4, true) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_WANT),
        (Family::V4, false) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
        (Family::V6, _) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT),
    };
    sys::set_option(socket.as_fd(), level, name, value)
}
