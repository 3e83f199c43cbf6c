//! What stands in for whom, what is counted, and what a trap keeps.

use super::*;
use crate::site::{ip, net};
use base::{EspSpi, Secret};
use dataplane::{DirectionSpec, Mode, VolumeLimits};
use wire::num::{Encr, Integ};

/// The data plane at one end of children between 10.1.0.0/16 and 10.2.0.0/16.
struct End {
    plane: SimDataplane,
    jobs: u64,
    first: bool,
}

impl End {
    fn new(first: bool) -> Self {
        Self { plane: SimDataplane::new(DataplaneNature::default()), jobs: 0, first }
    }

    fn does(&mut self, op: Op) -> Outcome {
        let mut rng = SimRng::new(1, "plane");
        self.jobs += 1;
        self.plane.begin(at(0), JobId(self.jobs), op, &mut rng);
        self.plane.finish(at(0), JobId(self.jobs), &mut rng).unwrap().0
    }

    /// Child `n`, as both ends have it.
    fn installs(&mut self, n: u32, replaces: Option<u32>, hold: bool, volume: VolumeLimits) {
        let direction = |base: u32| DirectionSpec {
            spi: EspSpi(base + n),
            encr_key: Secret::new((base + n).to_be_bytes().to_vec()),
            integ_key: Secret::new(Vec::new()),
        };
        let (mut inbound, mut outbound) = (direction(1_000), direction(2_000));
        let (mut ours, mut theirs) = (("192.0.2.1:0", "10.1.0.0/16"), ("192.0.2.2:0", "10.2.0.0/16"));
        if !self.first {
            std::mem::swap(&mut inbound, &mut outbound);
            std::mem::swap(&mut ours, &mut theirs);
        }
        let spec = ChildSpec {
            id: ChildId(n.into()),
            name: n.to_string(),
            mode: Mode::Tunnel,
            local: ours.0.parse().unwrap(),
            remote: theirs.0.parse().unwrap(),
            udp_encap: false,
            encr: Encr::AES_GCM_16,
            key_bits: 256,
            integ: Integ::NONE,
            esn: true,
            replay_window: 64,
            inbound,
            outbound,
            local_ts: vec![net(ours.1)],
            remote_ts: vec![net(theirs.1)],
            original_addresses: None,
            replaces: replaces.map(|old| ChildId(old.into())),
            hold_outbound: hold,
            volume,
            interface: None,
        };
        assert_eq!(self.does(Op::Install(Box::new(spec))), Outcome::Done);
    }

    fn plain(&mut self, n: u32, replaces: Option<u32>, hold: bool) {
        self.installs(n, replaces, hold, VolumeLimits::default());
    }

    fn leaves_by(&self) -> Option<u64> {
        self.plane.way_out(&flow()).map(|spec| spec.id.0)
    }
}

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn flow() -> Flow {
    Flow::udp(ip("10.1.0.1"), ip("10.2.0.1"))
}

#[test]
fn a_held_child_waits_for_its_use_or_the_end_of_the_one_before() {
    let mut end = End::new(true);
    end.plain(1, None, false);
    end.plain(2, Some(1), true);
    assert_eq!(end.leaves_by(), Some(1));
    end.does(Op::Use(ChildId(2)));
    assert_eq!(end.leaves_by(), Some(2));
    end.plain(3, Some(2), true);
    assert_eq!(end.leaves_by(), Some(2));
    end.does(Op::Remove(ChildId(2)));
    assert_eq!(end.leaves_by(), Some(3), "the replaced child 1 is not used again");
    end.does(Op::Remove(ChildId(3)));
    assert_eq!(end.leaves_by(), Some(1));
}

