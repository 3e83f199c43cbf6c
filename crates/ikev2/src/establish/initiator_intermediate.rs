//! IKE_INTERMEDIATE as initiator (RFC 9242), for the additional key exchanges that were agreed on (RFC 9370 §2.2.2).
//!
//! ```text
//!   Mixing   IKE_INTERMEDIATE  SK{KEi(1)} -->
//!                                         <--  SK{KEr(1)}
//!   Mixing   IKE_INTERMEDIATE  SK{KEi(2)} -->            (under the keys with the first mixed in)
//!                                         <--  SK{KEr(2)}
//!   Proving …
//! ```
//! The last one also proposes post-quantum pre-shared keys, where they are agreed on; else that is one of its own: see
//! initiator_ppk.

use super::float;
use super::initiator_auth::give_up;
use super::initiator_init::{Agreement, OurKe};
use super::initiator_ppk::{self, Consulting};
use super::initiator_puzzle;
use super::rivals::{Followed, Rivals};
use crate::channel::{Authentic, Incoming, Message};
use crate::contents::Contents;
use crate::ext::{self, Facts, Moment};
use crate::followup::peer_value;
use crate::ike_sa::{Chosen, Datagram, End, Gone, Known, Next, Stage};
use crate::sent::Sent;
use crate::{Common, Cx};
use base::Instant;
use crypto::{IkeKeys, Spis};
use sa::{Answer, Branch, Fate, JobId, MixedPpk, Reason, Refusal, RefusalKind};
use std::sync::Arc;
use wire::num::{ExchangeType, NotifyType};
use wire::{KeyExchange, Payload};

/// An IKE_INTERMEDIATE request of ours is on its way.
pub(super) struct Mixing {
    attempt: Attempt,
    rivals: Rivals,
}

/// An IKE_INTERMEDIATE request to whoever sent one of the answers to IKE_SA_INIT.
struct Attempt {
    agreement: Agreement,
    chosen: Chosen,
    /// Our half of its key exchange, if it has one.
    ke: Option<OurKe>,
    /// The PPKs that it proposes.
    ppks: Vec<Arc<str>>,
    /// What AUTH covers of it.
    octets: Vec<u8>,
    request: Sent,
}

impl Mixing {
    /// Goes on with what IKE_SA_INIT has led to: the next additional key exchange, or IKE_AUTH when none is left.
    pub(super) fn begin(sa: &mut Common, cx: &mut Cx<'_>, rivals: Rivals, agreement: Agreement) -> Next {
        match agreement.secrets.is_ppk_due() {
            true => Consulting::before_request(sa, cx, rivals, agreement),
            false if agreement.secrets.next_round().is_some() => {
                Self::ask(sa, cx, rivals, agreement, Vec::new())
            }
            false => Consulting::before_auth(sa, cx, rivals, agreement),
        }
    }

    /// The next exchange: with the next additional key exchange, if one is left, and these PPKs.
    pub(super) fn ask(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        mut rivals: Rivals,
        mut agreement: Agreement,
        ppks: Vec<MixedPpk>,
    ) -> Next {
        let chosen = rivals.chosen().clone();
        sa.spi_r = agreement.spi_r;
        //= rfc9242 §3.2
        //# If the presence of NAT is detected in the IKE_SA_INIT exchange […], then the peers switch to port 4500 in the first
        //# IKE_INTERMEDIATE exchange and use this port for all subsequent exchanges
        float(sa, cx, &agreement.secrets, chosen.connection.mobike);
        let method = agreement.secrets.next_round();
        let ke = method.and_then(|method| OurKe::new(cx, method));
        if let (Some(method), None) = (method, &ke) {
            let known = Known { connection: Some(&chosen.connection), ..Known::default() };
            let reason = format!("This build has no key exchange {method}.");
            let refusal = refusal(&chosen, (RefusalKind::NoProposalChosen, false), reason);
            give_up(sa, cx, &known, (&chosen, &agreement.secrets), Fate::Refused(refusal));
            rivals.forget(cx);
            return Box::new(Gone);
        }
        let of_ke = |ke: &OurKe| KeyExchange { method: ke.method, data: ke.public.clone().into() };
        let mut payloads: Vec<Payload<'_>> = ke.iter().map(of_ke).map(Payload::Ke).collect();
        payloads.extend(ppks.iter().map(ext::ppk_proposal));
        let solution = agreement.solution.take().map(|keys| Payload::PuzzleSolution(keys.into()));
        let channel = &mut agreement.secrets.channel;
        let octets = channel.intermediate_octets(channel.next_request(), solution.as_ref(), &payloads);
        let exchange = ExchangeType::IKE_INTERMEDIATE;
        let request = match &solution {
            Some(solution) => channel.ask_after(sa, cx, exchange, (solution, &payloads)),
            None => channel.ask(sa, cx, exchange, &payloads),
        };
        match request {
            Some(request) => {
                let ppks = ppks.into_iter().map(|ppk| ppk.id).collect();
                let attempt = Attempt { agreement, chosen, ke, ppks, octets, request };
                Box::new(Self { attempt, rivals })
            }
            // A new channel has all its message ids.
            None => Box::new(Gone),
        }
    }

