//! What extensions of the peer want of an IKE SA that stands, told in IKE_AUTH or later.

use super::Established;
use crate::channel::Request;
use crate::contents::Contents;
use crate::ext::{self, Facts, Moment};
use crate::{Common, Cx};
use crypto::Spis;
use policy::EndAction;
use sa::Path;

impl Established {
    /// Reads what an INFORMATIONAL request tells, and does it.
    pub(super) fn hear(&mut self, sa: &mut Common, cx: &mut Cx<'_>, to: &Request, contents: &Contents<'_>) {
        self.inspect(sa, cx, (Moment::Told, to.path), contents);
        self.heed(sa, cx);
    }

    /// Has the extensions read a message.
    pub(super) fn inspect(
        &mut self,
        sa: &Common,
        cx: &mut Cx<'_>,
        (moment, path): (Moment, Path),
        contents: &Contents<'_>,
    ) {
        let before = self.peer.clone();
        let facts = Facts {
            suite: cx.suite,
            settings: cx.settings,
            rng: cx.rng,
            spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
            path,
            connection: &self.chosen.connection,
            agreed: &before,
            addresses: cx.addresses,
            first_contact: false,
        };
        ext::inspect(moment, &facts, contents, &mut self.peer);
    }

    /// What extensions tell first under new keys.
    pub(crate) fn tell_renewed(&mut self, sa: &Common, cx: &mut Cx<'_>) {
        ext::renew(&mut self.peer);
        let mut payloads = Vec::new();
        let mut facts = Facts {
            suite: cx.suite,
            settings: cx.settings,
            rng: cx.rng,
            spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
            path: sa.path,
            connection: &self.chosen.connection,
            agreed: &self.peer,
            addresses: cx.addresses,
            first_contact: false,
        };
        ext::offer(Moment::Renewed, &mut facts, &mut payloads);
        if !payloads.is_empty() {
            self.tell_first(payloads);
        }
    }

    /// Whether an unprotected message shows that the peer has forgotten this IKE SA.
    pub(crate) fn is_forgotten(&self, bytes: &[u8]) -> bool {
        self.peer.token.as_ref().is_some_and(|token| ext::shows_token(bytes, token))
    }

    /// The peer has forgotten this IKE SA: children that are to be restarted are asked for anew at once.
    //= rfc6290 §4
    //# If it succeeds, it MUST silently delete the IKE SA associated with the IKE_SPI fields and all dependent child SAs.
    //# […] A supporting token taker MAY immediately create new SAs using an Initial exchange
    pub(crate) fn begin_anew(&mut self, sa: &Common, cx: &mut Cx<'_>) {
        let mut again = self.successor(sa, sa.path);
        let restarts = |name: &String| {
            self.children.iter().any(|c| c.name == *name && c.config.dpd_action == EndAction::Restart)
        };
        again.wishes.iter_mut().for_each(|wish| wish.open.retain(restarts));
        again.wishes.retain(|wish| !wish.open.is_empty());
        if !again.wishes.is_empty() {
            again.origin.succeeds = None;
            cx.again.push(again);
        }
    }

    /// Does what has been told and is not done.
    pub(super) fn heed(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        if let Some(time) = self.peer.auth_lifetime.take() {
            self.prove_within(sa, cx, time);
        }
        if let Some(redirect) = self.peer.redirect.take() {
            self.redirected(sa, cx, &redirect);
        }
    }

    /// What stands for another IKE SA has all that it was wanted for: the other one may go.
    pub(super) fn succeed(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        if sa.wishes.is_empty()
            && let Some(ike) = sa.origin.succeeds.take()
        {
            let by = sa.path.remote.ip();
            cx.superseded.push(crate::Superseded { ike, tell_peer: true, by });
        }
    }
}
