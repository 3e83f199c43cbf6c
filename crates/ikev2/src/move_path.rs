//! The path of an IKE SA and its children changes: by a NAT (RFC 7296 §2.23), or because a host's addresses do (MOBIKE,
//! RFC 4555). "Initiator" is here who began the first of the IKE SAs that took each other's places: it decides.
//!
//! ```text
//!   initiator                                              responder
//!   an address, link or route changes, the path is dead, or the NAT gives another mapping
//!   INFORMATIONAL  SK{N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_*), N(COOKIE2), N(ADDITIONAL_*_ADDRESS)} -->
//!                     <--  SK{N(NAT_DETECTION_*), N(COOKIE2)}        or  SK{N(UNACCEPTABLE_ADDRESSES)}
//!                     <--  INFORMATIONAL  SK{N(COOKIE2)}             return routability; then its children move
//!   SK{N(COOKIE2)} -->
//!
//!   its addresses change (either side)
//!   INFORMATIONAL  SK{N(ADDITIONAL_*_ADDRESS) or N(NO_ADDITIONAL_ADDRESSES)} -->
//!                     <--  SK{}
//! ```
//!
//! `choose` decides, `respond` is what the peer asks.

pub(crate) mod choose;
mod respond;

pub(crate) use respond::{Verify, begin_verify, on_request, on_verified};

use crate::child::ChildSa;
use crate::contents::Contents;
use crate::established::{After, Asked, Asking, Established, Task};
use crate::ext::{self, Agreed, Nat, mobike};
use crate::{Common, Cx, limits};
use base::MessageId;
use choose::{Choice, Ways};
use crypto::Spis;
use dataplane::{Mode, Op};
use policy::{Connection, EncapChoice};
use sa::{Branch, Fate, Job, JobId, Path, Side};
use std::net::{IpAddr, SocketAddr};
use wire::num::{ExchangeType, NotifyType};
use wire::{Notify, Payload};

/// What an IKE SA knows of addresses beside its path.
pub(crate) struct Mobility {
    /// With a peer that speaks MOBIKE.
    mobike: Option<Mobike>,
    /// The newest request and the newest response that came: an older one that arrives late says nothing of where the
    /// peer is now.
    newest: [Option<MessageId>; 2],
}

/// The state of RFC 4555.
#[derive(Clone)]
struct Mobike {
    /// Who decides on the path.
    side: Side,
    /// Where the peer can be reached, as it says.
    peer: Vec<IpAddr>,
    /// Our further addresses, as the peer knows them; `None` where it has not taken them.
    told: Option<Vec<IpAddr>>,
    /// The newest request of the peer that told addresses or moved.
    heard: Option<MessageId>,
    /// Addresses at which the peer has shown to be.
    proven: Vec<IpAddr>,
    /// The path that the children take.
    children_at: Path,
    /// The path on which both ends agreed last.
    agreed: Path,
    /// How the peer sees us: its last NAT_DETECTION_DESTINATION_IP.
    seen_as: Option<Vec<u8>>,
    /// Routes that are being looked up, and whether that is because the path seems dead.
    looking: Option<(JobId, bool)>,
    /// Other paths by which requests go out as well, because the path seems dead.
    trial: Vec<Path>,
    /// Paths that the peer has refused, until our addresses change.
    refused: Vec<Path>,
    /// UNEXPECTED_NAT_DETECTED in a row.
    setbacks: u32,
}

/// An UPDATE_SA_ADDRESSES that we have sent.
pub(crate) struct Update {
    path: Path,
    /// The path before.
    before: Path,
    cookie: Vec<u8>,
}

impl Mobility {
    pub(crate) fn new(sa: &Common, cx: &Cx<'_>, agreed: &Agreed, connection: &Connection) -> Self {
        let mobike = agreed.mobike.clone().map(|peer| Mobike {
            side: sa.side,
            peer,
            told: Some(mobike::own_addresses(cx.addresses, connection, sa.path.local.ip())),
            heard: None,
            proven: vec![sa.path.remote.ip()],
            children_at: sa.path,
            agreed: sa.path,
            seen_as: None,
            looking: None,
            trial: Vec::new(),
            refused: Vec::new(),
            setbacks: 0,
        });
        Self { mobike, newest: [None, None] }
    }

