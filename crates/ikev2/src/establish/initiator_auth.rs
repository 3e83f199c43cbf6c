//! The initiator's IKE_AUTH: from keys to an established IKE SA.

use super::initiator_check::{Checking, Claim};
use super::initiator_init::Agreement;
use super::initiator_resume::in_words;
use super::initiator_second::Working;
use super::rivals::{Followed, Rivals};
use super::{
    Deadline, Secrets, begin_after_nat, cert_payloads, cert_requests, float, initiator_puzzle, is_fatal,
    local_identity,
};
use crate::channel::{Authentic, Incoming, Message};
use crate::child::Proposed;
use crate::contents;
use crate::established;
use crate::ext::configuration::before_reply;
use crate::ext::{self, Facts, Moment};
use crate::ike_sa::{Chosen, Datagram, End, Gone, Known, Next, Stage};
use crate::sent::Sent;
use crate::{Common, Cx, limits, resume};
use base::Instant;
use crypto::Spis;
use policy::{Child, Childless, Connection, IdPattern, Identity, Round};
use sa::{Answer, Fate, Job, JobId, Means, Memory, Proven, Reason, Refusal, RefusalKind, Side, SignedOctets};
use std::sync::Arc;
use wire::num::{AuthMethod, ExchangeType, NotifyType};
use wire::{Authentication, Notify, Octets, Payload};

/// Our AUTH value is being made.
pub(crate) struct Proving {
    ready: Ready,
    job: JobId,
    until: Deadline,
    made: Made,
}

/// Which AUTH value is being made.
enum Made {
    /// The only one, or what stands in AUTH; then, where it goes without the PPK too, that which covers this.
    First(Option<SignedOctets>),
    /// What stands in NO_PPK_AUTH; this is in AUTH.
    WithoutPpk(Authentication<'static>),
}

/// What proves who we are.
struct Proof {
    auth: Authentication<'static>,
    /// The AUTH value without a PPK, where the responder may do without.
    without_ppk: Option<Octets<'static>>,
    /// What we have proved, and by what.
    ours: Vec<Proven>,
}

/// All that the IKE_AUTH request is made of, but AUTH.
struct Ready {
    rivals: Rivals,
    chosen: Chosen,
    secrets: Secrets,
    local: Identity,
    /// The peer sent a CERTREQ.
    cert_asked: bool,
    puzzle: Puzzled,
}

/// What has come of the puzzle that was to be solved before IKE_AUTH.
struct Puzzled {
    solution: Option<Vec<u8>>,
    /// Why there is no solution.
    obstacle: Option<Refusal>,
}

impl Proving {
    pub(super) fn begin(sa: &mut Common, cx: &mut Cx<'_>, rivals: Rivals, agreement: Agreement) -> Next {
        let Agreement { spi_r, secrets, cert_asked, solution, obstacle, .. } = agreement;
        let puzzle = Puzzled { solution, obstacle };
        let chosen = rivals.chosen().clone();
        sa.spi_r = spi_r;
        float(sa, cx, &secrets, chosen.connection.mobike);
        let local = match &secrets.former {
            //= rfc5723 §4.3.3
            //# The IDi value sent in the IKE_AUTH exchange MUST be identical to the value included in the ticket.
            Some(former) => former.local.clone(),
            None => local_identity(&chosen.connection, sa),
        };
        let id = contents::identification(&local).octets_to_sign();
        if secrets.former.is_some() {
            let data = secrets.resumption_auth(cx, Side::Initiator, &id).expose().clone().into();
            let ready = Ready { rivals, chosen, secrets, local, cert_asked, puzzle };
            let auth = Authentication { method: AuthMethod::SHARED_KEY, data };
            let ours = ready.secrets.former.as_ref().map_or(Vec::new(), |former| former.ours.clone());
            return AwaitAuth::begin(sa, cx, ready, Proof { auth, without_ppk: None, ours });
        }
        let octets = secrets.signed_octets(cx, Side::Initiator, &id);
        //= rfc8784 §3
        //# if using PPKs for communication with this responder is optional for the initiator […], then the initiator MUST
        //# include a NO_PPK_AUTH notification in the above message.
        let optional = !chosen.connection.extensions.ppk.required;
        let without = secrets.octets_without_ppk(cx, &id).filter(|_| optional);
        let ready = Ready { rivals, chosen, secrets, local, cert_asked, puzzle };
        Self::prove(sa, cx, ready, octets, Made::First(without))
    }

