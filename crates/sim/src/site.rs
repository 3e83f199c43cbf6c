//! What stands at each end of a simulated tunnel, and ready-made policies for it.

use crate::{DataplaneNature, Keeper, KeeperNature, SimRng};
use base::{Rng, Secret};
use crypto::{SigningKey, Suite};
use dataplane::{AddressRange, Mode, Selector};
use policy::{
    ADDITIONAL, AddressPattern, AuthMethod, Child, ChildLifetime, Configuration, Connection, EncapChoice,
    EndAction, Extensions, IdPattern, Identity, IkeLifetime, LocalAuth, Policy, PpkPattern, Ppks, Proposal,
    RemoteAuth, SendCert, Shunt, ShuntAction, StartAction, Unique,
};
use sa::Settings;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use trust::{Secrets, Trust};
use wire::num::{Encr, EsnMode, Integ, KeMethod, Prf};

/// Makes a site's keeper from its algorithms and its policy.
pub type MakeKeeper = Box<dyn FnOnce(Arc<dyn Suite>, Arc<Policy>) -> Box<dyn Keeper> + Send>;

/// One site, before it is put into a world.
pub struct Site {
    /// Its name in traces.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its further addresses.
    pub further: Vec<IpAddr>,
    /// The NAT box before it: the address outside, and how long a mapping lives. Sites with the same one share it.
    pub nat: Option<(IpAddr, Duration)>,
    /// What it is configured to do.
    pub connections: Vec<Connection>,
    /// And without a connection.
    pub shunts: Vec<Shunt>,
    /// Its endpoint's settings.
    pub settings: Settings,
    /// Its data plane.
    pub dataplane: DataplaneNature,
    /// How its keeper answers.
    pub keeper: KeeperNature,
    /// Makes its keeper.
    pub make_keeper: MakeKeeper,
    /// What may not be seen in the clear: the PSK, for example.
    pub secrets: Vec<Vec<u8>>,
}

/// A certificate with its key, and the authority that both sites trust.
#[derive(Clone)]
pub struct Credentials {
    /// The certificate in DER, then the intermediates.
    pub chain: Vec<Vec<u8>>,
    /// Its private key.
    pub key: Arc<dyn SigningKey>,
    /// The trust anchor for the peer, in DER.
    pub authority: Vec<u8>,
}

/// Post-quantum pre-shared keys: their identities and secrets.
pub type PpkList = &'static [(&'static str, &'static [u8])];

/// The PSK of [`Site::psk`].
pub const PSK: &[u8] = b"a secret that both sites have";

impl Site {
    /// Wants these additional key exchanges wherever there is a key exchange.
    #[must_use]
    pub fn following_up(mut self, places: &[Vec<KeMethod>; ADDITIONAL]) -> Self {
        let add = |proposals: &mut Vec<Proposal>| {
            for proposal in proposals.iter_mut().filter(|proposal| !proposal.ke.is_empty()) {
                proposal.additional.clone_from(places);
            }
        };
        for connection in &mut self.connections {
            add(&mut connection.proposals);
            for child in &mut connection.children {
                add(&mut Arc::make_mut(child).esp_proposals);
            }
        }
        self
    }

    /// A site `name.example` with one connection `net` to `peer`.example, PSK, AES-256-GCM, x25519, and
    /// one tunnel `lan` between 10.N.0.0/16 and 10.M.0.0/16, N and M being the last octets of the addresses.
    pub fn psk(name: &str, address: &str, peer: &str, peer_address: &str) -> Self {
        let (address, peer_address) = (ip(address), ip(peer_address));
        Self {
            name: name.to_string(),
            address,
            further: Vec::new(),
            nat: None,
            connections: vec![connection(name, address, peer, peer_address)],
            shunts: Vec::new(),
            settings: Settings::default(),
            dataplane: DataplaneNature::default(),
            keeper: KeeperNature::default(),
            make_keeper: keeper_of(PSK),
            secrets: vec![PSK.to_vec()],
        }
    }

    /// What its endpoint works by.
    pub fn policy(&self) -> Policy {
        Policy { shunts: self.shunts.clone(), ..Policy::of(self.connections.iter().cloned()) }
    }

    /// Has another shunt.
    pub fn shunt(mut self, name: &str, action: ShuntAction, local_ts: &str, remote_ts: &str) -> Self {
        let (local_ts, remote_ts) = (vec![net(local_ts)], vec![net(remote_ts)]);
        self.shunts.push(Shunt { name: name.to_string(), action, local_ts, remote_ts });
        self
    }

    /// Changes its (first) connection.
    pub fn with(mut self, change: impl FnOnce(&mut Connection)) -> Self {
        change(&mut self.connections[0]);
        self
    }

    /// Its peer has a name instead of an address.
    pub fn by_name(self, name: &str) -> Self {
        self.with(|connection| connection.remote_addrs = vec![AddressPattern::Name(name.to_string())])
    }

    /// All its children start so.
    pub fn starting(self, action: StartAction) -> Self {
        self.with(|connection| {
            for child in &mut connection.children {
                Arc::make_mut(child).start_action = action;
            }
        })
    }

