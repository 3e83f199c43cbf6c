//! What one seed tells: two sites, their configuration, their troubles and their orders; from the
//! first order to the last SA being gone.

use crate::site::{Credentials, PpkList, additional, esp, ike, net};
use crate::{Datagram, DataplaneNature, KeeperNature, Scene, SimRng, Site, Stats, Weather, World, answered};
use base::{Instant, Rng};
use crypto::Suite;
use dataplane::Mode;
use policy::{AuthMethod, ChildLifetime, EncapChoice, IdPattern, Identity, IkeLifetime, Unique};
use sa::{IkeStatus, Order, OrderId, Reply, Target};
use std::sync::Arc;
use std::time::Duration;
use wire::num::{Encr, Integ, KeMethod};

/// What all stories have in common.
pub struct Kit {
    /// The algorithms of both sites.
    pub suite: Arc<dyn Suite>,
    /// Certificates of alice.example and bob.example, for the stories that want them.
    pub credentials: [Credentials; 2],
}

/// How a story ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// `established`, or why it was given up.
    pub result: String,
    /// The hash of everything that happened.
    pub hash: u64,
    /// What was seen.
    pub stats: Stats,
}

/// The order to bring the tunnel up is answered within this virtual time, whatever the weather: four
/// requests (cookie, another group, IKE_AUTH, a child) that are each given up after about two minutes.
const ANSWER: Duration = Duration::from_secs(900);

/// With fair weather both ends agree again after this long: a probe's delay, and a request that is given up.
const AGREE: Duration = Duration::from_secs(400);

/// After this long the last response to an IKE SA's deletion is forgotten too.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Tells the story of `seed`.
///
/// # Panics
/// When an invariant breaks, an order stays without an answer, the ends do not come to agree, or
/// something is left at the end.
pub fn tell(seed: u64, kit: &Kit, speak: bool) -> Ending {
    let mut dice = SimRng::new(seed, "story");
    let mut world = World::new(seed, kit.suite.clone()).under(Weather::foul());
    if speak {
        world = world.speaking();
    }
    let (alice, bob) = sites(&mut dice, &mut SimRng::new(seed, "additional key exchanges"), kit);
    let mut world = world.peers(alice, bob);
    troubles(&mut dice, &mut world);
    let mut fresh = SimRng::new(seed, "fresh PPKs");
    let first = world.up("alice");
    if dice.chance(120) {
        world.run(Duration::from_millis(dice.below(400)));
        if world.host("alice").nat.is_none() {
            world.stats.count("story: both begin");
            world.up("bob");
        }
    }
    life(&mut dice, &mut fresh, &mut world);
    answers(&mut world);
    heal(&mut world);
    let result = result(&mut world, first);
    end(&mut dice, &mut world);
    Ending { result, hash: world.trace().hash(), stats: world.figures() }
}

/// Two sites that fit, or nearly.
fn sites(dice: &mut SimRng, more: &mut SimRng, kit: &Kit) -> (Site, Site) {
    let mut alice = Site::psk("alice", "192.0.2.1", "bob", "198.51.100.2");
    let mut bob = Site::psk("bob", "198.51.100.2", "alice", "192.0.2.1");
    algorithms(dice, &mut alice, &mut bob);
    if dice.chance(80) {
        let [ours, theirs] = &kit.credentials;
        (alice, bob) = (alice.certified(&*kit.suite, ours), bob.certified(&*kit.suite, theirs));
    }
    if dice.chance(250) {
        let both = |site: Site, turn: bool| {
            let (a, b) =
                if turn { ("10.77.2.0/24", "10.77.1.0/24") } else { ("10.77.1.0/24", "10.77.2.0/24") };
            site.also("dmz", a, b)
        };
        (alice, bob) = (both(alice, false), both(bob, true));
    }
    if dice.chance(200) {
        bob = bob.child(|child| child.local_ts = vec![net("10.2.64.0/18")]);
    } else if dice.chance(120) {
        let hosts = |site: Site| {
            site.child(|child| {
                child.mode = Mode::Transport;
                child.local_ts.clear();
                child.remote_ts.clear();
            })
        };
        (alice, bob) = (hosts(alice), hosts(bob));
    }
    if dice.chance(200) {
        let (size, count) = (576 + dice.below(200) as u16, 20 + dice.below(60) as u8);
        (alice, bob) = (large(alice, size, (1, 2), count), large(bob, size, (2, 1), count));
    }
    if dice.chance(60) {
        bob = bob.with(|connection| connection.fragmentation = false);
    }
    if dice.chance(40) {
        (alice, bob) = (alice.with(|c| c.children.clear()), bob.with(|c| c.children.clear()));
    }
    if dice.chance(100) {
        alice = alice.with(|connection| connection.encap = EncapChoice::Force);
    }
    if dice.chance(100) {
        let unique = dice.pick(&[Unique::Never, Unique::Replace, Unique::Keep]);
        (alice, bob) = (alice.with(|c| c.unique = unique), bob.with(|c| c.unique = unique));
    }
    if dice.chance(200) {
        bob = bob.with(|c| c.remote_addrs = vec![policy::AddressPattern::Any]);
        let expiry = Duration::from_secs(20 + dice.below(600));
        alice = alice.behind("203.0.113.9", expiry);
    }
    (alice, bob) = lifetimes(dice, alice, bob);
    let places = additional(more);
    if more.chance(950) {
        (alice, bob) = (alice.following_up(&places), bob.following_up(&places));
    } else {
        // Only one of both knows them.
        let classical = alice.connections[0].proposals.clone();
        alice = alice.following_up(&places).with(|c| c.proposals.extend(classical));
    }
    (alice, bob) = ppks(more, alice, bob);
    (alice, bob) = rounds(more, alice, bob);
    misfits(dice, alice, bob)
}