    fn prove(sa: &Common, cx: &mut Cx<'_>, ready: Ready, octets: SignedOctets, made: Made) -> Next {
        let Ready { chosen, secrets, local, .. } = &ready;
        let job = Job::Prove {
            connection: chosen.id,
            name: chosen.connection.name.clone(),
            round: Round::First,
            local: local.clone(),
            remote: expected(chosen),
            prf: secrets.suite.prf,
            octets,
            peer_hashes: secrets.agreed.hashes.clone(),
            peer_methods: ext::methods_in(Round::First, &chosen.connection, &secrets.agreed),
        };
        let job = cx.out.job(sa.id, job);
        let until = Deadline(cx.now.mono + limits::JOB_PATIENCE);
        Box::new(Self { ready, job, until, made })
    }

    fn on_proved(self, sa: &mut Common, cx: &mut Cx<'_>, auth: Authentication<'static>, by: Means) -> Next {
        let (auth, without_ppk) = match self.made {
            Made::First(Some(octets)) => {
                return Self::prove(sa, cx, self.ready, octets, Made::WithoutPpk(auth));
            }
            Made::First(None) => (auth, None),
            //= rfc8784 §3
            //# the authentication method used for computing the authentication data MUST be the same as the method indicated
            //# in the AUTH payload.
            Made::WithoutPpk(first) => (first, Some(auth.data)),
        };
        let ours = vec![Proven { id: self.ready.local.clone(), by }];
        AwaitAuth::begin(sa, cx, self.ready, Proof { auth, without_ppk, ours })
    }
}

impl Ready {
    fn known(&self) -> Known<'_> {
        let connection = Some(&*self.chosen.connection);
        Known { connection, local_id: Some(&self.local), suite: Some(self.secrets.suite), ..Known::default() }
    }

    fn end(mut self, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        give_up(sa, cx, &self.known(), (&self.chosen, &self.secrets), fate);
        self.rivals.forget(cx);
        Box::new(Gone)
    }
}

/// An attempt comes to nothing. One that was to resume an IKE SA is followed by a full exchange.
pub(super) fn give_up(
    sa: &mut Common,
    cx: &mut Cx<'_>,
    known: &Known<'_>,
    (chosen, secrets): (&Chosen, &Secrets),
    fate: Fate,
) {
    let why = secrets.former.as_ref().and_then(|_| in_words(&fate));
    match why {
        Some(why) => resume::in_full(sa, cx, &chosen.connection, &why),
        None => sa.give_up(cx, known, fate),
    }
}

/// Who the peer has to be, where that is one identity.
fn expected(chosen: &Chosen) -> Option<Identity> {
    match &chosen.connection.remote.id {
        IdPattern::Is(identity) => Some(identity.clone()),
        _ => None,
    }
}

impl Stage for Proving {
    fn known(&self) -> Known<'_> {
        self.ready.known()
    }

    fn datagram(mut self: Box<Self>, _: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        let Ready { rivals, secrets, .. } = &mut self.ready;
        rivals.hear_only(cx, &datagram, &secrets.transcript.response);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Proved(proof, by) => {
                let data = proof.data.into();
                self.on_proved(sa, cx, Authentication { method: AuthMethod(proof.method), data }, by)
            }
            Answer::Refused(why) => {
                let refusal = Refusal {
                    kind: RefusalKind::AuthenticationFailed,
                    by_peer: false,
                    connection: Some(self.ready.chosen.connection.name.clone()),
                    reason: why.reason,
                };
                self.ready.end(sa, cx, Fate::Refused(refusal))
            }
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if !self.until.is_over(cx) {
            return self;
        }
        self.ready.end(sa, cx, Fate::HalfOpenTimeout)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        self.ready.end(sa, cx, end.fate)
    }
}

