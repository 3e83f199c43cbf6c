//! The middle of the responder's IKE_AUTH: the peer's AUTH value is checked, and whether it is welcome.
//! A peer that proves itself twice comes here twice.

use super::responder_auth::{Claim, refuse_with};
use super::responder_lease::Leasing;
use super::responder_prove::Proving;
use super::{Deadline, Rounds, Secrets, identity_in, local_identity, with_ppk};
use crate::channel::Request;
use crate::child::{Decided, NoChild};
use crate::contents::{self, Contents};
use crate::established::Identities;
use crate::ext::configuration::Leases;
use crate::ext::{self, Facts, Moment};
use crate::ike_sa::{Chosen, Datagram, End, Known, Next, Stage};
use crate::{Common, Cx, Superseded, unique};
use base::{Instant, Secret};
use crypto::Spis;
use policy::{Childless, Connection, Identity, Round, Unique};
use sa::{Answer, IkeSaId, Job, JobId, Reason, Refusal, RefusalKind, Side};
use wire::Payload;
use wire::num::NotifyType;

/// The peer's AUTH value is being checked.
pub(crate) struct Checking {
    claimed: Claimed,
    job: JobId,
}

/// What the peer's request has led to, if the peer is who it says.
pub(super) struct Claimed {
    pub(super) chosen: Chosen,
    pub(super) secrets: Secrets,
    pub(super) identities: Identities,
    pub(super) rounds: Rounds,
    /// Who the peer says it is in this round.
    pub(super) claimed: Identity,
    pub(super) to: Request,
    /// What is decided once the peer is known.
    pub(super) wants: Wants,
    pub(super) until: Deadline,
}

/// What an authenticated peer wants besides the IKE SA.
pub(super) struct Wants {
    pub(super) child: Option<Result<Decided, NoChild>>,
    /// What a child is decided on when the peer has proved who it is, and its addresses are known.
    pub(super) undecided: Option<Box<Contents<'static>>>,
    pub(super) cert_asked: bool,
    /// Notifications for the response, whatever becomes of the child.
    pub(super) notifies: Vec<Payload<'static>>,
    /// CFG_REPLY.
    pub(super) reply: Option<Payload<'static>>,
    pub(super) leases: Leases,
}

impl Wants {
    /// There will be no IKE SA.
    pub(super) fn release(&mut self, sa: &Common, cx: &mut Cx<'_>) {
        if let Some(Ok(decided)) = &self.child {
            cx.directory.release_spi(decided.agreed.spi_in);
        }
        self.leases.release(sa, cx);
    }
}

/// Has the peer's AUTH value checked by whoever holds the keys.
fn ask(sa: &Common, cx: &mut Cx<'_>, claimed: &Claimed, claim: &Claim<'_>) -> JobId {
    let Claimed { chosen, secrets, identities, rounds, .. } = claimed;
    let connection = &chosen.connection;
    let wanted = &connection.remote_auth(rounds.now).unwrap_or(&connection.remote).id;
    // Of two that authenticate twice, each speaks to who the other is in this round.
    let round = if rounds.is_ours() { rounds.now } else { Round::First };
    let job = Job::Check {
        connection: chosen.id,
        name: connection.name.clone(),
        round: rounds.now,
        local: identity_in(connection, round, &identities.local),
        remote: claimed.claimed.clone(),
        wanted: wanted.after(&identities.remote),
        prf: secrets.suite.prf,
        octets: secrets.signed_octets(cx, Side::Initiator, &claim.id_i.octets_to_sign()),
        proof: claim.contents.proof(&claim.auth),
        wall: cx.now.wall,
    };
    cx.out.job(sa.id, job)
}

