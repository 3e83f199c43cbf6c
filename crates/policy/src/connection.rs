//! Connections and their children.

use crate::limits::AUTH_ROUNDS;
use crate::{
    ChildLifetime, Configuration, Extensions, IdPattern, Identity, IkeLifetime, Proposal, Revocation, Shunt,
};
use dataplane::{AddressRange, Interface, Mode, Selector};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Everything that one endpoint is configured to do.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// In the order of the file; a [`ConnectionId`] is an index into it.
    pub connections: Vec<Arc<Connection>>,
    /// What is not a matter of connections, in the order of the file.
    pub shunts: Vec<Shunt>,
}

impl Policy {
    /// A policy with these connections and without shunts.
    pub fn of(connections: impl IntoIterator<Item = Connection>) -> Self {
        Self { connections: connections.into_iter().map(Arc::new).collect(), shunts: Vec::new() }
    }

    /// The connection of that id.
    pub fn connection(&self, id: ConnectionId) -> Option<&Arc<Connection>> {
        self.connections.get(id.0 as usize)
    }

    /// The connection called `name` that had this id, in this policy or in the one before a reload: the id is tried
    /// first, and the name decides.
    pub fn resolve(&self, id: ConnectionId, name: &str) -> Option<&Arc<Connection>> {
        let same = self.connection(id).filter(|connection| connection.name == name);
        same.or_else(|| self.connections.iter().find(|connection| connection.name == name))
    }

    /// The connection of that name.
    pub fn by_name(&self, name: &str) -> Option<(ConnectionId, &Arc<Connection>)> {
        let index = self.connections.iter().position(|c| c.name == name)?;
        Some((ConnectionId(index as u32), &self.connections[index]))
    }

    /// The interfaces that children name.
    pub fn interfaces(&self) -> BTreeSet<Interface> {
        let children = self.connections.iter().flat_map(|connection| &connection.children);
        children.filter_map(|child| child.interface.clone()).collect()
    }
}

/// Names a connection of a [`Policy`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnectionId(pub u32);

/// One peer, or one kind of peer, and the child SAs to have with it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its name in the file, in the log and on the command line.
    pub name: String,
    /// Our addresses; the first concrete one is used to initiate.
    pub local_addrs: Vec<AddressPattern>,
    /// The peer's addresses: a responder matches against all, an initiator uses the first concrete one.
    pub remote_addrs: Vec<AddressPattern>,
    /// Proposals for the IKE SA, best first; never empty.
    pub proposals: Vec<Proposal>,
    /// How we authenticate.
    pub local: LocalAuth,
    /// How the peer must authenticate.
    pub remote: RemoteAuth,
    /// How we authenticate a second time, if we do (RFC 4739).
    pub local2: Option<LocalAuth>,
    /// How the peer must authenticate a second time, if it must.
    pub remote2: Option<RemoteAuth>,
    /// The child SAs; the first is made with IKE_AUTH. May be empty (childless, RFC 6023).
    pub children: Vec<Arc<Child>>,
    /// UDP encapsulation.
    pub encap: EncapChoice,
    /// IKE fragmentation (RFC 7383) offered and used.
    pub fragmentation: bool,
    /// Largest IP datagram of a fragment, in octets.
    pub fragment_size: u16,
    /// When a certificate payload is sent.
    pub send_cert: SendCert,
    /// Whether CERTREQ payloads are sent.
    pub send_certreq: bool,
    /// After this long without anything from the peer, it is probed; zero: never.
    pub dpd_delay: Duration,
    /// `dpd_timeout`: a peer that does not answer for this long is gone, also when retransmissions would go on; zero: they
    /// decide.
    pub dpd_timeout: Duration,
    /// When the IKE SA gets new keys, and when both ends prove again who they are.
    pub lifetime: IkeLifetime,
    /// `keyingtries`: attempts to bring it up before it is given up; zero: for ever.
    pub keyingtries: u32,
    /// `retry_initiate_interval`: the wait after the first attempt that failed; it doubles with each further one.
    pub retry_interval: Duration,
    /// Whether addresses may change while it stands (RFC 4555).
    pub mobike: bool,
    /// `window_size`: requests of the peer that may be under way at once (RFC 7296 §2.3), at least 1.
    pub window: u8,
    /// Addresses and what else configuration payloads carry.
    pub configuration: Configuration,
    /// What it does of the extensions of IKEv2.
    pub extensions: Extensions,
    /// What happens with older IKE SAs between the same identities.
    pub unique: Unique,
    /// Algorithms that the file names explicitly although they are weak; shown in `status`.
    pub weak: Vec<String>,
}

