//! `[shunts.NAME]`.

use crate::load::Loader;
use crate::reader::Section;
use crate::schema;
use crate::value::choice;
use dataplane::{AddressRange, Selector};
use policy::{Shunt, ShuntAction};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ACTIONS: &[(&str, ShuntAction)] = &[("pass", ShuntAction::Pass), ("drop", ShuntAction::Drop)];

impl Loader<'_> {
    pub(crate) fn read_shunts(&mut self, root: &Section<'_>) -> Vec<Shunt> {
        let mut shunts = Vec::new();
        for (name, section) in self.reader.named(root, "shunts") {
            shunts.extend(self.read_shunt(name, &section));
        }
        shunts
    }

    fn read_shunt(&mut self, name: String, section: &Section<'_>) -> Option<Shunt> {
        self.reader.check_keys(section, &schema::SHUNT);
        self.check_name(&name, &section.at);
        for (key, hint) in [
            ("action", "Write `action = \"pass\"` or `action = \"drop\"`."),
            ("remote_ts", "Write where the packets go: `remote_ts = \"192.0.2.0/24\"`, for example."),
        ] {
            if !section.has(key) {
                let message = format!("[{}] has no `{key}`.", section.path);
                self.reader.error(&section.at, message, Some(hint.to_string()));
            }
        }
        let action = self.reader.text(section, "action", |text| choice(ACTIONS, text));
        let local_ts = self.addressed(section, "local_ts");
        let remote_ts = self.addressed(section, "remote_ts");
        self.check_sides(section, &local_ts, &remote_ts);
        let local_ts = if section.has("local_ts") { local_ts } else { any(&remote_ts) };
        let whole = !local_ts.is_empty() && !remote_ts.is_empty();
        let action = action.filter(|_| whole)?;
        Some(Shunt { name, action, local_ts, remote_ts })
    }

    /// Selectors with addresses: a shunt has no ends that `dynamic` could stand for.
    fn addressed(&mut self, section: &Section<'_>, key: &str) -> Vec<Selector> {
        let before = self.reader.problems.len();
        let selectors = self.selectors(section, key);
        if selectors.is_empty() && section.has(key) && self.reader.problems.len() == before {
            let message = format!("`{}.{key}` names no addresses, and a shunt has no ends.", section.path);
            let hint = match key {
                "local_ts" => "Write addresses, or leave it out: then it means every address.",
                _ => "Write addresses: `0.0.0.0/0` and `::/0` are all.",
            };
            self.reader.error(&section.value_place(key), message, Some(hint.to_string()));
        }
        selectors
    }
}

/// Every address, of the families that the other side has.
fn any(others: &[Selector]) -> Vec<Selector> {
    let all: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let wanted = |any: &IpAddr| others.iter().any(|ts| ts.addresses.start().is_ipv4() == any.is_ipv4());
    let ranges = all.into_iter().filter(wanted).filter_map(|any| AddressRange::from_prefix(any, 0));
    ranges.map(Selector::addresses).collect()
}
