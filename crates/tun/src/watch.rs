//! What changes about the host: its addresses, links and routes, as the kernel tells it (rtnetlink(7)).

use crate::device::Device;
use crate::limits;
use crate::netlink::Netlink;
use crate::sys;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The devices of our own data plane by their indexes, as they come and go.
#[derive(Clone, Default, Debug)]
pub struct OwnDevices(Arc<Mutex<BTreeSet<u32>>>);

impl OwnDevices {
    pub(crate) fn of(device: &Device) -> Self {
        let own = Self::default();
        own.add(device);
        own
    }

    pub(crate) fn add(&self, device: &Device) {
        self.all().extend(device.index_here());
    }

    pub(crate) fn remove(&self, device: &Device) {
        self.all().retain(|index| Some(*index) != device.index_here());
    }

    fn has(&self, index: u32) -> bool {
        self.all().contains(&index)
    }

    fn all(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells when the host's addresses, links or routes change.
pub struct Watch {
    socket: Socket,
    /// Whose addresses and routes are of the tunnels.
    own: OwnDevices,
}

impl Watch {
    /// Begins to watch this thread's network namespace, without what concerns the devices `own`.
    pub fn open(own: OwnDevices) -> io::Result<Self> {
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE;
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, groups as u32))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, own })
    }

    /// Waits for a change, and then until nothing changes for a moment.
    pub fn changed(&self) -> io::Result<()> {
        while !(sys::readable(self.socket.as_fd(), None)? && self.take()?) {}
        for _ in 0..limits::MAX_SETTLINGS {
            if !sys::readable(self.socket.as_fd(), Some(limits::SETTLING))? {
                break;
            }
            self.take()?;
        }
        Ok(())
    }

    /// The addresses with which others can be reached: of links that carry, without what is only the host's own, and
    /// without what is not usable yet or not for long.
    pub fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        let mut netlink = Netlink::open()?;
        let links = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let carrying = links.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => {
                let flags = link.header.flags;
                let carries = flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
                let others = !flags.contains(LinkFlags::Loopback) && !self.own.has(link.header.index);
                (carries && others).then_some(link.header.index)
            }
            _ => None,
        });
        let carrying: BTreeSet<u32> = carrying.collect();
        let all = netlink.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let usable = all.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) if carrying.contains(&message.header.index) => {
                usable(&message)
            }
            _ => None,
        });
        Ok(usable.collect())
    }

    /// Takes what the kernel has told; whether any of it matters.
    fn take(&self) -> io::Result<bool> {
        let mut matters = false;
        loop {
            match self.socket.recv_from_full() {
                Ok((octets, _)) => matters |= self.matters(&octets),
                // More came than the socket holds: something has changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => matters = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(matters),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn matters(&self, octets: &[u8]) -> bool {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(octets) else { return true };
        let index = match message.payload {
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewAddress(message) | RouteNetlinkMessage::DelAddress(message),
            ) => Some(message.header.index),
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
            ) => Some(link.header.index),
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
            ) => output(&route),
            _ => return false,
        };
        index.is_none_or(|index| !self.own.has(index))
    }
}

fn output(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn usable(message: &AddressMessage) -> Option<IpAddr> {
    let unusable =
        AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed | AddressHeaderFlags::Deprecated;
    let far = matches!(message.header.scope, AddressScope::Universe | AddressScope::Site);
    if !far || message.header.flags.intersects(unusable) {
        return None;
    }
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    // On a link between two points, Address is the other one.
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    })
}
