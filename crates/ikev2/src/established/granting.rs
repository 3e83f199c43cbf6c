//! Configuration payloads of an IKE SA that stands (RFC 7296 §2.19, §3.15).
//!
//! ```text
//!   peer                                                     we
//!   INFORMATIONAL    SK{CP(CFG_REQUEST)} -->
//!                                                            (an address is leased, where one is asked for)
//!                              <--  SK{CP(CFG_REPLY)}        or  SK{N(INTERNAL_ADDRESS_FAILURE)}
//!   INFORMATIONAL    SK{CP(CFG_SET)} -->
//!                              <--  SK{CP(CFG_ACK)}          empty: nothing is taken
//!   CREATE_CHILD_SA  SK{CP(CFG_REQUEST) SA Ni [KEi] TSi TSr} -->
//!                                                            (a further address is leased)
//!                              <--  SK{CP(CFG_REPLY) SA Nr [KEr] TSi TSr}
//!                              <--  SK{N(FAILED_CP_REQUIRED)}   none is asked for, and the peer has none
//! ```

use super::Established;
use crate::channel::Request;
use crate::child::NoChild;
use crate::contents::Contents;
use crate::create_child;
use crate::ext::configuration::{Asked, filled_in};
use crate::fresh_ppk::{Primed, Wanted};
use crate::{Common, Cx, limits};
use base::Instant;
use policy::Leased;
use sa::{Event, Job, JobId, LeaseRequest, RefusalKind};
use wire::num::{CfgType, NotifyType};
use wire::{Configuration, Notify, Payload};

/// A request of the peer that waits for an address.
pub(crate) struct Granting {
    to: Request,
    asked: Asked,
    /// What the response to INFORMATIONAL holds besides.
    payloads: Vec<Payload<'static>>,
    /// The child that the address is for.
    child: Option<Box<Contents<'static>>>,
    /// The PPK that both have for its keys.
    ppk: Option<Primed>,
    job: JobId,
    pub(super) until: Instant,
}

/// Answers an INFORMATIONAL request, at once or when an address is leased; `payloads` is what else there is to say.
//= rfc7296 §3.15.1
//# Those attributes that it did not accept MUST NOT be in the CFG_ACK Configuration payload. If no attributes were
//# accepted, the responder MUST return either an empty CFG_ACK payload or a response message without a CFG_ACK payload.
pub(super) fn on_informational(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    (to, contents): (Request, &Contents<'_>),
    mut payloads: Vec<Payload<'static>>,
) {
    if contents.cp.iter().any(|cp| cp.kind == CfgType::SET) {
        payloads.push(Payload::Cp(Configuration { kind: CfgType::ACK, attributes: Vec::new() }));
    }
    let Some(asked) = Asked::read(contents) else { return of.channel.respond(sa, cx, to, &payloads) };
    match of.missing(&asked) {
        None => {
            payloads.push(of.reply(&asked, &asked.of(of.leases.leased())));
            of.channel.respond(sa, cx, to, &payloads);
        }
        Some(request) => of.ask_for_address(sa, cx, request, |job, until| Granting {
            to,
            asked,
            payloads,
            child: None,
            ppk: None,
            job,
            until,
        }),
    }
}

/// Whether a request for a child SA waits for an address first; or why there is no child.
//= rfc7296 §2.19
//# A request for such a temporary address can be included in any request to create a Child SA
pub(crate) fn on_create(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    wanted: &Wanted<'_>,
) -> Result<bool, NoChild> {
    let Wanted { to, contents, ppk } = wanted;
    let pools = &of.chosen.connection.configuration.pools;
    if pools.is_empty() {
        return Ok(false);
    }
    let asked = Asked::read(contents);
    let request = asked.as_ref().and_then(|asked| asked.lease(pools, &of.identities.remote, false));
    match (asked, request) {
        (Some(asked), Some(mut request)) => {
            let room = sa::limits::MAX_LEASED_ADDRESSES.saturating_sub(of.leases.leased().len());
            request.addresses.truncate(room);
            let child = Some(Box::new(contents.child_copy()));
            let (to, payloads, ppk) = (*to, Vec::new(), ppk.clone());
            of.ask_for_address(sa, cx, request, |job, until| Granting {
                to,
                asked,
                payloads,
                child,
                ppk,
                job,
                until,
            });
            Ok(true)
        }
        _ if !of.leases.selectors().is_empty() => Ok(false),
        //= rfc7296 §2.19
        //# IRAS MUST fail the request, and terminate the Child SA creation with a FAILED_CP_REQUIRED error. […] The
        //# initiator can fix this by later starting a new Configuration payload request.
        _ => {
            let why = "The peer asks for no address, and `pools` makes that a condition: let it ask (`vips`), or remove `pools`.";
            let connection = &of.chosen.connection;
            Err(NoChild::new(RefusalKind::NoAddress, NotifyType::FAILED_CP_REQUIRED, connection, why))
        }
    }
}

/// The keeper of addresses has answered; true when it was asked here.
pub(super) fn on_leased(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    job: JobId,
    leased: &[Leased],
) {
    let Some(index) = of.granting.iter().position(|granting| granting.job == job) else { return };
    let Granting { to, asked, mut payloads, child, ppk, .. } = of.granting.remove(index);
    let plain = of.leases.plain().cloned().unwrap_or_else(|| of.chosen.connection.clone());
    payloads.extend(Asked::allowed(&plain.configuration.pools));
    if leased.is_empty() {
        of.leases.forget(sa, cx, job);
        let why = "No further address of the kind that the peer asks for is left in its pools: `handfast status` shows who has them.";
        let no_child =
            NoChild::new(RefusalKind::NoAddress, NotifyType::INTERNAL_ADDRESS_FAILURE, &plain, why);
        payloads.push(Payload::Notify(no_child.notify));
        of.channel.respond(sa, cx, to, &payloads);
        cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal: no_child.refusal });
        return;
    }
    let own = asked.selectors(leased);
    of.leases.gave(leased, &own, &plain);
    let everything = filled_in(&plain, &[], of.leases.selectors());
    let Some(contents) = child else {
        of.chosen.connection = everything;
        payloads.push(of.reply(&asked, &asked.of(of.leases.leased())));
        return of.channel.respond(sa, cx, to, &payloads);
    };
    // The child is for this address, and not for what the peer has besides.
    of.chosen.connection = filled_in(&plain, &[], &own);
    let decided = create_child::answer(of, sa, cx, &Wanted { to, contents: &contents, ppk }, None);
    of.chosen.connection = everything;
    match decided {
        Ok(mut waiting) => {
            waiting.head.extend(payloads);
            waiting.head.push(of.reply(&asked, leased));
            create_child::go_on(of, sa, cx, waiting);
        }
        Err(no_child) => {
            payloads.push(Payload::Notify(no_child.notify));
            of.channel.respond(sa, cx, to, &payloads);
            cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal: no_child.refusal });
        }
    }
}

