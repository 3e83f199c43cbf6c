//! `[connections.NAME]` and its children.

use crate::auth::Rounds;
use crate::limits::NAME;
use crate::load::Loader;
use crate::reader::{Fault, Section, Text};
use crate::schema;
use crate::settings::set;
use crate::value::{address_pattern, choice, duration, id_pattern, number, selector, shown, truth};
use dataplane::{Mode, Selector};
use policy::{
    AddressPattern, Child, Childless, Connection, EncapChoice, EndAction, Extensions, Gateway, Proposal,
    ProposalError, Redirect, SendCert, StartAction, Unique,
};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use wire::num::EsnMode;

impl Loader<'_> {
    pub(crate) fn read_connection(&mut self, name: String, section: &Section<'_>) -> Option<Connection> {
        self.reader.check_keys(section, &schema::CONNECTION);
        self.check_name(&name, &section.at);
        self.reader.scalar(section, "version", version);
        let local_addrs = self.addresses(section, "local_addrs");
        let remote_addrs = self.addresses(section, "remote_addrs");
        self.check_families(section, &local_addrs, &remote_addrs);
        let mut proposals = self.proposals(section, "proposals", Kind::Ike);
        let rounds = self.read_auth(section, &local_addrs, &remote_addrs);
        let children = self.read_children(section);
        let options = self.read_options(section);
        // A PPK makes the keys safe whatever the key exchange is.
        if options.extensions.require_pq && !options.extensions.ppk.required {
            proposals = self.post_quantum_only(section, &proposals);
        }
        let configuration = self.read_configuration(section);
        let Rounds { local, remote, local2, remote2 } = rounds?;
        let connection = Connection {
            name,
            local_addrs,
            remote_addrs,
            weak: weak(&proposals, &children),
            proposals,
            local,
            remote,
            local2,
            remote2,
            children,
            encap: options.encap,
            fragmentation: options.fragmentation,
            fragment_size: options.fragment_size,
            send_cert: options.send_cert,
            send_certreq: options.send_certreq,
            dpd_delay: options.dpd_delay,
            lifetime: self.ike_lifetime(section),
            dpd_timeout: options.dpd_timeout,
            keyingtries: options.keyingtries,
            retry_interval: options.retry_interval,
            mobike: options.mobike,
            window: options.window,
            configuration,
            extensions: options.extensions,
            unique: options.unique,
        };
        self.check_connection(section, &connection);
        self.check_interfaces(section, &connection);
        Some(connection)
    }

    /// What `require_pq` leaves of the proposals.
    fn post_quantum_only(&mut self, section: &Section<'_>, proposals: &[Proposal]) -> Vec<Proposal> {
        let left = policy::post_quantum_only(proposals);
        if left.is_empty() && !proposals.is_empty() {
            let message = format!("`{}.require_pq` leaves none of its proposals.", section.path);
            let hint = "Add a post-quantum method, as in `aes256gcm16-prfsha384-x25519-ke1_mlkem768`, leave `proposals` out, or set `ppk_required`.";
            self.reader.error(&section.value_place("require_pq"), message, Some(hint.to_string()));
        }
        left
    }

    fn read_options(&mut self, section: &Section<'_>) -> Options {
        let mut options = Options::default();
        let encap = |text: &str| Ok(if truth(text)? { EncapChoice::Force } else { EncapChoice::Auto });
        set(&mut options.encap, self.reader.scalar(section, "encap", encap));
        let fragmentation = |text: &str| match text {
            "accept" | "force" => Err(Fault::new(format!("`{text}` is not possible for `fragmentation`."))
                .hint("Write true or false.")),
            _ => truth(text),
        };
        set(&mut options.fragmentation, self.reader.scalar(section, "fragmentation", fragmentation));
        // RFC 7383 §2.5.1: 576 octets for IPv4, 1280 for IPv6 are always safe; more than a jumbo frame carries is none.
        let size = |text: &str| number(text, 576, 9000).map(|n| n as u16);
        set(&mut options.fragment_size, self.reader.scalar(section, "fragment_size", size));
        let window = |text: &str| number(text, 1, 32).map(|n| n as u8);
        set(&mut options.window, self.reader.scalar(section, "window_size", window));
        set(&mut options.mobike, self.reader.scalar(section, "mobike", truth));
        let words =
            [("always", SendCert::Always), ("ifasked", SendCert::IfAsked), ("never", SendCert::Never)];
        set(&mut options.send_cert, self.reader.text(section, "send_cert", |text| choice(&words, text)));
        set(&mut options.send_certreq, self.reader.scalar(section, "send_certreq", truth));
        set(&mut options.dpd_delay, self.reader.scalar(section, "dpd_delay", duration));
        set(&mut options.dpd_timeout, self.reader.scalar(section, "dpd_timeout", duration));
        let tries = |text: &str| number(text, 0, u64::from(u32::MAX)).map(|n| n as u32);
        set(&mut options.keyingtries, self.reader.scalar(section, "keyingtries", tries));
        let retry = self.reader.scalar(section, "retry_initiate_interval", retry_interval);
        set(&mut options.retry_interval, retry);
        self.read_extensions(section, &mut options.extensions);
        let words = [
            ("no", Unique::No),
            ("never", Unique::Never),
            ("replace", Unique::Replace),
            ("keep", Unique::Keep),
        ];
        set(&mut options.unique, self.reader.text(section, "unique", |text| choice(&words, text)));
        options
    }

    fn read_extensions(&mut self, section: &Section<'_>, extensions: &mut Extensions) {
        let words = [
            ("allow", Childless::Allow),
            ("prefer", Childless::Prefer),
            ("force", Childless::Force),
            ("never", Childless::Never),
        ];
        set(&mut extensions.childless, self.reader.text(section, "childless", |text| choice(&words, text)));
        let full_transcript = self.reader.scalar(section, "full_transcript_auth", truth);
        set(&mut extensions.full_transcript, full_transcript);
        set(&mut extensions.cloning, self.reader.scalar(section, "clone_ike_sa", truth));
        set(&mut extensions.follow_redirects, self.reader.scalar(section, "follow_redirects", truth));
        set(&mut extensions.require_pq, self.reader.scalar(section, "require_pq", truth));
        extensions.ppk = self.read_ppks(section);
        set(&mut extensions.resumption, self.reader.scalar(section, "resumption", truth));
        let clients = self.reader.list(section, "redirect_clients").unwrap_or_default();
        let clients = clients.iter().filter_map(|text| self.reader.parse(text, address_range)).collect();
        let ids = self.reader.list(section, "redirect_ids").unwrap_or_default();
        let ids = ids.iter().filter_map(|text| self.reader.parse(text, id_pattern)).collect();
        let above = self.reader.scalar(section, "redirect_above", |text| number(text, 0, 10_000_000));
        let above = above.map_or(0, |above| above as usize);
        match self.reader.text(section, "redirect_to", gateway) {
            Some(to) => extensions.redirect = Some(Redirect { to, clients, ids, above }),
            None => {
                let others = ["redirect_clients", "redirect_ids", "redirect_above"];
                for key in others.into_iter().filter(|key| section.has(key)) {
                    let message = format!("`{}.{key}` needs `redirect_to`.", section.path);
                    self.reader.error(&section.value_place(key), message, None);
                }
            }
        }
    }

    /// Names stand in the log and on the command line, as `connection/child`.
    pub(crate) fn check_name(&mut self, name: &str, at: &Range<usize>) {
        let ok = !name.is_empty()
            && name.len() <= NAME
            && !name.chars().any(|c| c == '/' || c.is_whitespace() || c.is_control());
        if !ok {
            let message =
                format!("`{}` is no name: it has 1 to {NAME} octets, without blanks and `/`.", shown(name));
            self.reader.error(at, message, None);
        }
    }

    fn addresses(&mut self, section: &Section<'_>, key: &str) -> Vec<AddressPattern> {
        let Some(list) = self.reader.list(section, key) else { return vec![AddressPattern::Any] };
        list.iter().filter_map(|text| self.reader.parse(text, address_pattern)).collect()
    }

    /// An IPv4 address of ours cannot speak with an IPv6 address of the peer's.
    fn check_families(&mut self, section: &Section<'_>, local: &[AddressPattern], remote: &[AddressPattern]) {
        let possible = |v4: bool, patterns: &[AddressPattern]| {
            patterns.is_empty()
                || patterns.iter().any(|pattern| match pattern {
                    AddressPattern::Range(range) => range.start().is_ipv4() == v4,
                    _ => true,
                })
        };
        if !([true, false].into_iter().any(|v4| possible(v4, local) && possible(v4, remote))) {
            let message = format!(
                "In [{}], `local_addrs` and `remote_addrs` are of different IP versions.",
                section.path
            );
            self.reader.error(&section.value_place("remote_addrs"), message, None);
        }
    }

    fn read_children(&mut self, section: &Section<'_>) -> Vec<Arc<Child>> {
        let mut children = Vec::new();
        for (name, child) in self.reader.named(section, "children") {
            self.check_name(&name, &child.at);
            children.push(Arc::new(self.read_child(name, &child)));
        }
        if children.is_empty() {
            let hint = format!("Add [{}.children.NAME].", section.path);
            self.reader.warn(
                &section.at,
                format!("[{}] has no children: it will carry no traffic.", section.path),
                Some(hint),
            );
        }
        children
    }

    fn read_child(&mut self, name: String, section: &Section<'_>) -> Child {
        self.reader.check_keys(section, &schema::CHILD);
        let mut child = Child {
            name,
            mode: Mode::Tunnel,
            single_pair: false,
            local_ts: self.selectors(section, "local_ts"),
            remote_ts: self.selectors(section, "remote_ts"),
            esp_proposals: self.proposals(section, "esp_proposals", Kind::Esp),
            start_action: StartAction::None,
            dpd_action: EndAction::Clear,
            close_action: EndAction::Clear,
            inactivity: Duration::ZERO,
            lifetime: self.child_lifetime(section),
            replay_window: 1024,
            interface: self.read_interface(section),
        };
        set(&mut child.mode, self.reader.text(section, "mode", mode));
        set(&mut child.single_pair, self.reader.scalar(section, "single_pair", truth));
        set(&mut child.start_action, self.reader.text(section, "start_action", start_action));
        let end_action = |text: &str| choice(END_ACTIONS, text);
        set(&mut child.dpd_action, self.reader.text(section, "dpd_action", end_action));
        set(&mut child.close_action, self.reader.text(section, "close_action", end_action));
        set(&mut child.inactivity, self.reader.scalar(section, "inactivity", inactivity));
        let window = |text: &str| match number(text, 0, 4096) {
            Ok(window) if window == 0 || window >= 32 => Ok(window as u32),
            _ => Err(Fault::new(format!(
                "`{}` is no replay window: 0 (off), or 32 to 4096 packets.",
                shown(text)
            ))),
        };
        set(&mut child.replay_window, self.reader.scalar(section, "replay_window", window));
        if child.replay_window == 0 {
            let at = section.value_place("replay_window");
            self.reader.warn(
                &at,
                "Without a replay window, packets that somebody recorded are accepted again.",
                None,
            );
            self.without_esn(section, &mut child);
        }
        self.check_child(section, &child);
        child
    }

    /// Without a replay window nobody follows the half of the numbers that is not transmitted.
    //= rfc4303 §3.3.3
    //# If a receiver chooses to not enable anti-replay for an SA, then the receiver SHOULD NOT negotiate ESN in an SA
    //# management protocol.
    fn without_esn(&mut self, section: &Section<'_>, child: &mut Child) {
        for proposal in &mut child.esp_proposals {
            proposal.esn.retain(|esn| *esn != EsnMode::ESN);
        }
        if child.esp_proposals.iter().any(|proposal| proposal.esn.is_empty()) {
            let hint = "Write `noesn` for `esn`, or set a window of at least 32.".to_string();
            self.reader.error(
                &section.value_place("replay_window"),
                "Extended sequence numbers (`esn`) need a replay window.",
                Some(hint),
            );
        }
    }

    pub(crate) fn selectors(&mut self, section: &Section<'_>, key: &str) -> Vec<Selector> {
        let Some(list) = self.reader.list(section, key) else { return Vec::new() };
        let mut selectors: Vec<Selector> = Vec::new();
        let mut dynamic = false;
        for text in &list {
            match self.reader.parse(text, selector) {
                Some(Some(selector)) => {
                    self.warn_host_bits(text, &selector);
                    if !selectors.contains(&selector) {
                        selectors.push(selector);
                    }
                }
                Some(None) => dynamic = true,
                None => {}
            }
        }
        if dynamic && list.len() > 1 {
            let hint = "Write the address in its place.".to_string();
            let message = format!(
                "In `{}.{key}`, `dynamic` stands beside other selectors, which is not supported.",
                section.path
            );
            self.reader.error(&section.value_place(key), message, Some(hint));
        }
        selectors
    }

    /// `10.1.2.3/16` may be a slip.
    fn warn_host_bits(&mut self, text: &Text, selector: &Selector) {
        let written =
            text.text.split(['/', '[']).next().and_then(|address| address.trim().parse::<IpAddr>().ok());
        if text.text.contains('/')
            && let Some(address) = written
            && address != selector.addresses.start()
        {
            self.reader.warn(&text.at, format!("`{}` is read as {selector}.", shown(&text.text)), None);
        }
    }

    fn check_child(&mut self, section: &Section<'_>, child: &Child) {
        self.check_sides(section, &child.local_ts, &child.remote_ts);
        if !child.inactivity.is_zero() && child.start_action == StartAction::Start {
            let message = format!(
                "In [{}], `inactivity` takes the child down, and nothing brings it back but `handfast up` or the peer.",
                section.path
            );
            let hint = "With `start_action = \"trap|start\"` the next packet does.".to_string();
            self.reader.warn(&section.value_place("inactivity"), message, Some(hint));
        }
        if child.mode == Mode::Transport {
            for (key, ts) in [("local_ts", &child.local_ts), ("remote_ts", &child.remote_ts)] {
                if ts.iter().any(|s| s.addresses.start() != s.addresses.end()) {
                    let message = format!(
                        "In [{}], `{key}` is wider than one host, but transport mode carries only what the two ends themselves exchange.",
                        section.path
                    );
                    let hint = format!("Leave `{key}` out, or set `mode = \"tunnel\"`.");
                    self.reader.warn(&section.value_place(key), message, Some(hint));
                }
            }
        }
    }

    /// There are packets that both sides mean.
    pub(crate) fn check_sides(&mut self, section: &Section<'_>, local: &[Selector], remote: &[Selector]) {
        let family = |v4: bool, ts: &[Selector]| {
            ts.is_empty() || ts.iter().any(|s| s.addresses.start().is_ipv4() == v4)
        };
        if ![true, false].into_iter().any(|v4| family(v4, local) && family(v4, remote)) {
            let message = format!(
                "In [{}], `local_ts` and `remote_ts` are of different IP versions: no packet can match both.",
                section.path
            );
            return self.reader.error(&section.value_place("remote_ts"), message, None);
        }
        let any_protocol = |ts: &[Selector]| ts.is_empty() || ts.iter().any(|s| s.protocol == 0);
        let protocols =
            |a: &[Selector], b: &[Selector]| a.iter().any(|a| b.iter().any(|b| a.protocol == b.protocol));
        if !any_protocol(local) && !any_protocol(remote) && !protocols(local, remote) {
            let message = format!(
                "In [{}], `local_ts` and `remote_ts` have no IP protocol in common: no packet can match both.",
                section.path
            );
            self.reader.error(&section.value_place("remote_ts"), message, None);
        }
    }

    fn proposals(&mut self, section: &Section<'_>, key: &str, kind: Kind) -> Vec<Proposal> {
        let Some(list) = self.reader.list(section, key) else { return kind.default() };
        let mut all: Vec<Proposal> = Vec::new();
        for text in &list {
            let known = (kind, text.text.clone());
            let read = match self.parsed_proposals.get(&known) {
                Some(read) => read.clone(),
                None => {
                    let suite = self.tools.suite;
                    let Some(read) = self.reader.parse(text, |text| kind.parse(text, suite)) else {
                        continue;
                    };
                    self.parsed_proposals.insert(known, read.clone());
                    read
                }
            };
            for proposal in read {
                if !all.contains(&proposal) {
                    all.push(proposal);
                }
            }
        }
        self.warn_weak(section, key, &all);
        all
    }

    fn warn_weak(&mut self, section: &Section<'_>, key: &str, proposals: &[Proposal]) {
        let mut weak: Vec<String> = proposals.iter().flat_map(Proposal::weak).collect();
        weak.sort();
        weak.dedup();
        if !weak.is_empty() {
            let message = format!("`{}.{key}` allows what is weak: {}.", section.path, weak.join(", "));
            let hint = "It is used only with this connection, and shown in `handfast status`.".to_string();
            self.reader.warn(&section.value_place(key), message, Some(hint));
        }
    }
}

