//! What befalls the sites of a world: lost memories, other addresses, clocks that jump.

use super::{Happening, World};
use crate::NatBox;
use base::WallClock;
use sa::{Cause, LeaseKeeper};
use std::net::IpAddr;
use std::time::Duration;

/// How long the boxes of [`World::resettle`] keep a mapping.
const NAT_EXPIRY: Duration = Duration::from_secs(600);

impl World {
    /// A site loses its memory and starts anew: IKE SAs, orders and what its data plane had are gone.
    pub fn crash(&mut self, name: &str) {
        let index = self.index(name);
        self.stats.count("crash");
        self.trace.add(format_args!("{:?} {name} crashes", self.now.mono));
        self.queue.retain(|_, happening| {
            !matches!(happening, Happening::JobDone(of, _) | Happening::OpDone(of, _) if *of == index)
        });
        let host = &mut self.hosts[index];
        self.stats.taken(&host.core.branches());
        host.crashes += 1;
        if let Some(make) = &host.make_core {
            host.core = make(host.crashes, host.policy.clone());
        }
        let kept = host.dataplane.clear();
        host.open_orders.clear();
        host.jobs.clear();
        host.decided.clear();
        host.leases = LeaseKeeper::default();
        host.resolver.clear();
        host.job_names.clear();
        self.drop_kept(kept);
        self.checks.sads_changed = true;
        self.tell_addresses(index);
    }

    /// A core that begins hears what addresses its host has, where that matters to it.
    pub(super) fn tell_addresses(&mut self, index: usize) {
        let host = &self.hosts[index];
        if host.policy.connections.iter().any(|connection| connection.mobike) {
            let addresses = host.addresses.clone();
            self.handle(index, Cause::Addresses(addresses));
        }
    }

    /// The wall clock jumps by so many seconds; the monotonic one does not.
    pub fn jump(&mut self, seconds: i64) {
        self.stats.count("clock jump");
        self.now.wall = WallClock(self.now.wall.0.saturating_add_signed(seconds));
    }

    /// A site sleeps for so long, as a laptop does whose lid is shut: it forgets nothing.
    pub fn sleep(&mut self, name: &str, time: Duration) {
        self.stats.count("sleep");
        let until = self.now.mono + time;
        self.host_mut(name).asleep_until = until;
    }

    /// Nothing passes between two sites any more, as they are addressed now; without `other`, between one and all.
    pub fn cut(&mut self, one: &str, other: Option<&str>) {
        self.stats.count("cut");
        let other = other.map(|other| self.host(other).public_address());
        self.cuts.insert((self.host(one).public_address(), other));
    }

    /// Everything passes again.
    pub fn mend(&mut self) {
        self.cuts.clear();
    }

    /// The NAT box before a site loses its memory.
    pub fn restart_nat(&mut self, name: &str) {
        if let Some((number, _)) = self.host(name).nat {
            self.boxes[number].restart();
        }
    }

    /// The box with the address `outside`, which stands before these hosts from now on.
    pub(super) fn nat_box(
        &mut self,
        inside: &[IpAddr],
        outside: IpAddr,
        expiry: Duration,
    ) -> (usize, IpAddr) {
        let known = self.boxes.iter().position(|nat| nat.outside() == outside);
        let number = known.unwrap_or_else(|| {
            self.boxes.push(NatBox::new(Vec::new(), outside, expiry));
            self.boxes.len() - 1
        });
        self.boxes[number].shelter(inside);
        (number, outside)
    }

    /// A site has these addresses now, and hears of it: the first of each family is the one that it sends from.
    pub fn readdress(&mut self, name: &str, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| crate::site::ip(address)).collect();
        let index = self.index(name);
        let host = &mut self.hosts[index];
        if let Some(first) = addresses.first() {
            host.address = *first;
        }
        host.had.extend(&addresses);
        host.addresses.clone_from(&addresses);
        if let Some((number, _)) = host.nat {
            self.boxes[number].shelter(&addresses);
        }
        self.handle(index, Cause::Addresses(addresses));
    }

    /// A site goes elsewhere: behind a NAT box with that address, or from behind one into the open. It does not hear of it
    /// before [`World::readdress`].
    pub fn resettle(&mut self, name: &str, outside: Option<&str>) {
        let index = self.index(name);
        let addresses = self.hosts[index].addresses.clone();
        let outside = outside.map(crate::site::ip);
        self.hosts[index].nat = outside.map(|outside| self.nat_box(&addresses, outside, NAT_EXPIRY));
    }
}
