//! Fresh post-quantum pre-shared keys (PPKs) in CREATE_CHILD_SA (RFC 9867 §3.2): those that the keys of the IKE SA do not hold
//! yet, be it that they have another identity, or another secret since the last reload.
//!
//! ```text
//!   initiator                                       responder
//!   (whoever keeps the PPKs is asked; the request waits for its turn as before)
//!   CREATE_CHILD_SA  SK{… Ni … N(PPK_IDENTITY_KEY, PPK_ID_1) …} -->
//!                              (whoever keeps them is asked; it is as if the request came when the answer does)
//!                              <--  SK{… Nr … N(PPK_IDENTITY, PPK_ID_i)}
//!   (the new SA's keys are made of SK_d', also after IKE_FOLLOWUP_KE)
//! ```
//!
//! Nothing is negotiated for it: whoever does not know these notifications passes over them (RFC 7296 §3.10.1), and the SA comes
//! without. That is all right where the IKE SA's own SK_d holds a PPK, whatever `ppk_required` says: all new keys come of that.

use crate::channel::Request;
use crate::child::NoChild;
use crate::contents::Contents;
use crate::established::{After, Established};
use crate::ext::{self, UsedPpk};
use crate::fault::Fault;
use crate::{Common, Cx, create_child, limits};
use base::{Instant, Secret};
use policy::Ppks;
use sa::{Branch, Job, JobId, MixedPpk, PPK_CONFIRMATION, PpkAnswer, PpkRequest, Refusal, RefusalKind};
use std::sync::Arc;
use wire::num::NotifyType;
use wire::{Notify, Payload};

/// A PPK that both have, and what it makes of SK_d.
#[derive(Clone, Debug)]
pub(crate) struct Primed {
    pub(crate) ppk: UsedPpk,
    /// SK_d'.
    pub(crate) sk_d: Secret,
}

impl Primed {
    fn of(ppk: &MixedPpk) -> Option<Self> {
        Some(Self { ppk: UsedPpk::from(ppk), sk_d: ppk.keys.first()?.clone() })
    }
}

/// A request of the peer's for an SA.
pub(crate) struct Wanted<'a> {
    pub(crate) to: Request,
    pub(crate) contents: &'a Contents<'a>,
    /// Which of its PPKs is taken.
    pub(crate) ppk: Option<Primed>,
}

/// What our next request for an SA proposes.
#[derive(Default)]
pub(crate) struct Offer {
    /// Its Ni, where confirmations rest on it.
    nonce: Option<Vec<u8>>,
    pub(crate) ppks: Vec<MixedPpk>,
}

impl Offer {
    /// Ni.
    pub(crate) fn nonce(&mut self, cx: &mut Cx<'_>) -> Vec<u8> {
        self.nonce.take().unwrap_or_else(|| cx.random(limits::NONCE_LEN))
    }

    /// The PPK_IDENTITY_KEY notifications.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = Payload<'static>> {
        self.ppks.iter().map(ext::ppk_proposal)
    }
}

/// How far the offer for our next request has come.
#[derive(Default)]
pub(crate) enum Offering {
    /// Nobody has asked for it.
    #[default]
    None,
    /// Whoever keeps the PPKs is asked.
    Asked {
        nonce: Vec<u8>,
        job: JobId,
        until: Instant,
    },
    Ready(Offer),
}

/// A request of the peer's that waits for what its PPKs are.
pub(crate) struct Consulting {
    to: Request,
    contents: Box<Contents<'static>>,
    job: JobId,
    pub(crate) until: Instant,
}

