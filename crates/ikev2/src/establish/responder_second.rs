//! The responder's second round of authentication (RFC 4739): the initiator's, its own, or both. The initiator's side draws the
//! exchange.
//!
//! Until the last round is over the IKE SA is half open: nothing is leased, no child is made and no other IKE SA goes, and the
//! time is that of a half-open one.

use super::responder_auth::{Claim, refuse, refuse_fault};
use super::responder_check::{Checking, Claimed, Wants};
use super::responder_prove::Ready;
use super::{Deadline, Rounds, Secrets, THIRD_ROUND, has_child_payloads, not_accepted};
use crate::channel::{Authentic, Incoming, Message, Request};
use crate::closing::Lingering;
use crate::contents;
use crate::delete;
use crate::established::Identities;
use crate::ext::{self, PpkWay};
use crate::fault::Fault;
use crate::ike_sa::{Chosen, Datagram, End, Gone, Known, Next, Stage};
use crate::{Common, Cx};
use base::Instant;
use policy::Round;
use sa::{Answer, Branch, Fate, JobId, Reason, Refusal, RefusalKind};
use wire::num::{ExchangeType, NotifyType};

/// The first round is answered, and the request of the second one is waited for.
pub(super) struct Halfway {
    chosen: Chosen,
    secrets: Secrets,
    identities: Identities,
    rounds: Rounds,
    wants: Wants,
    until: Deadline,
}

impl Halfway {
    pub(super) fn begin(sa: &Common, cx: &Cx<'_>, from: Ready) -> Next {
        let Ready { chosen, mut secrets, identities, mut rounds, wants, .. } = from;
        rounds.now = Round::Second;
        // What PPK_IDENTITY had to say is said.
        secrets.agreed.ppk.way = PpkWay::None;
        let until = Deadline(sa.born + cx.settings.half_open_timeout);
        Box::new(Self { chosen, secrets, identities, rounds, wants, until })
    }

    fn on_request(self, sa: &mut Common, cx: &mut Cx<'_>, to: Request, message: &Authentic<Message>) -> Next {
        if to.exchange == ExchangeType::INFORMATIONAL {
            return self.on_end(sa, cx, to, message);
        }
        cx.reach(Branch::SecondRoundAnswered);
        let claim = match read(to, message, (self.rounds, self.until)) {
            Ok(claim) => claim,
            Err(Unfit::Fault(fault)) => return refuse_fault(sa, cx, self.secrets, to, &fault),
            Err(Unfit::Refused(reason)) => {
                let refusal = self.refusal(reason);
                return refuse(sa, cx, self.secrets, to, refusal);
            }
        };
        let Self { chosen, secrets, identities, rounds, wants, until } = self;
        let who =
            claim.as_ref().map_or_else(|| identities.remote.clone(), |claim| contents::identity(&claim.id_i));
        let claimed = Claimed { chosen, secrets, identities, rounds, claimed: who, to, wants, until };
        match &claim {
            Some(claim) => Checking::judge(sa, cx, claimed, claim),
            //= rfc4739 §2.5
            // The initiator has nothing more to prove, and asks for our second proof by an empty request.
            None => claimed.admit(sa, cx),
        }
    }

    /// The initiator goes, or does not believe who we are.
    fn on_end(mut self, sa: &mut Common, cx: &mut Cx<'_>, to: Request, message: &Authentic<Message>) -> Next {
        let failed = match message.contents() {
            Ok(contents) if contents.has(NotifyType::AUTHENTICATION_FAILED) => true,
            Ok(contents) if delete::names_ike_sa(&contents) => false,
            Ok(_) => {
                let what = "INFORMATIONAL came before the last round of IKE_AUTH";
                return refuse_fault(sa, cx, self.secrets, to, &Fault::syntax("RFC 4739 §2.1", what));
            }
            Err(fault) => return refuse_fault(sa, cx, self.secrets, to, &fault),
        };
        self.secrets.channel.respond(sa, cx, to, &[]);
        let ppk = self.secrets.agreed.ppk.id();
        let fate = match failed {
            true => Fate::Refused(not_accepted(&self.chosen.connection, self.identities.last(), ppk)),
            false => Fate::DeletedByPeer,
        };
        sa.give_up(cx, &self.known(), fate);
        Lingering::after_failed_authentication(cx, self.secrets.channel)
    }

    fn refusal(&self, reason: String) -> Refusal {
        let connection = Some(self.chosen.connection.name.clone());
        Refusal { kind: RefusalKind::AuthenticationFailed, by_peer: false, connection, reason }
    }
}

/// Why a second request is not taken.
enum Unfit {
    Fault(Fault),
    Refused(String),
}

impl From<Fault> for Unfit {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What the request of the second round says; `None`: it is the turn of our second proof.
fn read<'a>(
    to: Request,
    message: &'a Authentic<Message>,
    (rounds, until): (Rounds, Deadline),
) -> Result<Option<Claim<'a>>, Unfit> {
    let fault = |what: &str| Unfit::Fault(Fault::syntax("RFC 4739 §2.1", what));
    let contents = message.contents()?;
    if message.exchange() != ExchangeType::IKE_AUTH {
        return Err(fault("another exchange came in place of the second round of IKE_AUTH"));
    }
    if has_child_payloads(&contents) {
        return Err(fault(
            "the second request of IKE_AUTH has the payloads of a child SA, which stand in the first",
        ));
    }
    if ext::another_auth_follows(&contents) {
        return Err(Unfit::Refused(THIRD_ROUND.to_string()));
    }
    match (rounds.theirs, contents.id_i.clone(), contents.auth.clone()) {
        (true, None, _) => Err(Fault::missing("IDi").into()),
        (true, Some(id), None) => Err(Unfit::Refused(format!(
            "The peer `{}` wants to authenticate by EAP in its second round, which no connection here does.",
            contents::identity(&id)
        ))),
        (true, Some(id_i), Some(auth)) => Ok(Some(Claim { to, contents, id_i, auth, until })),
        (false, None, None) => Ok(None),
        (false, ..) => Err(fault("the initiator authenticates once more, which it has not announced")),
    }
}

impl Stage for Halfway {
    fn known(&self) -> Known<'_> {
        Known {
            connection: Some(&*self.chosen.connection),
            identities: Some(&self.identities),
            suite: Some(self.secrets.suite),
            ..Known::default()
        }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        let path = datagram.path;
        match self.secrets.channel.take(sa, cx, |_| false, datagram) {
            Some(Incoming::Request(message)) => {
                let to = Request { path, exchange: message.exchange(), id: message.id() };
                self.on_request(sa, cx, to, &message)
            }
            Some(Incoming::Response(_) | Incoming::Part(_)) | None => self,
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        self.secrets.channel.tidy(cx.now.mono);
        if !self.until.is_over(cx) {
            return self;
        }
        sa.give_up(cx, &self.known(), Fate::HalfOpenTimeout);
        Box::new(Gone)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        sa.give_up(cx, &self.known(), end.fate);
        Box::new(Gone)
    }

    fn is_half_open(&self) -> bool {
        true
    }
}