/// The keys of a connection that stand for themselves, with their defaults.
struct Options {
    encap: EncapChoice,
    fragmentation: bool,
    fragment_size: u16,
    window: u8,
    mobike: bool,
    send_cert: SendCert,
    send_certreq: bool,
    dpd_delay: Duration,
    dpd_timeout: Duration,
    keyingtries: u32,
    retry_interval: Duration,
    extensions: Extensions,
    unique: Unique,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            encap: EncapChoice::Force,
            fragmentation: true,
            fragment_size: 1280,
            window: 8,
            mobike: true,
            send_cert: SendCert::Always,
            send_certreq: true,
            dpd_delay: Duration::from_secs(30),
            dpd_timeout: Duration::ZERO,
            keyingtries: 0,
            retry_interval: Duration::from_secs(10),
            extensions: Extensions::default(),
            unique: Unique::No,
        }
    }
}

/// An address, a prefix or a range.
fn address_range(text: &str) -> Result<dataplane::AddressRange, Fault> {
    match address_pattern(text)? {
        AddressPattern::Range(range) => Ok(range),
        AddressPattern::Any | AddressPattern::Name(_) => {
            Err(Fault::new(format!("`{}` is no address.", shown(text)))
                .hint("Write 192.0.2.0/24, for example."))
        }
    }
}

