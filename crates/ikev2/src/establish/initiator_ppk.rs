//! The initiator's post-quantum pre-shared keys (RFC 8784, RFC 9867): whoever keeps them is asked for what they make of our
//! keys.
//!
//! ```text
//!   with IKE_INTERMEDIATE (RFC 9867 §3.1), the last one or one of its own:
//!   Consulting (their confirmations)
//!   Mixing        SK{[KEi(n)] N(PPK_IDENTITY_KEY, PPK_ID_1) …} -->
//!                                      <--  SK{[KEr(n)] N(PPK_IDENTITY, PPK_ID_i)}
//!   Consulting (new keys)
//!   with IKE_AUTH (RFC 8784 §3):
//!   Consulting (new SK_d, SK_pi, SK_pr)
//!   Proving       (AUTH, and where it goes without a PPK, NO_PPK_AUTH)
//!   AwaitAuth     SK{… AUTH … N(PPK_IDENTITY, PPK_ID) [N(NO_PPK_AUTH)]} -->
//!                                      <--  SK{… AUTH … [N(PPK_IDENTITY)]}
//! ```

use super::initiator_auth::{Proving, give_up};
use super::initiator_init::Agreement;
use super::initiator_intermediate::Mixing;
use super::rivals::Rivals;
use super::{Deadline, Secrets};
use crate::contents::Contents;
use crate::ext::PpkWay;
use crate::ike_sa::{Datagram, End, Gone, Known, Next, Stage};
use crate::{Common, Cx, limits};
use base::Instant;
use crypto::IkeKeys;
use policy::Connection;
use sa::{Answer, Branch, Fate, JobId, MixedPpk, Reason, Refusal, RefusalKind};
use std::sync::Arc;
use wire::num::NotifyType;

/// Whoever keeps the PPKs is asked.
pub(super) struct Consulting {
    rivals: Rivals,
    agreement: Agreement,
    then: Then,
    job: JobId,
    until: Deadline,
}

/// What is asked for.
enum Then {
    /// The confirmations of what we propose.
    Propose,
    /// What the PPK that the responder has chosen makes of these keys, or of ours.
    Take(Option<Box<IkeKeys>>),
    /// What the PPK makes of what goes into AUTH, and of SK_d.
    Stir,
}

impl Consulting {
    /// Asks for the confirmations of all that may be proposed.
    pub(super) fn before_request(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        rivals: Rivals,
        agreement: Agreement,
    ) -> Next {
        let ppks = &rivals.chosen().connection.extensions.ppk;
        let wanted = ppks.offered().take(limits::MAX_PPKS).map(|id| (id.clone(), None)).collect();
        let job = cx.out.job(sa.id, agreement.secrets.ppk_job(wanted, Vec::new()));
        Self::wait(cx, (rivals, agreement), Then::Propose, job)
    }

    /// Asks for what `id` makes of the keys that the exchange has led to.
    pub(super) fn after_response(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        (rivals, agreement): (Rivals, Agreement),
        keys: Option<IkeKeys>,
        id: Arc<str>,
    ) -> Next {
        let sk_d = keys.as_ref().map_or(&agreement.secrets.sk_d, |keys| &keys.d).clone();
        let job = cx.out.job(sa.id, agreement.secrets.ppk_job(vec![(id, None)], vec![sk_d]));
        Self::wait(cx, (rivals, agreement), Then::Take(keys.map(Box::new)), job)
    }

    /// Goes on to IKE_AUTH: by way of its PPK, where that is agreed on.
    //= rfc8784 §3
    //# If the responder did include the USE_PPK notification, then the initiator selects a PPK, along with its identifier
    //# PPK_ID.
    pub(super) fn before_auth(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        rivals: Rivals,
        agreement: Agreement,
    ) -> Next {
        let wanted = rivals.chosen().connection.extensions.ppk.offered().next().cloned();
        match wanted.filter(|_| agreement.secrets.agreed.ppk.way == PpkWay::Auth) {
            Some(id) => {
                let secrets = &agreement.secrets;
                let job = cx.out.job(sa.id, secrets.ppk_job(vec![(id, None)], secrets.ppk_keys()));
                Self::wait(cx, (rivals, agreement), Then::Stir, job)
            }
            None => Proving::begin(sa, cx, rivals, agreement),
        }
    }

    fn wait(cx: &Cx<'_>, (rivals, agreement): (Rivals, Agreement), then: Then, job: JobId) -> Next {
        let until = Deadline(cx.now.mono + limits::JOB_PATIENCE);
        Box::new(Self { rivals, agreement, then, job, until })
    }

