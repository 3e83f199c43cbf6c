//! A small model of a tunnel beside the real thing: whatever is ordered, lost or forgotten, both ends come to hold what the
//! model says.

use policy::{ChildLifetime, IkeLifetime};
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use sa::{Order, Target};
use sim::{Site, Weather};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use suite::{World, alice, bob, world};

const CHILDREN: [&str; 3] = ["lan", "dmz", "lab"];
const SITES: [&str; 2] = ["alice", "bob"];

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    /// A child, and with it the IKE SA.
    Up(&'static str, &'static str),
    DownChild(&'static str, &'static str),
    Down(&'static str),
    RekeyChild(&'static str, &'static str),
    RekeyIke(&'static str),
    /// Both at once.
    RekeyBoth(bool, bool),
    /// A site loses its memory.
    Crash(&'static str),
    /// Lifetimes go by.
    Hours(u8),
    /// From now on datagrams are lost, come twice and overtake each other, or not.
    Storm(bool),
}

/// What stands.
#[derive(Clone, Debug, Default)]
struct Tunnel {
    up: bool,
    children: BTreeSet<&'static str>,
}

impl ReferenceStateMachine for Tunnel {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let site = || select(&SITES[..]);
        let child = || select(&CHILDREN[..]);
        prop_oneof![
            4 => (site(), child()).prop_map(|(site, child)| Step::Up(site, child)),
            2 => (site(), child()).prop_map(|(site, child)| Step::DownChild(site, child)),
            1 => site().prop_map(Step::Down),
            4 => (site(), child()).prop_map(|(site, child)| Step::RekeyChild(site, child)),
            4 => site().prop_map(Step::RekeyIke),
            4 => (any::<bool>(), any::<bool>()).prop_map(|(one, other)| Step::RekeyBoth(one, other)),
            1 => site().prop_map(Step::Crash),
            1 => (1..6u8).prop_map(Step::Hours),
            2 => any::<bool>().prop_map(Step::Storm),
        ]
        .boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        match step {
            Step::Up(_, child) => {
                state.up = true;
                state.children.insert(child);
            }
            Step::DownChild(_, child) => {
                state.children.remove(child);
            }
            Step::Down(_) | Step::Crash(_) => state = Self::default(),
            Step::RekeyChild(..)
            | Step::RekeyIke(_)
            | Step::RekeyBoth(..)
            | Step::Hours(_)
            | Step::Storm(_) => {}
        }
        state
    }
}

/// The real thing.
struct Real {
    world: World,
}

fn connection() -> Target {
    Target::Connection("net".to_string())
}

fn child(name: &str) -> Target {
    Target::Child("net".to_string(), name.to_string())
}

fn site(site: Site, turn: bool) -> Site {
    let hour = Duration::from_secs(3600);
    let net = |n: u8, side: bool| format!("10.9.{}.0/25", if side { n } else { n + 1 });
    let site = site.also("dmz", &net(0, turn), &net(0, !turn)).also("lab", &net(2, turn), &net(2, !turn));
    site.with(|connection| {
        connection.window = 4;
        connection.lifetime =
            IkeLifetime { rekey: 2 * hour, reauth: Duration::ZERO, over: hour / 4, rand: hour / 2 };
        for child in &mut connection.children {
            let lifetime = ChildLifetime {
                rekey: hour,
                life: hour + hour / 4,
                rand: hour / 2,
                ..ChildLifetime::UNLIMITED
            };
            Arc::make_mut(child).lifetime = lifetime;
        }
    })
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Tunnel;

    fn init_test(_: &Tunnel) -> Self {
        Self { world: world(1).peers(site(alice(), false), site(bob(), true)) }
    }

    fn apply(mut real: Self, _: &Tunnel, step: Step) -> Self {
        let world = &mut real.world;
        match step {
            Step::Up(site, child) => {
                world.up_child(site, 0, Some(child));
            }
            Step::DownChild(site, name) => {
                world.order(site, Order::Down(child(name)));
            }
            Step::Down(site) => {
                world.order(site, Order::Down(connection()));
            }
            Step::RekeyChild(site, name) => {
                world.order(site, Order::Rekey(child(name)));
            }
            Step::RekeyIke(site) => {
                world.order(site, Order::Rekey(connection()));
            }
            Step::RekeyBoth(one, other) => {
                for (site, ike) in SITES.into_iter().zip([one, other]) {
                    world.order(site, Order::Rekey(if ike { connection() } else { child("lan") }));
                }
            }
            Step::Crash(site) => world.crash(site),
            Step::Hours(hours) => {
                world.run(Duration::from_secs(3600 * u64::from(hours)));
            }
            Step::Storm(storm) => {
                let delay = Duration::from_millis(1)..=Duration::from_millis(800);
                // So few that seven transmissions are never lost all.
                let storms = Weather { loss: 50, duplicate: 100, delay, mtu: None };
                world.weather = if storm { storms } else { Weather::fair() };
            }
        }
        // A peer without memory is found out by a probe that nobody answers.
        world.run(Duration::from_secs(300));
        real
    }

    fn check_invariants(real: &Self, state: &Tunnel) {
        let want: Vec<&str> = state.children.iter().copied().collect();
        for host in &real.world.hosts {
            // What is about to be replaced, or was just now, stands beside its successor.
            let have: BTreeSet<&str> = host.dataplane.sad().map(|spec| spec.name.as_str()).collect();
            assert_eq!(have.into_iter().collect::<Vec<_>>(), want, "{}: children", host.name);
            let most = 2 * want.len();
            assert!(host.dataplane.sad().count() <= most, "{} has more than {most} children", host.name);
        }
    }

    fn teardown(mut real: Self, state: Tunnel) {
        let world = &mut real.world;
        world.weather = Weather::fair();
        world.run(Duration::from_secs(60));
        for name in SITES {
            let list = world.status(name);
            assert_eq!(list.len(), usize::from(state.up), "{name}: IKE SAs");
            assert_eq!(
                list.iter().map(|sa| sa.children.len()).sum::<usize>(),
                state.children.len(),
                "{name}"
            );
        }
        assert!(world.is_mirrored());
        world.down("alice");
        world.run(Duration::from_secs(400));
        assert!(suite::is_clean(world));
    }
}

fn config() -> ProptestConfig {
    // What fails is printed with the fewest steps that show it; nothing is kept beside the source.
    ProptestConfig {
        cases: 200,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

prop_state_machine! {
    #![proptest_config(config())]
    #[test]
    fn both_ends_come_to_hold_what_the_model_says(sequential 1..25 => Real);
}
