//! The encrypted channel of one IKE SA, for tests that have its keys: a second reading of RFC 7296
//! §3.14 and RFC 7383, beside the one in the protocol core.

use base::{IkeSpi, MessageId, Rng, Secret};
use crypto::{Cipher, CipherSpec, CryptoError, IkeKeys, Nonces, SharedSecrets, Spis, Suite};
use policy::IkeSuite;
use sim::SimRng;
use std::sync::Arc;
use wire::num::{ExchangeType, PayloadType};
use wire::{Fragment, Frame, Header, Payload, Room, Sealed, emit_chain, parse_chain, strip_padding};

/// Keys and ciphers of an IKE SA.
pub struct Channel {
    suite: Arc<dyn Suite>,
    /// The algorithms.
    pub algorithms: IkeSuite,
    /// SKEYSEED.
    pub skeyseed: Secret,
    /// The keys.
    pub keys: IkeKeys,
    /// The SPIs.
    pub spis: Spis,
    /// Octets of the checksum in the messages that are opened, when it is longer than what the
    /// algorithm checks: HMAC_SHA1_160 begins with HMAC_SHA1_96.
    pub icv_on_the_wire: Option<usize>,
    /// Whether what is sealed claims more padding than it has.
    pub wrong_padding: bool,
    /// What stands in the clear before the encrypted payload of what is sealed.
    pub before: Option<Payload<'static>>,
    initiator: Box<dyn Cipher>,
    responder: Box<dyn Cipher>,
    rng: SimRng,
}

/// A message or a fragment, opened.
pub struct Opened {
    /// Its header.
    pub header: Header,
    /// The type of the first payload inside.
    pub first: PayloadType,
    /// Which fragment it is.
    pub fragment: Option<Fragment>,
    /// The payloads, or a piece of them.
    pub inner: Vec<u8>,
    /// What stands before, up to the generic header of the encrypted payload.
    pub envelope: Vec<u8>,
}

impl Opened {
    /// The payloads of a message that came whole.
    ///
    /// # Panics
    /// When they do not parse.
    pub fn payloads(&self) -> Vec<Payload<'static>> {
        let chain = parse_chain(self.first, &self.inner, 0).expect("the inner payloads");
        chain.into_iter().map(Payload::into_owned).collect()
    }
}

impl Channel {
    /// The channel of a first IKE SA.
    pub fn first(
        suite: Arc<dyn Suite>,
        algorithms: IkeSuite,
        nonces: Nonces<'_>,
        spis: Spis,
        shared: &[u8],
    ) -> Self {
        let prf = suite.prf(algorithms.prf).expect("the PRF");
        let skeyseed = crypto::skeyseed(prf, nonces, shared);
        Self::with(suite, algorithms, nonces, spis, skeyseed)
    }

    /// The channel of an IKE SA that replaces this one.
    pub fn rekeyed(
        &self,
        algorithms: IkeSuite,
        nonces: Nonces<'_>,
        spis: Spis,
        shared: &SharedSecrets,
    ) -> Self {
        let prf = self.suite.prf(self.algorithms.prf).expect("the PRF");
        let skeyseed = crypto::skeyseed_rekeyed(prf, &self.keys.d, nonces, shared);
        Self::with(self.suite.clone(), algorithms, nonces, spis, skeyseed)
    }

    /// The channel of the same IKE SA after an additional key exchange (RFC 9370 §2.2.2).
    pub fn mixed(&self, nonces: Nonces<'_>, shared: &[u8]) -> Self {
        let prf = self.suite.prf(self.algorithms.prf).expect("the PRF");
        let data = [shared, nonces.initiator, nonces.responder].concat();
        let skeyseed = prf.compute(self.keys.d.expose(), &[&data]);
        Self::with(self.suite.clone(), self.algorithms, nonces, self.spis, skeyseed)
    }

    /// Mixes a PPK into SK_d, SK_pi and SK_pr (RFC 8784 §3); all PRFs here give as many octets as their keys have.
    pub fn stir(&mut self, ppk: &[u8]) {
        let prf = self.suite.prf(self.algorithms.prf).expect("the PRF");
        let IkeKeys { d, pi, pr, .. } = &mut self.keys;
        for key in [d, pi, pr] {
            *key = prf.compute(ppk, &[key.expose(), &[1]]);
        }
    }