const BLUE: PpkList = &[("blue", b"the blue key that both sites may have")];
const OTHER: PpkList = &[("blue", b"a key that is called blue and is not!")];
const BOTH: PpkList = &[("green", b"the green key that one site may have"), BLUE[0]];
const LATER: PpkList = &[("red", b"the red key, which comes later if ever"), OTHER[0], BOTH[0]];

/// Some pairs have post-quantum pre-shared keys: the same, only one of both, or another one under the same name.
fn ppks(more: &mut SimRng, alice: Site, bob: Site) -> (Site, Site) {
    if alice.connections[0].local.method != AuthMethod::Psk || !more.chance(200) {
        return (alice, bob);
    }
    let required = more.chance(500);
    match more.below(10) {
        0 => (alice.with_ppks(BLUE, required), bob),
        1 => (alice, bob.with_ppks(BLUE, required)),
        2 | 3 => (alice.with_ppks(BLUE, false), bob.with_ppks(OTHER, required)),
        4..7 => (alice.with_ppks(BOTH, required), bob.with_ppks(BLUE, true)),
        _ => (alice.with_ppks(BLUE, required), bob.with_ppks(BLUE, required)),
    }
}

/// Some pairs authenticate twice in a row (RFC 4739): one of them, or both; in a few of them only one knows of it.
fn rounds(more: &mut SimRng, alice: Site, bob: Site) -> (Site, Site) {
    // Of certificates there is one, and two rounds want two keys.
    if alice.connections[0].local.method != AuthMethod::Psk || !more.chance(200) {
        return (alice, bob);
    }
    match more.below(20) {
        0..6 => (alice.proving_twice(), bob.wanting_two()),
        6..11 => (alice.wanting_two(), bob.proving_twice()),
        11..18 => (alice.proving_twice().wanting_two(), bob.proving_twice().wanting_two()),
        18 => (alice.proving_twice(), bob),
        _ => (alice, bob.wanting_two()),
    }
}

/// How long keys serve, on each side for itself, and how many requests may be under way.
fn lifetimes(dice: &mut SimRng, alice: Site, bob: Site) -> (Site, Site) {
    let of = |dice: &mut SimRng, site: Site| {
        let seconds =
            |dice: &mut SimRng, least: u64, more: u64| Duration::from_secs(least + dice.below(more));
        let mut site = site;
        if dice.chance(300) {
            let rekey = seconds(dice, 25, 120);
            let life = rekey + seconds(dice, 10, 60);
            let lifetime = ChildLifetime { rekey, life, rand: rekey / 3, ..ChildLifetime::UNLIMITED };
            site = site.with(|connection| {
                for child in &mut connection.children {
                    Arc::make_mut(child).lifetime = lifetime;
                }
            });
        }
        if dice.chance(250) {
            let (rekey, over) = (seconds(dice, 40, 200), seconds(dice, 100, 100));
            let lifetime = IkeLifetime { rekey, reauth: Duration::ZERO, over, rand: rekey / 3 };
            site = site.with(|connection| connection.lifetime = lifetime);
        }
        let window = dice.pick(&[1, 1, 1, 2, 8]);
        site.with(|connection| connection.window = window)
    };
    (of(dice, alice), of(dice, bob))
}

