//! How an established IKE SA comes into being, on either side.

use super::lifetimes::IkeDues;
use super::{Answering, Established, Installing};
use crate::channel::{Channel, Request};
use crate::child::{self, Agreement, Decided, Keying, NoChild, Place, Proposed, Traffic};
use crate::contents;
use crate::create_child;
use crate::delete::Named;
use crate::establish::{Secrets, Transcript};
use crate::ext::Agreed;
use crate::ext::configuration::Leases;
use crate::fresh_ppk::{Offering, Primed};
use crate::ike_sa::{Chosen, Next, Stage};
use crate::move_path::Mobility;
use crate::rekey_child::{self, Replaces};
use crate::resume::Resumption;
use crate::{Common, Cx, limits, unique};
use base::{EspSpi, Secret};
use crypto::{Nonces, SharedSecrets};
use policy::{Connection, Identity, IkeSuite, Round, Unique};
use sa::{Event, PairKey, Proven, Refusal, RefusalKind, Side, Verified};
use std::collections::VecDeque;
use wire::Payload;
use wire::num::NotifyType;

/// Both ends of an IKE SA.
#[derive(Clone, Debug)]
pub(crate) struct Identities {
    /// Who we are: in the first round, if there are several.
    pub(crate) local: Identity,
    pub(crate) remote: Identity,
    /// Both as one key.
    pub(crate) pair: PairKey,
    /// What we have proved, round by round.
    pub(crate) ours: Vec<Proven>,
    /// What the peer has.
    pub(crate) theirs: Vec<Proven>,
    /// SHA-1 of the key that has signed for the peer last.
    key: Option<[u8; 20]>,
}

/// Both identities of an IKE SA of that connection as one key.
pub(crate) fn pair_key(local: &Identity, remote: &Identity, connection: &Connection) -> PairKey {
    let body = |identity| contents::identification(identity).octets_to_sign();
    PairKey::new(&body(local), &body(remote), 1 + u8::from(connection.remote2.is_some()))
}

impl Identities {
    /// Of an IKE SA of that connection.
    pub(crate) fn new(local: Identity, remote: Identity, connection: &Connection) -> Self {
        let pair = pair_key(&local, &remote, connection);
        Self { local, remote, pair, ours: Vec::new(), theirs: Vec::new(), key: None }
    }

    /// The peer has proved to be `id` in another round. An error says that this is no other proof than the one before.
    ///
    /// Two certificates may be below one authority: whoever has broken the key of the first one would else show it twice.
    pub(crate) fn verified(&mut self, id: Identity, proof: Verified) -> Result<(), String> {
        let Verified { by, key, .. } = proof;
        if key.is_some() && key == self.key {
            return Err(format!(
                "The peer `{id}` signs with the same key ({by}) in both rounds, which proves no more than one: `remote2` wants another \
                 key than `remote`."
            ));
        }
        self.key = key;
        self.theirs.push(Proven { id, by });
        Ok(())
    }

    /// The round in which we have proved ourselves last, and as whom.
    pub(crate) fn last(&self) -> (Round, &Identity) {
        let round = if self.ours.len() > 1 { Round::Second } else { Round::First };
        (round, self.ours.last().map_or(&self.local, |proven| &proven.id))
    }
}

/// An IKE SA whose peer is who it says.
pub(crate) struct Authenticated {
    pub(crate) chosen: Chosen,
    pub(crate) secrets: Secrets,
    pub(crate) identities: Identities,
}

/// What an IKE SA that comes to stand has.
pub(crate) struct Core {
    pub(crate) channel: Channel,
    pub(crate) chosen: Chosen,
    pub(crate) identities: Identities,
    pub(crate) suite: IkeSuite,
    pub(crate) sk_d: Secret,
    pub(crate) proved_as: Side,
    pub(crate) peer: Agreed,
    pub(crate) mobility: Mobility,
    pub(crate) dues: IkeDues,
    pub(crate) resumption: Resumption,
}

/// What came of the child that we proposed with IKE_AUTH.
pub(crate) enum FirstChild {
    Agreed(Proposed, Agreement),
    /// The peer made it, but not as we can use it: it is deleted.
    Unacceptable(Proposed, Refusal),
    /// It is made for single pairs of addresses only, and one was named.
    ForPair(Proposed, Traffic),
    /// It was not made.
    Refused(Proposed, Refusal),
}

impl FirstChild {
    pub(crate) fn spi(&self) -> EspSpi {
        let (Self::Agreed(proposed, _)
        | Self::Unacceptable(proposed, _)
        | Self::ForPair(proposed, _)
        | Self::Refused(proposed, _)) = self;
        proposed.spi
    }
}

