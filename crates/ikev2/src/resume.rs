//! Session resumption (RFC 5723): an IKE SA that was lost is taken up again by a ticket, without a key exchange and without
//! the proofs of the first time.
//!
//! ```text
//!   client                                                      gateway
//!   IKE_AUTH        SK{IDi AUTH … N(TICKET_REQUEST)} -->
//!                                <--  SK{IDr AUTH … N(TICKET_LT_OPAQUE)}   or N(TICKET_ACK), N(TICKET_NACK)
//!   INFORMATIONAL   SK{N(TICKET_REQUEST)} -->                              before it is out of date, and under new keys
//!                                <--  SK{N(TICKET_LT_OPAQUE)}
//!   (the IKE SA is lost: the peer does not answer)
//!   IKE_SESSION_RESUME   Ni N(TICKET_OPAQUE) N… -->
//!                                <--  N(COOKIE): once more
//!                                <--  N(TICKET_NACK): IKE_SA_INIT, as if there were no ticket
//!                                <--  Nr N…
//!   IKE_AUTH        SK{IDi AUTH … N(TICKET_REQUEST)} -->
//!                                <--  SK{IDr AUTH … N(TICKET_LT_OPAQUE)}
//! ```
//!
//! A client keeps a ticket with its IKE SA, and beyond it only when the peer does not answer, or has lost its memory: who
//! deletes an IKE SA, or has it deleted, means it. A gateway keeps nothing but a list of the IKE SAs whose tickets it does
//! not take any more.

use crate::established::Established;
use crate::ext::{self, TicketAnswer};
use crate::ike_sa::{Chosen, Known};
use crate::ticket::{self, Former, Ticket};
use crate::{Again, Common, Cx, Origin, limits, redirect};
use base::{IkeSpi, Instant};
use crypto::Spis;
use policy::Connection;
use sa::{Fate, Path, Side};
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use wire::Payload;

/// What an endpoint keeps for session resumption, beside its IKE SAs.
#[derive(Debug, Default)]
pub struct Tickets {
    /// As client: tickets of IKE SAs that were lost, the oldest first.
    held: VecDeque<Held>,
    /// As gateway: IKE SAs whose tickets are worth nothing any more, and in which order they came.
    spent: BTreeSet<(IkeSpi, IkeSpi)>,
    order: VecDeque<(IkeSpi, IkeSpi)>,
}

/// A ticket with what it means, for a peer that we have lost.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    connection: String,
    peer: IpAddr,
    expires: Instant,
    /// `former.age` is as of then.
    since: Instant,
    pub(crate) ticket: Vec<u8>,
    pub(crate) former: Former,
}

impl Tickets {
    /// Forgets what is out of date.
    pub fn tidy(&mut self, now: Instant) {
        self.held.retain(|held| now < held.expires);
    }

    /// Nobody is to come back to those connections: they are ordered down, or what they rest on has changed.
    pub fn forget(&mut self, which: impl Fn(&str) -> bool) {
        self.held.retain(|held| !which(&held.connection));
    }

    /// The ticket for a peer, which serves once.
    //= rfc5723 §4.3.1
    //# A client MUST NOT present a ticket when it knows that the ticket's lifetime has expired. […] Tickets are intended for
    //# one-time use, i.e., a client MUST NOT reuse a ticket.
    fn take(&mut self, connection: &str, peer: IpAddr, now: Instant) -> Option<Held> {
        self.tidy(now);
        let index = self.held.iter().position(|held| held.connection == connection && held.peer == peer)?;
        let mut held = self.held.remove(index)?;
        held.former.age += now.since(held.since);
        held.since = now;
        Some(held)
    }

    /// There is another IKE SA with that peer, with a ticket of its own.
    pub(crate) fn discard(&mut self, connection: &str, peer: IpAddr) {
        self.held.retain(|held| held.connection != connection || held.peer != peer);
    }

    /// Keeps a ticket; of one connection with one peer the newest, and of all no more than the limit.
    pub(crate) fn keep(&mut self, held: Held) {
        self.discard(&held.connection, held.peer);
        if self.held.len() >= limits::MAX_HELD_TICKETS {
            self.held.pop_front();
        }
        self.held.push_back(held);
    }

