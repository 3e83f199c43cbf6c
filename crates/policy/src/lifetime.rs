//! How long keys serve, by time and by what they have carried.

use std::time::Duration;

/// When an IKE SA gets new keys, and when both ends prove again who they are. Zero: never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IkeLifetime {
    /// `rekey_time`: new keys are asked for after this long, less a random part of `rand`.
    pub rekey: Duration,
    /// `reauth_time`: a new IKE SA takes its place after this long, less a random part of `rand`.
    pub reauth: Duration,
    /// `over_time`: an IKE SA that got neither is closed this long after the later of them was due.
    pub over: Duration,
    /// `rand_time`: so much earlier at most, so that not all SAs of a gateway come at once (RFC 7296 §2.8).
    pub rand: Duration,
}

/// When a child SA gets new keys, and when it ends for want of them. Zero: never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChildLifetime {
    /// `rekey_time`: new keys are asked for after this long, less a random part of `rand`.
    pub rekey: Duration,
    /// `life_time`: it is deleted after this long.
    pub life: Duration,
    /// `rand_time`: so much earlier at most.
    pub rand: Duration,
    /// `rekey_bytes`, `life_bytes`, `rand_bytes`: octets of inner packets, both directions each for itself.
    pub bytes: Volume,
    /// `rekey_packets`, `life_packets`, `rand_packets`.
    pub packets: Volume,
}

/// How much one direction of a child SA may carry. Zero: any amount.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Volume {
    /// New keys are asked for after so much, less a random part of `rand`.
    pub rekey: u64,
    /// It is deleted after so much.
    pub life: u64,
    /// So much earlier at most.
    pub rand: u64,
}

impl IkeLifetime {
    /// It lasts until somebody ends it.
    pub const UNLIMITED: Self =
        Self { rekey: Duration::ZERO, reauth: Duration::ZERO, over: Duration::ZERO, rand: Duration::ZERO };
}

impl ChildLifetime {
    /// It lasts until somebody ends it.
    pub const UNLIMITED: Self = Self {
        rekey: Duration::ZERO,
        life: Duration::ZERO,
        rand: Duration::ZERO,
        bytes: Volume { rekey: 0, life: 0, rand: 0 },
        packets: Volume { rekey: 0, life: 0, rand: 0 },
    };
}

/// The times of swanctl.conf: new keys after four hours.
impl Default for IkeLifetime {
    fn default() -> Self {
        let rekey = Duration::from_secs(4 * 3600);
        let over = rekey / 10;
        Self { rekey, reauth: Duration::ZERO, over, rand: over }
    }
}

/// The times of swanctl.conf: new keys after an hour, the end after a tenth more.
impl Default for ChildLifetime {
    fn default() -> Self {
        let rekey = Duration::from_secs(3600);
        let life = rekey + rekey / 10;
        Self { rekey, life, rand: life - rekey, bytes: Volume::default(), packets: Volume::default() }
    }
}