/// A site with so many selectors that IKE_AUTH needs fragments.
fn large(site: Site, fragment_size: u16, (own, other): (u8, u8), count: u8) -> Site {
    let networks = |side: u8| (0..count).map(move |n| net(&format!("10.20{side}.{n}.0/24")));
    site.with(|connection| connection.fragment_size = fragment_size).child(|child| {
        child.local_ts.extend(networks(own));
        child.remote_ts.extend(networks(other));
    })
}

/// Which algorithms, and whether the responder wants another group than the initiator guesses.
fn algorithms(dice: &mut SimRng, alice: &mut Site, bob: &mut Site) {
    let (encr, bits, integ) = dice.pick(&[
        (Encr::AES_GCM_16, 256, Integ::NONE),
        (Encr::AES_GCM_16, 128, Integ::NONE),
        (Encr::AES_CBC, 256, Integ::HMAC_SHA2_256_128),
        (Encr::CHACHA20_POLY1305, 0, Integ::NONE),
        (Encr::AES_CCM_16, 256, Integ::NONE),
    ]);
    let groups: &[KeMethod] = match dice.below(20) {
        0..15 => &[KeMethod::CURVE25519],
        15..19 => &[KeMethod::ECP_256, KeMethod::CURVE25519],
        _ => &[KeMethod::ECP_384, KeMethod::CURVE25519],
    };
    let wanted = if dice.chance(150) { &[KeMethod::CURVE25519, KeMethod::ECP_256][..] } else { groups };
    let offered = if wanted.len() > 1 && groups.len() == 1 {
        &[KeMethod::ECP_256, KeMethod::CURVE25519][..]
    } else {
        groups
    };
    alice.connections[0].proposals = vec![ike(encr, bits, integ, offered)];
    bob.connections[0].proposals = vec![ike(encr, bits, integ, &wanted[..1]), ike(encr, bits, integ, groups)];
    if dice.chance(300) {
        let pfs = vec![esp(encr, bits, integ, &[KeMethod::CURVE25519])];
        for site in [alice, bob] {
            let child = Arc::make_mut(&mut site.connections[0].children[0]);
            child.esp_proposals.clone_from(&pfs);
        }
    }
}

/// What makes a handshake fail in the end.
fn misfits(dice: &mut SimRng, mut alice: Site, mut bob: Site) -> (Site, Site) {
    match dice.below(100) {
        0..3 => bob = bob.with_psk(b"quite another secret than that"),
        3..6 => {
            bob = bob.with(|c| {
                c.proposals =
                    vec![ike(Encr::AES_CBC, 192, Integ::HMAC_SHA2_512_256, &[KeMethod::CURVE25519])];
            });
        }
        6..9 if !bob.connections[0].children.is_empty() => {
            bob = bob.child(|child| child.local_ts = vec![net("172.16.0.0/12")]);
        }
        9..11 => {
            alice = alice.with(|c| c.remote.id = IdPattern::Is(Identity::Fqdn("somebody.else".to_string())));
        }
        11..13 if !bob.connections[0].children.is_empty() => {
            bob = bob.child(|child| {
                child.esp_proposals = vec![esp(Encr::AES_CBC, 192, Integ::HMAC_SHA2_512_256, &[])];
            });
        }
        _ => {}
    }
    if dice.chance(150) {
        bob.settings.cookie_threshold = 0;
    }
    for site in [&mut alice, &mut bob] {
        if dice.chance(300) {
            let delay = Duration::ZERO..=Duration::from_millis(1500);
            site.dataplane = DataplaneNature { delay, refuse: 0 };
        }
        if dice.chance(40) {
            site.dataplane.refuse = 600;
        }
        if dice.chance(400) {
            let delay = Duration::from_millis(1)..=Duration::from_millis(3000);
            site.keeper = KeeperNature { delay, forget: 0 };
        }
        if dice.chance(10) {
            site.keeper.forget = 500;
        }
    }
    (alice, bob)
}

/// Who sits on the path, and when nothing passes at all.
fn troubles(dice: &mut SimRng, world: &mut World) {
    let cut = dice.chance(120).then(|| {
        let start = world.now() + Duration::from_millis(dice.below(20_000));
        (start, start + Duration::from_millis(dice.below(120_000)))
    });
    let noisy = dice.chance(300);
    let mut kept: Vec<Datagram> = Vec::new();
    world.attack(move |scene| {
        if cut.is_some_and(|(from, to)| scene.now >= from && scene.now < to) {
            scene.take();
        }
        if noisy {
            noise(scene, &mut kept);
        }
    });
}

