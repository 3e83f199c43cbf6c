//! The one public sans-IO type: hands each datagram, answer, order and moment to its IKE SA.
//!
//! ```text
//!   loop { endpoint.handle(now, cause); while let Some(act) = endpoint.poll() { do(act) } }
//! ```
#![forbid(unsafe_code)]

mod again;
mod keeper;
pub mod limits;
mod orders;
mod shunts;
mod start;
mod table;

use again::Sought;
use base::{EspSpi, Instant, Now, Rng};
use crypto::Suite;
use dataplane::DataplaneEvent;
use ikev2::{Again, Arrival, Cx, Door, End, IkeSa, Lost, Superseded, Tickets, Wish};
use keeper::Keeper;
use orders::Tally;
use policy::{Policy, Unique};
use sa::{
    Act, Branch, Branches, Cause, Directory, Drop, Event, Fate, IkeSaId, OrderId, Outbox, Path, RateLimit,
    Reason, Refusal, RefusalKind, Reply, Settings,
};
use shunts::Shunts;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use table::{Table, Waiting};
use wire::{Header, ParseError, Problem};

/// All IKE SAs of one shard. It never waits, never reads a clock and never touches a socket.
pub struct Endpoint {
    world: World,
    table: Table,
    door: Door,
    keeper: Keeper,
    shunts: Shunts,
    /// How often unprotected hints are looked into.
    hints: RateLimit,
    /// Orders that wait for IKE SAs to end.
    tallies: BTreeMap<OrderId, Tally>,
    /// Gateways whose names are being looked up.
    sought: Vec<Sought>,
}

/// All that a step of an IKE SA may use.
struct World {
    policy: Arc<Policy>,
    suite: Arc<dyn Suite>,
    rng: Box<dyn Rng>,
    settings: Settings,
    out: Outbox,
    addresses: Vec<IpAddr>,
    directory: Directory,
    superseded: Vec<Superseded>,
    born: Vec<IkeSa>,
    lost: Vec<Lost>,
    spoiled: u32,
    again: Vec<Again>,
    tickets: Tickets,
}

impl World {
    fn cx(&mut self, now: Now) -> Cx<'_> {
        Cx {
            now,
            policy: &self.policy,
            suite: &*self.suite,
            rng: &mut *self.rng,
            settings: &self.settings,
            out: &mut self.out,
            addresses: &self.addresses,
            directory: &mut self.directory,
            superseded: &mut self.superseded,
            born: &mut self.born,
            lost: &mut self.lost,
            spoiled: &mut self.spoiled,
            again: &mut self.again,
            tickets: &mut self.tickets,
        }
    }
}

impl Endpoint {
    /// An endpoint without IKE SAs. `rng` is its only source of chance: with the same one and the
    /// same causes it does the same again, octet for octet.
    pub fn new(policy: Arc<Policy>, suite: Arc<dyn Suite>, rng: Box<dyn Rng>, settings: Settings) -> Self {
        let out = Outbox::new(settings.shard.index());
        let directory = Directory::default();
        let world = World {
            policy,
            suite,
            rng,
            settings,
            out,
            addresses: Vec::new(),
            directory,
            superseded: Vec::new(),
            born: Vec::new(),
            lost: Vec::new(),
            spoiled: 0,
            again: Vec::new(),
            tickets: Tickets::default(),
        };
        let keeper = Keeper::new(&world.policy);
        let shunts = Shunts::new(&world.policy);
        let hints = RateLimit::new(limits::HINTS_PER_SECOND);
        Self {
            world,
            table: Table::default(),
            door: Door::default(),
            keeper,
            shunts,
            hints,
            tallies: BTreeMap::new(),
            sought: Vec::new(),
        }
    }

