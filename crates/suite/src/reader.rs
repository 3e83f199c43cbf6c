//! Reads whole IKE lives from captures with their secrets.

use crate::Channel;
use base::IkeSpi;
use crypto::{CryptoError, IkeKeys, Nonces, PrfFunction, Spis, Suite};
use policy::{ChildSuite, IkeSuite};
use provider::Provider;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use wire::num::{
    Encr, EsnMode, ExchangeType, Integ, KeMethod, NotifyType, PayloadType, Prf, ProtocolId, TransformType,
};
use wire::{Header, KeyExchange, Message, Payload, Proposal, parse_chain};

/// A message as it came out.
pub struct Read {
    /// Its header.
    pub header: Header,
    /// What stands in it, or in its SK payload.
    pub payloads: Vec<Payload<'static>>,
}

/// Follows the IKE SAs of one capture.
pub struct Reader {
    suite: Arc<dyn Suite>,
    /// The shared secrets of the key exchanges, in order.
    shared: VecDeque<Vec<u8>>,
    init: BTreeMap<IkeSpi, Init>,
    /// The IKE SAs, by their SPIs.
    pub channels: BTreeMap<(IkeSpi, IkeSpi), Channel>,
    /// What was asked by CREATE_CHILD_SA, until the answer comes: by SPIs and message id.
    asked: BTreeMap<(IkeSpi, IkeSpi, u32), Vec<Payload<'static>>>,
    /// Fragments of messages that are not complete: by sender, response and message id.
    pieces: BTreeMap<(IkeSpi, bool, u32), Pieces>,
    /// Every key that was derived, by the names of the golden logs, in order.
    pub derived: Vec<(String, Vec<u8>)>,
}

/// The fragments of a message by number: the first payload's type, and a piece of the payloads.
type Pieces = BTreeMap<u16, (PayloadType, Vec<u8>)>;

/// The two messages that AUTH covers, and their nonces.
#[derive(Default, Clone)]
pub struct Init {
    /// The last request.
    pub request: Vec<u8>,
    /// Its response.
    pub response: Vec<u8>,
    /// The initiator's nonce.
    pub ni: Vec<u8>,
    /// The responder's nonce.
    pub nr: Vec<u8>,
}

impl Reader {
    /// A reader of a capture, in which these shared secrets come from the key exchanges.
    pub fn new(shared: Vec<Vec<u8>>) -> Self {
        Self {
            suite: Arc::new(Provider::new()),
            shared: shared.into(),
            init: BTreeMap::new(),
            channels: BTreeMap::new(),
            asked: BTreeMap::new(),
            pieces: BTreeMap::new(),
            derived: Vec::new(),
        }
    }

    /// How many shared secrets were not needed.
    pub fn left(&self) -> usize {
        self.shared.len()
    }

    /// The IKE_SA_INIT messages of that initiator.
    ///
    /// # Panics
    /// When there were none.
    pub fn init(&self, spi_i: IkeSpi) -> &Init {
        &self.init[&spi_i]
    }

    /// Takes the next message of the capture; `None` when it is a fragment and others are missing.
    ///
    /// # Errors
    /// When the keys do not open it.
    ///
    /// # Panics
    /// On what is not well-formed IKEv2.
    pub fn read(&mut self, datagram: &[u8]) -> Result<Option<Read>, CryptoError> {
        let header = Header::parse(datagram).expect("an IKE header");
        if header.exchange == ExchangeType::IKE_SA_INIT {
            let message = Message::parse(datagram).expect("IKE_SA_INIT").into_owned();
            self.first(&message, datagram);
            return Ok(Some(Read { header, payloads: message.payloads }));
        }
        let channel = &self.channels[&(header.spi_i, header.spi_r)];
        let opened = channel.open(datagram)?;
        let payloads = match opened.fragment {
            None => opened.payloads(),
            Some(fragment) => {
                let name = (header.sender_spi(), header.flags.response, header.message_id.0);
                let pieces = self.pieces.entry(name).or_default();
                pieces.insert(fragment.number, (opened.first, opened.inner));
                if pieces.len() < usize::from(fragment.total) {
                    return Ok(None);
                }
                let whole: Vec<u8> = pieces.values().flat_map(|(_, piece)| piece.clone()).collect();
                let chain = parse_chain(pieces[&1].0, &whole, 0).expect("the reassembled payloads");
                chain.into_iter().map(Payload::into_owned).collect()
            }
        };
        self.follow(&header, &payloads);
        Ok(Some(Read { header, payloads }))
    }

