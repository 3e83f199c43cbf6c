//! What an IKE SA holds for its peer, and from it.

use super::asked::is_prefix;
use super::filled_in;
use crate::contents::Contents;
use crate::{Common, Cx};
use dataplane::{AddressRange, Assigned, Interface, Op, Selector};
use policy::{Connection, Leased};
use sa::{Branch, Job, JobId, Received};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use wire::num::NotifyType;
use wire::{Notify, Payload};

/// What an IKE SA holds for its peer, and from it. Its successor takes it over as a whole.
#[derive(Debug, Default)]
pub(crate) struct Leases(Option<Box<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// In whose names the keeper has what we gave.
    jobs: Vec<JobId>,
    leased: Vec<Leased>,
    /// The traffic of whoever holds those.
    selectors: Vec<Selector>,
    /// Addresses are of another IKE SA, which this one stands beside.
    shared: bool,
    /// The connection before its `dynamic` selectors were filled in with them.
    plain: Option<Arc<Connection>>,
    received: Option<Arc<Received>>,
    resolver: Option<JobId>,
    /// Networks that the peer protects and that are not looked at yet.
    unreached: Vec<AddressRange>,
    /// Where the addresses that we have stand.
    interface: Option<Interface>,
    /// Addresses that are being set on this host.
    assigning: Vec<(JobId, IpAddr)>,
}

impl Leases {
    fn held(&mut self) -> &mut Held {
        self.0.get_or_insert_default()
    }

    /// That job holds something, or will.
    pub(crate) fn asked(&mut self, job: JobId) {
        self.held().jobs.push(job);
    }

    /// The peer has these, and sends as `selectors`; `plain` is the connection without them.
    pub(crate) fn gave(&mut self, leased: &[Leased], selectors: &[Selector], plain: &Arc<Connection>) {
        let held = self.held();
        held.leased.extend_from_slice(leased);
        let new = selectors.iter().filter(|selector| !held.selectors.contains(selector));
        let new: Vec<Selector> = new.copied().collect();
        held.selectors.extend(new);
        held.plain.get_or_insert_with(|| plain.clone());
    }

    /// What an IKE SA beside this one has of it: the use, and nothing to give back (RFC 7791 §5.2).
    pub(crate) fn beside(&self) -> Self {
        let held = self.0.as_ref().filter(|held| held.received.is_some() || held.plain.is_some());
        Self(held.map(|held| {
            let (selectors, plain) = (held.selectors.clone(), held.plain.clone());
            Box::new(Held { selectors, plain, shared: true, ..Held::default() })
        }))
    }

    /// Whether neither this IKE SA nor the one that it stands beside has an address of the peer.
    pub(crate) fn lacks(&self) -> bool {
        self.0.as_ref().is_none_or(|held| held.received.is_none() && !held.shared)
    }

    /// Nothing came of that job.
    pub(crate) fn forget(&mut self, sa: &Common, cx: &mut Cx<'_>, job: JobId) {
        self.held().jobs.retain(|any| *any != job);
        cx.out.job(sa.id, Job::Release(job));
    }

    /// The traffic of what the peer has.
    pub(crate) fn selectors(&self) -> &[Selector] {
        self.0.as_ref().map_or(&[], |held| &held.selectors)
    }

    /// The connection before addresses of the peer were filled in.
    pub(crate) fn plain(&self) -> Option<&Arc<Connection>> {
        self.0.as_ref()?.plain.as_ref()
    }

    /// What the peer has.
    pub(crate) fn leased(&self) -> &[Leased] {
        self.0.as_ref().map_or(&[], |held| &held.leased)
    }

    /// What we have.
    pub(crate) fn received(&self) -> Option<&Arc<Received>> {
        self.0.as_ref()?.received.as_ref()
    }

    /// The peer gave us this: it is set on this host.
    pub(crate) fn apply(
        &mut self,
        sa: &Common,
        cx: &mut Cx<'_>,
        connection: &Connection,
        received: Received,
    ) {
        let received = Arc::new(received);
        let memory = cx.directory.memory_mut(&connection.name);
        memory.addresses.clone_from(&received.addresses);
        if let Some(link) = &received.link {
            memory.addresses.retain(IpAddr::is_ipv4);
            memory.link = Some((link.interface, link.id.clone()));
        }
        let held = self.held();
        held.unreached.clone_from(&received.subnets);
        held.interface = connection.interface().cloned();
        for &address in &received.addresses {
            let assigned = Assigned { address, interface: held.interface.clone() };
            held.assigning.push((cx.out.dataplane(sa.id, Op::Assign(assigned)), address));
        }
        if received.concerns_resolver() {
            let (connection, received) = (connection.name.clone(), received.clone());
            held.resolver = Some(cx.out.job(sa.id, Job::UseResolver { connection, received }));
        }
        let list: Vec<String> = received.addresses.iter().map(IpAddr::to_string).collect();
        cx.reach(Branch::LeaseApplied);
        cx.note(sa.id, format!("Our address in the peer's network is {}.", list.join(", ")));
        held.received = Some(received);
    }

