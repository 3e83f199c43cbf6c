//! The end of the initiator's IKE_AUTH: the peer's last AUTH value is checked.

use super::initiator_auth::Attempt;
use super::initiator_ppk;
use super::initiator_resume::in_words;
use super::{Deadline, Secrets, with_ppk};
use crate::child::{self, Proposed};
use crate::closing::Closing;
use crate::contents::{self, Contents};
use crate::established::{Authenticated, Established, FirstChild, Identities};
use crate::ext::configuration::{clip, without_families};
use crate::ext::{self, Agreed, Facts, Moment, Nat};
use crate::ike_sa::{Chosen, Datagram, End, Known, Next, Stage};
use crate::ticket::Former;
use crate::{Common, Cx, limits, redirect, resume};
use base::{Instant, Secret};
use crypto::Spis;
use policy::{Connection, Identity, Round};
use sa::{Answer, Fate, Job, JobId, Reason, Refusal, RefusalKind, Side};
use wire::num::{AuthMethod, NotifyType};
use wire::{Authentication, Identification};

/// What the response says.
pub(super) struct Claim<'a> {
    pub(super) contents: Contents<'a>,
    pub(super) id_r: Identification<'a>,
    pub(super) auth: Authentication<'a>,
}

/// The peer's AUTH value is being checked.
pub(crate) struct Checking {
    answered: Answered,
    /// Who the peer says it is.
    claimed: Identity,
    job: JobId,
    until: Deadline,
}

/// What IKE_AUTH has led to before its last response is read.
pub(super) struct Exchanged {
    pub(super) chosen: Chosen,
    pub(super) secrets: Secrets,
    pub(super) identities: Identities,
    /// The child SA that is proposed.
    pub(super) proposed: Option<Proposed>,
}

/// What the response has led to, if the peer is who it says.
pub(super) struct Answered {
    chosen: Chosen,
    secrets: Secrets,
    identities: Identities,
    first: Option<FirstChild>,
}

/// Who judges the peer's AUTH value.
enum Judge {
    /// Whoever holds the keys: a job.
    Keys(JobId),
    /// The keys of the IKE SA itself, which is resumed: what is wrong, if anything is.
    Ours(Option<&'static str>),
    /// Nobody: it lacks the PPK that is required.
    Nobody(Refusal),
}

impl Checking {
    /// Goes on with the only round that there is.
    pub(super) fn begin(sa: &mut Common, cx: &mut Cx<'_>, from: Attempt, claim: Claim<'_>) -> Next {
        let Attempt { chosen, mut secrets, local, ours, proposed, .. } = from;
        let mut identities = Identities::new(local, contents::identity(&claim.id_r), &chosen.connection);
        identities.ours = ours;
        let settled = initiator_ppk::settle(sa, cx, &chosen.connection, &mut secrets, &claim.contents);
        let judge = match (settled, &secrets.former) {
            (Err(refusal), _) => Judge::Nobody(refusal),
            (Ok(()), Some(former)) => {
                identities.theirs.clone_from(&former.theirs);
                Judge::Ours(flaw(cx, &secrets, former, &claim))
            }
            (Ok(()), None) => {
                Judge::Keys(ask(sa, cx, (&chosen, &secrets), (Round::First, &identities), &claim))
            }
        };
        let claimed = identities.remote.clone();
        let exchanged = Exchanged { chosen, secrets, identities, proposed };
        let answered = Answered::read(sa, cx, exchanged, &claim.contents);
        match judge {
            Judge::Keys(job) => Self::wait(cx, answered, claimed, job),
            Judge::Ours(None) => answered.on_verified(sa, cx),
            Judge::Nobody(refusal) => answered.refuse(sa, cx, Fate::Refused(refusal)),
            Judge::Ours(Some(flaw)) => answered.refuse(sa, cx, Fate::Fault(flaw.to_string())),
        }
    }

    /// Goes on with the peer's second round.
    pub(super) fn second(sa: &mut Common, cx: &mut Cx<'_>, from: Exchanged, claim: Claim<'_>) -> Next {
        let Exchanged { chosen, secrets, identities, .. } = &from;
        let job = ask(sa, cx, (chosen, secrets), (Round::Second, identities), &claim);
        let claimed = contents::identity(&claim.id_r);
        let answered = Answered::read(sa, cx, from, &claim.contents);
        Self::wait(cx, answered, claimed, job)
    }

