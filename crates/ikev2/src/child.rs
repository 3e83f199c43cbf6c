//! Child SAs: what is proposed, what is decided, what is installed. IKE_AUTH and CREATE_CHILD_SA
//! both make them of this.

mod refused;

pub(crate) use refused::{refused_by_peer, refused_in_create, spell};

use crate::contents::{self, Contents};
use crate::established::{ChildDues, lifetimes};
use crate::ext::Nat;
use crate::fresh_ppk::Primed;
use crate::idle::Used;
use crate::ike_sa::Packet;
use crate::transport::{self, Substituted};
use crate::{Common, Cx};
use base::{EspSpi, Instant, Secret};
use crypto::{Nonces, SharedSecrets};
use dataplane::{ChildId, ChildSpec, DirectionSpec, Mode, Op, Selector};
use policy::{Child, ChildKe, ChildSuite, Connection, Ends, IkeSuite, Narrowed, Offer, Sides, TsRefusal};
use sa::{ChildFacts, ChildStatus, JobId, Refusal, RefusalKind, Side};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wire::num::{KeMethod, NotifyType, ProtocolId};
use wire::{Notify, Payload};

/// A child SA that stands, or is being installed.
#[derive(Clone, Debug)]
pub(crate) struct ChildSa {
    pub(crate) id: ChildId,
    pub(crate) name: String,
    /// What it was made from.
    pub(crate) config: Arc<Child>,
    pub(crate) agreed: Box<Agreement>,
    /// The fresh PPK that has come with its own keys (RFC 9867).
    pub(crate) ppk: Option<Arc<str>>,
    pub(crate) udp_encap: bool,
    pub(crate) born: Instant,
    pub(crate) dues: ChildDues,
    /// How often in a row the peer has refused it new keys.
    pub(crate) setbacks: u32,
    pub(crate) used: Used,
}

/// Where a new child SA stands among those over the same traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// It replaces none.
    Own,
    /// In the place of that one, from which it takes over at once.
    After(ChildId),
    /// In the place of that one, which goes on carrying what we send until it is told otherwise.
    Held(ChildId),
}

/// What both sides have agreed on for a child SA.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    pub(crate) mode: Mode,
    pub(crate) suite: ChildSuite,
    pub(crate) spi_in: EspSpi,
    pub(crate) spi_out: EspSpi,
    pub(crate) local: Vec<Selector>,
    pub(crate) remote: Vec<Selector>,
    /// What the peer knows us and itself by, where NAT changes it (transport mode).
    pub(crate) original: Option<(IpAddr, IpAddr)>,
    /// Whether the peer would take more of what we have proposed, in other child SAs.
    pub(crate) more: bool,
}

/// What we have proposed for a child SA.
#[derive(Clone, Debug)]
pub(crate) struct Proposed {
    pub(crate) child: Arc<Child>,
    pub(crate) spi: EspSpi,
    pub(crate) offers: Vec<Offer>,
    local: Vec<Selector>,
    remote: Vec<Selector>,
    /// Whether an answer for less would take traffic from the child that this one replaces.
    keeps: bool,
}

/// What a proposal of ours is about.
pub(crate) enum Traffic {
    /// What is configured, with the packet that wants it first.
    Configured,
    /// What a child carries that is to be replaced.
    Of(Box<Agreement>),
    /// The addresses of one packet.
    Pair(Selector, Selector),
    /// Networks of the peer, with all that is configured on our side.
    To(Vec<Selector>),
}

/// A peer's proposal, with what else the decision depends on.
pub(crate) struct ChildRequest<'a> {
    pub(crate) contents: &'a Contents<'a>,
    pub(crate) ke: ChildKe,
    pub(crate) nat: Nat,
}

/// What we answer to a peer's proposal.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) child: Arc<Child>,
    pub(crate) agreed: Agreement,
    answer: Offer,
    /// Whether more of what the peer proposes would do, in other child SAs.
    more: bool,
}

