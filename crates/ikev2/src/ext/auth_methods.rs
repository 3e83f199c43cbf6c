//! SUPPORTED_AUTH_METHODS (RFC 9593): each side says how the other may prove who it is.
//!
//! Ours stands beside the CERTREQ payloads, where `establish` puts it ([`announcements`]). The peer's goes with the job that
//! makes our proof, which chooses by it or says why nothing fits. A link to one of several authorities is not heeded: our
//! chain is what it is. Where our first response would get too long with it, it goes with IKE_INTERMEDIATE, if that exchange
//! takes place anyway; for its sake alone none is made.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use crate::limits;
use crypto::{SignatureScheme as Scheme, Suite, signature_identifier};
use policy::{Connection, Round};
use sa::AnnouncedAuth;
use wire::limits::HEADER_LEN;
use wire::num::{AuthMethod, NotifyType};
use wire::{Notify, Payload};

pub(crate) struct SupportedAuthMethods;

impl Extension for SupportedAuthMethods {
    fn offer(&self, _: Moment, _: &mut Facts<'_>, _: &mut Vec<Payload<'static>>) {}

    fn inspect(&self, moment: Moment, _: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        //= rfc9593 §3.1
        //# If the initiator receives the empty SUPPORTED_AUTH_METHODS notification in the IKE_SA_INIT exchange, it means that the
        //# responder is going to send the list of the supported authentication methods in the IKE_INTERMEDIATE exchange.
        let told = match moment {
            Moment::InitResponse | Moment::AuthRequest => true,
            Moment::Intermediate => contents.has(NotifyType::SUPPORTED_AUTH_METHODS),
            _ => false,
        };
        if told {
            agreed.auth_methods = announced(contents);
        }
    }
}

/// What a message announces, as far as it is understood: a list for each notification that has something.
fn announced(contents: &Contents<'_>) -> Vec<Vec<AnnouncedAuth>> {
    let all = contents.notifies.iter().filter(|notify| notify.kind == NotifyType::SUPPORTED_AUTH_METHODS);
    let mut room = limits::MAX_ANNOUNCED_METHODS;
    let lists = all.map(|notify| {
        let list: Vec<_> = Announcements(&notify.data).flatten().take(room).collect();
        room -= list.len();
        list
    });
    lists.filter(|list| !list.is_empty()).collect()
}

/// What the peer takes of us in that round.
//= rfc9593 §3.1
//# If multiple SUPPORTED_AUTH_METHODS notifications are included in a message, all their announcements form a single
//# ordered list
//= rfc9593 §4
//# In the situation when peers are going to use Multiple Authentication Exchanges [RFC4739], they MAY include multiple
//# SUPPORTED_AUTH_METHODS notifications (instead of one), each containing authentication methods appropriate for each
//# authentication round.
pub(crate) fn methods_in(round: Round, connection: &Connection, agreed: &Agreed) -> Vec<AnnouncedAuth> {
    match (agreed.auth_methods.as_slice(), round) {
        ([first, _, ..], Round::First) if connection.local2.is_some() => first.clone(),
        ([_, second, ..], Round::Second) => second.clone(),
        (lists, _) => lists.concat(),
    }
}

/// Signatures that are announced, the one that we like best first. SHA-1 is not taken (RFC 8247 §3.2).
const SIGNATURES: [Scheme; 14] = [
    Scheme::MlDsa65,
    Scheme::MlDsa87,
    Scheme::MlDsa44,
    Scheme::Ed25519,
    Scheme::Ed448,
    Scheme::EcdsaSha256,
    Scheme::EcdsaSha384,
    Scheme::EcdsaSha512,
    Scheme::RsaPssSha256,
    Scheme::RsaPssSha384,
    Scheme::RsaPssSha512,
    Scheme::RsaPkcs1Sha256,
    Scheme::RsaPkcs1Sha384,
    Scheme::RsaPkcs1Sha512,
];

/// Announced to a peer that does not speak RFC 7427.
const OLD_METHODS: [AuthMethod; 4] =
    [AuthMethod::ECDSA_256, AuthMethod::ECDSA_384, AuthMethod::ECDSA_521, AuthMethod::RSA];

