//! The end of a realm: the weather is fair and nobody interferes, all come to agree, packets flow, and all is closed.

use super::{Link, Realm};
use crate::{DataplaneNature, Flow, KeeperNature, Weather, answered};
use base::Rng;
use sa::{IkeStatus, Order, Reply, Target};
use std::collections::BTreeMap;
use std::time::Duration;

/// Every order is answered within this virtual time: five requests that are each given up after some minutes.
const ANSWER: Duration = Duration::from_secs(1200);

/// With fair weather all agree again after this long: a lost peer is found out by a probe, and asked for anew, twice.
const AGREE: Duration = Duration::from_secs(1500);

/// How often it may turn out that what stands at both ends does not serve.
const TURNS: usize = 5;

/// In the end packets flow for this long.
const FLOW: Duration = Duration::from_secs(8);

impl Realm {
    /// Nothing interferes any more; after a while each pair has what it wants.
    pub(super) fn heal(&mut self) {
        self.world.traffic_stops();
        self.world.weather = Weather::fair();
        self.world.calm();
        self.world.mend();
        let awake = self.world.hosts.iter().map(|host| host.asleep_until).max().unwrap_or_default();
        self.world.run(awake.since(self.world.now()));
        for host in &mut self.world.hosts {
            host.dataplane.becomes(DataplaneNature::default());
            host.keeper_nature = KeeperNature::default();
        }
        self.answers();
        for _ in 0..TURNS {
            self.stands(AGREE);
            // Meanwhile a lifetime may have come to its end.
            if self.all_alive() && self.missing().is_empty() && self.agrees().is_ok() {
                return;
            }
        }
        self.world.fail("IKE SAs stand at both ends, and their probes are not answered");
    }

    /// Whether each IKE SA hears its peer: both ends may have one and not know yet that they cannot reach each other.
    fn all_alive(&mut self) -> bool {
        let mut orders = Vec::new();
        for name in self.names.clone() {
            for sa in self.world.status(name) {
                orders.push(self.world.order(name, Order::Probe(sa.id)));
            }
        }
        self.answers();
        let is_alive = |order| matches!(self.world.reply(order), Some(Reply::Alive { .. }));
        orders.into_iter().all(is_alive)
    }

    /// Every order is answered.
    fn answers(&mut self) {
        let end = self.world.now() + ANSWER;
        while !answered(&self.world) && self.world.now() < end && self.world.step() {}
        for host in &self.world.hosts {
            if let Some(order) = host.open_orders.first() {
                self.world.fail(&format!("{} never answers {order:?}", host.name));
            }
        }
    }

    /// Waits until each pair has its tunnel, and orders it where it is gone.
    pub(super) fn stands(&mut self, patience: Duration) {
        let end = self.world.now() + patience;
        let mut turn = 0;
        loop {
            let missing = self.missing();
            if missing.is_empty() && self.agrees().is_ok() {
                return;
            }
            if self.world.now() >= end {
                let why = self.agrees().err().unwrap_or_else(|| format!("{missing:?} do not stand"));
                let all: Vec<String> = self.names.clone().iter().map(|name| self.brief(name)).collect();
                self.world.fail(&format!("the ends do not come to agree: {why}; {}", all.join("; ")));
            }
            if turn % 6 == 0 {
                for link in self.links.clone() {
                    if missing.contains(&link.caller.to_string()) {
                        self.call(&link);
                    }
                }
            }
            turn += 1;
            self.world.run(Duration::from_secs(5));
        }
    }

    /// The callers of links that do not stand with all their children.
    fn missing(&mut self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut without = 0;
        for link in self.links.clone() {
            let have = self.children_of(&link);
            let all = link.children.iter().all(|name| have.contains_key(*name));
            let stands = self.sas_of(&link) > 0;
            if !all && stands && self.pool.is_some() {
                without += 1;
            }
            if !all && (self.pool.is_none() || !stands) {
                missing.push(link.caller.to_string());
            }
        }
        // Only as many have children as there are addresses.
        let wanting = self.pool.map_or(0, |pool| self.links.len().saturating_sub(pool));
        if without > wanting {
            missing.extend(self.links.iter().map(|link| link.caller.to_string()));
        }
        missing
    }

    fn sas(&mut self, link: &Link) -> Vec<IkeStatus> {
        let all = self.world.status(link.caller);
        all.into_iter().filter(|sa| sa.connection == link.name && sa.state == "established").collect()
    }

    fn sas_of(&mut self, link: &Link) -> usize {
        self.sas(link).len()
    }