/// Why there is no child SA: for the peer, and for people.
#[derive(Clone, Debug)]
pub(crate) struct NoChild {
    pub(crate) notify: Notify<'static>,
    pub(crate) refusal: Refusal,
}

impl NoChild {
    pub(crate) fn new(
        kind: RefusalKind,
        notify: NotifyType,
        connection: &Connection,
        reason: impl Into<String>,
    ) -> Self {
        let connection = Some(connection.name.clone());
        let refusal = Refusal { kind, by_peer: false, connection, reason: reason.into() };
        Self { notify: Notify::new(notify, Vec::new()), refusal }
    }
}

/// Both outer addresses.
pub(crate) fn ends(sa: &Common) -> Ends {
    Ends { local: sa.path.local.ip(), remote: sa.path.remote.ip() }
}

impl Proposed {
    /// Proposes `child`, with a key exchange of its own or without.
    pub(crate) fn new(sa: &Common, cx: &mut Cx<'_>, child: Arc<Child>, with_ke: bool) -> Self {
        //= rfc7296 §2.9
        //# If the initiator requests the SA pair because of a data packet, the first Traffic Selector in each of TSi and
        //# TSr SHOULD be a very specific one, with the addresses in the packet triggering the request.
        let (local, remote) = policy::propose(&child, ends(sa), sa.packet(&child.name));
        let offers = policy::child_offers(&child.esp_proposals, with_ke);
        let spi = cx.directory.draw_spi(cx.rng);
        Self { child, spi, offers, local, remote, keeps: false }
    }

    /// The same about other traffic than what is configured.
    //= rfc7296 §2.9.2
    //# the proposed Traffic Selectors SHOULD be either the same as, or a superset of, the Traffic Selectors used in the old
    //# Child SA […] there is no need for the selectors from the packet, so those selectors SHOULD NOT be sent.
    pub(crate) fn about(mut self, sa: &Common, traffic: Traffic) -> Self {
        match traffic {
            Traffic::Configured => {}
            Traffic::Of(old) => (self.local, self.remote, self.keeps) = (old.local, old.remote, true),
            Traffic::To(there) => self.remote = there,
            Traffic::Pair(here, there) => {
                (self.local, self.remote) = policy::propose_pair(&self.child, ends(sa), (here, there));
            }
        }
        self
    }

    /// Our own traffic, or the peer's.
    pub(crate) fn traffic(&self, own: bool) -> &[Selector] {
        if own { &self.local } else { &self.remote }
    }

    /// What to ask for instead, when the peer refuses with SINGLE_PAIR_REQUIRED.
    pub(crate) fn pair(&self) -> Option<Traffic> {
        let packet = policy::packet_of(Sides { local: &self.local, remote: &self.remote });
        packet.filter(|_| !self.keeps).map(|(here, there)| Traffic::Pair(here, there))
    }

