//! The initiator's IKE_SA_INIT: from an order to keys.

use super::initiator_puzzle::{self, Plan, Solving, SolvingAuth};
use super::rivals::{First, Rivals};
use super::secrets::{Ingredients, Source};
use super::{Secrets, Transcript, init, initiator_ppk, initiator_second};
use crate::contents::{self, Contents};
use crate::ext::{self, Agreed, Facts, Moment};
use crate::ike_sa::{Chosen, Datagram, End, Gone, IkeSa, Known, Next, Stage, Wish};
use crate::sent::Sent;
use crate::trace::Trace;
use crate::{Common, Cx, Origin, limits, redirect};
use base::{IkeSpi, Instant, MessageId};
use crypto::{KePrivate, Spis};
use policy::{Connection, IkeSuite, Offer};
use sa::{Answer, Drop, Event, Fate, IkeSaId, JobId, Path, Puzzle, Reason, Refusal, RefusalKind, Side};
use wire::num::{ExchangeType, KeMethod, NotifyType, ProtocolId};
use wire::{Header, KeyExchange, Notify, Payload};

/// Our IKE_SA_INIT request is on its way.
pub(crate) struct AwaitInit {
    chosen: Chosen,
    offers: Vec<Offer>,
    nonce: Vec<u8>,
    ke: OurKe,
    cookie: Option<Vec<u8>>,
    /// The solution of the puzzle that came with the cookie.
    solution: Option<Vec<u8>>,
    /// A cookie that is wanted, and when it is shown: the answer to the request as it is may be on its way.
    held: Option<(Instant, Vec<u8>)>,
    /// How often the request was made anew.
    retries: u32,
    request: Sent,
    /// Requests with other key exchange methods that went out before: one of them may have the real answer.
    earlier: Vec<Earlier>,
    /// An unprotected error, and until when something better may come.
    hint: Option<(Instant, Refusal)>,
}

/// A request that another one has taken the place of.
struct Earlier {
    ke: OurKe,
    datagram: Vec<u8>,
}

/// Our half of the key exchange.
pub(super) struct OurKe {
    pub(super) method: KeMethod,
    pub(super) private: Box<dyn KePrivate>,
    pub(super) public: Vec<u8>,
}

/// Sends IKE_SA_INIT. An error says what our own side lacks.
pub(super) fn initiate(
    cx: &mut Cx<'_>,
    id: IkeSaId,
    chosen: Chosen,
    path: Path,
    wanted: (Vec<Wish>, Origin),
) -> Result<IkeSa, Refusal> {
    let offers = policy::ike_offers(&chosen.connection.proposals);
    let refuse = |reason: String| Refusal {
        kind: RefusalKind::NoProposalChosen,
        by_peer: false,
        connection: Some(chosen.connection.name.clone()),
        reason,
    };
    let ppks = &chosen.connection.extensions.ppk;
    if ppks.required && ppks.offered().next().is_none() {
        let reason = "`ppk_required = true`, and `ppk_id` names no PPK to offer, only patterns: name one.";
        return Err(Refusal { kind: RefusalKind::AuthenticationFailed, ..refuse(reason.to_string()) });
    }
    let method = policy::first_ke(&offers).unwrap_or(KeMethod::NONE);
    let ke =
        OurKe::new(cx, method).ok_or_else(|| refuse(format!("This build has no key exchange {method}.")))?;
    let mut common = begin(cx, id, path, wanted);
    let nonce = cx.random(limits::NONCE_LEN);
    let request = send(
        &mut common,
        cx,
        &Asked { chosen: &chosen, offers: &offers, nonce: &nonce, ke: &ke, cookie: None, solution: None },
    );
    let stage = AwaitInit {
        chosen,
        offers,
        nonce,
        ke,
        cookie: None,
        solution: None,
        held: None,
        retries: 0,
        request,
        earlier: Vec::new(),
        hint: None,
    };
    Ok(IkeSa::new(common, Box::new(stage)))
}