impl Connection {
    /// Where our addresses in the peer's network stand: the interface of the children; `config` makes sure that it is one.
    pub fn interface(&self) -> Option<&Interface> {
        self.children.iter().find_map(|child| child.interface.as_ref())
    }

    /// How we authenticate in that round, if we do.
    pub fn local_auth(&self, round: Round) -> Option<&LocalAuth> {
        match round {
            Round::First => Some(&self.local),
            Round::Second => self.local2.as_ref(),
        }
    }

    /// How the peer must authenticate in that round, if it must.
    pub fn remote_auth(&self, round: Round) -> Option<&RemoteAuth> {
        match round {
            Round::First => Some(&self.remote),
            Round::Second => self.remote2.as_ref(),
        }
    }

    /// How we authenticate, round by round.
    pub fn locals(&self) -> impl Iterator<Item = &LocalAuth> {
        Round::ALL.into_iter().filter_map(|round| self.local_auth(round))
    }

    /// How the peer must authenticate, round by round.
    pub fn remotes(&self) -> impl Iterator<Item = &RemoteAuth> {
        Round::ALL.into_iter().filter_map(|round| self.remote_auth(round))
    }

    /// Whether either side authenticates twice.
    pub fn has_second_round(&self) -> bool {
        self.local2.is_some() || self.remote2.is_some()
    }
}

/// A round of authentication (RFC 4739); each side has its own count of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Round {
    /// The one that there always is.
    First,
    /// `local2`, `remote2`.
    Second,
}

impl Round {
    /// All of them, in their order.
    pub const ALL: [Self; AUTH_ROUNDS] = [Self::First, Self::Second];
}

/// One entry of `local_addrs` or `remote_addrs`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddressPattern {
    /// `%any`
    Any,
    /// An address, a prefix or a range.
    Range(AddressRange),
    /// A DNS name, resolved when it is needed (never by the core).
    Name(String),
}

impl AddressPattern {
    /// Whether `address` matches. A name matches anything: its authentication decides.
    pub fn matches(&self, address: IpAddr) -> bool {
        match self {
            AddressPattern::Any | AddressPattern::Name(_) => true,
            AddressPattern::Range(range) => range.contains(address),
        }
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressPattern::Any => f.write_str("%any"),
            AddressPattern::Range(range) if range.start() == range.end() => range.start().fmt(f),
            AddressPattern::Range(range) => range.fmt(f),
            AddressPattern::Name(name) => f.write_str(name),
        }
    }
}

/// How a side proves who it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AuthMethod {
    /// A pre-shared key (RFC 7296 §2.15).
    Psk,
    /// A signature with the key of a certificate (RFC 7296 §2.15, RFC 7427).
    Pubkey,
}

/// How we authenticate.
#[derive(Clone, Debug)]
pub struct LocalAuth {
    /// PSK or certificate.
    pub method: AuthMethod,
    /// Who we are; always known after `config` (it takes the certificate's subject, or the address where that is fixed).
    /// `None` only when it is our own address and that is not known before the path is.
    pub id: Option<Identity>,
    /// Our certificate, then the intermediates up to but without the root; empty with PSK.
    pub certs: Vec<Certificate>,
    /// Our public key as it is, in place of a certificate (RFC 7670).
    pub pubkey: Option<PublicKey>,
}

impl LocalAuth {
    /// What to send in CERT payloads to a peer whose CERTREQ payloads name the authorities
    /// `asked` by hash (RFC 7296 §3.7): our chain, without what it has itself. An authority that is not in our chain does not hold the
    /// chain back: it may be the root, or one that leads there by a certificate of the peer's.
    pub fn certs_for(&self, asked: &[[u8; 20]]) -> &[Certificate] {
        let known = self.certs.iter().skip(1).position(|certificate| asked.contains(&certificate.spki_sha1));
        match known {
            Some(above_ours) => self.certs.get(..=above_ours).unwrap_or(&self.certs),
            None => &self.certs,
        }
    }
}

/// How the peer must authenticate.
#[derive(Clone, Debug)]
pub struct RemoteAuth {
    /// PSK or certificate.
    pub method: AuthMethod,
    /// Who it must be.
    pub id: IdPattern,
    /// Certificates that are accepted as they are (pinned); empty: any that chains to an authority.
    pub certs: Vec<Certificate>,
    /// Trust anchors for this peer.
    pub authorities: Vec<Certificate>,
    /// Public keys that are accepted as they are (RFC 7670). They carry no name: `id` is then one identity.
    pub pubkeys: Vec<PublicKey>,
    /// Whether its certificate may have been revoked.
    pub revocation: Revocation,
}

