//! The initiator's second round of authentication (RFC 4739): its own, the responder's, or both.
//!
//! ```text
//!   AwaitAuth   IKE_AUTH  SK{IDi [CERT…] [CERTREQ] [IDr] AUTH SAi2 TSi TSr
//!                            N(MULTIPLE_AUTH_SUPPORTED) [N(ANOTHER_AUTH_FOLLOWS)] N…} -->
//!                            <--  SK{IDr [CERT…] AUTH [N(ANOTHER_AUTH_FOLLOWS)]}
//!   Working     (the peer's first AUTH is checked; then, if we have a second one, ours is made)
//!   AwaitSecond IKE_AUTH  SK{[IDi [CERT…] [IDr] AUTH]} -->
//!                            <--  SK{[IDr [CERT…] AUTH] SAr2 TSi TSr N…}
//!   Checking    (the peer's second AUTH is checked, if it has one)
//!   Established
//! ```

use super::initiator_auth::Attempt;
use super::initiator_check::{Answered, Checking, Claim, Exchanged, ask};
use super::{
    Deadline, Rounds, THIRD_ROUND, cert_payloads, has_child_payloads, identity_in, initiator_ppk, is_fatal,
    not_accepted, with_ppk,
};
use crate::channel::{Authentic, Incoming, Message};
use crate::closing::Closing;
use crate::contents::{self, Contents};
use crate::established::Identities;
use crate::ext::{self, Facts, Moment, PpkWay};
use crate::ike_sa::{Datagram, End, Gone, Known, Next, Stage};
use crate::sent::Sent;
use crate::{Common, Cx, limits, redirect};
use base::Instant;
use crypto::Spis;
use policy::{Announced, Connection, IdPattern, Identity, Round};
use sa::{Answer, Branch, Fate, Job, JobId, Means, Proven, Reason, Refusal, RefusalKind, Side, Verified};
use wire::num::{AuthMethod, ExchangeType, NotifyType};
use wire::{Authentication, Payload};

/// The first round is answered, and another one follows.
struct Halfway {
    exchanged: Exchanged,
    /// The peer sent a CERTREQ.
    cert_asked: bool,
    rounds: Rounds,
}

/// The peer's first AUTH value is being checked, or our second one made.
pub(super) struct Working {
    halfway: Halfway,
    job: JobId,
    until: Deadline,
}

/// Our second IKE_AUTH request is on its way.
pub(super) struct AwaitSecond {
    halfway: Halfway,
    request: Sent,
}

impl Working {
    /// Goes on with the response to the first round of a connection that has two, or of a peer that announces another one.
    pub(super) fn begin(sa: &mut Common, cx: &mut Cx<'_>, from: Attempt, claim: Claim<'_>) -> Next {
        let Attempt { chosen, mut secrets, local, ours, cert_asked, proposed, .. } = from;
        let connection = &chosen.connection;
        let follows = ext::another_auth_follows(&claim.contents);
        let rounds = Rounds::first(connection, &secrets, follows);
        // That it supports a second round is seen to before IKE_AUTH.
        let unfit = Announced { supported: true, follows }.against(connection).next();
        let settled = initiator_ppk::settle(sa, cx, connection, &mut secrets, &claim.contents);
        let mut identities = Identities::new(local, contents::identity(&claim.id_r), connection);
        identities.ours = ours;
        let halfway =
            Halfway { exchanged: Exchanged { chosen, secrets, identities, proposed }, cert_asked, rounds };
        if let Some(why) = unfit {
            let refusal =
                halfway.refusal(format!("The peer's first round does not go with this connection: {why}."));
            return halfway.refuse(sa, cx, Fate::Refused(refusal));
        }
        if let Err(refusal) = settled {
            return halfway.refuse(sa, cx, Fate::Refused(refusal));
        }
        if has_child_payloads(&claim.contents) {
            let what = "its first response has a child SA, though another authentication follows (RFC 4739)";
            return halfway.refuse(sa, cx, Fate::Fault(what.to_string()));
        }
        let mut halfway = halfway;
        halfway.inspect(sa, cx, &claim.contents);
        let Exchanged { chosen, secrets, identities, .. } = &halfway.exchanged;
        let job = ask(sa, cx, (chosen, secrets), (Round::First, identities), &claim);
        Self::wait(cx, halfway, job)
    }

    fn wait(cx: &Cx<'_>, halfway: Halfway, job: JobId) -> Next {
        let until = Deadline(cx.now.mono + limits::JOB_PATIENCE);
        Box::new(Self { halfway, job, until })
    }

