//! Operations on child SAs: each is done whole or not at all.

use crate::device::Device;
use crate::engine::Sink;
use crate::interfaces::Interfaces;
use crate::inward::Inward;
use crate::limits::{MAX_MTU_LOOKUPS, MAX_TRANSPORT, MAX_TRAPS};
use crate::mailbox::Mailbox;
use crate::outward::{MAIN, Outward};
use crate::routes::{Owner, Routes};
use crate::watch::OwnDevices;
use base::Rng;
use crypto::Suite;
use dataplane::{ChildId, ChildSpec, Counters, Mode, Op, Outcome, TrapId, TrapSpec, Without};
use esp::{InboundChild, OutboundChild};
use net::Sockets;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) const STOPPED: &str = "The data plane has stopped.";

/// What the engine counted that belongs to no child SA.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Packets that a route led into the device but neither a child nor a trap nor a shunt that passes means.
    pub unprotected: u64,
    /// ESP packets dropped: no child has their SPI, or they are too short to have one.
    pub unknown_spi: u64,
    /// Decrypted packets that the kernel did not take.
    pub not_delivered: u64,
}

/// What operations need to reach.
pub(crate) struct Control {
    pub(crate) device: Arc<Device>,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) suite: Arc<dyn Suite>,
    pub(crate) outward: Mailbox<Outward>,
    pub(crate) inward: Mailbox<Inward>,
    pub(crate) sink: Sink,
    /// Makes what gives the IVs that must not be predictable.
    pub(crate) rng: fn() -> Box<dyn Rng>,
    /// Octets of the longest inner packet of a tunnel.
    pub(crate) mtu: u32,
    pub(crate) offload: bool,
    /// What [`crate::Watch`] is to pass over.
    pub(crate) own: OwnDevices,
    /// Taken for the whole of an operation, so that operations do not mix.
    pub(crate) state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) routes: Routes,
    pub(crate) interfaces: Interfaces<Device>,
    children: BTreeMap<ChildId, Facts>,
    /// Traps and shunts with their lanes.
    traps: BTreeMap<TrapId, usize>,
    /// The child whose path was looked up last.
    looked_up: Option<ChildId>,
}

/// What is known of an installed child besides what the threads own.
struct Facts {
    lane: usize,
    mode: Mode,
    remote: IpAddr,
    path_mtu: u32,
}

impl State {
    pub(crate) fn new(routes: Routes) -> Self {
        let (children, traps, looked_up) = Default::default();
        Self { routes, interfaces: Interfaces::new(), children, traps, looked_up }
    }

    /// The lane of a child; the main one for a child that is not there.
    fn lane(&self, id: ChildId) -> usize {
        self.children.get(&id).map_or(MAIN, |facts| facts.lane)
    }
}

impl Control {
    pub(crate) fn device(&self) -> &str {
        self.device.name()
    }

    pub(crate) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Makes the threads look whether they are to end.
    pub(crate) fn wake(&self) {
        self.outward.wake();
        self.inward.wake();
    }

    pub(crate) fn submit(&self, op: Op) -> Outcome {
        let result = match op {
            Op::Install(spec) => self.install(*spec),
            Op::Remove(id) => self.remove(id),
            Op::Query(id) => {
                let lane = self.state().lane(id);
                self.query(lane, id)
            }
            Op::Use(id) => self.use_child(id),
            Op::Trap(spec) => self.trap(spec),
            Op::Untrap(id) => self.untrap(id),
            Op::Assign(assigned) => self.assign(&assigned),
            Op::Unassign(assigned) => self.unassign(&assigned),
            Op::Move { id, local, remote, udp_encap } => self.move_to(id, (local, remote), udp_encap),
        };
        result.unwrap_or_else(Outcome::Failed)
    }

