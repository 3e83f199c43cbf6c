//! The initiator's IKE_SESSION_RESUME (RFC 5723 §4.3): from a ticket to keys.
//!
//! ```text
//!   initiator                                              responder
//!   AwaitResume   IKE_SESSION_RESUME  Ni N(TICKET_OPAQUE) N… -->
//!                            <--  N(COOKIE): once more
//!                            <--  N(TICKET_NACK), an error, or nothing for a while: IKE_SA_INIT
//!                            <--  Nr N…
//!   AwaitAuth   IKE_AUTH  SK{IDi AUTH …} -->               (as ever, but for AUTH)
//! ```

use super::initiator_init::{Agreement, Noise, begin};
use super::initiator_puzzle::SolvingAuth;
use super::rivals::{First, Rivals};
use super::secrets::{Ingredients, Source};
use super::{Secrets, Transcript, init};
use crate::contents::Contents;
use crate::ext::{self, Agreed, Facts, Moment};
use crate::ike_sa::{Chosen, Datagram, End, Gone, IkeSa, Known, Next, Stage, Wish};
use crate::resume::{self, Held};
use crate::sent::Sent;
use crate::trace::Trace;
use crate::{Common, Cx, Origin, limits, redirect};
use base::{IkeSpi, Instant, MessageId};
use crypto::Spis;
use sa::{Answer, Drop, Event, Fate, IkeSaId, JobId, Path, Reason, Side};
use wire::num::{ExchangeType, NotifyType};
use wire::{Header, Notify, Payload};

/// Our IKE_SESSION_RESUME request is on its way.
pub(crate) struct AwaitResume {
    chosen: Chosen,
    held: Held,
    nonce: Vec<u8>,
    cookie: Option<Vec<u8>>,
    /// How often the request was made anew.
    retries: u32,
    request: Sent,
}

/// Sends IKE_SESSION_RESUME.
pub(super) fn initiate(
    cx: &mut Cx<'_>,
    id: IkeSaId,
    chosen: Chosen,
    path: Path,
    (wanted, held): ((Vec<Wish>, Origin), Held),
) -> IkeSa {
    let mut common = begin(cx, id, path, wanted);
    let nonce = cx.random(limits::NONCE_LEN);
    let request = send(&mut common, cx, &chosen, (&held, &nonce, None));
    let stage = AwaitResume { chosen, held, nonce, cookie: None, retries: 0, request };
    IkeSa::new(common, Box::new(stage))
}

/// What a request is made of: the ticket, our nonce, and the cookie that the responder wants.
type Asked<'a> = (&'a Held, &'a [u8], Option<&'a [u8]>);

//= rfc5723 §4.3.2
//# The initiator sets the SPIi (Security Parameter Index, Initiator) value in the HDR to a new, unique value and the SPIr value
//# is set to 0.
//= rfc5723 §4.3.2
//# The first message MAY be rejected in denial-of-service (DoS) situations, with the initiator instructed to send a cookie.
fn send(sa: &mut Common, cx: &mut Cx<'_>, chosen: &Chosen, asked: Asked<'_>) -> Sent {
    let (held, nonce, cookie) = asked;
    let spis = Spis { initiator: sa.spi_i, responder: IkeSpi::ZERO };
    let notify = |kind, data: &[u8]| Payload::Notify(Notify::new(kind, data.to_vec()));
    let mut payloads: Vec<_> = cookie.map(|cookie| notify(NotifyType::COOKIE, cookie)).into_iter().collect();
    payloads.push(Payload::Nonce(nonce.to_vec().into()));
    payloads.push(notify(NotifyType::TICKET_OPAQUE, &held.ticket));
    //= rfc5723 §4.3.2
    //# Notifications normally associated with IKE_SA_INIT can be sent. In particular, NAT detection payloads.
    let nothing = Agreed::default();
    let mut facts = facts(cx, spis, sa.path, (chosen, &nothing));
    ext::offer(Moment::InitRequest, &mut facts, &mut payloads);
    let exchange = ExchangeType::IKE_SESSION_RESUME;
    let trace = Trace::new(exchange, MessageId(0), false, &payloads);
    let datagram = init::emit(exchange, spis, Side::Initiator, payloads);
    Sent::new(sa, cx, MessageId(0), vec![datagram], trace).at_most(limits::RESUME_TRANSMISSIONS)
}

/// What extensions may know: of the peer's nothing is resumed.
//= rfc5723 §5
//# Peer supports MOBIKE [RFC4555]: From new exchange. […] Peer supports redirects [RFC5685]: From new exchange.
fn facts<'a>(
    cx: &'a mut Cx<'_>,
    spis: Spis,
    path: Path,
    (chosen, agreed): (&'a Chosen, &'a Agreed),
) -> Facts<'a> {
    Facts {
        suite: cx.suite,
        settings: cx.settings,
        rng: cx.rng,
        spis,
        path,
        connection: &chosen.connection,
        agreed,
        addresses: cx.addresses,
        first_contact: false,
        resumes: true,
    }
}