/// An IKE SA of which nobody knows yet.
pub(super) fn begin(cx: &mut Cx<'_>, id: IkeSaId, path: Path, wanted: (Vec<Wish>, Origin)) -> Common {
    let (now, (wishes, origin)) = (cx.now.mono, wanted);
    Common {
        id,
        side: Side::Initiator,
        spi_i: cx.settings.shard.draw(cx.rng),
        spi_r: IkeSpi::ZERO,
        path,
        born: now,
        heard: now,
        spoke: now,
        keepalive: cx.settings.keepalive,
        last_message_id: cx.settings.last_message_id,
        wishes,
        origin,
    }
}

impl OurKe {
    pub(super) fn new(cx: &mut Cx<'_>, method: KeMethod) -> Option<Self> {
        let (private, public) = cx.suite.key_exchange(method)?.generate(cx.rng).ok()?;
        Some(Self { method, private, public })
    }
}

/// What an IKE_SA_INIT request is made of.
struct Asked<'a> {
    chosen: &'a Chosen,
    offers: &'a [Offer],
    nonce: &'a [u8],
    ke: &'a OurKe,
    cookie: Option<&'a [u8]>,
    solution: Option<&'a [u8]>,
}

fn send(sa: &mut Common, cx: &mut Cx<'_>, asked: &Asked<'_>) -> Sent {
    let spis = Spis { initiator: sa.spi_i, responder: IkeSpi::ZERO };
    let mut payloads: Vec<Payload<'static>> = Vec::new();
    //= rfc7296 §2.6
    //# the initiator MUST repeat the IKE_SA_INIT request and include the Notify payload containing the
    //# received COOKIE data as the first payload, and all other payloads unchanged
    if let Some(cookie) = asked.cookie {
        payloads.push(Payload::Notify(Notify::new(NotifyType::COOKIE, cookie.to_vec())));
    }
    //= rfc8019 §7.1.2
    //# the Initiator restarts the request and returns back to the Responder the puzzle solution in a new payload called
    //# a Puzzle Solution (PS) payload […] along with the received COOKIE notification.
    payloads.extend(asked.solution.map(|keys| Payload::PuzzleSolution(keys.to_vec().into())));
    payloads.push(Payload::Sa(contents::proposals(asked.offers, ProtocolId::IKE, &[])));
    let (method, data) = (asked.ke.method, asked.ke.public.clone().into());
    payloads.push(Payload::Ke(KeyExchange { method, data }));
    payloads.push(Payload::Nonce(asked.nonce.to_vec().into()));
    let mut facts = Facts {
        suite: cx.suite,
        settings: cx.settings,
        rng: cx.rng,
        spis,
        path: sa.path,
        connection: &asked.chosen.connection,
        agreed: &Agreed { redirected_from: sa.origin.redirected_from, ..Agreed::default() },
        addresses: cx.addresses,
        first_contact: false,
        resumes: false,
    };
    ext::offer(Moment::InitRequest, &mut facts, &mut payloads);
    let trace = Trace::new(ExchangeType::IKE_SA_INIT, MessageId(0), false, &payloads);
    let datagram = init::emit(ExchangeType::IKE_SA_INIT, spis, Side::Initiator, payloads);
    Sent::new(sa, cx, MessageId(0), vec![datagram], trace)
}

