//! What IKE_SA_INIT, or IKE_SESSION_RESUME, leaves behind: the transcript that AUTH covers, and the keys.

use crate::Cx;
use crate::channel::{Channel, Ciphers};
use crate::ext::Agreed;
use crate::ticket::Former;
use base::Secret;
use crypto::{CryptoError, IkeKeys, Nonces, Spis};
use policy::{Connection, IkeSuite};
use sa::{Side, SignedOctets};

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
    /// The IKE SA that is resumed.
    pub(crate) former: Option<Box<Former>>,
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
        Ok(Self { suite, sk_d: d, sk_pi: pi, sk_pr: pr, transcript, agreed, channel, former })
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
        SignedOctets([message, nonce, maced].concat().into())
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
