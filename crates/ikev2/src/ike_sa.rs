//! One IKE SA: what is true of it always, and the stage that it is in.

use crate::established::Established;
use crate::ext::configuration::Leases;
use crate::fate::refusal_of;
pub(crate) use crate::known::Known;
use crate::{Cx, Origin, limits, move_path};
use base::{EspSpi, IkeSpi, Instant, MessageId};
use dataplane::{ChildId, Op, Selector};
use policy::{Configuration, Connection, ConnectionId, Gateway, Unique};
use sa::{
    Answer, Branch, Event, Fate, IkeFacts, IkeSaId, IkeStatus, JobId, OrderId, Path, Reason, Refusal, Reply,
    Side,
};
use std::sync::Arc;
use std::time::Duration;
use wire::Header;

/// What is true of an IKE SA in every stage.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) id: IkeSaId,
    pub(crate) side: Side,
    pub(crate) spi_i: IkeSpi,
    /// Zero until the responder has told it (RFC 7296 §3.1).
    pub(crate) spi_r: IkeSpi,
    /// Where our requests go.
    pub(crate) path: Path,
    pub(crate) born: Instant,
    /// When something authentic came last.
    pub(crate) heard: Instant,
    /// When we sent something last.
    pub(crate) spoke: Instant,
    /// The pause after which a NAT keepalive is due.
    pub(crate) keepalive: Duration,
    /// Message ids end here.
    pub(crate) last_message_id: MessageId,
    /// Orders that wait for it to come up.
    pub(crate) wishes: Vec<Wish>,
    /// What it owes to another one.
    pub(crate) origin: Origin,
}

/// An order to bring children up, and what has come of it.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Whom to tell.
    pub order: OrderId,
    /// Children that are not decided yet.
    pub open: Vec<String>,
    /// Children that stand.
    pub up: Vec<String>,
    /// Children that were refused.
    pub refused: Vec<(String, Refusal)>,
    /// Packets that want a child of that name: our selector and the peer's.
    pub packets: Vec<(String, Packet)>,
}

/// The selectors of one packet: ours and the peer's.
pub type Packet = (Selector, Selector);

impl Wish {
    /// Wants `open` up.
    pub fn new(order: OrderId, open: Vec<String>) -> Self {
        Self { order, open, up: Vec::new(), refused: Vec::new(), packets: Vec::new() }
    }

    /// The packet that wants child `name`, if one does.
    pub(crate) fn packet(&self, name: &str) -> Option<Packet> {
        self.packets.iter().find(|(of, _)| of == name).map(|(_, packet)| *packet)
    }
}

/// A datagram for this IKE SA, its header parsed.
pub(crate) struct Datagram<'a> {
    pub(crate) path: Path,
    pub(crate) header: Header,
    pub(crate) bytes: &'a mut [u8],
}

/// A connection and its name in the policy that it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) id: ConnectionId,
    pub(crate) connection: Arc<Connection>,
}

/// What comes after a step.
pub(crate) type Next = Box<dyn Stage>;

/// A stage in an IKE SA's life. It holds what is true in it and nothing else; each step consumes it
/// and gives the stage that follows, often itself.
pub(crate) trait Stage: Send {
    /// `connecting`, `established` or `deleting`.
    fn name(&self) -> &'static str {
        "connecting"
    }
    /// What is known by now.
    fn known(&self) -> Known<'_>;
    /// A datagram with this IKE SA's SPIs came. It is noise until its integrity was checked.
    fn datagram(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next;
    /// A job or an operation of the data plane is done.
    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next;
    /// The moment that `wake` named has come.
    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next;
    /// When to come back, and why.
    fn wake(&self, sa: &Common) -> Option<(Instant, Reason)>;
    /// It must end: by order, or because another one takes its place.
    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next;
    /// The SPI of another IKE SA that this one answers for.
    fn rival_spi(&self) -> Option<IkeSpi> {
        None
    }
    /// A responder's whose peer is not authenticated yet.
    fn is_half_open(&self) -> bool {
        false
    }
    /// It is over, and only answers repeated requests.
    fn is_over(&self) -> bool {
        self.is_gone()
    }
    /// Nothing is left of it.
    fn is_gone(&self) -> bool {
        false
    }
    /// The established stage's own operations.
    fn established(&mut self) -> Option<&mut Established> {
        None
    }
}

