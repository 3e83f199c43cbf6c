//! What befalls the sites of a realm while their tunnels stand.

use super::{Link, Realm, Span};
use crate::{Datagram, DataplaneNature, Peek, Scene, Weather, peek};
use base::Rng;
use policy::Gateway;
use sa::{Order, Target};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Traps are laid within this time, however slow the data planes are.
const PATIENCE: Duration = Duration::from_secs(60);

/// Forged first messages of one flood.
const FLOOD: usize = 30;

/// What a noisy attacker keeps to send again.
const KEPT: usize = 200;

impl Realm {
    /// The tunnels are begun, by orders, packets or by themselves.
    pub(super) fn begin(&mut self) {
        if self.dice.chance(300) {
            self.world.attack(noise(Vec::new()));
        }
        self.lay_traps();
        for link in self.links.clone() {
            if self.traps {
                self.send(&link, false);
            } else {
                self.call(&link);
            }
            let pause = self.seconds(3);
            self.world.run(pause);
        }
        self.world.run(Duration::from_secs(20));
        if self.is_gentle {
            // Whatever stands from now on carries what it is given.
            self.stands(Duration::from_secs(400));
            self.watch();
        }
        for link in self.links.clone() {
            self.send(&link, true);
        }
    }

    /// Waits until the data planes have the traps, however slow they are.
    fn lay_traps(&mut self) {
        self.world.run(Duration::from_secs(2));
        let end = self.world.now() + PATIENCE;
        while !self.names.iter().all(|name| self.is_trapped(name)) {
            if self.world.now() > end {
                self.world.fail("the traps are not laid");
            }
            self.world.run(Duration::from_secs(1));
        }
    }

    pub(super) fn live(&mut self) {
        let (least, more) = match self.span {
            Span::Minutes => (1, 6),
            Span::Month => (20, 20),
        };
        for _ in 0..least + self.dice.below(more) {
            let pause = match self.span {
                Span::Minutes => self.seconds(40),
                Span::Month => self.seconds(140_000),
            };
            self.world.run(pause);
            self.event();
            self.watch();
        }
        if self.span == Span::Month {
            let left = Duration::from_secs(30 * 86_400).saturating_sub(self.world.now().since(self.began));
            self.world.run(left);
        }
        self.watch();
    }

    /// Packets begin to go from the caller's network to the other's, and back once the tunnel stands.
    fn send(&mut self, link: &Link, both: bool) {
        let every = if self.span == Span::Month { 1800 } else { 2 };
        for flow in link.flows.clone() {
            if !both {
                self.world.packet(link.caller, flow);
                continue;
            }
            self.world.ping(link.caller, flow, Duration::from_secs(every));
            // Of two gateways the one that has the tunnel answers: packets do not know which.
            if let [peer] = link.peers[..] {
                self.world.ping(peer, flow.reversed(), Duration::from_secs(every));
            }
        }
    }

    /// Nothing was lost that nothing on the way has taken.
    fn watch(&mut self) {
        let traffic = &self.world.traffic;
        if traffic.leaked > 0 {
            self.world.fail("packets leave in the clear that a trap means");
        }
        if self.is_gentle && traffic.losses_in_all() > 0 {
            let text = format!("packets are lost on a fair day: {traffic:?}");
            self.world.fail(&text);
        }
    }

    /// Orders a link up, from its caller.
    pub(super) fn call(&mut self, link: &Link) {
        if self.is_awake(link.caller) {
            self.world.up_child(link.caller, link.connection, None);
        }
    }

    fn order(&mut self, name: &str, order: Order) {
        if self.is_awake(name) {
            self.world.order(name, order);
        }
    }

    fn link(&mut self) -> Link {
        let at = self.dice.below(self.links.len() as u64) as usize;
        self.links[at].clone()
    }

