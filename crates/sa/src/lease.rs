//! Who holds which address of which pool. The keeper is asked by [`Job::Lease`](crate::Job::Lease) and
//! [`Job::Release`](crate::Job::Release); it knows neither time nor peers, and is one for all endpoints, since an
//! address must be given once.

use crate::{JobId, limits};
use policy::{Identity, Leased, Pool};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// What a peer asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseRequest {
    /// Who it is, proven.
    pub identity: Identity,
    /// The pools of its connection, in their order.
    pub pools: Vec<Arc<Pool>>,
    /// One address for each entry; an unspecified one is any of its family.
    pub addresses: Vec<IpAddr>,
    /// An IPv6 prefix (RFC 5739), by preference that one.
    pub prefix: Option<IpAddr>,
    /// Its older IKE SAs go: their addresses pass over to this one.
    pub alone: bool,
}

/// How much of a pool is in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolUsage {
    /// Its name.
    pub name: String,
    /// What it can give, addresses and prefixes together.
    pub size: u64,
    /// Held by IKE SAs.
    pub online: usize,
    /// Not held, and remembered for whoever had them.
    pub offline: usize,
}

/// All leases.
#[derive(Debug, Default)]
pub struct LeaseKeeper {
    ledgers: BTreeMap<(String, Kind), Ledger>,
    held: BTreeMap<JobId, Vec<(String, Kind, IpAddr)>>,
}

/// Of what a ledger is: single addresses of a family, or prefixes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    V4,
    V6,
    Prefix,
}

/// The leases of one kind in one pool.
#[derive(Debug, Default)]
struct Ledger {
    entries: BTreeMap<IpAddr, Entry>,
    /// Those that nobody holds, by the order of their release.
    offline: BTreeSet<(u64, IpAddr)>,
    by_owner: BTreeMap<Owner, BTreeSet<IpAddr>>,
    /// Where the search for what was never given goes on.
    cursor: u128,
    releases: u64,
}

type Owner = (&'static str, String);

#[derive(Debug)]
struct Entry {
    owner: Owner,
    holders: u32,
    released: u64,
}

impl LeaseKeeper {
    /// Gives what is free. Fewer than were asked for, or none at all, means that no more can be given.
    pub fn lease(&mut self, holder: JobId, request: &LeaseRequest) -> Vec<Leased> {
        let mut given: Vec<Leased> = Vec::new();
        if self.held.len() >= limits::MAX_LEASES {
            return given;
        }
        let wishes = request.addresses.iter().map(|wish| (Kind::of(*wish), *wish));
        let prefix = request.prefix.map(|wish| (Kind::Prefix, wish));
        for (kind, wish) in wishes.chain(prefix).take(limits::MAX_LEASED_ADDRESSES) {
            let taken: Vec<IpAddr> = given.iter().map(|leased| leased.address).collect();
            let found = request.pools.iter().find_map(|pool| {
                let place = Place { pool, kind, owner: owner(&request.identity), id: &request.identity };
                let ledger = self.ledgers.entry((pool.name.clone(), kind)).or_default();
                Some((pool, ledger.grant(&place, wish, request.alone, &taken)?))
            });
            if let Some((pool, address)) = found {
                given.push(Leased { address, prefix_len: kind.prefix_len(pool), pool: pool.clone() });
                self.held.entry(holder).or_default().push((pool.name.clone(), kind, address));
            }
        }
        given
    }

    /// What was given for that job is held by it no more.
    pub fn release(&mut self, holder: JobId) {
        for (pool, kind, address) in self.held.remove(&holder).unwrap_or_default() {
            if let Some(ledger) = self.ledgers.get_mut(&(pool, kind)) {
                ledger.release(address);
            }
        }
    }

    /// How many jobs hold something.
    pub fn holders(&self) -> usize {
        self.held.len()
    }

    /// How much of each of these pools is in use.
    pub fn usage<'p>(&self, pools: impl Iterator<Item = &'p Arc<Pool>>) -> Vec<PoolUsage> {
        let usage = |pool: &Arc<Pool>| {
            let kinds = [Kind::V4, Kind::V6, Kind::Prefix];
            let ledgers = kinds.iter().filter_map(|kind| self.ledgers.get(&(pool.name.clone(), *kind)));
            let (mut online, mut offline) = (0, 0);
            for ledger in ledgers {
                offline += ledger.offline.len();
                online += ledger.entries.len() - ledger.offline.len();
            }
            let size = kinds.iter().flat_map(|kind| kind.spans(pool)).map(|span| span.count());
            let size = size.fold(0_u128, u128::saturating_add) + outside(pool) as u128;
            let size = u64::try_from(size).unwrap_or(u64::MAX);
            PoolUsage { name: pool.name.clone(), size, online, offline }
        };
        pools.map(usage).collect()
    }
}

