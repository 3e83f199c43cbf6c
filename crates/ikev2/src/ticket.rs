//! Tickets by value (RFC 5723): what a gateway needs to take an IKE SA up again, sealed with a key that only it has.
//!
//! ```text
//!   version (1) | 0 (3) | key id (8) | seed (16) | sealed: the state | integrity check value
//! ```
//! The key id names the period whose key it is. Each ticket is sealed with a key of its own, made from that of the period
//! and the seed, so that no nonce can come twice under a key.

use crate::contents::{identification, identity};
use crate::ext::UsedPpk;
use crate::{Cx, limits};
use base::{IkeSpi, Secret, WallClock};
use crypto::{Cipher, Spis, prf_plus};
use policy::{Additional, AuthMethod, Connection, Identity, IkeSuite};
use sa::{Proven, TICKET_SECRET};
use std::time::Duration;
use wire::Identification;
use wire::num::{Encr, IdType, Integ, KeMethod, Prf};

/// The format; the keys of another one are other keys.
const VERSION: u8 = 3;

/// What tickets are sealed with, whatever the IKE SA uses.
const ENCR: (Encr, u16) = (Encr::AES_GCM_16, 256);

/// What keys and marks are made with.
const PRF: Prf = Prf::HMAC_SHA2_256;

const HEAD: usize = 4 + 8;
const SEED: usize = 16;
const MARK: usize = 16;

/// What is left of an IKE SA that both sides have lost, or of which a ticket tells.
//= rfc5723 §4.2
//# Since the ticket itself is opaque to the client, the local storage MUST also include all items marked as "from the
//# ticket" in the table of Section 5.
#[derive(Clone, Debug)]
pub(crate) struct Former {
    pub(crate) suite: IkeSuite,
    pub(crate) sk_d: Secret,
    pub(crate) spis: Spis,
    /// Who we were.
    pub(crate) local: Identity,
    /// Who the peer was.
    pub(crate) remote: Identity,
    /// How the peer has proved it.
    pub(crate) method: AuthMethod,
    /// How long ago both have.
    pub(crate) age: Duration,
    /// The PPK that was mixed into its keys last (RFC 8784, RFC 9867).
    pub(crate) ppk: Option<UsedPpk>,
    /// What we have proved, round by round.
    pub(crate) ours: Vec<Proven>,
    /// What the peer has.
    pub(crate) theirs: Vec<Proven>,
}

/// What a ticket holds.
//= rfc5723 §6.1
//# When the state is passed by value, the ticket MUST encode all state information marked "from the ticket" in the table on
//# Section 5.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// The connection's name.
    pub(crate) connection: String,
    /// See [`mark`].
    pub(crate) mark: Vec<u8>,
    pub(crate) former: Former,
}

/// Seals a ticket that serves for `lifetime`; `None` when it would be too large, or this build cannot.
//= rfc5723 §6.1
//# When passing a "ticket by value" to the client, the ticket content MUST be integrity protected and encrypted.
//= rfc5723 §6.1
//# The "ticket by value" MUST additionally include a key identity field, so that keys for ticket encryption and
//# authentication can be changed
pub(crate) fn seal(
    cx: &mut Cx<'_>,
    secret: &Secret<[u8; TICKET_SECRET]>,
    ticket: &Ticket,
    lifetime: Duration,
) -> Option<Vec<u8>> {
    let wall = cx.now.wall;
    let mut head = vec![VERSION, 0, 0, 0];
    head.extend(period(wall).to_be_bytes());
    head.extend(cx.random(SEED));
    let cipher = cipher(cx, secret, &head)?;
    let spec = cipher.spec();
    let mut data = emit(ticket, wall, lifetime)?;
    let (iv, mut icv) = (vec![0; spec.iv_len], vec![0; spec.icv_len]);
    cipher.seal(&iv, &head, &mut data, &[], &mut icv);
    let sealed = [head, data, icv].concat();
    (sealed.len() <= limits::MAX_TICKET).then_some(sealed)
}

