//! Scenarios: what IKE peers may do to each other, one file per procedure, extension and attack in
//! `tests/suite`. This library has what they share.
#![forbid(unsafe_code)]

mod channel;
pub mod puppet;
pub mod reader;
pub mod schedule;

pub use channel::{Channel, Opened};
pub use puppet::Puppet;
pub use sim::{World, answered, established};

use provider::Provider;
use sa::{Drop, Event, IkeStatus};
use sim::Site;
use std::sync::Arc;
use wire::Payload;
use wire::num::NotifyType;

/// An empty world with fair weather.
pub fn world(seed: u64) -> World {
    World::new(seed, Arc::new(Provider::new()))
}

/// The site that usually begins: 192.0.2.1, network 10.1.0.0/16.
pub fn alice() -> Site {
    Site::psk("alice", "192.0.2.1", "bob", "198.51.100.2")
}

/// The site that usually answers: 198.51.100.2, network 10.2.0.0/16.
pub fn bob() -> Site {
    Site::psk("bob", "198.51.100.2", "alice", "192.0.2.1")
}

/// The notifications of a message.
pub fn notifies(payloads: &[Payload<'_>]) -> Vec<NotifyType> {
    let notify = |payload: &Payload<'_>| match payload {
        Payload::Notify(notify) => Some(notify.kind),
        _ => None,
    };
    payloads.iter().filter_map(notify).collect()
}

/// Whether nobody has an IKE SA, a child or an order under way any more.
pub fn is_clean(world: &mut World) -> bool {
    let names: Vec<String> = world.hosts.iter().map(|host| host.name.clone()).collect();
    let none = names.iter().all(|name| world.status(name).is_empty());
    none && world
        .hosts
        .iter()
        .all(|host| host.dataplane.sad().next().is_none() && host.open_orders.is_empty())
}

/// How many datagrams of a site were dropped for that reason.
pub fn dropped(world: &World, name: &str, why: Drop) -> usize {
    world.host(name).count(|event| matches!(event, Event::Dropped { why: found, .. } if *found == why))
}

/// What a site has: established IKE SAs and child SAs, to see that nothing has changed.
pub fn holdings(world: &mut World, name: &str) -> String {
    let list: Vec<IkeStatus> = world.status(name).into_iter().filter(|sa| sa.state != "connecting").collect();
    let one = |sa: &IkeStatus| {
        let children: Vec<_> = sa.children.iter().map(|child| (child.spi_in, child.spi_out)).collect();
        format!("{}_{} {} {children:?}", sa.spi_i, sa.spi_r, sa.state)
    };
    let children: Vec<String> = world.host(name).dataplane.sad().map(|spec| format!("{spec:?}")).collect();
    format!("{:?} {children:?}", list.iter().map(one).collect::<Vec<_>>())
}