    /// The response: whoever did the key exchange with us goes on with it.
    fn on_response(
        mut self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        message: &Authentic<Message>,
    ) -> Next {
        let contents = match message.contents() {
            Ok(contents) if message.exchange() == ExchangeType::IKE_INTERMEDIATE => contents,
            Ok(_) => {
                return self.end(sa, cx, Fate::Fault("the response is of another exchange type".to_string()));
            }
            Err(fault) => return self.end(sa, cx, Fate::Fault(fault.to_string())),
        };
        if let Some(notify) = contents.error() {
            let fate = Fate::Refused(self.refused_by_peer(notify.kind));
            return self.end(sa, cx, fate);
        }
        match self.attempt.mix(cx, &contents, message) {
            Ok((keys, ppk)) => {
                cx.reach(Branch::IntermediateDone);
                let Self { mut attempt, mut rivals } = *self;
                attempt.inspect(sa, cx, &contents);
                rivals.forget(cx);
                attempt.go_on(sa, cx, rivals, (keys, ppk))
            }
            Err(what) => self.end(sa, cx, Fate::Fault(what)),
        }
    }

    fn refused_by_peer(&self, kind: NotifyType) -> Refusal {
        let Attempt { chosen, ke, ppks, .. } = &self.attempt;
        let ours = || chosen.connection.extensions.ppk.to_string();
        let (reason_kind, reason) = match ke {
            _ if kind == NotifyType::AUTHENTICATION_FAILED && !ppks.is_empty() => (
                RefusalKind::AuthenticationFailed,
                format!(
                    "The peer takes none of our PPKs ({}) and requires one: compare their identities and secrets on both sides.",
                    ours()
                ),
            ),
            Some(ke) => (
                RefusalKind::PeerError,
                format!(
                    "The peer refused the additional key exchange {} (IKE_INTERMEDIATE) with {kind}. Its log knows more.",
                    ke.method
                ),
            ),
            None => (
                RefusalKind::PeerError,
                format!(
                    "The peer refused our PPKs ({}) (IKE_INTERMEDIATE) with {kind}. Its log knows more.",
                    ours()
                ),
            ),
        };
        refusal(chosen, (reason_kind, true), reason)
    }

    fn on_time(mut self, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        match self.attempt.request.on_time(sa, cx) {
            Ok(()) => Box::new(self),
            Err(fate) => self.end(sa, cx, fate),
        }
    }

    fn end(mut self, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        let Attempt { agreement, chosen, .. } = &self.attempt;
        let fate = initiator_puzzle::explain(fate, agreement.obstacle.clone());
        give_up(sa, cx, &self.known(), (chosen, &agreement.secrets), fate);
        self.rivals.forget(cx);
        Box::new(Gone)
    }
}

fn refusal(chosen: &Chosen, (kind, by_peer): (RefusalKind, bool), reason: String) -> Refusal {
    Refusal { kind, by_peer, connection: Some(chosen.connection.name.clone()), reason }
}

