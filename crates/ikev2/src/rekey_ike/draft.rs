//! What both sides agree on for another IKE SA, and the keys that come of it: for one in the place of another (`rekey_ike`) and
//! for one beside it (`clone_ike`).

use super::Asked;
use crate::channel::Channel;
use crate::child::NoChild;
use crate::contents::{self, Contents};
use crate::establish::ciphers;
use crate::established::Established;
use crate::ext::{self, UsedPpk};
use crate::fresh_ppk::{self, Primed, Wanted};
use crate::ike_sa::Common;
use crate::rekey_child::lowest;
use crate::{Cx, limits};
use base::{IkeSpi, Secret};
use crypto::{CryptoError, Nonces, SharedSecrets, Spis};
use policy::{Connection, IkeKe, IkeSuite, Offer, Proposal};
use sa::{RefusalKind, Side};
use std::collections::VecDeque;
use wire::num::{KeMethod, NotifyType, ProtocolId};
use wire::{KeyExchange, Notify, Payload};

/// A new IKE SA on which both are agreed, before its keys are made.
pub(crate) struct Draft {
    side: Side,
    spis: Spis,
    suite: IkeSuite,
    ni: Vec<u8>,
    nr: Vec<u8>,
    /// The PPK that both have for its keys.
    pub(crate) ppk: Option<Primed>,
}

/// A new IKE SA's keys.
pub(crate) struct Fresh {
    side: Side,
    pub(super) spis: Spis,
    pub(super) suite: IkeSuite,
    pub(super) sk_d: Secret,
    pub(super) channel: Channel,
    /// The PPK that is new in its keys.
    pub(crate) ppk: Option<UsedPpk>,
}

/// The keys that the new ones are made from.
pub(crate) struct Parent<'a> {
    pub(crate) suite: &'a IkeSuite,
    pub(crate) sk_d: &'a Secret,
    pub(crate) fragment_size: Option<u16>,
}

impl Draft {
    /// The lower of the exchange's nonces.
    pub(crate) fn lowest(&self) -> Vec<u8> {
        lowest((&self.ni, &self.nr))
    }

    /// The methods of its additional key exchanges.
    pub(super) fn methods(&self) -> VecDeque<KeMethod> {
        self.suite.additional.methods().collect()
    }
}

impl Fresh {
    //= rfc7296 §2.18
    //# SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr)
    //# The old and new IKE SA may have selected a different PRF. Because the rekeying exchange belongs to the old IKE SA, it
    //# is the old IKE SA's PRF that is used to generate SKEYSEED.
    pub(super) fn derive(
        cx: &Cx<'_>,
        parent: &Parent<'_>,
        draft: &Draft,
        shared: &SharedSecrets,
    ) -> Result<Self, CryptoError> {
        let Draft { side, spis, suite, ni, nr, ppk } = draft;
        let (side, spis, suite) = (*side, *spis, *suite);
        let nonces = Nonces { initiator: ni, responder: nr };
        let old_prf = cx.suite.prf(parent.suite.prf).ok_or(CryptoError::Unsupported)?;
        //= rfc9867 §3.2.1
        //# The resulting key SK_d' is then used instead of SK_d in all formulas for computing keys for the new SA (Sections […]
        //# 2.18 of [RFC7296] and Section 2.2.4 of [RFC9370]).
        let sk_d = ppk.as_ref().map_or(parent.sk_d, |primed| &primed.sk_d);
        let seed = crypto::skeyseed_rekeyed(old_prf, sk_d, nonces, shared);
        let prf = cx.suite.prf(suite.prf).ok_or(CryptoError::Unsupported)?;
        let shape =
            cx.suite.cipher_spec(suite.encr, suite.key_bits, suite.integ).ok_or(CryptoError::Unsupported)?;
        let keys = crypto::ike_keys(prf, &seed, nonces, spis, shape)?;
        let ciphers = ciphers(cx, &suite, &keys, side)?;
        let channel = Channel::rekeyed(side, spis, ciphers, parent.fragment_size);
        let ppk = ppk.as_ref().map(|primed| primed.ppk.clone());
        Ok(Self { side, spis, suite, sk_d: keys.d, channel, ppk })
    }

