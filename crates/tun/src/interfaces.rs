//! Which interfaces there are beside the engine's own device, and who needs them.

use crate::limits::MAX_INTERFACES;
use crate::outward::MAIN;
use dataplane::Interface;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// All interfaces by their lanes, the numbers that the threads know them by. `D` is a device.
pub(crate) struct Interfaces<D> {
    lanes: BTreeMap<usize, Entry<D>>,
}

/// An interface, whether its device is there or not.
pub(crate) struct Entry<D> {
    pub(crate) name: Interface,
    /// `None` until it could be made.
    pub(crate) device: Option<Arc<D>>,
    /// Whether it is to be there without a user, too.
    is_wanted: bool,
    /// Children, traps and addresses on it.
    users: usize,
    /// Addresses of this host on it, and how often each was assigned.
    pub(crate) addresses: BTreeMap<IpAddr, u32>,
    /// Why it could not be made, as was told last.
    pub(crate) told: Option<String>,
}

impl<D> Interfaces<D> {
    pub(crate) fn new() -> Self {
        Self { lanes: BTreeMap::new() }
    }

    /// The lane of the interface of that name, a new one where there is none, and whether it is new. One that is there stays in its
    /// network namespace.
    pub(crate) fn open(&mut self, name: &Interface) -> Result<(usize, bool), String> {
        if let Some(lane) = self.find(name) {
            return Ok((lane, false));
        }
        let lane = (MAIN + 1..=MAX_INTERFACES).find(|lane| !self.lanes.contains_key(lane));
        let lane = lane.ok_or_else(|| format!("there are {MAX_INTERFACES} interfaces already."))?;
        let (device, addresses, told) = Default::default();
        let name = name.clone();
        self.lanes.insert(lane, Entry { name, device, is_wanted: false, users: 0, addresses, told });
        Ok((lane, true))
    }

    /// The lane of that interface, if there is one.
    pub(crate) fn find(&self, name: &Interface) -> Option<usize> {
        self.lanes.iter().find(|(_, entry)| entry.name.as_str() == name.as_str()).map(|(lane, _)| *lane)
    }

    pub(crate) fn get_mut(&mut self, lane: usize) -> Option<&mut Entry<D>> {
        self.lanes.get_mut(&lane)
    }

    /// The lanes that there are.
    pub(crate) fn lanes(&self) -> Vec<usize> {
        self.lanes.keys().copied().collect()
    }

    /// One user more. The engine's own device is not counted.
    pub(crate) fn enter(&mut self, lane: usize) {
        if let Some(entry) = self.lanes.get_mut(&lane) {
            entry.users += 1;
        }
    }

    /// One user less.
    pub(crate) fn leave(&mut self, lane: usize) {
        if let Some(entry) = self.lanes.get_mut(&lane) {
            entry.users = entry.users.saturating_sub(1);
        }
    }

    /// It belongs into the network namespace that `name` says from now on; its device, if that was made for another one.
    pub(crate) fn place(&mut self, lane: usize, name: &Interface) -> Option<Arc<D>> {
        let entry = self.lanes.get_mut(&lane).filter(|entry| entry.name != *name)?;
        entry.name = name.clone();
        entry.device.take()
    }

    /// Those that are to be there from now on without a user, too.
    pub(crate) fn want(&mut self, names: &BTreeSet<Interface>) {
        for entry in self.lanes.values_mut() {
            entry.is_wanted = names.iter().any(|name| name.as_str() == entry.name.as_str());
        }
    }

    /// Forgets those that nobody wants and nobody uses: their lanes and devices.
    pub(crate) fn close_unused(&mut self) -> Vec<(usize, Option<Arc<D>>)> {
        let unused = self.lanes.iter().filter(|(_, entry)| !entry.is_wanted && entry.users == 0);
        let unused: Vec<usize> = unused.map(|(lane, _)| *lane).collect();
        unused.iter().filter_map(|lane| Some((*lane, self.lanes.remove(lane)?.device))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Interface {
        Interface::new(text).expect("a name")
    }

    #[test]
    fn an_interface_stays_as_long_as_it_is_wanted_or_used() {
        let mut all = Interfaces::<()>::new();
        assert_eq!(all.open(&name("a")), Ok((1, true)));
        assert_eq!(all.open(&name("b")), Ok((2, true)));
        assert_eq!(all.open(&name("a")), Ok((1, false)));
        all.want(&[name("a")].into());
        all.enter(2);
        assert!(all.close_unused().is_empty());
        all.want(&[].into());
        assert_eq!(all.close_unused(), [(1, None)]);
        all.enter(2);
        all.leave(2);
        assert!(all.close_unused().is_empty(), "it has a user left");
        all.leave(2);
        assert_eq!(all.close_unused(), [(2, None)]);
        assert_eq!(all.open(&name("c")), Ok((1, true)), "its lane is free again");
    }

    #[test]
    fn only_the_configuration_says_which_namespace_it_is_in() {
        let mut all = Interfaces::new();
        let red = name("a").within("red").expect("a name");
        let (lane, _) = all.open(&name("a")).unwrap();
        all.get_mut(lane).unwrap().device = Some(Arc::new(()));
        assert_eq!(all.open(&red), Ok((lane, false)), "a child of another policy");
        assert_eq!(all.place(lane, &name("a")), None);
        assert_eq!(all.place(lane, &red), Some(Arc::new(())));
        assert_eq!(all.place(lane, &red), None);
        assert_eq!(all.get_mut(lane).unwrap().name.namespace(), Some("red"));
        all.want(&[red].into());
        assert!(all.close_unused().is_empty());
    }

    #[test]
    fn there_are_at_most_so_many() {
        let mut all = Interfaces::<()>::new();
        for n in 1..=MAX_INTERFACES {
            assert_eq!(all.open(&name(&format!("hf-{n}"))), Ok((n, true)));
        }
        assert_eq!(all.open(&name("hf-7")), Ok((7, false)));
        let refused = all.open(&name("one-more")).expect_err("no room");
        assert!(refused.contains(&MAX_INTERFACES.to_string()), "{refused}");
        all.want(&(2..=MAX_INTERFACES).map(|n| name(&format!("hf-{n}"))).collect());
        assert_eq!(all.close_unused(), [(1, None)]);
        assert_eq!(all.open(&name("one-more")), Ok((1, true)));
    }
}
