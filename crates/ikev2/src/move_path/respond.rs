//! What the peer asks: another path, its further addresses, a proof that we are where we say.

use super::{
    Mobike, cookie, heed_nat, leave_behind, look_up, move_children, nat_payloads, note_proven, queue_verify,
    resend, wrong_cookie,
};
use crate::channel::Request;
use crate::contents::Contents;
use crate::established::{After, Asked, Asking, Established};
use crate::ext::mobike;
use crate::{Common, Cx, limits};
use sa::{Branch, Path, Side};
use wire::num::{ExchangeType, NotifyType};
use wire::{Notify, Payload};

/// A proof of the peer's address that we have asked for.
pub(crate) struct Verify {
    path: Path,
    cookie: Vec<u8>,
}

/// Does what an INFORMATIONAL request says of addresses; answers what belongs into the response.
pub(crate) fn on_request(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    to: Request,
    contents: &Contents<'_>,
) -> Vec<Payload<'static>> {
    if !of.mobility.is_mobile() {
        return Vec::new();
    }
    let mut answer = Vec::new();
    //= rfc4555 §4.2.5
    //# If the INFORMATIONAL request includes COOKIE2, the exchange responder MUST copy the notification to the response
    //# message. The data […] MUST be between 8 and 64 octets in length (inclusive)
    let cookie = contents.notify(NotifyType::COOKIE2).map(|notify| notify.data.to_vec());
    let cookie = cookie.filter(|cookie| limits::COOKIE2_RANGE.contains(&cookie.len()));
    answer.extend(cookie.map(|cookie| Payload::Notify(Notify::new(NotifyType::COOKIE2, cookie))));
    if let Err(refused) = heed(of, sa, cx, to, contents) {
        answer.push(Payload::Notify(Notify::new(refused, Vec::new())));
        return answer;
    }
    //= rfc4555 §3.8
    //# if the request includes them, the responder MUST also include them in the response
    if contents.has(NotifyType::NAT_DETECTION_SOURCE_IP) {
        answer.extend(nat_payloads(of, sa, cx, to.path));
    }
    answer
}

fn heed(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    to: Request,
    contents: &Contents<'_>,
) -> Result<(), NotifyType> {
    let moves = contents.has(NotifyType::UPDATE_SA_ADDRESSES);
    let tells = [
        NotifyType::ADDITIONAL_IP4_ADDRESS,
        NotifyType::ADDITIONAL_IP6_ADDRESS,
        NotifyType::NO_ADDITIONAL_ADDRESSES,
    ];
    let tells = tells.iter().any(|kind| contents.has(*kind));
    if !moves && !tells {
        return Ok(());
    }
    if mobike::has_unexpected_nat(to.path, contents) {
        let path = to.path;
        cx.note(sa.id, format!("The peer allows no NAT, but its message came by {path}: it is refused."));
        return Err(NotifyType::UNEXPECTED_NAT_DETECTED);
    }
    let Some(mobike) = &mut of.mobility.mobike else { return Ok(()) };
    //= rfc4555 §3.5
    //# Determines whether it has already received a newer UPDATE_SA_ADDRESSES request than this one […]. If it has, a normal
    //# response message is sent, but no other action is taken.
    if mobike.heard.is_some_and(|heard| heard > to.id) {
        return Ok(());
    }
    mobike.heard = Some(to.id);
    let side = mobike.side;
    if tells {
        cx.reach(Branch::MoveTold);
        mobike.peer = mobike::peer_addresses(to.path.remote.ip(), contents);
    }
    match side {
        Side::Responder if moves => take_path(of, sa, cx, to.path, contents),
        Side::Initiator if tells => {
            reconsider(of, sa, cx);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The responder's addresses are others now.
//= rfc4555 §3.5
//# An INFORMATIONAL request containing an ADDITIONAL_IP4_ADDRESS, ADDITIONAL_IP6_ADDRESS, or NO_ADDITIONAL_ADDRESSES
//# notification is received. […] This is particularly important if the announced set of addresses no longer contains the
//# currently used address.
fn reconsider(of: &mut Established, sa: &Common, cx: &mut Cx<'_>) {
    look_up(of, sa, cx, false);
}

/// The initiator has decided on another path.
fn take_path(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    path: Path,
    contents: &Contents<'_>,
) -> Result<(), NotifyType> {
    //= rfc4555 §3.5
    //# Checks that the (source IP address, destination IP address) pair in the IP header is acceptable according to local
    //# policy. If it is not, replies with a message containing the UNACCEPTABLE_ADDRESSES notification
    let connection = &of.chosen.connection;
    let remote = connection.remote_addrs.iter().any(|pattern| pattern.matches(path.remote.ip()));
    let local = connection.local_addrs.iter().any(|pattern| pattern.matches(path.local.ip()));
    if !remote || !local {
        let key = if remote { "local_addrs" } else { "remote_addrs" };
        let name = &connection.name;
        let text = format!(
            "The peer wants to use the path {path}, which `{key}` of connection `{name}` does not allow: it is refused."
        );
        cx.note(sa.id, text);
        return Err(NotifyType::UNACCEPTABLE_ADDRESSES);
    }
    let before = std::mem::replace(&mut sa.path, path);
    if before != path {
        cx.reach(Branch::MoveTaken);
        cx.note(sa.id, format!("The peer has moved: its path is now {path} instead of {before}."));
        resend(of, sa, cx);
    }
    heed_nat(of, sa, cx, path, contents);
    //= rfc4555 §3.7
    //# By default, the return routability check SHOULD be done before updating the IPsec SAs
    let is_elsewhere = |mobike: &Mobike| mobike.children_at.remote.ip() != path.remote.ip();
    if of.mobility.mobike.as_ref().is_some_and(is_elsewhere) {
        queue_verify(of);
    } else {
        leave_behind(of, sa, cx, before);
        move_children(of, sa, cx);
    }
    Ok(())
}

/// Asks the peer to prove that it gets what we send to its new address.
pub(crate) fn begin_verify(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>) -> Option<Asking> {
    let (cookie, payload) = cookie(cx);
    let request = of.channel.ask(sa, cx, ExchangeType::INFORMATIONAL, &[payload])?;
    cx.reach(Branch::MoveVerify);
    Some(Asking { request, what: Asked::Verify(Verify { path: sa.path, cookie }) })
}

/// The peer has answered from its new address.
//= rfc4555 §3.7
//# When processing the response, the original sender MUST verify that the value is the same one as sent.
pub(crate) fn on_verified(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    verify: &Verify,
    contents: &Contents<'_>,
) -> After {
    let told = contents.notify(NotifyType::COOKIE2).map(|notify| &notify.data[..]);
    if told != Some(&verify.cookie[..]) {
        return wrong_cookie();
    }
    let Some(mobike) = &mut of.mobility.mobike else { return After::Stay };
    //= rfc4555 §3.7
    //# If the same INFORMATIONAL request has been sent to several different addresses […], receiving the INFORMATIONAL
    //# response does not tell which address is the working one. In this case, a new INFORMATIONAL request needs to be sent
    if verify.path != sa.path {
        if mobike.children_at.remote.ip() != sa.path.remote.ip() {
            queue_verify(of);
        }
        return After::Stay;
    }
    cx.reach(Branch::MoveVerified);
    note_proven(mobike, sa.path.remote.ip());
    let before = mobike.children_at;
    leave_behind(of, sa, cx, before);
    move_children(of, sa, cx);
    After::Stay
}
