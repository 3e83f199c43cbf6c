//! REDIRECT (RFC 5685): a gateway sends its clients on to another one. What follows is in `crate::redirect`.

use super::{Agreed, Extension, Facts, Guest, Moment};
use crate::contents::Contents;
use policy::Gateway;
use std::net::IpAddr;
use wire::num::{GatewayIdType, NotifyType};
use wire::{Notify, Payload};

pub(crate) struct Redirection;

/// What REDIRECT says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Redirect {
    pub(crate) to: Gateway,
    /// The nonce of the IKE_SA_INIT request that is answered; else empty.
    pub(crate) nonce: Vec<u8>,
}

impl Extension for Redirection {
    //= rfc5685 §3
    //# The VPN client indicates support for the IKEv2 redirect mechanism […] by including a REDIRECT_SUPPORTED
    //# notification message in the initial IKE_SA_INIT request. […] In the IKE_SA_INIT exchange with the new VPN gateway,
    //# the client MUST include the REDIRECTED_FROM payload.
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        if moment != Moment::InitRequest || !facts.connection.extensions.follow_redirects {
            return;
        }
        out.push(Payload::Notify(Notify::new(NotifyType::REDIRECT_SUPPORTED, Vec::new())));
        if let Some(address) = facts.agreed.redirected_from {
            let data = emit(&Gateway::Address(address), &[]);
            out.push(Payload::Notify(Notify::new(NotifyType::REDIRECTED_FROM, data)));
        }
    }

    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        match moment {
            Moment::InitRequest => {
                (agreed.redirectable, agreed.redirected_from) = (is_redirectable(contents), from(contents));
            }
            //= rfc5685 §6
            //# the client MUST accept the REDIRECT notification only in the first IKE_AUTH response or the last IKE_AUTH response.
            Moment::InitResponse | Moment::FirstAuthResponse | Moment::AuthResponse | Moment::Told => {
                let told = contents.notify(NotifyType::REDIRECT).and_then(|notify| parse(&notify.data));
                agreed.redirect = told.filter(|_| facts.connection.extensions.follow_redirects);
            }
            Moment::Intermediate | Moment::AuthRequest | Moment::Heard | Moment::Renewed => {}
        }
    }

    //= rfc5685 §3
    //# If the IKE_SA_INIT request did not indicate support for the redirect mechanism, the responder MUST NOT send the
    //# REDIRECT payload to the VPN client. This is applicable to all REDIRECT scenarios described in this document.
    fn turn(&self, guest: &Guest<'_>) -> Option<Notify<'static>> {
        let rule = guest.connection.extensions.redirect.as_ref()?;
        let (redirectable, from) = match guest.first {
            Some(contents) => (is_redirectable(contents), from(contents)),
            None => (guest.agreed.redirectable, guest.agreed.redirected_from),
        };
        // Whoever comes from there would be sent back and forth.
        let came_from_there = from.is_some_and(|from| rule.to == Gateway::Address(from));
        let applies = rule.applies(guest.client, guest.identity, guest.load);
        (redirectable && !came_from_there && applies).then(|| {
            let nonce = guest.first.and_then(|contents| contents.nonce.as_ref());
            notify(&rule.to, nonce.map_or(&[], |nonce| nonce))
        })
    }
}

fn is_redirectable(contents: &Contents<'_>) -> bool {
    contents.has(NotifyType::REDIRECT_SUPPORTED) || contents.has(NotifyType::REDIRECTED_FROM)
}

fn from(contents: &Contents<'_>) -> Option<IpAddr> {
    match parse(&contents.notify(NotifyType::REDIRECTED_FROM)?.data)?.to {
        Gateway::Address(address) => Some(address),
        Gateway::Name(_) => None,
    }
}

/// A REDIRECT notification. `nonce`: that of the IKE_SA_INIT request that it answers.
pub(crate) fn notify(to: &Gateway, nonce: &[u8]) -> Notify<'static> {
    Notify::new(NotifyType::REDIRECT, emit(to, nonce))
}

/// GW Ident Type, its length, the identity, the nonce (RFC 5685 §9.2).
fn emit(to: &Gateway, nonce: &[u8]) -> Vec<u8> {
    let (kind, identity) = match to {
        Gateway::Address(IpAddr::V4(address)) => (GatewayIdType::IPV4, address.octets().to_vec()),
        Gateway::Address(IpAddr::V6(address)) => (GatewayIdType::IPV6, address.octets().to_vec()),
        Gateway::Name(name) => (GatewayIdType::FQDN, name.bytes().take(usize::from(u8::MAX)).collect()),
    };
    let length = u8::try_from(identity.len()).unwrap_or(u8::MAX);
    [&[kind.0, length], &identity[..], nonce].concat()
}

/// What REDIRECT or REDIRECTED_FROM says, where it makes sense.
fn parse(data: &[u8]) -> Option<Redirect> {
    let (&[kind, length], rest) = data.split_first_chunk::<2>()?;
    let (identity, nonce) = rest.split_at_checked(usize::from(length))?;
    let to = match GatewayIdType(kind) {
        GatewayIdType::IPV4 => Gateway::Address(IpAddr::from(<[u8; 4]>::try_from(identity).ok()?)),
        GatewayIdType::IPV6 => Gateway::Address(IpAddr::from(<[u8; 16]>::try_from(identity).ok()?)),
        GatewayIdType::FQDN => Gateway::Name(name(identity)?),
        _ => return None,
    };
    Some(Redirect { to, nonce: nonce.to_vec() })
}

/// A DNS name, as far as one can tell without DNS.
fn name(octets: &[u8]) -> Option<String> {
    let fits = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._".contains(octet);
    let fits = !octets.is_empty() && octets.iter().all(fits);
    if fits { String::from_utf8(octets.to_vec()).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= rfc5685 §9.2
    #[test]
    fn what_is_said_is_understood_and_nonsense_is_not() {
        let gateways = [
            Gateway::Address([198, 51, 100, 3].into()),
            Gateway::Address("2001:db8::3".parse().unwrap()),
            Gateway::Name("gw3.example".to_string()),
        ];
        for to in gateways {
            let nonce = vec![7; 32];
            let said = Redirect { to: to.clone(), nonce: nonce.clone() };
            assert_eq!(parse(&emit(&to, &nonce)), Some(said));
        }
        assert_eq!(emit(&Gateway::Address([1, 2, 3, 4].into()), &[9]), [1, 4, 1, 2, 3, 4, 9]);
        let odd: [&[u8]; 8] = [
            &[],
            &[1],
            &[1, 4, 1, 2, 3],
            &[1, 3, 1, 2, 3],
            &[2, 4, 1, 2, 3, 4],
            &[3, 0],
            &[3, 2, b'a', b' '],
            &[4, 1, 1],
        ];
        for data in odd {
            assert_eq!(parse(data), None, "{data:?}");
        }
    }
}