    fn site(&mut self) -> &'static str {
        let at = self.dice.below(self.names.len() as u64) as usize;
        self.names[at]
    }

    /// One end of a link, and its connection there.
    fn end_of(&mut self, link: &Link) -> (&'static str, String) {
        match self.dice.chance(500) {
            true => (link.caller, link.name.clone()),
            false => {
                let at = self.dice.below(link.peers.len() as u64) as usize;
                (link.peers[at], link.back.1.clone())
            }
        }
    }

    fn event(&mut self) {
        let kinds = if self.is_gentle { 9 } else { 20 };
        match self.dice.below(kinds) {
            0 | 1 => self.rekey(),
            2 | 3 => self.rekey_at_both_ends(),
            4 => self.probe(),
            5 => {
                let seconds = self.dice.below(40_000_000) as i64 - 20_000_000;
                self.world.jump(seconds);
            }
            6 => self.call_again(),
            7 => self.redirect(),
            8 => self.press(),
            9 | 10 => self.crash(),
            11 => {
                let (name, time) = (self.site(), self.seconds(150));
                self.world.sleep(name, time);
            }
            12 => self.cut(),
            13 => self.change_weather(),
            14 => self.rebind(),
            15 => self.move_away(),
            16 => self.change_further_address(),
            17 => self.take_down(),
            18 => self.change_data_plane(),
            _ => {
                self.world.attack(noise(Vec::new()));
            }
        }
    }

    fn target(&mut self, name: String) -> Target {
        match self.dice.chance(400) {
            true => Target::Connection(name),
            false => Target::Child(name, "lan".to_string()),
        }
    }

    fn rekey(&mut self) {
        let link = self.link();
        let (name, connection) = self.end_of(&link);
        let target = self.target(connection);
        self.order(name, Order::Rekey(target));
    }

    fn rekey_at_both_ends(&mut self) {
        self.mark("both ends rekey");
        let link = self.link();
        for (name, connection) in [(link.caller, link.name), (link.peers[0], link.back.1)] {
            let target = self.target(connection);
            self.order(name, Order::Rekey(target));
            let pause = Duration::from_millis(self.dice.below(100));
            self.world.run(pause);
        }
    }

    fn probe(&mut self) {
        let name = self.site();
        if let Some(ike) = self.world.status(name).first().map(|sa| sa.id) {
            self.order(name, Order::Probe(ike));
        }
    }

    /// What stands already, or is being made, is ordered once more, perhaps from the other end.
    fn call_again(&mut self) {
        let link = self.link();
        match (link.back.0, self.dice.chance(500)) {
            (Some(connection), true) if self.is_awake(link.peers[0]) => {
                self.mark("the other end calls");
                self.world.up_child(link.peers[0], connection, None);
            }
            _ => self.call(&link),
        }
    }

    /// A gateway sends its clients on to the other one.
    fn redirect(&mut self) {
        let link = self.link();
        if let [one, other] = link.peers[..] {
            let (from, to) = if self.dice.chance(500) { (one, other) } else { (other, one) };
            let to = Gateway::Address(self.world.host(to).address);
            self.mark("live redirect");
            self.order(from, Order::Redirect(Target::All, to));
        }
    }

    /// Somebody sends first messages in the name of many others.
    fn press(&mut self) {
        let link = self.link();
        let to = self.world.host(link.peers[0]).address;
        let is_first = |datagram: &&Datagram| {
            let peek = datagram.peek();
            peek.is_some_and(|peek| peek.exchange == peek::IKE_SA_INIT && !peek.response && peek.spi_r == 0)
        };
        let mut wire = self.world.wire.iter().map(|(_, datagram)| datagram);
        let Some(first) = wire.find(|datagram| datagram.to.ip() == to && is_first(datagram)).cloned() else {
            return;
        };
        self.mark("flood");
        let anew = !self.is_gentle && self.dice.chance(700);
        if anew {
            self.order(link.caller, Order::Down(Target::Connection(link.name.clone())));
            self.world.run(Duration::from_secs(1));
        }
        for number in 0..FLOOD {
            let mut message = first.message().to_vec();
            self.dice.fill(&mut message[..8]);
            let from = SocketAddr::new(IpAddr::from([203, 0, 113, 200]), 1024 + number as u16);
            let forged = Datagram { from, ..first.with(&message) };
            let delay = Duration::from_millis(self.dice.below(10_000));
            self.world.inject(delay, forged);
        }
        if anew {
            // An honest one comes in the midst of it.
            self.world.run(Duration::from_secs(5));
            self.call(&link);
        }
    }

    fn crash(&mut self) {
        let name = self.site();
        if self.is_awake(name) {
            self.world.crash(name);
            self.released.remove(name);
        }
        if self.dice.chance(500) {
            let links = self.links.clone();
            links.iter().filter(|link| link.caller == name).for_each(|link| self.call(link));
        }
    }

    /// A site, or a pair, is cut off for a while.
    fn cut(&mut self) {
        let link = self.link();
        let all = self.dice.chance(500);
        self.world.cut(link.caller, (!all).then_some(link.peers[0]));
        let time = self.seconds(240);
        self.world.run(time);
        self.world.mend();
    }

    fn change_weather(&mut self) {
        self.world.weather = match self.dice.below(3) {
            0 => Weather::fair(),
            1 => Weather::foul(),
            _ => Weather { mtu: Some(1300), ..Weather::fair() },
        };
        if self.dice.chance(500) {
            self.world.calm();
        }
    }

    /// A NAT box forgets its mappings.
    fn rebind(&mut self) {
        let link = self.link();
        if self.world.host(link.caller).nat.is_some() {
            self.mark("a NAT box starts anew");
            self.world.restart_nat(link.caller);
        }
    }

    /// The further address of a gateway goes, or comes back.
    fn change_further_address(&mut self) {
        let link = self.link();
        let host = self.world.host(link.peers[0]);
        let mut addresses: Vec<String> = host.had.iter().map(ToString::to_string).collect();
        if addresses.len() < 2 || host.is_asleep(self.world.now()) {
            return self.move_away();
        }
        let first = host.address.to_string();
        addresses.retain(|address| *address != first && host.addresses.len() == 1);
        addresses.insert(0, first);
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        self.world.readdress(link.peers[0], &addresses);
    }

    /// A site gets another address, goes behind a NAT box, or comes from behind one.
    fn move_away(&mut self) {
        let link = self.link();
        let name = link.caller;
        let index = self.names.iter().position(|any| *any == name).unwrap_or_default();
        if !self.is_awake(name) {
            return;
        }
        self.moves = self.moves % 100 + 1;
        self.mark(if self.mobile[index] { "moves with MOBIKE" } else { "moves without MOBIKE" });
        let address = format!("198.18.{index}.{}", self.moves);
        // Who is called at one address, or taken from one only, is not found at another; and who may have been called
        // before cannot be reached behind a NAT box.
        let only_calls = self.links.iter().all(|link| !link.peers.contains(&name));
        let is_client = link.back.0.is_none();
        let only_calls = only_calls && (is_client || self.mobile[index]);
        match self.dice.below(3) {
            0 if is_client => {
                let outside = format!("203.0.113.{}", 100 + self.moves % 90);
                self.world.resettle(name, Some(&outside));
            }
            1 if is_client => self.world.resettle(name, None),
            2 if only_calls => {
                // For a while it has no address at all.
                self.world.readdress(name, &[]);
                let time = self.seconds(20);
                self.world.run(time);
            }
            _ => {}
        }
        if only_calls {
            self.world.readdress(name, &[&address]);
        }
    }

    fn take_down(&mut self) {
        let link = self.link();
        let (name, connection) = self.end_of(&link);
        let target = match self.dice.below(4) {
            0 | 1 => Target::Child(connection, "lan".to_string()),
            2 => Target::Connection(connection),
            _ => Target::All,
        };
        if target == Target::All && self.is_awake(name) {
            self.released.insert(name);
        }
        self.order(name, Order::Down(target));
        if self.dice.chance(300) {
            self.call(&link);
        }
    }

    /// A data plane is slow, refuses, or is well again.
    fn change_data_plane(&mut self) {
        let name = self.site();
        let nature = match self.dice.below(3) {
            0 => DataplaneNature::default(),
            1 => DataplaneNature { delay: Duration::ZERO..=Duration::from_millis(3000), refuse: 0 },
            _ => DataplaneNature { refuse: 500, ..DataplaneNature::default() },
        };
        self.world.host_mut(name).dataplane.becomes(nature);
    }
}

