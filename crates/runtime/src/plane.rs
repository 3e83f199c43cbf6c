//! The data planes behind the driver.

use crate::daemon::{Dataplane, StartError};
use crate::driver::Plane;
use crate::mailbox::Inbox;
use base::Rng;
use crypto::Suite;
use dataplane::{Counters, Interface, Op, Outcome};
use net::Sockets;
use sa::Path;
use std::collections::BTreeSet;
use std::sync::Arc;
use tun::{Engine, OwnDevices};

/// A data plane, the indexes of the sockets that the IKE thread reads itself, and its devices.
type Opened = (Box<dyn Plane>, Vec<usize>, OwnDevices);

/// Opens the data plane that the configuration names.
pub(crate) fn open(
    which: &Dataplane,
    sockets: &Arc<Sockets>,
    suite: &Arc<dyn Suite>,
    rng: fn() -> Box<dyn Rng>,
    inbox: &Inbox,
) -> Result<Opened, StartError> {
    match which {
        Dataplane::None => {
            Ok((Box::new(NoPlane), (0..sockets.descriptors().count()).collect(), OwnDevices::default()))
        }
        Dataplane::Tun(config) => {
            let inbox = inbox.clone();
            let sink = Arc::new(move |input: tun::Input<'_>| hand_on(&inbox, input));
            let engine = Engine::start(config.clone(), sockets.clone(), suite.clone(), rng, sink)
                .map_err(|error| StartError(error.to_string()))?;
            let devices = engine.own_devices();
            Ok((Box::new(TunPlane(engine)), Vec::new(), devices))
        }
    }
}

/// On the engine's threads: takes what it tells and returns at once.
fn hand_on(inbox: &Inbox, input: tun::Input<'_>) {
    match input {
        tun::Input::Ike(datagram) => {
            let path = Path { local: datagram.local, remote: datagram.remote, marked: datagram.marked };
            inbox.datagram(path, datagram.bytes);
        }
        tun::Input::Event(event) => inbox.plane_event(event),
        tun::Input::Note(text) => tracing::warn!("{text}"),
        tun::Input::Fault(reason) => inbox.plane_fault(reason),
    }
}

/// ESP in userspace over a TUN device.
struct TunPlane(Engine);

impl Plane for TunPlane {
    fn name(&self) -> &'static str {
        "tun"
    }

    fn submit(&mut self, op: Op) -> Outcome {
        self.0.submit(op)
    }

    fn set_interfaces(&mut self, wanted: &BTreeSet<Interface>) {
        self.0.set_interfaces(wanted);
    }
}

/// Says yes to everything and carries nothing: for measuring handshakes, and for trying a
/// configuration without touching the machine's routes.
#[derive(Debug)]
pub(crate) struct NoPlane;

impl Plane for NoPlane {
    fn name(&self) -> &'static str {
        "none"
    }

    fn submit(&mut self, op: Op) -> Outcome {
        match op {
            Op::Install(_)
            | Op::Move { .. }
            | Op::Use(_)
            | Op::Trap(_)
            | Op::Untrap(_)
            | Op::Assign(_)
            | Op::Unassign(_) => Outcome::Done,
            Op::Remove(_) | Op::Query(_) => Outcome::Counters(Counters::default()),
        }
    }
}