impl Checking {
    pub(super) fn begin(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        chosen: Chosen,
        mut secrets: Secrets,
        claim: Claim<'_>,
    ) -> Next {
        let connection = &chosen.connection;
        let local = match (&secrets.former, &claim.contents.id_r) {
            (Some(former), _) => former.local.clone(),
            // The peer asked for one of our names; `choose` has seen to it that it is ours.
            (None, Some(id)) if connection.local.id.is_none() => contents::identity(id),
            _ => local_identity(connection, sa),
        };
        let claimed = contents::identity(&claim.id_i);
        let mut identities = Identities::new(local, claimed.clone(), connection);
        let mut agreed = secrets.agreed.clone();
        let facts = Facts {
            suite: cx.suite,
            settings: cx.settings,
            rng: cx.rng,
            spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
            path: sa.path,
            connection,
            agreed: &secrets.agreed,
            addresses: cx.addresses,
            first_contact: false,
            resumes: false,
        };
        ext::inspect(Moment::AuthRequest, &facts, &claim.contents, &mut agreed);
        secrets.agreed = agreed;
        secrets.channel.cut_at(secrets.agreed.fragmentation.then_some(connection.fragment_size));
        let rounds = Rounds::first(connection, &secrets, ext::another_auth_follows(&claim.contents));
        let resumed = secrets.former.as_ref().map(|former| {
            (identities.ours, identities.theirs) = (former.ours.clone(), former.theirs.clone());
            let id = claim.id_i.octets_to_sign();
            secrets.resumption_auth(cx, Side::Initiator, &id) == Secret::from(&claim.auth.data[..])
        });
        let wants = Wants::of(connection, &claim.contents);
        let (to, until) = (claim.to, claim.until);
        let claimed = Claimed { chosen, secrets, identities, rounds, claimed, to, wants, until };
        match resumed {
            None => Self::judge(sa, cx, claimed, &claim),
            Some(true) => claimed.on_verified(sa, cx),
            Some(false) => {
                let reason =
                    "The peer's AUTH value was not made with the keys of the IKE SA that it resumes.";
                let refusal = claimed.refusal(reason.to_string());
                claimed.refuse(sa, cx, refusal)
            }
        }
    }

    /// Whoever holds the keys is asked.
    pub(super) fn judge(sa: &Common, cx: &mut Cx<'_>, claimed: Claimed, claim: &Claim<'_>) -> Next {
        let job = ask(sa, cx, &claimed, claim);
        Box::new(Self { claimed, job })
    }
}

impl Wants {
    /// What the first request wants.
    //= rfc6023 §3
    //# a request without SA, TSi and TSr asks for an IKE SA without a child SA
    fn of(connection: &Connection, contents: &Contents<'_>) -> Self {
        let wanted = contents.sa.is_some();
        let forced = wanted && connection.extensions.childless == Childless::Force;
        let child = forced.then(|| {
            let reason = "`childless = \"force\"`: the child is to be asked for by CREATE_CHILD_SA.";
            Err(NoChild::new(RefusalKind::Busy, NotifyType::NO_ADDITIONAL_SAS, connection, reason))
        });
        Self {
            child,
            undecided: (wanted && !forced).then(|| Box::new(contents.child_copy())),
            cert_asked: !contents.cert_requests.is_empty(),
            notifies: Vec::new(),
            reply: None,
            leases: Leases::default(),
        }
    }
}