impl AwaitResume {
    fn on_response(
        self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        datagram: &Datagram<'_>,
    ) -> Result<Next, Noise<Self>> {
        let (path, bytes) = (datagram.path, &*datagram.bytes);
        if !init::is_response(datagram, ExchangeType::IKE_SESSION_RESUME) {
            return Err((self, Drop::Unexpected));
        }
        let contents = match init::contents(bytes) {
            Ok(contents) => contents,
            Err(why) => return Err((self, why)),
        };
        if self.is_answer(&contents) {
            return self.on_answer(sa, cx, path, bytes);
        }
        let spis = Spis { initiator: sa.spi_i, responder: IkeSpi::ZERO };
        let (nothing, mut told) = (Agreed::default(), Agreed::default());
        let facts = facts(cx, spis, path, (&self.chosen, &nothing));
        ext::inspect(Moment::InitResponse, &facts, &contents, &mut told);
        if let Some(redirect) = told.redirect {
            if redirect.nonce != self.nonce {
                return Err((self, Drop::Unprotected));
            }
            init::accepted(sa, cx, path, bytes);
            return Ok(redirect::before_it_stands(sa, cx, &self.chosen.connection, &redirect, None));
        }
        init::accepted(sa, cx, path, bytes);
        if let Some(cookie) = contents.notify(NotifyType::COOKIE) {
            return self.once_more(sa, cx, cookie.data.to_vec());
        }
        // Who forges this achieves no more than by holding the answer back: a full exchange.
        let why = match contents.error() {
            _ if contents.has(NotifyType::TICKET_NACK) => "the peer does not take the ticket".to_string(),
            Some(notify) => format!("the peer refused the ticket with {}", notify.kind),
            None => return Err((self, Drop::Malformed)),
        };
        resume::in_full(sa, cx, &self.chosen.connection, &why);
        Ok(Box::new(Gone))
    }

    fn once_more(
        mut self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        cookie: Vec<u8>,
    ) -> Result<Next, Noise<Self>> {
        let is_new = limits::COOKIE_RANGE.contains(&cookie.len()) && self.cookie.as_ref() != Some(&cookie);
        if self.retries >= limits::INIT_RETRIES || !is_new {
            return Err((self, Drop::Unprotected));
        }
        cx.note(
            sa.id,
            "The responder wants a cookie before it answers: sending IKE_SESSION_RESUME again with it.",
        );
        self.retries += 1;
        self.request = send(sa, cx, &self.chosen, (&self.held, &self.nonce, Some(&cookie)));
        self.cookie = Some(cookie);
        Ok(self)
    }

    /// A response with a nonce. It can be forged, but then its IKE_AUTH never comes.
    fn on_answer(
        self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        path: Path,
        bytes: &[u8],
    ) -> Result<Next, Noise<Self>> {
        match self.agree(sa, cx, path, bytes) {
            Some(agreement) => {
                init::accepted(sa, cx, path, bytes);
                let rivals = Rivals::new(self, sa.path, &agreement.secrets);
                Ok(SolvingAuth::first(sa, cx, rivals, agreement))
            }
            None => Err((self, Drop::Malformed)),
        }
    }
}

impl First for AwaitResume {
    fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    fn exchange(&self) -> ExchangeType {
        ExchangeType::IKE_SESSION_RESUME
    }

    fn is_answer(&self, contents: &Contents<'_>) -> bool {
        contents.nonce.is_some()
    }

    fn agree(&self, sa: &Common, cx: &mut Cx<'_>, path: Path, bytes: &[u8]) -> Option<Agreement> {
        let spi_r = Header::parse(bytes).ok()?.spi_r;
        let contents = init::contents(bytes).ok()?;
        let nonce_r = contents.nonce.as_ref().filter(|_| spi_r != IkeSpi::ZERO)?.to_vec();
        let spis = Spis { initiator: sa.spi_i, responder: spi_r };
        let (nothing, mut agreed) = (Agreed::default(), Agreed::default());
        let facts = facts(cx, spis, path, (&self.chosen, &nothing));
        ext::inspect(Moment::InitResponse, &facts, &contents, &mut agreed);
        agreed.proven_for = self.held.former.age;
        let transcript = Transcript {
            request: self.request.datagrams.first().cloned().unwrap_or_default(),
            response: bytes.to_vec(),
            nonce_i: self.nonce.clone(),
            nonce_r,
        };
        let source = Source::Former(Box::new(self.held.former.clone()));
        let from = Ingredients { side: Side::Initiator, spis, source, connection: &self.chosen.connection };
        let secrets = Secrets::derive(cx, from, transcript, agreed).ok()?;
        Some(Agreement { spi_r, secrets, cert_asked: false, puzzle: None, solution: None, obstacle: None })
    }
}

impl Stage for AwaitResume {
    fn known(&self) -> Known<'_> {
        let suite = Some(self.held.former.suite);
        Known { connection: Some(&self.chosen.connection), suite, ..Known::default() }
    }

    fn datagram(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        match self.on_response(sa, cx, &datagram) {
            Ok(next) => next,
            Err((stage, why)) => {
                cx.out.tell(Event::Dropped { path: datagram.path, why });
                stage
            }
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    /// A ticket to which nobody has said anything is not used: it serves for the next attempt, should the full exchange find
    /// nobody either.
    //= rfc5723 §4.3.1
    //# Note that a ticket is considered as used only when an IKE SA has been established successfully with it.
    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if self.request.on_time(sa, cx).is_ok() {
            return self;
        }
        cx.tickets.keep(self.held);
        resume::in_full(sa, cx, &self.chosen.connection, "the peer does not answer");
        Box::new(Gone)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        Some((self.request.due(), Reason::Retransmit))
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        sa.give_up(cx, &self.known(), end.fate);
        Box::new(Gone)
    }
}

/// What a fate of an attempt to resume is to the person who reads of it; `None`: somebody wanted it so.
pub(super) fn in_words(fate: &Fate) -> Option<String> {
    match fate {
        Fate::Ordered | Fate::Replaced => None,
        Fate::Refused(refusal) => Some(refusal.reason.trim_end_matches('.').to_string()),
        Fate::Fault(what) => Some(what.clone()),
        _ => Some("the peer does not answer".to_string()),
    }
}