/// Another gateway, by its address or its name.
fn gateway(text: &str) -> Result<Gateway, Fault> {
    match address_pattern(text)? {
        AddressPattern::Range(range) if range.start() == range.end() => Ok(Gateway::Address(range.start())),
        AddressPattern::Name(name) if name.len() <= usize::from(u8::MAX) => Ok(Gateway::Name(name)),
        _ => {
            Err(Fault::new(format!("`{}` is no gateway.", shown(text))).hint("Write one address, or a name."))
        }
    }
}

/// What a proposal is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Ike,
    Esp,
}

impl Kind {
    fn default(self) -> Vec<Proposal> {
        match self {
            Kind::Ike => policy::default_ike(),
            Kind::Esp => policy::default_esp(),
        }
    }

    fn parse(self, text: &str, suite: &dyn crypto::Suite) -> Result<Vec<Proposal>, Fault> {
        let parsed = match self {
            Kind::Ike => policy::parse_ike(text),
            Kind::Esp => policy::parse_esp(text),
        };
        let parsed =
            parsed.map_err(|ProposalError { at, message, hint }| Fault { at: Some(at), message, hint })?;
        match parsed.iter().find_map(|proposal| proposal.missing(suite)) {
            Some(word) => {
                Err(Fault::new(format!("`{word}` is known, but this build of Handfast cannot do it.")))
            }
            None => Ok(parsed),
        }
    }
}