/// The IKE_AUTH response that waits for the child.
pub(crate) struct AuthAnswer {
    pub(crate) to: Request,
    /// IDr, CERT, AUTH, notifications.
    pub(crate) payloads: Vec<Payload<'static>>,
    /// CFG_REPLY.
    pub(crate) reply: Option<Payload<'static>>,
    pub(crate) leases: Leases,
    pub(crate) child: Option<Result<Decided, NoChild>>,
    /// The client is sent on to another gateway.
    pub(crate) leaves: bool,
}

impl Established {
    /// The responder is authenticated.
    pub(crate) fn as_initiator(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        mut peer: Authenticated,
        first: Option<FirstChild>,
    ) -> Next {
        let received = peer.secrets.agreed.received.take();
        if peer.chosen.connection.configuration.asks() {
            cx.directory.memory_mut(&peer.chosen.connection.name).families = peer.secrets.agreed.families;
        }
        if peer.secrets.agreed.initial_contact && peer.chosen.connection.unique != Unique::Never {
            unique::first_contact(sa, cx, &peer.identities.pair);
        }
        let (mut stage, transcript) = Self::new(sa, cx, peer);
        stage.heed(sa, cx);
        if let Some(received) = received {
            stage.leases.apply(sa, cx, &stage.chosen.connection, *received);
        }
        match first {
            None => {}
            Some(FirstChild::Agreed(proposed, agreed)) => {
                stage.install_first(sa, cx, (proposed, agreed), &transcript);
            }
            Some(FirstChild::Unacceptable(proposed, refusal)) => {
                cx.directory.release_spi(proposed.spi);
                stage.queue_delete(vec![Named::unheard(proposed.spi)]);
                stage.child_refused(sa, cx, &proposed.child.name, refusal);
            }
            Some(FirstChild::ForPair(proposed, pair)) => {
                cx.directory.release_spi(proposed.spi);
                create_child::again_for_pair(&mut stage, sa, cx, proposed.child, pair);
            }
            Some(FirstChild::Refused(proposed, refusal)) => {
                cx.directory.release_spi(proposed.spi);
                stage.child_refused(sa, cx, &proposed.child.name, refusal);
            }
        }
        stage.go_on(sa, cx);
        Box::new(stage)
    }