    /// The peer's first proof is right: our second one is made, if we have one.
    fn on_verified(mut self, sa: &mut Common, cx: &mut Cx<'_>, proof: Verified) -> Next {
        let Exchanged { chosen, secrets, identities, .. } = &mut self.halfway.exchanged;
        // There is no proof before it that it could be the same as.
        let _ = identities.verified(identities.remote.clone(), proof);
        // What PPK_IDENTITY had to say is said.
        secrets.agreed.ppk.way = PpkWay::None;
        //= rfc5685 §6
        //# the client MUST verify the gateway's AUTH payload before acting on the REDIRECT payload
        if let Some(redirect) = secrets.agreed.redirect.take() {
            let Exchanged { chosen, secrets, proposed, .. } = self.halfway.exchanged;
            if let Some(proposed) = proposed {
                cx.directory.release_spi(proposed.spi);
            }
            return redirect::before_it_stands(sa, cx, &chosen.connection, &redirect, Some(secrets.channel));
        }
        if !self.halfway.rounds.ours {
            return AwaitSecond::begin(sa, cx, self.halfway, Vec::new());
        }
        let connection = &chosen.connection;
        let local = identity_in(connection, Round::Second, &identities.local);
        let id = contents::identification(&local).octets_to_sign();
        let job = Job::Prove {
            connection: chosen.id,
            name: connection.name.clone(),
            round: Round::Second,
            local,
            remote: expected(connection, identities),
            prf: secrets.suite.prf,
            octets: secrets.signed_octets(cx, Side::Initiator, &id),
            peer_hashes: secrets.agreed.hashes.clone(),
            peer_methods: ext::methods_in(Round::Second, connection, &secrets.agreed),
        };
        let job = cx.out.job(sa.id, job);
        Self::wait(cx, self.halfway, job)
    }

    //= rfc4739 §2.1
    //# The next IKE_AUTH message sent by this peer will contain a second identity payload (IDi or IDr) and starts another
    //# authentication exchange.
    fn on_proved(
        mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        auth: Authentication<'static>,
        by: Means,
    ) -> Next {
        let Halfway { exchanged: Exchanged { chosen, identities, .. }, cert_asked, rounds } =
            &mut self.halfway;
        let expected = expected(&chosen.connection, identities).filter(|_| rounds.theirs);
        let id = identity_in(&chosen.connection, Round::Second, &identities.local);
        let mut payloads = vec![Payload::IdI(contents::identification(&id))];
        payloads.extend(cert_payloads(&chosen.connection, Round::Second, *cert_asked));
        payloads.extend(expected.map(|id| Payload::IdR(contents::identification(&id))));
        payloads.push(Payload::Auth(auth));
        identities.ours.push(Proven { id, by });
        AwaitSecond::begin(sa, cx, self.halfway, payloads)
    }
}

/// Who the peer has to be in the second round, where that is one identity; it is who it was, where it goes through none.
fn expected(connection: &Connection, identities: &Identities) -> Option<Identity> {
    match connection.remote2.as_ref().map(|remote| remote.id.after(&identities.remote)) {
        Some(IdPattern::Is(identity)) => Some(identity),
        Some(_) => None,
        None => Some(identities.remote.clone()),
    }
}

impl Halfway {
    fn known(&self) -> Known<'_> {
        let Exchanged { chosen, secrets, identities, .. } = &self.exchanged;
        let (connection, identities) = (Some(&*chosen.connection), Some(identities));
        Known { connection, identities, suite: Some(secrets.suite), ..Known::default() }
    }

    fn inspect(&mut self, sa: &Common, cx: &mut Cx<'_>, contents: &Contents<'_>) {
        let Exchanged { chosen, secrets, .. } = &mut self.exchanged;
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
        ext::inspect(Moment::FirstAuthResponse, &facts, contents, &mut agreed);
        secrets.agreed = agreed;
    }

    fn refusal(&self, reason: String) -> Refusal {
        let connection = Some(self.exchanged.chosen.connection.name.clone());
        Refusal { kind: RefusalKind::AuthenticationFailed, by_peer: false, connection, reason }
    }

    /// It comes to nothing, and the peer is told.
    fn refuse(self, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        self.release(cx);
        sa.give_up(cx, &self.known(), fate);
        let Exchanged { chosen, secrets, .. } = self.exchanged;
        Closing::after_failed_authentication(sa, cx, chosen.connection, secrets.channel)
    }

    /// It comes to nothing, as the peer knows or will see.
    fn end(self, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        self.release(cx);
        sa.give_up(cx, &self.known(), fate);
        Box::new(Gone)
    }

    fn release(&self, cx: &mut Cx<'_>) {
        if let Some(proposed) = &self.exchanged.proposed {
            cx.directory.release_spi(proposed.spi);
        }
    }
}

/// Why there is no IKE SA with a responder that does not support a second round.
//= rfc4739 §2.1
//# If both peers support this extension, either of them can announce that it wishes to have a second authentication
pub(super) fn not_spoken(connection: &Connection) -> Refusal {
    let name = &connection.name;
    let keys = match (&connection.local2, &connection.remote2) {
        (Some(_), Some(_)) => "`local2` and `remote2` of connection",
        (Some(_), None) => "`local2` of connection",
        (None, _) => "`remote2` of connection",
    };
    let reason = format!(
        "The peer does not announce that it supports a second authentication (MULTIPLE_AUTH_SUPPORTED, RFC 4739), which {keys} \
         `{name}` asks for: have it configured there too, or leave the second round out."
    );
    Refusal { kind: RefusalKind::PeerError, by_peer: true, connection: Some(name.clone()), reason }
}

