//! Further child SAs (RFC 7296 §1.3.1).
//!
//! ```text
//!   initiator                                     responder
//!   CREATE_CHILD_SA  SK{SA Ni [KEi] TSi TSr} -->
//!                              <--  SK{N(INVALID_KE_PAYLOAD)}: once more with the method that is wanted
//!                              <--  SK{SA Nr [KEr] TSi TSr}     (the child is installed before)
//!   (the child is installed)
//! ```

use crate::channel::Request;
use crate::child::{self, ChildRequest, Decided, Keying, NoChild, Proposed};
use crate::contents::Contents;
use crate::established::{After, Asking, Established, Waiting};
use crate::ext::Nat;
use crate::fault::Fault;
use crate::{Common, Cx, established, limits, rekey_child, rekey_ike};
use base::{EspSpi, Secret};
use crypto::{KePrivate, Nonces};
use policy::{Child, ChildKe};
use sa::{Event, Refusal, RefusalKind, Side};
use std::sync::Arc;
use wire::num::{ExchangeType, KeMethod, NotifyType, ProtocolId};
use wire::{KeyExchange, Notify, Payload};

/// What we have asked for.
pub(crate) struct Asked {
    pub(crate) proposed: Proposed,
    nonce: Vec<u8>,
    ke: Option<(KeMethod, Box<dyn KePrivate>)>,
    /// The method that the peer has asked for instead of our first.
    corrected: bool,
    /// SPIs that the peer has deleted since, which we do not know: the answer may be about one of them.
    deleted: Vec<EspSpi>,
}

impl Asked {
    /// The peer deletes what we do not have; perhaps its answer was lost and is still to come.
    //= rfc7296 §2.25.1
    pub(crate) fn note_deleted(&mut self, spi: EspSpi) {
        if self.deleted.len() < limits::MAX_CHILDREN {
            self.deleted.push(spi);
        }
    }
}

/// Asks for a child; `wished` is the key exchange method that the peer has asked for.
pub(crate) fn begin(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    child: Arc<Child>,
    wished: Option<KeMethod>,
) -> Option<Asking> {
    let proposed = Proposed::new(sa, cx, child, true);
    let nonce = cx.random(limits::NONCE_LEN);
    let mut payloads = vec![proposed.sa_payload(), Payload::Nonce(nonce.clone().into())];
    let mut ke = None;
    if let Some(method) = wished.or(child::wished_ke(&proposed.offers)) {
        let generated = cx.suite.key_exchange(method).and_then(|ke| ke.generate(cx.rng).ok());
        let Some((private, public)) = generated else {
            cx.directory.release_spi(proposed.spi);
            let refusal =
                of.refusal(RefusalKind::InvalidKe, format!("This build has no key exchange {method}."));
            of.child_refused(sa, cx, &proposed.child.name, refusal);
            return None;
        };
        payloads.push(Payload::Ke(KeyExchange { method, data: public.into() }));
        ke = Some((method, private));
    }
    payloads.extend(proposed.ts_payloads());
    let request = of.channel.ask(sa, cx, ExchangeType::CREATE_CHILD_SA, &payloads)?;
    let asked = Asked { proposed, nonce, ke, corrected: wished.is_some(), deleted: Vec::new() };
    Some(Asking { request, what: established::Asked::Child(asked) })
}

/// The peer has answered.
pub(crate) fn on_response(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    asked: Asked,
    contents: &Contents<'_>,
) {
    let name = asked.proposed.child.name.clone();
    if let Some(notify) = contents.error() {
        cx.directory.release_spi(asked.proposed.spi);
        //= rfc7296 §1.3
        //# the initiator MUST retry with the corrected group, if that was in its proposal
        if let Some(wished) = corrected(&asked, notify) {
            cx.note(sa.id, format!("The peer wants key exchange {wished} for child `{name}`: asking again."));
            of.asking = begin(of, sa, cx, asked.proposed.child, Some(wished)).map(Box::new);
            return;
        }
        let refusal = child::refused_by_peer(notify, &of.chosen.connection, &asked.proposed.child);
        of.child_refused(sa, cx, &name, refusal);
        return;
    }
    match accept(&asked, sa, of.nat, contents) {
        Ok((agreed, ..)) if asked.deleted.contains(&agreed.spi_out) => {
            cx.directory.release_spi(asked.proposed.spi);
            let reason = format!("The peer deleted child `{name}` before its answer came.");
            of.child_refused(sa, cx, &name, of.refusal(RefusalKind::PeerError, reason));
        }
        Ok((agreed, nonce, g_ir)) => {
            let nonces = Nonces { initiator: &asked.nonce, responder: &nonce };
            let (side, g_ir, nat) = (Side::Initiator, g_ir.as_ref(), of.nat);
            let keying = Keying { ike: &of.suite, sk_d: &of.sk_d, nonces, g_ir, side, nat };
            let installed = child::install(sa, cx, &asked.proposed.child, agreed, keying);
            of.await_install(sa, cx, &asked.proposed, installed);
        }
        Err((kind, reason)) => {
            // The peer has the child; it must not keep it.
            cx.directory.release_spi(asked.proposed.spi);
            of.queue_delete(vec![asked.proposed.spi]);
            of.child_refused(sa, cx, &name, of.refusal(kind, reason));
        }
    }
}

