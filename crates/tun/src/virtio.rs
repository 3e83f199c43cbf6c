//! The header that precedes each packet on the device (virtio 1.2 §5.1.6).

use crate::device::VIRTIO_LEN;

const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// What the segments of a train are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Train {
    Tcp,
    Udp,
}

/// What the kernel left undone in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unfinished {
    /// Where the checksum begins and at which offset from there it is stored, if it is to be computed.
    pub(crate) checksum: Option<(usize, usize)>,
    /// What to cut the packet into, and the octets of payload in each.
    pub(crate) train: Option<(Train, usize)>,
}

/// Reads the header; `None` when it asks for what we did not offer to do.
pub(crate) fn read(header: &[u8; VIRTIO_LEN]) -> Option<Unfinished> {
    let number = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    let size = number(4);
    let train = match header[1] & !GSO_ECN {
        GSO_NONE => None,
        GSO_TCPV4 | GSO_TCPV6 if size > 0 => Some((Train::Tcp, size)),
        GSO_UDP if size > 0 => Some((Train::Udp, size)),
        _ => return None,
    };
    let checksum = (header[0] & NEEDS_CHECKSUM != 0).then(|| (number(6), number(8)));
    Some(Unfinished { checksum, train })
}

/// The header of a packet that is finished; `valid` says that its checksum has been checked.
pub(crate) fn finished(valid: bool) -> [u8; VIRTIO_LEN] {
    let mut header = [0; VIRTIO_LEN];
    if valid {
        header[0] = CHECKSUM_VALID;
    }
    header
}

/// The header of a merged TCP packet.
pub(crate) fn merged(v4: bool, ip_len: usize, headers_len: usize, size: usize) -> [u8; VIRTIO_LEN] {
    let mut header = [0; VIRTIO_LEN];
    header[0] = NEEDS_CHECKSUM;
    header[1] = if v4 { GSO_TCPV4 } else { GSO_TCPV6 };
    let numbers = [headers_len, size, ip_len, 16];
    for (slot, number) in header[2..].chunks_exact_mut(2).zip(numbers) {
        slot.copy_from_slice(&(number as u16).to_ne_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let merged = merged(false, 40, 72, 1348);
        assert_eq!(
            read(&merged),
            Some(Unfinished { checksum: Some((40, 16)), train: Some((Train::Tcp, 1348)) })
        );
        assert_eq!(read(&finished(true)), Some(Unfinished { checksum: None, train: None }));
    }

    #[test]
    fn what_we_did_not_offer_is_refused() {
        let mut header = finished(false);
        header[1] = 3;
        assert_eq!(read(&header), None);
        header[1] = GSO_TCPV4;
        assert_eq!(read(&header), None, "segments without a size");
    }
}