    /// The initiator is authenticated, and our own AUTH value is made. The response goes out when the child is
    /// installed, so that its first packet finds an SA.
    pub(crate) fn as_responder(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        peer: Authenticated,
        answer: AuthAnswer,
    ) -> Next {
        let (mut stage, transcript) = Self::new(sa, cx, peer);
        let AuthAnswer { to, mut payloads, reply, leases, child, leaves } = answer;
        stage.leases = leases;
        payloads.extend(stage.answer_ticket_request(sa, cx, leaves));
        if leaves {
            stage.leave_after(cx, limits::REDIRECT_GRACE);
        }
        // Also without a child: there will be others, and nothing else gives the peer an address.
        payloads.extend(reply);
        match child {
            None => {
                stage.channel.respond(sa, cx, to, &payloads);
            }
            Some(Err(no_child)) => {
                payloads.push(Payload::Notify(no_child.notify));
                stage.channel.respond(sa, cx, to, &payloads);
                cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal: no_child.refusal });
            }
            Some(Ok(decided)) => {
                let nonces = (transcript.nonce_i, transcript.nonce_r);
                let mut body = vec![decided.sa_payload()];
                body.extend(decided.ts_payloads());
                let replaces = None;
                let (head, shared, ppk) = (payloads, None, None);
                let waiting = Waiting { to, head, body, decided, nonces, shared, ppk, replaces };
                stage.install_then_answer(sa, cx, waiting);
            }
        }
        stage.go_on(sa, cx);
        Box::new(stage)
    }

    fn new(sa: &mut Common, cx: &mut Cx<'_>, peer: Authenticated) -> (Self, Transcript) {
        let Authenticated { chosen, secrets, identities } = peer;
        let Secrets { suite, sk_d, transcript, agreed, channel, former, .. } = secrets;
        unique::enter(sa, cx, &identities.pair, chosen.connection.unique);
        let dues = IkeDues::new(cx, &chosen.connection.lifetime, sa.side, agreed.proven_for);
        let resumption = Resumption::new(sa, cx, &chosen.connection, former.as_deref());
        let mobility = Mobility::new(sa, cx, &agreed, &chosen.connection);
        let mut channel = channel;
        channel.widen(chosen.connection.window);
        let proved_as = sa.side;
        let core = Core {
            channel,
            chosen,
            identities,
            suite,
            sk_d,
            proved_as,
            peer: agreed,
            mobility,
            dues,
            resumption,
        };
        let stage = Self::bare(core);
        cx.out.tell(Event::IkeUp(sa.facts(&stage.known(), cx.now.mono)));
        (stage, transcript)
    }

    /// With nothing under way.
    pub(crate) fn bare(core: Core) -> Self {
        let Core { channel, chosen, identities, suite, sk_d, proved_as, peer, mobility, dues, resumption } =
            core;
        Self {
            channel,
            chosen,
            identities,
            suite,
            sk_d,
            nat: peer.nat,
            proved_as,
            peer_window: peer.window.max(1),
            peer,
            leases: Leases::default(),
            mobility,
            children: Vec::new(),
            asking: Vec::new(),
            answering: Vec::new(),
            granting: Vec::new(),
            offering: Offering::None,
            consulting: Vec::new(),
            installing: Vec::new(),
            series: Vec::new(),
            states_lost: 0,
            retired: Vec::new(),
            rekeys: Vec::new(),
            rival: None,
            todo: VecDeque::new(),
            later: Vec::new(),
            dues,
            busy_since: None,
            look: None,
            provoked: None,
            complained: None,
            resumption,
        }
    }

    fn install_first(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        first: (Proposed, Agreement),
        transcript: &Transcript,
    ) {
        let (proposed, agreed) = first;
        let nonces = Nonces { initiator: &transcript.nonce_i, responder: &transcript.nonce_r };
        let side = Side::Initiator;
        let (nat, place) = (self.nat, Place::Own);
        let (ike, sk_d) = (&self.suite, &self.sk_d);
        let keying = Keying { ike, sk_d, ppk: None, nonces, shared: None, side, nat, place };
        let installed = child::install(sa, cx, &proposed.child, agreed, keying);
        self.await_install(sa, cx, (&proposed, None), installed);
    }

    /// Waits for the data plane, for a child of ours.
    pub(crate) fn await_install(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        (proposed, replaces): (&Proposed, Option<Replaces>),
        installed: Result<(sa::JobId, child::ChildSa), String>,
    ) {
        match installed {
            Ok((job, child)) => {
                let until = cx.now.mono + limits::JOB_PATIENCE;
                self.installing.reserve_exact(1);
                self.installing.push(Installing { child, replaces, job, until });
            }
            Err(why) => {
                cx.directory.release_spi(proposed.spi);
                self.queue_delete(vec![Named::unheard(proposed.spi)]);
                let refusal = self.refusal(RefusalKind::Dataplane, why);
                self.child_refused(sa, cx, &proposed.child.name, refusal);
                rekey_child::ours_done(self, sa, cx, replaces, None);
            }
        }
    }

    /// Installs a child of the peer's, whose request is answered after that.
    pub(crate) fn install_then_answer(&mut self, sa: &mut Common, cx: &mut Cx<'_>, waiting: Waiting) {
        let Waiting { to, mut head, body, decided, nonces, shared, ppk, replaces } = waiting;
        let place = replaces.as_ref().map_or(Place::Own, |replaces| Place::Held(replaces.old));
        let nonces = Nonces { initiator: &nonces.0, responder: &nonces.1 };
        let (side, shared, nat) = (Side::Responder, shared.as_ref(), self.nat);
        let (ike, sk_d, ppk) = (&self.suite, &self.sk_d, ppk.as_ref());
        let keying = Keying { ike, sk_d, ppk, nonces, shared, side, nat, place };
        match child::install(sa, cx, &decided.child, decided.agreed.clone(), keying) {
            Ok((job, child)) => {
                let until = cx.now.mono + limits::JOB_PATIENCE;
                self.answering.push(Answering { to, head, body, child, replaces, job, until });
            }
            Err(why) => {
                cx.directory.release_spi(decided.agreed.spi_in);
                head.push(Payload::Notify(wire::Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new())));
                self.channel.respond(sa, cx, to, &head);
                let refusal = self.refusal(RefusalKind::Dataplane, why);
                cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal });
                rekey_child::theirs_done(self, sa, cx, replaces, None);
            }
        }
    }
}

/// A request for a child SA on which is decided.
pub(crate) struct Waiting {
    pub(crate) to: Request,
    /// What the response holds, whatever becomes of the child.
    pub(crate) head: Vec<Payload<'static>>,
    /// What it holds when the child stands.
    pub(crate) body: Vec<Payload<'static>>,
    pub(crate) decided: Decided,
    /// Ni and Nr of the exchange.
    pub(crate) nonces: (Vec<u8>, Vec<u8>),
    /// Of the child's own key exchanges.
    pub(crate) shared: Option<SharedSecrets>,
    /// The PPK that both have for its keys.
    pub(crate) ppk: Option<Primed>,
    /// The child in whose place it comes.
    pub(crate) replaces: Option<Replaces>,
}