/// How an IKE SA ends that somebody asked to end.
#[derive(Clone, Debug)]
pub struct End {
    /// Whether the peer still has it and is told.
    pub tell_peer: bool,
    /// Why.
    pub fate: Fate,
}

/// One IKE SA.
pub struct IkeSa {
    common: Common,
    /// `None` only within a step.
    stage: Option<Next>,
}

impl IkeSa {
    pub(crate) fn new(common: Common, stage: Next) -> Self {
        Self { common, stage: Some(stage) }
    }

    /// Takes in a datagram that carries our SPI of this IKE SA.
    pub fn datagram(&mut self, cx: &mut Cx<'_>, path: Path, header: Header, bytes: &mut [u8]) {
        self.step(cx, |stage, sa, cx| stage.datagram(sa, cx, Datagram { path, header, bytes }));
    }

    /// Takes in what came of a job of this IKE SA.
    pub fn answer(&mut self, cx: &mut Cx<'_>, job: JobId, answer: Answer) {
        self.step(cx, |stage, sa, cx| stage.answer(sa, cx, job, answer));
    }

    /// The moment of [`IkeSa::wake`] has come.
    pub fn time(&mut self, cx: &mut Cx<'_>) {
        self.step(cx, |stage, sa, cx| stage.time(sa, cx));
    }

    /// Ends it.
    pub fn close(&mut self, cx: &mut Cx<'_>, end: End) {
        self.step(cx, |stage, sa, cx| stage.close(sa, cx, end));
    }

    /// Brings children up, now or when it is established.
    pub fn wish(&mut self, cx: &mut Cx<'_>, wish: Wish) {
        self.common.wishes.push(wish);
        self.on_established(cx, |_, _, _| ());
    }

    /// Deletes the child SAs of that name; how many there are.
    pub fn close_child(&mut self, cx: &mut Cx<'_>, name: &str) -> usize {
        let mut count = 0;
        self.on_established(cx, |stage, sa, cx| count = stage.close_child(sa, cx, name));
        count
    }

    /// The SPI that we drew for another IKE SA, whose messages come here until it stands for itself.
    pub fn rival_spi(&self) -> Option<IkeSpi> {
        self.stage.as_ref()?.rival_spi()
    }

    /// A child has carried as much as it may; `hard`: it carries nothing any more.
    pub fn wear_out(&mut self, cx: &mut Cx<'_>, child: ChildId, hard: bool) {
        self.on_established(cx, |stage, sa, cx| stage.wear_out(sa, cx, child, hard));
    }

    /// The peer uses a child that does not carry what we send yet. One that has a successor, or is about to get it, does not take
    /// its turn again.
    pub fn use_child(&mut self, cx: &mut Cx<'_>, child: ChildId) {
        let id = self.common.id;
        self.on_established(cx, |stage, _, cx| {
            if stage.is_latest(child) {
                cx.out.dataplane(id, Op::Use(child));
            }
        });
    }

    /// Gives a child new keys, or all of that name; how many there are.
    pub fn rekey_child(&mut self, cx: &mut Cx<'_>, name: &str) -> usize {
        let mut count = 0;
        self.on_established(cx, |stage, _, _| count = stage.order_child_rekey(name));
        count
    }

    /// Gives the IKE SA new keys; `false` when it is not established.
    pub fn rekey(&mut self, cx: &mut Cx<'_>) -> bool {
        self.on_established(cx, |stage, _, _| stage.order_rekey())
    }

    /// Makes another IKE SA beside it, with the children that are wished for (RFC 7791).
    pub fn clone_ike(&mut self, cx: &mut Cx<'_>, wish: Wish) {
        self.on_established(cx, |stage, _, cx| stage.order_clone(cx, wish));
    }

    /// Another IKE SA has taken its place, and the peer, which began both, is changing over to that: it ends after a while.
    /// `false` when it does not stand, or we began it.
    pub fn retire(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut stays = false;
        self.on_established(cx, |stage, _, cx| {
            stays = stage.proved_as == Side::Responder;
            if stays {
                stage.leave_after(cx, limits::SUCCESSION);
            }
        });
        stays
    }