    fn on_answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, found: Vec<MixedPpk>) -> Next {
        let Self { rivals, mut agreement, then, .. } = *self;
        if found.is_empty() {
            let connection = &rivals.chosen().connection;
            let reason = format!(
                "None of the PPKs of `ppk_id` ({}) is here any more: give it in [secrets.ppk].",
                connection.extensions.ppk
            );
            return end(sa, cx, (rivals, agreement), RefusalKind::AuthenticationFailed, reason);
        }
        match then {
            Then::Propose => Mixing::ask(sa, cx, rivals, agreement, found),
            Then::Take(keys) => {
                let taken =
                    agreement.secrets.adopt_with_ppk(cx, keys.map(|keys| *keys), found.into_iter().next());
                match taken {
                    Ok(()) => {
                        cx.reach(Branch::PpkIntermediate);
                        Mixing::begin(sa, cx, rivals, agreement)
                    }
                    Err(error) => end(
                        sa,
                        cx,
                        (rivals, agreement),
                        RefusalKind::AuthenticationFailed,
                        format!("PPK: {error}."),
                    ),
                }
            }
            Then::Stir => {
                found.into_iter().take(1).for_each(|ppk| agreement.secrets.stir(ppk));
                Proving::begin(sa, cx, rivals, agreement)
            }
        }
    }

    fn end(self, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        let Self { mut rivals, agreement, .. } = self;
        let chosen = rivals.chosen().clone();
        give_up(sa, cx, &known(&chosen.connection, &agreement), (&chosen, &agreement.secrets), fate);
        rivals.forget(cx);
        Box::new(Gone)
    }
}

fn known<'a>(connection: &'a Connection, agreement: &Agreement) -> Known<'a> {
    Known { connection: Some(connection), suite: Some(agreement.secrets.suite), ..Known::default() }
}

/// It comes to nothing for want of a PPK.
pub(super) fn end(
    sa: &mut Common,
    cx: &mut Cx<'_>,
    (mut rivals, agreement): (Rivals, Agreement),
    kind: RefusalKind,
    reason: String,
) -> Next {
    let chosen = rivals.chosen().clone();
    let refusal = Refusal { kind, by_peer: false, connection: Some(chosen.connection.name.clone()), reason };
    let known = known(&chosen.connection, &agreement);
    give_up(sa, cx, &known, (&chosen, &agreement.secrets), Fate::Refused(refusal));
    rivals.forget(cx);
    Box::new(Gone)
}

/// Why there is no IKE SA with a responder that does not speak of PPKs, where one is required.
//= rfc8784 §3
//# If the responder did not include the USE_PPK notification and the flag mandatory_or_not indicates that using PPKs is
//# mandatory for communication with this responder, then the initiator MUST abort the exchange.
pub(super) fn wanting(connection: &Connection, way: PpkWay) -> Option<Refusal> {
    if !connection.extensions.ppk.required || way != PpkWay::None {
        return None;
    }
    let reason = format!(
        "The peer answers without a word of PPKs, and `ppk_required = true` for connection `{}`: have the peer use a PPK \
         (RFC 8784) with us, or set `ppk_required = false`.",
        connection.name
    );
    let connection = Some(connection.name.clone());
    Some(Refusal { kind: RefusalKind::PeerError, by_peer: true, connection, reason })
}

/// The responder's IKE_AUTH response tells whether it has used the PPK. Where it has not, the keys are those without it; an
/// error says why that must not be.
//= rfc8784 §3
//# If the initiator does not receive the PPK_IDENTITY, it MUST either fail the IKE SA negotiation sending the
//# AUTHENTICATION_FAILED notification in the INFORMATIONAL exchange (if the PPK was configured as mandatory) or continue
//# without using the PPK
//= rfc8784 §3
//# the content of the received PPK_IDENTITY (if any) MUST be ignored.
pub(super) fn settle(
    sa: &Common,
    cx: &mut Cx<'_>,
    connection: &Connection,
    secrets: &mut Secrets,
    contents: &Contents<'_>,
) -> Result<(), Refusal> {
    let ppk = &secrets.agreed.ppk;
    let Some(id) = ppk.id().filter(|_| ppk.way == PpkWay::Auth).map(str::to_string) else { return Ok(()) };
    if contents.has(NotifyType::PPK_IDENTITY) {
        return Ok(());
    }
    secrets.unstir();
    if !connection.extensions.ppk.required {
        cx.reach(Branch::PpkWithout);
        //= rfc8784 §6
        //# if a PPK was configured but was not used for a particular IKE SA, then implementations SHOULD audit this event.
        cx.note(sa.id, format!("The peer has not got the PPK `{id}`: going on without one."));
        return Ok(());
    }
    Err(Refusal {
        kind: RefusalKind::AuthenticationFailed,
        by_peer: false,
        connection: Some(connection.name.clone()),
        reason: format!(
            "The peer has not got the PPK `{id}`, and `ppk_required = true`: give it to the peer, or set `ppk_required = false`."
        ),
    })
}

impl Stage for Consulting {
    fn known(&self) -> Known<'_> {
        known(&self.rivals.chosen().connection, &self.agreement)
    }

    fn datagram(mut self: Box<Self>, _: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        self.rivals.hear_only(cx, &datagram, &self.agreement.secrets.transcript.response);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Ppk(answer) => self.on_answer(sa, cx, answer.found),
            Answer::Refused(why) => {
                let Self { rivals, agreement, .. } = *self;
                end(sa, cx, (rivals, agreement), RefusalKind::AuthenticationFailed, why.reason)
            }
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if self.until.is_over(cx) { self.end(sa, cx, Fate::HalfOpenTimeout) } else { self }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        self.end(sa, cx, end.fate)
    }
}
