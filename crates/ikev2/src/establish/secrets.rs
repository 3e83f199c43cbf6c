//! What IKE_SA_INIT, or IKE_SESSION_RESUME, leaves behind: the transcript that AUTH covers, and the keys.

use crate::Cx;
use crate::channel::{Channel, Ciphers};
use crate::ext::{Agreed, PpkWay, UsedPpk};
use crate::ticket::Former;
use base::Secret;
use crypto::{CryptoError, IkeKeys, Nonces, Spis};
use policy::{Connection, IkeSuite};
use sa::{Job, MixedPpk, PPK_CONFIRMATION, PpkRequest, Side, SignedOctets};
use std::sync::Arc;
use wire::num::KeMethod;

/// Both first messages and nonces, octet for octet.
#[derive(Debug)]
pub(crate) struct Transcript {
    /// The request that was answered.
    pub(crate) request: Vec<u8>,
    /// The response.
    pub(crate) response: Vec<u8>,
    /// Ni.
    pub(crate) nonce_i: Vec<u8>,
    /// Nr.
    pub(crate) nonce_r: Vec<u8>,
}

/// The protected conversation and the secrets of an IKE SA that is not authenticated yet.
pub(crate) struct Secrets {
    pub(crate) suite: IkeSuite,
    pub(crate) sk_d: Secret,
    sk_pi: Secret,
    sk_pr: Secret,
    pub(crate) transcript: Transcript,
    pub(crate) agreed: Agreed,
    pub(crate) channel: Channel,
    /// What AUTH covers of the IKE_INTERMEDIATE exchanges; `None` before the first.
    intermediate: Option<Intermediate>,
    spis: Spis,
    side: Side,
    /// The IKE SA that is resumed.
    pub(crate) former: Option<Box<Former>>,
    /// SK_d, SK_pi and SK_pr as they were before a PPK was mixed into them (RFC 8784).
    plain: Option<Box<[Secret; 3]>>,
    /// PPKs have been proposed in an IKE_INTERMEDIATE exchange (RFC 9867), whatever came of it.
    ppk_over: bool,
}

/// The IKE_INTERMEDIATE exchanges that have taken place.
struct Intermediate {
    /// IntAuth_iN.
    initiator: Secret,
    /// IntAuth_rN.
    responder: Secret,
    /// N.
    count: u32,
}

/// The ciphers of both directions.
pub(crate) fn ciphers(
    cx: &Cx<'_>,
    suite: &IkeSuite,
    keys: &IkeKeys,
    side: Side,
) -> Result<Ciphers, CryptoError> {
    let cipher = |encr: &Secret, integ: &Secret| {
        cx.suite.cipher(suite.encr, suite.key_bits, suite.integ, encr.expose(), integ.expose())
    };
    let (initiator, responder) = (cipher(&keys.ei, &keys.ai)?, cipher(&keys.er, &keys.ar)?);
    Ok(match side {
        Side::Initiator => Ciphers { sealer: initiator, opener: responder },
        Side::Responder => Ciphers { sealer: responder, opener: initiator },
    })
}

/// What goes into the keys.
pub(crate) struct Ingredients<'a> {
    pub(crate) side: Side,
    pub(crate) spis: Spis,
    pub(crate) source: Source<'a>,
    pub(crate) connection: &'a Connection,
}

/// What SKEYSEED is made of, beside the nonces.
pub(crate) enum Source<'a> {
    /// A key exchange.
    Exchange(IkeSuite, &'a Secret),
    /// The IKE SA that is resumed.
    Former(Box<Former>),
}

