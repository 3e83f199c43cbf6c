//! Slow or privileged work. The core asks by [`crate::Act::Job`] and hears by
//! [`crate::Cause::Done`]; a late answer finds nobody.

use crate::{LeaseRequest, Path, Puzzle, Received};
use base::{Secret, WallClock};
use dataplane::Outcome;
use policy::{AddressPattern, Certificate, ConnectionId, IdPattern, Identity, Leased, Round};
use std::net::IpAddr;
use std::sync::Arc;
use wire::num::Prf;

/// Names a job; never used twice by one endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct JobId(pub u64);

/// The octets that an AUTH payload covers (RFC 7296 §2.15): the signer's IKE_SA_INIT message, the
/// other's nonce, and `prf(SK_p, ID payload without its header)`, concatenated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOctets(pub Arc<[u8]>);

/// A way to prove an identity that the peer announces to take (RFC 9593 §3.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnouncedAuth {
    /// The number of its authentication method (registry "IKEv2 Authentication Method").
    pub method: u8,
    /// With method 14 the AlgorithmIdentifier of the signature, in DER as the peer wrote it; else empty.
    pub algorithm: Vec<u8>,
}

/// Work for whoever holds private keys, PSKs and trust anchors, and has time, or knows the routes.
#[derive(Clone, Debug)]
pub enum Job {
    /// Make our AUTH value.
    Prove {
        /// For which connection.
        connection: ConnectionId,
        /// What it is called. After a reload another connection may have that id: the name decides.
        name: String,
        /// In which round.
        round: Round,
        /// Who we say we are.
        local: Identity,
        /// Who the peer says it is (or is expected to be); selects the PSK.
        remote: Option<Identity>,
        /// The IKE SA's PRF: a PSK proof is made with it.
        prf: Prf,
        /// What is proven.
        octets: SignedOctets,
        /// The hashes of the peer's SIGNATURE_HASH_ALGORITHMS, in its order (registry "IKEv2 Hash
        /// Algorithms"); empty: RFC 7427 is not supported, use methods 1 and 9 to 11.
        peer_hashes: Vec<u16>,
        /// The peer's SUPPORTED_AUTH_METHODS, in its order; empty: it does not say.
        peer_methods: Vec<AnnouncedAuth>,
    },
    /// Check the peer's AUTH value.
    Check {
        /// For which connection.
        connection: ConnectionId,
        /// What it is called. After a reload another connection may have that id: the name decides.
        name: String,
        /// In which round.
        round: Round,
        /// Who we are; selects the PSK.
        local: Identity,
        /// Who the peer says it is.
        remote: Identity,
        /// Who it must be.
        wanted: IdPattern,
        /// The IKE SA's PRF.
        prf: Prf,
        /// What is proven.
        octets: SignedOctets,
        /// Its proof.
        proof: PeerProof,
        /// For validity periods.
        wall: WallClock,
    },
    /// Mix post-quantum pre-shared keys into keys (RFC 8784, RFC 9867). The PPKs themselves stay where they are kept.
    Ppk(PpkRequest),
    /// Solve a puzzle (RFC 8019 §7.1.3): seconds of a core.
    Puzzle {
        /// The PRF, and the number of zero bits; never 0 here.
        puzzle: Puzzle,
        /// What the PRF is computed of.
        string: Vec<u8>,
    },
    /// Look up from which of our addresses each of these is reached, past our own tunnels.
    Route {
        /// Addresses of a peer.
        remotes: Vec<IpAddr>,
    },
    /// Find the path to initiate a connection on: the peer's address by DNS, ours by the routing table. Asked anew for
    /// each attempt, since both change.
    Resolve {
        /// The connection, for people.
        name: String,
        /// Its `local_addrs`.
        local: Vec<AddressPattern>,
        /// Its `remote_addrs`.
        remote: Vec<AddressPattern>,
    },
    /// Give a peer addresses (RFC 7296 §2.19). They are held in the name of this job.
    Lease(Box<LeaseRequest>),
    /// What that job was given is held no more. Right also when its answer has not come.
    Release(JobId),
    /// Let this host resolve names as a peer said, in the name of this job.
    UseResolver {
        /// The connection's name, for people.
        connection: String,
        /// What it said.
        received: Arc<Received>,
    },
    /// Resolve names as before that job.
    DropResolver(JobId),
}

impl Job {
    /// Its name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Job::Prove { .. } => "Prove",
            Job::Check { .. } => "Check",
            Job::Ppk(_) => "Ppk",
            Job::Puzzle { .. } => "Puzzle",
            Job::Route { .. } => "Route",
            Job::Resolve { .. } => "Resolve",
            Job::Lease(_) => "Lease",
            Job::Release(_) => "Release",
            Job::UseResolver { .. } => "UseResolver",
            Job::DropResolver(_) => "DropResolver",
        }
    }
}