/// What a suite lacks of a proposal.
trait Missing {
    fn missing(&self, suite: &dyn crypto::Suite) -> Option<String>;
}

impl Missing for Proposal {
    fn missing(&self, suite: &dyn crypto::Suite) -> Option<String> {
        use policy::keyword::{Word, spell};
        use wire::num::{Integ, KeMethod};
        let prf = self.prf.iter().find(|prf| suite.prf(**prf).is_none()).map(|prf| Word::Prf(*prf));
        let all = self.ke.iter().chain(self.additional.iter().flatten());
        let ke = all.into_iter().find(|ke| **ke != KeMethod::NONE && suite.key_exchange(**ke).is_none());
        let pairs = self.encr.iter().flat_map(|(encr, bits)| {
            let none = [Integ::NONE];
            let integ = if policy::is_aead(*encr) { none.to_vec() } else { self.integ.clone() };
            integ.into_iter().map(move |integ| (*encr, *bits, integ))
        });
        let cipher =
            pairs.into_iter().find(|(encr, bits, integ)| suite.cipher_spec(*encr, *bits, *integ).is_none());
        let cipher = cipher.map(|(encr, bits, integ)| match integ {
            Integ::NONE => spell(Word::Encr(encr, bits)),
            _ => format!("{}-{}", spell(Word::Encr(encr, bits)), spell(Word::Integ(integ))),
        });
        cipher.or_else(|| prf.or(ke.map(|ke| Word::Ke(*ke))).map(spell))
    }
}