    /// SA.
    pub(crate) fn sa_payload(&self) -> Payload<'static> {
        Payload::Sa(contents::proposals(&self.offers, ProtocolId::ESP, &self.spi.0.to_be_bytes()))
    }

    /// TSi, TSr, and the notifications that belong to a child SA.
    pub(crate) fn ts_payloads(&self) -> Vec<Payload<'static>> {
        let mut out = vec![
            Payload::TsI(contents::traffic_selectors(&self.local)),
            Payload::TsR(contents::traffic_selectors(&self.remote)),
        ];
        if self.child.mode == Mode::Transport {
            out.push(Payload::Notify(Notify::new(NotifyType::USE_TRANSPORT_MODE, Vec::new())));
        }
        out
    }

    /// Reads the answer. Whatever is not as it was proposed is refused.
    pub(crate) fn accept(
        &self,
        sa: &Common,
        nat: Nat,
        contents: &Contents<'_>,
    ) -> Result<Agreement, (RefusalKind, String)> {
        let proposals =
            contents.sa.as_deref().ok_or((RefusalKind::Protocol, "The answer has no SA payload.".into()))?;
        let bad = |why: String| {
            (
                RefusalKind::Protocol,
                format!("The peer's answer for child `{}` is wrong: {why}", self.child.name),
            )
        };
        let (answer, spi_out) = contents::esp_answer(proposals).map_err(bad)?;
        let suite = policy::accept_child(&self.offers, &answer).map_err(|error| bad(error.to_string()))?;
        let (local, remote) = contents.selectors().map_err(|fault| bad(fault.to_string()))?;
        //= rfc7296 §1.3.1
        //# If the responder declines the request [for transport mode], the Child SA will be established in
        //# tunnel mode. If this is unacceptable to the initiator, the initiator MUST delete the SA.
        let transport = contents.has(NotifyType::USE_TRANSPORT_MODE);
        if transport != (self.child.mode == Mode::Transport) {
            let (asked, got) = if transport { ("tunnel", "transport") } else { ("transport", "tunnel") };
            let reason = format!(
                "Child `{}` asks for {asked} mode, but the peer answered with {got} mode: set `mode` to the same on both sides.",
                self.child.name
            );
            return Err((RefusalKind::NoProposalChosen, reason));
        }
        //= rfc7296 §2.23.1
        //# Do address substitution before using those Traffic Selectors for anything other than storing
        //# original content of them.
        let Substituted { local, remote, original } = match self.child.mode {
            Mode::Transport => transport::substitute(local, remote, ends(sa), nat),
            Mode::Tunnel => Substituted { local, remote, original: None },
        };
        let sent = Sides { local: &self.local, remote: &self.remote };
        let answer = Sides { local: &local, remote: &remote };
        match self.keeps {
            true => policy::accept_rekeyed(sent, answer, sent),
            false => policy::accept_narrowed(sent, answer),
        }
        .map_err(|error| (RefusalKind::TsUnacceptable, error.reason))?;
        let (mode, spi_in) = (self.child.mode, self.spi);
        let more = contents.has(NotifyType::ADDITIONAL_TS_POSSIBLE);
        Ok(Agreement { mode, suite, spi_in, spi_out, local, remote, original, more })
    }
}

impl Decided {
    /// Decides on a peer's proposal for a child SA of `connection`.
    pub(crate) fn new(
        sa: &Common,
        cx: &mut Cx<'_>,
        connection: &Connection,
        request: &ChildRequest<'_>,
    ) -> Result<Self, NoChild> {
        let contents = request.contents;
        let (remote, local) = contents.selectors().map_err(|fault| {
            NoChild::new(RefusalKind::Protocol, NotifyType::INVALID_SYNTAX, connection, fault.to_string())
        })?;
        let transport = contents.has(NotifyType::USE_TRANSPORT_MODE);
        let Selected { index, mode, narrowed, original } = select(
            connection,
            Substituted { local, remote, original: None },
            ends(sa),
            transport.then_some(request.nat),
        )
        .map_err(|error| {
            //= rfc7296 §2.9
            //# its sender is only willing to accept Traffic Selectors specifying a single pair of addresses
            let notify = match error.single_pair {
                true => NotifyType::SINGLE_PAIR_REQUIRED,
                false => NotifyType::TS_UNACCEPTABLE,
            };
            NoChild::new(RefusalKind::TsUnacceptable, notify, connection, error.reason)
        })?;
        let Some(child) = connection.children.get(index).cloned() else {
            let reason = "The connection has no such child.";
            return Err(NoChild::new(
                RefusalKind::TsUnacceptable,
                NotifyType::TS_UNACCEPTABLE,
                connection,
                reason,
            ));
        };
        Self::with(cx, connection, request, &child, Outline { mode, narrowed, original })
    }

