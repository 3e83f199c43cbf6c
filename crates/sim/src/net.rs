//! The network between the sites: weather, NAT boxes, and somebody who listens.

use crate::{Peek, SimRng};
use base::Instant;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The port of IKE.
pub const IKE: u16 = 500;
/// The port of IKE and ESP behind NAT.
pub const NAT_T: u16 = 4500;

/// A UDP datagram as it is on the wire: with the non-ESP marker where there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// An IKE message under way from `from` to `to`, marked when one of the ports is 4500.
    pub fn ike(from: SocketAddr, to: SocketAddr, message: &[u8]) -> Self {
        let marked = from.port() == NAT_T || to.port() == NAT_T;
        let mut payload = if marked { vec![0; 4] } else { Vec::new() };
        payload.extend_from_slice(message);
        Self { from, to, payload }
    }

    /// The IKE message in it: what stands behind the marker.
    pub fn message(&self) -> &[u8] {
        let marked = self.from.port() == NAT_T || self.to.port() == NAT_T;
        if marked { self.payload.strip_prefix(&[0; 4]).unwrap_or(&[]) } else { &self.payload }
    }

    /// The message's header and what else is in the clear.
    pub fn peek(&self) -> Option<Peek> {
        Peek::of(self.message())
    }

    /// The same datagram with another message in it.
    pub fn with(&self, message: &[u8]) -> Self {
        let marker = self.payload.len() - self.message().len();
        let mut payload = self.payload[..marker].to_vec();
        payload.extend_from_slice(message);
        Self { payload, ..*self }
    }
}

/// What the network does to datagrams.
#[derive(Clone, Debug)]
pub struct Weather {
    /// How many of a thousand are lost.
    pub loss: u32,
    /// How many of a thousand arrive twice.
    pub duplicate: u32,
    /// How long each takes; a wide range reorders them.
    pub delay: RangeInclusive<Duration>,
    /// Larger UDP payloads are lost: a path where IP fragments are.
    pub mtu: Option<usize>,
}

impl Weather {
    /// Nothing is lost, everything takes 10 ms.
    pub fn fair() -> Self {
        let delay = Duration::from_millis(10);
        Self { loss: 0, duplicate: 0, delay: delay..=delay, mtu: None }
    }

    /// 30 % lost, 10 % twice, and anything between 5 ms and 900 ms.
    pub fn foul() -> Self {
        Self {
            loss: 300,
            duplicate: 100,
            delay: Duration::from_millis(5)..=Duration::from_millis(900),
            mtu: None,
        }
    }

    /// After how long the copies of a datagram arrive; empty when it is lost.
    pub(crate) fn fate(&self, octets: usize, rng: &mut SimRng) -> Vec<Duration> {
        if rng.chance(self.loss) || self.mtu.is_some_and(|mtu| octets > mtu) {
            return Vec::new();
        }
        let copies = 1 + usize::from(rng.chance(self.duplicate));
        (0..copies).map(|_| rng.duration(&self.delay)).collect()
    }
}

/// A NAT box: hosts behind it reach the world with its address and ports that it chooses; a mapping
/// that nobody uses for long is forgotten, and a later datagram gets another port.
#[derive(Clone, Debug)]
pub struct NatBox {
    inside: Vec<IpAddr>,
    outside: IpAddr,
    expiry: Duration,
    next_port: u16,
    mappings: Vec<Mapping>,
}

#[derive(Clone, Debug)]
struct Mapping {
    inside: SocketAddr,
    port: u16,
    used: Instant,
}

impl NatBox {
    /// A box with the address `outside` for the hosts `inside`.
    pub fn new(inside: Vec<IpAddr>, outside: IpAddr, expiry: Duration) -> Self {
        Self { inside, outside, expiry, next_port: 32_768, mappings: Vec::new() }
    }

    /// Its address outside.
    pub fn outside(&self) -> IpAddr {
        self.outside
    }

    /// Stands before these hosts too.
    pub(crate) fn shelter(&mut self, inside: &[IpAddr]) {
        self.inside.extend(inside);
    }

