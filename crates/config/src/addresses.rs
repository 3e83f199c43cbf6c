//! `[pools]`, and what a connection asks for and gives by configuration payloads.

use crate::load::Loader;
use crate::reader::{Fault, Section, Text};
use crate::schema;
use crate::settings::set;
use crate::value::{decode_hex, identity, number, range, shown, truth};
use dataplane::AddressRange;
use policy::{Configuration, DnsName, Domain, Pool, Reservation, SplitDns, TrustAnchor, nearest};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

impl Loader<'_> {
    /// `[pools]`
    pub(crate) fn read_pools(&mut self, root: &Section<'_>) {
        for (name, section) in self.reader.named(root, "pools") {
            self.check_name(&name, &section.at);
            let pool = self.read_pool(name, &section);
            self.pools.push(Arc::new(pool));
        }
    }

    fn read_pool(&mut self, name: String, section: &Section<'_>) -> Pool {
        self.reader.check_keys(section, &schema::POOL);
        let mut pool = Pool { name, prefix_len: 64, ..Pool::default() };
        pool.addrs = self.entries(section, "addrs", range);
        pool.prefixes = self.entries(section, "prefixes", range);
        set(
            &mut pool.prefix_len,
            self.reader.scalar(section, "prefix_len", |text| number(text, 1, 126).map(|len| len as u8)),
        );
        pool.dns = self.entries(section, "dns", address);
        pool.nbns = self.entries(section, "nbns", address);
        pool.dhcp = self.entries(section, "dhcp", address);
        for key in ["subnet", "split_include"] {
            pool.subnets.extend(self.entries(section, key, network));
        }
        for (host, host_section) in self.reader.named(section, "hosts") {
            self.check_name(&host, &host_section.at);
            pool.hosts.extend(self.read_host(&host_section));
        }
        let mut domains: Vec<Domain> = self
            .entries(section, "dns_domains", |text| Ok(Domain { name: domain(text)?, anchors: Vec::new() }));
        self.read_anchors(section, &mut domains);
        pool.domains = domains;
        self.check_pool(section, &pool);
        pool
    }

    fn read_host(&mut self, section: &Section<'_>) -> Option<Reservation> {
        self.reader.check_keys(section, &schema::POOL_HOST);
        for key in ["id", "addrs"] {
            if !section.has(key) {
                self.reader.error(&section.at, format!("[{}] has no `{key}`.", section.path), None);
            }
        }
        let addrs = self.entries(section, "addrs", address);
        let id = self.reader.text(section, "id", identity)?;
        Some(Reservation { id, addrs })
    }

    /// `dnssec_anchors` of a pool: `DOMAIN TAG ALGORITHM TYPE DIGEST`.
    fn read_anchors(&mut self, section: &Section<'_>, domains: &mut [Domain]) {
        let Some(list) = self.reader.list(section, "dnssec_anchors") else { return };
        for text in &list {
            let parsed = self.reader.parse(text, anchor);
            let Some((name, anchor)) = parsed else { continue };
            match domains.iter_mut().find(|domain| domain.name == name) {
                Some(domain) => domain.anchors.push(anchor),
                None => {
                    let hint = Some(format!("Add `{name}` to `dns_domains`."));
                    let message = format!(
                        "The trust anchor is for `{name}`, which is none of the pool's `dns_domains`."
                    );
                    self.reader.error(&text.at, message, hint);
                }
            }
        }
    }

    fn check_pool(&mut self, section: &Section<'_>, pool: &Pool) {
        if pool.addrs.is_empty() && pool.prefixes.is_empty() && pool.hosts.is_empty() {
            let complete = ["addrs", "prefixes", "hosts"].iter().all(|key| !section.has(key));
            if complete {
                let hint = "Add `addrs`, as in `addrs = \"10.3.0.0/24\"`.".to_string();
                self.reader.error(&section.at, format!("[{}] has no addresses.", section.path), Some(hint));
            }
        }
        let odd = pool.prefixes.iter().find(|range| match range.prefix_len() {
            Some(len) => range.start().is_ipv4() || len > pool.prefix_len,
            None => true,
        });
        if let Some(odd) = odd {
            let message =
                format!("`{odd}` is no IPv6 network that holds prefixes of length {}.", pool.prefix_len);
            self.reader.error(&section.value_place("prefixes"), message, None);
        }
        if !pool.domains.is_empty() && pool.dns.is_empty() {
            let hint = "Add `dns`: whose servers should answer for them? (RFC 8598 §3.2)".to_string();
            let message = format!("[{}] has `dns_domains`, but no `dns`.", section.path);
            self.reader.error(&section.value_place("dns_domains"), message, Some(hint));
        }
        let mut all: Vec<&AddressRange> = pool.addrs.iter().collect();
        all.sort_by_key(|range| range.start());
        if let Some([one, two]) =
            all.windows(2).find(|pair| matches!(pair, [a, b] if a.intersect(b).is_some()))
        {
            let message = format!("In [{}], {one} and {two} overlap.", section.path);
            self.reader.error(&section.value_place("addrs"), message, None);
        }
    }

    /// `vips`, `pools` and what the peer may say of names.
    pub(crate) fn read_configuration(&mut self, section: &Section<'_>) -> Configuration {
        let vips = self.entries(section, "vips", vip);
        let mut link = false;
        set(&mut link, self.reader.scalar(section, "ipv6_link", truth));
        let mut pools = Vec::new();
        for text in self.reader.list(section, "pools").unwrap_or_default() {
            match self.pools.iter().find(|pool| pool.name == text.text) {
                Some(pool) => pools.push(pool.clone()),
                None => self.unknown_pool(&text),
            }
        }
        let mut split_dns = SplitDns::Any;
        if let Some(list) = self.reader.list(section, "split_dns") {
            split_dns = match list.as_slice() {
                [one] if one.text == "any" => SplitDns::Any,
                [one] if one.text == "none" => SplitDns::None,
                names => SplitDns::Below(names.iter().filter_map(|t| self.reader.parse(t, domain)).collect()),
            };
        }
        let dnssec_anchors = self.entries(section, "dnssec_anchors", anchor_domain);
        for key in ["split_dns", "dnssec_anchors"].into_iter().filter(|key| section.has(key)) {
            if vips.is_empty() && !link {
                let message = format!("`{}.{key}` has no effect without `vips`.", section.path);
                self.reader.warn(&section.place(key), message, None);
            }
        }
        Configuration { vips, link, pools, split_dns, dnssec_anchors }
    }

    fn unknown_pool(&mut self, text: &Text) {
        let names: Vec<&str> = self.pools.iter().map(|pool| pool.name.as_str()).collect();
        let hint = match nearest(&text.text, names.iter().copied()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Add [pools.{}].", shown(&text.text)),
        };
        self.reader.error(&text.at, format!("There is no pool `{}`.", shown(&text.text)), Some(hint));
    }

    fn entries<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<T> {
        let Some(list) = self.reader.list(section, key) else { return Vec::new() };
        list.iter().filter_map(|text| self.reader.parse(text, &parse)).collect()
    }
}