    /// Tickets of that IKE SA are not taken any more.
    //= rfc5723 §9.8
    //# To avoid this issue for "ticket by value", an Invalid Ticket List (ITL) may be maintained by the gateway
    pub(crate) fn spend(&mut self, spis: Spis) {
        let name = (spis.initiator, spis.responder);
        if !self.spent.insert(name) {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > limits::MAX_SPENT_TICKETS
            && let Some(oldest) = self.order.pop_front()
        {
            self.spent.remove(&oldest);
        }
    }

    /// Whether tickets of that IKE SA are not taken any more.
    //= rfc5723 §4.3.1
    //# A reused ticket SHOULD be rejected by a gateway. Note that a ticket is considered as used only when an IKE SA has been
    //# established successfully with it.
    pub(crate) fn is_spent(&self, spis: Spis) -> bool {
        self.spent.contains(&(spis.initiator, spis.responder))
    }
}

/// The ticket by which an IKE SA of `chosen` can be resumed on `path`. Who comes in another's place, or was sent here, wants
/// to prove anew who it is.
pub(crate) fn ticket_for(cx: &mut Cx<'_>, chosen: &Chosen, path: Path, origin: &Origin) -> Option<Held> {
    let connection = &chosen.connection;
    let may = connection.extensions.resumption
        && !origin.in_full
        && origin.succeeds.is_none()
        && origin.redirected_from.is_none();
    if !may {
        return None;
    }
    let held = cx.tickets.take(&connection.name, path.remote.ip(), cx.now.mono)?;
    let suite = &held.former.suite;
    connection.proposals.iter().any(|proposal| proposal.allows_ike(suite)).then_some(held)
}

/// Resumption has led nowhere: the same is begun by a full exchange.
//= rfc5723 §4.3.2
//# In that case, the initiator should re-initiate a regular IKE exchange.
pub(crate) fn in_full(sa: &mut Common, cx: &mut Cx<'_>, connection: &Connection, why: &str) {
    cx.note(sa.id, format!("The IKE SA is not resumed, since {why}: beginning anew with a full exchange."));
    let wishes = std::mem::take(&mut sa.wishes);
    let origin = Origin { in_full: true, ..std::mem::take(&mut sa.origin) };
    let path = redirect::path_to(sa.path, sa.path.remote.ip()).unwrap_or(sa.path);
    let gateway = None;
    cx.again.push(Again { connection: connection.name.clone(), path, gateway, wishes, origin });
    sa.give_up(cx, &Known { connection: Some(connection), ..Known::default() }, Fate::Replaced);
}

/// Whether a ticket outlives an IKE SA that ends so.
//= rfc5723 §6.2
//# when an IKE SA is deleted by the client or the gateway, the client MUST delete its stored ticket.
//= rfc5723 §9.4
//# untrusted messages MUST NOT be relied upon to make this decision.
fn is_lost(fate: &Fate) -> bool {
    matches!(fate, Fate::Silent { .. } | Fate::Crashed)
}

/// What an IKE SA that stands has to do with resumption.
pub(crate) struct Resumption {
    /// It was taken up again by a ticket.
    pub(crate) resumed: bool,
    /// As client: our ticket, and until when it serves.
    held: Option<(Vec<u8>, Instant)>,
    /// As gateway: the client has a ticket of it.
    given: bool,
    /// It rests on keys or passwords that are no longer in force: there are no tickets of it.
    barred: bool,
    /// As client: when another ticket is asked for.
    ask_at: Option<Instant>,
    /// A moment, and for how long then both had proved who they are.
    proven: (Instant, Duration),
}

impl Resumption {
    /// Of an IKE SA that stands from now on; `former`: it is taken up again.
    pub(crate) fn new(
        sa: &Common,
        cx: &mut Cx<'_>,
        connection: &Connection,
        former: Option<&Former>,
    ) -> Self {
        if sa.side == Side::Initiator {
            cx.tickets.discard(&connection.name, sa.path.remote.ip());
        }
        if let Some(former) = former {
            let text = format!(
                "It resumes the IKE SA {}_{}: no key exchange, and no other proof than that both had it.",
                former.spis.initiator, former.spis.responder
            );
            cx.note(sa.id, text);
        }
        let age = former.map_or(Duration::ZERO, |former| former.age);
        let proven = (cx.now.mono, age);
        let resumed = former.is_some();
        Self { resumed, held: None, given: false, barred: false, ask_at: None, proven }
    }

    /// Of another IKE SA by the same proof: a ticket is one IKE SA's.
    pub(crate) fn beside(&self) -> Self {
        Self { resumed: false, held: None, given: false, ask_at: None, ..*self }
    }

    /// For how long both have proved who they are.
    fn age(&self, now: Instant) -> Duration {
        self.proven.1 + now.since(self.proven.0)
    }

    /// When [`Established::ask_for_ticket`] is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.ask_at
    }

    /// Whether we hold a ticket.
    pub(crate) fn has_ticket(&self) -> bool {
        self.held.is_some()
    }
}

