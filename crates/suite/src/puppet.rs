//! An IKE peer that does what a test tells it, right or wrong. It has no state machine: each message
//! is put together by the test, and the right one is there as a start.

use crate::Channel;
use crate::reader::{ike_suite, ke, nonce, proposal};
use base::{EspSpi, IkeSpi, MessageId, Rng};
use crypto::{KePrivate, Nonces, Spis, Suite};
use provider::Provider;
use sim::{Datagram, SimRng, World};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::num::{
    AuthMethod, Encr, EsnMode, ExchangeType, IdType, KeMethod, NotifyType, PayloadType, Prf, ProtocolId,
    TransformType,
};
use wire::{
    AddressRange, Authentication, Flags, Header, Identification, IpSelector, KeyExchange, Message, Notify,
    Payload, Proposal, TrafficSelector, Transform,
};

/// How long a puppet waits for an answer: longer than fair weather takes, shorter than a retransmission.
const PATIENCE: Duration = Duration::from_millis(500);

/// The peer.
pub struct Puppet {
    /// Where it is.
    pub address: SocketAddr,
    /// Whom it talks to.
    pub peer: SocketAddr,
    /// Its identity, an FQDN.
    pub id: String,
    /// The reserved octets of its identity payload.
    pub id_reserved: [u8; 3],
    /// The peer's.
    pub peer_id: String,
    /// The PSK.
    pub psk: Vec<u8>,
    /// Its SPI and the peer's, by role.
    pub spis: Spis,
    /// Whether it began.
    pub initiator: bool,
    /// The IKE SA, once there is one.
    pub channel: Option<Channel>,
    /// The message id of its next request.
    pub next_id: u32,
    /// The SPI under which it would receive ESP.
    pub esp_spi: EspSpi,
    /// IntAuth: what AUTH covers of IKE_INTERMEDIATE exchanges (RFC 9242 §3.3.2).
    pub intermediate: Vec<u8>,
    /// What its IKE_SA_INIT response has besides.
    pub besides: Vec<Payload<'static>>,
    /// Its AUTH and the peer's cover both messages of IKE_SA_INIT (draft-ietf-ipsecme-ikev2-downgrade-prevention).
    pub full_transcript: bool,
    /// Traffic selectors of its side and of the peer's, as networks of /16: `10.N.0.0`.
    pub networks: (u8, u8),
    suite: Arc<dyn Suite>,
    rng: SimRng,
    private: Option<Box<dyn KePrivate>>,
    request: Vec<u8>,
    response: Vec<u8>,
    nonce: Vec<u8>,
    peer_nonce: Vec<u8>,
    heard: usize,
}

impl Puppet {
    /// The peer at `address`:500, which talks to `peer`:500, with the identities `alice.example` and so on.
    pub fn new(id: &str, address: &str, peer_id: &str, peer: &str) -> Self {
        let place = |text: &str| SocketAddr::new(sim::site::ip(text), sim::IKE);
        let mut rng = SimRng::new(7, id);
        let mut nonce = vec![0; 32];
        rng.fill(&mut nonce);
        let (address, peer) = (place(address), place(peer));
        let last = |address: SocketAddr| address.ip().to_string().rsplit('.').next().unwrap_or("0").parse();
        Self {
            networks: (last(address).unwrap_or(0), last(peer).unwrap_or(0)),
            address,
            peer,
            id: format!("{id}.example"),
            id_reserved: [0; 3],
            peer_id: format!("{peer_id}.example"),
            psk: sim::site::PSK.to_vec(),
            spis: Spis { initiator: IkeSpi(rng.next_u64()), responder: IkeSpi::ZERO },
            initiator: true,
            channel: None,
            next_id: 0,
            esp_spi: EspSpi(0xc0ff_ee00),
            intermediate: Vec::new(),
            besides: Vec::new(),
            full_transcript: false,
            suite: Arc::new(Provider::new()),
            private: None,
            request: Vec::new(),
            response: Vec::new(),
            peer_nonce: Vec::new(),
            nonce,
            rng,
            heard: 0,
        }
    }

    /// Alice, who begins with bob.
    pub fn alice() -> Self {
        Self::new("alice", "192.0.2.1", "bob", "198.51.100.2")
    }

    /// Bob, with whom alice begins.
    pub fn bob() -> Self {
        Self { initiator: false, ..Self::new("bob", "198.51.100.2", "alice", "192.0.2.1") }
    }