    /// Decides on a peer's proposal for a child SA in the place of `old`.
    //= rfc7296 §2.9.2
    //# The responder MUST NOT narrow down the Traffic Selectors narrower than the scope currently in use.
    pub(crate) fn again(
        sa: &Common,
        cx: &mut Cx<'_>,
        connection: &Connection,
        request: &ChildRequest<'_>,
        old: &ChildSa,
    ) -> Result<Self, NoChild> {
        let contents = request.contents;
        let (remote, local) = contents.selectors().map_err(|fault| {
            NoChild::new(RefusalKind::Protocol, NotifyType::INVALID_SYNTAX, connection, fault.to_string())
        })?;
        let Agreement { mode, original, .. } = *old.agreed;
        if contents.has(NotifyType::USE_TRANSPORT_MODE) != (mode == Mode::Transport) {
            let reason = format!("The peer wants another mode for child `{}` with its new keys.", old.name);
            let kind = RefusalKind::NoProposalChosen;
            return Err(NoChild::new(kind, NotifyType::NO_PROPOSAL_CHOSEN, connection, reason));
        }
        let seen = match mode {
            Mode::Transport => transport::substitute(local, remote, ends(sa), request.nat),
            Mode::Tunnel => Substituted { local, remote, original },
        };
        let sent = Sides { local: &seen.local, remote: &seen.remote };
        let in_use = Sides { local: &old.agreed.local, remote: &old.agreed.remote };
        let narrowed = policy::narrow_for_rekey(&old.config, sent, in_use, ends(sa)).map_err(|error| {
            NoChild::new(RefusalKind::TsUnacceptable, NotifyType::TS_UNACCEPTABLE, connection, error.reason)
        })?;
        let original = seen.original;
        Self::with(cx, connection, request, &old.config, Outline { mode, narrowed, original })
    }

    fn with(
        cx: &mut Cx<'_>,
        connection: &Connection,
        request: &ChildRequest<'_>,
        child: &Arc<Child>,
        outline: Outline,
    ) -> Result<Self, NoChild> {
        let Outline { mode, narrowed, original } = outline;
        let contents = request.contents;
        let offers = contents::offers(contents.sa.as_deref().unwrap_or_default(), ProtocolId::ESP, 4);
        let plain: Vec<Offer> = offers.iter().map(|(offer, _)| offer.clone()).collect();
        let choice = policy::choose_child(&child.esp_proposals, &plain, request.ke).map_err(|error| {
            let reason = format!("Child `{}`: {error}", child.name);
            NoChild::new(RefusalKind::NoProposalChosen, NotifyType::NO_PROPOSAL_CHOSEN, connection, reason)
        })?;
        let chosen = offers.iter().find(|(offer, _)| offer.number == choice.number);
        let spi_out =
            chosen.and_then(|(_, spi)| <[u8; 4]>::try_from(spi.as_slice()).ok()).map(u32::from_be_bytes);
        let agreed = Agreement {
            mode,
            suite: choice.suite,
            spi_in: cx.directory.draw_spi(cx.rng),
            spi_out: EspSpi(spi_out.unwrap_or_default()),
            local: narrowed.local,
            remote: narrowed.remote,
            original,
            more: false,
        };
        let answer = Offer { number: choice.number, transforms: choice.answer, has_unknown: false };
        Ok(Self { child: child.clone(), agreed, answer, more: narrowed.more })
    }

    /// SA.
    pub(crate) fn sa_payload(&self) -> Payload<'static> {
        let spi = self.agreed.spi_in.0.to_be_bytes();
        Payload::Sa(contents::proposals(std::slice::from_ref(&self.answer), ProtocolId::ESP, &spi))
    }

    /// TSi, TSr, and the notifications that belong to a child SA.
    pub(crate) fn ts_payloads(&self) -> Vec<Payload<'static>> {
        let mut out = vec![
            Payload::TsI(contents::traffic_selectors(&self.agreed.remote)),
            Payload::TsR(contents::traffic_selectors(&self.agreed.local)),
        ];
        if self.more {
            out.push(Payload::Notify(Notify::new(NotifyType::ADDITIONAL_TS_POSSIBLE, Vec::new())));
        }
        if self.agreed.mode == Mode::Transport {
            out.push(Payload::Notify(Notify::new(NotifyType::USE_TRANSPORT_MODE, Vec::new())));
        }
        out
    }
}