    /// What is always true of the new IKE SA.
    pub(crate) fn common(&self, cx: &mut Cx<'_>, sa: &Common) -> Common {
        let now = cx.now.mono;
        Common {
            id: cx.out.new_ike(),
            side: self.side,
            spi_i: self.spis.initiator,
            spi_r: self.spis.responder,
            path: sa.path,
            born: now,
            heard: now,
            spoke: now,
            keepalive: sa.keepalive,
            last_message_id: sa.last_message_id,
            wishes: Vec::new(),
            origin: sa.origin.clone(),
        }
    }
}

/// What a request for an IKE SA without another proof proposes: SA, Ni, KEi, and PPKs.
pub(crate) fn propose(
    of: &mut Established,
    cx: &mut Cx<'_>,
    offers: Vec<Offer>,
    wished: Option<KeMethod>,
) -> Option<(Asked, Vec<Payload<'static>>)> {
    // The method in use comes first: some peers cannot answer INVALID_KE_PAYLOAD here.
    let method = wished.unwrap_or(of.suite.ke);
    let (private, public) = cx.suite.key_exchange(method).and_then(|ke| ke.generate(cx.rng).ok())?;
    let spi = cx.settings.shard.draw(cx.rng);
    let mut offer = of.take_offer();
    let nonce = offer.nonce(cx);
    let mut payloads = vec![
        Payload::Sa(contents::proposals(&offers, ProtocolId::IKE, &spi.0.to_be_bytes())),
        Payload::Nonce(nonce.clone().into()),
        Payload::Ke(KeyExchange { method, data: public.into() }),
    ];
    payloads.extend(offer.payloads());
    let (ke, corrected, ppks) = ((method, private), wished.is_some(), offer.ppks);
    Some((Asked { offers, spi, nonce, ke, corrected, ppks, further: None }, payloads))
}

/// The method that INVALID_KE_PAYLOAD names, if we have offered it and not tried it.
pub(crate) fn corrected(asked: &Asked, notify: &Notify<'_>) -> Option<KeMethod> {
    let wished = contents::wished_ke(notify).filter(|_| !asked.corrected)?;
    let transforms = || asked.offers.iter().flat_map(|offer| &offer.transforms);
    let offered = transforms().any(|t| t.kind == wire::num::TransformType::KE && t.id == wished.0);
    (offered && wished != asked.ke.0).then_some(wished)
}

/// Reads the answer to CREATE_CHILD_SA.
pub(crate) fn accept(asked: &Asked, contents: &Contents<'_>) -> Result<(Draft, SharedSecrets), String> {
    let proposals = contents.sa.as_deref().ok_or("it has no SA payload")?;
    let (answer, spi) = contents::ike_rekey_answer(proposals)?;
    let suite = policy::accept_ike(&asked.offers, &answer).map_err(|error| error.to_string())?;
    let nonce: &[u8] = contents.nonce.as_ref().ok_or("it has no nonce")?;
    let ke = contents.ke.as_ref().ok_or("it has no KE payload")?;
    if suite.ke != asked.ke.0 || ke.method != asked.ke.0 {
        return Err(format!("it chose key exchange {}, but {} was begun", suite.ke, asked.ke.0));
    }
    let g_ir = asked.ke.1.finish(&ke.data).map_err(|error| error.to_string())?;
    let ppk = fresh_ppk::taken(&asked.ppks, contents)?;
    let spis = Spis { initiator: asked.spi, responder: spi };
    let (ni, nr) = (asked.nonce.clone(), nonce.to_vec());
    Ok((Draft { side: Side::Initiator, spis, suite, ni, nr, ppk }, g_ir.into()))
}

/// Reads the answer, which no additional key exchanges follow: the new keys.
pub(crate) fn accept_at_once(
    cx: &Cx<'_>,
    asked: &Asked,
    parent: &Parent<'_>,
    contents: &Contents<'_>,
) -> Result<Fresh, String> {
    let (draft, shared) = accept(asked, contents)?;
    if !draft.suite.additional.is_empty() {
        return Err("it chose additional key exchanges, which were not offered".to_string());
    }
    Fresh::derive(cx, parent, &draft, &shared).map_err(|error| error.to_string())
}