#[test]
fn of_two_successors_the_one_last_chosen_carries() {
    let mut end = End::new(true);
    end.plain(1, None, false);
    end.plain(2, Some(1), false);
    end.plain(3, Some(1), true);
    assert_eq!(end.leaves_by(), Some(2));
    end.does(Op::Use(ChildId(3)));
    assert_eq!(end.leaves_by(), Some(3));
    end.does(Op::Use(ChildId(2)));
    assert_eq!(end.leaves_by(), Some(2));
    end.does(Op::Use(ChildId(1)));
    assert_eq!(end.leaves_by(), Some(1), "the one before, again");
    end.does(Op::Remove(ChildId(1)));
    assert_eq!(end.leaves_by(), Some(2));
    end.does(Op::Remove(ChildId(2)));
    assert_eq!(end.leaves_by(), Some(3));
}

#[test]
fn a_replaced_child_does_not_come_back_when_the_one_before_it_goes() {
    let mut end = End::new(true);
    end.plain(1, None, false);
    end.plain(2, Some(1), false);
    end.plain(3, Some(2), false);
    end.does(Op::Remove(ChildId(1)));
    assert_eq!(end.leaves_by(), Some(3));
    end.plain(4, Some(3), true);
    end.does(Op::Remove(ChildId(2)));
    assert_eq!(end.leaves_by(), Some(3));
}

#[test]
fn what_goes_unused_leaves_the_one_in_use_alone() {
    for order in [[1, 2], [2, 1]] {
        let mut end = End::new(true);
        end.plain(1, None, false);
        end.plain(2, Some(1), true);
        end.plain(3, Some(1), true);
        end.does(Op::Use(ChildId(2)));
        end.does(Op::Use(ChildId(3)));
        for gone in order {
            end.does(Op::Remove(ChildId(gone)));
            assert_eq!(end.leaves_by(), Some(3), "{order:?}");
        }
    }
}

#[test]
fn what_a_redundant_successor_had_replaced_carries_again() {
    let mut end = End::new(true);
    end.plain(1, None, false);
    end.plain(2, Some(1), false);
    end.plain(3, Some(1), true);
    end.does(Op::Remove(ChildId(2)));
    assert_eq!(end.leaves_by(), Some(1), "the other one is still held");
}

/// 3 stands beside 1 and 2, as after a redirect, and came into use last.
#[test]
fn what_is_removed_in_any_order_leaves_the_latest_alone() {
    for (hold, order) in [(false, [1, 2]), (false, [2, 1]), (true, [1, 2]), (true, [2, 1])] {
        let mut end = End::new(true);
        end.plain(1, None, false);
        end.plain(2, Some(1), hold);
        end.plain(3, None, false);
        for gone in order {
            end.does(Op::Remove(ChildId(gone)));
            assert_eq!(end.leaves_by(), Some(3), "{order:?}, held: {hold}");
        }
    }
}

/// Sends one packet from one end to the other.
fn carry(from: &mut End, to: &mut End, number: u64) -> (Result<(), Refused>, Vec<DataplaneEvent>) {
    let (outgoing, sent) = from.plane.send(at(number), number, &flow());
    let Outgoing::Leaves(datagram) = outgoing else {
        return (Err(Refused::NoSa), sent.into_iter().collect());
    };
    let packet = EspPacket::of(&datagram).unwrap();
    let arrived = Datagram { from: datagram.from, to: datagram.to, payload: datagram.payload.clone() };
    let (result, events) = to.plane.receive(at(number), &arrived, &packet, Some(&flow()));
    (result, sent.into_iter().chain(events).collect())
}

#[test]
fn the_first_packet_on_a_held_child_is_told_once() {
    let (mut one, mut other) = (End::new(true), End::new(false));
    for end in [&mut one, &mut other] {
        end.plain(1, None, false);
    }
    one.plain(2, Some(1), false);
    assert_eq!(carry(&mut one, &mut other, 1), (Err(Refused::NoSa), vec![]));
    other.plain(2, Some(1), true);
    assert_eq!(carry(&mut one, &mut other, 2), (Ok(()), vec![DataplaneEvent::FirstPacket(ChildId(2))]));
    assert_eq!(carry(&mut one, &mut other, 3), (Ok(()), vec![]));
    let Outcome::Counters(counters) = other.does(Op::Query(ChildId(2))) else { panic!() };
    assert_eq!((counters.packets_in, counters.bytes_in), (2, 2 * limits::PACKET_OCTETS));
    assert!(counters.idle_in.is_some());
}