/// What a child SA is to carry, and how.
struct Outline {
    mode: Mode,
    narrowed: Narrowed,
    original: Option<(IpAddr, IpAddr)>,
}

/// The child of a connection that a proposal leads to.
struct Selected {
    index: usize,
    mode: Mode,
    narrowed: Narrowed,
    original: Option<(IpAddr, IpAddr)>,
}

/// Selects the child for what the peer proposes; `transport` says whether it asks for transport mode,
/// and who is behind a NAT then.
fn select(
    connection: &Connection,
    offered: Substituted,
    ends: Ends,
    transport: Option<Nat>,
) -> Result<Selected, TsRefusal> {
    let by = |seen: &Substituted, transport| {
        let sides = Sides { local: &seen.local, remote: &seen.remote };
        let (index, mode, narrowed) = policy::select_child(connection, sides, ends, transport)?;
        let original = seen.original.filter(|_| mode == Mode::Transport);
        Ok(Selected { index, mode, narrowed, original })
    };
    let Some(nat) = transport else { return by(&offered, false) };
    let seen = transport::substitute(offered.local.clone(), offered.remote.clone(), ends, nat);
    let first = by(&seen, true);
    let is_transport = first.as_ref().is_ok_and(|selected| selected.mode == Mode::Transport);
    if is_transport || seen == offered {
        return first;
    }
    //= rfc7296 §2.23.1
    //# If no SPD entry was found, or (if found) the SPD entry does not allow transport mode, undo the
    //# Traffic Selector substitutions. Do PAD and SPD lookup again using the ID and original Traffic
    //# Selectors, but also searching for tunnel mode SPD entry (that is, fall back to tunnel mode).
    by(&offered, false).map_err(|second| first.err().unwrap_or(second))
}

/// What the keys of a child SA are made of (RFC 7296 §2.17).
pub(crate) struct Keying<'a> {
    /// The IKE SA's algorithms.
    pub(crate) ike: &'a IkeSuite,
    pub(crate) sk_d: &'a Secret,
    /// A PPK of its own, by which SK_d' stands for SK_d.
    pub(crate) ppk: Option<&'a Primed>,
    /// Of the exchange that makes the child.
    pub(crate) nonces: Nonces<'a>,
    /// Of the child's own key exchanges.
    pub(crate) shared: Option<&'a SharedSecrets>,
    /// Our side of that exchange.
    pub(crate) side: Side,
    pub(crate) nat: Nat,
    /// Where the child stands among those over the same traffic.
    pub(crate) place: Place,
}

impl Keying<'_> {
    /// SK_d, or SK_d'.
    //= rfc9867 §3.2.1
    //# The resulting key SK_d' is then used instead of SK_d in all formulas for computing keys for the new SA (Sections 2.17
    //# […] of [RFC7296] and Section 2.2.4 of [RFC9370]).
    fn secret(&self) -> &Secret {
        self.ppk.map_or(self.sk_d, |primed| &primed.sk_d)
    }
}