/// A certificate, in DER, with what the protocol needs to know of it without parsing X.509.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The whole certificate in DER.
    pub der: Arc<[u8]>,
    /// The subject as people write it.
    pub subject: Arc<str>,
    /// SHA-1 of its SubjectPublicKeyInfo: what a CERTREQ payload names (RFC 7296 §3.7).
    pub spki_sha1: [u8; 20],
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.subject)
    }
}

/// A public key without a certificate (RFC 7670).
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its SubjectPublicKeyInfo in DER.
    pub spki: Arc<[u8]>,
    /// What people call it: its kind, and the beginning of the SHA-1 of `spki`.
    pub name: Arc<str>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.name)
    }
}

/// A child SA to be negotiated.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its name within the connection.
    pub name: String,
    /// Tunnel or transport.
    pub mode: Mode,
    /// Our side's traffic; empty means "our own address, as the peer sees it" (`dynamic`).
    pub local_ts: Vec<Selector>,
    /// The peer's side; empty means the peer's address.
    pub remote_ts: Vec<Selector>,
    /// `single_pair`: each pair of addresses gets a child SA of its own (RFC 7296 §2.9).
    pub single_pair: bool,
    /// Proposals for ESP, best first; never empty.
    pub esp_proposals: Vec<Proposal>,
    /// What brings it up.
    pub start_action: StartAction,
    /// What happens with it when the peer is found dead.
    pub dpd_action: EndAction,
    /// What happens with it when the peer deletes it.
    pub close_action: EndAction,
    /// It is deleted when it has carried nothing for so long; zero: never.
    pub inactivity: Duration,
    /// When it gets new keys, and when it ends for want of them.
    pub lifetime: ChildLifetime,
    /// Anti-replay window in packets: 0 (off) or 32 to 4096.
    pub replay_window: u32,
    /// `interface`: the interface that its packets enter and leave by, routed there by the administrator. `None`: its
    /// selectors decide which they are.
    pub interface: Option<Interface>,
}

/// What happens with a child when the daemon starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartAction {
    /// Nothing: `handfast up`, or the peer, starts it.
    None,
    /// The first packet that it would carry starts it.
    Trap,
    /// It is negotiated at once.
    Start,
    /// Both: at once, and again by a packet whenever it does not stand.
    TrapStart,
}

impl StartAction {
    /// Whether packets start it.
    pub fn traps(self) -> bool {
        matches!(self, Self::Trap | Self::TrapStart)
    }

    /// Whether it is negotiated at once.
    pub fn starts(self) -> bool {
        matches!(self, Self::Start | Self::TrapStart)
    }
}

/// `dpd_action`, `close_action`: what happens with a child that is gone against our will.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndAction {
    /// Nothing more.
    Clear,
    /// The next packet that it would carry starts it.
    Trap,
    /// It is negotiated anew at once.
    Restart,
}

/// `encap`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EncapChoice {
    /// UDP encapsulation when a NAT is found.
    Auto,
    /// Always: NAT detection is told a lie (RFC 7296 §2.23), which makes both sides encapsulate.
    Force,
}

/// `send_cert`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendCert {
    /// Whether the peer asked for it or not.
    Always,
    /// Only on a CERTREQ.
    IfAsked,
    /// Never: the peer has it.
    Never,
}

/// `unique`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unique {
    /// Any number of IKE SAs; INITIAL_CONTACT neither sent nor heeded.
    Never,
    /// A peer's INITIAL_CONTACT removes its older IKE SAs.
    No,
    /// A new IKE SA replaces the older ones.
    Replace,
    /// The older one stays, the new one is refused.
    Keep,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_not_sent_what_it_has() {
        let certificate =
            |n: u8| Certificate { der: [n].as_slice().into(), subject: "CN=x".into(), spki_sha1: [n; 20] };
        let certs: Vec<_> = (1..=3).map(certificate).collect();
        let local = LocalAuth { method: AuthMethod::Pubkey, id: None, certs, pubkey: None };
        assert_eq!(local.certs_for(&[]).len(), 3, "no request");
        assert_eq!(local.certs_for(&[[9; 20]]).len(), 3, "the root, which we do not send");
        assert_eq!(local.certs_for(&[[3; 20]]).len(), 2, "it has our second intermediate");
        assert_eq!(local.certs_for(&[[9; 20], [2; 20]]).len(), 1, "it has the one above ours");
        assert_eq!(local.certs_for(&[[1; 20]]).len(), 3, "our own certificate is always sent");
    }
}