impl Stage for AwaitInit {
    fn known(&self) -> Known<'_> {
        Known { connection: Some(&self.chosen.connection), ..Known::default() }
    }

    fn datagram(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        let path = datagram.path;
        match self.on_response(sa, cx, datagram) {
            Ok(next) => next,
            Err((stage, why)) => {
                cx.out.tell(Event::Dropped { path, why });
                stage
            }
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if let Some((_, refusal)) = self.hint.take_if(|(until, _)| cx.now.mono >= *until) {
            sa.give_up(cx, &self.known(), Fate::Refused(refusal));
            return Box::new(Gone);
        }
        if let Some((_, cookie)) = self.held.take_if(|(until, _)| cx.now.mono >= *until) {
            let path = sa.path;
            return match self.once_more(sa, cx, Again::Cookie(cookie, None)) {
                Ok(next) => next,
                Err((stage, why)) => {
                    cx.out.tell(Event::Dropped { path, why });
                    stage
                }
            };
        }
        match self.request.on_time(sa, cx) {
            Ok(()) => self,
            Err(silent) => {
                // An error that came is a better explanation than silence, whoever sent it.
                let fate = self.hint.take().map_or(silent, |(_, refusal)| Fate::Refused(refusal));
                sa.give_up(cx, &self.known(), fate);
                Box::new(Gone)
            }
        }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        let request = (self.request.due(), Reason::Retransmit);
        let hint = self.hint.as_ref().map(|(until, _)| (*until, Reason::Expire));
        let held = self.held.as_ref().map(|(until, _)| (*until, Reason::Retransmit));
        hint.into_iter().chain(held).chain([request]).min_by_key(|(at, _)| *at)
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        sa.give_up(cx, &self.known(), end.fate);
        Box::new(Gone)
    }
}

pub(super) type Noise<T> = (Box<T>, Drop);

impl AwaitInit {
    fn on_response(
        self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        datagram: Datagram<'_>,
    ) -> Result<Next, Noise<Self>> {
        if !init::is_response(&datagram, ExchangeType::IKE_SA_INIT) {
            return Err((self, Drop::Unexpected));
        }
        let contents = match init::contents(datagram.bytes) {
            Ok(contents) => contents,
            Err(why) => return Err((self, why)),
        };
        if contents.sa.is_some() {
            return self.on_answer(sa, cx, &datagram);
        }
        //= rfc5685 §3
        //# When the client receives the IKE_SA_INIT response, it MUST verify that the nonce data matches the value sent in
        //# the IKE_SA_INIT request. If the values do not match, the client MUST silently discard the response
        if let Some(redirect) = self.told(sa, cx, datagram.path, &contents).redirect {
            if redirect.nonce != self.nonce {
                return Err((self, Drop::Unprotected));
            }
            init::accepted(sa, cx, datagram.path, datagram.bytes);
            return Ok(redirect::before_it_stands(sa, cx, &self.chosen.connection, &redirect, None));
        }
        init::accepted(sa, cx, datagram.path, datagram.bytes);
        if let Some(cookie) = contents.notify(NotifyType::COOKIE) {
            let cookie = cookie.data.to_vec();
            let puzzle = contents.notify(NotifyType::PUZZLE).and_then(|notify| Puzzle::parse(&notify.data));
            return match puzzle {
                Some(puzzle) => self.on_puzzle(sa, cx, cookie, puzzle),
                None => self.hold(cx, cookie),
            };
        }
        //= rfc8019 §7.1.2
        //# If the received message contains a PUZZLE notification and doesn't contain a COOKIE notification, then this
        //# message is malformed […] the Initiator MUST ignore the received message and continue to wait
        if contents.has(NotifyType::PUZZLE) {
            return Err((self, Drop::Malformed));
        }
        match contents.error() {
            Some(notify) if notify.kind == NotifyType::INVALID_KE_PAYLOAD => {
                match contents::wished_ke(notify) {
                    Some(wished) => self.once_more(sa, cx, Again::Ke(wished)),
                    None => Err((self, Drop::Malformed)),
                }
            }
            Some(notify) => {
                let notify = notify.clone().into_owned();
                Ok(self.on_error(sa, cx, &notify))
            }
            None => Err((self, Drop::Malformed)),
        }
    }

    /// The responder wants a puzzle solved.
    //= rfc8019 §7.1.2
    //# The Initiator MAY ignore the PUZZLE notification if it is not willing to spend resources to solve the puzzle of the
    //# requested difficulty, even if it supports puzzles. […] it restarts the request and includes the received COOKIE
    //# notification in it.
    fn on_puzzle(
        mut self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        cookie: Vec<u8>,
        puzzle: Puzzle,
    ) -> Result<Next, Noise<Self>> {
        if self.retries >= limits::INIT_RETRIES || !self.is_new(&cookie) {
            return Err((self, Drop::Unprotected));
        }
        match initiator_puzzle::plan(cx, &self.chosen.connection, puzzle) {
            Plan::Solve(puzzle) => {
                self.hint = None;
                Ok(Solving::begin(sa, cx, self, cookie, puzzle))
            }
            Plan::Decline(why) => {
                cx.note(
                    sa.id,
                    format!("The responder wants the solution of a puzzle {why}: asking without one."),
                );
                let refusal = initiator_puzzle::refusal(&self.chosen.connection, &why);
                self.hint.get_or_insert((cx.now.mono + limits::UNSOLVED_PATIENCE, refusal));
                self.once_more(sa, cx, Again::Cookie(cookie, None))
            }
        }
    }

