//! The responder's post-quantum pre-shared keys (RFC 8784, RFC 9867): which of those that the initiator names are taken. The
//! initiator's side draws the exchanges.

use super::responder_auth::{Claim, HalfOpen, Open, read, refuse};
use super::responder_check::{Checking, ended, late};
use super::responder_intermediate::Round;
use super::{Deadline, Secrets};
use crate::channel::{Authentic, Message, Request};
use crate::contents::Contents;
use crate::ext::{self, Ppk, PpkWay};
use crate::ike_sa::{Chosen, Datagram, End, Known, Next, Stage};
use crate::{Common, Cx, limits};
use base::Instant;
use policy::{Connection, Ppks};
use sa::{Answer, Branch, JobId, PpkAnswer, Reason, Refusal, RefusalKind};
use std::sync::Arc;
use wire::num::NotifyType;

/// Whoever keeps the PPKs is asked.
pub(super) struct Consulting {
    secrets: Secrets,
    to: Request,
    then: Then,
    job: JobId,
    until: Deadline,
}

/// What is asked for.
enum Then {
    /// What one of the PPKs that an IKE_INTERMEDIATE request proposes makes of the keys.
    Round(Box<Open>, Round),
    /// What the PPK that IKE_AUTH names makes of what goes into AUTH, and of SK_d.
    Stir(Box<Chosen>, Authentic<Message>, Arc<str>),
}

/// Goes on with an IKE_INTERMEDIATE request, by way of its PPKs, where it proposes some.
pub(super) fn take_round(
    sa: &mut Common,
    cx: &mut Cx<'_>,
    (open, secrets): (Open, Secrets),
    round: Round,
) -> Next {
    let Some(proposed) = &round.proposed else { return finish(sa, cx, (open, secrets), round, None) };
    let allowed = |id: &str| open.hosts().any(|connection| connection.extensions.ppk.allows(id));
    let wanted: Vec<_> = proposed.iter().filter(|(id, _)| allowed(id)).cloned().collect();
    if wanted.is_empty() {
        return finish(sa, cx, (open, secrets), round, Some(PpkAnswer::default()));
    }
    let sk_d = round.keys.as_ref().map_or(&secrets.sk_d, |keys| &keys.d).clone();
    let job = cx.out.job(sa.id, secrets.ppk_job(wanted, vec![sk_d]));
    let (to, until) = (round.to, Deadline(cx.now.mono + limits::JOB_PATIENCE));
    Box::new(Consulting { secrets, to, then: Then::Round(Box::new(open), round), job, until })
}

/// Answers an IKE_INTERMEDIATE request, with the first of its PPKs that both have.
//= rfc9867 §3.1
//# if using PPK is mandatory for the responder, then it MUST return an AUTHENTICATION_FAILED notification and abort creating
//# the IKE SA.
fn finish(
    sa: &mut Common,
    cx: &mut Cx<'_>,
    (mut open, mut secrets): (Open, Secrets),
    round: Round,
    answer: Option<PpkAnswer>,
) -> Next {
    open.wait_on(sa, cx);
    let to = round.to;
    let chosen = match answer {
        None => None,
        Some(PpkAnswer { mut found, mismatched }) => {
            found.truncate(1);
            let chosen = found.pop();
            if chosen.is_none() {
                let proposed = round.proposed.as_deref().unwrap_or_default();
                let why = ext::no_ppk_in_common(proposed, &mismatched);
                // Who the peer is shows in IKE_AUTH only: while it may be one that needs none, it goes on.
                if open.hosts().all(|connection| connection.extensions.ppk.required) {
                    let connection = open.hosts().next().map(|connection| connection.name.clone());
                    return refuse(sa, cx, secrets, to, refusal(connection, why));
                }
                cx.note(sa.id, format!("{why} Going on without one."));
            }
            Some(chosen)
        }
    };
    match round.answer(sa, cx, &mut secrets, chosen) {
        Ok(()) => Box::new(HalfOpen::new(open, secrets)),
        Err(fault) => super::responder_auth::refuse_fault(sa, cx, secrets, to, &fault),
    }
}

fn refusal(connection: Option<String>, reason: String) -> Refusal {
    Refusal { kind: RefusalKind::AuthenticationFailed, by_peer: false, connection, reason }
}

/// The initiator says who it is: what its connection wants of PPKs is done, then its AUTH value is checked.
//= rfc8784 §3
//# If no PPK_IDENTITY notification is found and the peers successfully exchanged USE_PPK notifications in the IKE_SA_INIT
//# exchange, then the responder MUST send back an AUTHENTICATION_FAILED notification and then fail the negotiation.
pub(super) fn welcome(
    sa: &mut Common,
    cx: &mut Cx<'_>,
    (chosen, secrets): (Chosen, Secrets),
    (to, message): (Request, Authentic<Message>),
    until: Deadline,
) -> Next {
    let claim = match read(to, &message, until) {
        Ok(claim) => claim,
        Err(fault) => return super::responder_auth::refuse_fault(sa, cx, secrets, to, &fault),
    };
    let ppks = &chosen.connection.extensions.ppk;
    let name = || Some(chosen.connection.name.clone());
    if secrets.agreed.ppk.way != PpkWay::Auth {
        return match unfit(&chosen.connection, &secrets.agreed.ppk).filter(|_| secrets.former.is_none()) {
            Some(why) => refuse(sa, cx, secrets, to, refusal(name(), why)),
            None => Checking::begin(sa, cx, chosen, secrets, claim),
        };
    }
    match ext::named_ppk(&claim.contents) {
        None => {
            let why = "The peer has announced a PPK (USE_PPK), and names none in IKE_AUTH.".to_string();
            refuse(sa, cx, secrets, to, refusal(name(), why))
        }
        Some(Some(id)) if ppks.allows(&id) => {
            let job = cx.out.job(sa.id, secrets.ppk_job(vec![(id.clone(), None)], secrets.ppk_keys()));
            let then = Then::Stir(Box::new(chosen), message, id);
            Box::new(Consulting { secrets, to, then, job, until })
        }
        Some(id) => without(sa, cx, (chosen, secrets), claim, id.as_deref()),
    }
}