    /// Forgets all mappings, as a restart does.
    pub fn restart(&mut self) {
        self.mappings.clear();
    }

    /// A datagram on its way out gets the box's address.
    pub(crate) fn out(&mut self, now: Instant, datagram: &mut Datagram) {
        if !self.inside.contains(&datagram.from.ip()) {
            return;
        }
        self.mappings.retain(|m| now.since(m.used) < self.expiry);
        let known = self.mappings.iter_mut().find(|m| m.inside == datagram.from);
        let port = match known {
            Some(mapping) => {
                mapping.used = now;
                mapping.port
            }
            None => {
                self.next_port = self.next_port.wrapping_add(1).max(1024);
                self.mappings.push(Mapping { inside: datagram.from, port: self.next_port, used: now });
                self.next_port
            }
        };
        datagram.from = SocketAddr::new(self.outside, port);
    }

    /// A datagram on its way in; `false` when it is for this box and nobody behind it.
    pub(crate) fn back(&mut self, now: Instant, datagram: &mut Datagram) -> bool {
        if datagram.to.ip() != self.outside {
            return true;
        }
        let known = self.mappings.iter_mut().find(|m| m.port == datagram.to.port());
        match known.filter(|m| now.since(m.used) < self.expiry) {
            Some(mapping) => {
                mapping.used = now;
                datagram.to = mapping.inside;
                true
            }
            None => false,
        }
    }
}

/// What an attacker on the path sees of one datagram, and what it does about it.
pub struct Scene<'a> {
    /// The time.
    pub now: Instant,
    /// The datagram, as it is between the sites (outside of NAT boxes).
    pub datagram: &'a Datagram,
    /// The attacker's own chance.
    pub rng: &'a mut SimRng,
    pub(crate) pass: bool,
    pub(crate) sent: Vec<(Duration, Datagram)>,
}

impl Scene<'_> {
    /// The datagram does not arrive.
    pub fn take(&mut self) {
        self.pass = false;
    }

    /// Sends a datagram that arrives after `delay`; the sender's address is whatever it says.
    pub fn send(&mut self, delay: Duration, datagram: Datagram) {
        self.sent.push((delay, datagram));
    }

    /// The datagram arrives with another message in it.
    pub fn alter(&mut self, message: &[u8]) {
        let altered = self.datagram.with(message);
        self.take();
        self.send(Duration::from_millis(10), altered);
    }
}

/// Somebody on the path.
pub type Attacker = Box<dyn FnMut(&mut Scene<'_>) + Send>;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_nat_box_gives_a_port_and_finds_the_way_back_until_it_forgets() {
        let inside = address("10.0.0.2:4500");
        let mut nat = NatBox::new(vec![inside.ip()], "192.0.2.9".parse().unwrap(), Duration::from_secs(30));
        let start = Instant::from_nanos(0);
        let mut there = Datagram::ike(inside, address("198.51.100.1:4500"), b"x");
        nat.out(start, &mut there);
        assert_ne!(there.from, inside);
        let reply = Datagram::ike(there.to, there.from, b"y");
        let mut back = reply.clone();
        assert!(nat.back(start + Duration::from_secs(29), &mut back));
        assert_eq!(back.to, inside);
        assert!(!nat.back(start + Duration::from_secs(60), &mut reply.clone()));
    }

    #[test]
    fn the_marker_is_not_part_of_the_message() {
        let marked = Datagram::ike(address("192.0.2.1:4500"), address("192.0.2.2:4500"), b"abc");
        assert_eq!((marked.payload.len(), marked.message()), (7, &b"abc"[..]));
        assert_eq!(marked.with(b"de").payload, b"\0\0\0\0de");
        let plain = Datagram::ike(address("192.0.2.1:500"), address("192.0.2.2:500"), b"abc");
        assert_eq!(plain.message(), b"abc");
    }

    #[test]
    fn foul_weather_loses_three_of_ten() {
        let (weather, mut rng) = (Weather::foul(), SimRng::new(1, "weather"));
        let lost = (0..10_000).filter(|_| weather.fate(100, &mut rng).is_empty()).count();
        assert!((2_800..3_200).contains(&lost), "{lost}");
    }
}