#[test]
fn limits_of_volume_are_told_once_and_kept() {
    let (mut one, mut other) = (End::new(true), End::new(false));
    let volume = VolumeLimits { soft_packets: Some(2), hard_bytes: Some(3 * 84), ..VolumeLimits::default() };
    one.installs(1, None, false, volume);
    other.plain(1, None, false);
    let told = |hard| vec![DataplaneEvent::Expired { id: ChildId(1), hard }];
    assert_eq!(carry(&mut one, &mut other, 1), (Ok(()), vec![]));
    assert_eq!(carry(&mut one, &mut other, 2), (Ok(()), told(false)));
    assert_eq!(carry(&mut one, &mut other, 3), (Ok(()), told(true)));
    assert_eq!(carry(&mut one, &mut other, 4), (Err(Refused::NoSa), vec![]));
}

#[test]
fn a_packet_that_comes_twice_or_is_changed_is_refused() {
    let (mut one, mut other) = (End::new(true), End::new(false));
    one.plain(1, None, false);
    other.plain(1, None, false);
    let (Outgoing::Leaves(datagram), _) = one.plane.send(at(0), 1, &flow()) else { panic!() };
    let packet = EspPacket::of(&datagram).unwrap();
    let mut forged = datagram.clone();
    forged.payload[27] ^= 1;
    let mut take = |datagram: &Datagram| other.plane.receive(at(1), datagram, &packet, Some(&flow())).0;
    assert_eq!(take(&forged), Err(Refused::Forged));
    assert_eq!(take(&datagram), Ok(()));
    assert_eq!(take(&datagram), Err(Refused::Replayed));
}

#[test]
fn a_trap_keeps_the_first_packets_and_asks_at_a_bounded_rate() {
    let mut end = End::new(true);
    let (ours, theirs) = (vec![net("10.1.0.0/16")], vec![net("10.2.0.0/16")]);
    let id = TrapId(9);
    let name = "net/lan".to_string();
    end.does(Op::Trap(TrapSpec {
        id,
        name,
        then: Without::Acquire,
        mode: Mode::Tunnel,
        local_ts: ours,
        remote_ts: theirs,
        interface: None,
    }));
    let mut asked = 0;
    for number in 0..100u64 {
        let (outgoing, event) = end.plane.send(at(number * 30), number, &flow());
        let kept = number < limits::KEPT_PACKETS as u64;
        assert!(matches!(outgoing, Outgoing::Kept if kept) || matches!(outgoing, Outgoing::Dropped if !kept));
        if let Some(event) = event {
            assert_eq!(event, DataplaneEvent::Acquire { id, packet: flow().selectors() });
            asked += 1;
        }
    }
    assert_eq!(asked, 3, "in three seconds");
    assert_eq!(end.plane.release(at(100)).0.len(), 0);
    end.plain(1, None, false);
    let (ready, old) = end.plane.release(at(100));
    assert_eq!((ready.len(), ready[0], old.len()), (limits::KEPT_PACKETS, (0, flow()), 0));
    assert!(matches!(end.plane.send(at(200), 200, &flow()).0, Outgoing::Leaves(_)), "a child goes first");
    end.does(Op::Remove(ChildId(1)));
    assert!(matches!(end.plane.send(at(9_000), 201, &flow()).0, Outgoing::Kept));
    let late = at(9_001) + limits::KEPT_FOR;
    assert_eq!(end.plane.release(late).1, [201]);
    end.does(Op::Untrap(id));
    assert!(matches!(end.plane.send(at(9_000), 202, &flow()).0, Outgoing::Unprotected));
}