/// Asks the data plane to install a child SA; an error says what our own side lacks.
pub(crate) fn install(
    sa: &Common,
    cx: &mut Cx<'_>,
    child: &Arc<Child>,
    agreed: Agreement,
    keying: Keying<'_>,
) -> Result<(JobId, ChildSa), String> {
    if agreed.more {
        let (local, remote) = (refused::list(&agreed.local), refused::list(&agreed.remote));
        let text = format!(
            "The peer takes {local} to {remote} for child `{}`, and other traffic of it in further child SAs.",
            child.name
        );
        cx.note(sa.id, text);
    }
    let suite = agreed.suite;
    let prf = cx.suite.prf(keying.ike.prf).ok_or("the PRF of the IKE SA is not available")?;
    let shape = cx
        .suite
        .cipher_spec(suite.encr, suite.key_bits, suite.integ)
        .ok_or_else(|| format!("{} with {} is not available here", suite.encr, suite.integ))?;
    let keys = crypto::child_keys(prf, keying.secret(), keying.shared, keying.nonces, shape)
        .map_err(|error| error.to_string())?;
    let (outbound, inbound) = match keying.side {
        Side::Initiator => (keys.initiator, keys.responder),
        Side::Responder => (keys.responder, keys.initiator),
    };
    //= rfc7296 §2.23
    //# UDP encapsulation MUST NOT be done on port 500.
    let udp_encap = keying.nat.encapsulates() && sa.path.marked;
    let port = |address: SocketAddr| if udp_encap { address } else { SocketAddr::new(address.ip(), 0) };
    let (replaces, hold_outbound) = match keying.place {
        Place::Own => (None, false),
        Place::After(old) => (Some(old), false),
        Place::Held(old) => (Some(old), true),
    };
    let direction =
        |spi, keys: crypto::DirectionKeys| DirectionSpec { spi, encr_key: keys.encr, integ_key: keys.integ };
    let id = cx.out.new_child();
    let spec = ChildSpec {
        id,
        name: child.name.clone(),
        mode: agreed.mode,
        local: port(sa.path.local),
        remote: port(sa.path.remote),
        udp_encap,
        encr: suite.encr,
        key_bits: suite.key_bits,
        integ: suite.integ,
        esn: suite.esn,
        replay_window: child.replay_window,
        inbound: direction(agreed.spi_in, inbound),
        outbound: direction(agreed.spi_out, outbound),
        local_ts: agreed.local.clone(),
        remote_ts: agreed.remote.clone(),
        original_addresses: agreed.original,
        replaces,
        hold_outbound,
        volume: lifetimes::volume(cx, &child.lifetime),
        interface: child.interface.clone(),
    };
    let job = cx.out.dataplane(sa.id, Op::Install(Box::new(spec)));
    let born = cx.now.mono;
    let dues = ChildDues::new(cx, &child.lifetime);
    let used = Used::new(born, child.inactivity);
    let (name, config) = (child.name.clone(), child.clone());
    let agreed = Box::new(agreed);
    let ppk = keying.ppk.map(|primed| primed.ppk.id.clone());
    Ok((job, ChildSa { id, name, config, agreed, ppk, udp_encap, born, dues, setbacks: 0, used }))
}

impl ChildSa {
    /// Whether such a packet of ours may leave by it.
    pub(crate) fn carries(&self, (local, remote): &Packet) -> bool {
        let has = |list: &[Selector], one: &Selector| list.iter().any(|selector| selector.covers(one));
        has(&self.agreed.local, local) && has(&self.agreed.remote, remote)
    }

    /// For the log.
    pub(crate) fn facts(&self) -> ChildFacts {
        let Agreement { mode, suite, spi_in, spi_out, local, remote, .. } = &*self.agreed;
        ChildFacts {
            id: self.id,
            name: self.name.clone(),
            mode: *mode,
            suite: *suite,
            spi_in: *spi_in,
            spi_out: *spi_out,
            local_ts: local.clone(),
            remote_ts: remote.clone(),
            udp_encap: self.udp_encap,
            interface: self.config.interface.clone(),
            ppk: self.ppk.clone(),
        }
    }

    /// For `status`.
    pub(crate) fn status(&self, now: Instant) -> ChildStatus {
        let facts = self.facts();
        ChildStatus {
            id: facts.id,
            name: facts.name,
            mode: facts.mode,
            suite: facts.suite,
            spi_in: facts.spi_in,
            spi_out: facts.spi_out,
            udp_encap: facts.udp_encap,
            local_ts: facts.local_ts,
            remote_ts: facts.remote_ts,
            interface: facts.interface,
            ppk: facts.ppk,
            age: now.since(self.born),
        }
    }
}

/// The first key exchange method that is proposed, if there is one.
pub(crate) fn wished_ke(offers: &[Offer]) -> Option<KeMethod> {
    policy::first_ke(offers).filter(|ke| *ke != KeMethod::NONE)
}
