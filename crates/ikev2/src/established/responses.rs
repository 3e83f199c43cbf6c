//! What the peer answers to our requests.

use super::ending::abandon;
use super::{After, Asked, Asking, Established};
use crate::channel::{Authentic, Message};
use crate::contents::Contents;
use crate::ext::Moment;
use crate::fate::refusal_of;
use crate::fault::Fault;
use crate::{Common, Cx, clone_ike, create_child, limits, move_path, probe, rekey_ike};
use base::Instant;
use sa::Fate;
use wire::num::NotifyType;

impl Established {
    /// The peer has answered a request of ours.
    pub(super) fn on_response(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        message: &Authentic<Message>,
    ) -> After {
        let Some(index) = self.asking.iter().position(|asking| asking.request.id == message.id()) else {
            return After::Stay;
        };
        let Asking { request, what } = self.asking.remove(index);
        let contents = match self.check_response(cx.now.mono, &what, message) {
            Ok(contents) => contents,
            Err((knows, fate)) => {
                let refusal = refusal_of(&fate, sa.path, Some(&self.chosen.connection.name));
                abandon(cx, &what, &refusal);
                return if knows { After::End(fate) } else { After::Close(fate) };
            }
        };
        self.heed_window(&contents);
        match what {
            Asked::Child(asked) => {
                create_child::on_response(self, sa, cx, *asked, &contents);
                return self.after_series();
            }
            Asked::RekeyIke(asked) => {
                self.inspect(sa, cx, (Moment::Renewed, sa.path), &contents);
                return match rekey_ike::on_response(self, sa, cx, *asked, &contents) {
                    After::Stay => self.after_series(),
                    after => after,
                };
            }
            Asked::CloneIke(asked) => clone_ike::on_response(self, sa, cx, *asked, &contents),
            Asked::Delete(named) => self.on_deleted(cx, &named),
            Asked::Told => {
                move_path::on_told(self, sa, cx, &contents);
                self.inspect(sa, cx, (Moment::Heard, sa.path), &contents);
                self.heed(sa, cx);
            }
            Asked::Probe(order) => {
                probe::on_response(cx, order, &request);
                move_path::on_probed(self, cx, &contents);
            }
            Asked::Update(update) => return move_path::on_updated(self, sa, cx, &update, &contents),
            Asked::Verify(verify) => return move_path::on_verified(self, sa, cx, &verify, &contents),
        }
        After::Stay
    }

    //= rfc9370 §2.2.4
    //# If the initiator continues to receive STATE_NOT_FOUND notifications after several retries, it MUST treat this
    //# situation as a fatal error and delete the IKE SA by sending a DELETE payload.
    fn after_series(&self) -> After {
        if self.states_lost < limits::STATES_LOST {
            return After::Stay;
        }
        let what =
            "the peer answers STATE_NOT_FOUND to additional key exchanges again and again (RFC 9370 §2.2.4)";
        After::Close(Fate::Fault(what.to_string()))
    }

    /// Reads a response. An error: the IKE SA ends, and whether the peer knows that.
    fn check_response<'m>(
        &mut self,
        now: Instant,
        what: &Asked,
        message: &'m Authentic<Message>,
    ) -> Result<Contents<'m>, (bool, Fate)> {
        let contents = message.contents().and_then(|contents| match message.exchange() {
            exchange if exchange == what.exchange() => Ok(contents),
            other => Err(Fault::syntax("RFC 7296 §2.2", format!("a response of exchange type {other} came"))),
        });
        //= rfc7296 §2.21
        //# Such errors in parsing or processing response packets should still cause the recipient to clean up the IKE
        //# state (for example, by sending a Delete for a bad SA).
        let contents = contents.map_err(|fault| (false, Fate::Fault(fault.to_string())))?;
        let fault = |knows, what: &str| Err((knows, Fate::Fault(what.to_string())));
        if contents.has(NotifyType::INVALID_SYNTAX) {
            return fault(true, "the peer answered INVALID_SYNTAX to our request");
        }
        if !contents.has(NotifyType::TEMPORARY_FAILURE) {
            self.busy_since = None;
        } else if self.is_out_of_step(now) {
            let what =
                "the peer answers TEMPORARY_FAILURE for minutes (RFC 7296 §2.25): its state and ours differ";
            return fault(false, what);
        }
        Ok(contents)
    }

    /// Whether the peer has been too busy for too long; notes that it is.
    //= rfc7296 §2.25
    //# If a peer receives a TEMPORARY_FAILURE notification […] it MAY conclude that there is a problem, if it continues to
    //# receive it after several minutes, and SHOULD close the IKE SA
    fn is_out_of_step(&mut self, now: Instant) -> bool {
        let since = *self.busy_since.get_or_insert(now);
        now.since(since) >= limits::BUSY_PATIENCE
    }
}
