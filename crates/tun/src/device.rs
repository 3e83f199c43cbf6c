//! The TUN device: packets with a virtio header, unfinished checksums and unsegmented trains.

use crate::error::{Error, refused};
use crate::netlink::Netlink;
use crate::routes::address_on;
use crate::sys;
use dataplane::Interface;
use netlink_packet_route::RouteNetlinkMessage;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Octets of the virtio header (`struct virtio_net_hdr`).
pub(crate) const VIRTIO_LEN: usize = 10;

/// An open TUN device; it is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Device {
    file: File,
    name: String,
    index: u32,
    /// Whether it was left in the engine's network namespace.
    is_here: bool,
    gone: AtomicBool,
}

impl Device {
    /// Makes the device of an interface, in the network namespace that it says. It is made here and moved there: a device that
    /// is made there would keep its namespace from ending.
    pub(crate) fn create_in(interface: &Interface, mtu: u32, offload: bool) -> Result<Self, Error> {
        let create = || Self::create(interface.as_str(), mtu, offload);
        let Some(namespace) = interface.namespace() else { return create() };
        let path = format!("/run/netns/{namespace}");
        let there = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                Error::Setting(format!("There is no network namespace {namespace} ({path})."))
            }
            _ => refused(format!("open {path}"))(source),
        })?;
        let cannot_enter = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => Error::Setting(format!(
                "The network namespace {namespace} cannot be entered: that takes CAP_SYS_ADMIN."
            )),
            _ => refused(format!("enter the network namespace {namespace}"))(source),
        };
        sys::within(&there, || ()).map_err(cannot_enter)?;
        let device = Self { is_here: false, ..create()? };
        let mut netlink = Netlink::open().map_err(refused("open a netlink socket"))?;
        let what = || format!("move {} into the network namespace {namespace}", device.name);
        netlink.move_to(device.index, there.as_fd()).map_err(refused(what()))?;
        let up = sys::within(&there, || bring_up(&device.name, mtu)).map_err(cannot_enter)?;
        up.map_err(refused(what()))?;
        Ok(device)
    }

    /// Makes the device that `pattern` names and brings it up.
    pub(crate) fn create(pattern: &str, mtu: u32, offload: bool) -> Result<Self, Error> {
        let path = "/dev/net/tun";
        let file =
            OpenOptions::new().read(true).write(true).open(path).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => Error::NoTunDevice,
                // The device node without a driver behind it.
                _ if source.raw_os_error() == Some(libc::ENODEV) => Error::NoTunDevice,
                _ => refused("open /dev/net/tun")(source),
            })?;
        let what = || format!("make the TUN device {pattern}");
        let name = sys::attach(&file, pattern).map_err(|source| match sys::interface_index(pattern) {
            Ok(_) => Error::Setting(format!("There is another device {pattern} already.")),
            Err(_) => refused(what())(source),
        })?;
        sys::set_header_len(&file, VIRTIO_LEN as libc::c_int).map_err(refused(what()))?;
        set_offload(&file, offload).map_err(refused(what()))?;
        sys::set_nonblocking(&file).map_err(refused(what()))?;
        let index = bring_up(&name, mtu).map_err(refused(format!("bring up {name} with an MTU of {mtu}")))?;
        Ok(Self { file, name, index, is_here: true, gone: AtomicBool::new(false) })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its index where it was made.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Its index, if it was left in the engine's network namespace.
    pub(crate) fn index_here(&self) -> Option<u32> {
        self.is_here.then_some(self.index)
    }

    /// Somebody has removed it: nothing is read from it any more.
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether [`Device::set_gone`] was told.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Sets an address on it, or takes one away, wherever it is now: it may have been moved into another network namespace and
    /// have another name there.
    pub(crate) fn set_address(&self, address: IpAddr, is_set: bool) -> io::Result<()> {
        let work = || {
            let name = sys::attached_name(&self.file)?;
            set_address(sys::index_of(&name)?, address, is_set)
        };
        let there = match sys::namespace_of(&self.file) {
            // A kernel that cannot tell where it is.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return work(),
            there => there?,
        };
        let (here, is) = (std::fs::metadata("/proc/thread-self/ns/net")?, there.metadata()?);
        if (here.st_dev(), here.st_ino()) == (is.st_dev(), is.st_ino()) {
            return work();
        }
        sys::within(&there, work)?
    }

    /// Reads one packet with its virtio header; `None` when there is none now.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match (&self.file).read(buffer) {
                Ok(len) => return Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// In this thread's network namespace; answers its index.
fn bring_up(name: &str, mtu: u32) -> io::Result<u32> {
    let index = sys::interface_index(name)?;
    loosen_reverse_path_filter(name);
    omit_link_local_address(name);
    Netlink::open()?.bring_up(index, mtu)?;
    Ok(index)
}

/// Where packets go, virtio header first, each from its parts.
pub(crate) trait PacketSink {
    /// Takes one packet.
    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()>;
}

impl PacketSink for Device {
    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        (&self.file).write_vectored(parts).map(drop)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// In this thread's network namespace. What is there already, or is gone already, is as it should be.
fn set_address(index: u32, address: IpAddr, is_set: bool) -> io::Result<()> {
    let message = address_on(index, address);
    let mut netlink = Netlink::open()?;
    let (done, good) = match is_set {
        true => (netlink.add(RouteNetlinkMessage::NewAddress(message)), io::ErrorKind::AlreadyExists),
        false => (netlink.change(RouteNetlinkMessage::DelAddress(message)), io::ErrorKind::AddrNotAvailable),
    };
    done.or_else(|error| if error.kind() == good { Ok(()) } else { Err(error) })
}

/// Asks for the largest set of offloads that this kernel has.
fn set_offload(file: &File, offload: bool) -> io::Result<()> {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    let all = tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let wanted: &[libc::c_uint] = if offload { &[all, tcp, libc::TUN_F_CSUM] } else { &[] };
    wanted
        .iter()
        .find_map(|&features| sys::set_offload(file, features).ok())
        .map_or_else(|| sys::set_offload(file, 0), Ok)
}

/// Packets that come out of the tunnel have sources that the main routing table may place elsewhere;
/// strict reverse path filtering would drop them. What may come out is decided by the SA's
/// selectors already. Where /proc/sys cannot be written the administrator's setting stays.
fn loosen_reverse_path_filter(name: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "2");
}

/// The device needs no address of its own, and what a link-local one would announce is nobody's business.
fn omit_link_local_address(name: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode"), "1");
}
