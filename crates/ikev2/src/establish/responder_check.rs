//! The middle of the responder's IKE_AUTH: the peer's AUTH value is checked, and whether it is welcome.

use super::responder_auth::{Claim, refuse_with};
use super::responder_lease::Leasing;
use super::{Deadline, Secrets, local_identity, with_ppk};
use crate::channel::Request;
use crate::child::{ChildRequest, Decided, NoChild};
use crate::contents::{self, Contents};
use crate::established::Identities;
use crate::ext::configuration::Leases;
use crate::ext::{self, Facts, Moment};
use crate::ike_sa::{Chosen, Datagram, End, Known, Next, Stage};
use crate::{Common, Cx, Superseded, unique};
use base::{Instant, Secret};
use crypto::Spis;
use policy::{ChildKe, Childless, Unique};
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
    pub(super) to: Request,
    /// The peer's message, for what is decided once the peer is known.
    pub(super) wants: Wants,
    until: Deadline,
}

/// What an authenticated peer wants besides the IKE SA.
pub(super) struct Wants {
    pub(super) child: Option<Result<Decided, NoChild>>,
    /// What a child is decided on when its addresses are known.
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

/// Who judges the peer's AUTH value.
enum Judge {
    /// Whoever holds the keys: a job.
    Keys(JobId),
    /// The keys of the IKE SA itself, which is resumed: whether it was made with them.
    Ours(bool),
}

/// Has the peer's AUTH value checked.
fn judge(
    sa: &Common,
    cx: &mut Cx<'_>,
    chosen: &Chosen,
    secrets: &Secrets,
    (identities, claim): (&Identities, &Claim<'_>),
) -> Judge {
    let Claim { contents, id_i, auth, .. } = claim;
    let id = id_i.octets_to_sign();
    if secrets.former.is_some() {
        let own = secrets.resumption_auth(cx, Side::Initiator, &id);
        return Judge::Ours(own == Secret::from(&auth.data[..]));
    }
    let job = Job::Check {
        connection: chosen.id,
        name: chosen.connection.name.clone(),
        local: identities.local.clone(),
        remote: identities.remote.clone(),
        wanted: chosen.connection.remote.id.clone(),
        prf: secrets.suite.prf,
        octets: secrets.signed_octets(cx, Side::Initiator, &id),
        proof: contents.proof(auth),
        wall: cx.now.wall,
    };
    Judge::Keys(cx.out.job(sa.id, job))
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
        let identities = Identities::new(local, contents::identity(&claim.id_i));
        let judge = judge(sa, cx, &chosen, &secrets, (&identities, &claim));
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
        //= rfc6023 §3
        //# a request without SA, TSi and TSr asks for an IKE SA without a child SA
        let request =
            ChildRequest { contents: &claim.contents, ke: ChildKe::Without, nat: secrets.agreed.nat };
        let decide = |sa: &Common, cx: &mut Cx<'_>| match connection.extensions.childless {
            Childless::Force => {
                let reason = "`childless = \"force\"`: the child is to be asked for by CREATE_CHILD_SA.";
                Err(NoChild::new(RefusalKind::Busy, NotifyType::NO_ADDITIONAL_SAS, connection, reason))
            }
            _ => Decided::new(sa, cx, connection, &request),
        };
        let waits =
            !connection.configuration.pools.is_empty() && connection.extensions.childless != Childless::Force;
        let wanted = claim.contents.sa.is_some();
        let child = (wanted && !waits).then(|| decide(sa, cx));
        let cert_asked = !claim.contents.cert_requests.is_empty();
        let undecided = (wanted && waits).then(|| Box::new(claim.contents.child_owned()));
        let wants = Wants {
            child,
            undecided,
            cert_asked,
            notifies: Vec::new(),
            reply: None,
            leases: Leases::default(),
        };
        let claimed = Claimed { chosen, secrets, identities, to: claim.to, wants, until: claim.until };
        match judge {
            Judge::Keys(job) => Box::new(Self { claimed, job }),
            Judge::Ours(true) => claimed.on_verified(sa, cx),
            Judge::Ours(false) => {
                let reason =
                    "The peer's AUTH value was not made with the keys of the IKE SA that it resumes.";
                let refusal = claimed.refusal(reason.to_string());
                claimed.refuse(sa, cx, refusal)
            }
        }
    }
}

impl Claimed {
    pub(super) fn known(&self) -> Known<'_> {
        Known {
            connection: Some(&*self.chosen.connection),
            local_id: Some(&self.identities.local),
            remote_id: Some(&self.identities.remote),
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

    /// The peer is who it says. Is it welcome a second time?
    fn on_verified(self, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if self.secrets.agreed.unexpected_nat {
            return self.refuse_nat(sa, cx);
        }
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
        let alone = former.is_some() && others().next().is_none();
        let is_welcome = unique != Unique::Keep || first_contact || unique::is_succession(sa, cx, others());
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
                self.welcome(sa, cx, former, true)
            }
            Unique::Replace | Unique::Keep => {
                let by = sa.path.remote.ip();
                let gone = |ike| Superseded { ike, tell_peer: true, by, heir: None };
                cx.superseded.extend(others.into_iter().map(gone));
                self.welcome(sa, cx, former, true)
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
            Answer::Verified(_) => self.claimed.on_verified(sa, cx),
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