    /// Another IKE SA has taken the place of this one: message ids begin anew, and SPIs are part of what NAT detection says.
    pub(crate) fn renew(&mut self) {
        self.newest = [None, None];
        if let Some(mobike) = &mut self.mobike {
            (mobike.heard, mobike.seen_as) = (None, None);
        }
    }

    /// For another IKE SA beside this one: it moves by itself from here on.
    pub(crate) fn beside(&self) -> Self {
        let mobike = self.mobike.clone().map(|mobike| Mobike { looking: None, trial: Vec::new(), ..mobike });
        let mut beside = Self { mobike, newest: [None, None] };
        beside.renew();
        beside
    }

    /// Whether both may change their addresses.
    pub(crate) fn is_mobile(&self) -> bool {
        self.mobike.is_some()
    }

    fn initiator(&mut self) -> Option<&mut Mobike> {
        self.mobike.as_mut().filter(|mobike| mobike.side == Side::Initiator)
    }

    /// Notes a message; whether none came before it that was sent later.
    fn is_newest(&mut self, response: bool, id: MessageId) -> bool {
        let newest = &mut self.newest[usize::from(response)];
        let is_newest = newest.is_none_or(|newest| id > newest);
        if is_newest {
            *newest = Some(id);
        }
        is_newest
    }
}

/// An authentic message of the peer has come; `response`: to a request of ours.
//= rfc4555 §3.8
//# The host not behind a NAT MUST NOT use these dynamic updates for IKEv2 packets, but MAY use them for ESP packets.
pub(crate) fn on_message(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    path: Path,
    (response, id): (bool, MessageId),
) {
    let is_newest = of.mobility.is_newest(response, id);
    let Some(mobike) = &mut of.mobility.mobike else {
        if is_newest {
            follow(of, sa, cx, path);
        }
        return;
    };
    if !response || mobike.trial.is_empty() {
        return;
    }
    let trial = std::mem::take(&mut mobike.trial);
    // A response that came by another path than the one in use: that one works.
    if let Some(works) = trial.into_iter().find(|trial| {
        trial.local.ip() == path.local.ip() && trial.remote.ip() == path.remote.ip() && path != sa.path
    }) {
        cx.reach(Branch::MoveTrialWorks);
        go_to(of, sa, cx, works);
    }
}

/// The peer's address has changed on its way through a NAT; something authentic came from there.
//= rfc7296 §2.23
//# a host that is not behind a NAT SHOULD send all packets (including retransmissions) to the IP address and
//# port from the last valid authenticated packet from the other end
pub(crate) fn follow(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, path: Path) {
    if path == sa.path || !of.nat.remote || path.local.ip() != sa.path.local.ip() {
        return;
    }
    // ESP in UDP stays on port 4500, wherever a message of IKE comes from.
    if sa.path.marked && !path.marked {
        return;
    }
    cx.reach(Branch::MoveMapping);
    cx.note(sa.id, format!("The peer is now at {} instead of {}.", path.remote, sa.path.remote));
    let before = std::mem::replace(&mut sa.path, path);
    if let Some(mobike) = &mut of.mobility.mobike {
        let known = mobike.peer.iter_mut().filter(|known| **known == before.remote.ip());
        known.for_each(|known| *known = path.remote.ip());
    }
    move_children(of, sa, cx);
}