    fn children_of(&mut self, link: &Link) -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        for child in self.sas(link).into_iter().flat_map(|sa| sa.children) {
            *names.entry(child.name).or_default() += 1;
        }
        names
    }

    /// Whether all is as it should be when nothing happens any more.
    fn agrees(&mut self) -> Result<(), String> {
        let mut ends: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        for name in self.names.clone() {
            for sa in self.world.status(name) {
                if sa.state != "established" {
                    return Err(format!("{name} has an IKE SA that is {}", sa.state));
                }
                *ends.entry((sa.spi_i.0, sa.spi_r.0)).or_default() += 1;
            }
        }
        if let Some((spis, _)) = ends.iter().find(|(_, ends)| **ends != 2) {
            return Err(format!("IKE SA {:016x}_{:016x} has one end only", spis.0, spis.1));
        }
        if self.is_unique && ends.len() != self.links.len() {
            return Err(format!("{} IKE SAs for {} pairs", ends.len(), self.links.len()));
        }
        for link in self.links.clone() {
            let have = self.children_of(&link);
            // Where both ends may ask, they may have done so at the same moment.
            let most = if link.back.0.is_some() { 2 } else { 1 };
            if self.is_unique && have.values().any(|count| *count > most) {
                return Err(format!("{} has children more than once: {have:?}", link.caller));
            }
        }
        if let Some(name) = self.names.iter().find(|name| !self.is_trapped(name)) {
            return Err(format!("{name} lacks traps"));
        }
        if !self.world.is_quiet() {
            return Err("something is under way".to_string());
        }
        if !self.world.is_mirrored() {
            return Err("the data planes differ".to_string());
        }
        Ok(())
    }

    fn brief(&mut self, name: &str) -> String {
        let line = |sa: &IkeStatus| {
            let children: Vec<&str> = sa.children.iter().map(|child| child.name.as_str()).collect();
            format!("{} {}_{} {} {children:?}", sa.connection, sa.spi_i, sa.spi_r, sa.state)
        };
        let all: Vec<String> = self.world.status(name).iter().map(line).collect();
        format!("{name} has [{}]", all.join(", "))
    }

    /// Packets flow through every tunnel, while keys change: all arrive.
    pub(super) fn carry(&mut self) {
        self.world.traffic_lands();
        for link in self.links.clone() {
            for flow in self.flows(&link) {
                self.world.ping(link.caller, flow, Duration::from_millis(400));
                // Of two gateways any may have the tunnel the next moment.
                if let [peer] = link.peers[..] {
                    self.world.ping(peer, flow.reversed(), Duration::from_millis(400));
                }
            }
        }
        // What was under way since before the last move may mislead for as long as the first packets take.
        self.world.run(FLOW / 4);
        let before = self.world.traffic.clone();
        let expired = self.world.stats.get("child down: Expired");
        self.world.run(FLOW / 4);
        let link = self.links[self.dice.below(self.links.len() as u64) as usize].clone();
        let target = match self.dice.chance(300) {
            true => Target::Connection(link.name.clone()),
            false => Target::Child(link.name.clone(), "lan".to_string()),
        };
        self.world.order(link.caller, Order::Rekey(target));
        self.world.run(FLOW / 2);
        self.world.traffic_stops();
        self.world.traffic_lands();
        // A request for new keys that was lost again and again may come too late, when it is sent next.
        if self.world.stats.get("child down: Expired") > expired {
            return;
        }
        let after = &self.world.traffic;
        if after.losses_in_all() != before.losses_in_all() || after.under_way() > 0 {
            let (lost, of) = (after.losses_in_all() - before.losses_in_all(), after.sent - before.sent);
            let text = format!("{lost} of {of} packets are lost although nothing interferes: {after:?}");
            self.world.fail(&text);
        }
        let sent = after.sent - before.sent;
        if sent > 0 {
            self.mark("packets flow at the end");
        }
    }

    /// What goes through a tunnel, as it stands now.
    fn flows(&mut self, link: &Link) -> Vec<Flow> {
        let Some(_) = self.pool else { return link.flows.clone() };
        let received = self.sas(link).into_iter().filter(|sa| !sa.children.is_empty());
        let received = received.filter_map(|sa| sa.received).next();
        let address = received.and_then(|received| received.addresses.first().copied());
        let to = [10, 100, 0, 1].into();
        address.map(|address| Flow::udp(address, to)).into_iter().collect()
    }

    /// Everything is closed, wherever the order comes first; nothing is left.
    pub(super) fn end(&mut self) {
        let mut names = self.names.clone();
        if self.dice.chance(500) {
            names.reverse();
        }
        // Who has begun anew because of the other end, before it hears the order, hears it again.
        for turn in 0..4 {
            for name in &names {
                self.world.down(name);
                let pause = Duration::from_millis(self.dice.below(50));
                if turn == 0 {
                    self.world.run(pause);
                }
            }
            self.answers();
            self.world.run(Duration::from_secs(30));
        }
        // Through a NAT box that has forgotten it nobody reaches a site: it finds out by its own probe.
        self.world.run(Duration::from_secs(400));
        for name in self.names.clone() {
            if !self.world.status(name).is_empty() {
                let text = format!("after the end {}", self.brief(name));
                self.world.fail(&text);
            }
            let host = self.world.host(name);
            let plane = &host.dataplane;
            let left = [
                ("children", plane.sad().count()),
                ("traps", plane.traps().count()),
                ("kept packets", plane.kept()),
                ("addresses", plane.address_count()),
                ("leases", host.leases.holders()),
                ("resolvers", host.resolver.len()),
                ("orders", host.open_orders.len()),
                ("jobs", host.jobs.len()),
                ("half-open IKE SAs", host.core.half_open()),
                ("names or SPIs in use", usize::from(!host.core.is_empty())),
            ];
            let left: Vec<_> = left.into_iter().filter(|(_, count)| *count > 0).collect();
            if !left.is_empty() {
                self.world.fail(&format!("{name} still has {left:?} after the end"));
            }
        }
    }
}
