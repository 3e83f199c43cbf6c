//! Which of several endpoints an IKE SA belongs to: a pure function of its SPI.

use base::{IkeSpi, Rng};
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

/// One endpoint among several in a process. The SPIs that it draws name it by a keyed hash, so that
/// datagrams find their endpoint without a shared table, and nobody outside can aim at one of them.
#[derive(Clone)]
pub struct Shard {
    index: u32,
    count: u32,
    key: [u8; 16],
}

/// The key is left out: who knows it can aim at one endpoint.
impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shard({} of {})", self.index, self.count)
    }
}

impl Shard {
    /// The only endpoint of its process.
    pub fn only() -> Self {
        Self { index: 0, count: 1, key: [0; 16] }
    }

    /// Number `index` of `count`, all with the same random `key`; `None` unless `index < count`.
    pub fn new(index: u32, count: u32, key: [u8; 16]) -> Option<Self> {
        (index < count).then_some(Self { index, count, key })
    }

    /// Its number.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The number of the endpoint that drew `spi`.
    pub fn of_spi(&self, spi: IkeSpi) -> u32 {
        self.hash(|hasher| hasher.write_u64(spi.0))
    }

    /// The number of the endpoint that an initiator's first message goes to.
    pub fn of_first(&self, initiator: IkeSpi, source: IpAddr) -> u32 {
        self.hash(|hasher| {
            hasher.write_u64(initiator.0);
            match source {
                IpAddr::V4(a) => hasher.write(&a.octets()),
                IpAddr::V6(a) => hasher.write(&a.octets()),
            }
        })
    }

    /// A random SPI, never zero, that names this endpoint.
    pub fn draw(&self, rng: &mut dyn Rng) -> IkeSpi {
        loop {
            let spi = IkeSpi(rng.next_u64());
            if spi != IkeSpi::ZERO && self.of_spi(spi) == self.index {
                return spi;
            }
        }
    }

    fn hash(&self, feed: impl FnOnce(&mut DefaultHasher)) -> u32 {
        if self.count == 1 {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.key);
        feed(&mut hasher);
        (hasher.finish() % u64::from(self.count)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(u64);

    impl Rng for Counter {
        fn fill(&mut self, out: &mut [u8]) {
            for octet in out {
                self.0 =
                    self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *octet = (self.0 >> 56) as u8;
            }
        }
    }

    #[test]
    fn a_drawn_spi_names_its_shard_and_no_other() {
        let shards: Vec<Shard> = (0..5).filter_map(|i| Shard::new(i, 5, [7; 16])).collect();
        let mut rng = Counter(1);
        for (index, shard) in shards.iter().enumerate() {
            for _ in 0..50 {
                let spi = shard.draw(&mut rng);
                assert!(shards.iter().all(|any| any.of_spi(spi) == index as u32), "{spi}");
            }
        }
        assert!(Shard::new(5, 5, [7; 16]).is_none());
        assert_eq!(format!("{:?}", shards[2]), "Shard(2 of 5)", "the key is not shown");
    }

    #[test]
    fn another_key_spreads_otherwise() {
        let (a, b) = (Shard::new(0, 64, [1; 16]).unwrap(), Shard::new(0, 64, [2; 16]).unwrap());
        let source = "192.0.2.1".parse().unwrap();
        let differ =
            (0..64).filter(|&i| a.of_first(IkeSpi(i), source) != b.of_first(IkeSpi(i), source)).count();
        assert!(differ > 32, "{differ}");
    }
}