/// Opens a ticket that somebody shows; the error is the end of a sentence that begins with "its ticket".
//= rfc5723 §9.9
//# The "ticket by value" MUST have its integrity and confidentiality protected with strong cryptographic techniques
pub(crate) fn open(
    cx: &Cx<'_>,
    secret: &Secret<[u8; TICKET_SECRET]>,
    sealed: &[u8],
) -> Result<Ticket, &'static str> {
    const FOREIGN: &str = "was not made here, or with a secret that is gone";
    let wall = cx.now.wall;
    if sealed.len() > limits::MAX_TICKET {
        return Err(FOREIGN);
    }
    let (head, rest) = sealed.split_at_checked(HEAD + SEED).ok_or(FOREIGN)?;
    let (id, _) = head.get(4..).and_then(<[u8]>::split_first_chunk).ok_or(FOREIGN)?;
    let period = period(wall);
    if head.first() != Some(&VERSION) {
        return Err(FOREIGN);
    }
    // The key of the period before serves as long as any ticket that was made with it.
    if ![Some(period), period.checked_sub(1)].contains(&Some(u64::from_be_bytes(*id))) {
        return Err("was made with a key that is no longer used");
    }
    let cipher = cipher(cx, secret, head).ok_or(FOREIGN)?;
    let spec = cipher.spec();
    let (data, icv) = rest.split_at_checked(rest.len().saturating_sub(spec.icv_len)).ok_or(FOREIGN)?;
    let mut data = Secret::from(data);
    let iv = vec![0; spec.iv_len];
    cipher.open(&iv, head, data.expose_mut(), &[], icv).map_err(|_| FOREIGN)?;
    let (ticket, expires) = parse(data.expose(), wall).ok_or(FOREIGN)?;
    //= rfc5723 §6.1
    //# A "ticket by value" MUST include a protected expiration time, which is an absolute time value
    if wall >= expires {
        return Err("is out of date");
    }
    Ok(ticket)
}

/// What stands for all that lets a peer of this connection in: who both are, how the peer proves it, and the PPKs. A ticket does
/// not outlive a change of that.
pub(crate) fn mark(
    cx: &Cx<'_>,
    secret: &Secret<[u8; TICKET_SECRET]>,
    connection: &Connection,
) -> Option<Vec<u8>> {
    let Connection { name, local, remote, local2, remote2, extensions, .. } = connection;
    let mut print =
        format!("{name:?} {local:?} {remote:?} {local2:?} {remote2:?} {:?}", extensions.ppk).into_bytes();
    // The printed form of a certificate is its subject only.
    let own = connection.locals().flat_map(|local| &local.certs);
    let others = connection.remotes().flat_map(|remote| remote.certs.iter().chain(&remote.authorities));
    own.chain(others).for_each(|cert| print.extend(&*cert.der));
    // That of a public key is its beginning.
    let own = connection.locals().flat_map(|local| &local.pubkey);
    let others = connection.remotes().flat_map(|remote| &remote.pubkeys);
    own.chain(others).for_each(|key| print.extend(&*key.spki));
    let mut mark = cx.suite.prf(PRF)?.compute(secret.expose(), &[b"mark of a connection", &print]);
    let octets = std::mem::take(mark.expose_mut());
    Some(octets.into_iter().take(MARK).collect())
}

/// Which period a moment is in.
//= rfc5723 §6.2
//# The key that is used to protect the ticket MUST have a lifetime that is significantly longer than the lifetime of an IKE SA.
fn period(wall: WallClock) -> u64 {
    wall.0 / limits::TICKET_KEY_LIFE.as_secs()
}

/// The cipher of one ticket, whose octets before the encryption are `head`.
fn cipher(cx: &Cx<'_>, secret: &Secret<[u8; TICKET_SECRET]>, head: &[u8]) -> Option<Box<dyn Cipher>> {
    let (id, seed) = head.split_at_checked(HEAD)?;
    let prf = cx.suite.prf(PRF)?;
    let of_period = prf.compute(secret.expose(), &[b"key of a period", id]);
    let spec = cx.suite.cipher_spec(ENCR.0, ENCR.1, Integ::NONE)?;
    let key = prf_plus(prf, of_period.expose(), &[seed], spec.encr_key_len).ok()?;
    cx.suite.cipher(ENCR.0, ENCR.1, Integ::NONE, key.expose(), &[]).ok()
}