    /// Sends the client on to another gateway (RFC 5685); `false` when the peer is none, or does not follow.
    pub fn redirect(&mut self, cx: &mut Cx<'_>, to: &Gateway) -> bool {
        let mut done = false;
        self.on_established(cx, |stage, _, cx| done = stage.redirect(cx, to));
        done
    }

    /// The IKE SA that it is to replace.
    pub fn succeeds(&self) -> Option<IkeSaId> {
        self.common.origin.succeeds
    }

    /// It takes the place of `ike`, which has these children; `false` when it has asked for all of them.
    pub fn carry_over(&mut self, cx: &mut Cx<'_>, ike: IkeSaId, children: &[String]) -> bool {
        let mut waits = false;
        self.on_established(cx, |stage, sa, _| waits = stage.carry_over(sa, ike, children));
        waits
    }

    /// Its name.
    pub fn id(&self) -> IkeSaId {
        self.common.id
    }

    /// Asks the peer for a sign of life; `false` when it is not established.
    pub fn probe(&mut self, cx: &mut Cx<'_>, order: Option<OrderId>) -> bool {
        self.on_established(cx, |stage, sa, cx| stage.probe(sa, cx, order))
    }

    /// Something unprotected says that the peer has forgotten this IKE SA.
    pub fn provoke(&mut self, cx: &mut Cx<'_>) {
        cx.reach(Branch::CrashHint);
        self.on_established(cx, |stage, _, cx| stage.provoke(cx.now.mono));
    }

