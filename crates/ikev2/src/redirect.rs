//! Being sent on to another gateway (RFC 5685), and sending on.
//!
//! ```text
//!   client                                          gateway
//!   IKE_SA_INIT   SAi1 KEi Ni N(REDIRECT_SUPPORTED) -->
//!                              <--  N(REDIRECT: where, Ni)
//!   IKE_AUTH      SK{IDi AUTH …} -->
//!                              <--  SK{IDr AUTH N(REDIRECT: where)}
//!   INFORMATIONAL              <--  SK{N(REDIRECT: where)}    at any time
//!                 SK{} -->
//!
//!   client                                          the other gateway
//!   IKE_SA_INIT   SAi1 KEi Ni N(REDIRECTED_FROM: the first) -->
//! ```
//!
//! The client goes there with the same connection: the same identity is wanted, and the same traffic. An IKE SA that stands
//! serves until the other one has all its children.

use crate::channel::Channel;
use crate::closing::Closing;
use crate::established::Established;
use crate::ext::{self, Redirect};
use crate::ike_sa::{Gone, Known, Next};
use crate::{Again, Common, Cx, Origin, limits};
use policy::{Connection, Gateway};
use sa::{Branch, Fate, Path, Refusal, RefusalKind, Side};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wire::Payload;

/// Where we go, and from where.
struct Way {
    path: Path,
    /// The gateway's name, whose address is to be looked up.
    gateway: Option<String>,
    origin: Origin,
}

/// Goes there with what `sa` was wanted for, or says why not.
fn follow(sa: &mut Common, cx: &mut Cx<'_>, connection: &Connection, to: &Gateway) -> Result<Way, Refusal> {
    let refuse = |reason: String| Refusal {
        kind: RefusalKind::PeerError,
        by_peer: true,
        connection: Some(connection.name.clone()),
        reason,
    };
    let from = sa.path.remote.ip();
    let (path, gateway) = match to {
        Gateway::Address(address) => (path_to(sa.path, *address), None),
        // Whoever knows names and routes says by which path.
        Gateway::Name(name) => (Some(sa.path), Some(name.clone())),
    };
    let path = path.ok_or_else(|| {
        refuse(format!(
            "The gateway {from} sends us on to {to}, which our address {} cannot reach.",
            sa.path.local.ip()
        ))
    })?;
    //= rfc5685 §7
    //# the client SHOULD be configured to not accept more than a certain number of redirects (MAX_REDIRECTS) within a
    //# short time period (REDIRECT_LOOP_DETECT_PERIOD) for a particular IKEv2 SA setup.
    let now = cx.now.mono;
    let redirects = &mut sa.origin.redirects;
    redirects.retain(|at| now.since(*at) < limits::REDIRECT_LOOP_DETECT_PERIOD);
    if redirects.len() >= limits::MAX_REDIRECTS {
        return Err(refuse(format!(
            "Gateways have sent us on {} times within {} s, the last one to {to}: they may send us round in a circle.",
            redirects.len(),
            limits::REDIRECT_LOOP_DETECT_PERIOD.as_secs()
        )));
    }
    redirects.push(now);
    cx.note(sa.id, format!("The gateway {from} sends us on to {to}: going there."));
    let redirects = sa.origin.redirects.clone();
    let origin = Origin { redirected_from: Some(from), redirects, ..Origin::default() };
    Ok(Way { path, gateway, origin })
}

/// From the same address of ours to that one; on port 500 again, whatever NAT there was.
pub(crate) fn path_to(path: Path, address: IpAddr) -> Option<Path> {
    let fits =
        path.local.is_ipv4() == address.is_ipv4() && !address.is_unspecified() && !address.is_multicast();
    let floated =
        path.marked && path.local.port() == limits::NAT_PORT && path.remote.port() == limits::NAT_PORT;
    let (local, port, marked) = match floated {
        true => (SocketAddr::new(path.local.ip(), limits::IKE_PORT), limits::IKE_PORT, false),
        false => (path.local, path.remote.port(), path.marked),
    };
    fits.then(|| Path { local, remote: SocketAddr::new(address, port), marked })
}

/// An IKE SA that does not stand yet is to be made elsewhere. `channel`: the gateway has it, and is told that it goes.
pub(crate) fn before_it_stands(
    sa: &mut Common,
    cx: &mut Cx<'_>,
    connection: &Arc<Connection>,
    redirect: &Redirect,
    channel: Option<Channel>,
) -> Next {
    cx.reach(if channel.is_some() { Branch::RedirectAuth } else { Branch::RedirectInit });
    let known = Known { connection: Some(connection), ..Known::default() };
    let fate = match follow(sa, cx, connection, &redirect.to) {
        Ok(Way { path, gateway, origin }) => {
            let Origin { succeeds, carried, .. } = std::mem::take(&mut sa.origin);
            let origin = Origin { succeeds, carried, ..origin };
            let wishes = std::mem::take(&mut sa.wishes);
            cx.again.push(Again { connection: connection.name.clone(), path, gateway, wishes, origin });
            Fate::Replaced
        }
        Err(refusal) => Fate::Refused(refusal),
    };
    sa.give_up(cx, &known, fate);
    //= rfc5685 §6
    //# When the client receives the IKE_AUTH response with the REDIRECT payload, it SHOULD delete the IKEv2 security
    //# association with the gateway by sending an INFORMATIONAL message with a DELETE payload.
    match channel {
        Some(channel) => Closing::after_rekey(sa, cx, connection.clone(), channel),
        None => Box::new(Gone),
    }
}

impl Established {
    /// The gateway of an IKE SA that stands sends us on.
    //= rfc5685 §5
    //# Once the client sends an acknowledgement to the gateway, it SHOULD delete the existing security associations with
    //# the old gateway by sending an INFORMATIONAL message with a DELETE payload.
    pub(crate) fn redirected(&mut self, sa: &mut Common, cx: &mut Cx<'_>, redirect: &Redirect) {
        if self.proved_as != Side::Initiator {
            return;
        }
        cx.reach(Branch::RedirectLive);
        let connection = self.chosen.connection.clone();
        match follow(sa, cx, &connection, &redirect.to) {
            Ok(Way { path, gateway, origin }) => {
                let mut again = self.successor(sa, path);
                again.gateway = gateway;
                let carried = std::mem::take(&mut again.origin.carried);
                again.origin = Origin { succeeds: Some(sa.id), carried, ..origin };
                cx.again.push(again);
            }
            Err(refusal) => cx.note(sa.id, refusal.reason),
        }
    }

    /// Sends the client on; `false` when it is none, or does not follow.
    //= rfc5685 §5
    //# The gateway MAY also decide to delete the security associations without any signaling from the client […]; however,
    //# it should allow sufficient time for the client to set up the required security associations
    pub(crate) fn redirect(&mut self, cx: &mut Cx<'_>, to: &Gateway) -> bool {
        let can = self.proved_as == Side::Responder && self.peer.redirectable;
        if can {
            //= rfc5685 §5
            //# The gateway MUST NOT include any nonce data in the REDIRECT payload
            self.tell(vec![Payload::Notify(ext::redirect_notify(to, &[]))]);
            cx.reach(Branch::RedirectSent);
            self.leave_after(cx, limits::REDIRECT_GRACE);
        }
        can
    }
}
