//! An initiator that makes many IKE SAs against one responder, over real UDP: Handfast's own core with a data plane
//! that agrees to everything.

use base::{Instant, Now, Rng, WallClock};
use crypto::Suite;
use dataplane::{Counters, Op, Outcome};
use endpoint::Endpoint;
use policy::{ConnectionId, Policy};
use sa::{Act, Answer, Cause, Event, JobId, Order, OrderId, Path, Reply, Settings};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use trust::Trust;

/// IKE SAs under way at once.
const IN_FLIGHT: usize = 8;
/// The whole run gives up when nothing completes for so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// An initiator with one connection per IKE SA that it will make.
pub(crate) struct Load {
    endpoint: Endpoint,
    trust: Trust,
    socket: UdpSocket,
    path: Path,
    begin: std::time::Instant,
    next: u32,
    pending: usize,
    up: usize,
    refused: Option<String>,
}

struct SystemRng;

impl Rng for SystemRng {
    fn fill(&mut self, out: &mut [u8]) {
        // SAFETY: the pointer and the length are those of `out`; requests below 256 octets are never cut short.
        out.chunks_mut(256).for_each(|part| unsafe {
            libc::getrandom(part.as_mut_ptr().cast(), part.len(), 0);
        });
    }
}

impl Load {
    /// An initiator of `policy`'s connections, on a socket of the right namespace, against the peer at `remote`.
    pub(crate) fn new(
        suite: Arc<dyn Suite>,
        policy: Arc<Policy>,
        secrets: trust::Secrets,
        socket: UdpSocket,
        remote: SocketAddr,
    ) -> Result<Load, String> {
        let local = socket.local_addr().map_err(|error| error.to_string())?;
        Ok(Load {
            endpoint: Endpoint::new(policy.clone(), suite.clone(), Box::new(SystemRng), Settings::default()),
            trust: Trust::new(policy, suite, secrets),
            socket,
            path: Path { local, remote, marked: false },
            begin: std::time::Instant::now(),
            next: 0,
            pending: 0,
            up: 0,
            refused: None,
        })
    }

    /// Makes `count` more IKE SAs, each with one child SA.
    pub(crate) fn establish(&mut self, count: usize) -> Result<(), String> {
        let goal = self.up + count;
        let last = self.next + count as u32;
        let (mut progress, mut seen) = (std::time::Instant::now(), self.up);
        let mut buffer = vec![0; 65536];
        while self.up < goal {
            while self.pending < IN_FLIGHT && self.next < last {
                let order = Order::Up { connection: ConnectionId(self.next), child: None, path: self.path };
                self.pending += 1;
                self.next += 1;
                self.handle(Cause::Order(OrderId(u64::from(self.next)), order));
            }
            self.receive(&mut buffer)?;
            if let Some(reason) = self.refused.take() {
                return Err(reason);
            }
            if self.up > seen {
                (progress, seen) = (std::time::Instant::now(), self.up);
            } else if progress.elapsed() > PATIENCE {
                return Err(format!("{} of {goal} IKE SAs after {PATIENCE:?} without progress", self.up));
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<(), String> {
        let wait = self.endpoint.wake().map_or(PATIENCE, |(at, _)| at.since(self.now().mono));
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(200));
        self.socket.set_read_timeout(Some(wait)).map_err(|error| error.to_string())?;
        match self.socket.recv_from(buffer) {
            Ok((len, remote)) => {
                let path = Path { remote, ..self.path };
                self.handle(Cause::Datagram { path, bytes: &mut buffer[..len] });
            }
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                self.handle(Cause::Time);
            }
            Err(error) => return Err(format!("receiving: {error}")),
        }
        Ok(())
    }

    fn now(&self) -> Now {
        let wall = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        Now { mono: Instant::from_nanos(self.begin.elapsed().as_nanos() as u64), wall: WallClock(wall) }
    }

    /// One cause, and everything that comes of it.
    fn handle(&mut self, cause: Cause<'_>) {
        self.endpoint.handle(self.now(), cause);
        while let Some(act) = self.endpoint.poll() {
            let answered: Option<(JobId, Answer)> = match act {
                Act::Transmit { path, bytes } => {
                    // A full socket buffer is a lost datagram: the core sends it again.
                    let _ = self.socket.send_to(&bytes, path.remote);
                    None
                }
                Act::Job(id, job) => Some((id, self.trust.answer(&job))),
                Act::Dataplane(id, op) => Some((id, Answer::Dataplane(agree(&op)))),
                Act::Event(event) => {
                    if let Event::Refused { refusal, .. } = *event {
                        self.refused = Some(refusal.reason);
                    }
                    None
                }
                Act::Reply(_, reply) => {
                    self.count(*reply);
                    None
                }
                _ => None,
            };
            if let Some((id, answer)) = answered {
                self.endpoint.handle(self.now(), Cause::Done(id, answer));
            }
        }
    }

    fn count(&mut self, reply: Reply) {
        self.pending -= 1;
        match reply {
            Reply::Up { refused, .. } if refused.is_empty() => self.up += 1,
            Reply::Up { refused, .. } => self.refused = Some(format!("child refused: {refused:?}")),
            other => self.refused = Some(format!("{other:?}")),
        }
    }
}

fn agree(op: &Op) -> Outcome {
    match op {
        Op::Remove(_) | Op::Query(_) => Outcome::Counters(Counters::default()),
        Op::Install(_)
        | Op::Move { .. }
        | Op::Use(_)
        | Op::Trap(_)
        | Op::Untrap(_)
        | Op::Assign(_)
        | Op::Unassign(_) => Outcome::Done,
    }
}
