//! All IKE SAs of an endpoint, and the ways to find one.

use base::{IkeSpi, Instant};
use dataplane::ChildId;
use ikev2::IkeSa;
use sa::{IkeSaId, Path, Place, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use wire::Header;

/// The IKE SAs by name, by SPI and by the time when they want to be woken.
#[derive(Default)]
pub(crate) struct Table {
    slots: BTreeMap<IkeSaId, Slot>,
    by_spi: BTreeMap<IkeSpi, IkeSaId>,
    /// Half-open ones by the peer's SPI and address, to recognize a first message that comes again.
    by_first: BTreeMap<(IkeSpi, SocketAddr), IkeSaId>,
    timers: BTreeSet<(Instant, IkeSaId)>,
    children: BTreeMap<ChildId, IkeSaId>,
    /// By the names of connections, once an IKE SA has one.
    by_connection: BTreeMap<Arc<str>, BTreeSet<IkeSaId>>,
}

/// What is known of an IKE SA whose peer is not authenticated yet.
#[derive(Clone, Copy)]
pub(crate) struct Waiting {
    /// The SPI and the address of its first message.
    pub(crate) first: (IkeSpi, SocketAddr),
    /// What it takes up among the half-open ones.
    pub(crate) place: Place,
}

/// An IKE SA with what the table knows of it.
pub(crate) struct Slot {
    pub(crate) sa: IkeSa,
    /// As long as it is half open.
    pub(crate) half_open: Option<Waiting>,
    wake: Option<(Instant, Reason)>,
    children: Vec<ChildId>,
    rival: Option<IkeSpi>,
    connection: Option<Arc<str>>,
}

impl Table {
    pub(crate) fn insert(&mut self, id: IkeSaId, sa: IkeSa, half_open: Option<Waiting>) {
        self.by_spi.insert(sa.local_spi(), id);
        if let Some(waiting) = half_open {
            self.by_first.insert(waiting.first, id);
        }
        let (wake, children, rival, connection) = (None, Vec::new(), None, None);
        self.slots.insert(id, Slot { sa, half_open, wake, children, rival, connection });
        self.refresh(id);
    }

    pub(crate) fn get_mut(&mut self, id: IkeSaId) -> Option<&mut Slot> {
        self.slots.get_mut(&id)
    }

    /// The IKE SA that a message is for.
    pub(crate) fn find(&self, header: &Header, path: Path) -> Option<IkeSaId> {
        let ours = header.receiver_spi();
        if ours == IkeSpi::ZERO {
            return self.by_first.get(&(header.spi_i, path.remote)).copied();
        }
        self.by_spi.get(&ours).copied()
    }

    /// Whether this endpoint drew that SPI for an IKE SA that it has.
    pub(crate) fn drew(&self, spi: IkeSpi) -> bool {
        self.by_spi.contains_key(&spi)
    }

    pub(crate) fn owner_of(&self, child: ChildId) -> Option<IkeSaId> {
        self.children.get(&child).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IkeSaId, &IkeSa)> {
        self.slots.iter().map(|(id, slot)| (*id, &slot.sa))
    }

    /// Those of a connection, the oldest first.
    pub(crate) fn of_connection(&self, name: &str) -> impl Iterator<Item = (IkeSaId, &IkeSa)> {
        let ids = self.by_connection.get(name).into_iter().flatten();
        ids.filter_map(|id| Some((*id, &self.slots.get(id)?.sa)))
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The earliest moment that any IKE SA waits for.
    pub(crate) fn wake(&self) -> Option<(Instant, Reason)> {
        let (_, id) = self.timers.first()?;
        self.slots.get(id)?.wake
    }

    /// Those whose moment has come, in the order of their moments.
    pub(crate) fn due(&self, now: Instant) -> Vec<IkeSaId> {
        self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    /// Learns what has changed in an IKE SA; forgets it when nothing is left of it.
    pub(crate) fn refresh(&mut self, id: IkeSaId) {
        self.note_connection(id);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if !slot.sa.is_half_open()
            && let Some(waiting) = slot.half_open.take()
        {
            self.by_first.remove(&waiting.first);
        }
        let children = slot.sa.child_ids();
        if children != slot.children {
            for gone in slot.children.iter().filter(|child| !children.contains(child)) {
                self.children.remove(gone);
            }
            self.children.extend(children.iter().map(|child| (*child, id)));
            slot.children = children;
        }
        let rival = slot.sa.rival_spi();
        if rival != slot.rival {
            if let Some(spi) = slot.rival {
                self.by_spi.remove(&spi);
            }
            self.by_spi.extend(rival.map(|spi| (spi, id)));
            slot.rival = rival;
        }
        let wake = slot.sa.wake();
        if wake.map(|(at, _)| at) != slot.wake.map(|(at, _)| at) {
            if let Some((at, _)) = slot.wake {
                self.timers.remove(&(at, id));
            }
            if let Some((at, _)) = wake {
                self.timers.insert((at, id));
            }
        }
        slot.wake = wake;
        if slot.sa.is_gone()
            && let Some(slot) = self.slots.remove(&id)
        {
            self.by_spi.remove(&slot.sa.local_spi());
            if let Some((at, _)) = slot.wake {
                self.timers.remove(&(at, id));
            }
            self.leave_connection(id, slot.connection.as_deref());
        }
    }

    fn note_connection(&mut self, id: IkeSaId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.sa.connection() == slot.connection.as_deref() {
            return;
        }
        let now = slot.sa.connection().map(|name| match self.by_connection.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => name.into(),
        });
        let before = std::mem::replace(&mut slot.connection, now.clone());
        self.leave_connection(id, before.as_deref());
        if let Some(name) = now {
            self.by_connection.entry(name).or_default().insert(id);
        }
    }

    fn leave_connection(&mut self, id: IkeSaId, name: Option<&str>) {
        if let Some(name) = name
            && let Some(ids) = self.by_connection.get_mut(name)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_connection.remove(name);
            }
        }
    }
}