impl Established {
    /// Answers a request for a ticket, if one was made. `leaves`: the client is sent on.
    //= rfc5723 §4.1
    //# When an IKEv2 responder receives a request for a ticket using the N(TICKET_REQUEST) payload, it MUST perform one of the
    //# following operations if it supports the extension defined in this document: […] it creates a ticket and returns it […],
    //# it returns an N(TICKET_NACK) payload, if it refuses to grant a ticket for some reason, it returns an N(TICKET_ACK)
    //= rfc5723 §4.1
    //# All such Informational exchanges MUST be initiated by the client.
    pub(crate) fn answer_ticket_request(
        &mut self,
        sa: &Common,
        cx: &mut Cx<'_>,
        leaves: bool,
    ) -> Option<Payload<'static>> {
        if !std::mem::take(&mut self.peer.ticket_wanted) {
            return None;
        }
        let is_client = self.proved_as == Side::Responder;
        let may = self.chosen.connection.extensions.resumption && is_client && !leaves;
        let answer = if may && !self.resumption.barred { self.grant(sa, cx) } else { None };
        self.resumption.given |= answer.is_some();
        Some(answer.unwrap_or(TicketAnswer::Refused).emit())
    }

    /// A ticket for the peer.
    //= rfc5723 §6.2
    //# The lifetime of the ticket sent by the gateway SHOULD be the minimum of the IKE SA lifetime (per the gateway's local
    //# policy) and its re-authentication time, according to [RFC4478]. Even if neither of these are enforced by the gateway, a
    //# finite lifetime MUST be specified for the ticket.
    fn grant(&self, sa: &Common, cx: &mut Cx<'_>) -> Option<TicketAnswer> {
        let secret = cx.settings.ticket_secret.as_ref()?;
        let now = cx.now.mono;
        let until = self.ends_at().map_or(limits::TICKET_LIFE, |end| end.since(now));
        let lifetime = Duration::from_secs(until.min(limits::TICKET_LIFE).as_secs());
        if lifetime.is_zero() {
            return None;
        }
        let connection = &self.chosen.connection;
        let mark = ticket::mark(cx, secret, connection)?;
        let former = self.former(sa, now);
        let content = Ticket { connection: connection.name.clone(), mark, former };
        let ticket = ticket::seal(cx, secret, &content, lifetime)?;
        Some(TicketAnswer::Granted { ticket, lifetime })
    }

    /// What is to be known of it, once it is lost.
    fn former(&self, sa: &Common, now: Instant) -> Former {
        Former {
            suite: self.suite,
            sk_d: self.sk_d.clone(),
            spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
            local: self.identities.local.clone(),
            remote: self.identities.remote.clone(),
            method: self.chosen.connection.remote.method,
            age: self.resumption.age(now),
            ppk: self.peer.ppk.used.first().cloned(),
            ours: self.identities.ours.clone(),
            theirs: self.identities.theirs.clone(),
        }
    }

    /// The gateway has answered our request for a ticket.
    //= rfc5723 §4.1
    //# the client MAY request a ticket later using an Informational exchange, at any time during the lifetime of the IKE SA.
    pub(crate) fn on_ticket(&mut self, cx: &mut Cx<'_>, answer: TicketAnswer) {
        if !self.wants_tickets() {
            return;
        }
        let now = cx.now.mono;
        match answer {
            TicketAnswer::Granted { ticket, lifetime } => {
                let expires = now + lifetime;
                let end = self.proven_until();
                self.resumption.held = Some((ticket, end.map_or(expires, |end| end.min(expires))));
                // Before it is out of date, and never in a hurry.
                let again = (lifetime - lifetime / 10).max(limits::TICKET_RETRY);
                self.resumption.ask_at = Some(now + again);
            }
            TicketAnswer::Later => {
                self.resumption.ask_at = Some(now + cx.jitter(limits::TICKET_RETRY, limits::RETRY_SPREAD));
            }
            TicketAnswer::Refused => self.resumption.ask_at = None,
        }
    }

    fn wants_tickets(&self) -> bool {
        let is_gateway = self.proved_as == Side::Initiator;
        is_gateway && self.chosen.connection.extensions.resumption && !self.resumption.barred
    }

    /// The moment of [`Resumption::due`] has come.
    pub(crate) fn ask_for_ticket(&mut self) {
        self.resumption.ask_at = None;
        if self.wants_tickets() {
            self.tell(vec![ext::ticket_request()]);
        }
    }

    /// The IKE SA with these SPIs has a successor with new keys.
    //= rfc5723 §6.2
    //# When the IKE SA is rekeyed, the ticket is invalidated, and the client SHOULD request a new ticket.
    pub(crate) fn renew_tickets(&mut self, cx: &mut Cx<'_>, old: Spis) {
        self.resumption.held = None;
        if std::mem::take(&mut self.resumption.given) {
            cx.tickets.spend(old);
        }
        self.ask_for_ticket();
    }

    /// What it rests on is no longer in force: there are no tickets of it from now on.
    //= rfc5723 §6.2
    //# when credentials associated with the IKE SA are invalidated (e.g., when a user logs out), the ticket MUST be deleted.
    pub(crate) fn bar_tickets(&mut self) {
        (self.resumption.held, self.resumption.ask_at, self.resumption.barred) = (None, None, true);
    }

    /// It ends: where the peer is lost its ticket outlives it, else none does.
    pub(crate) fn end_tickets(&mut self, sa: &Common, cx: &mut Cx<'_>, fate: &Fate) {
        let now = cx.now.mono;
        let spis = Spis { initiator: sa.spi_i, responder: sa.spi_r };
        if !is_lost(fate) {
            self.resumption.held = None;
            if self.resumption.given {
                cx.tickets.spend(spis);
            }
        }
        let rests_on = |connection: &Connection| {
            let Connection { local, remote, local2, remote2, extensions, .. } = connection;
            format!("{:?}", (local, remote, local2, remote2, &extensions.ppk))
        };
        let own = &self.chosen.connection;
        let present = cx.policy.by_name(&own.name).map(|(_, connection)| rests_on(connection));
        if present != Some(rests_on(own)) {
            self.resumption.held = None;
        }
        if let Some((ticket, expires)) = self.resumption.held.take() {
            let former = self.former(sa, now);
            let (connection, peer) = (self.chosen.connection.name.clone(), sa.path.remote.ip());
            cx.tickets.keep(Held { connection, peer, expires, since: now, ticket, former });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Secret;
    use policy::{AuthMethod, Identity, IkeSuite};
    use wire::num::{Encr, Integ, KeMethod, Prf};

    fn held(connection: &str, peer: u32, expires: u64) -> Held {
        let former = Former {
            suite: IkeSuite {
                encr: Encr::AES_GCM_16,
                key_bits: 256,
                integ: Integ::NONE,
                prf: Prf::HMAC_SHA2_256,
                ke: KeMethod::CURVE25519,
                additional: policy::Additional::default(),
            },
            sk_d: Secret::zeroed(32),
            spis: Spis { initiator: IkeSpi(1), responder: IkeSpi(2) },
            local: Identity::Null,
            remote: Identity::Null,
            method: AuthMethod::Psk,
            age: Duration::from_secs(5),
            ppk: None,
            ours: Vec::new(),
            theirs: Vec::new(),
        };
        let at = |seconds: u64| Instant::default() + Duration::from_secs(seconds);
        let (connection, peer) = (connection.to_string(), IpAddr::from(peer.to_be_bytes()));
        Held { connection, peer, expires: at(expires), since: at(0), ticket: vec![1], former }
    }

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    //= rfc5723 §4.3.1
    #[test]
    fn a_ticket_is_for_its_peer_serves_once_and_expires() {
        let mut tickets = Tickets::default();
        tickets.keep(held("net", 1, 100));
        tickets.keep(held("net", 1, 200));
        assert_eq!(tickets.held.len(), 1, "the newest is left");
        let peer = |n: u32| IpAddr::from(n.to_be_bytes());
        assert!(tickets.take("net", peer(2), at(0)).is_none());
        assert!(tickets.take("other", peer(1), at(0)).is_none());
        let taken = tickets.take("net", peer(1), at(150)).expect("it serves until 200");
        assert_eq!(taken.former.age, Duration::from_secs(155));
        assert!(tickets.take("net", peer(1), at(150)).is_none(), "once");
        tickets.keep(taken);
        assert!(tickets.take("net", peer(1), at(200)).is_none(), "out of date");
        assert!(tickets.held.is_empty());
    }

    #[test]
    fn both_lists_have_an_end() {
        let mut tickets = Tickets::default();
        for n in 0..=limits::MAX_HELD_TICKETS as u32 {
            tickets.keep(held("net", n, 100));
        }
        assert_eq!(tickets.held.len(), limits::MAX_HELD_TICKETS);
        let peer = |n: u32| IpAddr::from(n.to_be_bytes());
        assert!(tickets.take("net", peer(0), at(0)).is_none(), "the oldest went");
        assert!(tickets.take("net", peer(1), at(0)).is_some());
        let spis = |n: u64| Spis { initiator: IkeSpi(n), responder: IkeSpi(n) };
        for n in 0..=limits::MAX_SPENT_TICKETS as u64 {
            tickets.spend(spis(n));
            tickets.spend(spis(n));
        }
        assert_eq!(
            (tickets.spent.len(), tickets.order.len()),
            (limits::MAX_SPENT_TICKETS, limits::MAX_SPENT_TICKETS)
        );
        assert!(!tickets.is_spent(spis(0)) && tickets.is_spent(spis(1)));
    }
}
