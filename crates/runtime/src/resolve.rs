//! From a connection's addresses to a path: DNS and the routing table, which the core never sees.

use crate::driver::Authority;
use net::{Kind, Sockets};
use policy::{AddressPattern, Connection};
use sa::{Answer, Job, Path, TrustRefusal};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

/// The port that a first IKE message goes to (RFC 7296 §2).
const IKE_PORT: u16 = 500;

/// Whose path is looked up.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    name: &'a str,
    local: &'a [AddressPattern],
    remote: &'a [AddressPattern],
}

/// The path to initiate `connection` on, sent from the IKE port. May wait for DNS. The error is a
/// sentence for the person who asked.
pub(crate) fn path(connection: &Connection, sockets: &Sockets) -> Result<Path, String> {
    let Connection { name, local_addrs, remote_addrs, .. } = connection;
    look_up(Wanted { name, local: local_addrs, remote: remote_addrs }, sockets)
}

/// Answers the core's questions for a path, on threads of its own: DNS may let one wait for long.
pub(crate) struct Resolver {
    pub(crate) sockets: Arc<Sockets>,
}

impl Authority for Resolver {
    fn is_quick(&self, _: &Job) -> bool {
        false
    }

    fn answer(&self, job: &Job) -> Answer {
        match job {
            Job::Resolve { name, local, remote } => {
                Answer::Resolved(look_up(Wanted { name, local, remote }, &self.sockets))
            }
            _ => Answer::Refused(TrustRefusal {
                ours: true,
                reason: "Only paths are looked up here.".to_string(),
            }),
        }
    }
}

fn look_up(wanted: Wanted<'_>, sockets: &Sockets) -> Result<Path, String> {
    let remote = remote(wanted)?;
    let local = match local(wanted, remote) {
        Some(address) => address,
        None => sockets.source(remote).map_err(|error| {
            format!(
                "There is no route to {remote}, the peer of connection \"{}\": {error}. Check the network, or \
                 name our address with local_addrs.",
                wanted.name
            )
        })?,
    };
    Ok(Path {
        local: SocketAddr::new(local, sockets.port(Kind::Ike).unwrap_or_default()),
        remote: SocketAddr::new(remote, IKE_PORT),
        marked: false,
    })
}

fn remote(wanted: Wanted<'_>) -> Result<IpAddr, String> {
    let mut unresolved = None;
    for pattern in wanted.remote {
        match pattern {
            AddressPattern::Range(range) if range.start() == range.end() => return Ok(range.start()),
            AddressPattern::Name(name) => match resolve(name, wanted) {
                Ok(address) => return Ok(address),
                Err(error) => unresolved = Some(format!("\"{name}\" cannot be resolved: {error}")),
            },
            AddressPattern::Any | AddressPattern::Range(_) => {}
        }
    }
    Err(match unresolved {
        Some(error) => format!("The peer of connection \"{}\" is not known: {error}.", wanted.name),
        None => format!(
            "Connection \"{}\" has no single remote address, so that it can only be answered, not begun. Put the \
             peer's address or DNS name into its remote_addrs.",
            wanted.name
        ),
    })
}

/// The first address of `name`, of the family of our own configured address where there is one.
fn resolve(name: &str, wanted: Wanted<'_>) -> std::io::Result<IpAddr> {
    let addresses: Vec<IpAddr> = (name, IKE_PORT).to_socket_addrs()?.map(|address| address.ip()).collect();
    addresses
        .iter()
        .find(|address| fits(wanted, **address))
        .or_else(|| addresses.first())
        .copied()
        .ok_or_else(|| std::io::Error::other("it has no address"))
}

fn fits(wanted: Wanted<'_>, remote: IpAddr) -> bool {
    wanted.local.iter().any(|pattern| match pattern {
        AddressPattern::Any | AddressPattern::Name(_) => true,
        AddressPattern::Range(range) => range.start().is_ipv4() == remote.is_ipv4(),
    })
}

fn local(wanted: Wanted<'_>, remote: IpAddr) -> Option<IpAddr> {
    wanted.local.iter().find_map(|pattern| match pattern {
        AddressPattern::Range(range)
            if range.start() == range.end() && range.start().is_ipv4() == remote.is_ipv4() =>
        {
            Some(range.start())
        }
        AddressPattern::Name(name) => (name.as_str(), IKE_PORT)
            .to_socket_addrs()
            .ok()?
            .map(|address| address.ip())
            .find(|address| address.is_ipv4() == remote.is_ipv4()),
        _ => None,
    })
}
