//! Reads whole IKE lives from captures with their secrets.

use crate::Channel;
use crate::channel::Opened;
use base::{IkeSpi, Secret};
use crypto::{CryptoError, IkeKeys, Nonces, PrfFunction, SharedSecrets, Spis, Suite};
use policy::{Additional, ChildSuite, IkeSuite};
use provider::Provider;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use wire::num::{Encr, EsnMode, ExchangeType, Integ, KeMethod, NotifyType, Prf, ProtocolId, TransformType};
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
    /// The series of exchanges that make an SA: what CREATE_CHILD_SA has said, and the shared secrets.
    series: BTreeMap<(IkeSpi, IkeSpi), Series>,
    int_auth: BTreeMap<(IkeSpi, IkeSpi), IntAuth>,
    /// PPKs by their identities, and SK_pi of each IKE SA as it was before one was mixed in (RFC 8784).
    ppks: BTreeMap<Vec<u8>, Vec<u8>>,
    plain: BTreeMap<(IkeSpi, IkeSpi), Secret>,
    /// Fragments of messages that are not complete: by sender, response and message id.
    pieces: BTreeMap<(IkeSpi, bool, u32), Pieces>,
    /// Every key that was derived, by the names of the golden logs, in order.
    pub derived: Vec<(String, Vec<u8>)>,
}

/// The fragments of a message by number: the first payload's type, and a piece of the payloads.
type Pieces = BTreeMap<u16, Opened>;

/// The request and the response of CREATE_CHILD_SA, and the shared secrets so far.
type Series = (Vec<Payload<'static>>, Vec<Payload<'static>>, SharedSecrets);

