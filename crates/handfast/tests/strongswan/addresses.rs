//! Virtual addresses: strongSwan as gateway and as road warrior.

use super::{PATTERN, Setup, cannot_run};
use interop::wait_until;
use std::time::Duration;

const VIRTUAL: [&str; 2] = ["10.3.0.1", "fd01:3::1"];

/// strongSwan gives us addresses, and traffic goes by them.
#[test]
fn s067_strongswan_gives_us_addresses() {
    if cannot_run("s067_strongswan_gives_us_addresses") {
        return;
    }
    let setup = Setup {
        ours: "left",
        connection: "vips = [\"0.0.0.0\", \"::\"]",
        selectors: Some(("\"dynamic\"", "[\"192.168.2.1/32\", \"fd01:2::1/128\"]")),
        charon_connection: "pools = four, six",
        charon_selectors: Some(("192.168.2.1/32,fd01:2::1/128", "dynamic")),
        charon_sections: "pools { four { addrs = 10.3.0.0/24\n dns = 192.168.2.1 }\n six { addrs = fd01:3::/64 } }",
        ..Setup::default()
    };
    let mut pair = setup.start();
    pair.establish();
    for (from, to) in VIRTUAL.iter().zip([pair.lab.inner("right"), pair.lab.inner6("right")]) {
        interop::ping(&pair.lab, "left", from.parse().unwrap(), to, PATTERN)
            .unwrap_or_else(|error| panic!("{}", pair.explain(from, &error)));
    }
    let status = pair.status();
    assert!(status.contains("\"192.168.2.1\""), "the name server: {status}");
    assert!(pair.charon.sas().contains(VIRTUAL[0]), "{}", pair.explain("the lease", "not there"));
    pair.wire_is_clean();
    pair.handfast.command(&["down", "net"]).unwrap_or_else(|error| panic!("{error}"));
    let pools = || pair.charon.swanctl(&["--list-pools"]).unwrap_or_else(|error| error);
    assert!(wait_until(Duration::from_secs(5), || pools().contains("0 / 1 / 254")), "{}", pools());
}

/// We give strongSwan addresses, the same again when it comes again, and none when none is left.
#[test]
fn s067_we_give_strongswan_addresses() {
    if cannot_run("s067_we_give_strongswan_addresses") {
        return;
    }
    let setup = Setup {
        ours: "right",
        connection: "pools = \"road\"",
        selectors: Some(("[\"192.168.2.1/32\", \"fd01:2::1/128\"]", "\"dynamic\"")),
        child: "[pools.road]\naddrs = [\"10.3.0.0/24\", \"fd01:3::/64\"]\ndns = \"192.168.2.1\"\n",
        charon_connection: "vips = 0.0.0.0, ::",
        charon_selectors: Some(("dynamic", "192.168.2.1/32,fd01:2::1/128")),
        ..Setup::default()
    };
    let mut pair = setup.start();
    for _ in 0..2 {
        pair.establish();
        for (from, to) in VIRTUAL.iter().zip([pair.lab.inner("right"), pair.lab.inner6("right")]) {
            interop::ping(&pair.lab, "left", from.parse().unwrap(), to, PATTERN)
                .unwrap_or_else(|error| panic!("{}", pair.explain(from, &error)));
        }
        let status = pair.status();
        assert!(VIRTUAL.iter().all(|address| status.contains(address)), "{status}");
        pair.charon.swanctl(&["--terminate", "--ike", "net"]).unwrap_or_else(|error| panic!("{error}"));
        let free = || pair.status().replace(char::is_whitespace, "").contains("\"online\":0");
        assert!(wait_until(Duration::from_secs(5), free), "{}", pair.status());
    }
    pair.wire_is_clean();
}

/// What is missing on one side is told on the other.
#[test]
fn s067_a_gateway_without_addresses_is_told() {
    if cannot_run("s067_a_gateway_without_addresses_is_told") {
        return;
    }
    let setup = Setup {
        ours: "left",
        connection: "vips = \"0.0.0.0\"",
        selectors: Some(("\"dynamic\"", "\"192.168.2.1/32\"")),
        charon_selectors: Some(("192.168.2.1/32", "dynamic")),
        charon_connection: "pools = six",
        charon_sections: "pools { six { addrs = fd01:3::/64 } }",
        ..Setup::default()
    };
    let mut pair = setup.start();
    let outcome = pair.initiate();
    let error = outcome.as_ref().expect_err("there is no address").clone();
    assert!(
        error.contains("INTERNAL_ADDRESS_FAILURE") && error.contains("vips"),
        "{}",
        pair.explain("up", &error)
    );
    assert!(pair.status().contains("\"established\""), "{}", pair.explain("the IKE SA", "it does not stand"));
    pair.wire_is_clean();
}