    /// An unprotected message: where it shows by its token that the peer has forgotten this IKE SA, that ends (RFC 6290).
    pub fn crash(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8]) {
        //= rfc6290 §4
        //# if the IKE SPIs in the message do not match any existing IKE SA, it SHOULD log the event
        if (header.spi_i, header.spi_r) != (self.common.spi_i, self.common.spi_r) {
            return;
        }
        let Some(stage) = self.stage.as_mut().and_then(|stage| stage.established()) else { return };
        if stage.is_forgotten(bytes) {
            cx.reach(Branch::CrashToken);
            self.close(cx, End { tell_peer: false, fate: Fate::Crashed });
        }
    }

    /// What it rests on is no longer in force: nobody takes it up again by a ticket.
    pub fn bar_tickets(&mut self, cx: &mut Cx<'_>) {
        self.on_established(cx, |stage, _, _| stage.bar_tickets());
    }

    /// Whether a deletion of children waits for the peer.
    pub fn is_deleting_children(&mut self) -> bool {
        self.stage.as_mut().and_then(|stage| stage.established()).is_some_and(|stage| stage.is_deleting())
    }

    /// An authentic packet of a child SA, its newest, came from elsewhere.
    pub fn moved(&mut self, cx: &mut Cx<'_>, remote: std::net::SocketAddr) {
        self.on_established(cx, |stage, sa, cx| {
            let path = Path { remote, ..sa.path };
            move_path::follow(stage, sa, cx, path);
        });
    }

    /// The host's addresses, links or routes have changed.
    pub fn readdress(&mut self, cx: &mut Cx<'_>) {
        self.on_established(cx, move_path::on_addresses);
    }

    /// ESP came from where the peer is, with an SPI that no child has.
    pub fn tell_unknown_spi(&mut self, cx: &mut Cx<'_>, spi: EspSpi) {
        self.on_established(cx, |stage, _, cx| stage.tell_unknown_spi(cx, spi));
    }

    /// When to call [`IkeSa::time`], and why.
    pub fn wake(&self) -> Option<(Instant, Reason)> {
        self.stage.as_ref()?.wake(&self.common)
    }

    /// Whether nothing is left of it.
    pub fn is_gone(&self) -> bool {
        self.stage.as_ref().is_none_or(|stage| stage.is_gone())
    }

    /// Whether it is over, and only kept for requests that come again.
    pub fn is_over(&self) -> bool {
        self.stage.as_ref().is_none_or(|stage| stage.is_over())
    }

    /// Whether it is a responder's whose peer is not authenticated yet.
    pub fn is_half_open(&self) -> bool {
        self.stage.as_ref().is_some_and(|stage| stage.is_half_open())
    }

    /// Whether it can carry further children, now or soon.
    pub fn is_usable(&self) -> bool {
        self.stage.as_ref().is_some_and(|stage| !stage.is_gone() && stage.name() != "deleting")
    }

    /// Whether both sides have proved who they are, and neither is leaving.
    pub fn is_established(&mut self) -> bool {
        self.stage.as_mut().is_some_and(|stage| stage.established().is_some())
    }

    /// It stands without the address that it needs, and another one is to ask anew: it ends.
    pub fn make_room(&mut self, cx: &mut Cx<'_>) {
        cx.reach(Branch::LeaseSought);
        self.close(cx, End { tell_peer: true, fate: Fate::Replaced });
    }

    /// Whether it has not got the address that it was to ask for, and is of no use without: nothing hangs on it.
    //= rfc7296 §3.15.4
    //# If the initiator does not receive the IP address(es) required by its policy, it MAY keep the IKE SA up […], or it MAY
    //# tear down the IKE SA by sending a Delete payload inside a separate INFORMATIONAL exchange and later retry IKE SA from
    //# the beginning after some timeout.
    pub fn lacks_address(&self, wanted: &Configuration) -> bool {
        let known =
            self.stage.as_ref().filter(|stage| stage.name() == "established").map(|stage| stage.known());
        let empty = |known: &Known<'_>| known.children.is_empty() && known.leases.is_some_and(Leases::lacks);
        let asks = wanted.asks() && self.common.side == Side::Initiator;
        asks && known.is_some_and(|known| empty(&known))
    }

    /// The SPI that we drew.
    pub fn local_spi(&self) -> IkeSpi {
        match self.common.side {
            Side::Initiator => self.common.spi_i,
            Side::Responder => self.common.spi_r,
        }
    }

    /// The peer's SPI, zero when it is not known.
    pub fn remote_spi(&self) -> IkeSpi {
        match self.common.side {
            Side::Initiator => self.common.spi_r,
            Side::Responder => self.common.spi_i,
        }
    }

    /// Where the peer is.
    pub fn path(&self) -> Path {
        self.common.path
    }

    /// The name of its connection, once that is known.
    pub fn connection(&self) -> Option<&str> {
        let known = self.stage.as_ref()?.known();
        known.connection.map(|connection| connection.name.as_str())
    }

    /// The names of its child SAs.
    pub fn children(&self) -> Vec<String> {
        let known = self.stage.as_ref().map(|stage| stage.known());
        known.map_or(Vec::new(), |known| known.children.iter().map(|child| child.name.clone()).collect())
    }

    /// Whether a child SA of that name stands, and carries that packet, if one is named.
    pub fn carries(&self, name: &str, packet: Option<&Packet>) -> bool {
        let known = self.stage.as_ref().map(|stage| stage.known());
        known.is_some_and(|known| {
            known.children.iter().any(|child| child.name == name && packet.is_none_or(|p| child.carries(p)))
        })
    }

    /// Whether a child SA of it sends with that SPI.
    pub fn sends_by(&self, spi: EspSpi) -> bool {
        let known = self.stage.as_ref().map(|stage| stage.known());
        known.is_some_and(|known| known.children.iter().any(|child| child.agreed.spi_out == spi))
    }

    /// Whether it is an initiator's that nobody has answered yet.
    pub fn is_calling(&self) -> bool {
        self.common.side == Side::Initiator && self.common.spi_r == IkeSpi::ZERO && !self.is_gone()
    }

    /// How its connection treats older IKE SAs with the same peer, once it is known.
    pub fn unique(&self) -> Option<Unique> {
        Some(self.stage.as_ref()?.known().connection?.unique)
    }

    /// Takes out the orders that wait for it.
    pub fn take_wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.common.wishes)
    }

    /// Its child SAs, as the data plane knows them.
    pub fn child_ids(&self) -> Vec<ChildId> {
        let known = self.stage.as_ref().map(|stage| stage.known());
        known.map_or(Vec::new(), |known| known.children.iter().map(|child| child.id).collect())
    }

    /// For `status`.
    pub fn status(&self, now: Instant) -> Option<IkeStatus> {
        let stage = self.stage.as_ref().filter(|stage| !stage.is_over())?;
        let (sa, known) = (&self.common, stage.known());
        let (local_auth, remote_auth) = known.proven();
        Some(IkeStatus {
            id: sa.id,
            connection: known.connection.map_or(String::new(), |connection| connection.name.clone()),
            side: sa.side,
            spi_i: sa.spi_i,
            spi_r: sa.spi_r,
            state: stage.name(),
            path: sa.path,
            local_id: known.local_id(),
            remote_id: known.remote_id(),
            local_auth,
            remote_auth,
            suite: known.suite,
            post_quantum: known.post_quantum(),
            full_transcript: known.full_transcript,
            nat_local: known.nat_local,
            nat_remote: known.nat_remote,
            fragmentation: known.fragmentation,
            resumed: known.resumed,
            ticket: known.ticket,
            age: now.since(sa.born),
            idle: now.since(sa.heard),
            received: known.leases.and_then(Leases::received).cloned(),
            leased: known.leases.map_or(Vec::new(), |leases| leases.leased().to_vec()),
            children: known.children.iter().map(|child| child.status(now)).collect(),
        })
    }

    fn step(&mut self, cx: &mut Cx<'_>, with: impl FnOnce(Next, &mut Common, &mut Cx<'_>) -> Next) {
        if let Some(stage) = self.stage.take() {
            self.stage = Some(with(stage, &mut self.common, cx));
        }
    }

    /// Does something with the established stage, then whatever its queue allows.
    fn on_established(
        &mut self,
        cx: &mut Cx<'_>,
        with: impl FnOnce(&mut Established, &mut Common, &mut Cx<'_>),
    ) -> bool {
        let Some(established) = self.stage.as_mut().and_then(|stage| stage.established()) else {
            return false;
        };
        with(established, &mut self.common, cx);
        established.go_on(&mut self.common, cx);
        true
    }
}