fn address(text: &str) -> Result<IpAddr, Fault> {
    text.parse().map_err(|_| Fault::new(format!("`{}` is no address.", shown(text))))
}

/// An address to ask for; `%any4`, `0.0.0.0` and the like stand for any.
fn vip(text: &str) -> Result<IpAddr, Fault> {
    match text {
        "%any" | "%any4" | "%config" | "%config4" => Ok(Ipv4Addr::UNSPECIFIED.into()),
        "%any6" | "%config6" => Ok(Ipv6Addr::UNSPECIFIED.into()),
        _ => address(text).map_err(|fault| {
            fault.hint("Write \"0.0.0.0\" or \"::\" for any address, or the one that you want.")
        }),
    }
}

fn network(text: &str) -> Result<AddressRange, Fault> {
    let range = range(text)?;
    match range.prefix_len() {
        Some(_) => Ok(range),
        None => {
            Err(Fault::new(format!("`{}` is no network.", shown(text))).hint("Write it like 10.1.0.0/16."))
        }
    }
}

fn domain(text: &str) -> Result<DnsName, Fault> {
    DnsName::new(text).ok_or_else(|| {
        Fault::new(format!("`{}` is no domain.", shown(text)))
            .hint("Write it like corp.example.org; names with other letters in their ASCII form (xn--…).")
    })
}

/// A domain below which the peer may set trust anchors.
//= rfc8598 §6
//# The DNS root zone (".") MUST be ignored if it appears in a whitelist. Other generic or public domains, such as
//# Top-Level Domains (TLDs), similarly MUST be ignored if they appear in a whitelist unless the entity actually is the
//# operator of the TLD. […] it MAY provide a special override keyword
fn anchor_domain(text: &str) -> Result<DnsName, Fault> {
    if let Some(top) = text.strip_prefix("tld:") {
        return domain(top);
    }
    let name = domain(text)?;
    match name.is_top_level() {
        true => Err(Fault::new(format!(
            "`{name}` is a top-level domain: the peer could vouch for everything below it."
        ))
        .hint(format!("Name a domain of its own, or write \"tld:{name}\" if it is its operator."))),
        false => Ok(name),
    }
}

fn anchor(text: &str) -> Result<(DnsName, TrustAnchor), Fault> {
    let wrong = || {
        Fault::new(format!("`{}` is no trust anchor.", shown(text)))
            .hint("Write the domain and its DS record: \"corp.example 43547 8 2 B6225AB2…\".")
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let [name, tag, algorithm, digest_type, digest @ ..] = words.as_slice() else { return Err(wrong()) };
    let small = |text: &str| text.parse::<u8>().map_err(|_| wrong());
    let anchor = TrustAnchor {
        key_tag: tag.parse().map_err(|_| wrong())?,
        algorithm: small(algorithm)?,
        digest_type: small(digest_type)?,
        digest: decode_hex(&digest.concat()).map_err(|_| wrong())?,
    };
    match anchor.is_whole() {
        true => Ok((domain(name)?, anchor)),
        false => Err(Fault::new(format!("The digest is not as long as digest type {digest_type} wants."))),
    }
}
