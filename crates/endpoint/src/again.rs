//! IKE SAs that others have asked for: in their place, or with another gateway.

use crate::Endpoint;
use base::Now;
use ikev2::Again;
use sa::{Refusal, RefusalKind, Reply};

impl Endpoint {
    /// Begins what the last step wants to have begun.
    pub(crate) fn begin_again(&mut self, now: Now) {
        for again in std::mem::take(&mut self.world.again) {
            let asked = again.origin.succeeds;
            let is_begun = asked.is_some() && self.table.iter().any(|(_, sa)| sa.succeeds() == asked);
            if !is_begun {
                self.begin_one(now, again);
            }
        }
    }

    fn begin_one(&mut self, now: Now, again: Again) {
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
}