/// All children take the IKE SA's path.
fn move_children(of: &mut Established, sa: &Common, cx: &mut Cx<'_>) {
    let Path { local, remote, marked } = sa.path;
    let mobile = of.mobility.is_mobile();
    let udp_encap = of.nat.encapsulates() && marked;
    if let Some(mobike) = &mut of.mobility.mobike {
        mobike.children_at = sa.path;
    }
    let installing = of.installing.iter_mut().map(|installing| &mut installing.child);
    let answering = of.answering.iter_mut().map(|answering| &mut answering.child);
    let retired = of.retired.iter_mut().map(|retired| &mut retired.child);
    for child in of.children.iter_mut().chain(retired).chain(installing).chain(answering) {
        if !mobile && !child.udp_encap {
            continue;
        }
        if mobile {
            child.udp_encap = udp_encap;
        }
        let udp_encap = child.udp_encap;
        let port = |address: SocketAddr| if udp_encap { address } else { SocketAddr::new(address.ip(), 0) };
        let (local, remote) = (port(local), port(remote));
        cx.out.dataplane(sa.id, Op::Move { id: child.id, local, remote, udp_encap });
    }
}

/// A child of transport mode carries what its two addresses exchange: it does not go along when one of them changes.
//= rfc4555 §1.1
//# [MOBIKE is for] tunnel mode
fn leave_behind(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, before: Path) {
    let ends = |path: Path| (path.local.ip(), path.remote.ip());
    if ends(before) == ends(sa.path) {
        return;
    }
    let is_bound = |child: &ChildSa| child.agreed.mode == Mode::Transport;
    let bound: Vec<_> = of.children.iter().filter(|child| is_bound(child)).map(|child| child.id).collect();
    for id in bound {
        of.end_child(sa, cx, id, sa::Fate::Expired);
    }
}

/// The host's addresses, links or routes have changed.
pub(crate) fn on_addresses(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>) {
    let Some(mobike) = &mut of.mobility.mobike else { return };
    mobike.refused.clear();
    mobike.setbacks = 0;
    match mobike.side {
        Side::Initiator => look_up(of, sa, cx, false),
        //= rfc4555 §3.5
        //# If the source address that the responder is currently using becomes unavailable […], the responder is allowed to
        //# update the IPsec SAs to use some other address
        Side::Responder if !cx.addresses.contains(&sa.path.local.ip()) => look_up(of, sa, cx, false),
        Side::Responder => tell_addresses(of, sa, cx),
    }
}

/// Asks by which of our addresses each of the peer's is reached.
fn look_up(of: &mut Established, sa: &Common, cx: &mut Cx<'_>, seems_dead: bool) {
    let Some(mobike) = &mut of.mobility.mobike else { return };
    let current = sa.path.remote.ip();
    let mut remotes = mobike.peer.clone();
    // The one in use comes first, as long as it is one of the peer's.
    remotes.sort_by_key(|remote| *remote != current);
    mobike.looking = Some((cx.out.job(sa.id, Job::Route { remotes }), seems_dead));
}

/// The routes are known.
pub(crate) fn on_routes(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    job: JobId,
    routes: &[(IpAddr, Option<IpAddr>)],
) {
    let connection = of.chosen.connection.clone();
    let Some(mobike) = &mut of.mobility.mobike else { return };
    let Some((_, seems_dead)) = mobike.looking.take_if(|(looking, _)| *looking == job) else { return };
    let ways = Ways {
        current: sa.path,
        own: cx.addresses,
        routes,
        may_use: &connection.local_addrs,
        refused: &mobike.refused,
    };
    match ways.choose() {
        Choice::Go(path) => go_to(of, sa, cx, path),
        Choice::Stay if seems_dead => {
            let others: Vec<Path> = ways.all().into_iter().filter(|path| *path != sa.path).collect();
            try_paths(of, sa, cx, others);
        }
        Choice::Stay => tell_addresses(of, sa, cx),
        Choice::Nowhere => {
            cx.reach(Branch::MoveNowhere);
            let peer = sa.path.remote.ip();
            cx.note(
                sa.id,
                format!("No path leads to the peer {peer} now; a change of our addresses is waited for."),
            );
        }
    }
}

/// A request was sent again: from some time on that means that the path is dead.
//= rfc4555 §3.5
//# An IKEv2 request has been re-transmitted several times, but no valid reply has been received. This suggests the
//# current path is no longer working.
pub(crate) fn on_resent(of: &mut Established, sa: &Common, cx: &mut Cx<'_>, sent: u32) {
    if sent >= limits::SUSPECT_AFTER && of.mobility.initiator().is_some() {
        look_up(of, sa, cx, true);
    }
}

