//! Which path to take: a pure decision on what the host and the peer have.

use policy::AddressPattern;
use sa::Path;
use std::net::{IpAddr, SocketAddr};

/// What there is to choose from.
pub(crate) struct Ways<'a> {
    /// The path in use.
    pub(crate) current: Path,
    /// The host's addresses.
    pub(crate) own: &'a [IpAddr],
    /// For each address of the peer, the best first, the address that the host would send from.
    pub(crate) routes: &'a [(IpAddr, Option<IpAddr>)],
    /// The connection's `local_addrs`.
    pub(crate) may_use: &'a [AddressPattern],
    /// Paths that the peer has refused.
    pub(crate) refused: &'a [Path],
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// The path is as good as any.
    Stay,
    /// Another one is to be used.
    Go(Path),
    /// No path leads to the peer.
    Nowhere,
}

impl Ways<'_> {
    /// Every path that can be used, the best first: one for each address of the peer.
    pub(crate) fn all(&self) -> Vec<Path> {
        let paths = self.routes.iter().filter_map(|(remote, source)| {
            let local = self.source((*source)?)?;
            (local.is_ipv4() == remote.is_ipv4()).then(|| self.path(local, *remote))
        });
        paths.filter(|path| !self.refused.contains(path)).collect()
    }

    /// The path to use from now on.
    pub(crate) fn choose(&self) -> Choice {
        match self.all().first() {
            Some(best) if *best == self.current => Choice::Stay,
            Some(best) => Choice::Go(*best),
            None => Choice::Nowhere,
        }
    }

    /// The address that the kernel would take, or one that the connection names where that is another.
    fn source(&self, routed: IpAddr) -> Option<IpAddr> {
        let may = |address: IpAddr| self.may_use.iter().any(|pattern| pattern.matches(address));
        if may(routed) {
            return Some(routed);
        }
        self.own.iter().copied().find(|own| own.is_ipv4() == routed.is_ipv4() && may(*own))
    }

    /// The ports stay: those of the IKE SA, and of the peer's NAT where it is the peer's present address.
    fn path(&self, local: IpAddr, remote: IpAddr) -> Path {
        let Path { local: ours, remote: theirs, marked } = self.current;
        let port = if remote == theirs.ip() { theirs.port() } else { ours.port() };
        Path { local: SocketAddr::new(local, ours.port()), remote: SocketAddr::new(remote, port), marked }
    }
}

/// Whether an address change leads behind a NAT, as far as that can be told before the peer has told it.
//= rfc4555 §3.5
//# If NAT Traversal is not enabled, and the responder supports NAT Traversal […], and the initiator either suspects or
//# knows that a NAT is likely to be present, enables NAT Traversal
pub(crate) fn is_nat_likely(path: Path) -> bool {
    is_private(path.local.ip()) && !is_private(path.remote.ip())
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || is_shared(v4.octets()),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// 100.64.0.0/10, behind a carrier's NAT (RFC 6598).
fn is_shared(octets: [u8; 4]) -> bool {
    octets[0] == 100 && (64..128).contains(&octets[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::AddressRange;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn path(local: &str, remote: &str) -> Path {
        Path { local: local.parse().unwrap(), remote: remote.parse().unwrap(), marked: true }
    }

    fn ways<'a>(own: &'a [IpAddr], routes: &'a [(IpAddr, Option<IpAddr>)]) -> Ways<'a> {
        let current = path("192.0.2.1:4500", "198.51.100.2:33000");
        Ways { current, own, routes, may_use: &[AddressPattern::Any], refused: &[] }
    }

    #[test]
    fn a_path_that_still_is_the_best_stays() {
        let (own, routes) = ([ip("192.0.2.1")], [(ip("198.51.100.2"), Some(ip("192.0.2.1")))]);
        assert_eq!(ways(&own, &routes).choose(), Choice::Stay);
    }

    #[test]
    fn the_source_follows_the_route_and_the_peers_port_stays() {
        let (own, routes) = ([ip("192.0.2.9")], [(ip("198.51.100.2"), Some(ip("192.0.2.9")))]);
        let there = path("192.0.2.9:4500", "198.51.100.2:33000");
        assert_eq!(ways(&own, &routes).choose(), Choice::Go(there));
        let refused = [there];
        assert_eq!(Ways { refused: &refused, ..ways(&own, &routes) }.choose(), Choice::Nowhere);
    }

    #[test]
    fn another_address_of_the_peer_is_taken_when_none_leads_to_the_first() {
        let own = [ip("fd00::1")];
        let routes = [(ip("198.51.100.2"), None), (ip("fd00::2"), Some(ip("fd00::1")))];
        assert_eq!(ways(&own, &routes).choose(), Choice::Go(path("[fd00::1]:4500", "[fd00::2]:4500")));
        assert_eq!(ways(&own, &routes[..1]).choose(), Choice::Nowhere);
    }

    #[test]
    fn only_addresses_that_the_connection_names_are_sent_from() {
        let (own, routes) = ([ip("10.0.0.1"), ip("192.0.2.7")], [(ip("198.51.100.2"), Some(ip("10.0.0.1")))]);
        let named = [AddressPattern::Range(AddressRange::host(ip("192.0.2.7")))];
        let ways = Ways { may_use: &named, ..ways(&own, &routes) };
        assert_eq!(ways.choose(), Choice::Go(path("192.0.2.7:4500", "198.51.100.2:33000")));
        assert_eq!(Ways { own: &own[..1], ..ways }.choose(), Choice::Nowhere);
    }

    #[test]
    fn a_private_address_towards_a_public_one_suggests_a_nat() {
        assert!(is_nat_likely(path("10.0.0.1:4500", "198.51.100.2:4500")));
        assert!(is_nat_likely(path("100.100.0.1:4500", "198.51.100.2:4500")));
        assert!(!is_nat_likely(path("10.0.0.1:4500", "10.0.0.2:4500")));
        assert!(!is_nat_likely(path("192.0.2.1:4500", "198.51.100.2:4500")));
    }
}