impl Secrets {
    /// SKEYSEED, the seven keys, and the ciphers of both directions (RFC 7296 §2.14).
    pub(crate) fn derive(
        cx: &Cx<'_>,
        from: Ingredients<'_>,
        transcript: Transcript,
        agreed: Agreed,
    ) -> Result<Self, CryptoError> {
        let Ingredients { side, spis, source, connection } = from;
        let (suite, g_ir, former) = match source {
            Source::Exchange(suite, g_ir) => (suite, Some(g_ir), None),
            Source::Former(former) => (former.suite, None, Some(former)),
        };
        let prf = cx.suite.prf(suite.prf).ok_or(CryptoError::Unsupported)?;
        let shape =
            cx.suite.cipher_spec(suite.encr, suite.key_bits, suite.integ).ok_or(CryptoError::Unsupported)?;
        let nonces = Nonces { initiator: &transcript.nonce_i, responder: &transcript.nonce_r };
        let seed = match &former {
            Some(former) => crypto::skeyseed_resumed(prf, &former.sk_d, nonces),
            None => crypto::skeyseed(prf, nonces, g_ir.map_or(&[], |g_ir| g_ir.expose())),
        };
        //= rfc5723 §5.1
        //# {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr) where SPIi, SPIr are the
        //# SPI values created in the new IKE exchange. […] "prf" is determined from the SA value in the ticket.
        let keys = crypto::ike_keys(prf, &seed, nonces, spis, shape)?;
        let ciphers = ciphers(cx, &suite, &keys, side)?;
        let IkeKeys { d, pi, pr, .. } = keys;
        let fragment_size = agreed.fragmentation.then_some(connection.fragment_size);
        let channel = Channel::new(side, spis, ciphers, fragment_size);
        let mut agreed = agreed;
        if let Some(former) = &former {
            //= rfc8784 §3
            //# It MUST NOT be used when these subkeys are calculated as result of IKE SA rekey, resumption, or other similar
            //# operations.
            (agreed.ppk.way, agreed.ppk.used) = (PpkWay::None, former.ppk.clone().into_iter().collect());
        }
        Ok(Self {
            suite,
            sk_d: d,
            sk_pi: pi,
            sk_pr: pr,
            transcript,
            agreed,
            channel,
            intermediate: None,
            spis,
            side,
            former,
            plain: None,
            ppk_over: false,
        })
    }

    /// Takes an IKE_INTERMEDIATE exchange into what AUTH covers: its request and its response, as
    /// [`wire::intermediate_octets`] has them, under the keys that protected them.
    //= rfc9242 §3.3.2
    //# IntAuth_iN = prf(SK_piN, IntAuth_iN-1 | IntAuth_iNA [| IntAuth_iNP])
    //# IntAuth_rN = prf(SK_prN, IntAuth_rN-1 | IntAuth_rNA [| IntAuth_rNP])
    pub(crate) fn cover(&mut self, cx: &Cx<'_>, request: &[u8], response: &[u8]) {
        // Without the PRF there would be no keys.
        let Some(prf) = cx.suite.prf(self.suite.prf) else { return };
        let before = self.intermediate.take();
        let next = |key: &Secret, before: Option<&Secret>, octets: &[u8]| {
            prf.compute(key.expose(), &[before.map_or(&[][..], |before| before.expose()), octets])
        };
        self.intermediate = Some(Intermediate {
            initiator: next(&self.sk_pi, before.as_ref().map(|before| &before.initiator), request),
            responder: next(&self.sk_pr, before.as_ref().map(|before| &before.responder), response),
            count: before.map_or(0, |before| before.count).saturating_add(1),
        });
    }

    /// The keys with the shared secret of an additional key exchange mixed in.
    //= rfc9370 §2.2.2
    //# Both the initiator and the responder use these updated key values in the next exchange (IKE_INTERMEDIATE or IKE_AUTH).
    pub(crate) fn mix(&self, cx: &Cx<'_>, shared: &Secret) -> Result<IkeKeys, CryptoError> {
        let prf = cx.suite.prf(self.suite.prf).ok_or(CryptoError::Unsupported)?;
        self.keys(cx, &crypto::skeyseed_mixed(prf, &self.sk_d, self.nonces(), shared))
    }

    /// The keys of that SKEYSEED.
    fn keys(&self, cx: &Cx<'_>, seed: &Secret) -> Result<IkeKeys, CryptoError> {
        let IkeSuite { prf, encr, key_bits, integ, .. } = self.suite;
        let prf = cx.suite.prf(prf).ok_or(CryptoError::Unsupported)?;
        let shape = cx.suite.cipher_spec(encr, key_bits, integ).ok_or(CryptoError::Unsupported)?;
        crypto::ike_keys(prf, seed, self.nonces(), self.spis, shape)
    }