    fn wait(cx: &Cx<'_>, answered: Answered, claimed: Identity, job: JobId) -> Next {
        let until = Deadline(cx.now.mono + limits::JOB_PATIENCE);
        Box::new(Self { answered, claimed, job, until })
    }
}

/// Has the peer's AUTH value checked.
pub(super) fn ask(
    sa: &Common,
    cx: &mut Cx<'_>,
    (chosen, secrets): (&Chosen, &Secrets),
    (round, identities): (Round, &Identities),
    claim: &Claim<'_>,
) -> JobId {
    let Claim { contents, id_r, auth } = claim;
    let connection = &chosen.connection;
    let wanted = &connection.remote_auth(round).unwrap_or(&connection.remote).id;
    let job = Job::Check {
        connection: chosen.id,
        name: connection.name.clone(),
        round,
        local: identities.last().1.clone(),
        remote: contents::identity(id_r),
        wanted: wanted.after(&identities.remote),
        prf: secrets.suite.prf,
        //= rfc4739 §2.1
        //# The AUTH payloads are calculated as specified in [IKEv2] Sections 2.15 and 2.16, where IDi' refers to the latest IDi
        //# payload sent by the initiator, and IDr' refers to the latest IDr payload sent by the responder.
        octets: secrets.signed_octets(cx, Side::Responder, &id_r.octets_to_sign()),
        proof: contents.proof(auth),
        wall: cx.now.wall,
    };
    cx.out.job(sa.id, job)
}

/// What speaks against the peer of an IKE SA that is resumed.
//= rfc5723 §4.3.3
//# A CERT payload MUST NOT be included in this exchange […]. As a result, the IDr value sent (by the gateway, and optionally
//# by the client) in this exchange MUST also be identical to the value included in the ticket.
fn flaw(cx: &Cx<'_>, secrets: &Secrets, former: &Former, claim: &Claim<'_>) -> Option<&'static str> {
    let Claim { contents, id_r, auth } = claim;
    let own = secrets.resumption_auth(cx, Side::Responder, &id_r.octets_to_sign());
    match () {
        () if auth.method != AuthMethod::SHARED_KEY || own != Secret::from(&auth.data[..]) => {
            Some("the peer's AUTH value was not made with the keys of the IKE SA that is resumed")
        }
        () if contents::identity(id_r) != former.remote => Some("the peer says that it is somebody else"),
        () if !contents.certs.is_empty() => Some("the peer sends a certificate"),
        () if ext::another_auth_follows(contents) => Some("the peer announces a second authentication"),
        () => None,
    }
}

impl Answered {
    /// Reads the last response.
    pub(super) fn read(sa: &mut Common, cx: &mut Cx<'_>, from: Exchanged, contents: &Contents<'_>) -> Self {
        let Exchanged { mut chosen, mut secrets, identities, proposed } = from;
        let mut agreed = secrets.agreed.clone();
        let facts = Facts {
            suite: cx.suite,
            settings: cx.settings,
            rng: cx.rng,
            spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
            path: sa.path,
            connection: &chosen.connection,
            agreed: &secrets.agreed,
            addresses: cx.addresses,
            first_contact: false,
            resumes: false,
        };
        ext::inspect(Moment::AuthResponse, &facts, contents, &mut agreed);
        secrets.agreed = agreed;
        let first =
            proposed.map(|proposed| first_child_of(&chosen, (sa, secrets.agreed.nat), proposed, contents));
        let mut first = with_addresses(&mut chosen, &mut secrets.agreed, &identities.remote, first);
        if let Some(FirstChild::Refused(_, refusal) | FirstChild::Unacceptable(_, refusal)) = &mut first {
            without_families(&chosen.connection.configuration, &secrets.agreed, refusal);
        }
        Self { chosen, secrets, identities, first }
    }

    fn known(&self) -> Known<'_> {
        Known {
            connection: Some(&*self.chosen.connection),
            identities: Some(&self.identities),
            suite: Some(self.secrets.suite),
            ppk: self.secrets.agreed.ppk.id(),
            ..Known::default()
        }
    }

    /// The peer is who it says, as often as it had to show it.
    pub(super) fn on_verified(self, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        let Self { chosen, mut secrets, identities, first } = self;
        //= rfc5685 §6
        //# the client MUST verify the gateway's AUTH payload before acting on the REDIRECT payload
        if let Some(redirect) = secrets.agreed.redirect.take() {
            if let Some(first) = &first {
                cx.directory.release_spi(first.spi());
            }
            let channel = Some(secrets.channel);
            return redirect::before_it_stands(sa, cx, &chosen.connection, &redirect, channel);
        }
        Established::as_initiator(sa, cx, Authenticated { chosen, secrets, identities }, first)
    }

    fn refuse_proof(self, sa: &mut Common, cx: &mut Cx<'_>, reason: String) -> Next {
        let (kind, by_peer) = (RefusalKind::AuthenticationFailed, false);
        let connection = Some(self.chosen.connection.name.clone());
        self.refuse(sa, cx, Fate::Refused(Refusal { kind, by_peer, connection, reason }))
    }

    /// The peer is not who it should be: it is told, since it takes the IKE SA to be established.
    //= rfc7296 §2.21.2
    //# If the error occurs on the initiator, the notification MAY be returned in a separate INFORMATIONAL
    //# exchange, usually with no other payloads.
    fn refuse(self, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        if let Some(first) = &self.first {
            cx.directory.release_spi(first.spi());
        }
        match self.secrets.former.as_ref().and_then(|_| in_words(&fate)) {
            Some(why) => resume::in_full(sa, cx, &self.chosen.connection, &why),
            None => sa.give_up(cx, &self.known(), fate),
        }
        Closing::after_failed_authentication(sa, cx, self.chosen.connection, self.secrets.channel)
    }
}