/// Our IKE_AUTH request is on its way.
pub(crate) struct AwaitAuth {
    attempt: Attempt,
    rivals: Rivals,
}

/// An IKE_AUTH request to whoever sent one of the answers to IKE_SA_INIT.
pub(super) struct Attempt {
    pub(super) chosen: Chosen,
    pub(super) secrets: Secrets,
    pub(super) local: Identity,
    /// What we have proved.
    pub(super) ours: Vec<Proven>,
    /// The peer sent a CERTREQ.
    pub(super) cert_asked: bool,
    /// The child SA that it proposes.
    pub(super) proposed: Option<Proposed>,
    /// Why the request lacks the solution of a puzzle.
    obstacle: Option<Refusal>,
    request: Sent,
}

impl Followed for Attempt {
    fn response(&self) -> &[u8] {
        &self.secrets.transcript.response
    }

    fn is_spent(&self) -> bool {
        self.request.is_spent()
    }

    fn release(&self, cx: &mut Cx<'_>) {
        if let Some(proposed) = &self.proposed {
            cx.directory.release_spi(proposed.spi);
        }
    }

    fn resume(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, rivals: Rivals) -> Next {
        AwaitAuth { attempt: *self, rivals }.on_time(sa, cx)
    }
}

impl AwaitAuth {
    fn begin(sa: &mut Common, cx: &mut Cx<'_>, from: Ready, proof: Proof) -> Next {
        let proposed = match to_propose(sa, &from.chosen.connection, from.secrets.agreed.childless) {
            Ok(first) => first.map(|child| Proposed::new(sa, cx, child, false)),
            Err(refusal) => return from.end(sa, cx, Fate::Refused(refusal)),
        };
        let Ready { rivals, chosen, mut secrets, local, cert_asked, puzzle } = from;
        let Proof { auth, without_ppk, ours } = proof;
        let connection = &chosen.connection;
        let mut payloads = vec![Payload::IdI(contents::identification(&local))];
        //= rfc5723 §4.3.3
        //# A CERT payload MUST NOT be included in this exchange […]. As a result, the IDr value sent (by the gateway, and
        //# optionally by the client) in this exchange MUST also be identical to the value included in the ticket.
        let resumed = secrets.former.as_ref().map(|former| former.remote.clone());
        if resumed.is_none() {
            payloads.extend(cert_payloads(connection, Round::First, cert_asked));
        }
        let first_contact = is_first_contact(sa, cx, &chosen, &local);
        secrets.agreed.memory = remembered(cx, connection);
        let mut facts = Facts {
            suite: cx.suite,
            settings: cx.settings,
            rng: cx.rng,
            spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
            path: sa.path,
            connection,
            agreed: &secrets.agreed,
            addresses: cx.addresses,
            first_contact,
            resumes: false,
        };
        ext::offer(Moment::AuthRequest, &mut facts, &mut payloads);
        if resumed.is_none() {
            let only = std::iter::once(&**connection);
            payloads.extend(ext::auth_announcements(cx.suite, only.clone(), &secrets.agreed));
            payloads.extend(cert_requests(only));
        }
        let remote = resumed.or_else(|| expected(&chosen));
        payloads.extend(remote.map(|id| Payload::IdR(contents::identification(&id))));
        payloads.push(Payload::Auth(auth));
        payloads.extend(without_ppk.map(|data| Payload::Notify(Notify::new(NotifyType::NO_PPK_AUTH, data))));
        if let Some(proposed) = &proposed {
            payloads.push(proposed.sa_payload());
            payloads.extend(proposed.ts_payloads());
        }
        let request = match puzzle.solution {
            Some(keys) => {
                let solution = Payload::PuzzleSolution(keys.into());
                secrets.channel.ask_after(sa, cx, ExchangeType::IKE_AUTH, (&solution, &payloads))
            }
            None => secrets.channel.ask(sa, cx, ExchangeType::IKE_AUTH, &payloads),
        };
        match request {
            Some(request) => {
                let obstacle = puzzle.obstacle;
                let attempt =
                    Attempt { chosen, secrets, local, ours, cert_asked, proposed, obstacle, request };
                Box::new(Self { attempt, rivals })
            }
            // A new channel has all its message ids.
            None => Box::new(Gone),
        }
    }