impl Stage for Working {
    fn known(&self) -> Known<'_> {
        self.halfway.known()
    }

    fn datagram(self: Box<Self>, _: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        cx.unexpected(datagram.path);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Verified(proof) => self.on_verified(sa, cx, proof),
            Answer::Proved(proof, by) => {
                let data = proof.data.into();
                self.on_proved(sa, cx, Authentication { method: AuthMethod(proof.method), data }, by)
            }
            Answer::Refused(why) => {
                let reason = with_ppk(why.reason, &self.halfway.exchanged.secrets);
                let refusal = self.halfway.refusal(reason);
                self.halfway.refuse(sa, cx, Fate::Refused(refusal))
            }
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if self.until.is_over(cx) { self.halfway.refuse(sa, cx, Fate::HalfOpenTimeout) } else { self }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        self.halfway.refuse(sa, cx, end.fate)
    }
}

impl AwaitSecond {
    fn begin(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        mut halfway: Halfway,
        payloads: Vec<Payload<'static>>,
    ) -> Next {
        halfway.rounds.now = Round::Second;
        cx.reach(Branch::SecondRoundAsked);
        let channel = &mut halfway.exchanged.secrets.channel;
        match channel.ask(sa, cx, ExchangeType::IKE_AUTH, &payloads) {
            Some(request) => Box::new(Self { halfway, request }),
            // So few requests do not use the message ids up.
            None => Box::new(Gone),
        }
    }

    fn on_response(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, message: &Authentic<Message>) -> Next {
        let Self { halfway, .. } = *self;
        let contents = match message.contents() {
            Ok(contents) if message.exchange() == ExchangeType::IKE_AUTH => contents,
            Ok(_) => {
                let what = "the response is of another exchange type".to_string();
                return halfway.refuse(sa, cx, Fate::Fault(what));
            }
            Err(fault) => return halfway.refuse(sa, cx, Fate::Fault(fault.to_string())),
        };
        let theirs = halfway.rounds.theirs;
        // Where the peer has nothing more to prove, an error that is not fatal is of the child SA.
        let refused = |kind| is_fatal(kind) || (theirs && contents.auth.is_none());
        if let Some(notify) = contents.error().filter(|notify| refused(notify.kind)) {
            let refusal = halfway.refused_by_peer(notify.kind);
            return halfway.end(sa, cx, Fate::Refused(refusal));
        }
        //= rfc4739 §2.1
        //# The IKE_AUTH phase is considered successful only if all the individual authentication exchanges complete successfully.
        if ext::another_auth_follows(&contents) {
            let refusal = halfway.refusal(THIRD_ROUND.to_string());
            return halfway.refuse(sa, cx, Fate::Refused(refusal));
        }
        match (&contents.id_r, &contents.auth) {
            (Some(id_r), Some(auth)) if theirs => {
                let (id_r, auth) = (id_r.clone(), auth.clone());
                Checking::second(sa, cx, halfway.exchanged, Claim { contents, id_r, auth })
            }
            (None, None) if !theirs => {
                Answered::read(sa, cx, halfway.exchanged, &contents).on_verified(sa, cx)
            }
            _ => {
                let what = match theirs {
                    true => "it has announced another authentication, and the response lacks IDr or AUTH",
                    false => "it authenticates once more, which it has not announced (RFC 4739)",
                };
                halfway.refuse(sa, cx, Fate::Fault(what.to_string()))
            }
        }
    }
}

impl Halfway {
    fn refused_by_peer(&self, kind: NotifyType) -> Refusal {
        let Exchanged { chosen, secrets, identities, .. } = &self.exchanged;
        match kind {
            NotifyType::AUTHENTICATION_FAILED => {
                not_accepted(&chosen.connection, identities.last(), secrets.agreed.ppk.id())
            }
            _ => Refusal {
                kind: RefusalKind::PeerError,
                by_peer: true,
                ..self
                    .refusal(format!("The peer refused the second IKE_AUTH with {kind}. Its log knows more."))
            },
        }
    }
}

impl Stage for AwaitSecond {
    fn known(&self) -> Known<'_> {
        self.halfway.known()
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        if !datagram.header.flags.response {
            // A responder that is ready before us may ask already. It asks again; by then we can answer.
            cx.unexpected(datagram.path);
            return self;
        }
        let id = self.request.id;
        match self.halfway.exchanged.secrets.channel.take(sa, cx, |awaited| awaited == id, datagram) {
            Some(Incoming::Response(message)) => self.on_response(sa, cx, &message),
            Some(Incoming::Part(_)) => {
                self.request.heard_in_part(cx.now.mono);
                self
            }
            Some(Incoming::Request(_)) | None => self,
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        self.halfway.exchanged.secrets.channel.tidy(cx.now.mono);
        match self.request.on_time(sa, cx) {
            Ok(()) => self,
            Err(fate) => self.halfway.end(sa, cx, fate),
        }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        Some((self.request.due(), Reason::Retransmit))
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        self.halfway.end(sa, cx, end.fate)
    }
}