/// Why the PPK that is in the keys, or that none is, does not suit the connection of the peer, now that it is known.
//= rfc9867 §3.1
//# this particular PPK is not associated with the initiator's identity in its local policy. […] In this case, the responder
//# SHOULD abort negotiation and return back the AUTHENTICATION_FAILED notification to be consistent with its policy.
fn unfit(connection: &Connection, ppk: &Ppk) -> Option<String> {
    let (name, Ppks { required, .. }) = (&connection.name, &connection.extensions.ppk);
    match ppk.id() {
        Some(id) if !connection.extensions.ppk.allows(id) => Some(format!(
            "The PPK `{id}` is in the keys, but it is not for this peer: `ppk_id` of connection `{name}` does not name it."
        )),
        None if *required => Some(format!(
            "No PPK is in the keys, and `ppk_required = true` for connection `{name}`: have the peer use one (RFC 8784, RFC 9867)."
        )),
        _ => None,
    }
}

/// The PPK is not here, or not for this peer: its AUTH value without it decides, where that may be.
//= rfc8784 §3
//# If using PPKs is mandatory or no NO_PPK_AUTH notification is found, then the responder MUST send back an
//# AUTHENTICATION_FAILED notification and then fail the negotiation. Otherwise […], the responder MAY continue the regular
//# IKEv2 protocol, except that it uses the data from the NO_PPK_AUTH notification as the authentication data
fn without(
    sa: &mut Common,
    cx: &mut Cx<'_>,
    (chosen, secrets): (Chosen, Secrets),
    mut claim: Claim<'_>,
    id: Option<&str>,
) -> Next {
    let connection = &chosen.connection;
    let which = id.map_or("that the peer names".to_string(), |id| format!("`{id}`"));
    let missing = format!(
        "The PPK {which} is not here, or not for this peer (`ppk_id` and [secrets.ppk] of connection `{}`)",
        connection.name
    );
    let why = match auth_without(&claim.contents) {
        Some(auth) if !connection.extensions.ppk.required => {
            cx.reach(Branch::PpkWithout);
            cx.note(sa.id, format!("{missing}: going on without one."));
            claim.auth.data = auth.into();
            return Checking::begin(sa, cx, chosen, secrets, claim);
        }
        Some(_) => "and `ppk_required = true`",
        None => "and the peer requires it",
    };
    let refusal = refusal(Some(connection.name.clone()), format!("{missing}, {why}: give it to both sides."));
    refuse(sa, cx, secrets, claim.to, refusal)
}

/// What stands in NO_PPK_AUTH.
fn auth_without(contents: &Contents<'_>) -> Option<Vec<u8>> {
    contents.notify(NotifyType::NO_PPK_AUTH).map(|notify| notify.data.to_vec())
}

impl Consulting {
    fn on_answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, answer: PpkAnswer) -> Next {
        let Self { mut secrets, to, then, until, .. } = *self;
        match then {
            Then::Round(open, round) => {
                if !answer.found.is_empty() {
                    cx.reach(Branch::PpkIntermediate);
                }
                finish(sa, cx, (*open, secrets), round, Some(answer))
            }
            Then::Stir(chosen, message, id) => {
                let claim = match read(to, &message, until) {
                    Ok(claim) => claim,
                    Err(fault) => return super::responder_auth::refuse_fault(sa, cx, secrets, to, &fault),
                };
                match answer.found.into_iter().next() {
                    Some(ppk) => {
                        secrets.stir(ppk);
                        Checking::begin(sa, cx, *chosen, secrets, claim)
                    }
                    None => without(sa, cx, (*chosen, secrets), claim, Some(&id)),
                }
            }
        }
    }

    fn refuse(self, sa: &mut Common, cx: &mut Cx<'_>, why: impl Fn(Option<&Chosen>) -> Refusal) -> Next {
        let chosen = match &self.then {
            Then::Stir(chosen, ..) => Some(&**chosen),
            Then::Round(..) => None,
        };
        let refusal = why(chosen);
        refuse(sa, cx, self.secrets, self.to, refusal)
    }
}

impl Stage for Consulting {
    fn known(&self) -> Known<'_> {
        let connection = match &self.then {
            Then::Stir(chosen, ..) => Some(&*chosen.connection),
            Then::Round(..) => None,
        };
        Known { connection, suite: Some(self.secrets.suite), ..Known::default() }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        // Only the same request again can come, and its response is on its way.
        self.secrets.channel.take_repeated(sa, cx, datagram);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Ppk(answer) => self.on_answer(sa, cx, answer),
            Answer::Refused(why) => self.refuse(sa, cx, |chosen| {
                refusal(chosen.map(|chosen| chosen.connection.name.clone()), why.reason.clone())
            }),
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if self.until.is_over(cx) { self.refuse(sa, cx, late) } else { self }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, _: End) -> Next {
        self.refuse(sa, cx, ended)
    }

    fn is_half_open(&self) -> bool {
        true
    }
}
