//! MOBIKE in IKE_AUTH (RFC 4555): whether both speak it, and their further addresses. `move_path` does the rest.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use crate::limits;
use policy::Connection;
use sa::Path;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct Mobike;

impl Extension for Mobike {
    //= rfc4555 §3.2
    //# Implementations that wish to use MOBIKE for a particular IKE_SA MUST include a MOBIKE_SUPPORTED notification in the
    //# IKE_AUTH exchange
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        let says = match moment {
            Moment::AuthRequest => facts.connection.mobike,
            Moment::AuthResponse => facts.agreed.mobike.is_some(),
            _ => false,
        };
        if !says {
            return;
        }
        out.push(Payload::Notify(Notify::new(NotifyType::MOBIKE_SUPPORTED, Vec::new())));
        let further = own_addresses(facts.addresses, facts.connection, facts.path.local.ip());
        out.extend(further.iter().map(|address| additional(*address)));
        //= rfc4555 §3.9
        //# when NAT Traversal is not enabled, all messages that can update the addresses associated with the IKE_SA and/or
        //# IPsec SAs (the first IKE_AUTH request […]) MUST also include a NO_NATS_ALLOWED notification
        if moment == Moment::AuthRequest && !facts.agreed.nat.supported {
            out.push(no_nats_allowed(facts.path));
        }
    }

    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        if !matches!(moment, Moment::AuthRequest | Moment::AuthResponse) || !facts.connection.mobike {
            return;
        }
        let supported = contents.has(NotifyType::MOBIKE_SUPPORTED);
        agreed.mobike = supported.then(|| peer_addresses(facts.path.remote.ip(), contents));
        agreed.unexpected_nat = moment == Moment::AuthRequest && has_unexpected_nat(facts.path, contents);
    }
}

/// Our addresses that a connection may use, without the one that stands in the header.
pub(crate) fn own_addresses(all: &[IpAddr], connection: &Connection, used: IpAddr) -> Vec<IpAddr> {
    let may = |address: &IpAddr| connection.local_addrs.iter().any(|pattern| pattern.matches(*address));
    let further = all.iter().copied().filter(|address| *address != used && may(address));
    further.take(limits::MAX_ADDRESSES).collect()
}

/// A peer's addresses: the one in the header of its message, and those that it names.
pub(crate) fn peer_addresses(header: IpAddr, contents: &Contents<'_>) -> Vec<IpAddr> {
    let mut all = vec![header];
    for address in contents.notifies.iter().filter_map(address_in) {
        if !all.contains(&address) && is_of_a_host(address) && all.len() < limits::MAX_ADDRESSES {
            all.push(address);
        }
    }
    all
}

//= rfc4555 §4.2.2
//# The data associated with these Notify types is either a four-octet IPv4 address or a 16-octet IPv6 address.
fn address_in(notify: &Notify<'_>) -> Option<IpAddr> {
    match notify.kind {
        NotifyType::ADDITIONAL_IP4_ADDRESS => Some(<[u8; 4]>::try_from(&notify.data[..]).ok()?.into()),
        NotifyType::ADDITIONAL_IP6_ADDRESS => Some(<[u8; 16]>::try_from(&notify.data[..]).ok()?.into()),
        _ => None,
    }
}

/// Whether an address can be a peer's at all.
fn is_of_a_host(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback() && !broadcast
}

/// ADDITIONAL_IP4_ADDRESS or ADDITIONAL_IP6_ADDRESS.
pub(crate) fn additional(address: IpAddr) -> Payload<'static> {
    Payload::Notify(match address {
        IpAddr::V4(v4) => Notify::new(NotifyType::ADDITIONAL_IP4_ADDRESS, v4.octets().to_vec()),
        IpAddr::V6(v6) => Notify::new(NotifyType::ADDITIONAL_IP6_ADDRESS, v6.octets().to_vec()),
    })
}

/// NO_NATS_ALLOWED for a message that takes this path.
pub(crate) fn no_nats_allowed(path: Path) -> Payload<'static> {
    Payload::Notify(Notify::new(NotifyType::NO_NATS_ALLOWED, ends(path.local, path.remote)))
}

//= rfc4555 §4.2.6
//# The notification data contains the IP addresses and ports from/to which the packet was sent.
fn ends(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut octets = Vec::with_capacity(36);
    for address in [from.ip(), to.ip()] {
        match address {
            IpAddr::V4(v4) => octets.extend(Ipv4Addr::octets(&v4)),
            IpAddr::V6(v6) => octets.extend(Ipv6Addr::octets(&v6)),
        }
    }
    octets.extend([from.port(), to.port()].iter().flat_map(|port| port.to_be_bytes()));
    octets
}

/// Whether a message forbids NATs and has passed one.
//= rfc4555 §3.9
//# The exchange responder MUST verify that the contents of the NO_NATS_ALLOWED notification match the addresses in the IP
//# header.
pub(crate) fn has_unexpected_nat(path: Path, contents: &Contents<'_>) -> bool {
    let seen = ends(path.remote, path.local);
    contents.notify(NotifyType::NO_NATS_ALLOWED).is_some_and(|notify| notify.data[..] != seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> Path {
        Path {
            local: "192.0.2.1:500".parse().unwrap(),
            remote: "198.51.100.2:500".parse().unwrap(),
            marked: false,
        }
    }

    fn contents(payloads: Vec<Payload<'static>>) -> Contents<'static> {
        let notify = |payload| match payload {
            Payload::Notify(notify) => Some(notify),
            _ => None,
        };
        Contents { notifies: payloads.into_iter().filter_map(notify).collect(), ..Contents::default() }
    }

    //= rfc4555 §4.2.6
    #[test]
    fn what_forbids_nats_is_twelve_or_thirty_six_octets() {
        assert_eq!(ends(path().local, path().remote), [192, 0, 2, 1, 198, 51, 100, 2, 1, 244, 1, 244]);
        let sixth = |text: &str| text.parse().unwrap();
        assert_eq!(ends(sixth("[fd00::1]:500"), sixth("[fd00::2]:4500")).len(), 36);
    }

    //= rfc4555 §3.9
    #[test]
    fn a_nat_shows_in_what_forbids_it() {
        let sent = contents(vec![no_nats_allowed(path())]);
        let arrived = Path { local: path().remote, remote: path().local, marked: false };
        assert!(!has_unexpected_nat(arrived, &sent));
        let translated = Path { remote: "203.0.113.9:500".parse().unwrap(), ..arrived };
        assert!(has_unexpected_nat(translated, &sent));
        assert!(!has_unexpected_nat(translated, &contents(Vec::new())));
    }

    //= rfc4555 §4.2.2
    #[test]
    fn a_peer_names_no_more_addresses_than_there_is_room_for_and_none_that_is_nobodys() {
        let header = path().remote.ip();
        let named = |n: u8| additional(IpAddr::from([10, 0, 0, n]));
        let many = contents((0..100).map(named).collect());
        assert_eq!(peer_addresses(header, &many).len(), limits::MAX_ADDRESSES);
        let odd = ["127.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255", "::1", "ff02::1", "198.51.100.2"];
        let odd = contents(odd.iter().map(|text| additional(text.parse().unwrap())).collect());
        assert_eq!(peer_addresses(header, &odd), [header]);
        let short = Notify::new(NotifyType::ADDITIONAL_IP4_ADDRESS, vec![10, 0, 0]);
        assert_eq!(peer_addresses(header, &contents(vec![Payload::Notify(short)])), [header]);
    }
}