impl Established {
    /// What is to be leased for addresses that the peer asks for and does not have.
    fn missing(&self, asked: &Asked) -> Option<LeaseRequest> {
        let pools = &self.chosen.connection.configuration.pools;
        let held = self.leases.leased();
        let mut request = asked.without(held).lease(pools, &self.identities.remote, false)?;
        let room = sa::limits::MAX_LEASED_ADDRESSES.saturating_sub(held.len());
        request.addresses.truncate(room);
        (room > 0 && !pools.is_empty()).then_some(request)
    }

    /// Our CFG_REPLY, which names these addresses.
    fn reply(&self, asked: &Asked, addresses: &[Leased]) -> Payload<'static> {
        asked.reply(&self.chosen.connection.configuration.pools, addresses)
    }

    fn ask_for_address(
        &mut self,
        sa: &Common,
        cx: &mut Cx<'_>,
        request: LeaseRequest,
        granting: impl FnOnce(JobId, Instant) -> Granting,
    ) {
        let job = cx.out.job(sa.id, Job::Lease(Box::new(request)));
        self.leases.asked(job);
        self.granting.push(granting(job, cx.now.mono + limits::JOB_PATIENCE));
    }

    /// The IKE SA has a successor: requests that wait for an address are answered while the channel is theirs.
    //= rfc7296 §2.25.2
    //# If a peer receives a request to create or rekey a Child SA when it is currently rekeying the IKE SA, it SHOULD reply
    //# with TEMPORARY_FAILURE.
    pub(crate) fn turn_away_granting(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        for Granting { to, mut payloads, child, job, .. } in std::mem::take(&mut self.granting) {
            self.leases.forget(sa, cx, job);
            if child.is_some() {
                payloads.push(Payload::Notify(Notify::new(NotifyType::TEMPORARY_FAILURE, Vec::new())));
            }
            self.channel.respond(sa, cx, to, &payloads);
        }
    }

    /// An address on which its keeper says nothing is none.
    pub(super) fn give_up_on_leases(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        let late = |granting: &&Granting| cx.now.mono >= granting.until;
        let late: Vec<JobId> = self.granting.iter().filter(late).map(|granting| granting.job).collect();
        for job in late {
            on_leased(self, sa, cx, job, &[]);
        }
    }
}
