//! Two ends that prove and check against each other.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use base::{Secret, WallClock};
use crypto::{SigningKey, Suite};
use policy::{
    AddressPattern, AuthMethod, Certificate, Configuration, Connection, ConnectionId, EncapChoice,
    Extensions, IdPattern, Identity, IkeLifetime, LocalAuth, Policy, RemoteAuth, Round, SendCert, Unique,
};
use provider::Provider;
use sa::{Answer, AuthProof, Job, PeerProof, SignedOctets, TrustRefusal};
use std::sync::Arc;
use std::time::Duration;
use testcerts::EndEntity;
use trust::{Secrets, Trust, certificate};
use wire::num::Prf;

/// 2026-09-21; every certificate of `testcerts` is valid then.
pub const NOW: WallClock = WallClock(1_790_000_000);

/// The hashes that a modern peer announces: SHA2-256, 384, 512, Identity.
pub const HASHES: &[u16] = &[2, 3, 4, 5];

pub fn fqdn(name: &str) -> Identity {
    Identity::Fqdn(name.into())
}

pub fn dn(text: &str) -> Identity {
    Identity::Dn(trust::dn_from_text(text).unwrap())
}

pub fn cert(der: &[u8]) -> Certificate {
    certificate(&Provider::new(), der).unwrap()
}

pub fn load(der: &[u8]) -> Arc<dyn SigningKey> {
    Arc::from(provider::load_private_key(der).unwrap())
}

pub fn octets() -> SignedOctets {
    SignedOctets(b"IKE_SA_INIT message, nonce, prf(SK_p, ID)".as_slice().into())
}

pub fn psk_remote() -> RemoteAuth {
    RemoteAuth {
        method: AuthMethod::Psk,
        id: IdPattern::Any,
        certs: vec![],
        authorities: vec![],
        pubkeys: Vec::new(),
        revocation: policy::Revocation::default(),
    }
}

pub fn trusting(authorities: &[&[u8]]) -> RemoteAuth {
    let authorities = authorities.iter().map(|der| cert(der)).collect();
    RemoteAuth {
        method: AuthMethod::Pubkey,
        id: IdPattern::Any,
        certs: vec![],
        authorities,
        pubkeys: Vec::new(),
        revocation: policy::Revocation::default(),
    }
}

pub fn pinning(certs: &[&[u8]]) -> RemoteAuth {
    let certs = certs.iter().map(|der| cert(der)).collect();
    RemoteAuth {
        method: AuthMethod::Pubkey,
        id: IdPattern::Any,
        certs,
        authorities: vec![],
        pubkeys: Vec::new(),
        revocation: policy::Revocation::default(),
    }
}

fn connection(local: LocalAuth, remote: RemoteAuth) -> Connection {
    Connection {
        name: "site".into(),
        local_addrs: vec![AddressPattern::Any],
        remote_addrs: vec![AddressPattern::Any],
        proposals: policy::default_ike(),
        local,
        remote,
        local2: None,
        remote2: None,
        children: vec![],
        encap: EncapChoice::Auto,
        fragmentation: true,
        fragment_size: 1280,
        send_cert: SendCert::Always,
        send_certreq: true,
        dpd_delay: Duration::ZERO,
        dpd_timeout: Duration::ZERO,
        lifetime: IkeLifetime::default(),
        keyingtries: 0,
        retry_interval: Duration::from_secs(10),
        mobike: true,
        window: 1,
        configuration: Configuration::default(),
        extensions: Extensions::default(),
        unique: Unique::No,
        weak: vec![],
    }
}

pub fn trust_with(local: LocalAuth, remote: RemoteAuth, secrets: Secrets) -> Trust {
    let policy = Policy::of([connection(local, remote)]);
    Trust::new(Arc::new(policy), Arc::new(Provider::new()) as Arc<dyn Suite>, secrets)
}

/// An end that proves with `entity`'s key.
pub fn prover(entity: &EndEntity) -> Trust {
    let mut secrets = Secrets::new();
    secrets.add_key(load(&entity.key));
    let certs = entity.chain.iter().map(|der| cert(der)).collect();
    trust_with(LocalAuth { method: AuthMethod::Pubkey, id: None, certs, pubkey: None }, psk_remote(), secrets)
}

/// An end that checks its peer as `remote` says.
pub fn checker(remote: RemoteAuth) -> Trust {
    let local = LocalAuth { method: AuthMethod::Psk, id: None, certs: vec![], pubkey: None };
    trust_with(local, remote, Secrets::new())
}

/// An end that has the pre-shared key `secret` for `ids`.
pub fn sharing(ids: &[&str], secret: &str) -> Trust {
    let mut secrets = Secrets::new();
    secrets.add_psk(ids.iter().map(|id| IdPattern::Is(fqdn(id))).collect(), Secret::from(secret.as_bytes()));
    let local = LocalAuth { method: AuthMethod::Psk, id: None, certs: vec![], pubkey: None };
    trust_with(local, psk_remote(), secrets)
}

pub fn prove_job(local: Identity, remote: Option<Identity>, hashes: &[u16]) -> Job {
    Job::Prove {
        connection: ConnectionId(0),
        name: "site".to_string(),
        round: Round::First,
        local,
        remote,
        prf: Prf::HMAC_SHA2_256,
        octets: octets(),
        peer_hashes: hashes.to_vec(),
        peer_methods: vec![],
    }
}

pub fn proof(trust: &Trust, hashes: &[u16]) -> Result<AuthProof, TrustRefusal> {
    match trust.answer(&prove_job(fqdn("peer"), Some(fqdn("us")), hashes)) {
        Answer::Proved(proof, _) => Ok(proof),
        Answer::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// A check of `proof` with `certs`, by the peer that claims `remote`.
#[derive(Clone)]
pub struct Claim {
    pub remote: Identity,
    pub wanted: IdPattern,
    pub proof: AuthProof,
    pub certs: Vec<Vec<u8>>,
    pub ocsp: Vec<Vec<u8>>,
    pub wall: WallClock,
}

impl Claim {
    /// By the owner of `entity`, made with its key, under the identity `remote`.
    pub fn by(entity: &EndEntity, remote: Identity) -> Self {
        let proof = proof(&prover(entity), HASHES).unwrap();
        Claim { remote, wanted: IdPattern::Any, proof, certs: entity.chain.clone(), ocsp: vec![], wall: NOW }
    }

    pub fn job(&self) -> Job {
        Job::Check {
            connection: ConnectionId(0),
            name: "site".to_string(),
            round: Round::First,
            local: fqdn("us"),
            remote: self.remote.clone(),
            wanted: self.wanted.clone(),
            prf: Prf::HMAC_SHA2_256,
            octets: octets(),
            proof: PeerProof {
                method: self.proof.method,
                data: self.proof.data.clone(),
                certs: self.certs.clone(),
                raw_key: None,
                ocsp: self.ocsp.clone(),
            },
            wall: self.wall,
        }
    }

    pub fn check(&self, trust: &Trust) -> Result<Option<Certificate>, TrustRefusal> {
        match trust.answer(&self.job()) {
            Answer::Verified(verified) => Ok(verified.certificate),
            Answer::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    /// The refusal's text, which must be about the peer's proof.
    pub fn refused(&self, trust: &Trust) -> String {
        let refusal = self.check(trust).expect_err("a refusal");
        assert!(!refusal.ours, "{}", refusal.reason);
        assert!(!refusal.reason.chars().any(char::is_control), "{}", refusal.reason);
        refusal.reason
    }
}