fn version(text: &str) -> Result<(), Fault> {
    match text {
        "2" => Ok(()),
        "0" | "1" => {
            Err(Fault::new(format!("`version = {text}` asks for IKEv1, which this version does not speak."))
                .hint("Write `version = 2`, or leave it out."))
        }
        _ => Err(Fault::new(format!("`{}` is no version of IKE.", shown(text)))
            .hint("Write `version = 2`, or leave it out.")),
    }
}

fn mode(text: &str) -> Result<Mode, Fault> {
    match text {
        "pass" | "drop" => {
            Err(Fault::new(format!("The mode `{text}` is swanctl's: here it is no child of a connection."))
                .hint(format!("Write a [shunts.NAME] with `action = \"{text}\"` instead.")))
        }
        "beet" | "transport_proxy" => {
            Err(Fault::new(format!("The mode `{text}` is swanctl's, but this version does not have it."))
                .hint("Possible: `tunnel`, `transport`."))
        }
        _ => choice(&[("tunnel", Mode::Tunnel), ("transport", Mode::Transport)], text),
    }
}

fn start_action(text: &str) -> Result<StartAction, Fault> {
    let words = [
        ("none", StartAction::None),
        ("trap", StartAction::Trap),
        ("start", StartAction::Start),
        ("trap|start", StartAction::TrapStart),
    ];
    // swanctl takes both orders.
    choice(&words, if text == "start|trap" { "trap|start" } else { text })
}