/// Reserved addresses that lie outside of the pool's own.
fn outside(pool: &Pool) -> usize {
    let inside = |address: IpAddr| Kind::of(address).spans(pool).iter().any(|span| span.has(number(address)));
    pool.hosts.iter().flat_map(|host| &host.addrs).filter(|address| !inside(**address)).count()
}

impl Kind {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Kind::V4 } else { Kind::V6 }
    }

    fn prefix_len(self, pool: &Pool) -> u8 {
        match self {
            Kind::V4 => 32,
            Kind::V6 => 128,
            Kind::Prefix => pool.prefix_len,
        }
    }

    /// The addresses of the pool that can be given. The first and the last address of an IPv4 network, and the
    /// first of an IPv6 network (RFC 4291 §2.6.1), mean something else to hosts.
    fn spans(self, pool: &Pool) -> Vec<Span> {
        let v4 = self == Kind::V4;
        let ranges = if self == Kind::Prefix { &pool.prefixes } else { &pool.addrs };
        let step = 1_u128.checked_shl(128 - u32::from(self.prefix_len(pool).max(1))).unwrap_or(1);
        let step = if self == Kind::Prefix { step } else { 1 };
        let of_kind = ranges.iter().filter(|range| range.start().is_ipv4() == v4);
        let spans = of_kind.filter_map(|range| {
            let (start, end) = (number(range.start()), number(range.end()));
            let (before, after) = match (self, range.prefix_len()) {
                (Kind::V4, Some(..=30)) => (1, 1),
                (Kind::V6, Some(..=126)) => (1, 0),
                _ => (0, 0),
            };
            let span = Span { start: start + before, end: end - after, step };
            (end - start >= step - 1).then_some(span)
        });
        spans.collect()
    }

    fn address(self, number: u128) -> IpAddr {
        match self {
            Kind::V4 => Ipv4Addr::from(number as u32).into(),
            Kind::V6 | Kind::Prefix => Ipv6Addr::from(number).into(),
        }
    }
}

/// Addresses at equal distances.
#[derive(Clone, Copy)]
struct Span {
    start: u128,
    end: u128,
    step: u128,
}

impl Span {
    /// How many there are.
    fn count(&self) -> u128 {
        ((self.end - self.start) / self.step).saturating_add(u128::from(
            self.step == 1 || (self.end - self.start) % self.step == self.step - 1,
        ))
    }

    fn has(&self, number: u128) -> bool {
        (self.start..=self.end).contains(&number) && (number - self.start).is_multiple_of(self.step)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => address.into(),
    }
}

/// An identity as a key.
fn owner(identity: &Identity) -> Owner {
    let text = identity.to_string();
    match identity {
        Identity::Fqdn(_) => (policy::kind(identity), text.to_ascii_lowercase()),
        _ => (policy::kind(identity), text),
    }
}

/// In which pool, and for whom.
struct Place<'a> {
    pool: &'a Pool,
    kind: Kind,
    owner: Owner,
    id: &'a Identity,
}

impl Place<'_> {
    /// The addresses that are this peer's alone.
    fn reserved(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let own = self.pool.hosts.iter().filter(|host| policy::same_identity(&host.id, self.id));
        own.flat_map(|host| &host.addrs).copied().filter(|address| Kind::of(*address) == self.kind)
    }

    /// Whether an address may be given to whoever comes.
    fn is_open(&self, address: IpAddr) -> bool {
        let reserved = self.pool.hosts.iter().any(|host| host.addrs.contains(&address));
        !reserved && self.kind.spans(self.pool).iter().any(|span| span.has(number(address)))
    }

    /// The wish, and what of it other networks of the pool can fulfil.
    //= rfc7296 §3.15.3
    //# The gateway first checks if the specified address is acceptable, and if it is, returns that one. If the
    //# address was not acceptable, the gateway attempts to use the interface identifier with some other prefix; if
    //# even that fails, the gateway selects another interface identifier.
    fn wishes(&self, wish: IpAddr) -> Vec<IpAddr> {
        if wish.is_unspecified() {
            return Vec::new();
        }
        let mut all = vec![wish];
        if self.kind == Kind::V6 {
            let networks = self.pool.addrs.iter().filter(|range| range.start().is_ipv6());
            let networks = networks.filter(|range| range.prefix_len().is_some());
            all.extend(networks.map(|range| {
                let host = number(range.end()) ^ number(range.start());
                self.kind.address(number(range.start()) | number(wish) & host)
            }));
        }
        all
    }
}