    /// All its children do this when they are gone, whether the peer is dead or has deleted them.
    pub fn ending(self, action: EndAction) -> Self {
        self.with(|connection| {
            for child in &mut connection.children {
                let child = Arc::make_mut(child);
                (child.dpd_action, child.close_action) = (action, action);
            }
        })
    }

    /// Changes the first child of its connection.
    pub fn child(self, change: impl FnOnce(&mut Child)) -> Self {
        self.with(|connection| change(Arc::make_mut(&mut connection.children[0])))
    }

    /// Adds a further child, with its own pair of networks.
    pub fn also(self, name: &str, local_ts: &str, remote_ts: &str) -> Self {
        self.with(|connection| {
            let mut child = (*connection.children[0]).clone();
            child.name = name.to_string();
            child.local_ts = vec![net(local_ts)];
            child.remote_ts = vec![net(remote_ts)];
            connection.children.push(Arc::new(child));
        })
    }

    /// Has another PSK.
    pub fn with_psk(mut self, psk: &'static [u8]) -> Self {
        self.make_keeper = keeper_of(psk);
        self.secrets = vec![psk.to_vec()];
        self
    }

    /// Uses these post-quantum pre-shared keys, the best first, and has them with these secrets.
    pub fn with_ppks(self, ppks: PpkList, required: bool) -> Self {
        self.with(|connection| connection.extensions.ppk = ppks_named(ppks, required)).keeping(ppks)
    }

    /// Names post-quantum pre-shared keys, or patterns of them.
    ///
    /// # Panics
    /// When one is no identity of a PPK: it stands in a test's text.
    pub fn naming(self, ids: &[&str], required: bool) -> Self {
        let ids = ids.iter().map(|id| PpkPattern::parse(id).expect("an identity of a PPK")).collect();
        self.with(|connection| connection.extensions.ppk = Ppks { ids, required })
    }

    /// Has the PSK, and these post-quantum pre-shared keys.
    pub fn keeping(mut self, ppks: PpkList) -> Self {
        self.secrets.extend(ppks.iter().map(|(_, secret)| secret.to_vec()));
        self.make_keeper = keeper(PSK, ppks);
        self
    }

    /// Proves itself with a certificate, and wants one below `authority` of its peer.
    ///
    /// # Panics
    /// When what it is given is no certificate: it comes from a test.
    pub fn certified(mut self, suite: &dyn Suite, credentials: &Credentials) -> Self {
        let read = |der: &Vec<u8>| trust::certificate(suite, der).expect("a certificate");
        let connection = &mut self.connections[0];
        connection.local.method = AuthMethod::Pubkey;
        connection.local.certs = credentials.chain.iter().map(read).collect();
        connection.remote.method = AuthMethod::Pubkey;
        connection.remote.authorities = vec![read(&credentials.authority)];
        let key = credentials.key.clone();
        self.make_keeper = Box::new(move |suite, policy| {
            let mut secrets = Secrets::new();
            secrets.add_key(key);
            Box::new(Trust::new(policy, suite, secrets))
        });
        self
    }

    /// Proves itself a second time by the same (RFC 4739), wherever it has a connection.
    pub fn proving_twice(mut self) -> Self {
        for connection in &mut self.connections {
            connection.local2 = Some(connection.local.clone());
        }
        self
    }

    /// Wants a second proof of whoever has given the first one, by the same.
    pub fn wanting_two(mut self) -> Self {
        for connection in &mut self.connections {
            connection.remote2 =
                Some(RemoteAuth { id: IdPattern::OfFirstRound, ..connection.remote.clone() });
        }
        self
    }

    /// Has further addresses.
    pub fn also_at(mut self, addresses: &[&str]) -> Self {
        self.further.extend(addresses.iter().map(|address| ip(address)));
        self
    }

    /// Speaks MOBIKE, with a peer that may be anywhere, from any address of its own.
    pub fn mobile(self) -> Self {
        self.with(|connection| {
            connection.mobike = true;
            connection.local_addrs = vec![AddressPattern::Any];
            connection.remote_addrs.push(AddressPattern::Any);
        })
    }

    /// Stands behind a NAT box.
    pub fn behind(mut self, outside: &str, expiry: Duration) -> Self {
        self.nat = Some((ip(outside), expiry));
        self
    }
}

/// A keeper of one PSK for everybody.
fn keeper_of(psk: &'static [u8]) -> MakeKeeper {
    keeper(psk, &[])
}

/// All of these post-quantum pre-shared keys, the best first.
pub(crate) fn ppks_named(ppks: PpkList, required: bool) -> Ppks {
    let parse = |(id, _): &(&str, &[u8])| PpkPattern::parse(id).expect("an identity of a PPK");
    Ppks { ids: ppks.iter().map(parse).collect(), required }
}

