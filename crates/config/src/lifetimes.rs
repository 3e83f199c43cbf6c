//! How long keys serve: the times of a connection, the times and volumes of its children, with what swanctl.conf takes for
//! those that are left out.

use crate::load::Loader;
use crate::reader::{Fault, Section};
use crate::value::{duration, number, octets};
use policy::{ChildLifetime, IkeLifetime, Volume};
use std::time::Duration;

/// The keys of one kind of limit.
struct Keys {
    rekey: &'static str,
    life: &'static str,
    rand: &'static str,
}

const TIME: Keys = Keys { rekey: "rekey_time", life: "life_time", rand: "rand_time" };
const BYTES: Keys = Keys { rekey: "rekey_bytes", life: "life_bytes", rand: "rand_bytes" };
const PACKETS: Keys = Keys { rekey: "rekey_packets", life: "life_packets", rand: "rand_packets" };

/// New keys of a child after an hour where nothing is said.
const CHILD_REKEY_MS: u64 = 3_600_000;
/// New keys of an IKE SA after four hours where nothing is said.
const IKE_REKEY: Duration = Duration::from_secs(4 * 3600);

impl Loader<'_> {
    /// Without `rekey_time` and `reauth_time` an IKE SA gets new keys after four hours; with `reauth_time` alone none.
    pub(crate) fn ike_lifetime(&mut self, section: &Section<'_>) -> IkeLifetime {
        let mut read = |key| self.reader.scalar(section, key, duration);
        let (rekey, reauth) = (read("rekey_time"), read("reauth_time"));
        let (over, rand) = (read("over_time"), read("rand_time"));
        let reauth_or_never = reauth.unwrap_or(Duration::ZERO);
        let rekey = rekey.unwrap_or(if reauth.is_some() { Duration::ZERO } else { IKE_REKEY });
        let over = over.unwrap_or(rekey.max(reauth_or_never) / 10);
        let first = [rekey, reauth_or_never].into_iter().filter(|time| !time.is_zero()).min();
        if let (Some(rand), Some(first)) = (rand, first)
            && rand > first
        {
            let key = if first == rekey { "rekey_time" } else { "reauth_time" };
            self.too_much_chance(section, "rand_time", key);
        }
        let rand = rand.unwrap_or(over).min(first.unwrap_or_default());
        IkeLifetime { rekey, reauth: reauth_or_never, over, rand }
    }

    pub(crate) fn child_lifetime(&mut self, section: &Section<'_>) -> ChildLifetime {
        let milliseconds = |text: &str| duration(text).map(|time| time.as_millis() as u64);
        let packets = |text: &str| number(text, 0, u64::MAX / 2);
        let time = self.limit(section, &TIME, milliseconds, CHILD_REKEY_MS);
        ChildLifetime {
            rekey: Duration::from_millis(time.rekey),
            life: Duration::from_millis(time.life),
            rand: Duration::from_millis(time.rand),
            bytes: self.limit(section, &BYTES, octets, 0),
            packets: self.limit(section, &PACKETS, packets, 0),
        }
    }

    /// The end is a tenth after the new keys, and chance takes what lies between, where nothing is said. An end alone gets
    /// its new keys so much before it.
    fn limit(
        &mut self,
        section: &Section<'_>,
        keys: &Keys,
        parse: impl Fn(&str) -> Result<u64, Fault>,
        default: u64,
    ) -> Volume {
        let mut read = |key| self.reader.scalar(section, key, &parse);
        let (rekey, life, rand) = (read(keys.rekey), read(keys.life), read(keys.rand));
        let before = |life: u64| life - life / 11;
        let rekey = match (rekey, life) {
            (Some(rekey), _) => rekey,
            (None, Some(life)) if life > 0 => before(life),
            (None, _) => default,
        };
        let life = life.unwrap_or(rekey + rekey / 10);
        if life > 0 && life < rekey {
            let message = format!(
                "In [{}], `{}` ends a child before `{}` gives it new keys.",
                section.path, keys.life, keys.rekey
            );
            let hint = format!("Leave `{}` out: it is a tenth more than `{}` then.", keys.life, keys.rekey);
            self.reader.error(&section.value_place(keys.life), message, Some(hint));
        }
        if rekey > 0 && rand.is_some_and(|rand| rand > rekey) {
            self.too_much_chance(section, keys.rand, keys.rekey);
        }
        let rand = rand.unwrap_or(life.saturating_sub(rekey)).min(rekey);
        Volume { rekey, life, rand }
    }

    fn too_much_chance(&mut self, section: &Section<'_>, rand: &str, rekey: &str) {
        let message = format!("In [{}], `{rand}` is more than `{rekey}`, which it shortens.", section.path);
        let hint = format!("Make it a tenth of `{rekey}`, or leave it out.");
        self.reader.error(&section.value_place(rand), message, Some(hint));
    }
}