impl Ledger {
    fn grant(&mut self, at: &Place<'_>, wish: IpAddr, alone: bool, taken: &[IpAddr]) -> Option<IpAddr> {
        let fresh = |address: &IpAddr| !taken.contains(address);
        // A reserved address is shared by all IKE SAs of its owner: there is no other for it.
        let reserved = at.reserved().find(fresh);
        let wished = || {
            let free = |address: &IpAddr| match self.entries.get(address) {
                None => true,
                // Its own, even where it still has it: so an IKE SA takes the place of another (reauthentication).
                Some(entry) => entry.owner == at.owner,
            };
            at.wishes(wish)
                .into_iter()
                .find(|address| fresh(address) && at.is_open(*address) && free(address))
        };
        let remembered = || {
            let own = self.by_owner.get(&at.owner)?;
            let free = |address: &&IpAddr| {
                alone || self.entries.get(address).is_some_and(|entry| entry.holders == 0)
            };
            own.iter().filter(free).find(|address| fresh(address) && at.is_open(**address)).copied()
        };
        let found = reserved.or_else(wished).or_else(remembered);
        let address = match found {
            Some(address) => Some(address),
            None => self.never_given(at).or_else(|| self.longest_free(at)),
        }?;
        self.take(at, address);
        Some(address)
    }

    /// The next address that nobody had. Each step beyond the first passes an entry, and after one round all are
    /// known.
    fn never_given(&mut self, at: &Place<'_>) -> Option<IpAddr> {
        let spans = at.kind.spans(at.pool);
        let total = spans.iter().map(Span::count).fold(0, u128::saturating_add);
        let mut steps =
            (self.entries.len() + at.pool.hosts.iter().map(|host| host.addrs.len()).sum::<usize>()) as u128
                + 1;
        steps = steps.min(total);
        while steps > 0 {
            steps -= 1;
            let mut offset = self.cursor % total;
            self.cursor = (offset + 1) % total;
            let number = spans.iter().find_map(|span| match offset < span.count() {
                true => Some(span.start + offset * span.step),
                false => {
                    offset -= span.count();
                    None
                }
            })?;
            let address = at.kind.address(number);
            if !self.entries.contains_key(&address) && at.is_open(address) {
                return Some(address);
            }
        }
        None
    }

    /// What was released longest ago, whoever had it.
    fn longest_free(&self, at: &Place<'_>) -> Option<IpAddr> {
        self.offline.iter().map(|(_, address)| *address).find(|address| at.is_open(*address))
    }

    fn take(&mut self, at: &Place<'_>, address: IpAddr) {
        match self.entries.get_mut(&address) {
            Some(entry) if entry.owner == at.owner => {
                self.offline.remove(&(entry.released, address));
                entry.holders += 1;
                return;
            }
            Some(_) => self.forget(address),
            None => {}
        }
        self.by_owner.entry(at.owner.clone()).or_default().insert(address);
        self.entries.insert(address, Entry { owner: at.owner.clone(), holders: 1, released: 0 });
    }