impl Claimed {
    pub(super) fn known(&self) -> Known<'_> {
        Known {
            connection: Some(&*self.chosen.connection),
            identities: Some(&self.identities),
            suite: Some(self.secrets.suite),
            ppk: self.secrets.agreed.ppk.id(),
            ..Known::default()
        }
    }

    fn refusal(&self, reason: String) -> Refusal {
        let kind = RefusalKind::AuthenticationFailed;
        let connection = Some(self.chosen.connection.name.clone());
        Refusal { kind, by_peer: false, connection, reason }
    }

    pub(super) fn refuse(self, sa: &mut Common, cx: &mut Cx<'_>, refusal: Refusal) -> Next {
        self.refuse_with(sa, cx, NotifyType::AUTHENTICATION_FAILED, refusal)
    }

    fn refuse_with(mut self, sa: &mut Common, cx: &mut Cx<'_>, notify: NotifyType, refusal: Refusal) -> Next {
        self.wants.release(sa, cx);
        refuse_with(sa, cx, self.secrets, self.to, (notify, refusal))
    }

    /// The peer forbids NATs, and its message has passed one.
    //= rfc4555 §3.9
    //# If they do not match, a response containing an UNEXPECTED_NAT_DETECTED notification is sent. The response message is
    //# sent to the address and port that the corresponding request came from
    fn refuse_nat(self, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        let reason = format!(
            "The peer allows no NAT between us, but its message came by {}, which is not the path that it names.",
            self.to.path
        );
        let connection = Some(self.chosen.connection.name.clone());
        let refusal = Refusal { kind: RefusalKind::PeerError, by_peer: false, connection, reason };
        self.refuse_with(sa, cx, NotifyType::UNEXPECTED_NAT_DETECTED, refusal)
    }

    /// The peer is who it says. Unless this is its last round, we prove who we are, and the next one follows.
    fn on_verified(self, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if self.secrets.agreed.unexpected_nat {
            return self.refuse_nat(sa, cx);
        }
        match self.rounds.follows() {
            true => Proving::begin(sa, cx, self),
            false => self.admit(sa, cx),
        }
    }

    /// The peer has proved who it is, as often as it has to. Is it welcome beside its other IKE SAs?
    pub(super) fn admit(self, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        let connection = &self.chosen.connection;
        let pair = &self.identities.pair;
        let former = self
            .secrets
            .former
            .as_ref()
            .and_then(|f| cx.directory.with_spis(pair, (f.spis.initiator, f.spis.responder)));
        let (unique, first_contact) = (connection.unique, self.secrets.agreed.initial_contact);
        // There may be thousands of them: they are looked at where it matters only.
        let others = || unique::older(sa, cx, pair).filter(|other| Some(*other) != former);
        // Whether all addresses that the peer has are free for it.
        let outdone = unique::is_outdone(cx, pair);
        let alone = former.is_some() && others().next().is_none() && !outdone;
        let is_welcome =
            unique != Unique::Keep || !outdone && (first_contact || unique::is_succession(sa, cx, others()));
        let others: Vec<_> = match unique {
            Unique::Replace | Unique::Keep => others().collect(),
            Unique::No | Unique::Never => Vec::new(),
        };
        match unique {
            Unique::Keep if !is_welcome => {
                let reason = format!(
                    "`{}` has an IKE SA with us already, from another address or port, and `unique = \"keep\"` keeps the older one.",
                    self.identities.remote
                );
                let refusal = self.refusal(reason);
                self.refuse(sa, cx, refusal)
            }
            Unique::Never => self.welcome(sa, cx, former, alone),
            _ if first_contact => {
                unique::first_contact(sa, cx, &self.identities.pair);
                self.welcome(sa, cx, former, !outdone)
            }
            Unique::Replace | Unique::Keep => {
                let by = sa.path.remote.ip();
                let gone = |ike| Superseded { ike, tell_peer: true, by, heir: None };
                cx.superseded.extend(others.into_iter().map(gone));
                self.welcome(sa, cx, former, !outdone)
            }
            Unique::No => self.welcome(sa, cx, former, alone),
        }
    }

    /// Goes on with the peer. An IKE SA that it resumes is resumed once, and goes if it stands still.
    //= rfc5723 §4.3.4
    //# When the responder receives a ticket for an IKE SA that is still active and if the responder accepts it […], the old SA
    //# SHOULD be silently deleted without sending a DELETE informational exchange. Consequently, all the dependent IPsec Child
    //# SAs are also deleted.
    fn welcome(self, sa: &mut Common, cx: &mut Cx<'_>, former: Option<IkeSaId>, alone: bool) -> Next {
        if let Some(former) = &self.secrets.former {
            cx.tickets.spend(former.spis);
        }
        let by = sa.path.remote.ip();
        cx.superseded.extend(former.map(|ike| Superseded { ike, tell_peer: false, by, heir: None }));
        Leasing::begin(sa, cx, self, alone)
    }
}

impl Stage for Checking {
    fn known(&self) -> Known<'_> {
        self.claimed.known()
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        // Only the same request again can come, and its response is on its way.
        self.claimed.secrets.channel.take_repeated(sa, cx, datagram);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Verified(proof) => {
                let Self { mut claimed, .. } = *self;
                match claimed.identities.verified(claimed.claimed.clone(), proof) {
                    Ok(()) => claimed.on_verified(sa, cx),
                    Err(why) => {
                        let refusal = claimed.refusal(why);
                        claimed.refuse(sa, cx, refusal)
                    }
                }
            }
            Answer::Refused(why) => {
                let refusal = self.claimed.refusal(with_ppk(why.reason, &self.claimed.secrets));
                self.claimed.refuse(sa, cx, refusal)
            }
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if !self.claimed.until.is_over(cx) {
            return self;
        }
        let refusal = late(Some(&self.claimed.chosen));
        self.claimed.refuse(sa, cx, refusal)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.claimed.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, _: End) -> Next {
        let refusal = ended(Some(&self.claimed.chosen));
        self.claimed.refuse(sa, cx, refusal)
    }

    fn is_half_open(&self) -> bool {
        true
    }
}

pub(super) fn late(chosen: Option<&Chosen>) -> Refusal {
    Refusal {
        kind: RefusalKind::Busy,
        by_peer: false,
        connection: chosen.map(|chosen| chosen.connection.name.clone()),
        reason: "Keys and certificates were not checked in time: the key store does not answer.".to_string(),
    }
}

pub(super) fn ended(chosen: Option<&Chosen>) -> Refusal {
    Refusal {
        kind: RefusalKind::Busy,
        by_peer: false,
        connection: chosen.map(|chosen| chosen.connection.name.clone()),
        reason: "The IKE SA was ordered down before it was up.".to_string(),
    }
}
