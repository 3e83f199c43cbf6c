//! From the core's types to the stable shapes of `status --json`.

use crate::protocol::{
    Algorithms, ChildSaStatus, ConnectionStatus, CounterStatus, IkeSaStatus, MessageReport, PoolStatus,
    PostQuantum, ProofStatus, RefusalReport,
};
use crate::sentence::{refusal_name, say_reason};
use dataplane::{Counters, Mode};
use policy::{ChildSuite, Connection, IkeSuite, Leased, Policy, Pool};
use sa::{ChildStatus, IkeStatus, LeaseKeeper, MessageTrace, PoolUsage, Proven, Refusal, Side};
use std::sync::Arc;
use std::time::Duration;
use wire::num::{Encr, Integ, KeMethod, Prf};

/// Seconds with three decimals: enough for people, and stable in print.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

/// Milliseconds with three decimals.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

pub(crate) fn connection(connection: &Connection) -> ConnectionStatus {
    let text = |patterns: &[policy::AddressPattern]| patterns.iter().map(ToString::to_string).collect();
    ConnectionStatus {
        name: connection.name.clone(),
        local_addrs: text(&connection.local_addrs),
        remote_addrs: text(&connection.remote_addrs),
        children: connection.children.iter().map(|child| child.name.clone()).collect(),
        weak: connection.weak.clone(),
    }
}

pub(crate) fn ike_sa(status: &IkeStatus) -> IkeSaStatus {
    let received = status.received.as_deref();
    IkeSaStatus {
        id: status.id.0,
        connection: status.connection.clone(),
        role: match status.side {
            Side::Initiator => "initiator",
            Side::Responder => "responder",
        }
        .to_string(),
        state: status.state.to_string(),
        spi_i: status.spi_i.to_string(),
        spi_r: status.spi_r.to_string(),
        local: status.path.local.to_string(),
        remote: status.path.remote.to_string(),
        local_id: status.local_id.as_ref().map(ToString::to_string),
        remote_id: status.remote_id.as_ref().map(ToString::to_string),
        local_auth: status.local_auth.iter().map(proof).collect(),
        remote_auth: status.remote_auth.iter().map(proof).collect(),
        algorithms: status.suite.as_ref().map(ike_algorithms),
        weak: status.suite.as_ref().map(weak_of_ike).unwrap_or_default(),
        post_quantum: status
            .post_quantum
            .as_ref()
            .map(|known| PostQuantum { safe: known.safe, why: known.why.clone() }),
        full_transcript_auth: status.full_transcript,
        nat_local: status.nat_local,
        nat_remote: status.nat_remote,
        fragmentation: status.fragmentation,
        resumed: status.resumed,
        ticket: status.ticket,
        age_seconds: seconds(status.age),
        idle_seconds: seconds(status.idle),
        virtual_addresses: received
            .map_or(Vec::new(), |r| r.addresses.iter().map(ToString::to_string).collect()),
        dns: received.map_or(Vec::new(), |r| r.dns.iter().map(ToString::to_string).collect()),
        dns_domains: received.map_or(Vec::new(), |r| r.domains.iter().map(|d| d.name.to_string()).collect()),
        subnets: received.map_or(Vec::new(), |r| r.subnets.iter().map(ToString::to_string).collect()),
        leased: status.leased.iter().map(leased).collect(),
        child_sas: status.children.iter().map(child_sa).collect(),
    }
}

fn proof(Proven { id, by }: &Proven) -> ProofStatus {
    ProofStatus { id: id.to_string(), by: by.to_string() }
}

/// An address, or a prefix with its length.
fn leased(leased: &Leased) -> String {
    let whole = if leased.address.is_ipv4() { 32 } else { 128 };
    match leased.prefix_len == whole {
        true => leased.address.to_string(),
        false => format!("{}/{}", leased.address, leased.prefix_len),
    }
}

/// The pools that connections name, each once.
pub(crate) fn pools(policy: &Policy, leases: &LeaseKeeper) -> Vec<PoolStatus> {
    let mut pools: Vec<&Arc<Pool>> = Vec::new();
    for pool in policy.connections.iter().flat_map(|connection| &connection.configuration.pools) {
        if !pools.iter().any(|known| known.name == pool.name) {
            pools.push(pool);
        }
    }
    let usage = leases.usage(pools.into_iter()).into_iter();
    usage
        .map(|PoolUsage { name, size, online, offline }| PoolStatus { name, size, online, offline })
        .collect()
}