/// What we say of how a peer of these connections may prove who it is, for the first round and then, where that is something
/// else, for the second. Nothing, rather than an empty notification: that one promises the list for IKE_INTERMEDIATE.
//= rfc9593 §3
//# each party may send to its peer a list of the authentication methods it supports and is configured to use
pub(crate) fn announcements<'a>(
    suite: &dyn Suite,
    connections: impl Iterator<Item = &'a Connection> + Clone,
    agreed: &Agreed,
) -> impl Iterator<Item = Payload<'static>> {
    let mut lists = Round::ALL.map(|round| {
        let methods =
            connections.clone().filter_map(|connection| Some(connection.remote_auth(round)?.method));
        announcement(suite, methods, agreed)
    });
    if let [first, second] = &mut lists
        && first == second
    {
        second.clear();
    }
    let lists = lists.into_iter().filter(|list| !list.is_empty());
    lists.map(|data| Payload::Notify(Notify::new(NotifyType::SUPPORTED_AUTH_METHODS, data)))
}

/// The notification's data for who authenticates by one of these methods.
fn announcement(
    suite: &dyn Suite,
    methods: impl Iterator<Item = policy::AuthMethod>,
    agreed: &Agreed,
) -> Vec<u8> {
    let (mut signs, mut shares) = (false, false);
    for method in methods {
        match method {
            policy::AuthMethod::Pubkey => signs = true,
            policy::AuthMethod::Psk => shares = true,
        }
    }
    let mut data = Vec::new();
    if signs && agreed.hashes.is_empty() {
        data.extend(OLD_METHODS.iter().flat_map(|method| [3, method.0, ANY_AUTHORITY]));
    } else if signs {
        let identifiers = SIGNATURES.iter().filter(|scheme| suite.verifies(**scheme));
        for (_, identifier) in identifiers.filter_map(|scheme| signature_identifier(*scheme)) {
            let Ok(len) = u8::try_from(3 + identifier.len()) else { continue };
            data.push(len);
            data.extend([AuthMethod::DIGITAL_SIGNATURE.0, ANY_AUTHORITY]);
            data.extend(identifier);
        }
    }
    if shares {
        data.extend([2, AuthMethod::SHARED_KEY.0]);
    }
    data
}

fn notify(data: Vec<u8>) -> Notify<'static> {
    Notify::new(NotifyType::SUPPORTED_AUTH_METHODS, data)
}

/// Leaves the lists out of a first response that they would make too long; they are owed then.
//= rfc9593 §3.1
//# the responder MAY choose not to send an actual list of the supported authentication methods in the IKE_SA_INIT exchange and
//# instead ask the initiator to start the IKE_INTERMEDIATE exchange for the list to be sent in. […] In this case, the responder
//# includes a SUPPORTED_AUTH_METHODS notification containing no data in the IKE_SA_INIT response.
pub(crate) fn put_off(response: &mut Vec<Payload<'static>>) -> Vec<Notify<'static>> {
    let mut chain = Vec::new();
    wire::emit_chain(response, &mut chain);
    if HEADER_LEN + chain.len() <= limits::INIT_ROOM {
        return Vec::new();
    }
    let mut owed = Vec::new();
    response.retain_mut(|payload| match payload {
        Payload::Notify(list) if list.kind == NotifyType::SUPPORTED_AUTH_METHODS => {
            owed.push(std::mem::replace(list, notify(Vec::new())));
            owed.len() == 1
        }
        _ => true,
    });
    owed
}

/// The Cert Link of what goes with any authority (RFC 9593 §3.2.2).
const ANY_AUTHORITY: u8 = 0;

/// The announcements of a notification; `None` for one that is not understood. Ends where lengths make no sense.
struct Announcements<'a>(&'a [u8]);

impl Iterator for Announcements<'_> {
    type Item = Option<AnnouncedAuth>;

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(*self.0.first()?);
        let (blob, rest) = self.0.split_at_checked(len).filter(|(blob, _)| blob.len() >= 2)?;
        self.0 = rest;
        Some(understood(blob))
    }
}