fn first_child_of(
    chosen: &Chosen,
    (sa, nat): (&Common, Nat),
    proposed: Proposed,
    contents: &Contents<'_>,
) -> FirstChild {
    let connection = &chosen.connection;
    if let Some(notify) = contents.error() {
        let pair = proposed.pair().filter(|_| notify.kind == NotifyType::SINGLE_PAIR_REQUIRED);
        if let Some(pair) = pair {
            return FirstChild::ForPair(proposed, pair);
        }
        let refusal = child::refused_by_peer(notify, connection, &proposed.child);
        return FirstChild::Refused(proposed, refusal);
    }
    match proposed.accept(sa, nat, contents) {
        Ok(agreed) => FirstChild::Agreed(proposed, agreed),
        Err((kind, reason)) => {
            let refusal = Refusal { kind, by_peer: false, connection: Some(connection.name.clone()), reason };
            let spi_out =
                contents.sa.as_deref().and_then(|sa| contents::esp_answer(sa).ok()).map(|(_, spi)| spi);
            match spi_out {
                Some(_) => FirstChild::Unacceptable(proposed, refusal),
                None => FirstChild::Refused(proposed, refusal),
            }
        }
    }
}

/// What the peer gave us by a configuration payload comes in: the connection has our addresses from now on.
fn with_addresses(
    chosen: &mut Chosen,
    agreed: &mut Agreed,
    peer: &Identity,
    first: Option<FirstChild>,
) -> Option<FirstChild> {
    let asked = chosen.connection.clone();
    let filled = match agreed.with_addresses(&asked) {
        None => return first,
        Some(Err(why)) => return first.map(|first| without(&asked, first, why)),
        Some(Ok(filled)) => filled,
    };
    chosen.connection = filled;
    // A child that comes later is for no more than what is configured.
    let later = chosen.connection.children.iter().flat_map(|child| child.remote_ts.iter().copied());
    match &first {
        Some(FirstChild::Agreed(_, agreement)) => agreed.restrict_names(peer, &agreement.remote),
        _ => agreed.restrict_names(peer, &later.collect::<Vec<_>>()),
    }
    let Some(FirstChild::Agreed(proposed, mut agreement)) = first else { return first };
    let find = |connection: &Connection| {
        connection.children.iter().find(|child| child.name == proposed.child.name).cloned()
    };
    if let (Some(before), Some(own)) = (find(&asked), find(&chosen.connection))
        && before.local_ts != own.local_ts
    {
        agreement.local = clip(&agreement.local, &own.local_ts);
    }
    let first = FirstChild::Agreed(proposed, agreement);
    let FirstChild::Agreed(_, agreement) = &first else { return Some(first) };
    match agreement.local.is_empty() {
        true => {
            let why = "The traffic that the peer allows us is not that of the address that it gave us.";
            Some(without(&asked, first, why.to_string()))
        }
        false => Some(first),
    }
}

/// A child that the peer agreed to is of no use without an address.
fn without(connection: &Connection, first: FirstChild, reason: String) -> FirstChild {
    match first {
        FirstChild::Agreed(proposed, _) => {
            let (kind, connection) = (RefusalKind::NoAddress, Some(connection.name.clone()));
            FirstChild::Unacceptable(proposed, Refusal { kind, by_peer: true, connection, reason })
        }
        other => other,
    }
}

impl Stage for Checking {
    fn known(&self) -> Known<'_> {
        self.answered.known()
    }

    fn datagram(self: Box<Self>, _: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        // A request of the responder comes again; by then we are ready for it.
        cx.unexpected(datagram.path);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Verified(proof) => {
                let Self { mut answered, claimed, .. } = *self;
                match answered.identities.verified(claimed, proof) {
                    Ok(()) => answered.on_verified(sa, cx),
                    Err(why) => answered.refuse_proof(sa, cx, why),
                }
            }
            Answer::Refused(why) => {
                let reason = with_ppk(why.reason, &self.answered.secrets);
                self.answered.refuse_proof(sa, cx, reason)
            }
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if self.until.is_over(cx) { self.answered.refuse(sa, cx, Fate::HalfOpenTimeout) } else { self }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        self.answered.refuse(sa, cx, end.fate)
    }
}