    fn first(&mut self, message: &Message<'_>, datagram: &[u8]) {
        let init = self.init.entry(message.header.spi_i).or_default();
        let nonce = nonce(&message.payloads);
        if !message.header.flags.response {
            (init.request, init.ni) = (datagram.to_vec(), nonce);
            return;
        }
        (init.response, init.nr) = (datagram.to_vec(), nonce);
        let spis = Spis { initiator: message.header.spi_i, responder: message.header.spi_r };
        let algorithms = ike_suite(proposal(&message.payloads));
        let nonces = Nonces { initiator: &init.ni, responder: &init.nr };
        let shared = self.shared.pop_front().expect("a shared secret");
        let channel = Channel::first(self.suite.clone(), algorithms, nonces, spis, &shared);
        self.note_ike(&channel);
        self.channels.insert((spis.initiator, spis.responder), channel);
    }

    /// Derives what comes of IKE_AUTH and CREATE_CHILD_SA.
    fn follow(&mut self, header: &Header, payloads: &[Payload<'static>]) {
        let name = (header.spi_i, header.spi_r, header.message_id.0);
        if !header.flags.response {
            self.asked.insert(name, payloads.to_vec());
            return;
        }
        let request = self.asked.remove(&name).expect("its request");
        let is_refused = !payloads.iter().any(|payload| matches!(payload, Payload::Sa(_)));
        if is_refused {
            return;
        }
        match header.exchange {
            ExchangeType::IKE_AUTH => {
                let init = self.init[&header.spi_i].clone();
                self.child(header, None, (&init.ni, &init.nr), proposal(payloads));
            }
            ExchangeType::CREATE_CHILD_SA => self.create_child(header, &request, payloads),
            _ => {}
        }
    }

    fn create_child(&mut self, header: &Header, request: &[Payload<'_>], response: &[Payload<'_>]) {
        let (ni, nr) = (nonce(request), nonce(response));
        let shared = ke(response).map(|_| self.shared.pop_front().expect("a shared secret"));
        let chosen = proposal(response);
        if chosen.protocol != ProtocolId::IKE {
            self.child(header, shared.as_deref(), (&ni, &nr), chosen);
            return;
        }
        // Who asks for a new IKE SA is its initiator (RFC 7296 §2.18).
        let spi = |proposal: &Proposal<'_>| IkeSpi(u64::from_be_bytes(proposal.spi[..].try_into().unwrap()));
        let spis = Spis { initiator: spi(proposal(request)), responder: spi(chosen) };
        let nonces = Nonces { initiator: &ni, responder: &nr };
        let old = &self.channels[&(header.spi_i, header.spi_r)];
        let channel = old.rekeyed(ike_suite(chosen), nonces, spis, &shared.expect("g^ir"));
        self.note_ike(&channel);
        self.channels.insert((spis.initiator, spis.responder), channel);
    }

    fn child(
        &mut self,
        header: &Header,
        shared: Option<&[u8]>,
        (ni, nr): (&[u8], &[u8]),
        chosen: &Proposal<'_>,
    ) {
        let channel = &self.channels[&(header.spi_i, header.spi_r)];
        let ChildSuite { encr, key_bits, integ, .. } = child_suite(chosen);
        let shape = self.suite.cipher_spec(encr, key_bits, integ).expect("the child's cipher");
        let nonces = Nonces { initiator: ni, responder: nr };
        let keys = crypto::child_keys(self.prf(channel), &channel.keys.d, shared, nonces, shape).unwrap();
        let named = [
            ("encryption initiator key", keys.initiator.encr),
            ("encryption responder key", keys.responder.encr),
            ("integrity initiator key", keys.initiator.integ),
            ("integrity responder key", keys.responder.integ),
        ];
        let named = named.map(|(name, key)| (name.to_string(), key.expose().clone()));
        self.derived.extend(named.into_iter().filter(|(_, key)| !key.is_empty()));
    }

    fn prf(&self, channel: &Channel) -> &dyn PrfFunction {
        self.suite.prf(channel.algorithms.prf).expect("the PRF")
    }

    fn note_ike(&mut self, channel: &Channel) {
        let IkeKeys { d, ai, ar, ei, er, pi, pr } = &channel.keys;
        let named = [
            ("SKEYSEED", &channel.skeyseed),
            ("Sk_d secret", d),
            ("Sk_ai secret", ai),
            ("Sk_ar secret", ar),
            ("Sk_ei secret", ei),
            ("Sk_er secret", er),
            ("Sk_pi secret", pi),
            ("Sk_pr secret", pr),
        ];
        let named = named.map(|(name, key)| (name.to_string(), key.expose().clone()));
        self.derived.extend(named.into_iter().filter(|(_, key)| !key.is_empty()));
    }

    /// What the AUTH payload of a message covers: `<InitiatorSignedOctets>` or `<ResponderSignedOctets>` (RFC 7296 §2.15).
    pub fn signed_octets(&self, read: &Read) -> Vec<u8> {
        let init = self.init(read.header.spi_i);
        let channel = &self.channels[&(read.header.spi_i, read.header.spi_r)];
        let response = read.header.flags.response;
        let id = read.payloads.iter().find_map(|payload| match payload {
            Payload::IdI(id) if !response => Some(id.octets_to_sign()),
            Payload::IdR(id) if response => Some(id.octets_to_sign()),
            _ => None,
        });
        let (message, nonce, key) = match response {
            false => (&init.request, &init.nr, &channel.keys.pi),
            true => (&init.response, &init.ni, &channel.keys.pr),
        };
        let maced = self.prf(channel).compute(key.expose(), &[&id.expect("an identity")]);
        [message, nonce, maced.expose()].map(|part| part.clone()).concat()
    }
}

/// The nonce; empty where there is none.
pub fn nonce(payloads: &[Payload<'_>]) -> Vec<u8> {
    let nonce = payloads.iter().find_map(|payload| match payload {
        Payload::Nonce(octets) => Some(octets.to_vec()),
        _ => None,
    });
    nonce.unwrap_or_default()
}

/// The KE payload.
pub fn ke<'p>(payloads: &'p [Payload<'p>]) -> Option<&'p KeyExchange<'p>> {
    payloads.iter().find_map(|payload| match payload {
        Payload::Ke(ke) => Some(ke),
        _ => None,
    })
}

/// The first proposal.
///
/// # Panics
/// When there is none.
pub fn proposal<'p>(payloads: &'p [Payload<'p>]) -> &'p Proposal<'p> {
    let found = payloads.iter().find_map(|payload| match payload {
        Payload::Sa(proposals) => proposals.first(),
        _ => None,
    });
    found.expect("an SA payload")
}

/// The error notifications.
pub fn errors(payloads: &[Payload<'_>]) -> Vec<NotifyType> {
    let error = |payload: &Payload<'_>| match payload {
        Payload::Notify(notify) if notify.kind.0 < 16384 => Some(notify.kind),
        _ => None,
    };
    payloads.iter().filter_map(error).collect()
}

fn transform(proposal: &Proposal<'_>, kind: TransformType) -> Option<(u16, u16)> {
    proposal.of(kind).next().map(|t| (t.id, t.key_bits().unwrap_or(0)))
}

/// The algorithms of a proposal for an IKE SA that offers one of each type.
///
/// # Panics
/// When one is missing.
pub fn ike_suite(proposal: &Proposal<'_>) -> IkeSuite {
    let of = |kind| transform(proposal, kind);
    let (encr, key_bits) = of(TransformType::ENCR).expect("ENCR");
    IkeSuite {
        encr: Encr(encr),
        key_bits,
        integ: Integ(of(TransformType::INTEG).map_or(0, |t| t.0)),
        prf: Prf(of(TransformType::PRF).expect("PRF").0),
        ke: KeMethod(of(TransformType::KE).expect("KE").0),
    }
}

/// The algorithms of a proposal for a child SA.
///
/// # Panics
/// When it has no encryption.
pub fn child_suite(proposal: &Proposal<'_>) -> ChildSuite {
    let of = |kind| transform(proposal, kind);
    let (encr, key_bits) = of(TransformType::ENCR).expect("ENCR");
    ChildSuite {
        encr: Encr(encr),
        key_bits,
        integ: Integ(of(TransformType::INTEG).map_or(0, |t| t.0)),
        ke: KeMethod(of(TransformType::KE).map_or(0, |t| t.0)),
        esn: of(TransformType::ESN).is_some_and(|t| t.0 == EsnMode::ESN.0),
    }
}