    pub(crate) fn stats(&self) -> Stats {
        let unprotected = self.outward.call(|outward| outward.unmatched()).unwrap_or(0);
        let received = self.inward.call(|inward| (inward.table.unknown, inward.lost)).unwrap_or((0, 0));
        Stats { unprotected, unknown_spi: received.0, not_delivered: received.1 }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The routes come last, so that no packet finds a route without its child. A child with an interface has none.
    fn install(&self, spec: ChildSpec) -> Result<Outcome, String> {
        let mut state = self.state();
        let (mut inbound, mut outbound) = esp::build(&spec, &*self.suite)?;
        let (id, name, remote) = (spec.id, &spec.name, spec.remote.ip());
        let refuse = |why: &str| format!("{name} cannot be installed: {why}");
        if !spec.udp_encap && !self.sockets.has_raw_esp(remote) {
            return Err(refuse(NO_RAW_SOCKET));
        }
        // Without a mark our own packets to the peer would be led into its tunnel.
        let covers_peer = spec.remote_ts.iter().any(|ts| ts.addresses.contains(remote));
        if self.sockets.mark() == 0 && spec.interface.is_none() && covers_peer {
            return Err(refuse(&format!(
                "its remote selectors contain the peer's own address {remote}, so our own packets need a mark (one bit) to \
                 tell them from tunnelled ones, and none is configured."
            )));
        }
        let path_mtu = self.sockets.path_mtu(remote).unwrap_or(DEFAULT_PATH_MTU);
        self.fit(&mut outbound, path_mtu);
        inbound.max_inner = outbound.max_inner;
        let route_mtu = route_mtu(spec.mode, outbound.max_inner);
        let lane = self.enter_lane(&mut state, spec.interface.as_ref()).map_err(|why| refuse(&why))?;
        inbound.exit = lane;
        let carried = self.install_halves(lane, inbound, outbound, &spec).map_err(|why| refuse(&why));
        let routed = carried.and_then(|()| {
            if lane != MAIN {
                return Ok(());
            }
            let added = state.routes.add(Owner::Child(id), (&spec.local_ts, &spec.remote_ts), route_mtu);
            added.map_err(|error| {
                self.drop_child(lane, id);
                refuse(&format!("its routes through {} failed: {error}.", self.device.name()))
            })
        });
        if let Err(why) = routed {
            self.leave_lane(&mut state, lane);
            return Err(why);
        }
        state.children.insert(id, Facts { lane, mode: spec.mode, remote, path_mtu });
        Ok(Outcome::Done)
    }

    fn install_halves(
        &self,
        lane: usize,
        inbound: InboundChild,
        outbound: OutboundChild,
        spec: &ChildSpec,
    ) -> Result<(), String> {
        let spi = inbound.sa.spi();
        match self.inward.call(move |inward| inward.table.install(inbound)) {
            Some(true) => {}
            Some(false) => return Err(format!("another child receives with SPI {spi}.")),
            None => return Err(STOPPED.to_string()),
        }
        let (ours, theirs) = (spec.local_ts.clone(), spec.remote_ts.clone());
        let installed = self.outward.call(move |outward| {
            outward.with(lane, |lane, shared| {
                lane.table.install(outbound, &ours, &theirs);
                lane.release(shared);
            })
        });
        installed.flatten().ok_or_else(|| STOPPED.to_string())?;
        self.inward.call(move |inward| inward.take_early(spi)).ok_or_else(|| STOPPED.to_string())
    }

    /// The routes go first: a packet that still finds its route finds its child as well.
    fn remove(&self, id: ChildId) -> Result<Outcome, String> {
        let mut state = self.state();
        let lane = state.lane(id);
        let counters = self.query(lane, id)?;
        state.routes.remove(Owner::Child(id));
        state.children.remove(&id);
        self.drop_child(lane, id);
        self.leave_lane(&mut state, lane);
        Ok(counters)
    }

    fn use_child(&self, id: ChildId) -> Result<Outcome, String> {
        let state = self.state();
        let lane = state.lane(id);
        let used = self.outward.call(move |outward| outward.with(lane, |lane, _| lane.table.use_child(id)));
        if used.ok_or(STOPPED)?.unwrap_or(false) { Ok(Outcome::Done) } else { Err(no_such(id)) }
    }

    /// The routes come last, as with a child. What passes needs none: it is found among what the others' routes lead here.
    fn trap(&self, spec: TrapSpec) -> Result<Outcome, String> {
        let mut state = self.state();
        let TrapSpec { id, name, then, mode, local_ts, remote_ts, interface } = spec;
        let what = match then {
            Without::Acquire => format!("The trap for {name}"),
            Without::Bypass | Without::Discard => format!("The shunt {name}"),
        };
        let refuse = |why: &str| format!("{what} cannot be installed: {why}");
        if self.sockets.mark() == 0 && interface.is_none() {
            return Err(refuse(
                "it could catch our own packets to the peer, which need a mark (one bit) to tell them apart, and none is \
                 configured.",
            ));
        }
        if then != Without::Acquire && interface.is_some() {
            return Err(refuse("a shunt has no interface."));
        }
        if state.traps.len() >= MAX_TRAPS || state.traps.contains_key(&id) {
            return Err(refuse(&format!("there are {MAX_TRAPS} already, or it is one of them.")));
        }
        let lane = self.enter_lane_early(&mut state, interface.as_ref()).map_err(|why| refuse(&why))?;
        state.traps.insert(id, lane);
        let (ours, theirs) = (local_ts.clone(), remote_ts.clone());
        let trapped = self.outward.call(move |outward| {
            outward.with(lane, |lane, _| {
                lane.table.trap(id, then, &ours, &theirs);
                lane.kept.set(id, then == Without::Acquire);
            })
        });
        let mtu = route_mtu(mode, self.mtu as usize);
        let sides = (&local_ts[..], &remote_ts[..]);
        let routed = trapped.flatten().ok_or_else(|| STOPPED.to_string()).and_then(|()| {
            let result = match then {
                _ if lane != MAIN => Ok(()),
                Without::Acquire => state.routes.add(Owner::Trap(id), sides, mtu),
                Without::Bypass => Ok(()),
                Without::Discard => state.routes.add(Owner::Drop(id), sides, mtu),
            };
            let device = self.device.name();
            result.map_err(|error| refuse(&format!("its routes through {device} failed: {error}.")))
        });
        if let Err(why) = routed {
            self.drop_trap(&mut state, id);
            return Err(why);
        }
        Ok(Outcome::Done)
    }

    fn untrap(&self, id: TrapId) -> Result<Outcome, String> {
        let mut state = self.state();
        if !state.traps.contains_key(&id) {
            return Err(format!("There is no trap {}.", id.0));
        }
        state.routes.remove(Owner::Trap(id));
        state.routes.remove(Owner::Drop(id));
        self.drop_trap(&mut state, id);
        Ok(Outcome::Done)
    }

    fn drop_trap(&self, state: &mut State, id: TrapId) {
        let Some(lane) = state.traps.remove(&id) else { return };
        self.outward.call(move |outward| {
            outward.with(lane, |lane, _| {
                lane.table.untrap(id);
                lane.kept.set(id, false);
            })
        });
        self.leave_lane(state, lane);
    }

    fn drop_child(&self, lane: usize, id: ChildId) {
        self.outward.call(move |outward| outward.with(lane, |lane, _| lane.table.remove(id).is_some()));
        self.inward.call(move |inward| inward.table.remove(id).is_some());
    }

    fn query(&self, lane: usize, id: ChildId) -> Result<Outcome, String> {
        let sent = self.child_at(lane, id, |child| child.counters);
        let received = self.inward.call(move |inward| {
            let now = inward.now();
            let child = inward.table.get_mut(id)?;
            Some(Counters { idle_in: child.last_in.map(|then| now.since(then)), ..child.counters })
        });
        let (sent, received) = sent.zip(received).ok_or(STOPPED)?;
        let (sent, received) = sent.zip(received).ok_or_else(|| no_such(id))?;
        let Counters { packets_out, bytes_out, not_sent, .. } = sent;
        Ok(Outcome::Counters(Counters { packets_out, bytes_out, not_sent, ..received }))
    }

    fn move_to(
        &self,
        id: ChildId,
        (local, remote): (SocketAddr, SocketAddr),
        udp_encap: bool,
    ) -> Result<Outcome, String> {
        let mut state = self.state();
        let facts = state.children.get_mut(&id).ok_or_else(|| no_such(id))?;
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(format!(
                "The outer addresses {} and {} are of two families.",
                local.ip(),
                remote.ip()
            ));
        }
        if !udp_encap && !self.sockets.has_raw_esp(remote.ip()) {
            return Err(format!("The child SA cannot move to {remote}: {NO_RAW_SOCKET}"));
        }
        let lane = facts.lane;
        let moved = self.child_at(lane, id, move |child| {
            (child.local, child.remote, child.udp_encap) = (local, remote, udp_encap);
        });
        moved.ok_or(STOPPED)?;
        let moved = self.inward.call(move |inward| {
            if let Some(child) = inward.table.get_mut(id) {
                child.move_to(local, remote, udp_encap);
            }
        });
        moved.ok_or(STOPPED)?;
        facts.remote = remote.ip();
        facts.path_mtu = self.sockets.path_mtu(remote.ip()).unwrap_or(DEFAULT_PATH_MTU);
        let State { routes, children, .. } = &mut *state;
        if let Some(facts) = children.get(&id) {
            self.apply_path_mtu(routes, id, facts);
        }
        Ok(Outcome::Done)
    }