impl Common {
    /// The packet that wants a child of that name.
    pub(crate) fn packet(&self, name: &str) -> Option<Packet> {
        self.wishes
            .iter()
            .filter(|wish| wish.open.iter().any(|open| open == name))
            .find_map(|wish| wish.packet(name))
    }

    /// The facts of this IKE SA for the log.
    pub(crate) fn facts(&self, known: &Known<'_>, now: Instant) -> IkeFacts {
        let (local_auth, remote_auth) = known.proven();
        IkeFacts {
            ike: self.id,
            connection: known.connection.map_or(String::new(), |connection| connection.name.clone()),
            side: self.side,
            spi_i: self.spi_i,
            spi_r: self.spi_r,
            path: self.path,
            local_id: known.local_id(),
            remote_id: known.remote_id(),
            local_auth,
            remote_auth,
            suite: known.suite,
            post_quantum: known.post_quantum(),
            age: now.since(self.born),
        }
    }

    /// An IKE SA that never came up ends: whoever wished for it hears why, and so does the log.
    pub(crate) fn give_up(&mut self, cx: &mut Cx<'_>, known: &Known<'_>, fate: Fate) {
        let refusal = match &fate {
            Fate::Refused(refusal) => {
                let refusal = refusal.clone();
                cx.out.tell(Event::Refused { ike: Some(self.id), path: self.path, refusal: refusal.clone() });
                refusal
            }
            other => {
                refusal_of(other, self.path, known.connection.map(|connection| connection.name.as_str()))
            }
        };
        for wish in std::mem::take(&mut self.wishes) {
            cx.out.reply(wish.order, Reply::Refused(refusal.clone()));
        }
        cx.out.tell(Event::IkeDown(self.facts(known, cx.now.mono), fate));
        cx.out.disown(self.id);
    }
}

/// Nothing is left.
pub(crate) struct Gone;

impl Stage for Gone {
    fn name(&self) -> &'static str {
        "deleting"
    }
    fn known(&self) -> Known<'_> {
        Known::default()
    }
    fn datagram(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: Datagram<'_>) -> Next {
        self
    }
    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }
    fn time(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>) -> Next {
        self
    }
    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        None
    }
    fn close(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: End) -> Next {
        self
    }
    fn is_gone(&self) -> bool {
        true
    }
}
