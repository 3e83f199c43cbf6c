//! Who is there, and how each is configured.

use super::{Link, Realm, Span};
use crate::site::{additional, connection, esp, ip, net};
use crate::story::Kit;
use crate::{DataplaneNature, Flow, KeeperNature, SimRng, Site, Weather, World};
use base::{Rng, Secret};
use policy::{
    AddressPattern, Child, ChildLifetime, Childless, Configuration, Connection, EncapChoice, EndAction,
    Gateway, IdPattern, Identity, IkeLifetime, Pool, Redirect, StartAction, Unique,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::num::{Encr, Integ, KeMethod};

const CLIENTS: [&str; 3] = ["amy", "ben", "cleo"];
const SITES: [&str; 4] = ["ada", "bob", "carl", "dora"];

/// The gateway, and the one that stands in for it.
const HUB: (&str, &str) = ("hub", "198.51.100.1");
const TWIN: (&str, &str) = ("twin", "198.51.100.2");

/// What all sites of one realm have in common, so that what is wanted of it is certain.
struct Manner {
    span: Span,
    is_gentle: bool,
    start: StartAction,
    ending: EndAction,
    unique: Unique,
    dmz: bool,
    /// Each pair proposes other groups first.
    groups: bool,
    leases: Option<usize>,
}

pub(super) fn lay_out(seed: u64, span: Span, kit: &Kit, speak: bool) -> Realm {
    let mut dice = SimRng::new(seed, "realm");
    let mut world = World::new(seed, kit.suite.clone());
    if speak {
        world = world.speaking();
    }
    let mesh = dice.chance(400);
    let is_gentle = dice.chance(300);
    let manner = Manner { is_gentle, ..manner(&mut dice, span, mesh) };
    let (sites, links) = if mesh { mesh_of(&mut dice, &manner) } else { star_of(&mut dice, &manner) };
    let places = additional(&mut SimRng::new(seed, "additional key exchanges"));
    let twice = SimRng::new(seed, "second rounds").chance(150);
    let of_all = |site: Site| if twice { site.proving_twice().wanting_two() } else { site };
    let sites: Vec<Site> = sites.into_iter().map(|site| of_all(site.following_up(&places))).collect();
    let names = sites.iter().map(|site| site_name(&site.name)).collect();
    let mobile = sites.iter().map(|site| site.connections.iter().all(|c| c.mobike)).collect();
    world.weather = if is_gentle { Weather::fair() } else { weather(&mut dice) };
    for site in sites {
        world = world.site(troubled(&mut dice, site, is_gentle));
    }
    let began = world.now();
    let mut realm = Realm {
        world,
        dice,
        links,
        names,
        span,
        is_gentle,
        is_unique: matches!(manner.unique, Unique::Replace | Unique::Keep),
        traps: manner.start.traps(),
        pool: manner.leases,
        mobile,
        released: BTreeSet::new(),
        moves: 0,
        began,
    };
    realm.mark(if mesh { "mesh or chain" } else { "star" });
    realm
}

fn site_name(name: &str) -> &'static str {
    let all = CLIENTS.iter().chain(&SITES).chain([&HUB.0, &TWIN.0]);
    all.copied().find(|known| *known == name).unwrap_or("nobody")
}

fn manner(dice: &mut SimRng, span: Span, mesh: bool) -> Manner {
    let leases = (!mesh && dice.chance(400)).then(|| 1 + dice.below(4) as usize);
    let start = match (dice.below(100), leases) {
        (0..40, _) => StartAction::None,
        (40..60, _) | (_, Some(_)) => StartAction::Start,
        (60..85, None) => StartAction::Trap,
        _ => StartAction::TrapStart,
    };
    let ending = match dice.below(100) {
        0..40 => EndAction::Clear,
        40..55 if leases.is_none() => EndAction::Trap,
        _ => EndAction::Restart,
    };
    let unique = match dice.below(100) {
        0..60 => Unique::Replace,
        60..75 => Unique::Keep,
        75..90 => Unique::No,
        _ => Unique::Never,
    };
    Manner {
        span,
        is_gentle: false,
        start,
        ending,
        unique,
        dmz: dice.chance(250),
        groups: dice.chance(120),
        leases,
    }
}

/// Fair, slow, or foul; never so foul that every other request is given up.
fn weather(dice: &mut SimRng) -> Weather {
    match dice.below(3) {
        0 => Weather::fair(),
        1 => {
            let delay = Duration::from_millis(5)..=Duration::from_millis(400);
            Weather { delay, ..Weather::fair() }
        }
        _ => Weather { loss: 100, ..Weather::foul() },
    }
}