    /// Takes in one thing that happened. What has to be done about it comes out of [`Endpoint::poll`].
    pub fn handle(&mut self, now: Now, cause: Cause<'_>) {
        match cause {
            Cause::Datagram { path, bytes } => self.datagram(now, path, bytes),
            Cause::Time => {
                for id in self.table.due(now.mono) {
                    self.step(now, id, |sa, cx| sa.time(cx));
                }
            }
            Cause::Done(job, answer) => match self.world.out.owner(job) {
                Some(id) => self.step(now, id, |sa, cx| sa.answer(cx, job, answer)),
                None => self.own_answer(now, job, answer),
            },
            Cause::Dataplane(event) => self.dataplane(now, &event),
            Cause::Addresses(addresses) => self.readdress(now, addresses),
            Cause::Order(id, order) => self.order(now, id, order),
        }
        self.tend(now);
        for _ in 0..std::mem::take(&mut self.world.spoiled) {
            self.door.half_open.spoil(now.mono);
        }
        while !self.world.again.is_empty() {
            self.begin_again(now);
            self.tend(now);
        }
        self.world.tickets.tidy(now.mono);
    }

    /// The next thing to be done; to be drained after each [`Endpoint::handle`].
    pub fn poll(&mut self) -> Option<Act> {
        self.world.out.pop()
    }

    /// When [`Cause::Time`] is wanted next, and why.
    pub fn wake(&self) -> Option<(Instant, Reason)> {
        let sought = self.sought.iter().map(|sought| sought.until).min();
        let shunts = self.shunts.wake();
        let keeper = self.keeper.wake().into_iter().chain(shunts).chain(sought).map(|at| (at, Reason::Start));
        self.table.wake().into_iter().chain(keeper).min_by_key(|(at, _)| *at)
    }