fn child_sa(status: &ChildStatus) -> ChildSaStatus {
    let text = |selectors: &[dataplane::Selector]| selectors.iter().map(ToString::to_string).collect();
    ChildSaStatus {
        id: status.id.0,
        name: status.name.clone(),
        mode: match status.mode {
            Mode::Tunnel => "tunnel",
            Mode::Transport => "transport",
        }
        .to_string(),
        spi_in: status.spi_in.to_string(),
        spi_out: status.spi_out.to_string(),
        udp_encap: status.udp_encap,
        algorithms: child_algorithms(&status.suite),
        weak: weak_of_child(&status.suite),
        local_ts: text(&status.local_ts),
        remote_ts: text(&status.remote_ts),
        interface: status.interface.as_ref().map(ToString::to_string),
        ppk: status.ppk.as_ref().map(ToString::to_string),
        age_seconds: seconds(status.age),
        counters: None,
    }
}

pub(crate) fn counters(counters: &Counters) -> CounterStatus {
    CounterStatus {
        packets_in: counters.packets_in,
        bytes_in: counters.bytes_in,
        packets_out: counters.packets_out,
        bytes_out: counters.bytes_out,
        replayed: counters.replayed,
        bad_icv: counters.bad_icv,
        outside_selectors: counters.outside_selectors,
        malformed: counters.malformed,
        not_sent: counters.not_sent,
        idle_in_seconds: counters.idle_in.map(seconds),
    }
}

pub(crate) fn refusal(refusal: &Refusal) -> RefusalReport {
    RefusalReport {
        kind: refusal_name(refusal.kind).to_string(),
        by_peer: refusal.by_peer,
        connection: refusal.connection.clone(),
        reason: say_reason(&refusal.reason),
    }
}

pub(crate) fn message(trace: &MessageTrace) -> MessageReport {
    MessageReport {
        sent: trace.sent,
        resent: trace.resent,
        local: trace.path.local.to_string(),
        remote: trace.path.remote.to_string(),
        exchange: trace.exchange.clone(),
        response: trace.response,
        message_id: trace.message_id.0,
        octets: trace.octets,
        datagrams: trace.datagrams,
        payloads: trace.payloads.clone(),
    }
}

fn ike_algorithms(suite: &IkeSuite) -> Algorithms {
    Algorithms {
        encryption: suite.encr.to_string(),
        key_bits: (suite.key_bits != 0).then_some(suite.key_bits),
        integrity: (suite.integ != Integ::NONE).then(|| suite.integ.to_string()),
        prf: Some(suite.prf.to_string()),
        key_exchange: Some(suite.ke.to_string()),
        additional_key_exchanges: suite.additional.methods().map(|ke| ke.to_string()).collect(),
        esn: None,
    }
}

fn child_algorithms(suite: &ChildSuite) -> Algorithms {
    Algorithms {
        encryption: suite.encr.to_string(),
        key_bits: (suite.key_bits != 0).then_some(suite.key_bits),
        integrity: (suite.integ != Integ::NONE).then(|| suite.integ.to_string()),
        prf: None,
        key_exchange: (suite.ke != KeMethod::NONE).then(|| suite.ke.to_string()),
        additional_key_exchanges: suite.additional.methods().map(|ke| ke.to_string()).collect(),
        esn: Some(suite.esn),
    }
}

/// What RFC 8247 and RFC 8221 say MUST NOT or SHOULD NOT of, as an SA really uses it.
fn weak_of_ike(suite: &IkeSuite) -> Vec<String> {
    let mut weak = weak_cipher(suite.encr, suite.integ);
    if matches!(suite.prf, Prf::HMAC_MD5 | Prf::HMAC_TIGER) {
        weak.push(suite.prf.to_string());
    }
    weak.extend(suite.key_exchanges().filter_map(weak_group));
    weak
}

fn weak_of_child(suite: &ChildSuite) -> Vec<String> {
    let mut weak = weak_cipher(suite.encr, suite.integ);
    weak.extend(suite.key_exchanges().filter_map(weak_group));
    weak
}

fn weak_cipher(encr: Encr, integ: Integ) -> Vec<String> {
    let mut weak = Vec::new();
    if matches!(
        encr,
        Encr::DES_IV64
            | Encr::DES
            | Encr::TRIPLE_DES
            | Encr::RC5
            | Encr::IDEA
            | Encr::CAST
            | Encr::BLOWFISH
            | Encr::IDEA3
            | Encr::DES_IV32
            | Encr::NULL
    ) {
        weak.push(encr.to_string());
    }
    if matches!(integ, Integ::HMAC_MD5_96 | Integ::HMAC_MD5_128 | Integ::DES_MAC | Integ::KPDK_MD5) {
        weak.push(integ.to_string());
    }
    weak
}

fn weak_group(ke: KeMethod) -> Option<String> {
    matches!(
        ke,
        KeMethod::MODP_768
            | KeMethod::MODP_1024
            | KeMethod::MODP_1536
            | KeMethod::MODP_1024_160
            | KeMethod::MODP_2048_224
            | KeMethod::MODP_2048_256
            | KeMethod::ECP_192
    )
    .then(|| ke.to_string())
}