    /// The channel of the same IKE SA after a PPK in IKE_INTERMEDIATE (RFC 9867 §3.1.1).
    pub fn with_ppk(&self, nonces: Nonces<'_>, ppk: &[u8]) -> Self {
        let prf = self.suite.prf(self.algorithms.prf).expect("the PRF");
        let skeyseed = prf.compute(ppk, &[self.keys.d.expose(), &[1]]);
        Self::with(self.suite.clone(), self.algorithms, nonces, self.spis, skeyseed)
    }

    /// SK_d', by which a PPK comes into what CREATE_CHILD_SA makes (RFC 9867 §3.2.1).
    pub fn primed(&self, ppk: &[u8]) -> Secret {
        let prf = self.suite.prf(self.algorithms.prf).expect("the PRF");
        prf.compute(ppk, &[self.keys.d.expose(), &[1]])
    }

    /// The channel of an IKE SA that resumes this one (RFC 5723 §5.1).
    pub fn resumed(&self, nonces: Nonces<'_>, spis: Spis) -> Self {
        let prf = self.suite.prf(self.algorithms.prf).expect("the PRF");
        let data = [&b"Resumption"[..], nonces.initiator, nonces.responder].concat();
        let skeyseed = prf.compute(self.keys.d.expose(), &[&data]);
        Self::with(self.suite.clone(), self.algorithms, nonces, spis, skeyseed)
    }

    /// The channel that has these keys, whatever they come from; SK_d and SK_p stay empty.
    pub fn of_keys(suite: Arc<dyn Suite>, algorithms: IkeSuite, keys: IkeKeys) -> Self {
        let spis = Spis { initiator: IkeSpi::ZERO, responder: IkeSpi::ZERO };
        Self::build(suite, algorithms, spis, Secret::new(Vec::new()), keys)
    }

    fn with(
        suite: Arc<dyn Suite>,
        algorithms: IkeSuite,
        nonces: Nonces<'_>,
        spis: Spis,
        skeyseed: Secret,
    ) -> Self {
        let prf = suite.prf(algorithms.prf).expect("the PRF");
        let shape = Self::shape_of(&*suite, &algorithms);
        let keys = crypto::ike_keys(prf, &skeyseed, nonces, spis, shape).expect("enough key material");
        Self::build(suite, algorithms, spis, skeyseed, keys)
    }

    fn build(
        suite: Arc<dyn Suite>,
        algorithms: IkeSuite,
        spis: Spis,
        skeyseed: Secret,
        keys: IkeKeys,
    ) -> Self {
        let cipher = |encr: &Secret, integ: &Secret| {
            let IkeSuite { encr: id, key_bits, integ: mac, .. } = algorithms;
            suite.cipher(id, key_bits, mac, encr.expose(), integ.expose()).expect("a cipher")
        };
        let (initiator, responder) = (cipher(&keys.ei, &keys.ai), cipher(&keys.er, &keys.ar));
        let (icv_on_the_wire, rng) = (None, SimRng::new(1, "channel"));
        Self {
            wrong_padding: false,
            before: None,
            algorithms,
            skeyseed,
            spis,
            icv_on_the_wire,
            initiator,
            responder,
            rng,
            keys,
            suite,
        }
    }

    fn shape_of(suite: &dyn Suite, algorithms: &IkeSuite) -> CipherSpec {
        let IkeSuite { encr, key_bits, integ, .. } = *algorithms;
        suite.cipher_spec(encr, key_bits, integ).expect("the cipher")
    }

    fn cipher(&self, from_initiator: bool) -> &dyn Cipher {
        if from_initiator { &*self.initiator } else { &*self.responder }
    }

