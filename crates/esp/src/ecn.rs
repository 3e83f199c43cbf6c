//! ECN across a tunnel (RFC 6040; RFC 4301 §5.1.2 with its errata agrees).

/// Not ECN-capable.
pub const NOT_ECT: u8 = 0b00;
/// ECN-capable, ECT(1).
pub const ECT_1: u8 = 0b01;
/// ECN-capable, ECT(0).
pub const ECT_0: u8 = 0b10;
/// Congestion experienced.
pub const CE: u8 = 0b11;

/// The DSCP and ECN octet of the outer header: DSCP is copied (RFC 4301 §5.1.2.1 note 3), and so is ECN, since
/// a peer that speaks IKEv2 decapsulates as RFC 4301 says ("normal mode").
//= rfc6040 §4.1, §4.3
pub fn outer(inner: u8) -> u8 {
    inner
}

/// The inner header's DSCP and ECN octet after decapsulation, or `None` when the packet must be
/// dropped: congestion was met by a packet whose sender would not hear of it.
//= rfc6040 §4.2
pub fn decapsulated(inner: u8, outer: u8) -> Option<u8> {
    let ecn = match (inner & 3, outer & 3) {
        (NOT_ECT, CE) => return None,
        (NOT_ECT, _) => NOT_ECT,
        (CE, _) | (_, CE) => CE,
        (_, ECT_1) => ECT_1,
        (inner, _) => inner,
    };
    Some(inner & !3 | ecn)
}

#[cfg(test)]
mod tests {
    use super::*;

    //= rfc6040 §4.2, figure 4
    #[test]
    fn decapsulation_is_figure_4_of_rfc_6040() {
        let arriving = [NOT_ECT, ECT_0, ECT_1, CE];
        #[rustfmt::skip]
        let table = [
            // outer:   Not-ECT         ECT(0)          ECT(1)          CE
            (NOT_ECT, [Some(NOT_ECT),  Some(NOT_ECT),  Some(NOT_ECT),  None]),
            (ECT_0,   [Some(ECT_0),    Some(ECT_0),    Some(ECT_1),    Some(CE)]),
            (ECT_1,   [Some(ECT_1),    Some(ECT_1),    Some(ECT_1),    Some(CE)]),
            (CE,      [Some(CE),       Some(CE),       Some(CE),       Some(CE)]),
        ];
        for (inner, row) in table {
            for (outer, want) in arriving.into_iter().zip(row) {
                for dscp in 0..64u8 {
                    // The outer DSCP never reaches the inner header.
                    let got = decapsulated(dscp << 2 | inner, (63 - dscp) << 2 | outer);
                    assert_eq!(got, want.map(|ecn| dscp << 2 | ecn), "inner {inner} outer {outer}");
                }
            }
        }
    }

    //= rfc6040 §4.1
    #[test]
    fn encapsulation_copies_dscp_and_ecn() {
        for octet in 0..=u8::MAX {
            assert_eq!(outer(octet), octet);
        }
    }
}