/// One to three clients and their gateway, or two gateways.
fn star_of(dice: &mut SimRng, manner: &Manner) -> (Vec<Site>, Vec<Link>) {
    let twins = dice.chance(350) && manner.leases.is_none();
    let count = 1 + dice.below(if twins { 2 } else { 3 }) as usize;
    let nat = match dice.below(100) {
        0..40 => Nat::None,
        40..75 => Nat::Shared,
        _ => Nat::Alike,
    };
    let mobile = (dice.chance(500), dice.chance(700));
    let mut sites = Vec::new();
    let mut links = Vec::new();
    for (index, name) in CLIENTS.into_iter().take(count).enumerate() {
        let (address, outside) = nat.place(index);
        let mut site = Site::psk(name, &address, HUB.0, HUB.1);
        site.connections[0].children = client_children(manner, index);
        if let Some(outside) = outside {
            site = site.behind(&outside, Duration::from_secs(60 + dice.below(600)));
        }
        let site = caller(if manner.groups { guessing(site) } else { site }, manner);
        sites.push(lived(dice, if mobile.0 { site.mobile() } else { roaming(site) }, manner));
        let flow =
            |third: u8| Flow::udp([10, 10 + index as u8, 0, 1].into(), IpAddr::from([10, third, 0, 1]));
        links.push(Link {
            caller: name,
            connection: 0,
            name: "net".to_string(),
            peers: if twins { vec![HUB.0, TWIN.0] } else { vec![HUB.0] },
            back: (None, "net".to_string()),
            children: children_names(manner),
            flows: match manner.leases {
                Some(_) => Vec::new(),
                None => [100, 101].into_iter().take(if manner.dmz { 2 } else { 1 }).map(flow).collect(),
            },
        });
    }
    let rule = dice.below(4);
    let pressed = dice.chance(250);
    for (name, address) in [HUB, TWIN].into_iter().take(1 + usize::from(twins)) {
        let site = gateway(name, address, manner);
        let mut site = lived(dice, if mobile.1 { site.mobile() } else { site }, manner);
        if mobile.1 && dice.chance(400) {
            site = site.also_at(&[if name == HUB.0 { "198.51.100.11" } else { "198.51.100.12" }]);
        }
        if twins && name == HUB.0 {
            site.connections[0].extensions.redirect = redirect(rule);
        }
        if pressed {
            site.settings.cookie_threshold = dice.below(3) as usize;
            site.settings.puzzle_threshold = dice.pick(&[0, 2, 1000]);
            site.settings.puzzle_difficulty = 9;
            site.settings.max_half_open = 24;
        }
        sites.push(site);
    }
    (sites, links)
}

/// Where clients are.
#[derive(Clone, Copy)]
enum Nat {
    None,
    /// All behind one box.
    Shared,
    /// Each behind a box of its own, with the same address behind it.
    Alike,
}

impl Nat {
    fn place(self, index: usize) -> (String, Option<String>) {
        match self {
            Self::None => (format!("192.0.2.{}", 10 + index), None),
            Self::Shared => (format!("192.168.1.{}", 10 + index), Some("203.0.113.9".to_string())),
            Self::Alike => ("192.168.1.10".to_string(), Some(format!("203.0.113.{}", 10 + index))),
        }
    }
}

/// Which clients the first gateway sends on to the second.
fn redirect(rule: u64) -> Option<Redirect> {
    let to = Gateway::Address(ip(TWIN.1));
    let all = Redirect { to, clients: Vec::new(), ids: Vec::new(), above: 0 };
    let amy = IdPattern::Is(Identity::Fqdn("amy.example".to_string()));
    match rule {
        0 => None,
        1 => Some(all),
        2 => Some(Redirect { ids: vec![amy], ..all }),
        _ => Some(Redirect { above: 1, ..all }),
    }
}

fn children_names(manner: &Manner) -> Vec<&'static str> {
    if manner.dmz { vec!["lan", "dmz"] } else { vec!["lan"] }
}

fn template() -> Child {
    let any = ip("192.0.2.1");
    let mut connection = connection("any", any, "other", any);
    Arc::unwrap_or_clone(connection.children.remove(0))
}

/// The children between two networks, or between a leased address (`None`) and a network.
fn children(manner: &Manner, of: impl Fn(usize) -> (Option<String>, Option<String>)) -> Vec<Arc<Child>> {
    let one = |(at, name): (usize, &'static str)| {
        let (own, other) = of(at);
        let ts = |text: Option<String>| text.iter().map(|text| net(text)).collect();
        let esp_proposals = match (manner.groups, at) {
            (true, _) => vec![esp(Encr::AES_GCM_16, 256, Integ::NONE, &[KeMethod::CURVE25519])],
            (false, 0) => vec![esp(Encr::AES_GCM_16, 256, Integ::NONE, &[])],
            (false, _) => vec![esp(Encr::AES_GCM_16, 256, Integ::NONE, &[KeMethod::CURVE25519])],
        };
        Arc::new(Child {
            name: name.to_string(),
            local_ts: ts(own),
            remote_ts: ts(other),
            esp_proposals,
            ..template()
        })
    };
    children_names(manner).into_iter().enumerate().map(one).collect()
}