/// Sends what waits for a response by other paths too: whichever answers works.
//= rfc4555 §3.10
//# the initiator can use normal IKEv2 INFORMATIONAL request/response messages to test whether a certain path works
fn try_paths(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, others: Vec<Path>) {
    let Some(mobike) = of.mobility.initiator() else { return };
    if others.is_empty() || of.asking.is_empty() {
        return;
    }
    if mobike.trial != others {
        let list: Vec<String> = others.iter().map(ToString::to_string).collect();
        cx.reach(Branch::MoveTrial);
        cx.note(sa.id, format!("The peer does not answer; we try other paths too: {}.", list.join(", ")));
    }
    for asking in &of.asking {
        for path in &others {
            asking.request.send_also(sa, cx, *path);
        }
    }
    mobike.trial = others;
}

/// Takes another path.
//= rfc4555 §3.5
//# Updates the IKE_SA with the new addresses, and sets the "pending_update" flag in the IKE_SA.
fn go_to(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, path: Path) {
    let before = std::mem::replace(&mut sa.path, path);
    let Some(mobike) = &mut of.mobility.mobike else { return };
    mobike.trial.clear();
    cx.reach(Branch::MoveBegun);
    cx.note(sa.id, format!("Our path to the peer is now {path} instead of {before}."));
    let decides = mobike.side == Side::Initiator;
    //= rfc4555 §3.5
    //# Updates the IPsec SAs associated with this IKE_SA with the new addresses (unless the initiator's policy requires a
    //# return routability check before updating the IPsec SAs, and the check has not been done for this responder address)
    let is_proven = mobike.proven.contains(&path.remote.ip());
    if is_proven {
        if decides && of.nat.supported && choose::is_nat_likely(path) {
            of.nat.local = true;
        }
        leave_behind(of, sa, cx, before);
        move_children(of, sa, cx);
    }
    resend(of, sa, cx);
    if decides {
        queue_update(of);
    } else {
        if !is_proven {
            queue_verify(of);
        }
        //= rfc4555 §3.6
        //# If the exchange initiator has only a single IP address, it is placed in the IP header
        if let Some(mobike) = &mut of.mobility.mobike {
            // The header tells the address in use: the list is told also where it is as before.
            mobike.told = None;
        }
        tell_addresses(of, sa, cx);
    }
}

//= rfc4555 §3.5
//# If there are outstanding IKEv2 requests […], continues retransmitting them using the addresses in the IKE_SA (the new
//# addresses).
fn resend(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>) {
    for asking in &mut of.asking {
        asking.request.resend(sa, cx);
    }
}

fn queue_update(of: &mut Established) {
    if !of.is_queued(|task| matches!(task, Task::Update)) {
        of.queue_first(Task::Update);
    }
}

fn queue_verify(of: &mut Established) {
    if !of.is_queued(|task| matches!(task, Task::Verify)) {
        of.queue_first(Task::Verify);
    }
}

/// Tells the peer our further addresses, when they are not those that it knows.
//= rfc4555 §3.6
//# there are no separate add/delete operations; instead, the complete list is sent every time these notifications are used
fn tell_addresses(of: &mut Established, sa: &Common, cx: &mut Cx<'_>) {
    let payloads = further_addresses(of, sa, cx);
    if !payloads.is_empty() {
        let forbids = (!of.nat.supported).then(|| mobike::no_nats_allowed(sa.path));
        of.tell_first(payloads.into_iter().chain(forbids).collect());
    }
}