    /// Opens a message or a fragment.
    pub fn open(&self, datagram: &[u8]) -> Result<Opened, CryptoError> {
        let header = Header::parse(datagram).expect("an IKE header");
        let place = Sealed::locate(datagram).expect("a chain of payloads").expect("SK or SKF");
        let envelope = place.envelope(datagram).to_vec();
        let cipher = self.cipher(header.flags.initiator);
        let spec = cipher.spec();
        let (aad, body) = (&datagram[place.aad], &datagram[place.body]);
        let icv_len = self.icv_on_the_wire.unwrap_or(spec.icv_len);
        if body.len() < spec.iv_len + icv_len {
            return Err(CryptoError::BadIcv);
        }
        let (iv, rest) = body.split_at(spec.iv_len);
        let (data, icv) = rest.split_at(rest.len() - icv_len);
        let mut data = data.to_vec();
        cipher.open(iv, aad, &mut data, &[], &icv[..spec.icv_len])?;
        let inner = strip_padding(&data).expect("padding").to_vec();
        Ok(Opened { header, first: place.first, fragment: place.fragment, inner, envelope })
    }

    /// A protected message.
    pub fn seal(&mut self, header: &Header, payloads: &[Payload<'_>]) -> Vec<u8> {
        let mut inner = Vec::new();
        let first = emit_chain(payloads, &mut inner);
        self.seal_octets(header, None, first, &inner)
    }

    /// A protected message, or a fragment, with these octets inside, whatever they are.
    pub fn seal_octets(
        &mut self,
        header: &Header,
        fragment: Option<Fragment>,
        first: PayloadType,
        inner: &[u8],
    ) -> Vec<u8> {
        let spec = self.cipher(header.flags.initiator).spec();
        let room = Room { iv: spec.iv_len, block: spec.block, icv: spec.icv_len };
        let frame = Frame::new(header, fragment, first, inner, room);
        let mut iv = vec![0; spec.iv_len];
        self.rng.fill(&mut iv);
        let Frame { mut bytes, aad, iv: iv_place, plaintext, icv: icv_place } = frame;
        let mut shift = 0;
        if let Some(before) = &self.before {
            let mut octets = Vec::new();
            let kind = emit_chain(std::slice::from_ref(before), &mut octets);
            octets[0] = bytes[16];
            bytes[16] = kind.0;
            shift = octets.len();
            bytes.splice(aad.start + 28..aad.start + 28, octets);
            let length = bytes.len() as u32;
            bytes[24..28].copy_from_slice(&length.to_be_bytes());
        }
        let moved = |range: std::ops::Range<usize>| range.start + shift..range.end + shift;
        let (aad, iv_place) = (aad.start..aad.end + shift, moved(iv_place));
        let (plaintext, icv_place) = (moved(plaintext), moved(icv_place));
        let (mut data, mut icv) = (bytes[plaintext.clone()].to_vec(), vec![0; spec.icv_len]);
        if let (true, Some(pad_length)) = (self.wrong_padding, data.last_mut()) {
            *pad_length = 0xff;
        }
        let cipher = self.cipher(header.flags.initiator);
        bytes[iv_place].copy_from_slice(&iv);
        // The minor version and reserved flags of the header are covered as they were written.
        cipher.seal(&iv, &bytes[aad], &mut data, &[], &mut icv);
        bytes[plaintext].copy_from_slice(&data);
        bytes[icv_place].copy_from_slice(&icv);
        bytes
    }

    /// The same message in `count` fragments (RFC 7383 §2.5).
    pub fn fragments(&mut self, header: &Header, payloads: &[Payload<'_>], count: u16) -> Vec<Vec<u8>> {
        let mut inner = Vec::new();
        let first = emit_chain(payloads, &mut inner);
        let size = inner.len().div_ceil(usize::from(count)).max(1);
        let pieces: Vec<&[u8]> = inner.chunks(size).collect();
        let total = pieces.len() as u16;
        let piece = |(index, piece): (usize, &&[u8])| {
            let number = index as u16 + 1;
            let first = if number == 1 { first } else { PayloadType::NONE };
            self.seal_octets(header, Some(Fragment { number, total }), first, piece)
        };
        pieces.iter().enumerate().map(piece).collect()
    }

    /// The header of a request or a response of this SA.
    pub fn header(&self, exchange: ExchangeType, initiator: bool, response: bool, id: u32) -> Header {
        let flags = wire::Flags { initiator, version: false, response };
        Header::new(self.spis.initiator, self.spis.responder, exchange, flags, MessageId(id))
    }
}