fn client_children(manner: &Manner, index: usize) -> Vec<Arc<Child>> {
    let own = manner.leases.is_none().then(|| format!("10.{}.0.0/16", 10 + index));
    children(manner, |at| (own.clone(), Some(format!("10.{}.0.0/16", 100 + at))))
}

/// Begins, and keeps up what it has begun.
fn caller(mut site: Site, manner: &Manner) -> Site {
    start(&mut site, manner.start);
    for connection in &mut site.connections {
        for child in &mut connection.children {
            let child = Arc::make_mut(child);
            (child.dpd_action, child.close_action) = (manner.ending, manner.ending);
        }
        connection.unique = manner.unique;
        if manner.leases.is_some() {
            connection.configuration.vips = vec![ip("0.0.0.0")];
        }
    }
    site
}

fn start(site: &mut Site, action: StartAction) {
    for child in site.connections.iter_mut().flat_map(|connection| &mut connection.children) {
        Arc::make_mut(child).start_action = action;
    }
}

/// Proposes a group first that nobody else takes for a child.
fn guessing(mut site: Site) -> Site {
    let both = [KeMethod::ECP_256, KeMethod::CURVE25519];
    for child in site.connections.iter_mut().flat_map(|connection| &mut connection.children) {
        Arc::make_mut(child).esp_proposals = vec![esp(Encr::AES_GCM_16, 256, Integ::NONE, &both)];
    }
    site
}

/// Without MOBIKE, but from any address that it has.
fn roaming(site: Site) -> Site {
    site.with(|connection| connection.local_addrs = vec![AddressPattern::Any])
}

/// Answers whoever has the PSK.
fn gateway(name: &str, address: &str, manner: &Manner) -> Site {
    let mut site = Site::psk(name, address, "anybody", "192.0.2.1");
    let others = manner.leases.is_none().then(|| "10.0.0.0/10".to_string());
    let connection = &mut site.connections[0];
    connection.children = children(manner, |at| (Some(format!("10.{}.0.0/16", 100 + at)), others.clone()));
    connection.local.id = Some(Identity::Fqdn("hub.example".to_string()));
    connection.remote.id = IdPattern::Any;
    connection.remote_addrs = vec![AddressPattern::Any];
    connection.unique = manner.unique;
    if let Some(count) = manner.leases {
        let end = ip(&format!("10.3.0.{count}"));
        let addrs = dataplane::AddressRange::new(ip("10.3.0.1"), end).into_iter().collect();
        let pool = Pool { name: "road".to_string(), addrs, dns: vec![ip("10.100.0.53")], ..Pool::default() };
        connection.configuration = Configuration { pools: vec![Arc::new(pool)], ..Configuration::default() };
    }
    site
}

/// Two to four sites, each with a tunnel to each other one or to its neighbours.
fn mesh_of(dice: &mut SimRng, manner: &Manner) -> (Vec<Site>, Vec<Link>) {
    let count = 2 + dice.below(3) as usize;
    let chain = dice.chance(400);
    let linked = |own: usize, other: usize| own != other && (!chain || own.abs_diff(other) == 1);
    let mobile = dice.chance(500);
    let sites = (0..count).map(|own| {
        let (name, address) = (SITES[own], mesh_address(own));
        let mut site = Site::psk(name, &address, SITES[(own + 1) % count], &mesh_address((own + 1) % count));
        let others = (0..count).filter(|other| linked(own, *other));
        site.connections = others.map(|other| mesh_connection(manner, own, other)).collect();
        let site = mesh_ends(site, own, manner);
        lived(dice, if mobile { all_mobile(site) } else { site }, manner)
    });
    let sites: Vec<Site> = sites.collect();
    let index = |own: usize, other: usize| (0..other).filter(|o| linked(own, *o)).count() as u32;
    let mut links = Vec::new();
    for (own, caller) in SITES.into_iter().enumerate().take(count) {
        for other in (own + 1..count).filter(|other| linked(own, *other)) {
            let flow = |first: usize| {
                let at = |site: usize| IpAddr::from([10, (first + site) as u8, 0, 1]);
                Flow::udp(at(own), at(other))
            };
            links.push(Link {
                caller,
                connection: index(own, other),
                name: SITES[other].to_string(),
                peers: vec![SITES[other]],
                back: (Some(index(other, own)), caller.to_string()),
                children: children_names(manner),
                flows: [10, 20].into_iter().take(if manner.dmz { 2 } else { 1 }).map(flow).collect(),
            });
        }
    }
    (sites, links)
}

