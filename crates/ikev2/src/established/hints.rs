//! What comes unprotected, or by an SPI that nothing has, proves nothing: it is a hint, followed now and then (RFC 7296
//! §2.21.4).

use super::{Established, Task};
use crate::{Cx, limits};
use base::{EspSpi, Instant};
use wire::num::NotifyType;
use wire::{Notify, Payload};

impl Established {
    /// Something unprotected says that the peer has forgotten us: a hint, and a reason to ask.
    //= rfc7296 §2.21.4
    //# A node should treat such a message as a hint that there might be problems with SAs to that IP address and
    //# should initiate a liveness check for any such IKE SA. An implementation SHOULD limit the frequency.
    pub(crate) fn provoke(&mut self, now: Instant) {
        let soon = self.provoked.is_some_and(|at| now.since(at) < limits::PROVOKED_PROBE_INTERVAL);
        if !soon && self.asking.is_empty() {
            self.provoked = Some(now);
            self.todo.push_back(Task::Probe(None));
        }
    }

    /// The peer sends ESP with an SPI that no child has: it is told, for its log. Forged packets can make us do so, but seldom.
    //= rfc7296 §2.21.4
    //# If an error occurs outside the context of an IKE request (e.g., the node is getting ESP messages on a nonexistent
    //# SPI), the node SHOULD initiate an INFORMATIONAL exchange with a Notify payload describing the problem.
    pub(crate) fn tell_unknown_spi(&mut self, cx: &Cx<'_>, spi: EspSpi) {
        let now = cx.now.mono;
        let soon = self.complained.is_some_and(|at| now.since(at) < limits::COMPLAINT_INTERVAL);
        if !soon && !cx.directory.has_spi(spi) {
            self.complained = Some(now);
            let notify = Notify::new(NotifyType::INVALID_SPI, spi.0.to_be_bytes().to_vec());
            self.tell(vec![Payload::Notify(notify)]);
        }
    }
}