/// The state, before it is sealed; `None` when something in it is longer than its place.
fn emit(ticket: &Ticket, wall: WallClock, lifetime: Duration) -> Option<Vec<u8>> {
    let Ticket { connection, mark, former } = ticket;
    let Former { suite, sk_d, spis, local, remote, method, age, ppk, ours, theirs } = former;
    let expires = wall.0.saturating_add(lifetime.as_secs());
    let proven = wall.0.saturating_sub(age.as_secs());
    let mut out = Vec::new();
    for long in [expires, proven, spis.initiator.0, spis.responder.0] {
        out.extend(long.to_be_bytes());
    }
    let IkeSuite { encr, key_bits, integ, prf, ke, additional } = suite;
    let algorithms = [encr.0, *key_bits, integ.0, prf.0, ke.0];
    for short in algorithms.into_iter().chain(additional.0.map(|ke| ke.0)) {
        out.extend(short.to_be_bytes());
    }
    out.push(match method {
        AuthMethod::Psk => 0,
        AuthMethod::Pubkey => 1,
    });
    let (local, remote) = (identification(local), identification(remote));
    out.extend([local.kind.0, remote.kind.0]);
    let ppk = ppk.as_ref().map_or(Vec::new(), |ppk| [&ppk.print, ppk.id.as_bytes()].concat());
    let (ours, theirs) = (emit_proven(ours)?, emit_proven(theirs)?);
    for field in [connection.as_bytes(), mark, &local.data, &remote.data, &ppk, sk_d.expose(), &ours, &theirs]
    {
        put(&mut out, field)?;
    }
    Some(out)
}

/// What one side has proved: in the first round who it is anyway.
fn emit_proven(rounds: &[Proven]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (index, Proven { id, by }) in rounds.iter().enumerate() {
        let id = identification(id);
        out.push(id.kind.0);
        put(&mut out, if index == 0 { &[] } else { &id.data })?;
        put(&mut out, by.as_bytes())?;
    }
    Some(out)
}

fn parse_proven(mut data: &[u8], first: &Identity) -> Option<Vec<Proven>> {
    let mut rounds = Vec::new();
    while !data.is_empty() {
        let [kind] = take(&mut data)?;
        let [id, by] = array(&mut data, field)?;
        let id = if rounds.is_empty() { first.clone() } else { read_id(kind, id) };
        rounds.push(Proven { id, by: std::str::from_utf8(by).ok()?.into() });
    }
    Some(rounds)
}

fn read_id(kind: u8, data: &[u8]) -> Identity {
    identity(&Identification::new(IdType(kind), data.to_vec()))
}

/// With its length before it.
fn put(out: &mut Vec<u8>, field: &[u8]) -> Option<()> {
    out.extend(u16::try_from(field.len()).ok()?.to_be_bytes());
    out.extend(field);
    Some(())
}

