//! `[pools]`, `vips`, and `[daemon.resolver]`: what they mean, and what is told of those that are wrong.

mod common;

use common::Dir;
use policy::{Configuration, SplitDns};
use std::net::IpAddr;
use std::path::Path;

const SECRETS: &str = "[secrets.ike.a]\nsecret = \"a secret of more than sixteen octets\"\n";

fn file(connection: &str, rest: &str) -> String {
    format!(
        "[connections.a]\n{connection}\nlocal.auth = \"psk\"\n[connections.a.children.c]\n{rest}\n{SECRETS}"
    )
}

fn configuration(connection: &str, rest: &str) -> Configuration {
    let config = Dir::new().good(&file(connection, rest));
    config.policy.connections[0].configuration.clone()
}

#[test]
fn a_client_says_what_it_wants() {
    let read =
        configuration("vips = [\"0.0.0.0\", \"%any6\", \"10.3.0.7\"]\nsplit_dns = \"Corp.Example.\"", "");
    let vips: Vec<IpAddr> = ["0.0.0.0", "::", "10.3.0.7"].map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(read.vips, vips);
    assert!(matches!(read.split_dns, SplitDns::Below(names) if names[0].as_str() == "corp.example"));
    let read =
        configuration("vips = \"::\"\nsplit_dns = \"none\"\ndnssec_anchors = \"tld:internal, a.b\"", "");
    assert_eq!(read.split_dns, SplitDns::None);
    let names: Vec<_> = read.dnssec_anchors.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["internal", "a.b"]);
    assert_eq!(configuration("vips = \"::\"", "").split_dns, SplitDns::Any);
    assert_eq!(configuration("", ""), Configuration::default());
    let read = configuration("ipv6_link = true\nsplit_dns = \"none\"", "");
    assert!(read.link && read.asks() && read.vips.is_empty());
}

#[test]
fn a_pool_is_read_whole_and_shared() {
    let pool = "[pools.road]\naddrs = [\"10.3.0.0/24\", \"10.4.0.1-10.4.0.9\", \"2001:db8::/64\"]\nprefixes = \"2001:db8:8::/48\"\n\
                prefix_len = 60\ndns = \"10.1.0.53\"\nnbns = \"10.1.0.54\"\ndhcp = \"10.1.0.55\"\nsubnet = \"10.1.0.0/16\"\n\
                split_include = \"10.2.0.0/16\"\ndns_domains = \"corp.example, lab.example\"\n\
                dnssec_anchors = \"lab.example 43547 8 1 B6225AB2CC613E0DCA79 62BDC2342EA4F1B56083\"\n\
                [pools.road.hosts.fred]\nid = \"fred@example.org\"\naddrs = \"10.3.0.7, 2001:db8::7\"\n[pools.idle]\naddrs = \"10.9.0.1\"";
    let read = configuration("pools = [\"idle\", \"road\"]", pool);
    let names: Vec<_> = read.pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["idle", "road"]);
    let road = &read.pools[1];
    let text =
        |ranges: &[dataplane::AddressRange]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text(&road.addrs), ["10.3.0.0/24", "10.4.0.1-10.4.0.9", "2001:db8::/64"]);
    assert_eq!((text(&road.prefixes), road.prefix_len), (vec!["2001:db8:8::/48".to_string()], 60));
    assert_eq!(text(&road.subnets), ["10.1.0.0/16", "10.2.0.0/16"]);
    assert_eq!((road.dns.len(), road.nbns.len(), road.dhcp.len()), (1, 1, 1));
    assert_eq!((road.hosts[0].id.to_string().as_str(), road.hosts[0].addrs.len()), ("fred@example.org", 2));
    let domains: Vec<_> = road.domains.iter().map(|d| (d.name.as_str(), d.anchors.len())).collect();
    assert_eq!(domains, [("corp.example", 0), ("lab.example", 1)]);
    assert_eq!(road.domains[1].anchors[0].digest.len(), 20);
}

#[test]
fn the_resolver_is_named_by_its_path() {
    let config =
        Dir::new().good(&file("", "[daemon.resolver]\nfile = \"/etc/resolv.conf\"\ncommand = \"/bin/true\""));
    assert_eq!(config.daemon.resolver.file.as_deref(), Some(Path::new("/etc/resolv.conf")));
    assert_eq!(config.daemon.resolver.command.as_deref(), Some(Path::new("/bin/true")));
    assert_eq!(Dir::new().good(&file("", "")).daemon.resolver, config::ResolverSettings::default());
}

#[test]
fn what_is_wrong_is_told_with_what_to_write() {
    let road = "[pools.road]\naddrs = \"10.3.0.0/24\"";
    let cases = [
        ("vips = \"10.3.0.300\"", "", "no address"),
        ("pools = \"raod\"", road, "Did you mean `road`?"),
        ("pools = \"x\"", "", "Add [pools.x]"),
        ("vips = \"::\"\nsplit_dns = \"a b\"", "", "no domain"),
        ("vips = \"::\"\ndnssec_anchors = \"org\"", "", "tld:org"),
        ("vips = \"::\"\ndnssec_anchors = \".\"", "", "no domain"),
        ("", "[pools.road]\ndns = \"10.1.0.53\"", "has no addresses"),
        ("", "[pools.road]\naddrs = \"10.3.0.9-10.3.0.1\"", "backwards"),
        ("", "[pools.road]\naddrs = \"10.3.0.0/24, 10.3.0.9\"", "overlap"),
        ("", "[pools.road]\naddrs = \"10.3.0.1\"\nadrs = \"10.3.0.0/24\"", "Did you mean `addrs`?"),
        ("", "[pools.road]\naddrs = \"10.3.0.0/24\"\nsubnet = \"10.0.0.1-10.0.0.6\"", "no network"),
        ("", "[pools.road]\nprefixes = \"2001:db8::/65\"", "holds prefixes of length 64"),
        ("", "[pools.road]\nprefixes = \"10.0.0.0/8\"", "no IPv6 network"),
        ("", "[pools.road]\naddrs = \"10.3.0.1\"\ndns_domains = \"corp.example\"", "no `dns`"),
        ("", "[pools.road]\naddrs = \"10.3.0.1\"\ndnssec_anchors = \"a.b 1 8 1 AB\"", "not as long"),
        ("", "[pools.road]\naddrs = \"10.3.0.1\"\ndnssec_anchors = \"a.b 1 8 9 AB\"", "none of the pool's"),
        ("", "[pools.road]\naddrs = \"10.3.0.1\"\ndnssec_anchors = \"a.b\"", "no trust anchor"),
        ("", "[pools.road.hosts.fred]\naddrs = \"10.3.0.7\"", "has no `id`"),
        ("", "[pools.road.hosts.fred]\nid = \"fred\"", "has no `addrs`"),
        ("", "[daemon.resolver]\nfile = \"resolv.conf\"", "absolute"),
    ];
    for (connection, rest, wanted) in cases {
        let errors = Dir::new().errors(&file(connection, rest));
        assert!(errors.len() == 1 && errors[0].contains(wanted), "{connection} {rest}: {errors:?}");
    }
}