/// What AUTH covers of the IKE_INTERMEDIATE exchanges of an IKE SA (RFC 9242 §3.3.2).
#[derive(Default)]
struct IntAuth {
    initiator: Vec<u8>,
    responder: Vec<u8>,
    count: u32,
}

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
            series: BTreeMap::new(),
            int_auth: BTreeMap::new(),
            ppks: BTreeMap::new(),
            plain: BTreeMap::new(),
            pieces: BTreeMap::new(),
            derived: Vec::new(),
        }
    }

    /// Has a post-quantum pre-shared key too.
    pub fn with_ppk(mut self, id: &str, ppk: Vec<u8>) -> Self {
        self.ppks.insert(id.as_bytes().to_vec(), ppk);
        self
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
        let (envelope, inner, payloads) = match opened.fragment {
            None => (opened.envelope.clone(), opened.inner.clone(), opened.payloads()),
            Some(fragment) => {
                let name = (header.sender_spi(), header.flags.response, header.message_id.0);
                let pieces = self.pieces.entry(name).or_default();
                pieces.insert(fragment.number, opened);
                if pieces.len() < usize::from(fragment.total) {
                    return Ok(None);
                }
                let whole: Vec<u8> = pieces.values().flat_map(|piece| piece.inner.clone()).collect();
                let chain = parse_chain(pieces[&1].first, &whole, 0).expect("the reassembled payloads");
                let payloads = chain.into_iter().map(Payload::into_owned).collect();
                (pieces[&1].envelope.clone(), whole, payloads)
            }
        };
        if header.exchange == ExchangeType::IKE_INTERMEDIATE {
            self.intermediate(&header, &wire::intermediate_octets(&envelope, &inner));
        }
        if header.exchange == ExchangeType::IKE_AUTH && !header.flags.response {
            self.stir(&header, &payloads);
        }
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

    /// Mixes the PPK in that IKE_AUTH names (RFC 8784 §3).
    fn stir(&mut self, header: &Header, payloads: &[Payload<'_>]) {
        let named = |payload: &Payload<'_>| match payload {
            Payload::Notify(notify) if notify.kind == NotifyType::PPK_IDENTITY => {
                Some(notify.data[1..].to_vec())
            }
            _ => None,
        };
        let Some(id) = payloads.iter().find_map(named) else { return };
        let name = (header.spi_i, header.spi_r);
        let channel = self.channels.get_mut(&name).expect("its channel");
        self.plain.insert(name, channel.keys.pi.clone());
        channel.stir(&self.ppks[&id]);
        let IkeKeys { d, pi, pr, .. } = &channel.keys;
        let named = [("Sk_d secret", d), ("Sk_pi secret", pi), ("Sk_pr secret", pr)];
        self.derived.extend(named.map(|(name, key)| (name.to_string(), key.expose().clone())));
    }

    /// Takes an IKE_INTERMEDIATE message into what AUTH covers; after the response there are new keys.
    fn intermediate(&mut self, header: &Header, octets: &[u8]) {
        let name = (header.spi_i, header.spi_r);
        let channel = &self.channels[&name];
        let prf = self.suite.prf(channel.algorithms.prf).expect("the PRF");
        let so_far = self.int_auth.entry(name).or_default();
        let (key, chain) = match header.flags.response {
            false => (&channel.keys.pi, &mut so_far.initiator),
            true => (&channel.keys.pr, &mut so_far.responder),
        };
        *chain = prf.compute(key.expose(), &[&[chain.as_slice(), octets].concat()]).expose().clone();
        if header.flags.response {
            so_far.count += 1;
            let init = &self.init[&header.spi_i];
            let nonces = Nonces { initiator: &init.ni, responder: &init.nr };
            let shared = self.shared.pop_front().expect("a shared secret");
            let channel = channel.mixed(nonces, &shared);
            self.note_ike(&channel);
            self.channels.insert(name, channel);
        }
    }

    /// Derives what comes of IKE_AUTH, CREATE_CHILD_SA and IKE_FOLLOWUP_KE.
    fn follow(&mut self, header: &Header, payloads: &[Payload<'static>]) {
        let name = (header.spi_i, header.spi_r, header.message_id.0);
        if !header.flags.response {
            self.asked.insert(name, payloads.to_vec());
            return;
        }
        let request = self.asked.remove(&name).expect("its request");
        if header.exchange == ExchangeType::IKE_FOLLOWUP_KE {
            return self.followup(header, payloads);
        }
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
        let shared = ke(response).map(|_| self.shared.pop_front().expect("a shared secret"));
        let shared = shared.map(|first| SharedSecrets::from(Secret::new(first)));
        if has_link(response) {
            let owned =
                |payloads: &[Payload<'_>]| payloads.iter().cloned().map(Payload::into_owned).collect();
            let series = (owned(request), owned(response), shared.expect("g^ir"));
            self.series.insert((header.spi_i, header.spi_r), series);
            return;
        }
        self.create(header, request, response, shared.as_ref());
    }

    fn followup(&mut self, header: &Header, response: &[Payload<'_>]) {
        let name = (header.spi_i, header.spi_r);
        let (request, created, mut shared) = self.series.remove(&name).expect("a CREATE_CHILD_SA exchange");
        shared.push(&Secret::new(self.shared.pop_front().expect("a shared secret")));
        match has_link(response) {
            true => drop(self.series.insert(name, (request, created, shared))),
            false => self.create(header, &request, &created, Some(&shared)),
        }
    }

    fn create(
        &mut self,
        header: &Header,
        request: &[Payload<'_>],
        response: &[Payload<'_>],
        shared: Option<&SharedSecrets>,
    ) {
        let (ni, nr) = (nonce(request), nonce(response));
        let chosen = proposal(response);
        if chosen.protocol != ProtocolId::IKE {
            self.child(header, shared, (&ni, &nr), chosen);
            return;
        }
        // Who asks for a new IKE SA is its initiator (RFC 7296 §2.18).
        let spi = |proposal: &Proposal<'_>| IkeSpi(u64::from_be_bytes(proposal.spi[..].try_into().unwrap()));
        let spis = Spis { initiator: spi(proposal(request)), responder: spi(chosen) };
        let nonces = Nonces { initiator: &ni, responder: &nr };
        let old = &self.channels[&(header.spi_i, header.spi_r)];
        let channel = old.rekeyed(ike_suite(chosen), nonces, spis, shared.expect("g^ir"));
        self.note_ike(&channel);
        self.channels.insert((spis.initiator, spis.responder), channel);
    }

    fn child(
        &mut self,
        header: &Header,
        shared: Option<&SharedSecrets>,
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
        let keys = &self.channels[&(read.header.spi_i, read.header.spi_r)].keys;
        let key = if read.header.flags.response { &keys.pr } else { &keys.pi };
        self.octets_under(read, key)
    }

    /// What NO_PPK_AUTH of an IKE_AUTH request covers (RFC 8784 §3).
    ///
    /// # Panics
    /// When no PPK was mixed in.
    pub fn octets_without_ppk(&self, read: &Read) -> Vec<u8> {
        self.octets_under(read, &self.plain[&(read.header.spi_i, read.header.spi_r)])
    }

    fn octets_under(&self, read: &Read, key: &Secret) -> Vec<u8> {
        let init = self.init(read.header.spi_i);
        let channel = &self.channels[&(read.header.spi_i, read.header.spi_r)];
        let response = read.header.flags.response;
        let id = read.payloads.iter().find_map(|payload| match payload {
            Payload::IdI(id) if !response => Some(id.octets_to_sign()),
            Payload::IdR(id) if response => Some(id.octets_to_sign()),
            _ => None,
        });
        let (message, nonce) = match response {
            false => (&init.request, &init.nr),
            true => (&init.response, &init.ni),
        };
        let maced = self.prf(channel).compute(key.expose(), &[&id.expect("an identity")]);
        let int_auth = self.int_auth.get(&(read.header.spi_i, read.header.spi_r));
        let int_auth = int_auth.map_or(Vec::new(), |so_far| {
            let IntAuth { initiator, responder, count } = so_far;
            [initiator.as_slice(), responder, &(count + 1).to_be_bytes()].concat()
        });
        [message, nonce, maced.expose(), &int_auth].map(|part| part.clone()).concat()
    }
}

fn has_link(payloads: &[Payload<'_>]) -> bool {
    let link = |payload: &Payload<'_>| matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::ADDITIONAL_KEY_EXCHANGE);
    payloads.iter().any(link)
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
        additional: additional(proposal),
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
        additional: additional(proposal),
        esn: of(TransformType::ESN).is_some_and(|t| t.0 == EsnMode::ESN.0),
    }
}

/// The additional key exchanges of a proposal that offers one of each type.
fn additional(proposal: &Proposal<'_>) -> Additional {
    let mut chosen = Additional::default();
    for (kind, method) in (TransformType::ADDKE1.0..).zip(&mut chosen.0) {
        *method = KeMethod(transform(proposal, TransformType(kind)).map_or(0, |t| t.0));
    }
    chosen
}