    /// How many IKE SAs there are, those that are half open or over included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing is left: no IKE SA, no name and no SPI in use.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0 && self.world.directory.is_empty() && self.door.half_open.is_empty()
    }

    /// Which branches of the procedures were taken, and how often.
    pub fn branches(&self) -> &Branches {
        self.world.out.branches()
    }

    /// How many IKE SAs wait for a peer that is not authenticated yet.
    pub fn half_open(&self) -> usize {
        self.door.half_open.len()
    }

    fn datagram(&mut self, now: Now, path: Path, bytes: &mut [u8]) {
        let header = match Header::parse(bytes) {
            Ok(header) => header,
            Err(error) => return self.not_ikev2(now, path, bytes, &error),
        };
        match self.table.find(&header, path) {
            Some(id) => {
                let hint = is_forgotten(&header, bytes);
                self.step(now, id, |sa, cx| {
                    sa.datagram(cx, path, header, bytes);
                    if hint {
                        sa.crash(cx, &header, bytes);
                        sa.provoke(cx);
                    }
                });
            }
            None => match lost_spi(&header, bytes) {
                Some(spi) => self.hint(now, path, spi),
                None => self.stranger(now, path, &header, bytes),
            },
        }
    }

    fn not_ikev2(&mut self, now: Now, path: Path, bytes: &[u8], error: &ParseError) {
        let mut cx = self.world.cx(now);
        match (error.problem, Header::peek(bytes)) {
            (Problem::MajorVersion(_), Ok(header)) => {
                self.door.wrong_version(&mut cx, Arrival { path, header, bytes });
            }
            _ => cx.out.tell(Event::Dropped { path, why: Drop::Malformed }),
        }
    }

    /// Somebody says, unprotected, that it does not know the SPI of our ESP packets. It gets no answer.
    //= rfc7296 §1.5
    //# if the node receives such a message, [it] is a "hint" that something might be wrong (because it could easily be
    //# forged)
    fn hint(&mut self, now: Now, path: Path, spi: EspSpi) {
        self.world.out.tell(Event::Dropped { path, why: Drop::Unprotected });
        if !self.hints.allows(now.mono) {
            return;
        }
        let meant = |sa: &IkeSa| sa.path().remote.ip() == path.remote.ip() && sa.sends_by(spi);
        let found = self.table.iter().find(|(_, sa)| meant(sa)).map(|(id, _)| id);
        if let Some(id) = found {
            self.step(now, id, |sa, cx| sa.provoke(cx));
        }
    }

    fn stranger(&mut self, now: Now, path: Path, header: &Header, bytes: &[u8]) {
        let id = self.world.out.next_ike();
        let mut cx = self.world.cx(now);
        if self.table.drew(header.spi_i) || self.table.drew(header.spi_r) {
            // Our own request, sent back by somebody on the path: we do not become our own peer. Or one of our own IKE SAs
            // with the roles exchanged: nobody learns the token by which we would show that we have forgotten it.
            return cx.out.tell(Event::Dropped { path, why: Drop::Unexpected });
        }
        if let Some((sa, place)) = self.door.knock(&mut cx, id, Arrival { path, header: *header, bytes }) {
            self.world.out.new_ike();
            let first = (header.spi_i, path.remote);
            self.table.insert(id, sa, Some(Waiting { first, place }));
        }
    }

    fn readdress(&mut self, now: Now, addresses: Vec<IpAddr>) {
        self.world.addresses = addresses;
        let all: Vec<IkeSaId> = self.table.iter().map(|(id, _)| id).collect();
        for id in all {
            self.step(now, id, |sa, cx| sa.readdress(cx));
        }
    }

    fn dataplane(&mut self, now: Now, event: &DataplaneEvent) {
        let child = match event {
            DataplaneEvent::SequenceNearEnd(id)
            | DataplaneEvent::Mapping { id, .. }
            | DataplaneEvent::FirstPacket(id)
            | DataplaneEvent::Expired { id, .. } => *id,
            DataplaneEvent::Acquire { id, packet } => {
                let asks = self.keeper.acquire(now.mono, *id, *packet);
                return self.world.out.reach(if asks { Branch::TrapAcquire } else { Branch::TrapRests });
            }
            DataplaneEvent::UnknownSpi { spi, remote } => return self.unknown_spi(now, *spi, remote.ip()),
        };
        let Some(id) = self.table.owner_of(child) else { return };
        self.step(now, id, |sa, cx| match event {
            DataplaneEvent::Mapping { remote, .. } => sa.moved(cx, *remote),
            DataplaneEvent::FirstPacket(_) => sa.use_child(cx, child),
            DataplaneEvent::Expired { hard, .. } => sa.wear_out(cx, child, *hard),
            DataplaneEvent::SequenceNearEnd(_) => sa.wear_out(cx, child, false),
            DataplaneEvent::Acquire { .. } | DataplaneEvent::UnknownSpi { .. } => {}
        });
    }

    /// ESP came that no child takes: whoever is established there may want to know.
    fn unknown_spi(&mut self, now: Now, spi: EspSpi, remote: IpAddr) {
        if !self.hints.allows(now.mono) {
            return;
        }
        let there = self.table.iter().find(|(_, sa)| sa.is_usable() && sa.path().remote.ip() == remote);
        if let Some(id) = there.map(|(id, _)| id) {
            self.step(now, id, |sa, cx| sa.tell_unknown_spi(cx, spi));
        }
    }

    /// One step of one IKE SA, and what has to be known of it afterwards.
    fn step(&mut self, now: Now, id: IkeSaId, with: impl FnOnce(&mut IkeSa, &mut Cx<'_>)) {
        let Some(slot) = self.table.get_mut(id) else { return };
        let mut cx = self.world.cx(now);
        with(&mut slot.sa, &mut cx);
        if let Some(Waiting { place, .. }) = slot.half_open
            && !slot.sa.is_half_open()
        {
            self.door.half_open.leave(place);
            self.world.directory.decide(place.source);
        }
        let authenticated = slot.half_open.is_some() && !slot.sa.is_half_open();
        self.world.directory.locate(id, slot.sa.path().remote);
        self.table.refresh(id);
        self.settle_tallies(id);
        if authenticated {
            self.give_way(id);
        }
    }

    /// Takes in the IKE SAs that the last steps have made.
    fn take_in(&mut self) {
        for sa in std::mem::take(&mut self.world.born) {
            self.table.insert(sa.id(), sa, None);
        }
    }

    /// Orders that waited for an IKE SA which is replaced are what another one is to do.
    fn pass_on(
        &mut self,
        now: Now,
        (connection, heir): (Option<String>, Option<IkeSaId>),
        wishes: Vec<Wish>,
    ) {
        let heir = heir.or_else(|| self.usable(connection.as_deref()?));
        for wish in wishes {
            match heir {
                Some(heir) => self.step(now, heir, |sa, cx| sa.wish(cx, wish)),
                None => {
                    let reason = "Another IKE SA with the same peer took its place, and went.".to_string();
                    let refusal = Refusal {
                        kind: RefusalKind::Busy,
                        by_peer: false,
                        connection: connection.clone(),
                        reason,
                    };
                    self.world.out.reply(wish.order, Reply::Refused(refusal));
                }
            }
        }
    }

    /// The peer's IKE SA stands: our own that it has not answered yet is not needed where there is to be one.
    fn give_way(&mut self, id: IkeSaId) {
        let Some(slot) = self.table.get_mut(id) else { return };
        let (name, peer) = (slot.sa.connection().map(str::to_string), slot.sa.path().remote.ip());
        if !slot.sa.is_usable() || !matches!(slot.sa.unique(), Some(Unique::Replace | Unique::Keep)) {
            return;
        }
        let Some(name) = name else { return };
        let calls = |sa: &IkeSa| sa.is_calling() && sa.path().remote.ip() == peer;
        let ours = self.table.of_connection(&name).filter(|(_, sa)| calls(sa));
        let ours: Vec<_> =
            ours.map(|(ike, _)| Superseded { ike, tell_peer: false, by: peer, heir: Some(id) }).collect();
        self.world.superseded.extend(ours);
    }

    /// Ends the IKE SAs that the last step has made obsolete.
    fn supersede(&mut self, now: Now) {
        while let Some(Superseded { ike, tell_peer, by, heir }) = self.world.superseded.pop() {
            if let Some(heir) = heir
                && self.carries_over(now, ike, heir)
            {
                continue;
            }
            let wishes = self.table.get_mut(ike).map(|slot| slot.sa.take_wishes()).unwrap_or_default();
            let name = self.table.get_mut(ike).and_then(|slot| slot.sa.connection().map(str::to_string));
            self.step(now, ike, |sa, cx| {
                // The peer makes another one before it breaks this one: it needs both for a while.
                let changes_over = tell_peer && sa.path().remote.ip() == by;
                if !(changes_over && sa.retire(cx)) {
                    sa.close(cx, End { tell_peer, fate: Fate::Replaced });
                }
            });
            let heir = heir.filter(|heir| self.table.get_mut(*heir).is_some_and(|slot| slot.sa.is_usable()));
            self.pass_on(now, (name, heir), wishes);
            self.take_in();
        }
    }

    /// Whether an IKE SA has to ask for children first, of the one in whose place it comes.
    fn carries_over(&mut self, now: Now, ike: IkeSaId, heir: IkeSaId) -> bool {
        let children = self.table.get_mut(ike).map(|slot| slot.sa.children()).unwrap_or_default();
        let mut waits = false;
        self.step(now, heir, |sa, cx| waits = sa.carry_over(cx, ike, &children));
        waits
    }
}