    /// The responder wants a cookie, or somebody says so who sees our request: a responder that has answered it, too, takes
    /// no other one in its place, and an answer does not say which request it is for. So the cookie waits for that answer.
    //= rfc7296 §2.6
    //# the initiator should […] limit the number of cookie exchanges it tries before giving up. An attacker can forge
    //# multiple cookie responses to the initiator's IKE_SA_INIT message
    fn hold(mut self: Box<Self>, cx: &Cx<'_>, cookie: Vec<u8>) -> Result<Next, Noise<Self>> {
        if self.retries >= limits::INIT_RETRIES || !self.is_new(&cookie) {
            return Err((self, Drop::Unprotected));
        }
        let until = self.held.as_ref().map_or(cx.now.mono + limits::COOKIE_PATIENCE, |(until, _)| *until);
        self.held = Some((until, cookie));
        Ok(self)
    }

    /// Whether a cookie can be one, and is not the one that we have shown.
    fn is_new(&self, cookie: &Vec<u8>) -> bool {
        limits::COOKIE_RANGE.contains(&cookie.len()) && self.cookie.as_ref() != Some(cookie)
    }

    /// What extensions say in a response.
    fn told(&self, sa: &Common, cx: &mut Cx<'_>, path: Path, contents: &Contents<'_>) -> Agreed {
        let mut agreed = Agreed::default();
        let facts = Facts {
            suite: cx.suite,
            settings: cx.settings,
            rng: cx.rng,
            spis: Spis { initiator: sa.spi_i, responder: IkeSpi::ZERO },
            path,
            connection: &self.chosen.connection,
            agreed: &Agreed::default(),
            addresses: cx.addresses,
            first_contact: false,
            resumes: false,
        };
        ext::inspect(Moment::InitResponse, &facts, contents, &mut agreed);
        agreed
    }

    /// The responder wants a cookie, or another key exchange method.
    pub(super) fn once_more(
        mut self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        again: Again,
    ) -> Result<Next, Noise<Self>> {
        if self.retries >= limits::INIT_RETRIES {
            return Err((self, Drop::Unprotected));
        }
        let note = match again {
            Again::Cookie(cookie, solution) => {
                if !self.is_new(&cookie) {
                    return Err((self, Drop::Unprotected));
                }
                let what = if solution.is_some() { "a solved puzzle" } else { "a cookie" };
                (self.cookie, self.solution) = (Some(cookie), solution);
                format!("The responder wants {what} before it answers: sending IKE_SA_INIT again with it.")
            }
            //= rfc7296 §1.2
            //# the initiator MUST retry the IKE_SA_INIT with the corrected Diffie-Hellman group. The initiator
            //# MUST again propose its full set of acceptable cryptographic suites
            Again::Ke(wished) => {
                let offered = self.chosen.connection.proposals.iter().any(|ours| ours.ke.contains(&wished));
                if !offered || wished == self.ke.method {
                    return Err((self, Drop::Unprotected));
                }
                let Some(ke) = OurKe::new(cx, wished) else { return Err((self, Drop::Unprotected)) };
                let note = format!(
                    "The responder wants key exchange {wished} instead of {}: sending IKE_SA_INIT again.",
                    self.ke.method
                );
                let ke = std::mem::replace(&mut self.ke, ke);
                let datagram = self.request.datagrams.first().cloned().unwrap_or_default();
                self.earlier.push(Earlier { ke, datagram });
                note
            }
        };
        cx.note(sa.id, note);
        self.held = None;
        self.retries += 1;
        self.request = self.send(sa, cx);
        Ok(self)
    }