/// Octets of a PPK Confirmation (RFC 9867 §3.1).
pub const PPK_CONFIRMATION: usize = 8;

/// Octets of a [`MixedPpk::print`].
pub const PPK_PRINT: usize = 8;

/// What is wanted of post-quantum pre-shared keys.
#[derive(Clone, Debug)]
pub struct PpkRequest {
    /// The IKE SA's PRF.
    pub prf: Prf,
    /// The PPKs in question, the best first: their identities, and what the peer has computed of them to show that it has the
    /// same, where it has.
    pub wanted: Vec<(Arc<str>, Option<[u8; PPK_CONFIRMATION]>)>,
    /// What a confirmation is computed of: `Ni | Nr | SPIi | SPIr`; in CREATE_CHILD_SA `Ni | SPIi | SPIr`.
    pub confirmed: Vec<u8>,
    /// The keys that they are mixed into: `prf+ (PPK, key)` of each is the answer.
    pub keys: Vec<Secret>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct PpkAnswer {
    /// Those that are here, in the order of the request.
    pub found: Vec<MixedPpk>,
    /// Those that are here, but as other keys than the peer has under the same identity.
    pub mismatched: Vec<Arc<str>>,
}

/// A post-quantum pre-shared key that is here, by what is computed of it.
#[derive(Clone, Debug)]
pub struct MixedPpk {
    /// Its identity.
    pub id: Arc<str>,
    /// The first octets of `prf(PPK, confirmed)`.
    pub confirmation: [u8; PPK_CONFIRMATION],
    /// The same under the same PRF as long as the key is, and another one when it is replaced. It shows nothing of the key, and is
    /// for nobody else.
    pub print: [u8; PPK_PRINT],
    /// `prf+ (PPK, key)` of each key of the request.
    pub keys: Vec<Secret>,
}

/// What a peer sent to prove its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerProof {
    /// The Auth Method octet of its AUTH payload.
    pub method: u8,
    /// The Authentication Data, including RFC 7427's AlgorithmIdentifier with method 14.
    pub data: Vec<u8>,
    /// Its CERT payloads of encoding 4 (X.509 signature), in order, the end entity first.
    pub certs: Vec<Vec<u8>>,
    /// Its first CERT payload of encoding 15 (RFC 7670): a SubjectPublicKeyInfo.
    pub raw_key: Option<Vec<u8>>,
    /// Its CERT payloads of encoding 14 (RFC 4806): OCSP responses.
    pub ocsp: Vec<Vec<u8>>,
}

/// An AUTH value that we made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthProof {
    /// The Auth Method octet.
    pub method: u8,
    /// The Authentication Data.
    pub data: Vec<u8>,
}

/// What somebody proves an identity with, for people: `pre-shared key`, `ECDSA P-256`, `ML-DSA-65`.
pub type Means = Arc<str>;

/// How the peer has proved who it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Its certificate, if it used one.
    pub certificate: Option<Certificate>,
    /// By what.
    pub by: Means,
    /// SHA-1 of its public key, if it signed: two rounds want two keys.
    pub key: Option<[u8; 20]>,
}

/// An identity that was proven in a round of authentication.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proven {
    /// Whose.
    pub id: Identity,
    /// By what.
    pub by: Means,
}

/// What came of a job or of an operation of the data plane.
#[derive(Debug)]
pub enum Answer {
    /// Our AUTH value, and by what it proves who we are.
    Proved(AuthProof, Means),
    /// The peer is who it says.
    Verified(Verified),
    /// What post-quantum pre-shared keys have given.
    Ppk(PpkAnswer),
    /// Four keys that solve a puzzle, for the PS payload.
    Puzzle(Vec<u8>),
    /// It could not be made, or the peer is not who it says.
    Refused(TrustRefusal),
    /// Where to initiate, or a sentence that says why that is not known.
    Resolved(Result<Path, String>),
    /// What was given to the peer; nothing when nothing is left.
    Leased(Vec<Leased>),
    /// A job that has nothing to say is done.
    Done,
    /// For each address asked for, in the same order, ours that leads there; `None`: there is no route.
    Routes(Vec<(IpAddr, Option<IpAddr>)>),
    /// Of the data plane.
    Dataplane(Outcome),
}

/// Why trust refused, in plain words. Never goes to the peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustRefusal {
    /// Whether it is our own side that lacks something (a key, a PSK), rather than the peer's proof that fails.
    pub ours: bool,
    /// One sentence: what was offered, what was wanted, what to change.
    pub reason: String,
}