    fn release(&mut self, address: IpAddr) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders > 0 {
            return;
        }
        self.releases += 1;
        entry.released = self.releases;
        self.offline.insert((self.releases, address));
        if self.offline.len() > limits::MAX_REMEMBERED_LEASES
            && let Some((_, oldest)) = self.offline.first().copied()
        {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, address: IpAddr) {
        let Some(entry) = self.entries.remove(&address) else { return };
        self.offline.remove(&(entry.released, address));
        if let Some(own) = self.by_owner.get_mut(&entry.owner) {
            own.remove(&address);
            if own.is_empty() {
                self.by_owner.remove(&entry.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::AddressRange;
    use policy::Reservation;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn range(text: &str) -> AddressRange {
        match text.split_once('-') {
            Some((start, end)) => AddressRange::new(ip(start), ip(end)).unwrap(),
            None => {
                let (address, len) = text.split_once('/').unwrap();
                AddressRange::from_prefix(ip(address), len.parse().unwrap()).unwrap()
            }
        }
    }

    fn pool(addrs: &[&str]) -> Pool {
        Pool { name: "road".into(), addrs: addrs.iter().map(|text| range(text)).collect(), ..Pool::default() }
    }

    struct Bench {
        keeper: LeaseKeeper,
        pool: Arc<Pool>,
        jobs: u64,
    }

    impl Bench {
        fn new(pool: Pool) -> Self {
            Self { keeper: LeaseKeeper::default(), pool: Arc::new(pool), jobs: 0 }
        }

        fn ask(&mut self, who: &str, wishes: &[&str], alone: bool) -> (JobId, Vec<String>) {
            self.jobs += 1;
            let request = LeaseRequest {
                identity: Identity::Fqdn(who.into()),
                pools: vec![self.pool.clone()],
                addresses: wishes.iter().map(|text| ip(text)).collect(),
                prefix: None,
                alone,
            };
            let given = self.keeper.lease(JobId(self.jobs), &request);
            (JobId(self.jobs), given.iter().map(|leased| leased.address.to_string()).collect())
        }

        fn one(&mut self, who: &str, wish: &str) -> (JobId, String) {
            let (job, given) = self.ask(who, &[wish], false);
            (job, given.first().cloned().unwrap_or_default())
        }
    }

    #[test]
    fn a_network_lacks_its_ends_and_a_range_does_not() {
        let mut bench = Bench::new(pool(&["10.0.0.0/30"]));
        let all: Vec<String> = ["a", "b", "c"].map(|who| bench.one(who, "0.0.0.0").1).to_vec();
        assert_eq!(all, ["10.0.0.1", "10.0.0.2", ""]);
        let mut bench = Bench::new(pool(&["10.0.0.1-10.0.0.3", "10.9.0.9-10.9.0.9"]));
        let all: Vec<String> = ["a", "b", "c", "d", "e"].map(|who| bench.one(who, "0.0.0.0").1).to_vec();
        assert_eq!(all, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.9.0.9", ""]);
    }

    #[test]
    fn whoever_comes_again_gets_what_it_had() {
        let mut bench = Bench::new(pool(&["10.0.0.1-10.0.0.3"]));
        let (first, address) = bench.one("a", "0.0.0.0");
        bench.keeper.release(first);
        assert_eq!(bench.one("b", "0.0.0.0").1, "10.0.0.2");
        assert_eq!(bench.one("A", "0.0.0.0").1, address, "names count without regard to case");
        let usage = bench.keeper.usage(std::iter::once(&bench.pool));
        assert_eq!((usage[0].size, usage[0].online, usage[0].offline), (3, 2, 0));
        assert_eq!(bench.one("c", "0.0.0.0").1, "10.0.0.3");
        assert_eq!(bench.one("d", "0.0.0.0").1, "", "exhausted");
    }

    #[test]
    fn what_is_remembered_goes_to_others_only_when_nothing_else_is_left() {
        let mut bench = Bench::new(pool(&["10.0.0.1-10.0.0.2"]));
        let (job, _) = bench.one("a", "0.0.0.0");
        bench.keeper.release(job);
        assert_eq!(bench.one("b", "10.0.0.1").1, "10.0.0.2", "remembered for a");
        assert_eq!(bench.one("c", "0.0.0.0").1, "10.0.0.1");
        assert_eq!(bench.one("a", "0.0.0.0").1, "");
    }

    #[test]
    fn a_wish_is_granted_where_it_is_free() {
        let mut bench = Bench::new(pool(&["10.0.0.0/24"]));
        assert_eq!(bench.one("a", "10.0.0.77").1, "10.0.0.77");
        assert_eq!(bench.one("b", "10.0.0.77").1, "10.0.0.1", "somebody has it");
        assert_eq!(bench.one("c", "10.0.0.0").1, "10.0.0.2", "the network itself");
        assert_eq!(bench.one("d", "192.168.0.1").1, "10.0.0.3", "not of the pool");
        let (_, again) = bench.one("a", "10.0.0.77");
        assert_eq!(again, "10.0.0.77", "its own: one IKE SA takes the place of another");
        let (_, two) = bench.ask("a", &["0.0.0.0", "0.0.0.0"], false);
        assert_eq!(two, ["10.0.0.4", "10.0.0.5"], "further ones are others");
    }

    #[test]
    fn an_address_that_two_hold_is_free_when_both_are_gone() {
        let mut bench = Bench::new(pool(&["10.0.0.7-10.0.0.7"]));
        let (first, _) = bench.one("a", "0.0.0.0");
        assert_eq!(bench.one("a", "0.0.0.0").1, "", "not by itself");
        let (second, given) = bench.ask("a", &["0.0.0.0"], true);
        assert_eq!(given, ["10.0.0.7"], "its older IKE SAs go");
        bench.keeper.release(first);
        assert_eq!(bench.one("b", "0.0.0.0").1, "");
        bench.keeper.release(second);
        bench.keeper.release(second);
        assert_eq!(bench.one("b", "0.0.0.0").1, "10.0.0.7");
    }

    #[test]
    fn a_reserved_address_is_its_owners_alone() {
        let mut road = pool(&["10.0.0.1-10.0.0.2"]);
        let addrs = vec![ip("10.0.0.2"), ip("10.8.0.8"), ip("2001:db8::8")];
        road.hosts.push(Reservation { id: Identity::Fqdn("boss.example".into()), addrs });
        let mut bench = Bench::new(road);
        let usage = bench.keeper.usage(std::iter::once(&bench.pool));
        assert_eq!(usage[0].size, 4);
        assert_eq!(bench.one("a", "10.0.0.2").1, "10.0.0.1");
        assert_eq!(bench.one("b", "0.0.0.0").1, "");
        let (_, given) = bench.ask("boss.example", &["0.0.0.0", "::", "0.0.0.0", "0.0.0.0"], false);
        assert_eq!(given, ["10.0.0.2", "2001:db8::8", "10.8.0.8"]);
        assert_eq!(bench.one("boss.example", "0.0.0.0").1, "10.0.0.2", "shared by all of its IKE SAs");
    }

    //= rfc7296 §3.15.3
    #[test]
    fn an_interface_identifier_may_be_wished_for() {
        let mut bench = Bench::new(pool(&["2001:db8:1::/64", "2001:db8:2::/64"]));
        assert_eq!(bench.one("a", "fe80::aaaa").1, "2001:db8:1::aaaa");
        assert_eq!(bench.one("b", "2001:db8:7::aaaa").1, "2001:db8:2::aaaa");
        assert_eq!(bench.one("c", "2001:db8:7::aaaa").1, "2001:db8:1::1");
    }

    #[test]
    fn prefixes_are_given_whole() {
        let mut road = pool(&[]);
        (road.prefixes, road.prefix_len) = (vec![range("2001:db8:100::/63")], 64);
        let road = Arc::new(road);
        let mut keeper = LeaseKeeper::default();
        let mut ask = |job, who: &str, wish: &str| {
            let request = LeaseRequest {
                identity: Identity::Fqdn(who.into()),
                pools: vec![road.clone()],
                addresses: Vec::new(),
                prefix: Some(ip(wish)),
                alone: false,
            };
            let given = keeper.lease(JobId(job), &request);
            given.first().map(|leased| format!("{}/{}", leased.address, leased.prefix_len))
        };
        assert_eq!(ask(1, "a", "2001:db8:100:1::").as_deref(), Some("2001:db8:100:1::/64"));
        assert_eq!(ask(2, "b", "2001:db8:100:1::").as_deref(), Some("2001:db8:100::/64"));
        assert_eq!(ask(3, "c", "::"), None);
        assert_eq!(keeper.usage(std::iter::once(&road))[0].size, 2);
    }

    #[test]
    fn one_request_gets_no_more_than_the_limit() {
        let mut bench = Bench::new(pool(&["10.0.0.0/16"]));
        let (_, given) = bench.ask("a", &["0.0.0.0"; limits::MAX_LEASED_ADDRESSES + 1], false);
        assert_eq!(given.len(), limits::MAX_LEASED_ADDRESSES);
    }

    #[test]
    fn what_is_remembered_and_held_is_bounded() {
        let mut bench = Bench::new(pool(&["10.0.0.0/8"]));
        let over = limits::MAX_REMEMBERED_LEASES + 10;
        for n in 0..over {
            let (job, address) = bench.one(&n.to_string(), "0.0.0.0");
            assert!(!address.is_empty());
            bench.keeper.release(job);
        }
        let usage = bench.keeper.usage(std::iter::once(&bench.pool));
        assert_eq!((usage[0].online, usage[0].offline), (0, limits::MAX_REMEMBERED_LEASES));
        let ledger = bench.keeper.ledgers.values().next().unwrap();
        assert_eq!(ledger.by_owner.len(), limits::MAX_REMEMBERED_LEASES);
        for n in 0..limits::MAX_LEASES {
            assert!(!bench.one(&n.to_string(), "0.0.0.0").1.is_empty(), "{n}");
        }
        assert!(bench.one("late", "0.0.0.0").1.is_empty());
        assert_eq!(bench.keeper.holders(), limits::MAX_LEASES);
    }
}