    fn send(&self, sa: &mut Common, cx: &mut Cx<'_>) -> Sent {
        let asked = Asked {
            chosen: &self.chosen,
            offers: &self.offers,
            nonce: &self.nonce,
            ke: &self.ke,
            cookie: self.cookie.as_deref(),
            solution: self.solution.as_deref(),
        };
        send(sa, cx, &asked)
    }

    /// An error that anybody could have sent.
    //= rfc7296 §2.21.1
    //# Because all error notifications are completely unauthenticated, the recipient should continue
    //# trying for some time before giving up.
    fn on_error(mut self: Box<Self>, sa: &Common, cx: &mut Cx<'_>, notify: &Notify<'_>) -> Next {
        if self.hint.is_some() {
            return self;
        }
        let connection = &self.chosen.connection;
        let (kind, reason) = match notify.kind {
            NotifyType::NO_PROPOSAL_CHOSEN => (
                RefusalKind::NoProposalChosen,
                format!(
                    "The peer refused our IKE proposals ({}) with NO_PROPOSAL_CHOSEN, or has no connection for our \
                     address: compare `proposals` and `remote_addrs` on both sides.",
                    crate::child::spell(&connection.proposals)
                ),
            ),
            other => (
                RefusalKind::PeerError,
                format!("The peer refused IKE_SA_INIT with {other}. Its log knows more."),
            ),
        };
        let refusal = Refusal { kind, by_peer: true, connection: Some(connection.name.clone()), reason };
        let until = cx.now.mono + limits::ERROR_PATIENCE;
        self.hint = Some((until, refusal));
        let patience = limits::ERROR_PATIENCE.as_secs();
        cx.note(
            sa.id,
            format!(
                "The answer {} is unprotected, anybody could have sent it: for {patience} s a better one may follow.",
                notify.kind
            ),
        );
        self
    }

    /// A response with an SA payload. It can be forged, but then its IKE_AUTH never comes.
    pub(super) fn on_answer(
        self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        datagram: &Datagram<'_>,
    ) -> Result<Next, Noise<Self>> {
        match self.agree(sa, cx, datagram.path, datagram.bytes) {
            Some(agreement) => {
                if let Some(refusal) = wanting(&self.chosen.connection, &agreement.secrets) {
                    return Ok(self.listen_on(cx, refusal));
                }
                init::accepted(sa, cx, datagram.path, datagram.bytes);
                let rivals = Rivals::new(self, sa.path, &agreement.secrets);
                Ok(SolvingAuth::first(sa, cx, rivals, agreement))
            }
            None => Err((self, Drop::Malformed)),
        }
    }

    /// An answer without something that is required; anybody could have sent it.
    //= rfc8784 §6
    //# it is RECOMMENDED that […] the initiator not abort the exchange immediately. Instead, it waits for more response
    //# messages, retransmitting the request as if no responses were received at all
    fn listen_on(mut self: Box<Self>, cx: &Cx<'_>, refusal: Refusal) -> Next {
        self.hint.get_or_insert((cx.now.mono + limits::ERROR_PATIENCE, refusal));
        self
    }

    /// Our half of the key exchange of that method, and the last request with it: whoever answers an earlier one shows by
    /// the method that it has not seen the others, or that somebody else has wished for them.
    fn asked_with(&self, method: KeMethod) -> Option<(&OurKe, &[u8])> {
        let now = (&self.ke, self.request.datagrams.first()?.as_slice());
        let earlier = self.earlier.iter().rev().map(|earlier| (&earlier.ke, earlier.datagram.as_slice()));
        std::iter::once(now).chain(earlier).find(|(ke, _)| ke.method == method)
    }