    /// The same request again.
    fn on_time(mut self, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        match self.attempt.request.on_time(sa, cx) {
            Ok(()) => Box::new(self),
            Err(fate) => self.end(sa, cx, fate),
        }
    }

    /// One wait has gone by without a response: the turn of another answer, or of the same request again.
    fn on_silence(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        let Some(turn) = self.rivals.turn(sa, cx) else { return self.on_time(sa, cx) };
        let Self { attempt, rivals } = *self;
        rivals.follow(sa, cx, turn, Box::new(attempt))
    }

    fn end(mut self, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        self.attempt.release(cx);
        let Attempt { chosen, secrets, obstacle, .. } = &self.attempt;
        let fate = initiator_puzzle::explain(fate, obstacle.clone());
        give_up(sa, cx, &self.known(), (chosen, secrets), fate);
        self.rivals.forget(cx);
        Box::new(Gone)
    }

    /// The response: everything in it is the work of whoever did the key exchange with us.
    fn on_response(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, message: &Authentic<Message>) -> Next {
        let contents = match message.contents() {
            Ok(contents) if message.exchange() == ExchangeType::IKE_AUTH => contents,
            Ok(_) => {
                return self.end(sa, cx, Fate::Fault("the response is of another exchange type".to_string()));
            }
            Err(fault) => return self.end(sa, cx, Fate::Fault(fault.to_string())),
        };
        if let Some(notify) =
            contents.error().filter(|notify| is_fatal(notify.kind) || contents.auth.is_none())
        {
            let refusal = self.refused_by_peer(notify.kind);
            let nat = notify.kind == NotifyType::UNEXPECTED_NAT_DETECTED;
            let again = nat && begin_after_nat(sa, cx, &self.attempt.chosen.connection.name);
            return self.end(sa, cx, if again { Fate::Replaced } else { Fate::Refused(refusal) });
        }
        let (Some(id_r), Some(auth)) = (&contents.id_r, &contents.auth) else {
            let what = if contents.has_eap {
                "the peer wants to authenticate us by EAP, which this connection does not do"
            } else {
                "the response to IKE_AUTH lacks IDr or AUTH"
            };
            return self.end(sa, cx, Fate::Fault(what.to_string()));
        };
        let (id_r, auth) = (id_r.clone(), auth.clone());
        let Self { attempt, mut rivals } = *self;
        rivals.forget(cx);
        let resumed = attempt.secrets.former.is_some();
        let again = attempt.chosen.connection.has_second_round() || ext::another_auth_follows(&contents);
        let claim = Claim { contents, id_r, auth };
        match again && !resumed {
            true => Working::begin(sa, cx, attempt, claim),
            false => Checking::begin(sa, cx, attempt, claim),
        }
    }

    fn refused_by_peer(&self, kind: NotifyType) -> Refusal {
        let connection = &self.attempt.chosen.connection;
        let reason = match kind {
            NotifyType::AUTHENTICATION_FAILED => {
                return super::not_accepted(
                    connection,
                    (Round::First, &self.attempt.local),
                    self.attempt.secrets.agreed.ppk.id(),
                );
            }
            NotifyType::UNEXPECTED_NAT_DETECTED => {
                "The peer sees a NAT on the path, where MOBIKE without NAT traversal allows none (RFC 4555 §3.9): set \
                 `mobike = false`, or have the peer speak NAT traversal."
                    .to_string()
            }
            _ => format!("The peer refused IKE_AUTH with {kind}. Its log knows more."),
        };
        Refusal {
            kind: RefusalKind::PeerError,
            by_peer: true,
            connection: Some(connection.name.clone()),
            reason,
        }
    }
}