    /// Sends octets to the peer.
    pub fn send(&self, world: &mut World, message: &[u8]) {
        world.inject(Duration::from_millis(1), Datagram::ike(self.address, self.peer, message));
    }

    /// The next datagram that the peer sends here, if it comes soon.
    pub fn hear(&mut self, world: &mut World) -> Option<Vec<u8>> {
        let end = world.now() + PATIENCE;
        loop {
            while let Some((_, datagram)) = world.wire.get(self.heard) {
                self.heard += 1;
                // What concerns another puppet's IKE SA at the same address is not for this one.
                let spi = self.spis.initiator.0.to_be_bytes();
                let waits = !self.initiator && self.channel.is_none();
                let is_ours = waits || datagram.message().starts_with(&spi);
                if datagram.to == self.address && is_ours {
                    return Some(datagram.message().to_vec());
                }
            }
            if world.now() >= end {
                return None;
            }
            world.run(Duration::from_millis(10));
        }
    }

    /// Forgets what came and was not heard.
    pub fn deaf(&mut self, world: &World) {
        self.heard = world.wire.len();
    }

    /// The header of a message from here.
    pub fn header(&self, exchange: ExchangeType, response: bool, id: u32) -> Header {
        let flags = Flags { initiator: self.initiator, version: false, response };
        Header::new(self.spis.initiator, self.spis.responder, exchange, flags, MessageId(id))
    }

