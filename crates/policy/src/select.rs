//! Which connection a peer is for: first by addresses (all that IKE_SA_INIT tells), then by what
//! IKE_AUTH adds.

use crate::matching::{Closeness, same_identity, shorten};
use crate::{
    AddressPattern, AuthMethod, Connection, ConnectionId, Identity, IkeSuite, Policy, match_identity,
};
use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

/// No connection fits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoConnection {
    /// The one that came nearest.
    pub nearest: Option<ConnectionId>,
    /// What the peer came with, what the nearest connection wants, in a sentence or two.
    pub reason: String,
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for NoConnection {}

/// What a peer tells of itself in IKE_AUTH.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// Who it says it is (IDi).
    pub peer: &'a Identity,
    /// Whom it wants to talk to (IDr), if it says so.
    pub us: Option<&'a Identity>,
    /// How it authenticates.
    pub method: Option<AuthMethod>,
    /// What IKE_SA_INIT chose: a connection that would not have chosen it does not fit.
    pub suite: Option<&'a IkeSuite>,
    /// What it says of a second round; `None` where there can be none.
    pub rounds: Option<Announced>,
}

/// What a peer says of a second round of authentication (RFC 4739).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Announced {
    /// It takes one of us (MULTIPLE_AUTH_SUPPORTED).
    pub supported: bool,
    /// It goes through one itself (ANOTHER_AUTH_FOLLOWS).
    pub follows: bool,
}

impl Announced {
    /// What speaks against a connection with such a peer; parts of a sentence.
    pub fn against(self, connection: &Connection) -> impl Iterator<Item = &'static str> {
        let its = match (self.follows, &connection.remote2) {
            (true, None) => Some(
                "the peer announces a second authentication, and `remote2` does not say who it must be then",
            ),
            (false, Some(_)) => {
                Some("the peer authenticates once and `remote2` wants a second proof: give it its second one")
            }
            _ => None,
        };
        let ours = (connection.local2.is_some() && !self.supported).then_some(
            "`local2` is a second authentication of ours, and the peer does not announce that it takes one \
             (MULTIPLE_AUTH_SUPPORTED, RFC 4739)",
        );
        its.into_iter().chain(ours)
    }
}

/// The connections for a peer at `remote` that sent to `local`: a concrete remote address comes
/// before a prefix, that before a name or `%any`; among equals likewise by the local address, and
/// at last by the order of the file.
pub fn candidates(policy: &Policy, local: IpAddr, remote: IpAddr) -> Result<Vec<ConnectionId>, NoConnection> {
    let fit = |(index, connection): (usize, &std::sync::Arc<Connection>)| {
        let remote = closest(&connection.remote_addrs, remote)?;
        Some((Reverse((remote, closest(&connection.local_addrs, local)?)), ConnectionId(index as u32)))
    };
    let mut found: Vec<_> = policy.connections.iter().enumerate().filter_map(fit).collect();
    found.sort();
    if found.is_empty() {
        return Err(no_candidate(policy, local, remote));
    }
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

/// Those of `among` that fit what the peer tells in IKE_AUTH: who names the peer itself comes before
/// who names it by a wildcard, that before `%any`, then who was asked for by name; among equals in the order of `among`.
pub fn by_claims(
    policy: &Policy,
    among: &[ConnectionId],
    claims: Claims<'_>,
) -> Result<Vec<ConnectionId>, NoConnection> {
    let mut fitting = Vec::new();
    let mut nearest: Option<(usize, ConnectionId, Vec<String>)> = None;
    for &id in among {
        let Some(connection) = policy.connection(id) else { continue };
        match judge(connection, claims) {
            Ok(closeness) => fitting.push((Reverse(closeness), id)),
            Err(reasons) => {
                if nearest.as_ref().is_none_or(|(fewest, ..)| reasons.len() < *fewest) {
                    nearest = Some((reasons.len(), id, reasons));
                }
            }
        }
    }
    // Stable: the order of `among` stays among equals.
    fitting.sort_by_key(|(closeness, _)| *closeness);
    match (fitting.is_empty(), nearest) {
        (false, _) => Ok(fitting.into_iter().map(|(_, id)| id).collect()),
        (true, Some((_, id, reasons))) => {
            let name = policy.connection(id).map_or("", |connection| connection.name.as_str());
            let reason =
                format!("No connection fits; the nearest is `{name}`, but {}.", reasons.join("; and "));
            Err(NoConnection { nearest: Some(id), reason })
        }
        (true, None) => {
            Err(NoConnection { nearest: None, reason: "No connection is configured.".to_string() })
        }
    }
}

/// How closely, or all that speaks against it.
fn judge(connection: &Connection, claims: Claims<'_>) -> Result<(Closeness, bool), Vec<String>> {
    let mut against = Vec::new();
    let peer = match_identity(&connection.remote.id, claims.peer)
        .map_err(|why| against.push(format!("of the peer, {why}")))
        .unwrap_or(Closeness::Any);
    let named = match (claims.us, &connection.local.id) {
        (Some(asked), Some(own)) if !same_identity(asked, own) => {
            let (asked, own) = (shorten(&asked.to_string()), shorten(&own.to_string()));
            against.push(format!("the peer asks for {asked} and our identity there is {own}"));
            false
        }
        (Some(_), Some(_)) => true,
        _ => false,
    };
    if let Some(method) = claims.method
        && method != connection.remote.method
    {
        let (came, wanted) = (method_name(method), method_name(connection.remote.method));
        against.push(format!("the peer authenticates by {came} and {wanted} is wanted"));
    }
    if let Some(suite) = claims.suite
        && !connection.proposals.iter().any(|proposal| proposal.allows_ike(suite))
    {
        against.push(format!(
            "its `proposals` do not allow {suite}, which was negotiated before the peer said who it is"
        ));
    }
    if let Some(rounds) = claims.rounds {
        against.extend(rounds.against(connection).map(str::to_string));
    }
    if against.is_empty() { Ok((peer, named)) } else { Err(against) }
}

/// What people call a method.
fn method_name(method: AuthMethod) -> &'static str {
    match method {
        AuthMethod::Psk => "pre-shared key",
        AuthMethod::Pubkey => "certificate",
    }
}

