//! IKE_INTERMEDIATE as responder (RFC 9242), for the additional key exchanges that were agreed on (RFC 9370 §2.2.2) and for
//! post-quantum pre-shared keys (RFC 9867). The initiator's side draws the exchange.

use super::Secrets;
use crate::channel::{Authentic, Message, Request};
use crate::ext::{self, PpkProposal, PpkWay};
use crate::fault::Fault;
use crate::followup::peer_value;
use crate::{Common, Cx};
use crypto::IkeKeys;
use sa::{Branch, MixedPpk};
use wire::num::KeMethod;
use wire::{KeyExchange, Payload};

/// An IKE_INTERMEDIATE request that was read, and what it has led to.
pub(super) struct Round {
    pub(super) to: Request,
    /// The PPKs that it proposes, where it does.
    pub(super) proposed: Option<Vec<PpkProposal>>,
    /// The keys that come of its key exchange, if it has one.
    pub(super) keys: Option<IkeKeys>,
    /// Our half of that.
    ke: Option<KeyExchange<'static>>,
    /// What AUTH covers of the request.
    octets: Vec<u8>,
}

/// Reads the next IKE_INTERMEDIATE request, and does its key exchange.
//= rfc9242 §5
//# Specifications utilizing the Intermediate Exchange MUST NOT allow an unlimited number of these exchanges to take place at
//# the initiator's discretion.
pub(super) fn read(
    cx: &mut Cx<'_>,
    secrets: &Secrets,
    to: Request,
    message: &Authentic<Message>,
) -> Result<Round, Fault> {
    let contents = message.contents()?;
    let speaks = secrets.agreed.ppk.way == PpkWay::Intermediate;
    let proposed = if speaks { ext::ppk_claims(&contents)? } else { None };
    if proposed.is_some() && !secrets.is_ppk_due() {
        let what = "PPK_IDENTITY_KEY came where another IKE_INTERMEDIATE exchange follows, or a second time";
        return Err(Fault::syntax("RFC 9867 §3.1", what));
    }
    let method = secrets.next_round();
    if method.is_none() && proposed.is_none() {
        return Err(Fault::syntax("RFC 9242 §3.2", "nobody has agreed on this IKE_INTERMEDIATE exchange"));
    }
    let exchange = method.map(|method| {
        let peer = peer_value(&contents, method).map_err(|what| wrong(&what))?;
        respond(cx, secrets, method, peer)
    });
    let (ke, keys) = exchange.transpose()?.unzip();
    Ok(Round { to, proposed, keys, ke, octets: message.intermediate_octets() })
}

/// Does an additional key exchange: our half of it, and the keys that it leads to.
fn respond(
    cx: &mut Cx<'_>,
    secrets: &Secrets,
    method: KeMethod,
    peer: &[u8],
) -> Result<(KeyExchange<'static>, IkeKeys), Fault> {
    let exchange = cx.suite.key_exchange(method);
    let exchange = exchange.ok_or_else(|| wrong(&format!("this build has no key exchange {method}")))?;
    let (public, shared) = exchange
        .respond(cx.rng, peer)
        .map_err(|error| wrong(&format!("the value for key exchange {method} is not valid: {error}")))?;
    let keys = secrets.mix(cx, &shared).map_err(|error| wrong(&error.to_string()))?;
    Ok((KeyExchange { method, data: public.into() }, keys))
}

fn wrong(what: &str) -> Fault {
    Fault::syntax("RFC 9370 §2.2.2", what)
}

impl Round {
    /// Answers it, and goes over to the keys that come of it. `ppk`: what came of the PPKs, where it proposes some.
    pub(super) fn answer(
        self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        secrets: &mut Secrets,
        ppk: Option<Option<MixedPpk>>,
    ) -> Result<(), Fault> {
        let Self { to, keys, ke, octets, .. } = self;
        let mut payloads: Vec<Payload<'_>> = ke.into_iter().map(Payload::Ke).collect();
        payloads.extend(ppk.iter().flatten().map(|ppk| ext::ppk_chosen(&ppk.id)));
        payloads.extend(std::mem::take(&mut secrets.agreed.announcement).into_iter().map(Payload::Notify));
        let ours = secrets.channel.intermediate_octets(to.id, None, &payloads);
        secrets.channel.respond(sa, cx, to, &payloads);
        secrets.cover(cx, &octets, &ours);
        cx.reach(Branch::IntermediateAnswered);
        let adopted = match ppk {
            Some(ppk) => secrets.adopt_with_ppk(cx, keys, ppk),
            None => keys.map_or(Ok(()), |keys| secrets.adopt(cx, keys)),
        };
        adopted.map_err(|error| wrong(&error.to_string()))
    }
}