    /// The link that the peer has of us, or we of the peer: its Link ID and its traffic.
    pub(crate) fn link(&self) -> Option<(Vec<u8>, Vec<Selector>)> {
        let held = self.0.as_ref()?;
        if let Some(link) = held.received.as_ref().and_then(|received| received.link.as_ref()) {
            let local = Selector::addresses(AddressRange::host(policy::link_local(link.interface)));
            let prefixes = link.prefixes.iter().copied().map(Selector::addresses);
            return Some((link.id.clone(), prefixes.chain([local]).collect()));
        }
        let prefix = held.leased.iter().find(|leased| is_prefix(leased))?;
        let IpAddr::V6(id) = prefix.address else { return None };
        let six = |selector: &&Selector| selector.addresses.start().is_ipv6();
        Some((id.octets().to_vec(), held.selectors.iter().filter(six).copied().collect()))
    }

    /// LINK_ID, for a request about this traffic of whoever has the link.
    //= rfc5739 §4.3
    //# The peers MUST include a LINK_ID notification, containing the IKEv2 Link ID, in all CREATE_CHILD_SA requests
    //# (including rekeys) that are related to the virtual link.
    pub(crate) fn link_notify(&self, traffic: &[Selector]) -> Option<Payload<'static>> {
        let (id, own) = self.link()?;
        let related = traffic.iter().any(|ts| own.iter().any(|own| own.intersect(ts).is_some()));
        related.then(|| Payload::Notify(Notify::new(NotifyType::LINK_ID, id)))
    }

    /// What the peer may mean by a request for a child SA: what is of its link, or what is not.
    //= rfc5739 §5.3
    //# If this notification is not included, the CREATE_CHILD_SA requests are related to the real interface.
    pub(crate) fn means(&self, contents: &Contents<'_>) -> Option<Arc<Connection>> {
        let held = self.0.as_ref()?;
        let (plain, (id, link)) = (held.plain.as_ref()?, self.link()?);
        let named = contents.notify(NotifyType::LINK_ID).is_some_and(|notify| *notify.data == *id);
        let mut own: Vec<Selector> =
            held.selectors.iter().filter(|ts| link.contains(ts) == named).copied().collect();
        if own.is_empty() {
            // Nothing is meant, and not what an empty list stands for.
            own.push(Selector::addresses(AddressRange::host(Ipv4Addr::UNSPECIFIED.into())));
        }
        Some(filled_in(plain, &[], &own))
    }

    /// The networks that the peer protects and that were not looked at yet.
    pub(crate) fn take_unreached(&mut self) -> Vec<AddressRange> {
        self.0.as_mut().map_or(Vec::new(), |held| std::mem::take(&mut held.unreached))
    }

    /// An operation of the data plane is done; true when it was about an address.
    pub(crate) fn assigned(
        &mut self,
        sa: &Common,
        cx: &mut Cx<'_>,
        job: JobId,
        failure: Option<&str>,
    ) -> bool {
        let Some(held) = &mut self.0 else { return false };
        let Some(index) = held.assigning.iter().position(|(assigning, _)| *assigning == job) else {
            return false;
        };
        let (_, address) = held.assigning.swap_remove(index);
        if let Some(why) = failure {
            cx.note(sa.id, format!("The address {address} could not be set on this host: {why}"));
        }
        true
    }

    /// The IKE SA ends: all goes back.
    //= rfc7296 §3.15.1
    //# The requested address is valid as long as this IKE SA (or its rekeyed successors) requesting the address is
    //# valid.
    //= rfc8598 §5
    //# When an IKE Security Association (SA) is terminated, the DNS forwarding MUST be unconfigured.
    pub(crate) fn release(&mut self, sa: &Common, cx: &mut Cx<'_>) {
        let Some(held) = self.0.take() else { return };
        for job in held.jobs {
            cx.reach(Branch::LeaseReturned);
            cx.out.job(sa.id, Job::Release(job));
        }
        if let Some(job) = held.resolver {
            cx.out.job(sa.id, Job::DropResolver(job));
        }
        for &address in held.received.iter().flat_map(|received| &received.addresses) {
            let interface = held.interface.clone();
            cx.out.dataplane(sa.id, Op::Unassign(Assigned { address, interface }));
        }
    }
}