fn no_candidate(policy: &Policy, local: IpAddr, remote: IpAddr) -> NoConnection {
    let fits = |patterns: &[AddressPattern], address| closest(patterns, address).is_some();
    let half = policy.connections.iter().enumerate().find_map(|(index, connection)| {
        let local_fits = fits(&connection.local_addrs, local);
        (local_fits || fits(&connection.remote_addrs, remote)).then_some((index, connection, local_fits))
    });
    let Some((index, connection, local_fits)) = half else {
        let reason = match policy.connections.len() {
            0 => "No connection is configured.".to_string(),
            n => format!("None of the {n} connections is for a peer at {remote} or for our address {local}."),
        };
        return NoConnection { nearest: None, reason };
    };
    let (key, wanted, address) = match local_fits {
        true => ("remote_addrs", &connection.remote_addrs, remote),
        false => ("local_addrs", &connection.local_addrs, local),
    };
    let wanted: Vec<String> =
        wanted.iter().take(crate::limits::LISTED_SELECTORS).map(AddressPattern::to_string).collect();
    let reason = format!(
        "No connection is for a peer at {remote} that sends to {local}; the nearest is `{}`, but its `{key}` ({}) do not contain {address}.",
        connection.name,
        wanted.join(", ")
    );
    NoConnection { nearest: Some(ConnectionId(index as u32)), reason }
}

/// How closely the best of `patterns` describes `address`; more is closer.
fn closest(patterns: &[AddressPattern], address: IpAddr) -> Option<u32> {
    patterns.iter().filter(|pattern| pattern.matches(address)).map(closeness).max()
}

fn closeness(pattern: &AddressPattern) -> u32 {
    match pattern {
        AddressPattern::Any => 0,
        AddressPattern::Name(_) => 1,
        AddressPattern::Range(range) => {
            let size = match (range.start(), range.end()) {
                (IpAddr::V4(start), IpAddr::V4(end)) => u128::from(u32::from(end) - u32::from(start)),
                (IpAddr::V6(start), IpAddr::V6(end)) => u128::from(end) - u128::from(start),
                _ => u128::MAX,
            };
            // 2 for all of IPv6, 130 for one address.
            2 + size.leading_zeros()
        }
    }
}
