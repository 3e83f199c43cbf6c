//! Establishing an IKE SA and its first child SA (RFC 7296 §1.2).
//!
//! ```text
//!   initiator                                              responder
//!
//!   AwaitInit         IKE_SA_INIT  SAi1 KEi Ni N… -->
//!                            <-- N(COOKIE), N(INVALID_KE_PAYLOAD): once more
//!                            <-- N(COOKIE) N(PUZZLE): see initiator_puzzle, responder_puzzle
//!                            <--  SAr1 KEr Nr N… [CERTREQ]   HalfOpen
//!   Mixing    (IKE_INTERMEDIATE, where additional key exchanges or PPKs are agreed on: see initiator_intermediate)
//!   Consulting (post-quantum pre-shared keys, where they are agreed on: see initiator_ppk)
//!   Proving   (our AUTH is made)
//!   AwaitAuth   IKE_AUTH  SK{IDi [CERT…] [CERTREQ] [IDr]
//!                            AUTH SAi2 TSi TSr N…} -->
//!                                                          Checking   (the peer's AUTH is checked)
//!                                                          Leasing    (an address for it, where it asks)
//!                                                          Proving    (our AUTH is made)
//!                                                          Established (the child SA is installed, then)
//!                            <--  SK{IDr [CERT…] AUTH SAr2 TSi TSr N…}
//!   Checking    (the peer's AUTH is checked)
//!   Established (the child SA is installed)
//! ```
//! Where a side authenticates twice (RFC 4739), another IKE_AUTH exchange follows, and the child SA and all else that the last
//! response has comes with it: see initiator_second, responder_second.
//! An IKE SA that is resumed (RFC 5723) begins with IKE_SESSION_RESUME in place of IKE_SA_INIT, and makes and checks AUTH
//! by itself: see initiator_resume, responder_resume.

mod init;
mod initiator_auth;
mod initiator_check;
mod initiator_init;
mod initiator_intermediate;
mod initiator_ppk;
mod initiator_puzzle;
mod initiator_resume;
mod initiator_second;
mod responder_auth;
mod responder_check;
mod responder_init;
mod responder_intermediate;
mod responder_lease;
mod responder_ppk;
mod responder_prove;
mod responder_puzzle;
mod responder_resume;
mod responder_second;
mod rivals;
mod secrets;

use crate::contents::Contents;
use crate::ext::PpkWay;
use crate::ike_sa::{Chosen, IkeSa, Wish};
use crate::{Again, Common, Cx, Origin, limits, redirect, resume};
use base::Instant;
use policy::{AuthMethod, Connection, Identity, Round, SendCert};
pub(crate) use responder_init::knock;
use sa::{IkeSaId, Path, Reason, Refusal, RefusalKind};
pub(crate) use secrets::{Secrets, Transcript, ciphers};
use wire::num::{CertEncoding, NotifyType};
use wire::{CertRequest, Certificate, Payload};

/// Begins an IKE SA: by a ticket, where there is one. An error says what our own side lacks.
pub(crate) fn initiate(
    cx: &mut Cx<'_>,
    id: IkeSaId,
    chosen: Chosen,
    path: Path,
    wanted: (Vec<Wish>, Origin),
) -> Result<IkeSa, Refusal> {
    match resume::ticket_for(cx, &chosen, path, &wanted.1) {
        Some(held) => Ok(initiator_resume::initiate(cx, id, chosen, path, (wanted, held))),
        None => initiator_init::initiate(cx, id, chosen, path, wanted),
    }
}

/// Who we are on this path.
fn local_identity(connection: &Connection, sa: &Common) -> Identity {
    connection.local.id.clone().unwrap_or_else(|| match sa.path.local.ip() {
        std::net::IpAddr::V4(a) => Identity::Ipv4(a),
        std::net::IpAddr::V6(a) => Identity::Ipv6(a),
    })
}

/// Who we are in that round, where we are `first` in the first one.
fn identity_in(connection: &Connection, round: Round, first: &Identity) -> Identity {
    match round {
        Round::First => first.clone(),
        Round::Second => connection.local2.as_ref().and_then(|own| own.id.as_ref()).unwrap_or(first).clone(),
    }
}