/// An attacker without keys: sends again what it saw, with and without changes.
fn noise(scene: &mut Scene<'_>, kept: &mut Vec<Datagram>) {
    kept.push(scene.datagram.clone());
    if !scene.rng.chance(400) {
        return;
    }
    let mut forged = kept[scene.rng.below(kept.len() as u64) as usize].clone();
    let mut message = forged.message().to_vec();
    match scene.rng.below(5) {
        0 => {}
        1 => message.truncate(scene.rng.below(message.len() as u64 + 1) as usize),
        2 if !message.is_empty() => {
            let at = scene.rng.below(message.len() as u64) as usize;
            message[at] ^= 1 << scene.rng.below(8);
        }
        3 if message.len() > 24 => message[19] ^= 0x20 | 8,
        _ => {
            let from = scene.rng.below(message.len() as u64 + 1) as usize;
            scene.rng.fill(&mut message[from..]);
        }
    }
    forged = forged.with(&message);
    let delay = Duration::from_millis(scene.rng.below(5_000));
    // What makes a whole IKE_SA_INIT look different is an answer to something that was never asked: an
    // attacker on the path can always do that, and the handshake then fails for a stated reason.
    scene.send(delay, forged);
}

/// What happens to the tunnel while it stands.
fn life(dice: &mut SimRng, fresh: &mut SimRng, world: &mut World) {
    for _ in 0..dice.below(4) {
        world.run(Duration::from_millis(dice.below(30_000)));
        replace_ppks(fresh, world);
        let name = dice.pick(&["alice", "bob"]);
        match dice.below(9) {
            5 => {
                world.order(name, Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
            }
            6 => {
                world.order(name, Order::Rekey(Target::Connection("net".to_string())));
            }
            7 => {
                // Both at once.
                for name in ["alice", "bob"] {
                    let target = match dice.chance(500) {
                        true => Target::Connection("net".to_string()),
                        false => Target::Child("net".to_string(), "lan".to_string()),
                    };
                    world.order(name, Order::Rekey(target));
                    world.run(Duration::from_millis(dice.below(400)));
                }
            }
            8 if dice.chance(300) && (world.host("alice").nat.is_none() || name == "alice") => {
                world.crash(name);
                if dice.chance(500) {
                    world.up(name);
                }
            }
            8 => world.jump(dice.below(40_000_000) as i64 - 20_000_000),
            0 => {
                if let Some(ike) = world.status(name).first().map(|sa| sa.id) {
                    world.order(name, Order::Probe(ike));
                }
            }
            1 => {
                world.order(name, Order::Down(Target::Child("net".to_string(), "lan".to_string())));
            }
            2 if name == "alice" || world.host("alice").nat.is_none() => {
                world.up(name);
            }
            4 if name == "alice" && world.host("alice").nat.is_some() => {
                world.stats.count("story: the NAT box starts anew");
                world.restart_nat("alice");
            }
            3 if dice.chance(300) => {
                world.order(name, Order::Down(Target::Connection("net".to_string())));
            }
            _ => {}
        }
    }
}

/// Post-quantum pre-shared keys are replaced while tunnels stand: on both sides, one after the other, or on one of them. New
/// keys are asked for before that is settled, or after.
fn replace_ppks(fresh: &mut SimRng, world: &mut World) {
    let connection = &world.host("alice").policy.connections[0];
    let often = if connection.extensions.ppk.any() { 400 } else { 20 };
    if connection.local.method != AuthMethod::Psk || !fresh.chance(often) {
        return;
    }
    let all: [PpkList; 6] = [&[], BLUE, OTHER, BOTH, LATER, LATER];
    let (ppks, required) = (fresh.pick(&all), fresh.chance(300));
    let both = ["alice", "bob"];
    let of: Vec<&str> = if fresh.chance(700) { both.to_vec() } else { vec![fresh.pick(&both)] };
    for name in of {
        world.stats.count("story: other PPKs");
        world.replace_ppks(name, ppks, required && !ppks.is_empty());
        world.run(Duration::from_millis(fresh.below(3_000)));
        for name in both {
            if fresh.chance(500) {
                let target = match fresh.chance(500) {
                    true => Target::Connection("net".to_string()),
                    false => Target::Child("net".to_string(), "lan".to_string()),
                };
                world.order(name, Order::Rekey(target));
                world.run(Duration::from_millis(fresh.below(400)));
            }
        }
    }
}

/// Every order is answered.
fn answers(world: &mut World) {
    let end = world.now() + ANSWER;
    while !answered(world) && world.now() < end && world.step() {}
    for host in &world.hosts {
        if let Some(order) = host.open_orders.first() {
            world.fail(&format!("{} never answers {order:?}", host.name));
        }
    }
}

/// The weather turns fair; after a while both ends agree again.
fn heal(world: &mut World) {
    world.weather = Weather::fair();
    world.calm();
    // Of two that require different PPKs each refuses the other for ever.
    let requires = |name: &&str| world.host(name).policy.connections[0].extensions.ppk.required;
    if world.stats.get("story: other PPKs") > 0 && ["alice", "bob"].iter().any(requires) {
        for name in ["alice", "bob"] {
            world.replace_ppks(name, BLUE, true);
        }
    }
    let end = world.now() + AGREE;
    while world.now() < end {
        world.run(Duration::from_secs(5));
        if agree(world) && world.is_quiet() {
            return;
        }
    }
    let (alice, bob) = (world.status("alice"), world.status("bob"));
    world.fail(&format!("the ends do not come to agree: {} and {}", brief(&alice), brief(&bob)));
}

fn agree(world: &mut World) -> bool {
    let names = |list: Vec<IkeStatus>| {
        let mut names: Vec<_> = list.iter().map(|sa| (sa.spi_i, sa.spi_r, sa.state)).collect();
        names.sort();
        names
    };
    let (alice, bob) = (names(world.status("alice")), names(world.status("bob")));
    alice == bob && alice.iter().all(|(_, _, state)| *state == "established") && world.is_mirrored()
}

fn brief(list: &[IkeStatus]) -> String {
    let line = |sa: &IkeStatus| {
        format!("{}_{} {} with {} children", sa.spi_i, sa.spi_r, sa.state, sa.children.len())
    };
    format!("[{}]", list.iter().map(line).collect::<Vec<_>>().join(", "))
}

/// What came of the first order. Whoever says that it is up has an SA, or told why it went.
fn result(world: &mut World, first: OrderId) -> String {
    match world.reply(first) {
        Some(Reply::Up { ike, refused, .. }) => {
            let (ike, refused) = (*ike, !refused.is_empty());
            let told = world.host("alice").count(|event| match event {
                sa::Event::IkeDown(facts, _) => facts.ike == ike,
                sa::Event::IkeRekeyed { before, .. } => *before == ike,
                _ => false,
            });
            if told == 0
                && world.host("alice").crashes == 0
                && world.status("alice").iter().all(|sa| sa.id != ike)
            {
                world.fail("an IKE SA that was up is gone, and nobody was told why");
            }
            if refused { "established, a child refused".to_string() } else { "established".to_string() }
        }
        Some(Reply::Refused(refusal)) => {
            if refusal.reason.trim().is_empty() {
                world.fail("given up without a reason");
            }
            let by = if refusal.by_peer { "peer" } else { "us" };
            format!("given up: {:?} by {by}", refusal.kind)
        }
        None if world.host("alice").crashes > 0 => "forgotten".to_string(),
        other => world.fail(&format!("Order::Up is answered by {other:?}")),
    }
}

/// Everything is closed, by one side or by both; nothing is left.
fn end(dice: &mut SimRng, world: &mut World) {
    let which = dice.below(3);
    if which != 1 {
        world.down("alice");
    }
    if which != 0 {
        world.down("bob");
    }
    let end: Instant = world.now() + AGREE;
    while !answered(world) && world.now() < end && world.step() {}
    // Through a NAT box that has forgotten her nobody reaches alice: she finds out by her own probe.
    // And a keeper that does not answer holds a response back for longer than its peer waits.
    let forgetful = ["alice", "bob"].iter().any(|name| world.host(name).keeper_nature.forget > 0);
    let unreachable = forgetful || world.host("alice").nat.is_some();
    world.run(if unreachable { AGREE } else { REMEMBERED });
    for name in ["alice", "bob"] {
        let left = world.status(name);
        if !left.is_empty() {
            world.fail(&format!("{name} still has {} after the end", brief(&left)));
        }
        let host = world.host(name);
        let children = host.dataplane.sad().count();
        if children > 0
            || !host.open_orders.is_empty()
            || !host.jobs.is_empty() && host.keeper_nature.forget == 0
        {
            world.fail(&format!("{name} still has {children} children, orders or jobs after the end"));
        }
        if !host.core.is_empty() {
            world.fail(&format!("{name} still keeps a name, an SPI or a half-open SA after the end"));
        }
    }
}
