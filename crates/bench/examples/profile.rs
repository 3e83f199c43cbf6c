//! Handshakes between two endpoints in one process, for a profiler and for the memory behind each IKE SA:
//!
//! ```text
//! cargo run --release -p handfast-bench --example profile -- 2000 x25519-ke1_mlkem768
//! valgrind --tool=callgrind target/release/examples/profile 200
//! ```

use base::{Instant, Now, Rng, WallClock};
use config::Tools;
use crypto::Suite;
use dataplane::Outcome;
use endpoint::Endpoint;
use policy::ConnectionId;
use sa::{Act, Answer, Cause, Order, OrderId, Path, Reply, Settings};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use trust::Trust;

/// The system's allocator, counted.
struct Counted;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// A repeatable source of chance (splitmix64).
struct Seeded(u64);

impl Rng for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 32)).to_be_bytes()[..chunk.len()]);
        }
    }
}

/// What one side spent.
#[derive(Clone, Copy, Default)]
struct Spent {
    time: std::time::Duration,
    calls: usize,
    live: isize,
}

struct End {
    endpoint: Endpoint,
    trust: Trust,
    spent: Spent,
    up: usize,
}

impl End {
    fn new(octet: u8, count: usize, key_exchange: &str) -> Result<End, String> {
        let suite: Arc<dyn Suite> = Arc::new(provider::Provider::new());
        let file = std::env::temp_dir().join(format!("handfast-profile-{}-{octet}.toml", std::process::id()));
        std::fs::write(&file, settings(octet, count, key_exchange)).map_err(|error| error.to_string())?;
        let tools = Tools {
            suite: &*suite,
            load_key: &|der| provider::load_private_key(der).map_err(|error| error.to_string()),
            wall: WallClock(1_800_000_000),
        };
        let loaded = config::load(&file, &tools);
        let _ = std::fs::remove_file(&file);
        let (config, _) = loaded.map_err(|problems| format!("{:?}", problems.first()))?;
        let trust = Trust::new(config.policy.clone(), suite.clone(), config.secrets);
        let rng = Box::new(Seeded(u64::from(octet)));
        let endpoint = Endpoint::new(config.policy, suite, rng, Settings::default());
        Ok(End { endpoint, trust, spent: Spent::default(), up: 0 })
    }

    /// One cause, and the datagrams that come of it; what it took is on this side's account.
    fn handle(&mut self, now: Now, cause: Cause<'_>) -> Vec<Vec<u8>> {
        let (begin, calls, live) = (std::time::Instant::now(), CALLS.load(Relaxed), LIVE.load(Relaxed));
        self.endpoint.handle(now, cause);
        let mut out = Vec::new();
        while let Some(act) = self.endpoint.poll() {
            let (id, answer) = match act {
                Act::Transmit { bytes, .. } => {
                    out.push(bytes);
                    continue;
                }
                Act::Job(id, job) => (id, self.trust.answer(&job)),
                Act::Dataplane(id, _) => (id, Answer::Dataplane(Outcome::Done)),
                Act::Reply(_, reply) => {
                    self.up += usize::from(matches!(*reply, Reply::Up { .. }));
                    continue;
                }
                _ => continue,
            };
            self.endpoint.handle(now, Cause::Done(id, answer));
        }
        self.spent.time += begin.elapsed();
        self.spent.calls += CALLS.load(Relaxed) - calls;
        let in_flight: usize = out.iter().map(Vec::capacity).sum();
        self.spent.live += LIVE.load(Relaxed) as isize - live as isize - in_flight as isize;
        out
    }
}

/// The responder, 2, has one connection for all; the initiator, 1, one for each IKE SA.
fn settings(octet: u8, count: usize, key_exchange: &str) -> String {
    let other = 3 - octet;
    let connections = if octet == 1 { count } else { 1 };
    let mut text = String::new();
    for n in 0..connections {
        let (own, peer) = match octet {
            1 => {
                (format!("10.{}.{}.{}/32", 64 + (n >> 16), (n >> 8) & 255, n & 255), "192.168.2.0/24".into())
            }
            _ => ("192.168.2.0/24".to_string(), "10.64.0.0/10".to_string()),
        };
        text += &format!(
            "[connections.c{n}]\nlocal_addrs = \"10.0.0.{octet}\"\nremote_addrs = \"10.0.0.{other}\"\n\
             proposals = \"aes256gcm16-prfsha384-{key_exchange}\"\nunique = \"never\"\nencap = false\n\
             [connections.c{n}.local]\nauth = \"psk\"\nid = \"host{octet}.example\"\n\
             [connections.c{n}.remote]\nauth = \"psk\"\nid = \"host{other}.example\"\n\
             [connections.c{n}.children.net]\nlocal_ts = \"{own}\"\nremote_ts = \"{peer}\"\n\
             esp_proposals = \"aes256gcm16\"\n"
        );
    }
    text + &format!("[secrets.ike.all]\nid = \"host{other}.example\"\nsecret = \"bench bench bench bench\"\n")
}

fn main() -> Result<(), String> {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let key_exchange = std::env::args().nth(2).unwrap_or_else(|| "x25519".to_string());
    let (mut a, mut b) = (End::new(1, count, &key_exchange)?, End::new(2, count, &key_exchange)?);
    let at = |octet: u8| std::net::SocketAddr::from(([10, 0, 0, octet], 500));
    let (there, back) = (
        Path { local: at(1), remote: at(2), marked: false },
        Path { local: at(2), remote: at(1), marked: false },
    );
    for n in 0..count {
        let now = Now { mono: Instant::from_nanos(n as u64 * 1_000_000), wall: WallClock(1_800_000_000) };
        let order = Order::Up { connection: ConnectionId(n as u32), child: None, path: there };
        let mut forth = a.handle(now, Cause::Order(OrderId(n as u64), order));
        while let Some(mut bytes) = forth.pop() {
            for mut answer in b.handle(now, Cause::Datagram { path: back, bytes: &mut bytes }) {
                forth.extend(a.handle(now, Cause::Datagram { path: there, bytes: &mut answer }));
            }
        }
    }
    println!("{} of {count} IKE SAs with a child each, PSK and {key_exchange}", a.up);
    for (name, Spent { time, calls, live }) in [("initiator", a.spent), ("responder", b.spent)] {
        println!(
            "{name}: {:.1} µs, {:.0} allocations a handshake; {:.0} octets stay for each IKE SA",
            time.as_secs_f64() * 1e6 / count as f64,
            calls as f64 / count as f64,
            live as f64 / count as f64
        );
    }
    Ok(())
}