    fn nonces(&self) -> Nonces<'_> {
        let Transcript { nonce_i, nonce_r, .. } = &self.transcript;
        Nonces { initiator: nonce_i, responder: nonce_r }
    }

    /// Goes over to other keys: the next exchange has them.
    pub(crate) fn adopt(&mut self, cx: &Cx<'_>, keys: IkeKeys) -> Result<(), CryptoError> {
        self.channel.renew(ciphers(cx, &self.suite, &keys, self.side)?);
        let IkeKeys { d, pi, pr, .. } = keys;
        (self.sk_d, self.sk_pi, self.sk_pr) = (d, pi, pr);
        Ok(())
    }

    /// Goes over to the keys of an IKE_INTERMEDIATE exchange in which PPKs were proposed; `keys`: what its key exchange has
    /// led to; `ppk`: the PPK that was agreed on, mixed into their SK_d or else ours.
    //= rfc9867 §3.1.1
    //# applying the PPK MUST be done after all of them so that recalculating IKE SA keys with the PPK is the last action before
    //# they are used in the next exchange. […] {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+ (SKEYSEED', Ni |
    //# Nr | SPIi | SPIr )
    pub(crate) fn adopt_with_ppk(
        &mut self,
        cx: &Cx<'_>,
        keys: Option<IkeKeys>,
        ppk: Option<MixedPpk>,
    ) -> Result<(), CryptoError> {
        self.ppk_over = true;
        let keys = match &ppk {
            Some(ppk) => Some(self.keys(cx, ppk.keys.first().ok_or(CryptoError::Unsupported)?)?),
            None => keys,
        };
        self.agreed.ppk.used = ppk.iter().map(UsedPpk::from).collect();
        keys.map_or(Ok(()), |keys| self.adopt(cx, keys))
    }

    /// Asks for what PPKs make of keys.
    //= rfc9867 §3.1
    //# Ni, Nr, SPIi, SPIr are nonces and IKE SPIs for the SA being established.
    pub(crate) fn ppk_job(
        &self,
        wanted: Vec<(Arc<str>, Option<[u8; PPK_CONFIRMATION]>)>,
        keys: Vec<Secret>,
    ) -> Job {
        let Nonces { initiator, responder } = self.nonces();
        let (spi_i, spi_r) = (self.spis.initiator.0.to_be_bytes(), self.spis.responder.0.to_be_bytes());
        let confirmed = [initiator, responder, &spi_i, &spi_r].concat();
        Job::Ppk(PpkRequest { prf: self.suite.prf, wanted, confirmed, keys })
    }

    /// What a PPK is mixed into with IKE_AUTH (RFC 8784 §3): SK_d, SK_pi, SK_pr.
    pub(crate) fn ppk_keys(&self) -> Vec<Secret> {
        vec![self.sk_d.clone(), self.sk_pi.clone(), self.sk_pr.clone()]
    }

    /// Goes over to the keys that a PPK has made of [`Secrets::ppk_keys`].
    //= rfc8784 §3
    //# The result is the unprimed versions of these keys, which are then used as inputs to subsequent steps of the IKEv2
    //# exchange.
    pub(crate) fn stir(&mut self, ppk: MixedPpk) {
        let used = vec![UsedPpk::from(&ppk)];
        let Ok([d, pi, pr]) = <[Secret; 3]>::try_from(ppk.keys) else { return };
        let take = std::mem::replace;
        let plain = [take(&mut self.sk_d, d), take(&mut self.sk_pi, pi), take(&mut self.sk_pr, pr)];
        (self.plain, self.agreed.ppk.used) = (Some(Box::new(plain)), used);
    }

    /// Goes back to the keys without the PPK, which the responder has not got.
    pub(crate) fn unstir(&mut self) {
        if let Some(plain) = self.plain.take() {
            [self.sk_d, self.sk_pi, self.sk_pr] = *plain;
            self.agreed.ppk.used.clear();
        }
    }

    /// Whether the next IKE_INTERMEDIATE exchange is the one in which PPKs are proposed.
    //= rfc9867 §3.1
    //# If a series of the IKE_INTERMEDIATE exchanges takes place, the PPK_IDENTITY_KEY notification(s) MUST be sent in the last
    //# one, i.e., in the IKE_INTERMEDIATE exchange immediately preceding the IKE_AUTH exchange.
    pub(crate) fn is_ppk_due(&self) -> bool {
        let rounds = self.suite.additional.methods().count();
        self.agreed.ppk.way == PpkWay::Intermediate && !self.ppk_over && rounds <= self.rounds() + 1
    }

    /// How many IKE_INTERMEDIATE exchanges have taken place.
    fn rounds(&self) -> usize {
        self.intermediate.as_ref().map_or(0, |so_far| so_far.count as usize)
    }

    /// The method of the IKE_INTERMEDIATE exchange that comes next; `None`: it is the turn of IKE_AUTH.
    //= rfc9370 §2.2.2
    //# For each additional key exchange agreed to in the IKE_SA_INIT exchange, the initiator and the responder perform an
    //# IKE_INTERMEDIATE exchange
    pub(crate) fn next_round(&self) -> Option<KeMethod> {
        // An IKE SA that is resumed has its keys from the one before.
        let methods = self.former.is_none().then(|| self.suite.additional.methods());
        methods.and_then(|mut methods| methods.nth(self.rounds()))
    }

    /// IntAuth: what AUTH covers beside the first messages; empty where no IKE_INTERMEDIATE exchange took place.
    //= rfc9242 §3.3.2
    //# IntAuth =  IntAuth_iN | IntAuth_rN | IKE_AUTH_MID
    fn int_auth(&self) -> Vec<u8> {
        let Some(Intermediate { initiator, responder, count }) = &self.intermediate else {
            return Vec::new();
        };
        //= rfc9242 §3.2
        //# The Message ID for the first pair of IKE_AUTH messages is one more than the value used in the last IKE_INTERMEDIATE
        //# exchange.
        let message_id = count.saturating_add(1).to_be_bytes();
        [initiator.expose(), responder.expose(), &message_id[..]].concat()
    }

    /// What the AUTH payload of `signer` covers; `id` is the body of its ID payload.
    //= rfc7296 §2.15
    //# InitiatorSignedOctets = RealMessage1 | NonceRData | MACedIDForI
    //# ResponderSignedOctets = RealMessage2 | NonceIData | MACedIDForR
    pub(crate) fn signed_octets(&self, cx: &Cx<'_>, signer: Side, id: &[u8]) -> SignedOctets {
        let key = match signer {
            Side::Initiator => &self.sk_pi,
            Side::Responder => &self.sk_pr,
        };
        self.octets_under(cx, (signer, key), id)
    }

    /// What NO_PPK_AUTH covers; `None` where no PPK has been mixed in with IKE_AUTH.
    //= rfc8784 §3
    //# The Notification Data field contains the initiator's authentication data computed using SK_pi', which has been computed
    //# without using PPKs.
    pub(crate) fn octets_without_ppk(&self, cx: &Cx<'_>, id: &[u8]) -> Option<SignedOctets> {
        let [_, sk_pi, _] = self.plain.as_deref()?;
        Some(self.octets_under(cx, (Side::Initiator, sk_pi), id))
    }

    fn octets_under(&self, cx: &Cx<'_>, (signer, key): (Side, &Secret), id: &[u8]) -> SignedOctets {
        let Transcript { request, response, nonce_i, nonce_r } = &self.transcript;
        let (message, received, nonce) = match signer {
            Side::Initiator => (request, response, nonce_r),
            Side::Responder => (response, request, nonce_i),
        };
        // Neither side's octets begin like those of an IKE SA without the extension: no SPI of an initiator is zero. And those
        // of the two sides do not begin alike.
        let before: [&[u8]; 2] = match self.agreed.full_transcript {
            true => [&[0; 8], received],
            false => [&[], &[]],
        };
        let maced = cx.suite.prf(self.suite.prf).map(|prf| prf.compute(key.expose(), &[id]));
        let maced = maced.as_ref().map_or(&[][..], |maced| maced.expose());
        //= rfc9242 §3.3.2
        //# InitiatorSignedOctets = RealMsg1 | NonceRData | MACedIDForI | IntAuth
        //# ResponderSignedOctets = RealMsg2 | NonceIData | MACedIDForR | IntAuth
        SignedOctets([before[0], before[1], message, nonce, maced, &self.int_auth()].concat().into())
    }

    /// The AUTH value of `signer` in an IKE SA that is resumed; `id` is the body of its ID payload.
    //= rfc5723 §4.3.3
    //# AUTH = prf(SK_px, <message octets>) […] namely SK_pi for the initiator and SK_pr for the responder. Both are taken from
    //# the newly generated IKE SA (Section 5.1). The exact material to be signed is defined in Section 2.15 of [RFC4306].
    pub(crate) fn resumption_auth(&self, cx: &Cx<'_>, signer: Side, id: &[u8]) -> Secret {
        let SignedOctets(octets) = self.signed_octets(cx, signer, id);
        let key = match signer {
            Side::Initiator => &self.sk_pi,
            Side::Responder => &self.sk_pr,
        };
        // Without the PRF there would be no keys.
        cx.suite.prf(self.suite.prf).map_or(Secret::zeroed(0), |prf| prf.compute(key.expose(), &[&octets]))
    }
}