const END_ACTIONS: &[(&str, EndAction)] =
    &[("clear", EndAction::Clear), ("trap", EndAction::Trap), ("restart", EndAction::Restart)];

/// A peer that cannot be reached must not be called in a loop.
fn inactivity(text: &str) -> Result<Duration, Fault> {
    match duration(text)? {
        time if !time.is_zero() && time < Duration::from_secs(1) => {
            Err(Fault::new(format!("`{}` is too short for `inactivity`.", shown(text)))
                .hint("Write at least 1s, or 0s for never."))
        }
        time => Ok(time),
    }
}

fn retry_interval(text: &str) -> Result<Duration, Fault> {
    match duration(text)? {
        wait if wait < Duration::from_secs(1) => {
            Err(Fault::new(format!("`{}` is too short for `retry_initiate_interval`.", shown(text)))
                .hint("Write at least 1s."))
        }
        wait => Ok(wait),
    }
}

/// What in all the proposals of a connection is weak, each once.
fn weak(proposals: &[Proposal], children: &[Arc<Child>]) -> Vec<String> {
    let all = proposals.iter().chain(children.iter().flat_map(|child| &child.esp_proposals));
    let mut weak: Vec<String> = Vec::new();
    for word in all.flat_map(Proposal::weak) {
        if !weak.contains(&word) {
            weak.push(word);
        }
    }
    weak
}