/// A new IKE SA, its first shared secret, and the answer that makes it.
type Decided = (Draft, SharedSecrets, Vec<Payload<'static>>);

pub(super) fn unusable(connection: &Connection, what: &str) -> NoChild {
    let reason = format!("The peer's request for a new IKE SA cannot be used: {what}.");
    NoChild::new(RefusalKind::Protocol, NotifyType::NO_PROPOSAL_CHOSEN, connection, reason)
}

/// Decides on what the peer proposes for a new IKE SA.
pub(crate) fn decide(
    connection: &Connection,
    ours: &[Proposal],
    cx: &mut Cx<'_>,
    wanted: &Wanted<'_>,
) -> Result<Decided, NoChild> {
    let Wanted { contents, ppk, .. } = wanted;
    let no = |kind, notify, reason: String| NoChild::new(kind, notify, connection, reason);
    let bad = |what: &str| unusable(connection, what);
    let ke = contents.ke.as_ref().ok_or_else(|| bad("it has no KE payload"))?;
    let ni: &[u8] = contents.nonce.as_ref().ok_or_else(|| bad("it has no nonce"))?;
    let offers = contents::offers(contents.sa.as_deref().unwrap_or_default(), ProtocolId::IKE, 8);
    let plain: Vec<Offer> = offers.iter().map(|(offer, _)| offer.clone()).collect();
    let ike_ke = IkeKe { sent: Some(ke.method), additional: true };
    let choice = policy::choose_ike(ours, &plain, ike_ke).map_err(|why| {
        no(
            RefusalKind::NoProposalChosen,
            NotifyType::NO_PROPOSAL_CHOSEN,
            format!("New keys for the IKE SA: {why}"),
        )
    })?;
    let wanted = choice.suite.ke;
    let answered = match ke.method == wanted {
        true => cx.suite.key_exchange(wanted).and_then(|exchange| exchange.respond(cx.rng, &ke.data).ok()),
        false => None,
    };
    let Some((public, g_ir)) = answered else {
        let reason = format!(
            "The new IKE SA wants key exchange {wanted}, but the peer's value is for {} or is not valid; it is told to try again.",
            ke.method
        );
        let mut refused = no(RefusalKind::InvalidKe, NotifyType::INVALID_KE_PAYLOAD, reason);
        refused.notify.data = wanted.0.to_be_bytes().to_vec().into();
        return Err(refused);
    };
    let spi = offers.iter().find(|(offer, _)| offer.number == choice.number).map(|(_, spi)| spi.as_slice());
    let spi_i = spi.and_then(|spi| <[u8; 8]>::try_from(spi).ok()).map_or(0, u64::from_be_bytes);
    if spi_i == 0 {
        return Err(bad("its SPI is zero"));
    }
    let spis = Spis { initiator: IkeSpi(spi_i), responder: cx.settings.shard.draw(cx.rng) };
    let nr = cx.random(limits::NONCE_LEN);
    let (suite, ni, ppk) = (choice.suite, ni.to_vec(), ppk.clone());
    let draft = Draft { side: Side::Responder, spis, suite, ni, nr: nr.clone(), ppk };
    let answer = Offer { number: choice.number, transforms: choice.answer, has_unknown: false };
    let mut payloads = vec![
        Payload::Sa(contents::proposals(&[answer], ProtocolId::IKE, &spis.responder.0.to_be_bytes())),
        Payload::Nonce(nr.into()),
        Payload::Ke(KeyExchange { method: wanted, data: public.into() }),
    ];
    payloads.extend(draft.ppk.iter().map(|primed| ext::ppk_chosen(&primed.ppk.id)));
    Ok((draft, g_ir.into(), payloads))
}

/// The same, where no additional key exchanges can follow: the new keys, and the answer.
pub(crate) fn decide_at_once(
    of: &Established,
    ours: &[Proposal],
    cx: &mut Cx<'_>,
    wanted: &Wanted<'_>,
) -> Result<(Fresh, Vec<Payload<'static>>), NoChild> {
    let connection = &of.chosen.connection;
    let (draft, shared, payloads) = decide(connection, ours, cx, wanted)?;
    let parent = Parent { suite: &of.suite, sk_d: &of.sk_d, fragment_size: of.channel.cut() };
    let fresh = Fresh::derive(cx, &parent, &draft, &shared);
    Ok((fresh.map_err(|error| unusable(connection, &error.to_string()))?, payloads))
}