/// The child that goes with IKE_AUTH, if there is to be one. `can`: the peer takes an IKE_AUTH without.
fn to_propose(sa: &Common, connection: &Connection, can: bool) -> Result<Option<Arc<Child>>, Refusal> {
    let wanted = first_child(sa, &before_reply(connection));
    let first = match connection.extensions.childless {
        Childless::Never | Childless::Allow => wanted,
        Childless::Prefer => wanted.filter(|_| !can),
        Childless::Force => None,
    };
    let never = connection.extensions.childless == Childless::Never;
    //= rfc6023 §4
    //# the initiator may leave SA, TSi and TSr out only when the responder has sent CHILDLESS_IKEV2_SUPPORTED
    if first.is_some() || (can && !never) {
        return Ok(first);
    }
    let reason = match (never, connection.children.is_empty()) {
        (true, _) => "The connection has no children, and `childless = \"never\"`: add a child.",
        (false, true) => {
            "The connection has no children, and the peer does not support an IKE SA without one (RFC 6023): add a child."
        }
        (false, false) => {
            "`childless = \"force\"`, and the peer does not support an IKE SA without a child (RFC 6023)."
        }
    };
    Err(Refusal {
        kind: RefusalKind::NoConnection,
        by_peer: !never,
        connection: Some(connection.name.clone()),
        reason: reason.to_string(),
    })
}

/// The child that goes with IKE_AUTH: the first that is wished for.
fn first_child(sa: &Common, connection: &Connection) -> Option<Arc<Child>> {
    let children = &connection.children;
    let wished = sa
        .wishes
        .iter()
        .flat_map(|wish| &wish.open)
        .find_map(|name| children.iter().find(|c| c.name == *name));
    wished.or(children.first()).cloned()
}

/// What we know of the peer's addresses. An interface identifier for a link is drawn once.
fn remembered(cx: &mut Cx<'_>, connection: &Connection) -> Memory {
    if connection.configuration.link && cx.directory.memory(&connection.name).link.is_none() {
        let mut interface = [0; 8];
        cx.rng.fill(&mut interface);
        // RFC 4291 §2.5.1: it is of our own making, not of a card; and it is never zero.
        let [first, .., last] = &mut interface;
        (*first, *last) = (*first & !2, *last | 1);
        cx.directory.memory_mut(&connection.name).link = Some((interface, Vec::new()));
    }
    cx.directory.memory(&connection.name)
}

/// Whether we have no other IKE SA with that peer, and are not about to get one: both may begin at once, and a peer that takes
/// INITIAL_CONTACT at its word would end the one that we keep (RFC 7296 §2.8.2).
fn is_first_contact(sa: &Common, cx: &Cx<'_>, chosen: &Chosen, local: &Identity) -> bool {
    let Some(remote) = expected(chosen) else { return false };
    if cx.directory.is_knocking(sa.path.remote.ip()) {
        return false;
    }
    let pair = established::pair_key(local, &remote, &chosen.connection);
    pair.no_stronger().chain(pair.stronger()).all(|pair| cx.directory.origins(&pair).is_empty())
}

impl Stage for AwaitAuth {
    fn known(&self) -> Known<'_> {
        let connection = Some(&*self.attempt.chosen.connection);
        Known {
            connection,
            local_id: Some(&self.attempt.local),
            suite: Some(self.attempt.secrets.suite),
            ..Known::default()
        }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        if self.rivals.hear(cx, &datagram, &self.attempt.secrets.transcript.response) {
            return self;
        }
        if !datagram.header.flags.response {
            // A responder that is ready before us may ask already. It asks again; by then we can answer.
            cx.unexpected(datagram.path);
            return self;
        }
        let id = self.attempt.request.id;
        match self.attempt.secrets.channel.take(sa, cx, |awaited| awaited == id, datagram) {
            Some(Incoming::Response(message)) => self.on_response(sa, cx, &message),
            Some(Incoming::Part(_)) => {
                self.attempt.request.heard_in_part(cx.now.mono);
                self
            }
            Some(Incoming::Request(_)) | None => self,
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        self.attempt.secrets.channel.tidy(cx.now.mono);
        if cx.now.mono < self.attempt.request.due() || self.attempt.request.ask_for_rest(sa, cx) {
            return self;
        }
        self.on_silence(sa, cx)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        Some((self.attempt.request.due(), Reason::Retransmit))
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        self.end(sa, cx, end.fate)
    }
}