/// Asks whoever keeps the PPKs for those that a request of the peer's proposes, where there is one that may be taken; `true`: it
/// is decided on when the answer comes.
//= rfc9867 §3.2
//# If the responder does not support (or is not configured for) using PPKs in the CREATE_CHILD_SA exchange or does not have a
//# PPK with an ID that matches any of IDs sent by the initiator, […] new SA is created as defined in IKEv2 [RFC7296].
pub(crate) fn consult(
    of: &mut Established,
    sa: &Common,
    cx: &mut Cx<'_>,
    (to, contents): (Request, &Contents<'_>),
) -> Result<bool, Fault> {
    let ppks = of.ppks(cx);
    if !ppks.any() {
        return Ok(false);
    }
    let Some(proposed) = ext::ppk_claims(contents)? else { return Ok(false) };
    let wanted: Vec<_> = proposed.iter().filter(|(id, _)| ppks.allows(id)).cloned().collect();
    if wanted.is_empty() {
        not_taken(sa, cx, &ext::no_ppk_in_common(&proposed, &[]));
        return Ok(false);
    }
    let nonce = contents.nonce.as_ref().map_or(&[][..], |nonce| nonce);
    let job = cx.out.job(sa.id, of.ppk_job(sa, nonce, wanted));
    let (contents, until) = (Box::new(contents.child_copy()), cx.now.mono + limits::JOB_PATIENCE);
    of.consulting.push(Consulting { to, contents, job, until });
    Ok(true)
}

/// Whoever keeps the PPKs has answered, or an error says why there are none.
pub(crate) fn on_answer(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    job: JobId,
    answer: Result<PpkAnswer, String>,
) -> After {
    let answered = matches!(&of.offering, Offering::Asked { job: own, .. } if *own == job);
    let index = of.consulting.iter().position(|consulting| consulting.job == job);
    if !answered && index.is_none() {
        return After::Stay;
    }
    let PpkAnswer { mut found, mismatched } = answer.unwrap_or_else(|why| {
        cx.note(sa.id, format!("No PPK can be mixed in: {why}"));
        PpkAnswer::default()
    });
    if let Offering::Asked { nonce, .. } = &mut of.offering
        && answered
    {
        let nonce = Some(std::mem::take(nonce));
        found.retain(|ppk| !of.peer.ppk.holds(ppk));
        of.offering = Offering::Ready(Offer { nonce, ppks: found });
        return After::Stay;
    }
    let Some(index) = index else { return After::Stay };
    let Consulting { to, contents, .. } = of.consulting.remove(index);
    // One that is in the keys already adds nothing; but the peer may know no better.
    let best = found.iter().position(|ppk| !of.peer.ppk.holds(ppk)).unwrap_or(0);
    let ppk = found.get(best).and_then(Primed::of);
    match &ppk {
        Some(_) => cx.reach(Branch::PpkFreshTaken),
        None => {
            let proposed = ext::ppk_claims(&contents).ok().flatten().unwrap_or_default();
            not_taken(sa, cx, &ext::no_ppk_in_common(&proposed, &mismatched));
        }
    }
    create_child::decide(of, sa, cx, Wanted { to, contents: &contents, ppk })
}

fn not_taken(sa: &Common, cx: &mut Cx<'_>, why: &str) {
    cx.reach(Branch::PpkFreshRefused);
    cx.note(sa.id, format!("{why} The new keys come without it."));
}

/// Why a request of the peer's is refused for want of a PPK.
//= rfc9867 §3.2
//# If using PPKs in CREATE_CHILD_SA is mandatory for the responder, and the initiator does not include any PPK_IDENTITY_KEY
//# notifications in the request, or if the responder does not have a PPK with an ID that matches any of IDs sent by the
//# initiator, or […] mismatched values […], then the responder MUST return the NO_PROPOSAL_CHOSEN notification.
pub(crate) fn refusal(of: &Established, cx: &mut Cx<'_>, ppk: Option<&Primed>) -> Option<NoChild> {
    if !of.is_wanting(cx, ppk) {
        return None;
    }
    cx.reach(Branch::PpkFreshRequired);
    let connection = &of.chosen.connection;
    let reason = format!(
        "The peer wants new keys without a PPK. There is none in those of the IKE SA either, and `ppk_required = true` for \
         connection `{}`: give both sides one (`ppk_id`, [secrets.ppk]).",
        connection.name
    );
    let kind = RefusalKind::NoProposalChosen;
    Some(NoChild::new(kind, NotifyType::NO_PROPOSAL_CHOSEN, connection, reason))
}

/// The PPK that the peer's response to `offered` takes, if it takes any.
//= rfc9867 §3.2
//# it sends back the PPK_IDENTITY notification containing the ID of the selected PPK
pub(crate) fn taken(offered: &[MixedPpk], contents: &Contents<'_>) -> Result<Option<Primed>, String> {
    let named = contents.notifies.iter().filter(|notify| notify.kind == NotifyType::PPK_IDENTITY).count();
    match ext::named_ppk(contents) {
        None => Ok(None),
        Some(_) if named > 1 => Err("it takes more than one PPK (RFC 9867 §3.2)".to_string()),
        Some(id) => {
            let ppk = offered.iter().find(|ppk| Some(&ppk.id) == id.as_ref()).and_then(Primed::of);
            ppk.map(Some).ok_or_else(|| "it takes a PPK that was not proposed (RFC 9867 §3.2)".to_string())
        }
    }
}

/// The peer has answered our request: whether what comes of it may stand with that PPK, or without any.
//= rfc9867 §3.2
//# If this is inappropriate for the initiator, it can immediately delete this SA.
pub(crate) fn settle(
    of: &Established,
    sa: &Common,
    cx: &mut Cx<'_>,
    (offered, ppk): (&[MixedPpk], Option<&UsedPpk>),
) -> Result<(), Refusal> {
    if ppk.is_some() {
        cx.reach(Branch::PpkFresh);
        return Ok(());
    }
    let ids: Vec<_> = offered.iter().map(|ppk| format!("`{}`", ppk.id)).collect();
    let missing = format!("The peer takes none of our PPKs ({}) for the new keys", ids.join(", "));
    if of.is_wanting(cx, None) {
        return Err(wanting(of, cx, &missing));
    }
    if !ids.is_empty() {
        cx.reach(Branch::PpkFreshWithout);
        let still = match of.peer.ppk.id() {
            Some(id) => format!("they hold the PPK `{id}` as before"),
            None => "going on without one".to_string(),
        };
        cx.note(sa.id, format!("{missing}: {still}."));
    }
    Ok(())
}

/// Why there are no new keys: a PPK is required, and `missing` says what became of it.
fn wanting(of: &Established, cx: &mut Cx<'_>, missing: &str) -> Refusal {
    cx.reach(Branch::PpkFreshRequired);
    let reason = format!(
        "{missing}, there is none in those of the IKE SA, and `ppk_required = true`: give both sides the same (RFC 9867), or set \
         `ppk_required = false`."
    );
    of.refusal(RefusalKind::NoProposalChosen, reason)
}

impl Established {
    /// Why our next request for an SA is not made: what came of it could only be thrown away, and the peer may have moved its
    /// child SAs there.
    pub(crate) fn why_not_ask(&self, cx: &mut Cx<'_>) -> Option<Refusal> {
        let offers = matches!(&self.offering, Offering::Ready(offer) if !offer.ppks.is_empty());
        (!offers && self.is_wanting(cx, None))
            .then(|| wanting(self, cx, "No PPK can be proposed for the new keys"))
    }

    /// The PPKs of its connection, as the configuration in force has them: a reload brings fresh ones.
    fn ppks<'a>(&'a self, cx: &'a Cx<'_>) -> &'a Ppks {
        let own = &self.chosen.connection;
        let present = cx.policy.resolve(self.chosen.id, &own.name);
        &present.unwrap_or(own).extensions.ppk
    }

    /// Whether a new SA must not come with this PPK, or without any.
    fn is_wanting(&self, cx: &Cx<'_>, ppk: Option<&Primed>) -> bool {
        ppk.is_none() && self.peer.ppk.used.is_empty() && self.ppks(cx).required
    }

    /// Whether our next request for an SA may be made: it is known what it proposes.
    //= rfc9867 §3.2
    //# the PPK can be used for creating additional IPsec SAs and for rekeying both IKE and IPsec SAs regardless of whether the
    //# current IKE SA was created with the use of a PPK […] or not.
    pub(crate) fn may_offer(&mut self, sa: &Common, cx: &mut Cx<'_>) -> bool {
        match self.offering {
            Offering::Ready(_) => return true,
            Offering::Asked { .. } => return false,
            Offering::None => {}
        }
        let wanted = self.candidates(cx);
        if wanted.is_empty() {
            return true;
        }
        let nonce = cx.random(limits::NONCE_LEN);
        let job = cx.out.job(sa.id, self.ppk_job(sa, &nonce, wanted));
        self.offering = Offering::Asked { nonce, job, until: cx.now.mono + limits::JOB_PATIENCE };
        false
    }

    /// What may be proposed: what the connection names, and what is in the keys, which may have been replaced.
    fn candidates(&self, cx: &Cx<'_>) -> Vec<(Arc<str>, Option<[u8; PPK_CONFIRMATION]>)> {
        let ppks = self.ppks(cx);
        let used = self.peer.ppk.used.iter().map(|used| &used.id).filter(|id| ppks.allows(id));
        let mut ids: Vec<Arc<str>> = Vec::new();
        for id in ppks.offered().chain(used) {
            if !ids.contains(id) && ids.len() < limits::MAX_PPKS {
                ids.push(id.clone());
            }
        }
        ids.into_iter().map(|id| (id, None)).collect()
    }

    /// Asks what PPKs make of SK_d.
    //= rfc9867 §3.2
    //# Ni is the initiator's nonce from the CREATE_CHILD_SA request and SPIi/SPIr are the SPIs of the current IKE SA.
    fn ppk_job(
        &self,
        sa: &Common,
        nonce: &[u8],
        wanted: Vec<(Arc<str>, Option<[u8; PPK_CONFIRMATION]>)>,
    ) -> Job {
        let confirmed = [nonce, &sa.spi_i.0.to_be_bytes(), &sa.spi_r.0.to_be_bytes()].concat();
        Job::Ppk(PpkRequest { prf: self.suite.prf, wanted, confirmed, keys: vec![self.sk_d.clone()] })
    }

    /// What the request that is being made proposes.
    pub(crate) fn take_offer(&mut self) -> Offer {
        match std::mem::take(&mut self.offering) {
            Offering::Ready(offer) => offer,
            Offering::None | Offering::Asked { .. } => Offer::default(),
        }
    }

    /// Until when whoever keeps the PPKs has to answer.
    pub(crate) fn ppks_until(&self) -> Option<Instant> {
        let offering = match &self.offering {
            Offering::Asked { until, .. } => Some(*until),
            Offering::None | Offering::Ready(_) => None,
        };
        self.consulting.iter().map(|consulting| consulting.until).chain(offering).min()
    }

    /// PPKs on which their keeper says nothing are none.
    pub(crate) fn give_up_on_ppks(&mut self, sa: &mut Common, cx: &mut Cx<'_>) -> After {
        let now = cx.now.mono;
        let offering = match &self.offering {
            Offering::Asked { job, until, .. } => Some((*job, *until)),
            Offering::None | Offering::Ready(_) => None,
        };
        let all = self.consulting.iter().map(|consulting| (consulting.job, consulting.until)).chain(offering);
        let late: Vec<JobId> = all.filter(|(_, until)| now >= *until).map(|(job, _)| job).collect();
        for job in late {
            let why = "whoever keeps them does not answer.".to_string();
            match on_answer(self, sa, cx, job, Err(why)) {
                After::Stay => {}
                after => return after,
            }
        }
        After::Stay
    }

    /// The IKE SA has a successor, whose SK_d is another one: requests that wait come too late.
    //= rfc7296 §2.25.2
    //# If a peer receives a request to create or rekey a Child SA when it is currently rekeying the IKE SA, it SHOULD reply
    //# with TEMPORARY_FAILURE.
    pub(crate) fn turn_away_consulting(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        self.offering = Offering::None;
        for consulting in std::mem::take(&mut self.consulting) {
            cx.reach(Branch::PpkFreshLate);
            let notify = Notify::new(NotifyType::TEMPORARY_FAILURE, Vec::new());
            self.channel.respond(sa, cx, consulting.to, &[Payload::Notify(notify)]);
        }
    }
}

/// Says that a PPK has come into the keys of a new IKE SA.
pub(crate) fn tell(sa: &Common, cx: &mut Cx<'_>, ppk: &UsedPpk) {
    cx.note(sa.id, format!("The PPK `{}` is part of its keys from now on (RFC 9867).", ppk.id));
}