/// Whether a message is an unprotected INVALID_IKE_SPI, as a peer sends that has lost its memory.
fn is_forgotten(header: &Header, bytes: &[u8]) -> bool {
    use wire::num::{NotifyType, PayloadType};
    if !header.flags.response || header.next_payload != PayloadType::NOTIFY {
        return false;
    }
    let message = wire::Message::parse(bytes);
    message.is_ok_and(|message| {
        let mut notifies = message.payloads.iter().filter_map(|payload| match payload {
            wire::Payload::Notify(notify) => Some(notify.kind),
            _ => None,
        });
        notifies.any(|kind| kind == NotifyType::INVALID_IKE_SPI)
    })
}

/// The SPI of an unprotected INVALID_SPI, as a peer sends that gets ESP packets of a child SA that it does not have.
fn lost_spi(header: &Header, bytes: &[u8]) -> Option<EspSpi> {
    use wire::num::{ExchangeType, NotifyType, PayloadType};
    let informational = header.exchange == ExchangeType::INFORMATIONAL && !header.flags.response;
    if !informational || header.next_payload != PayloadType::NOTIFY {
        return None;
    }
    let message = wire::Message::parse(bytes).ok()?;
    message.payloads.iter().find_map(|payload| match payload {
        wire::Payload::Notify(notify) if notify.kind == NotifyType::INVALID_SPI => {
            <[u8; 4]>::try_from(&notify.data[..]).ok().map(|spi| EspSpi(u32::from_be_bytes(spi)))
        }
        _ => None,
    })
}
