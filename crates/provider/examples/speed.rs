//! Prints what each primitive costs on this machine: `cargo run --release -p handfast-provider --example speed`.
//!
//! A figure is the best of many short batches: what else runs on the machine can only make a batch slower.

use base::{IkeSpi, Rng};
use crypto::{Cipher, Nonces, Spis, Suite};
use provider::Provider;
use std::time::{Duration, Instant};
use wire::num::{Encr, Integ, KeMethod, Prf};

/// Octets of a packet's plaintext.
const PACKET: usize = 1420;
const BATCHES: usize = 31;
const BATCH_TIME: Duration = Duration::from_millis(2);

/// SplitMix64: cheap, so that it does not count.
struct Cheap(u64);

impl Rng for Cheap {
    fn fill(&mut self, out: &mut [u8]) {
        for octet in out {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *octet = (mixed >> 56) as u8;
        }
    }
}

fn main() {
    let provider = Provider::new();
    key_exchanges(&provider);
    println!();
    prfs(&provider);
    println!();
    handshake(&provider);
    println!();
    ciphers(&provider);
}

/// The time of one call in the best batch.
fn best(mut work: impl FnMut()) -> Duration {
    work();
    let start = Instant::now();
    work();
    let calls = (BATCH_TIME.as_nanos() / start.elapsed().as_nanos().max(20)).clamp(1, 100_000) as u32;
    let batch = |_| {
        let start = Instant::now();
        (0..calls).for_each(|_| work());
        start.elapsed() / calls
    };
    (0..BATCHES).map(batch).min().unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

fn key_exchanges(provider: &Provider) {
    println!("{:<24}{:>12}{:>12}{:>12}", "key exchange", "generate", "finish", "respond µs");
    for method in KeMethod::ALL.iter().filter_map(|id| provider.key_exchange(*id)) {
        let rng = &mut Cheap(1);
        let (private, public) = method.generate(rng).expect("a working library");
        let (answer, _) = method.respond(rng, &public).expect("a valid value");
        let generate = best(|| _ = method.generate(rng));
        let finish = best(|| _ = private.finish(&answer));
        let respond = best(|| _ = method.respond(rng, &public));
        let [generate, finish, respond] = [generate, finish, respond].map(micros);
        println!("{:<24}{generate:>12.1}{finish:>12.1}{respond:>12.1}", method.id().to_string());
    }
}

fn prfs(provider: &Provider) {
    println!("{:<24}{:>12}{:>16}", "PRF", "64 octets µs", "prf+ of 280 µs");
    for prf in Prf::ALL.iter().filter_map(|id| provider.prf(*id)) {
        let key = vec![7; prf.len()];
        let once = best(|| _ = prf.compute(&key, &[&[1; 64]]));
        let plus = best(|| _ = crypto::prf_plus(prf, &key, &[&[1; 80]], 280));
        println!("{:<24}{:>12.2}{:>16.2}", prf.id().to_string(), micros(once), micros(plus));
    }
}

/// All cryptography of a responder's PSK handshake with X25519, HMAC-SHA-256 and AES-256-GCM: two exchanges, one child.
fn handshake(provider: &Provider) {
    let (prf, method) = (provider.prf(Prf::HMAC_SHA2_256), provider.key_exchange(KeMethod::CURVE25519));
    let (prf, method) = (prf.expect("present"), method.expect("present"));
    let (encr, bits, integ) = (Encr::AES_GCM_16, 256, Integ::NONE);
    let spec = provider.cipher_spec(encr, bits, integ).expect("present");
    let rng = &mut Cheap(2);
    let (_, public) = method.generate(rng).expect("a working library");
    let nonces = Nonces { initiator: &[1; 32], responder: &[2; 32] };
    let spis = Spis { initiator: IkeSpi(1), responder: IkeSpi(2) };
    let mut message = vec![0; 300];
    let cost = best(|| {
        (0..4).for_each(|_| _ = provider.sha1(&[&[0; 22]]));
        let (_, g_ir) = method.respond(rng, &public).expect("a valid value");
        let skeyseed = crypto::skeyseed(prf, nonces, g_ir.expose());
        let keys = crypto::ike_keys(prf, &skeyseed, nonces, spis, spec).expect("few octets");
        for (key, p) in [(&keys.ei, &keys.pi), (&keys.er, &keys.pr)] {
            let cipher =
                provider.cipher(encr, bits, integ, key.expose(), &[]).expect("a key of the right length");
            // The peer's message is opened and ours sealed: the same work.
            cipher.seal(&[0; 8], &[0; 32], &mut message, &[], &mut [0; 16]);
            let id = prf.compute(p.expose(), &[&[0; 16]]);
            crypto::psk_auth(prf, b"a shared secret", &[&[0; 300], &[0; 32], id.expose()]);
        }
        let child = crypto::child_keys(prf, &keys.d, None, nonces, spec).expect("few octets");
        for direction in [&child.initiator, &child.responder] {
            _ = provider.cipher(encr, bits, integ, direction.encr.expose(), &[]);
        }
    });
    println!("all of a responder's PSK + x25519 handshake: {:.1} µs", micros(cost));
}

fn ciphers(provider: &Provider) {
    println!(
        "{:<44}{:>10}{:>10}{:>12}{:>10}",
        "cipher, 1420 octets", "seal ns", "open ns", "Gbit/s seal", "open"
    );
    for encr in Encr::ALL {
        for integ in Integ::ALL {
            for bits in [0, 128, 256] {
                if let Some(spec) = provider.cipher_spec(*encr, bits, *integ) {
                    let (encr_key, integ_key) = (vec![3; spec.encr_key_len], vec![4; spec.integ_key_len]);
                    let cipher = provider.cipher(*encr, bits, *integ, &encr_key, &integ_key);
                    cipher_row(
                        &format!("{encr} {bits} {integ}"),
                        cipher.expect("keys of the right length").as_ref(),
                    );
                }
            }
        }
    }
}

fn cipher_row(name: &str, cipher: &dyn Cipher) {
    let spec = cipher.spec();
    let mut data = vec![5; PACKET / spec.block * spec.block];
    let (iv, mut icv) = (vec![6; spec.iv_len], vec![0; spec.icv_len]);
    let seal = best(|| cipher.seal(&iv, &[1; 8], &mut data, &[], &mut icv));
    cipher.seal(&iv, &[1; 8], &mut data, &[], &mut icv);
    let sealed = data.clone();
    let open = best(|| {
        data.copy_from_slice(&sealed);
        cipher.open(&iv, &[1; 8], &mut data, &[], &icv).expect("what was sealed");
    });
    let gbits = |time: Duration| data.len() as f64 * 8.0 / time.as_nanos() as f64;
    println!(
        "{name:<44}{:>10}{:>10}{:>12.1}{:>10.1}",
        seal.as_nanos(),
        open.as_nanos(),
        gbits(seal),
        gbits(open)
    );
}