/// Our further addresses as notifications; nothing when the peer knows them.
fn further_addresses(of: &mut Established, sa: &Common, cx: &Cx<'_>) -> Vec<Payload<'static>> {
    let used = sa.path.local.ip();
    let further = mobike::own_addresses(cx.addresses, &of.chosen.connection, used);
    match &mut of.mobility.mobike {
        Some(mobike) if mobike.told.as_ref() != Some(&further) => mobike.told = Some(further.clone()),
        _ => return Vec::new(),
    }
    //= rfc4555 §3.6
    //# If the exchange initiator has only a single IP address, it is placed in the IP header, and the message contains the
    //# NO_ADDITIONAL_ADDRESSES notification.
    if further.is_empty() {
        return vec![Payload::Notify(Notify::new(NotifyType::NO_ADDITIONAL_ADDRESSES, Vec::new()))];
    }
    further.into_iter().map(mobike::additional).collect()
}

/// NAT_DETECTION_* for a message on this path, where the peer speaks NAT traversal.
fn nat_payloads(of: &Established, sa: &Common, cx: &mut Cx<'_>, path: Path) -> Vec<Payload<'static>> {
    if !of.nat.supported {
        return Vec::new();
    }
    let encap = of.chosen.connection.encap;
    ext::nat_payloads(cx.suite, cx.rng, spis(sa), path, encap).into()
}

/// What a message says of NATs on its path, where it says something.
fn heed_nat(of: &mut Established, sa: &Common, cx: &Cx<'_>, path: Path, contents: &Contents<'_>) {
    if !of.nat.supported {
        return;
    }
    let forced = of.chosen.connection.encap == EncapChoice::Force;
    if let Some(nat) = ext::read_nat(cx.suite, spis(sa), path, contents) {
        of.nat = Nat { forced, ..nat };
    }
}

fn spis(sa: &Common) -> Spis {
    Spis { initiator: sa.spi_i, responder: sa.spi_r }
}

fn cookie(cx: &mut Cx<'_>) -> (Vec<u8>, Payload<'static>) {
    let octets = cx.random(limits::COOKIE2_LEN);
    (octets.clone(), Payload::Notify(Notify::new(NotifyType::COOKIE2, octets)))
}

/// Tells the responder the path in use.
//= rfc4555 §3.5
//# When the window size allows, sends an INFORMATIONAL request containing the UPDATE_SA_ADDRESSES notification (which does
//# not contain any data), and clears the "pending_update" flag.
pub(crate) fn begin_update(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>) -> Option<Asking> {
    let path = sa.path;
    let before = of.mobility.initiator()?.agreed;
    let (cookie, cookie2) = cookie(cx);
    let mut payloads = vec![Payload::Notify(Notify::new(NotifyType::UPDATE_SA_ADDRESSES, Vec::new()))];
    payloads.extend(nat_payloads(of, sa, cx, path));
    if !of.nat.supported {
        payloads.push(mobike::no_nats_allowed(path));
    }
    payloads.push(cookie2);
    payloads.extend(further_addresses(of, sa, cx));
    let request = of.channel.ask(sa, cx, ExchangeType::INFORMATIONAL, &payloads)?;
    cx.reach(Branch::MoveUpdate);
    Some(Asking { request, what: Asked::Update(Box::new(Update { path, before, cookie })) })
}

/// The responder has taken the path, or refuses it.
pub(crate) fn on_updated(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    update: &Update,
    contents: &Contents<'_>,
) -> After {
    let refused = contents.has(NotifyType::UNACCEPTABLE_ADDRESSES);
    let nat = contents.has(NotifyType::UNEXPECTED_NAT_DETECTED);
    let told = contents.notify(NotifyType::COOKIE2).map(|notify| &notify.data[..]);
    if told.is_none_or(|told| told != update.cookie) && !((refused || nat) && told.is_none()) {
        return wrong_cookie();
    }
    let path = sa.path;
    let Some(mobike) = of.mobility.initiator() else { return After::Stay };
    //= rfc4555 §3.5
    //# If an address change has occurred after the request was first sent, no MOBIKE processing is done for the reply
    //# message because a new UPDATE_SA_ADDRESSES is going to be sent
    if update.path != path {
        queue_update(of);
        return After::Stay;
    }
    //= rfc4555 §3.9
    if nat && mobike.setbacks < limits::NAT_RETRIES {
        mobike.setbacks += 1;
        queue_update(of);
        return After::Stay;
    }
    if refused || nat {
        refused_path(of, sa, cx, update, if nat { "there is a NAT on it" } else { "its policy forbids it" });
        return After::Stay;
    }
    (mobike.setbacks, mobike.agreed) = (0, path);
    mobike.seen_as = ext::nat_destination(contents);
    note_proven(mobike, path.remote.ip());
    let before = mobike.children_at;
    heed_nat(of, sa, cx, path, contents);
    leave_behind(of, sa, cx, before);
    move_children(of, sa, cx);
    After::Stay
}

/// The peer has heard something. Where it has seen a NAT that we do not allow, it has not taken our addresses.
//= rfc4555 §3.9
//# If the exchange initiator receives an UNEXPECTED_NAT_DETECTED notification in response to its INFORMATIONAL request, it
//# SHOULD retry the operation several times using new INFORMATIONAL requests.
pub(crate) fn on_told(of: &mut Established, sa: &Common, cx: &mut Cx<'_>, contents: &Contents<'_>) {
    let Some(mobike) = &mut of.mobility.mobike else { return };
    if contents.has(NotifyType::UNEXPECTED_NAT_DETECTED) && mobike.setbacks < limits::NAT_RETRIES {
        mobike.setbacks += 1;
        mobike.told = None;
        tell_addresses(of, sa, cx);
    }
}

/// Back to the path before, if it is still there, and to the next best one.
//= rfc4555 §3.5
//# If the response contains an UNACCEPTABLE_ADDRESSES notification, the initiator MAY select another addresses and retry
//# the exchange, keep on using the previously used addresses, or disconnect.
fn refused_path(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, update: &Update, why: &str) {
    let Some(mobike) = of.mobility.initiator() else { return };
    cx.note(sa.id, format!("The peer does not take the path {}: {why}.", update.path));
    if mobike.refused.len() < limits::MAX_ADDRESSES {
        mobike.refused.push(update.path);
        if cx.addresses.contains(&update.before.local.ip()) {
            sa.path = update.before;
            move_children(of, sa, cx);
        }
        look_up(of, sa, cx, false);
    }
}

fn note_proven(mobike: &mut Mobike, address: IpAddr) {
    if !mobike.proven.contains(&address) {
        if mobike.proven.len() >= limits::MAX_ADDRESSES {
            mobike.proven.remove(0);
        }
        mobike.proven.push(address);
    }
}

//= rfc4555 §3.7
//# If the values do not match, the IKE_SA MUST be closed.
fn wrong_cookie() -> After {
    let what = "the peer's COOKIE2 is not the one that it was sent (RFC 4555 §3.7)";
    After::Close(Fate::Fault(what.to_string()))
}

/// What a probe says besides: behind a NAT, how the peer sees us is asked.
//= rfc4555 §3.8
//# When the initiator is behind a NAT […], it SHOULD include these notifications in DPD messages and compare the received
//# NAT_DETECTION_DESTINATION_IP notifications with the value from the previous UPDATE_SA_ADDRESSES response
pub(crate) fn probe_payloads(of: &mut Established, sa: &Common, cx: &mut Cx<'_>) -> Vec<Payload<'static>> {
    match of.mobility.initiator() {
        Some(_) if of.nat.local => nat_payloads(of, sa, cx, sa.path),
        _ => Vec::new(),
    }
}

/// The answer to a probe: the NAT may have given us another address.
//= rfc4555 §3.8
//# If the values do not match, the IP address and/or port seen by the responder has changed, and the initiator SHOULD send
//# UPDATE_SA_ADDRESSES
pub(crate) fn on_probed(of: &mut Established, cx: &mut Cx<'_>, contents: &Contents<'_>) {
    let Some(mobike) = of.mobility.initiator() else { return };
    let seen_as = ext::nat_destination(contents);
    if seen_as.is_some() && seen_as != mobike.seen_as {
        cx.reach(Branch::MoveSeenOtherwise);
        queue_update(of);
    }
}
