//! The Internet checksum (RFC 1071), whole and incremental (RFC 1624).

use std::net::IpAddr;

/// A ones' complement sum in progress, in the octets' own order.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sum(u64);

impl Sum {
    /// Adds octets; all but the last slice added must have an even length.
    #[inline]
    pub fn octets(mut self, octets: &[u8]) -> Self {
        // Two independent carry chains keep the adders busy.
        let (mut a, mut b) = (self.0, 0u64);
        let mut blocks = octets.chunks_exact(16);
        for block in &mut blocks {
            let (low, high) = block.split_at(8);
            a = carry(a, word(low));
            b = carry(b, word(high));
        }
        let rest = blocks.remainder();
        let (first, last) = rest.split_at(rest.len().min(8));
        a = carry(a, word(first));
        a = carry(a, word(last));
        self.0 = carry(a, b);
        self
    }

    /// Adds a 16-bit number as it stands on the wire.
    pub fn number(self, value: u16) -> Self {
        Self(carry(self.0, u64::from(value.to_be())))
    }

    /// The sum folded to 16 bits, as a number.
    pub fn fold(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be(sum as u16)
    }

    /// The checksum: the sum's complement.
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

#[inline]
fn carry(a: u64, b: u64) -> u64 {
    let (sum, over) = a.overflowing_add(b);
    sum + u64::from(over)
}

/// Up to eight octets as a number in memory order; missing ones are zero.
#[inline]
fn word(octets: &[u8]) -> u64 {
    match octets.first_chunk::<8>() {
        Some(whole) => u64::from_ne_bytes(*whole),
        None => {
            let mut padded = [0; 8];
            padded[..octets.len()].copy_from_slice(octets);
            u64::from_ne_bytes(padded)
        }
    }
}

/// The sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1) for `len` octets of `protocol`.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Sum {
    let sum = add_address(add_address(Sum::default(), source), destination);
    let len = len as u32;
    sum.number(u16::from(protocol)).number((len >> 16) as u16).number(len as u16)
}

fn add_address(sum: Sum, address: IpAddr) -> Sum {
    match address {
        IpAddr::V4(ip) => sum.octets(&ip.octets()),
        IpAddr::V6(ip) => sum.octets(&ip.octets()),
    }
}

/// The checksum `old` after a 16-bit word of what it covers changed from `was` to `is` (RFC 1624 §3).
pub fn adjust(old: u16, was: u16, is: u16) -> u16 {
    Sum::default().number(!old).number(!was).number(is).checksum()
}

/// The checksum `old` after an address of the pseudo-header changed; both are of one family.
pub fn adjust_address(old: u16, was: IpAddr, is: IpAddr) -> u16 {
    let removed = add_address(Sum::default(), was).checksum();
    let sum = Sum::default().number(!old).number(removed);
    add_address(sum, is).checksum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octet by octet, as RFC 1071 §1 describes it.
    fn naive(octets: &[u8]) -> u16 {
        let words =
            octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&b| u32::from(b)));
        let sum = words.fold(0u64, |sum, word| sum + u64::from(word));
        let mut sum = sum;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        //= rfc1071 §3
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().octets(&octets).fold(), 0xddf2);
    }

    #[test]
    fn every_length_sums_as_the_definition_says() {
        let octets: Vec<u8> = (0..200u32).map(|i| (i * 151 + 255) as u8).collect();
        for len in 0..octets.len() {
            assert_eq!(Sum::default().octets(&octets[..len]).fold(), naive(&octets[..len]), "{len} octets");
        }
        assert_eq!(Sum::default().octets(&[0xff; 64]).fold(), 0xffff);
    }

    #[test]
    fn a_change_adjusts_the_checksum() {
        let mut octets = *b"some octets here";
        let before = Sum::default().octets(&octets).checksum();
        octets[4..6].copy_from_slice(&[0x12, 0x34]);
        let was = u16::from_be_bytes([b' ', b'o']);
        assert_eq!(adjust(before, was, 0x1234), Sum::default().octets(&octets).checksum());

        let (a, b) = ("10.0.0.5".parse().unwrap(), "203.0.113.77".parse().unwrap());
        let peer = "192.0.2.1".parse().unwrap();
        let before = pseudo_header(a, peer, 6, 16).octets(&octets).checksum();
        let after = pseudo_header(b, peer, 6, 16).octets(&octets).checksum();
        assert_eq!(adjust_address(before, a, b), after);
    }
}