fn mesh_address(own: usize) -> String {
    format!("192.0.2.{}", 1 + own)
}

/// Of two sites the first begins by itself, or both do.
fn mesh_ends(site: Site, own: usize, manner: &Manner) -> Site {
    let mut site = caller(if manner.groups && own.is_multiple_of(2) { guessing(site) } else { site }, manner);
    if own > 0 {
        start(&mut site, quiet(manner.start));
    }
    site
}

/// What only a packet starts.
fn quiet(start: StartAction) -> StartAction {
    if start.traps() { StartAction::Trap } else { StartAction::None }
}

fn mesh_connection(manner: &Manner, own: usize, other: usize) -> Connection {
    let mut connection =
        connection(SITES[own], ip(&mesh_address(own)), SITES[other], ip(&mesh_address(other)));
    connection.name = SITES[other].to_string();
    let net_of = |at: usize, site: usize| Some(format!("10.{}.0.0/16", 10 + 10 * at + site));
    connection.children = children(manner, |at| (net_of(at, own), net_of(at, other)));
    connection
}

fn all_mobile(mut site: Site) -> Site {
    for connection in &mut site.connections {
        connection.mobike = true;
        connection.local_addrs = vec![AddressPattern::Any];
        connection.remote_addrs.push(AddressPattern::Any);
    }
    site
}

/// How long keys serve, how the peer's silence is taken, and what else a site does in its own way.
fn lived(dice: &mut SimRng, mut site: Site, manner: &Manner) -> Site {
    let unit = manner.span.unit();
    let time = |dice: &mut SimRng, least: u64, more: u64| unit * (least + dice.below(more)) as u32;
    let often = if manner.span == Span::Month { 1000 } else { 350 };
    let child = dice.chance(often).then(|| {
        let rekey = time(dice, 25, 120);
        let life = rekey + time(dice, 30, 60);
        ChildLifetime { rekey, life, rand: rekey / 3, ..ChildLifetime::UNLIMITED }
    });
    let mut ike = IkeLifetime::UNLIMITED;
    if dice.chance(often) {
        let rekey = time(dice, 60, 200);
        ike = IkeLifetime { rekey, over: time(dice, 200, 100), rand: rekey / 3, ..ike };
    }
    // A responder uses a child of its new IKE SA before a slow initiator has checked that; and where one peer may have
    // several IKE SAs, each needs an address of its own.
    let is_unique = matches!(manner.unique, Unique::Replace | Unique::Keep);
    if dice.chance(150) && !manner.is_gentle && (is_unique || manner.leases.is_none()) {
        ike = IkeLifetime { reauth: time(dice, 90, 200), over: time(dice, 200, 100), ..ike };
    }
    let window = dice.pick(&[1, 1, 2, 8]);
    let childless = if dice.chance(100) { Childless::Prefer } else { Childless::Allow };
    let tries = dice.pick(&[0, 0, 0, 2]);
    let encap = if dice.chance(100) { EncapChoice::Force } else { EncapChoice::Auto };
    let timeout = if dice.chance(200) { Duration::from_secs(60) } else { Duration::ZERO };
    if dice.chance(500) {
        let mut secret = [0; 32];
        dice.fill(&mut secret);
        site.settings.crash_secret = Some(Secret::new(secret));
    }
    for connection in &mut site.connections {
        connection.lifetime = ike;
        connection.window = window;
        connection.extensions.childless = childless;
        connection.encap = encap;
        connection.keyingtries = tries;
        connection.dpd_delay = unit.max(Duration::from_secs(2)) * 15;
        connection.dpd_timeout = timeout;
        for of in &mut connection.children {
            Arc::make_mut(of).lifetime = child.unwrap_or(ChildLifetime::UNLIMITED);
        }
    }
    site
}

/// Slow data planes and keepers, and data planes that refuse.
fn troubled(dice: &mut SimRng, mut site: Site, is_gentle: bool) -> Site {
    if dice.chance(300) {
        site.dataplane.delay = Duration::ZERO..=Duration::from_millis(1500);
    }
    if dice.chance(60) && !is_gentle {
        site.dataplane = DataplaneNature { refuse: 300, ..site.dataplane };
    }
    if dice.chance(300) {
        site.keeper =
            KeeperNature { delay: Duration::from_millis(1)..=Duration::from_millis(2000), forget: 0 };
    }
    site
}