/// An attacker without keys, who sees everything: he sends again what he saw, at once or late, whole, cut, changed or in
/// another direction; and tells lies that need no key.
fn noise(mut kept: Vec<Datagram>) -> impl FnMut(&mut Scene<'_>) + Send + 'static {
    move |scene| {
        if kept.len() < KEPT {
            kept.push(scene.datagram.clone());
        } else {
            let at = scene.rng.below(KEPT as u64) as usize;
            kept[at] = scene.datagram.clone();
        }
        if !scene.rng.chance(250) {
            return;
        }
        let mut forged = kept[scene.rng.below(kept.len() as u64) as usize].clone();
        let mut message = forged.message().to_vec();
        match scene.rng.below(7) {
            0 => {}
            1 => message.truncate(scene.rng.below(message.len() as u64 + 1) as usize),
            2 if !message.is_empty() => {
                let at = scene.rng.below(message.len() as u64) as usize;
                message[at] ^= 1 << scene.rng.below(8);
            }
            3 if message.len() > 24 => message[19] ^= 0x20 | 8,
            4 => {
                let from = scene.rng.below(message.len() as u64 + 1) as usize;
                scene.rng.fill(&mut message[from..]);
            }
            5 => (forged.from, forged.to) = (forged.to, forged.from),
            _ => {
                if let Some(peek) = Peek::of(&message) {
                    message = lie(&peek, scene.rng.below(4));
                }
            }
        }
        let delay = Duration::from_millis(scene.rng.below(5_000));
        scene.send(delay, forged.with(&message));
    }
}

/// What anybody can say in the name of one end of an IKE SA: an unprotected notification.
fn lie(peek: &Peek, which: u64) -> Vec<u8> {
    // INVALID_IKE_SPI, AUTHENTICATION_FAILED, INVALID_SYNTAX, NO_PROPOSAL_CHOSEN
    let kind = [4u16, 24, 7, 14][which as usize % 4];
    let mut message = peek.spi_i.to_be_bytes().to_vec();
    message.extend(peek.spi_r.to_be_bytes());
    let flags = (if peek.initiator { 0 } else { 8 }) | 0x20;
    message.extend([41, 0x20, peek.exchange, flags]);
    message.extend(peek.message_id.to_be_bytes());
    message.extend(36u32.to_be_bytes());
    message.extend([0, 0, 0, 8, 0, 0]);
    message.extend(kind.to_be_bytes());
    message
}
