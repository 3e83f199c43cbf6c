//! Transport mode through NAT: the traffic selectors name the addresses that each side has for itself
//! and for the other; what is looked up and installed are the addresses of the path (RFC 7296 §2.23.1).

use crate::ext::Nat;
use dataplane::{AddressRange, Selector};
use policy::Ends;
use std::net::IpAddr;

/// The peer's selectors with the addresses of the path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Substituted {
    pub(crate) local: Vec<Selector>,
    pub(crate) remote: Vec<Selector>,
    /// The addresses that the peer knows us and itself by, for its checksums, where they are not the path's.
    pub(crate) original: Option<(IpAddr, IpAddr)>,
}

/// Reads the peer's selectors of transport mode, ours and its own.
//= rfc7296 §2.23.1
//# If the client is behind a NAT, substitute the IP address in the TSi entries with the remote address of
//# the IKE SA. If the server is behind a NAT, substitute the IP address in the TSr entries with the local
//# address of the IKE SA.
pub(crate) fn substitute(local: Vec<Selector>, remote: Vec<Selector>, ends: Ends, nat: Nat) -> Substituted {
    let hosts = one_host(&local, ends.local).zip(one_host(&remote, ends.remote));
    let Some((local_host, remote_host)) = hosts else {
        return Substituted { local, remote, original: None };
    };
    let original =
        (if nat.local { local_host } else { ends.local }, if nat.remote { remote_host } else { ends.remote });
    Substituted {
        local: if nat.local { with_address(&local, ends.local) } else { local },
        remote: if nat.remote { with_address(&remote, ends.remote) } else { remote },
        original: (original != (ends.local, ends.remote)).then_some(original),
    }
}

/// The one address that all selectors name, if it is of the path's family.
//= rfc7296 §2.23.1
//# The TSi entries MUST have exactly one IP address […] The TSr entries MUST have exactly one IP address
fn one_host(selectors: &[Selector], end: IpAddr) -> Option<IpAddr> {
    let host = selectors.first()?.addresses.start();
    let same = selectors.iter().all(|selector| selector.addresses == AddressRange::host(host));
    (same && host.is_ipv4() == end.is_ipv4()).then_some(host)
}

fn with_address(selectors: &[Selector], address: IpAddr) -> Vec<Selector> {
    let addresses = AddressRange::host(address);
    selectors.iter().map(|selector| Selector { addresses, ..*selector }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn host(text: &str, port: u16) -> Selector {
        let whole = Selector::addresses(AddressRange::host(ip(text)));
        Selector { protocol: 6, start_port: port, end_port: port, ..whole }
    }

    fn ends() -> Ends {
        Ends { local: ip("192.0.2.2"), remote: ip("203.0.113.9") }
    }

    fn nat(local: bool, remote: bool) -> Nat {
        Nat { supported: true, local, remote, forced: false }
    }

    //= rfc7296 §2.23.1
    #[test]
    fn only_the_side_behind_the_nat_gets_another_address() {
        let (local, remote) =
            (vec![host("198.51.100.1", 80)], vec![host("10.0.0.5", 1024), host("10.0.0.5", 1025)]);
        let seen = (vec![host("192.0.2.2", 80)], vec![host("203.0.113.9", 1024), host("203.0.113.9", 1025)]);
        let done = |nat| {
            let done = substitute(local.clone(), remote.clone(), ends(), nat);
            (done.local, done.remote, done.original)
        };
        let (l, r) = (ip("198.51.100.1"), ip("10.0.0.5"));
        assert_eq!(done(nat(true, true)), (seen.0.clone(), seen.1.clone(), Some((l, r))));
        assert_eq!(
            done(nat(false, true)),
            (local.clone(), seen.1.clone(), Some((ends().local, r))),
            "the narrowing refuses a foreign address on a side without NAT"
        );
        assert_eq!(done(nat(true, false)), (seen.0.clone(), remote.clone(), Some((l, ends().remote))));
        assert_eq!(done(nat(false, false)), (local.clone(), remote.clone(), None));
    }

    #[test]
    fn encapsulation_that_is_only_forced_changes_nothing() {
        let (local, remote) = (vec![host("192.0.2.2", 80)], vec![host("203.0.113.9", 99)]);
        let done = substitute(local.clone(), remote.clone(), ends(), nat(true, true));
        assert_eq!(done, Substituted { local, remote, original: None });
    }

    //= rfc7296 §2.23.1
    #[test]
    fn more_than_one_address_is_left_as_it_is() {
        let net = Selector::addresses(AddressRange::from_prefix(ip("10.0.0.0"), 8).unwrap());
        let sixth = Selector::addresses(AddressRange::host(ip("fd00::1")));
        for remote in [vec![net], vec![host("10.0.0.5", 1), host("10.0.0.6", 1)], vec![sixth], Vec::new()] {
            let local = vec![host("192.0.2.2", 80)];
            let done = substitute(local.clone(), remote.clone(), ends(), nat(false, true));
            assert_eq!(done, Substituted { local, remote, original: None });
        }
    }
}
