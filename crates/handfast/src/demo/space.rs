//! Throw-away network namespaces. They have no names: each lives as long as somebody holds it, so that
//! nothing is left behind even after SIGKILL.

use crate::demo::netlink::Netlink;
use crate::demo::sys;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Space {
    name: &'static str,
    file: File,
}

/// One end of a cable: where, the interface's name, its address with the prefix length.
pub(crate) struct Plug<'a> {
    pub(crate) space: &'a Space,
    pub(crate) interface: &'static str,
    pub(crate) address: (Ipv4Addr, u8),
}

impl Space {
    /// A new one, with its loopback up.
    pub(crate) fn new(name: &'static str) -> Result<Self, String> {
        let file = on_thread(|| {
            sys::unshare_net()?;
            File::open("/proc/thread-self/ns/net")
        })
        .map_err(|error| format!("cannot make a network namespace: {error}"))?;
        let space = Self { name, file };
        space.netlink(|netlink| netlink.bring_up("lo"))?;
        Ok(space)
    }

    /// Does `work` on a thread inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T, String> {
        on_thread(|| {
            sys::enter(&self.file)?;
            work()
        })
        .map_err(|error| format!("in the namespace of the {}: {error}", self.name))
    }

    /// Makes this namespace a router.
    pub(crate) fn forward(&self) -> Result<(), String> {
        self.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).map_err(|error| {
            format!("{error} (net.ipv4.ip_forward must be writable for the demo's own namespaces)")
        })
    }

    /// Sends what matches `destination` to `gateway`.
    pub(crate) fn route(&self, destination: (Ipv4Addr, u8), gateway: Ipv4Addr) -> Result<(), String> {
        self.netlink(|netlink| netlink.add_route(destination, gateway))
    }

    /// Where a person can enter while this process lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    fn netlink(&self, work: impl FnOnce(&mut Netlink) -> io::Result<()> + Send) -> Result<(), String> {
        self.run(|| work(&mut Netlink::open()?))
    }
}

/// Lays a cable (a veth pair) between two namespaces.
pub(crate) fn cable(one: &Plug<'_>, other: &Plug<'_>) -> Result<(), String> {
    one.space
        .netlink(|netlink| netlink.add_veth(one.interface, other.interface, other.space.file.as_raw_fd()))?;
    for plug in [one, other] {
        plug.space.netlink(|netlink| {
            netlink.add_address(plug.interface, plug.address)?;
            netlink.bring_up(plug.interface)
        })?;
    }
    Ok(())
}

/// Does `work` on a thread of its own, whose namespaces are then its own affair.
fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let panicked = |_| Err(io::Error::other("the thread broke off"));
        scope.spawn(work).join().unwrap_or_else(panicked)
    })
}