    /// SA, KE and nonce of an IKE_SA_INIT with x25519 and AES-256-GCM.
    ///
    /// # Panics
    /// When the provider has not got x25519.
    pub fn init_payloads(&mut self) -> Vec<Payload<'static>> {
        let group = self.suite.key_exchange(KeMethod::CURVE25519).expect("x25519");
        let (private, public) = group.generate(&mut self.rng).expect("a key");
        self.private = Some(private);
        vec![
            Payload::Sa(vec![ike_proposal()]),
            Payload::Ke(KeyExchange { method: KeMethod::CURVE25519, data: public.into() }),
            Payload::Nonce(self.nonce.clone().into()),
        ]
    }

    /// An IKE_SA_INIT request with these payloads.
    pub fn init_request(&mut self, payloads: Vec<Payload<'_>>) -> Vec<u8> {
        let header = self.header(ExchangeType::IKE_SA_INIT, false, 0);
        self.request = Message { header, payloads }.emit();
        self.request.clone()
    }

    /// Begins: IKE_SA_INIT, answered; then it has the IKE SA's keys.
    ///
    /// # Panics
    /// When the peer does not answer, or refuses.
    pub fn init(&mut self, world: &mut World) -> Vec<Payload<'static>> {
        let payloads = self.init_payloads();
        let request = self.init_request(payloads);
        self.send(world, &request);
        let response = self.hear(world).expect("an answer to IKE_SA_INIT");
        self.accept_init(&response)
    }

    /// Takes a response to IKE_SA_INIT.
    ///
    /// # Panics
    /// When it is a refusal.
    pub fn accept_init(&mut self, response: &[u8]) -> Vec<Payload<'static>> {
        let message = Message::parse(response).expect("IKE_SA_INIT").into_owned();
        self.spis.responder = message.header.spi_r;
        self.response = response.to_vec();
        self.peer_nonce = nonce(&message.payloads);
        let public = ke(&message.payloads).expect("KE").data.to_vec();
        let private = self.private.as_ref().expect("a private value");
        let shared = private.finish(&public).expect("a shared secret");
        let nonces = Nonces { initiator: &self.nonce, responder: &self.peer_nonce };
        let algorithms = ike_suite(proposal(&message.payloads));
        self.channel =
            Some(Channel::first(self.suite.clone(), algorithms, nonces, self.spis, shared.expose()));
        self.next_id = 1;
        message.payloads
    }

    /// Answers the IKE_SA_INIT request of the peer, which must be the next thing heard.
    ///
    /// # Panics
    /// When it is not.
    pub fn answer_init(&mut self, world: &mut World) {
        let request = self.hear(world).expect("IKE_SA_INIT");
        let message = Message::parse(&request).expect("IKE_SA_INIT").into_owned();
        assert_eq!(message.header.exchange, ExchangeType::IKE_SA_INIT);
        self.spis = Spis { initiator: message.header.spi_i, responder: IkeSpi(self.rng.next_u64()) };
        self.peer_nonce = nonce(&message.payloads);
        let public = ke(&message.payloads).expect("KE").data.to_vec();
        let group = self.suite.key_exchange(KeMethod::CURVE25519).expect("x25519");
        let (own, shared) = group.respond(&mut self.rng, &public).expect("a shared secret");
        let mut payloads = vec![
            Payload::Sa(vec![ike_proposal()]),
            Payload::Ke(KeyExchange { method: KeMethod::CURVE25519, data: own.into() }),
            Payload::Nonce(self.nonce.clone().into()),
            Payload::Notify(Notify::new(NotifyType::CHILDLESS_IKEV2_SUPPORTED, Vec::new())),
        ];
        payloads.extend(self.besides.clone());
        let header = self.header(ExchangeType::IKE_SA_INIT, true, 0);
        self.request = request;
        self.response = Message { header, payloads }.emit();
        let nonces = Nonces { initiator: &self.peer_nonce, responder: &self.nonce };
        let algorithms = ike_suite(&ike_proposal());
        self.channel =
            Some(Channel::first(self.suite.clone(), algorithms, nonces, self.spis, shared.expose()));
        let response = self.response.clone();
        self.send(world, &response);
    }

    /// Shows a ticket of its IKE SA (RFC 5723): IKE_SESSION_RESUME, answered; then it has the new IKE SA's keys. The answer
    /// itself where it is none.
    ///
    /// # Panics
    /// When the peer does not answer at all.
    pub fn resume(&mut self, world: &mut World, ticket: &[u8]) -> Result<(), Vec<Payload<'static>>> {
        let old = self.channel.take().expect("an IKE SA");
        self.spis = Spis { initiator: IkeSpi(self.rng.next_u64()), responder: IkeSpi::ZERO };
        self.rng.fill(&mut self.nonce);
        let payloads = vec![
            Payload::Nonce(self.nonce.clone().into()),
            Payload::Notify(Notify::new(NotifyType::TICKET_OPAQUE, ticket.to_vec())),
        ];
        let header = self.header(ExchangeType::IKE_SESSION_RESUME, false, 0);
        self.request = Message { header, payloads }.emit();
        self.deaf(world);
        let request = self.request.clone();
        self.send(world, &request);
        let response = self.hear(world).expect("an answer to IKE_SESSION_RESUME");
        let message = Message::parse(&response).expect("IKE_SESSION_RESUME").into_owned();
        self.peer_nonce = nonce(&message.payloads);
        if self.peer_nonce.is_empty() {
            self.channel = Some(old);
            return Err(message.payloads);
        }
        (self.spis.responder, self.response) = (message.header.spi_r, response);
        let nonces = Nonces { initiator: &self.nonce, responder: &self.peer_nonce };
        self.channel = Some(old.resumed(nonces, self.spis));
        self.next_id = 1;
        Ok(())
    }

    /// Answers an IKE_SESSION_RESUME request of the peer, which had the IKE SA `old` with it.
    ///
    /// # Panics
    /// When it is none.
    pub fn answer_resume(&mut self, world: &mut World, old: &Channel, request: &[u8]) {
        let message = Message::parse(request).expect("IKE_SESSION_RESUME").into_owned();
        self.spis = Spis { initiator: message.header.spi_i, responder: IkeSpi(self.rng.next_u64()) };
        self.peer_nonce = nonce(&message.payloads);
        self.rng.fill(&mut self.nonce);
        let header = self.header(ExchangeType::IKE_SESSION_RESUME, true, 0);
        let payloads = vec![Payload::Nonce(self.nonce.clone().into())];
        (self.request, self.response) = (request.to_vec(), Message { header, payloads }.emit());
        let nonces = Nonces { initiator: &self.peer_nonce, responder: &self.nonce };
        self.channel = Some(old.resumed(nonces, self.spis));
        self.deaf(world);
        let response = self.response.clone();
        self.send(world, &response);
    }

    /// Its AUTH value in an IKE SA that is resumed (RFC 5723 §4.3.3).
    pub fn resumption_auth(&self) -> Vec<u8> {
        self.resumption_auth_of(self.initiator, &self.peer_nonce, &self.identification())
    }

    /// The peer's, who calls itself `id`.
    pub fn peer_resumption_auth(&self, id: &Identification<'_>) -> Vec<u8> {
        self.resumption_auth_of(!self.initiator, &self.nonce, id)
    }

    fn resumption_auth_of(&self, initiator: bool, nonce: &[u8], id: &Identification<'_>) -> Vec<u8> {
        let channel = self.channel.as_ref().expect("keys");
        let prf = self.suite.prf(channel.algorithms.prf).expect("the PRF");
        let (message, key) = match initiator {
            true => (&self.request, &channel.keys.pi),
            false => (&self.response, &channel.keys.pr),
        };
        let id = prf.compute(key.expose(), &[&id.octets_to_sign()]);
        let octets = [message, nonce, id.expose()].concat();
        prf.compute(key.expose(), &[&octets]).expose().clone()
    }

    /// Its identity payload's content.
    pub fn identification(&self) -> Identification<'static> {
        let (kind, reserved) = (IdType::FQDN, self.id_reserved);
        Identification { kind, reserved, data: self.id.clone().into_bytes().into() }
    }

    /// The AUTH value of its PSK (RFC 7296 §2.15).
    ///
    /// # Panics
    /// Before IKE_SA_INIT.
    pub fn auth_value(&self) -> Vec<u8> {
        self.auth_of(self.initiator, &self.peer_nonce, &self.identification())
    }

    /// The peer's, who calls itself `id`.
    ///
    /// # Panics
    /// Before IKE_SA_INIT.
    pub fn peer_auth_value(&self, id: &Identification<'_>) -> Vec<u8> {
        self.auth_of(!self.initiator, &self.nonce, id)
    }

    fn auth_of(&self, initiator: bool, nonce: &[u8], id: &Identification<'_>) -> Vec<u8> {
        let channel = self.channel.as_ref().expect("keys");
        let prf = self.suite.prf(channel.algorithms.prf).expect("the PRF");
        let (message, other, key) = match initiator {
            true => (&self.request, &self.response, &channel.keys.pi),
            false => (&self.response, &self.request, &channel.keys.pr),
        };
        let id = prf.compute(key.expose(), &[&id.octets_to_sign()]);
        let mut octets: Vec<&[u8]> = if self.full_transcript { vec![&[0; 8], other] } else { Vec::new() };
        octets.extend([message.as_slice(), nonce, id.expose(), &self.intermediate]);
        crypto::psk_auth(prf, &self.psk, &octets).expose().clone()
    }

    /// Goes over to the keys that an additional key exchange leads to (RFC 9370 §2.2.2).
    ///
    /// # Panics
    /// Before IKE_SA_INIT.
    pub fn mix(&mut self, shared: &[u8]) {
        let (initiator, responder) = match self.initiator {
            true => (&self.nonce, &self.peer_nonce),
            false => (&self.peer_nonce, &self.nonce),
        };
        let mixed = self.channel.as_ref().expect("keys").mixed(Nonces { initiator, responder }, shared);
        self.channel = Some(mixed);
    }

    /// What a PPK Confirmation of that key is (RFC 9867 §3.1).
    ///
    /// # Panics
    /// Before IKE_SA_INIT.
    pub fn ppk_confirmation(&self, ppk: &[u8]) -> Vec<u8> {
        let prf = self.suite.prf(self.channel.as_ref().expect("keys").algorithms.prf).expect("the PRF");
        let (ni, nr) = match self.initiator {
            true => (&self.nonce, &self.peer_nonce),
            false => (&self.peer_nonce, &self.nonce),
        };
        let (spi_i, spi_r) = (self.spis.initiator.0.to_be_bytes(), self.spis.responder.0.to_be_bytes());
        prf.compute(ppk, &[&[ni, nr, &spi_i[..], &spi_r].concat()]).expose()[..8].to_vec()
    }

    /// What a PPK Confirmation of that key is in CREATE_CHILD_SA with that Ni (RFC 9867 §3.2).
    ///
    /// # Panics
    /// Before IKE_SA_INIT.
    pub fn fresh_ppk_confirmation(&self, ppk: &[u8], ni: &[u8]) -> Vec<u8> {
        let prf = self.suite.prf(self.channel.as_ref().expect("keys").algorithms.prf).expect("the PRF");
        let (spi_i, spi_r) = (self.spis.initiator.0.to_be_bytes(), self.spis.responder.0.to_be_bytes());
        prf.compute(ppk, &[&[ni, &spi_i[..], &spi_r].concat()]).expose()[..8].to_vec()
    }

    /// What stands in a right IKE_AUTH message of either role, for a child with its networks.
    pub fn auth_payloads(&self) -> Vec<Payload<'static>> {
        let auth = Authentication { method: AuthMethod::SHARED_KEY, data: self.auth_value().into() };
        let id = self.identification();
        let mut payloads = vec![
            if self.initiator { Payload::IdI(id) } else { Payload::IdR(id) },
            Payload::Auth(auth),
            Payload::Sa(vec![self.esp_proposal()]),
        ];
        payloads.extend(self.selectors());
        payloads
    }

    /// TSi and TSr for its networks.
    pub fn selectors(&self) -> [Payload<'static>; 2] {
        let (own, other) = (vec![network(self.networks.0)], vec![network(self.networks.1)]);
        match self.initiator {
            true => [Payload::TsI(own), Payload::TsR(other)],
            false => [Payload::TsI(other), Payload::TsR(own)],
        }
    }

    /// AES-256-GCM without extended sequence numbers, under its ESP SPI.
    pub fn esp_proposal(&self) -> Proposal<'static> {
        Proposal {
            number: 1,
            protocol: ProtocolId::ESP,
            spi: self.esp_spi.0.to_be_bytes().to_vec().into(),
            transforms: vec![
                Transform::new(TransformType::ENCR, Encr::AES_GCM_16.0, Some(256)),
                Transform::new(TransformType::ESN, EsnMode::NONE.0, None),
            ],
        }
    }

    /// Seals a message.
    ///
    /// # Panics
    /// Before IKE_SA_INIT.
    pub fn seal(&mut self, header: &Header, payloads: &[Payload<'_>]) -> Vec<u8> {
        self.channel.as_mut().expect("keys").seal(header, payloads)
    }

    /// A sealed request with the next message id.
    pub fn request(&mut self, exchange: ExchangeType, payloads: &[Payload<'_>]) -> Vec<u8> {
        let header = self.header(exchange, false, self.next_id);
        self.next_id += 1;
        self.seal(&header, payloads)
    }

    /// Opens a message of the peer.
    ///
    /// # Panics
    /// When the keys do not fit.
    pub fn open(&self, datagram: &[u8]) -> (Header, Vec<Payload<'static>>) {
        let opened = self.channel.as_ref().expect("keys").open(datagram).expect("a message of the peer");
        (opened.header, opened.payloads())
    }

    /// Sends a sealed request and opens the answer, if one comes.
    pub fn ask(
        &mut self,
        world: &mut World,
        exchange: ExchangeType,
        payloads: &[Payload<'_>],
    ) -> Option<Vec<Payload<'static>>> {
        let request = self.request(exchange, payloads);
        self.deaf(world);
        self.send(world, &request);
        let answer = self.hear(world)?;
        Some(self.open(&answer).1)
    }

    /// The next request of the peer, opened.
    pub fn asked(&mut self, world: &mut World) -> Option<(Header, Vec<Payload<'static>>)> {
        loop {
            let datagram = self.hear(world)?;
            let (header, payloads) = self.open(&datagram);
            if !header.flags.response {
                return Some((header, payloads));
            }
        }
    }

    /// Answers a request of the peer.
    pub fn reply(&mut self, world: &mut World, request: &Header, payloads: &[Payload<'_>]) {
        let header = self.header(request.exchange, true, request.message_id.0);
        let message = self.seal(&header, payloads);
        self.send(world, &message);
    }

    /// The whole way to an established IKE SA with a child.
    ///
    /// # Panics
    /// When the peer refuses.
    pub fn establish(&mut self, world: &mut World) {
        if self.initiator {
            self.init(world);
            let payloads = self.auth_payloads();
            let answer = self.ask(world, ExchangeType::IKE_AUTH, &payloads).expect("an answer to IKE_AUTH");
            assert!(answer.iter().any(|p| p.kind() == PayloadType::SA), "{}", wire::summary(&answer));
        } else {
            self.answer_init(world);
            let (header, _) = self.asked(world).expect("IKE_AUTH");
            let payloads = self.auth_payloads();
            self.reply(world, &header, &payloads);
            world.run(Duration::from_millis(50));
        }
    }
}

/// AES-256-GCM, PRF_HMAC_SHA2_256, x25519.
pub fn ike_proposal() -> Proposal<'static> {
    Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: Vec::new().into(),
        transforms: vec![
            Transform::new(TransformType::ENCR, Encr::AES_GCM_16.0, Some(256)),
            Transform::new(TransformType::PRF, Prf::HMAC_SHA2_256.0, None),
            Transform::new(TransformType::KE, KeMethod::CURVE25519.0, None),
        ],
    }
}

/// 10.N.0.0/16.
pub fn network(n: u8) -> TrafficSelector<'static> {
    let range = AddressRange::V4([10, n, 0, 0].into(), [10, n, 255, 255].into());
    TrafficSelector::Ip(IpSelector::any(range))
}