//= rfc9593 §3.2
//# Implementations MUST ignore announcements whose semantics they don't understand.
fn understood(blob: &[u8]) -> Option<AnnouncedAuth> {
    let (method, algorithm) = match *blob {
        [2, method @ (2 | 13)] => (method, &[][..]),
        [3, method @ (1 | 3 | 9..=11), _] => (method, &[][..]),
        [_, method @ 14, _, ref algorithm @ ..] if !algorithm.is_empty() => (method, algorithm),
        _ => return None,
    };
    Some(AnnouncedAuth { method, algorithm: algorithm.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(data: &[u8]) -> Vec<AnnouncedAuth> {
        Announcements(data).flatten().collect()
    }

    fn method(method: u8, algorithm: &[u8]) -> AnnouncedAuth {
        AnnouncedAuth { method, algorithm: algorithm.to_vec() }
    }

    /// The formats of two, three and more octets, with the methods that each is for, whatever the Cert Link says.
    //= rfc9593 §3.2.1
    //= rfc9593 §3.2.2
    //= rfc9593 §3.2.3
    #[test]
    fn each_format_has_its_methods() {
        for number in 0..=u8::MAX {
            let two = matches!(number, 2 | 13).then(|| method(number, &[]));
            assert_eq!(all(&[2, number]), two.into_iter().collect::<Vec<_>>(), "{number}");
            for link in [0, 1, 255] {
                let three = matches!(number, 1 | 3 | 9..=11).then(|| method(number, &[]));
                assert_eq!(all(&[3, number, link]), three.into_iter().collect::<Vec<_>>(), "{number}");
                let more = (number == 14).then(|| method(14, &[0x30, 0]));
                assert_eq!(
                    all(&[5, number, link, 0x30, 0]),
                    more.into_iter().collect::<Vec<_>>(),
                    "{number}"
                );
            }
        }
        // As long as an announcement can be.
        let long = [&[255, 14, 7][..], &[0x30; 252], &[2, 2]].concat();
        assert_eq!(all(&long), [method(14, &[0x30; 252]), method(2, &[])]);
    }

    //= rfc9593 §3.2
    #[test]
    fn what_is_understood_is_read_and_the_rest_passed_over() {
        let data = [&[2, 2, 3, 9, 0, 5, 14, 7][..], &[0x30, 0], &[4, 77, 0, 1], &[2, 12], &[2, 13]].concat();
        assert_eq!(all(&data), [method(2, &[]), method(9, &[]), method(14, &[0x30, 0]), method(13, &[])]);
        assert_eq!(all(&[2, 1, 3, 2, 0, 3, 14, 0]), [], "each in the wrong format (§3.2.1 to §3.2.3)");
        assert_eq!(all(&[]), []);
    }

    #[test]
    fn lengths_that_make_no_sense_end_the_list() {
        assert_eq!(all(&[2, 2, 0, 2, 2]), [method(2, &[])]);
        assert_eq!(all(&[2, 2, 200, 14, 0, 1]), [method(2, &[])]);
        assert_eq!(all(&[2]), []);
        assert_eq!(all(&[1, 2, 2]), []);
    }

    /// Limits: MAX_ANNOUNCED_METHODS.
    //= rfc9593 §3.1
    #[test]
    fn several_notifications_are_one_list_of_bounded_length() {
        let notify = |data: &[u8]| Notify::new(NotifyType::SUPPORTED_AUTH_METHODS, data.to_vec());
        let of = |notifies| announced(&Contents { notifies, ..Contents::default() });
        let two = of(vec![notify(&[3, 9, 0]), notify(&[]), notify(&[2, 2])]);
        assert_eq!(two, [[method(9, &[])], [method(2, &[])]]);
        let many = of(vec![notify(&[2, 2].repeat(60)), notify(&[2, 13].repeat(60)), notify(&[2, 2])]);
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [60, 4]);
    }
}