/// Our CERT payloads of that round, where they are due: our chain, or our public key as it is. `asked`: the peer has sent a
/// CERTREQ.
fn cert_payloads(connection: &Connection, round: Round, asked: bool) -> Vec<Payload<'static>> {
    let due = match connection.send_cert {
        SendCert::Always => true,
        SendCert::IfAsked => asked,
        SendCert::Never => false,
    };
    let local = connection.local_auth(round).filter(|local| due && local.method == AuthMethod::Pubkey);
    let Some(local) = local else { return Vec::new() };
    //= rfc7296 §3.6
    //# if a certificate chain is sent […] the first one MUST contain the public key used to sign AUTH
    let chain = local.certs.iter().map(|cert| (CertEncoding::X509_SIGNATURE, cert.der.to_vec()));
    let key = local.pubkey.iter().map(|key| (CertEncoding::RAW_PUBLIC_KEY, key.spki.to_vec()));
    let payload = |(encoding, data): (_, Vec<u8>)| Payload::Cert(Certificate { encoding, data: data.into() });
    chain.chain(key).map(payload).collect()
}

/// Which rounds of authentication there are, and which one is under way.
#[derive(Clone, Copy, Debug)]
struct Rounds {
    now: Round,
    /// We go through a second one.
    ours: bool,
    /// The peer does.
    theirs: bool,
}

impl Rounds {
    /// The first one; `theirs`: the peer has announced another one.
    fn first(connection: &Connection, secrets: &Secrets, theirs: bool) -> Self {
        // An IKE SA that is resumed rests on all rounds of the one before.
        let ours = connection.local2.is_some() && secrets.former.is_none();
        Self { now: Round::First, ours, theirs }
    }

    /// Whether another one follows.
    fn follows(self) -> bool {
        self.now == Round::First && (self.ours || self.theirs)
    }

    /// Whether we authenticate in the present one.
    fn is_ours(self) -> bool {
        self.now == Round::First || self.ours
    }
}

/// Of a peer that goes on and on.
const THIRD_ROUND: &str = "The peer announces a third authentication, and two are the most that a connection here can want (`remote`, `remote2`).";

/// What a message of IKE_AUTH may not have before its last round.
fn has_child_payloads(contents: &Contents<'_>) -> bool {
    let Contents { sa, ts_i, ts_r, cp, .. } = contents;
    sa.is_some() || ts_i.is_some() || ts_r.is_some() || !cp.is_empty()
}

/// The CERTREQ payloads where they are due: with the authorities of these connections, so many of them as may be, and for
/// public keys as they are.
//= rfc7296 §3.7
//# The Certification Authority value is a concatenated list of SHA-1 hashes of the public keys of trusted CAs
fn cert_requests<'a>(connections: impl Iterator<Item = &'a Connection>) -> Vec<Payload<'static>> {
    let mut raw = false;
    let mut hashes: Vec<[u8; 20]> = Vec::new();
    let remotes = connections.filter(|connection| connection.send_certreq).flat_map(Connection::remotes);
    for remote in remotes.filter(|remote| remote.method == AuthMethod::Pubkey) {
        raw |= !remote.pubkeys.is_empty();
        for authority in &remote.authorities {
            if hashes.len() < limits::MAX_AUTHORITIES && !hashes.contains(&authority.spki_sha1) {
                hashes.push(authority.spki_sha1);
            }
        }
    }
    let x509 = (!hashes.is_empty()).then(|| (CertEncoding::X509_SIGNATURE, hashes.concat()));
    //= rfc7670 §3
    //# the Certification Authority field MUST be empty if the "Raw Public Key" certificate encoding is used
    let raw = raw.then(|| (CertEncoding::RAW_PUBLIC_KEY, Vec::new()));
    let request = |(encoding, authorities): (_, Vec<u8>)| {
        Payload::CertReq(CertRequest { encoding, authorities: authorities.into() })
    };
    x509.into_iter().chain(raw).map(request).collect()
}

/// A proof that fails may fail for the PPK that was mixed into what it covers (RFC 8784).
fn with_ppk(reason: String, secrets: &Secrets) -> String {
    let ppk = &secrets.agreed.ppk;
    match (ppk.way, ppk.id()) {
        (PpkWay::Auth, Some(id)) => {
            format!(
                "{reason}; or the PPK `{id}` is another key at the peer: compare its secret on both sides"
            )
        }
        _ => reason,
    }
}