/// Reads the state, and when it is out of date.
fn parse(data: &[u8], wall: WallClock) -> Option<(Ticket, WallClock)> {
    let mut rest = data;
    let [expires, proven, spi_i, spi_r] = array(&mut rest, long)?;
    let [encr, key_bits, integ, prf, ke] = array(&mut rest, short)?;
    let additional = Additional(array(&mut rest, short)?.map(KeMethod));
    let [method, local_kind, remote_kind] = take(&mut rest)?;
    let [connection, mark, local, remote, ppk, sk_d, ours, theirs] = array(&mut rest, field)?;
    let method = match method {
        0 => AuthMethod::Psk,
        1 => AuthMethod::Pubkey,
        _ => return None,
    };
    let (local, remote) = (read_id(local_kind, local), read_id(remote_kind, remote));
    let former = Former {
        suite: IkeSuite {
            encr: Encr(encr),
            key_bits,
            integ: Integ(integ),
            prf: Prf(prf),
            ke: KeMethod(ke),
            additional,
        },
        sk_d: Secret::from(sk_d),
        spis: Spis { initiator: IkeSpi(spi_i), responder: IkeSpi(spi_r) },
        ours: parse_proven(ours, &local)?,
        theirs: parse_proven(theirs, &remote)?,
        local,
        remote,
        method,
        age: Duration::from_secs(wall.0.saturating_sub(proven)),
        ppk: match ppk.split_first_chunk() {
            Some((print, id)) => Some(UsedPpk { id: std::str::from_utf8(id).ok()?.into(), print: *print }),
            None if ppk.is_empty() => None,
            None => return None,
        },
    };
    let connection = String::from_utf8(connection.to_vec()).ok()?;
    let ticket = Ticket { connection, mark: mark.to_vec(), former };
    rest.is_empty().then_some((ticket, WallClock(expires)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*first)
}

fn long(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

fn short(rest: &mut &[u8]) -> Option<u16> {
    take(rest).map(u16::from_be_bytes)
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = short(rest)?;
    let (field, tail) = rest.split_at_checked(usize::from(length))?;
    *rest = tail;
    Some(field)
}

/// `N` of them, one after the other.
fn array<'a, T: Default + Copy, const N: usize>(
    rest: &mut &'a [u8],
    read: fn(&mut &'a [u8]) -> Option<T>,
) -> Option<[T; N]> {
    let mut all = [T::default(); N];
    for place in &mut all {
        *place = read(rest)?;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tickets;
    use base::{Now, Rng};
    use crypto::Suite;
    use policy::Policy;
    use provider::Provider;
    use sa::{Directory, Outbox, Settings};
    use std::sync::Arc;

    struct Count(u8);

    impl Rng for Count {
        fn fill(&mut self, out: &mut [u8]) {
            out.iter_mut().for_each(|octet| {
                self.0 = self.0.wrapping_add(1);
                *octet = self.0;
            });
        }
    }

    fn with<T>(wall: u64, rng: &mut Count, run: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let now = Now { wall: WallClock(wall), ..Now::default() };
        let (policy, suite, settings) = (Arc::new(Policy::default()), Provider::new(), Settings::default());
        let (mut out, mut directory, mut tickets) =
            (Outbox::new(0), Directory::default(), Tickets::default());
        let mut cx = Cx {
            now,
            policy: &policy,
            suite: &suite,
            rng,
            settings: &settings,
            out: &mut out,
            addresses: &[],
            directory: &mut directory,
            superseded: &mut Vec::new(),
            born: &mut Vec::new(),
            lost: &mut Vec::new(),
            spoiled: &mut 0,
            again: &mut Vec::new(),
            tickets: &mut tickets,
        };
        run(&mut cx)
    }

    fn proven(id: &str, by: &str) -> Proven {
        Proven { id: Identity::Fqdn(id.to_string()), by: by.into() }
    }

    fn ticket() -> Ticket {
        let former = Former {
            suite: IkeSuite {
                encr: Encr::AES_CBC,
                key_bits: 256,
                integ: Integ::HMAC_SHA2_256_128,
                prf: Prf::HMAC_SHA2_512,
                ke: KeMethod::CURVE25519,
                additional: Additional::default(),
            },
            sk_d: Secret::new((0..64).collect()),
            spis: Spis { initiator: IkeSpi(1), responder: IkeSpi(u64::MAX) },
            local: Identity::Fqdn("gw.example".to_string()),
            remote: Identity::Other(77, vec![0, 255]),
            method: AuthMethod::Pubkey,
            age: Duration::from_secs(500),
            ppk: Some(UsedPpk { id: "blue".into(), print: [5; 8] }),
            ours: vec![proven("gw.example", "ECDSA P-256"), proven("gw2.example", "ML-DSA-65")],
            theirs: vec![Proven { id: Identity::Other(77, vec![0, 255]), by: "pre-shared key".into() }],
        };
        Ticket { connection: "net".to_string(), mark: vec![9; MARK], former }
    }

    const SECRET: Secret<[u8; TICKET_SECRET]> = Secret::new([3; TICKET_SECRET]);
    const DAY: u64 = 86_400;
    const PERIOD: u64 = limits::TICKET_KEY_LIFE.as_secs();

    fn sealed(wall: u64, lifetime: u64) -> Vec<u8> {
        with(wall, &mut Count(0), |cx| seal(cx, &SECRET, &ticket(), Duration::from_secs(lifetime))).unwrap()
    }

    fn opened(wall: u64, sealed: &[u8]) -> Result<Ticket, &'static str> {
        with(wall, &mut Count(0), |cx| open(cx, &SECRET, sealed))
    }

    //= rfc5723 §6.1
    #[test]
    fn what_is_sealed_comes_out_and_has_aged() {
        let start = 100 * PERIOD;
        let Ticket { connection, mark, former } = opened(start + 60, &sealed(start, 3600)).unwrap();
        let wanted = ticket().former;
        assert_eq!((connection.as_str(), mark), ("net", vec![9; MARK]));
        assert_eq!((former.suite, former.sk_d), (wanted.suite, wanted.sk_d));
        assert_eq!(
            (former.local, former.remote, former.method),
            (wanted.local, wanted.remote, wanted.method)
        );
        assert_eq!((former.spis.initiator, former.spis.responder), (IkeSpi(1), IkeSpi(u64::MAX)));
        assert_eq!((former.age, former.ppk), (Duration::from_secs(560), wanted.ppk));
        assert_eq!((former.ours, former.theirs), (wanted.ours, wanted.theirs));
    }

    //= rfc5723 §6.1
    #[test]
    fn it_serves_until_it_expires() {
        let (start, lifetime) = (100 * PERIOD, 3600);
        let sealed = sealed(start, lifetime);
        assert!(opened(start + lifetime - 1, &sealed).is_ok());
        assert_eq!(opened(start + lifetime, &sealed).unwrap_err(), "is out of date");
    }

    //= rfc5723 §6.2
    #[test]
    fn its_key_serves_for_its_period_and_the_next() {
        let start = 100 * PERIOD + 10;
        let sealed = sealed(start, 10 * PERIOD);
        for (wall, good) in [
            (start, true),
            (101 * PERIOD - 1, true),
            (101 * PERIOD, true),
            (102 * PERIOD - 1, true),
            (102 * PERIOD, false),
            (start - 11, false),
            (0, false),
        ] {
            assert_eq!(opened(wall, &sealed).is_ok(), good, "{wall}");
        }
        assert!(limits::TICKET_LIFE < limits::TICKET_KEY_LIFE, "no ticket outlives its key");
    }

    //= rfc5723 §9.2
    #[test]
    fn every_octet_counts_and_nonsense_is_no_ticket() {
        let start = 100 * PERIOD;
        let good = sealed(start, DAY);
        for at in 0..good.len() {
            let mut forged = good.clone();
            forged[at] ^= 0x40;
            assert!(opened(start, &forged).is_err(), "octet {at}");
            assert!(opened(start, &good[..at]).is_err(), "cut at {at}");
        }
        assert!(opened(start, &[&good[..], &[0]].concat()).is_err());
        let other = Secret::new([4; TICKET_SECRET]);
        assert!(with(start, &mut Count(0), |cx| open(cx, &other, &good)).is_err());
        let mut noise = Count(0);
        for len in 0..200 {
            let mut octets = vec![0; len];
            noise.fill(&mut octets);
            assert!(opened(start, &octets).is_err());
            // As if it had been sealed by us.
            assert!(parse(&octets, WallClock(start)).is_none());
        }
    }

    #[test]
    fn the_state_shows_nowhere_and_no_two_tickets_are_alike() {
        let start = 100 * PERIOD;
        let mut rng = Count(0);
        let mut one =
            || with(start, &mut rng, |cx| seal(cx, &SECRET, &ticket(), Duration::from_secs(DAY))).unwrap();
        let (first, second) = (one(), one());
        let body = HEAD + SEED;
        assert_eq!(first[..HEAD], second[..HEAD]);
        assert!(first[HEAD..body] != second[HEAD..body] && first[body..] != second[body..]);
        let shows = |what: &[u8]| first.windows(what.len()).any(|window| window == what);
        assert!(!shows(b"gw.example") && !shows(&(0..16).collect::<Vec<u8>>()) && !shows(b"net"));
    }

    #[test]
    fn a_ticket_that_would_be_too_large_is_not_given() {
        let mut rng = Count(0);
        let mut of = |len: usize| {
            let mut ticket = ticket();
            ticket.former.remote = Identity::Dn(vec![1; len]);
            with(100 * PERIOD, &mut rng, |cx| seal(cx, &SECRET, &ticket, Duration::from_secs(DAY)))
        };
        let most = limits::MAX_TICKET - of(0).unwrap().len();
        assert_eq!(of(most).map(|sealed| sealed.len()), Some(limits::MAX_TICKET));
        assert_eq!(of(most + 1), None);
        assert_eq!(of(70_000), None);
        assert!(of(300).is_some(), "a long name has room");
        assert!(Provider::new().prf(PRF).is_some());
    }
}