/// The method that INVALID_KE_PAYLOAD names, if we have offered it and not tried it.
fn corrected(asked: &Asked, notify: &Notify<'_>) -> Option<KeMethod> {
    if notify.kind != NotifyType::INVALID_KE_PAYLOAD || asked.corrected {
        return None;
    }
    let wished = KeMethod(u16::from_be_bytes(<[u8; 2]>::try_from(&notify.data[..]).ok()?));
    let offered = asked.proposed.child.esp_proposals.iter().any(|ours| ours.ke.contains(&wished));
    let tried = asked.ke.as_ref().is_some_and(|(method, _)| *method == wished);
    (offered && !tried && wished != KeMethod::NONE).then_some(wished)
}

type Accepted = (child::Agreement, Vec<u8>, Option<Secret>);

fn accept(
    asked: &Asked,
    sa: &Common,
    nat: Nat,
    contents: &Contents<'_>,
) -> Result<Accepted, (RefusalKind, String)> {
    let agreed = asked.proposed.accept(sa, nat, contents)?;
    let bad =
        |what: &str| (RefusalKind::Protocol, format!("The peer's answer for a child SA is wrong: {what}."));
    let nonce = contents.nonce.as_ref().ok_or_else(|| bad("it has no nonce"))?.to_vec();
    let g_ir = match (agreed.suite.ke, &asked.ke, &contents.ke) {
        (KeMethod::NONE, _, _) => None,
        (chosen, Some((method, private)), Some(ke)) if chosen == *method && ke.method == *method => {
            Some(private.finish(&ke.data).map_err(|error| bad(&error.to_string()))?)
        }
        (chosen, ..) => {
            return Err(bad(&format!("it chose key exchange {chosen}, but has no KE payload for it")));
        }
    };
    Ok((agreed, nonce, g_ir))
}

/// The peer asks for a child SA, or for new keys.
pub(crate) fn on_request(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    to: Request,
    contents: &Contents<'_>,
) -> After {
    let refused = if let Some(notify) = contents.notify(NotifyType::REKEY_SA) {
        Some(rekey_child::refuse(of, notify))
    } else if contents.sa.iter().flatten().any(|proposal| proposal.protocol == ProtocolId::IKE) {
        Some(rekey_ike::refuse(of))
    } else {
        None
    };
    if let Some(no_child) = refused {
        refuse(of, sa, cx, to, no_child);
        return After::Stay;
    }
    if contents.sa.is_none() || contents.nonce.is_none() {
        return of.fault(sa, cx, to, &Fault::missing("SA or Nonce"));
    }
    if let Err(no_child) = create(of, sa, cx, to, contents) {
        refuse(of, sa, cx, to, no_child);
    }
    After::Stay
}

fn refuse(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, to: Request, no_child: NoChild) {
    of.channel.respond(sa, cx, to, &[Payload::Notify(no_child.notify)]);
    cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal: no_child.refusal });
}

fn create(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    to: Request,
    contents: &Contents<'_>,
) -> Result<(), NoChild> {
    let connection = of.chosen.connection.clone();
    if !of.has_place() {
        let reason = format!("The IKE SA has {} child SAs, which is the limit.", limits::MAX_CHILDREN);
        return Err(NoChild::new(
            RefusalKind::NoAdditionalSas,
            NotifyType::NO_ADDITIONAL_SAS,
            &connection,
            reason,
        ));
    }
    let sent = contents.ke.as_ref().map(|ke| ke.method);
    let request = ChildRequest { contents, ke: ChildKe::Payload(sent), nat: of.nat };
    let decided = Decided::new(sa, cx, &connection, &request)?;
    let method = decided.agreed.suite.ke;
    let mut body = vec![decided.sa_payload()];
    let nonce = cx.random(limits::NONCE_LEN);
    body.push(Payload::Nonce(nonce.clone().into()));
    let mut g_ir = None;
    if method != KeMethod::NONE {
        let answered = match &contents.ke {
            Some(ke) if ke.method == method => {
                cx.suite.key_exchange(method).and_then(|exchange| exchange.respond(cx.rng, &ke.data).ok())
            }
            _ => None,
        };
        let Some((public, secret)) = answered else {
            cx.directory.release_spi(decided.agreed.spi_in);
            return Err(wrong_ke(&connection.name, &decided, sent, method));
        };
        body.push(Payload::Ke(KeyExchange { method, data: public.into() }));
        g_ir = Some(secret);
    }
    body.extend(decided.ts_payloads());
    let peer_nonce = contents.nonce.as_ref().map_or(Vec::new(), |nonce| nonce.to_vec());
    let waiting = Waiting { to, head: Vec::new(), body, decided, nonces: (peer_nonce, nonce), g_ir };
    of.install_then_answer(sa, cx, waiting);
    Ok(())
}

fn wrong_ke(connection: &str, decided: &Decided, sent: Option<KeMethod>, wanted: KeMethod) -> NoChild {
    let sent = sent.map_or("none".to_string(), |sent| sent.to_string());
    let reason = format!(
        "Child `{}` wants key exchange {wanted}, but the peer's value is for {sent} or is not valid; it is told to try again.",
        decided.child.name
    );
    let connection = Some(connection.to_string());
    NoChild {
        notify: Notify::new(NotifyType::INVALID_KE_PAYLOAD, wanted.0.to_be_bytes().to_vec()),
        refusal: Refusal { kind: RefusalKind::InvalidKe, by_peer: false, connection, reason },
    }
}
