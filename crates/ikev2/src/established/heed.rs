//! What extensions of the peer want of an IKE SA that stands, told in IKE_AUTH or later.

use super::Established;
use crate::channel::Request;
use crate::contents::Contents;
use crate::ext::{self, Facts, Moment};
use crate::ike_sa::Wish;
use crate::{Common, Cx, limits};
use base::EspSpi;
use crypto::Spis;
use sa::{IkeSaId, OrderId, Path};
use wire::num::NotifyType;

impl Established {
    /// Reads what an INFORMATIONAL request tells, and does it.
    pub(super) fn hear(&mut self, sa: &mut Common, cx: &mut Cx<'_>, to: &Request, contents: &Contents<'_>) {
        self.inspect(sa, cx, (Moment::Told, to.path), contents);
        self.heed(sa, cx);
    }

    /// Has the extensions read a message.
    pub(crate) fn inspect(
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
            resumes: false,
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
            resumes: false,
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

    /// The peer has no SA for ESP packets that we have sent it. What it tells within the IKE SA is no hint, but true: the
    /// child SA gets a successor, and where the peer has lost it whole (CHILD_SA_NOT_FOUND), one from scratch.
    //= rfc7296 §1.5
    //# if the receiving node has an active IKE SA to the IP address from whence the packet came, it MAY send an INVALID_SPI
    //# notification of the wayward packet over that IKE SA in an INFORMATIONAL exchange. The Notification Data contains the
    //# SPI of the invalid packet.
    pub(super) fn hear_lost_children(&mut self, sa: &mut Common, cx: &mut Cx<'_>, contents: &Contents<'_>) {
        let told = contents.notifies.iter().filter(|notify| notify.kind == NotifyType::INVALID_SPI);
        let spis = told.filter_map(|notify| <[u8; 4]>::try_from(&notify.data[..]).ok());
        for spi in spis.map(|octets| EspSpi(u32::from_be_bytes(octets))) {
            // Packets of a young one may have come before the peer had installed it; those of one that is gone come late.
            let is_old = |born| cx.now.mono.since(born) >= limits::PROVOKED_PROBE_INTERVAL;
            let lost = self.children.iter().find(|c| c.agreed.spi_out == spi && is_old(c.born));
            let Some((id, name)) = lost.map(|child| (child.id, child.name.clone())) else { continue };
            cx.note(sa.id, format!("The peer has no SA for what child `{name}` sends: asking for new keys."));
            self.wear_out(sa, cx, id, false);
        }
    }

    /// Does what has been told and is not done.
    pub(super) fn heed(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        if let Some(time) = self.peer.auth_lifetime.take() {
            self.prove_within(sa, cx, time);
        }
        if let Some(answer) = self.peer.ticket.take() {
            self.on_ticket(cx, answer);
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
            cx.superseded.push(crate::Superseded { ike, tell_peer: true, by, heir: Some(sa.id) });
        }
    }

    /// The IKE SA in whose place this one comes has these children too, which came up there meanwhile: they are asked for
    /// here, once. `false`: all have been.
    pub(crate) fn carry_over(&mut self, sa: &mut Common, ike: IkeSaId, children: &[String]) -> bool {
        let here = |name: &String| {
            sa.origin.carried.contains(name) || self.children.iter().any(|child| child.name == *name)
        };
        let missing: Vec<String> = children.iter().filter(|name| !here(name)).cloned().collect();
        if missing.is_empty() {
            return false;
        }
        sa.origin.succeeds = Some(ike);
        sa.origin.carried.extend_from_slice(&missing);
        sa.wishes.push(Wish::new(OrderId::NOBODY, missing));
        true
    }
}