/// The same with post-quantum pre-shared keys.
pub(crate) fn keeper(psk: &'static [u8], ppks: PpkList) -> MakeKeeper {
    Box::new(move |suite, policy| {
        let mut secrets = Secrets::new();
        secrets.add_psk(Vec::new(), Secret::from(psk));
        for (id, ppk) in ppks {
            secrets.add_ppk(vec![(*id).into()], Secret::from(*ppk));
        }
        Box::new(Trust::new(policy, suite, secrets))
    })
}

/// The connection of [`Site::psk`].
pub fn connection(name: &str, address: IpAddr, peer: &str, peer_address: IpAddr) -> Connection {
    let fqdn = |name: &str| Identity::Fqdn(format!("{name}.example"));
    Connection {
        name: "net".to_string(),
        local_addrs: vec![AddressPattern::Range(AddressRange::host(address))],
        remote_addrs: vec![AddressPattern::Range(AddressRange::host(peer_address))],
        proposals: vec![ike(Encr::AES_GCM_16, 256, Integ::NONE, &[KeMethod::CURVE25519])],
        local: LocalAuth { method: AuthMethod::Psk, id: Some(fqdn(name)), certs: Vec::new(), pubkey: None },
        remote: RemoteAuth {
            method: AuthMethod::Psk,
            id: IdPattern::Is(fqdn(peer)),
            certs: Vec::new(),
            authorities: Vec::new(),
            pubkeys: Vec::new(),
            revocation: policy::Revocation::default(),
        },
        local2: None,
        remote2: None,
        children: vec![Arc::new(Child {
            name: "lan".to_string(),
            mode: Mode::Tunnel,
            single_pair: false,
            local_ts: vec![lan(address)],
            remote_ts: vec![lan(peer_address)],
            esp_proposals: vec![esp(Encr::AES_GCM_16, 256, Integ::NONE, &[])],
            start_action: StartAction::None,
            dpd_action: EndAction::Clear,
            close_action: EndAction::Clear,
            inactivity: Duration::ZERO,
            lifetime: ChildLifetime::UNLIMITED,
            replay_window: 64,
            interface: None,
        })],
        encap: EncapChoice::Auto,
        fragmentation: true,
        fragment_size: 1280,
        send_cert: SendCert::Always,
        send_certreq: true,
        dpd_delay: Duration::from_secs(30),
        dpd_timeout: Duration::ZERO,
        lifetime: IkeLifetime::UNLIMITED,
        keyingtries: 0,
        retry_interval: Duration::from_secs(10),
        // Most worlds are about something else, and keep to port 500.
        mobike: false,
        window: 1,
        configuration: Configuration::default(),
        extensions: Extensions::default(),
        unique: Unique::No,
        weak: Vec::new(),
    }
}

/// 10.N.0.0/16 for the site with the last address octet N.
fn lan(address: IpAddr) -> Selector {
    let last = match address {
        IpAddr::V4(a) => a.octets()[3],
        IpAddr::V6(a) => a.octets()[15],
    };
    net(&format!("10.{last}.0.0/16"))
}

/// The traffic of a prefix, such as `10.1.0.0/16`.
///
/// # Panics
/// When `prefix` is not one: it stands in a test's text.
pub fn net(prefix: &str) -> Selector {
    let (address, len) = prefix.split_once('/').expect("address/length");
    let range = AddressRange::from_prefix(ip(address), len.parse().expect("a length"));
    Selector::addresses(range.expect("a prefix"))
}

/// An address.
///
/// # Panics
/// When `text` is none.
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("“{text}” is no address"))
}

/// Additional key exchanges by their places (RFC 9370): often none, sometimes one that may be left out, or two.
pub fn additional(rng: &mut SimRng) -> [Vec<KeMethod>; ADDITIONAL] {
    let mut places: [Vec<KeMethod>; ADDITIONAL] = Default::default();
    match rng.below(10) {
        0..5 => {}
        5..8 => places[0] = vec![KeMethod::ML_KEM_512],
        8 => places[2] = vec![KeMethod::ML_KEM_768, KeMethod::NONE],
        _ => {
            places[0] = vec![KeMethod::ML_KEM_512];
            places[1] = vec![KeMethod::ML_KEM_768, KeMethod::ML_KEM_512];
        }
    }
    places
}

/// A proposal for an IKE SA with PRF_HMAC_SHA2_256.
pub fn ike(encr: Encr, key_bits: u16, integ: Integ, ke: &[KeMethod]) -> Proposal {
    Proposal {
        encr: vec![(encr, key_bits)],
        integ: integrity(integ),
        prf: vec![Prf::HMAC_SHA2_256],
        ke: ke.to_vec(),
        ..Proposal::default()
    }
}

/// A proposal for a child SA, with and without extended sequence numbers.
pub fn esp(encr: Encr, key_bits: u16, integ: Integ, ke: &[KeMethod]) -> Proposal {
    Proposal {
        encr: vec![(encr, key_bits)],
        integ: integrity(integ),
        ke: ke.to_vec(),
        esn: vec![EsnMode::ESN, EsnMode::NONE],
        ..Proposal::default()
    }
}

fn integrity(integ: Integ) -> Vec<Integ> {
    if integ == Integ::NONE { Vec::new() } else { vec![integ] }
}
