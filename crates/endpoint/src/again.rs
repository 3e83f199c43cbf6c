//! IKE SAs that others have asked for: in their place, or with another gateway.

use crate::Endpoint;
use crate::limits::{MAX_SOUGHT, RESOLVE_PATIENCE};
use base::{Instant, Now};
use ikev2::Again;
use policy::AddressPattern;
use sa::{Answer, Event, IkeSaId, Job, JobId, OrderId, Refusal, RefusalKind, Reply, Target};

/// A gateway whose name is being looked up.
pub(crate) struct Sought {
    job: JobId,
    pub(crate) until: Instant,
    again: Again,
}

impl Endpoint {
    /// Begins what the last step wants to have begun.
    pub(crate) fn begin_again(&mut self, now: Now) {
        for again in std::mem::take(&mut self.world.again) {
            match (again.origin.succeeds, again.gateway.clone()) {
                (Some(before), _) if self.is_begun(before) => self.join(now, before, again),
                (_, Some(name)) => self.seek(now, name, again),
                (_, None) => self.begin_one(now, again),
            }
        }
    }

    /// Whether an IKE SA in that one's place is being made already.
    fn is_begun(&self, before: IkeSaId) -> bool {
        self.table.iter().any(|(_, sa)| sa.succeeds() == Some(before))
            || self.sought.iter().any(|sought| sought.again.origin.succeeds == Some(before))
    }

    /// Orders that wait for an IKE SA which is being made already.
    fn join(&mut self, now: Now, before: IkeSaId, again: Again) {
        let mut wishes = again.wishes;
        wishes.retain(|wish| wish.order != OrderId::NOBODY);
        let heir = self.table.iter().find(|(_, sa)| sa.succeeds() == Some(before)).map(|(id, _)| id);
        let mut sought = self.sought.iter_mut();
        match (heir, sought.find(|sought| sought.again.origin.succeeds == Some(before))) {
            (Some(heir), _) => {
                for wish in wishes {
                    self.step(now, heir, |sa, cx| sa.wish(cx, wish));
                }
            }
            (None, Some(sought)) => sought.again.wishes.extend(wishes),
            (None, None) => {}
        }
    }

    pub(crate) fn begin_one(&mut self, now: Now, again: Again) {
        let orders: Vec<_> = again.wishes.iter().map(|wish| wish.order).collect();
        let found = self.world.policy.by_name(&again.connection).map(|(id, found)| (id, found.clone()));
        let id = self.world.out.next_ike();
        let begun = match found {
            Some(connection) => ikev2::begin_again(&mut self.world.cx(now), id, connection, again),
            None => Err(Refusal {
                kind: RefusalKind::NotFound,
                by_peer: false,
                reason: "The connection is gone from the configuration.".to_string(),
                connection: Some(again.connection),
            }),
        };
        match begun {
            Ok(sa) => {
                self.world.out.new_ike();
                self.table.insert(id, sa, None);
            }
            Err(refusal) => {
                for order in orders {
                    self.world.out.reply(order, Reply::Refused(refusal.clone()));
                }
            }
        }
    }

    /// Has the address of a gateway looked up, to which another one has sent us by its name.
    //= rfc5685 §9.2
    //# The following values are valid in the New Responder Gateway Identity field: […] 3 - FQDN of the new VPN gateway
    fn seek(&mut self, now: Now, name: String, again: Again) {
        let policy = self.world.policy.clone();
        let Some((_, connection)) = policy.by_name(&again.connection) else {
            return self.no_gateway(again, "the connection is gone from the configuration.");
        };
        if self.sought.len() >= MAX_SOUGHT {
            return self.no_gateway(again, &format!("{MAX_SOUGHT} gateways are being looked up already."));
        }
        let job = self.world.out.own_job(Job::Resolve {
            name: again.connection.clone(),
            local: connection.local_addrs.clone(),
            remote: vec![AddressPattern::Name(name)],
        });
        self.sought.push(Sought { job, until: now.mono + RESOLVE_PATIENCE, again });
    }

    /// What waits for that look-up; it does so no longer.
    pub(crate) fn found(&mut self, job: JobId) -> Option<Again> {
        let index = self.sought.iter().position(|sought| sought.job == job)?;
        Some(self.sought.swap_remove(index).again)
    }

    /// The look-up of a gateway is over.
    pub(crate) fn on_gateway(&mut self, now: Now, again: Again, answer: Answer) {
        match answer {
            Answer::Resolved(Ok(path)) => {
                self.begin_one(now, Again { path, gateway: None, ..again });
            }
            Answer::Resolved(Err(why)) => self.no_gateway(again, &why),
            _ => self.no_gateway(again, "its address was not looked up."),
        }
    }

    /// Gives up the look-ups that take too long.
    pub(crate) fn stop_seeking(&mut self, now: Instant) {
        while let Some(index) = self.sought.iter().position(|sought| sought.until <= now) {
            let again = self.sought.swap_remove(index).again;
            self.no_gateway(again, "its address was not looked up in time.");
        }
    }

    /// Somebody orders things down: what would come of a look-up is not wanted any more.
    pub(crate) fn seek_no_more(&mut self, target: &Target) {
        let goes = |again: &Again| match target {
            Target::All => true,
            Target::Connection(name) => again.connection == *name,
            Target::Child(..) | Target::Ike(_) => false,
        };
        while let Some(index) = self.sought.iter().position(|sought| goes(&sought.again)) {
            let again = self.sought.swap_remove(index).again;
            self.no_gateway(again, "the connection was ordered down meanwhile.");
        }
    }

    /// Whoever waits for the other gateway hears why it is not met; an IKE SA that stands stays.
    fn no_gateway(&mut self, again: Again, why: &str) {
        let Again { connection, path, gateway, wishes, origin } = again;
        let from = origin.redirected_from.unwrap_or(path.remote.ip());
        let name = gateway.unwrap_or_default();
        let reason = format!("The gateway {from} sends us on to `{name}`, which is not to be found: {why}");
        let refusal =
            Refusal { kind: RefusalKind::PeerError, by_peer: true, connection: Some(connection), reason };
        self.world.out.tell(Event::Refused { ike: None, path, refusal: refusal.clone() });
        for wish in wishes {
            self.world.out.reply(wish.order, Reply::Refused(refusal.clone()));
        }
    }
}
