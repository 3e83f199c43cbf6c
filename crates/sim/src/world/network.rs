//! The way of a datagram from one site to another.

use super::{Happening, World, open};
use crate::net::{IKE, NAT_T};
use crate::traffic::EspPacket;
use crate::{Datagram, Host, Scene};
use base::Instant;
use sa::{Cause, Path};

impl World {
    /// An IKE message leaves a site.
    pub(super) fn transmit(&mut self, index: usize, path: Path, bytes: Vec<u8>, is_time: bool) {
        let host = &self.hosts[index];
        let name = &host.name;
        self.trace.add(format_args!(
            "  {name} → {path} {} octets {:016x}",
            bytes.len(),
            crate::ledger::fnv(0, &bytes)
        ));
        open(&self.ledger).check_wire(&host.name, &bytes);
        if let Err(why) = self.checks.transmission(host, &path, &bytes, is_time, &mut self.stats) {
            self.fail(&why);
        }
        self.send(index, Datagram::ike(path.local, path.remote, &bytes));
    }

    /// A datagram goes through its site's NAT box, past the attacker, into the weather.
    pub(crate) fn send(&mut self, index: usize, mut datagram: Datagram) {
        let now = self.now.mono;
        let host = &self.hosts[index];
        if !host.addresses.contains(&datagram.from.ip()) {
            self.stats.count("cannot be sent");
            return;
        }
        if let Some((number, _)) = host.nat {
            self.boxes[number].out(now, &mut datagram);
        }
        if self.is_cut(&datagram) {
            self.stats.count("stopped at a cut");
            return;
        }
        let mut sent = Vec::new();
        let mut pass = true;
        if let Some(attacker) = &mut self.attacker {
            let mut scene =
                Scene { now, datagram: &datagram, rng: &mut self.attacker_rng, pass: true, sent: Vec::new() };
            attacker(&mut scene);
            pass = scene.pass;
            sent = std::mem::take(&mut scene.sent);
        }
        if pass {
            for delay in self.weather.fate(datagram.payload.len(), &mut self.rng) {
                self.travel(now + delay, datagram.clone());
            }
        }
        for (delay, forged) in sent {
            self.travel(now + delay, forged);
        }
        if EspPacket::of(&datagram).is_none() {
            self.wire.push((now, datagram));
        }
    }

    /// A datagram is in the network until `at`.
    pub(super) fn travel(&mut self, at: Instant, datagram: Datagram) {
        match EspPacket::of(&datagram) {
            Some(packet) => {
                self.sequence += 1;
                self.traffic.travels((at, self.sequence), datagram, &packet);
            }
            None => self.push(at, Happening::Arrival(datagram)),
        }
    }

    /// A datagram comes to the site that has its destination: through its NAT box, its port, and
    /// past the marker.
    pub(super) fn arrive(&mut self, mut datagram: Datagram) {
        let Some(index) = self.destination(&mut datagram) else { return };
        let marked = datagram.to.port() == NAT_T;
        let bytes = match (datagram.to.port(), datagram.payload.strip_prefix(&[0; 4])) {
            (NAT_T, Some(message)) => message,
            (IKE, _) => &datagram.payload[..],
            _ => return,
        };
        let path = Path { local: datagram.to, remote: datagram.from, marked };
        self.checks.arrival(bytes);
        self.handle(index, Cause::Datagram { path, bytes: &mut bytes.to_vec() });
    }
    /// The site that a datagram comes to, past the NAT box before it.
    pub(crate) fn destination(&mut self, datagram: &mut Datagram) -> Option<usize> {
        let now = self.now.mono;
        let to = datagram.to.ip();
        let through = self.boxes.iter().position(|nat| nat.outside() == to);
        if let Some(number) = through
            && !self.boxes[number].back(now, datagram)
        {
            self.stats.count("stopped at a NAT box");
            return None;
        }
        // Behind different boxes the same addresses may be in use.
        let has = |host: &&Host| host.addresses.contains(&datagram.to.ip());
        let behind = |host: &&Host| through.is_none_or(|number| host.nat.is_some_and(|nat| nat.0 == number));
        let found = self.hosts.iter().position(|host| has(&host) && behind(&host))?;
        if self.hosts[found].is_asleep(now) {
            self.stats.count("comes to a site that sleeps");
            return None;
        }
        Some(found)
    }

    /// Whether a datagram between the sites has to stop at a cut.
    fn is_cut(&self, datagram: &Datagram) -> bool {
        let (from, to) = (datagram.from.ip(), datagram.to.ip());
        let all = [(from, None), (to, None), (from, Some(to)), (to, Some(from))];
        !self.cuts.is_empty() && all.iter().any(|cut| self.cuts.contains(cut))
    }
}