    /// Looks up the path MTU of the next children in turn and lets them keep to it.
    pub(crate) fn refresh_path_mtu(&self) {
        let mut state = self.state();
        let State { routes, children, looked_up, .. } = &mut *state;
        let after = looked_up.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for (&id, facts) in children.range_mut((after, Bound::Unbounded)).take(MAX_MTU_LOOKUPS) {
            last = Some(id);
            let Ok(path_mtu) = self.sockets.path_mtu(facts.remote) else { continue };
            if path_mtu != facts.path_mtu {
                facts.path_mtu = path_mtu;
                self.apply_path_mtu(routes, id, facts);
            }
        }
        *looked_up = last;
    }

    /// Does something with the sending half of a child. The outer `None`: the thread has ended; the inner: there is none.
    fn child_at<R: Send + 'static>(
        &self,
        lane: usize,
        id: ChildId,
        work: impl FnOnce(&mut OutboundChild) -> R + Send + 'static,
    ) -> Option<Option<R>> {
        self.outward
            .call(move |outward| outward.with(lane, |lane, _| lane.table.get_mut(id).map(work)).flatten())
    }

    fn apply_path_mtu(&self, routes: &mut Routes, id: ChildId, facts: &Facts) {
        let (longest, path_mtu, mode) = (self.mtu, facts.path_mtu, facts.mode);
        let max_inner = self.child_at(facts.lane, id, move |child| {
            fit(child, path_mtu, longest);
            child.max_inner
        });
        let Some(Some(max_inner)) = max_inner else { return };
        self.inward.call(move |inward| {
            if let Some(child) = inward.table.get_mut(id) {
                child.max_inner = max_inner;
            }
        });
        // The routes' MTU only spares the kernel's packets a detour: the child itself keeps to it.
        let _ = routes.set_mtu(Owner::Child(id), route_mtu(mode, max_inner));
    }

    fn fit(&self, child: &mut OutboundChild, path_mtu: u32) {
        fit(child, path_mtu, self.mtu);
    }
}

/// What a path is taken to carry where the kernel does not know it: Ethernet's MTU.
const DEFAULT_PATH_MTU: u32 = 1500;

const NO_RAW_SOCKET: &str = "ESP without UDP needs a raw socket, which is not open. Let the connection use UDP \
                             encapsulation, or give the program CAP_NET_RAW.";

fn no_such(id: ChildId) -> String {
    format!("There is no child SA {}.", id.0)
}

fn fit(child: &mut OutboundChild, path_mtu: u32, longest: u32) {
    child.set_path_mtu(path_mtu as usize);
    child.max_inner = child.max_inner.min(longest as usize);
}

/// The MTU of the routes into the device. Transport mode carries whole packets, however long.
fn route_mtu(mode: Mode, max_inner: usize) -> u32 {
    match mode {
        Mode::Tunnel => u32::try_from(max_inner).unwrap_or(MAX_TRANSPORT),
        Mode::Transport => MAX_TRANSPORT,
    }
}
