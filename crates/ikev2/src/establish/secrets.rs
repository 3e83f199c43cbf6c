//! What IKE_SA_INIT, or IKE_SESSION_RESUME, leaves behind: the transcript that AUTH covers, and the keys.

use crate::Cx;
use crate::channel::{Channel, Ciphers};
use crate::ext::Agreed;
use crate::ticket::Former;
use base::Secret;
use crypto::{CryptoError, IkeKeys, Nonces, Spis};
use policy::{Connection, IkeSuite};
use sa::{Side, SignedOctets};
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
        let (sk_d, sk_pi, sk_pr, intermediate) = (d, pi, pr, None);
        Ok(Self { suite, sk_d, sk_pi, sk_pr, transcript, agreed, channel, intermediate, spis, side, former })
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

    /// Mixes the shared secret of an additional key exchange into the keys: the next exchange has the new ones.
    //= rfc9370 §2.2.2
    //# Both the initiator and the responder use these updated key values in the next exchange (IKE_INTERMEDIATE or IKE_AUTH).
    pub(crate) fn mix(&mut self, cx: &Cx<'_>, shared: &Secret) -> Result<(), CryptoError> {
        let suite = self.suite;
        let prf = cx.suite.prf(suite.prf).ok_or(CryptoError::Unsupported)?;
        let shape =
            cx.suite.cipher_spec(suite.encr, suite.key_bits, suite.integ).ok_or(CryptoError::Unsupported)?;
        let Transcript { nonce_i, nonce_r, .. } = &self.transcript;
        let nonces = Nonces { initiator: nonce_i, responder: nonce_r };
        let seed = crypto::skeyseed_mixed(prf, &self.sk_d, nonces, shared);
        let keys = crypto::ike_keys(prf, &seed, nonces, self.spis, shape)?;
        self.channel.renew(ciphers(cx, &suite, &keys, self.side)?);
        let IkeKeys { d, pi, pr, .. } = keys;
        (self.sk_d, self.sk_pi, self.sk_pr) = (d, pi, pr);
        Ok(())
    }

    /// The method of the IKE_INTERMEDIATE exchange that comes next; `None`: it is the turn of IKE_AUTH.
    //= rfc9370 §2.2.2
    //# For each additional key exchange agreed to in the IKE_SA_INIT exchange, the initiator and the responder perform an
    //# IKE_INTERMEDIATE exchange
    pub(crate) fn next_round(&self) -> Option<KeMethod> {
        // An IKE SA that is resumed has its keys from the one before.
        let methods = self.former.is_none().then(|| self.suite.additional.methods());
        let done = self.intermediate.as_ref().map_or(0, |so_far| so_far.count);
        methods.and_then(|mut methods| methods.nth(done as usize))
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
        let Transcript { request, response, nonce_i, nonce_r } = &self.transcript;
        let (message, nonce, key) = match signer {
            Side::Initiator => (request, nonce_r, &self.sk_pi),
            Side::Responder => (response, nonce_i, &self.sk_pr),
        };
        let maced = cx.suite.prf(self.suite.prf).map(|prf| prf.compute(key.expose(), &[id]));
        let maced = maced.as_ref().map_or(&[][..], |maced| maced.expose());
        //= rfc9242 §3.3.2
        //# InitiatorSignedOctets = RealMsg1 | NonceRData | MACedIDForI | IntAuth
        //# ResponderSignedOctets = RealMsg2 | NonceIData | MACedIDForR | IntAuth
        SignedOctets([message, nonce, maced, &self.int_auth()].concat().into())
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
