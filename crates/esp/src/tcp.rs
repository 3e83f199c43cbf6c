//! The maximum segment size of TCP (RFC 9293 §3.7.1), lowered on its way into a tunnel.

use crate::checksum::adjust;

/// Octets of a TCP header without options.
pub const TCP_LEN: usize = 20;
const SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

/// Lowers the MSS option of a SYN in `segment` to `mss` and corrects the checksum, so that the
/// connection's segments fit the tunnel even where ICMP errors are lost. Anything else stays as it is.
pub fn clamp_mss(segment: &mut [u8], mss: u16) {
    let Some((header, rest)) = segment.split_first_chunk_mut::<TCP_LEN>() else { return };
    if header[13] & SYN == 0 {
        return;
    }
    let options_len = (usize::from(header[12] >> 4) * 4).saturating_sub(TCP_LEN);
    let Some(mut options) = rest.get_mut(..options_len) else { return };
    let mut at = TCP_LEN;
    loop {
        let len = match options {
            [OPTION_NOP, ..] => 1,
            [OPTION_MSS, 4, value @ ..] => {
                let Some(value) = value.first_chunk_mut::<2>() else { return };
                let was = u16::from_be_bytes(*value);
                if was > mss {
                    *value = mss.to_be_bytes();
                    let checksum = adjust_at(u16::from_be_bytes([header[16], header[17]]), at + 2, was, mss);
                    header[16..18].copy_from_slice(&checksum.to_be_bytes());
                }
                return;
            }
            [OPTION_END, ..] | [] | [_] => return,
            [_, len, ..] if *len >= 2 => usize::from(*len),
            _ => return,
        };
        at += len;
        options = match options.get_mut(len..) {
            Some(rest) => rest,
            None => return,
        };
    }
}

/// Adjusts a checksum for a 16-bit value at an even or odd offset: at an odd one its octets stand swapped.
fn adjust_at(checksum: u16, offset: usize, was: u16, is: u16) -> u16 {
    if offset.is_multiple_of(2) {
        adjust(checksum, was, is)
    } else {
        adjust(checksum, was.swap_bytes(), is.swap_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Sum;

    fn syn(options: &[u8], flags: u8) -> Vec<u8> {
        let mut segment = vec![0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0, flags, 0xff, 0xff, 0, 0, 0, 0];
        segment[12] = (((TCP_LEN + options.len()) / 4) << 4) as u8;
        segment.extend_from_slice(options);
        let checksum = Sum::default().octets(&segment).checksum();
        segment[16..18].copy_from_slice(&checksum.to_be_bytes());
        segment
    }

    #[test]
    fn the_mss_of_a_syn_is_lowered_and_the_checksum_holds() {
        for (options, at) in [
            (&[2, 4, 0x05, 0xb4][..], 22),
            (&[1, 2, 4, 0x05, 0xb4, 1, 1, 0][..], 23),
            (&[4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 2, 4, 0x05, 0xb4][..], 34),
        ] {
            for flags in [0x02, 0x12] {
                let mut segment = syn(options, flags);
                clamp_mss(&mut segment, 1300);
                assert_eq!(u16::from_be_bytes([segment[at], segment[at + 1]]), 1300);
                assert_eq!(Sum::default().octets(&segment).fold(), 0xffff, "checksum, {options:?}");
            }
        }
    }

    #[test]
    fn nothing_else_is_touched() {
        for segment in [
            syn(&[2, 4, 0x05, 0x00], 0x02),
            syn(&[2, 4, 0x05, 0xb4], 0x10),
            syn(&[], 0x02),
            syn(&[0, 2, 4, 0xff, 0xff, 0, 0, 0], 0x02),
            syn(&[9, 0, 0, 0], 0x02),
            syn(&[9, 1, 0, 0], 0x02),
            syn(&[9, 200, 0, 0], 0x02),
            syn(&[1, 1, 1, 2], 0x02),
            vec![0; 10],
        ] {
            let mut copy = segment.clone();
            clamp_mss(&mut copy, 1300);
            assert_eq!(copy, segment);
        }
    }
}