impl Attempt {
    /// Takes the peer's half into the keys.
    //= rfc9370 §2.2.2
    //# The former "Diffie-Hellman Group Num" (now called "Key Exchange Method") field in the KEi(n) and KEr(n) payloads MUST
    //# match the n-th negotiated additional key exchange.
    fn mix(
        &mut self,
        cx: &Cx<'_>,
        contents: &Contents<'_>,
        message: &Authentic<Message>,
    ) -> Result<(Option<IkeKeys>, Option<Arc<str>>), String> {
        let secrets = &mut self.agreement.secrets;
        let keys = match &self.ke {
            Some(OurKe { method, private, .. }) => {
                let shared = private.finish(peer_value(contents, *method)?);
                let shared = shared
                    .map_err(|error| format!("its value for key exchange {method} is not valid: {error}"))?;
                Some(secrets.mix(cx, &shared).map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let ppk = self.chosen_ppk(contents)?;
        let secrets = &mut self.agreement.secrets;
        secrets.cover(cx, &self.octets, &message.intermediate_octets());
        Ok((keys, ppk))
    }

    /// Takes up what the response says beside that.
    fn inspect(&mut self, sa: &Common, cx: &mut Cx<'_>, contents: &Contents<'_>) {
        let secrets = &mut self.agreement.secrets;
        let mut agreed = secrets.agreed.clone();
        let facts = Facts {
            suite: cx.suite,
            settings: cx.settings,
            rng: cx.rng,
            spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
            path: sa.path,
            connection: &self.chosen.connection,
            agreed: &secrets.agreed,
            addresses: cx.addresses,
            first_contact: false,
            resumes: false,
        };
        ext::inspect(Moment::Intermediate, &facts, contents, &mut agreed);
        secrets.agreed = agreed;
    }

    /// The PPK that the responder has chosen, if it has any of them.
    //= rfc9867 §3.1
    //# If the responder returns a PPK identity that was not proposed by the initiator, then the initiator MUST treat this as
    //# fatal and abort the IKE SA establishment.
    fn chosen_ppk(&self, contents: &Contents<'_>) -> Result<Option<Arc<str>>, String> {
        match ext::named_ppk(contents).filter(|_| !self.ppks.is_empty()) {
            None => Ok(None),
            Some(Some(id)) if self.ppks.contains(&id) => Ok(Some(id)),
            Some(_) => Err("the peer has chosen a PPK that was not proposed (RFC 9867 §3.1)".to_string()),
        }
    }

    /// Goes over to the keys that the exchange has led to, by way of the PPK that was chosen.
    fn go_on(
        mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        rivals: Rivals,
        (keys, ppk): (Option<IkeKeys>, Option<Arc<str>>),
    ) -> Next {
        if let Some(id) = ppk {
            return Consulting::after_response(sa, cx, (rivals, self.agreement), keys, id);
        }
        let secrets = &mut self.agreement.secrets;
        let adopted = match self.ppks.is_empty() {
            true => keys.map_or(Ok(()), |keys| secrets.adopt(cx, keys)),
            false => secrets.adopt_with_ppk(cx, keys, None),
        };
        if let Err(error) = adopted {
            return Mixing { attempt: self, rivals }.end(sa, cx, Fate::Fault(error.to_string()));
        }
        if !self.ppks.is_empty() {
            let ppk = &self.chosen.connection.extensions.ppk;
            let missing =
                format!("The peer has none of our PPKs ({ppk}), or has other keys under their identities");
            //= rfc9867 §3.1
            //# the initiator cannot achieve quantum computer resistance using the proposed PPKs. If this is a requirement for the
            //# initiator, then it MUST abort creating the IKE SA.
            if ppk.required {
                let reason =
                    format!("{missing}, and `ppk_required = true`: compare their secrets on both sides.");
                let kind = RefusalKind::AuthenticationFailed;
                return initiator_ppk::end(sa, cx, (rivals, self.agreement), kind, reason);
            }
            cx.reach(Branch::PpkWithout);
            cx.note(sa.id, format!("{missing}: going on without one."));
        }
        Mixing::begin(sa, cx, rivals, self.agreement)
    }
}

impl Followed for Attempt {
    fn response(&self) -> &[u8] {
        &self.agreement.secrets.transcript.response
    }

    fn is_spent(&self) -> bool {
        self.request.is_spent()
    }

    fn release(&self, _: &mut Cx<'_>) {}

    fn resume(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, rivals: Rivals) -> Next {
        Mixing { attempt: *self, rivals }.on_time(sa, cx)
    }
}

impl Stage for Mixing {
    fn known(&self) -> Known<'_> {
        let Attempt { agreement, chosen, .. } = &self.attempt;
        Known {
            connection: Some(&chosen.connection),
            suite: Some(agreement.secrets.suite),
            ..Known::default()
        }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        if self.rivals.hear(cx, &datagram, &self.attempt.agreement.secrets.transcript.response) {
            return self;
        }
        if !datagram.header.flags.response {
            cx.unexpected(datagram.path);
            return self;
        }
        let id = self.attempt.request.id;
        let channel = &mut self.attempt.agreement.secrets.channel;
        match channel.take(sa, cx, |awaited| awaited == id, datagram) {
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
        self.attempt.agreement.secrets.channel.tidy(cx.now.mono);
        if cx.now.mono < self.attempt.request.due() || self.attempt.request.ask_for_rest(sa, cx) {
            return self;
        }
        // One wait has gone by without a response: the turn of another answer, or of the same request again.
        let Some(turn) = self.rivals.turn(sa, cx) else { return self.on_time(sa, cx) };
        let Self { attempt, rivals } = *self;
        rivals.follow(sa, cx, turn, Box::new(attempt))
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        Some((self.attempt.request.due(), Reason::Retransmit))
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        self.end(sa, cx, end.fate)
    }
}