    fn read(&self, contents: &Contents<'_>, asked: &OurKe) -> Option<Answered> {
        let answer = contents::ike_answer(contents.sa.as_deref()?).ok()?;
        let suite = policy::accept_ike(&self.offers, &answer).ok()?;
        let ke = contents.ke.as_ref()?;
        let fits = ke.method == asked.method && suite.ke == asked.method;
        //= rfc9370 §2.2.1
        //# If the responder agrees to use additional key exchanges while establishing an initial IKE SA, it MUST also return
        //# this notification in the IKE_SA_INIT response message
        let fits = fits && (suite.additional.is_empty() || ext::names_intermediate(contents));
        let nonce = contents.nonce.as_ref()?.to_vec();
        fits.then(|| Answered { suite, public: ke.data.to_vec(), nonce })
    }
}

impl First for AwaitInit {
    fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    fn exchange(&self) -> ExchangeType {
        ExchangeType::IKE_SA_INIT
    }

    fn is_answer(&self, contents: &Contents<'_>) -> bool {
        contents.sa.is_some()
    }

    fn agree(&self, sa: &Common, cx: &mut Cx<'_>, path: Path, bytes: &[u8]) -> Option<Agreement> {
        let spi_r = Header::parse(bytes).ok()?.spi_r;
        let contents = init::contents(bytes).ok()?;
        let (ke, request) = self.asked_with(contents.ke.as_ref()?.method)?;
        let answered = self.read(&contents, ke).filter(|_| spi_r != IkeSpi::ZERO)?;
        let spis = Spis { initiator: sa.spi_i, responder: spi_r };
        let mut agreed = Agreed::default();
        let facts = Facts {
            suite: cx.suite,
            settings: cx.settings,
            rng: cx.rng,
            spis,
            path,
            connection: &self.chosen.connection,
            agreed: &Agreed::default(),
            addresses: cx.addresses,
            first_contact: false,
            resumes: false,
        };
        ext::inspect(Moment::InitResponse, &facts, &contents, &mut agreed);
        let g_ir = ke.private.finish(&answered.public).ok()?;
        let transcript = Transcript {
            request: request.to_vec(),
            response: bytes.to_vec(),
            nonce_i: self.nonce.clone(),
            nonce_r: answered.nonce,
        };
        let (suite, connection) = (answered.suite, &self.chosen.connection);
        let source = Source::Exchange(suite, &g_ir);
        let from = Ingredients { side: Side::Initiator, spis, source, connection };
        let secrets = Secrets::derive(cx, from, transcript, agreed).ok()?;
        let cert_asked = !contents.cert_requests.is_empty();
        let puzzle = contents.notify(NotifyType::PUZZLE).and_then(|notify| Puzzle::parse(&notify.data));
        Some(Agreement { spi_r, secrets, cert_asked, puzzle, solution: None, obstacle: None })
    }
}

/// Why a first answer is of no use to the connection, if it is not. One to a ticket is: what it lacks was there before.
pub(super) fn wanting(connection: &Connection, secrets: &Secrets) -> Option<Refusal> {
    let Secrets { agreed, former, .. } = secrets;
    if former.is_some() {
        return None;
    }
    initiator_ppk::wanting(connection, agreed.ppk.way).or_else(|| {
        let lacks = connection.has_second_round() && !agreed.multiple_auth;
        lacks.then(|| initiator_second::not_spoken(connection))
    })
}

/// What IKE_SA_INIT has led to.
pub(super) struct Agreement {
    pub(super) spi_r: IkeSpi,
    pub(super) secrets: Secrets,
    /// The peer sent a CERTREQ.
    pub(super) cert_asked: bool,
    /// What is to be solved before IKE_AUTH.
    pub(super) puzzle: Option<Puzzle>,
    /// Its solution.
    pub(super) solution: Option<Vec<u8>>,
    /// Why there is none.
    pub(super) obstacle: Option<Refusal>,
}

/// Why IKE_SA_INIT is sent again.
pub(super) enum Again {
    /// With a cookie, and the solution of its puzzle.
    Cookie(Vec<u8>, Option<Vec<u8>>),
    Ke(KeMethod),
}

/// What the responder has answered.
struct Answered {
    suite: IkeSuite,
    public: Vec<u8>,
    nonce: Vec<u8>,
}
