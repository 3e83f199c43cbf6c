//! From a connection's addresses to a path: DNS and the routing table, which the core never sees.

use net::{Kind, Sockets};
use policy::{AddressPattern, Connection};
use sa::Path;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The port that a first IKE message goes to (RFC 7296 §2).
const IKE_PORT: u16 = 500;

/// The path to initiate `connection` on, sent from the IKE port. May wait for DNS. The error is a
/// sentence for the person who asked.
pub(crate) fn path(connection: &Connection, sockets: &Sockets) -> Result<Path, String> {
    let remote = remote(connection)?;
    let local = match local(connection, remote) {
        Some(address) => address,
        None => sockets.source(remote).map_err(|error| {
            format!(
                "There is no route to {remote}, the peer of connection \"{}\": {error}. Check the network, or \
                 name our address with local_addrs.",
                connection.name
            )
        })?,
    };
    Ok(Path {
        local: SocketAddr::new(local, sockets.port(Kind::Ike).unwrap_or_default()),
        remote: SocketAddr::new(remote, IKE_PORT),
        marked: false,
    })
}

fn remote(connection: &Connection) -> Result<IpAddr, String> {
    let mut unresolved = None;
    for pattern in &connection.remote_addrs {
        match pattern {
            AddressPattern::Range(range) if range.start() == range.end() => return Ok(range.start()),
            AddressPattern::Name(name) => match resolve(name, connection) {
                Ok(address) => return Ok(address),
                Err(error) => unresolved = Some(format!("\"{name}\" cannot be resolved: {error}")),
            },
            AddressPattern::Any | AddressPattern::Range(_) => {}
        }
    }
    Err(match unresolved {
        Some(error) => format!("The peer of connection \"{}\" is not known: {error}.", connection.name),
        None => format!(
            "Connection \"{}\" has no single remote address, so that it can only be answered, not begun. Put the \
             peer's address or DNS name into its remote_addrs.",
            connection.name
        ),
    })
}

/// The first address of `name`, of the family of our own configured address where there is one.
fn resolve(name: &str, connection: &Connection) -> std::io::Result<IpAddr> {
    let addresses: Vec<IpAddr> = (name, IKE_PORT).to_socket_addrs()?.map(|address| address.ip()).collect();
    addresses
        .iter()
        .find(|address| fits(connection, **address))
        .or_else(|| addresses.first())
        .copied()
        .ok_or_else(|| std::io::Error::other("it has no address"))
}

fn fits(connection: &Connection, remote: IpAddr) -> bool {
    connection.local_addrs.iter().any(|pattern| match pattern {
        AddressPattern::Any | AddressPattern::Name(_) => true,
        AddressPattern::Range(range) => range.start().is_ipv4() == remote.is_ipv4(),
    })
}

fn local(connection: &Connection, remote: IpAddr) -> Option<IpAddr> {
    connection.local_addrs.iter().find_map(|pattern| match pattern {
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