/// Something that must come until a moment.
#[derive(Clone, Copy, Debug)]
struct Deadline(Instant);

impl Deadline {
    fn is_over(self, cx: &Cx<'_>) -> bool {
        cx.now.mono >= self.0
    }

    fn wake(self) -> Option<(Instant, Reason)> {
        Some((self.0, Reason::Expire))
    }
}

/// Whether a notification of this type is one of the few that end an IKE SA in IKE_AUTH (RFC 7296 §2.21.2).
fn is_fatal(kind: NotifyType) -> bool {
    matches!(
        kind,
        NotifyType::AUTHENTICATION_FAILED
            | NotifyType::INVALID_SYNTAX
            | NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD
    )
}

/// The peer has seen a NAT where we allow none, unless somebody has altered the one message that told it so: whether it is
/// asked once more.
//= rfc4555 §3.9
//# if the initiator receives UNEXPECTED_NAT_DETECTED in the IKE_AUTH exchange, it SHOULD retry IKE_SA establishment several
//# times, starting from a new IKE_SA_INIT request.
fn begin_after_nat(sa: &mut Common, cx: &mut Cx<'_>, connection: &str) -> bool {
    let peer = sa.path.remote.ip();
    let path = redirect::path_to(sa.path, peer).filter(|_| sa.origin.nat_setbacks < limits::NAT_RETRIES);
    if let Some(path) = path {
        cx.note(sa.id, format!("The peer {peer} sees a NAT where we allow none: beginning again."));
        let mut origin = std::mem::take(&mut sa.origin);
        origin.nat_setbacks += 1;
        let wishes = std::mem::take(&mut sa.wishes);
        cx.again.push(Again { connection: connection.to_string(), path, gateway: None, wishes, origin });
    }
    path.is_some()
}

/// The peer answered AUTHENTICATION_FAILED: what that can mean on our side.
pub(crate) fn not_accepted(
    connection: &Connection,
    (round, local): (Round, &Identity),
    ppk: Option<&str>,
) -> Refusal {
    let ppk = ppk.map_or(String::new(), |id| {
        format!(" Or the PPK `{id}` is not known there, or is another key: compare its secret on both sides.")
    });
    let proof = match connection.local_auth(round).unwrap_or(&connection.local).method {
        AuthMethod::Psk => "the pre-shared key",
        AuthMethod::Pubkey => "our certificate and the authorities that the peer trusts",
    };
    let again = if round == Round::Second { " in the second round" } else { "" };
    Refusal {
        kind: RefusalKind::AuthenticationFailed,
        by_peer: true,
        connection: Some(connection.name.clone()),
        reason: format!(
            "The peer did not accept that we are `{local}`{again}, or has no connection for us: compare {proof} and the \
             identities on both sides.{ppk} Its log knows more."
        ),
    }
}

/// Goes over to port 4500, where ESP can pass a NAT.
//= rfc7296 §2.23
//# If […] NAT is detected, the initiator MUST switch to port 4500 [for IKE_AUTH]
//= rfc4555 §3.3
//# implementations that support both this specification and NAT Traversal MUST change to port 4500 if the correspondent
//# also supports both, even if no NAT was detected between them
fn float(sa: &mut Common, cx: &mut Cx<'_>, secrets: &Secrets, mobike: bool) {
    let nat = secrets.agreed.nat;
    if sa.path.marked || !(nat.encapsulates() || mobike && nat.supported) {
        return;
    }
    let who = match (nat.local, nat.remote) {
        // A peer that forces UDP encapsulation looks like one behind a NAT.
        (true, true) => "We are behind a NAT; the peer is too, or forces UDP encapsulation",
        (true, false) => "We are behind a NAT",
        (false, true) => "The peer is behind a NAT, or forces UDP encapsulation",
        (false, false) if nat.forced => "UDP encapsulation is forced",
        (false, false) => "A later path may pass a NAT (RFC 4555)",
    };
    for address in [&mut sa.path.local, &mut sa.path.remote] {
        if address.port() == limits::IKE_PORT {
            address.set_port(limits::NAT_PORT);
        }
    }
    sa.path.marked = true;
    let what = if nat.encapsulates() { "and ESP go" } else { "goes" };
    cx.note(sa.id, format!("{who}: IKE {what} over UDP port {} from now on.", sa.path.remote.port()));
}
