//! IKE_SA_INIT and IKE_AUTH (RFC 7296 §1.2), from both ends.

use crate::common::{A, B, Pair, connection};
use sa::{Order, Reply, Target};

#[test]
fn two_ends_with_one_psk_get_an_ike_sa_and_a_child() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    let order = pair.up();
    pair.settle();
    assert_eq!((pair.a.established(), pair.b.established()), (1, 1), "{:?}", pair.b.refusals());
    pair.assert_mirrored();
    assert_eq!(pair.seen.len(), 4, "four messages are enough");
    match &pair.a.replies[..] {
        [(id, Reply::Up { children, refused, .. })] => {
            assert_eq!((*id, children.as_slice(), refused.len()), (order, &["lan".to_string()][..], 0));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn down_leaves_nothing_on_either_side() {
    let mut pair = Pair::established();
    let order = pair.order_a(Order::Down(Target::All));
    pair.settle();
    assert!(matches!(&pair.a.replies[1..], [(id, Reply::Down { ike: 1, children: 1 })] if *id == order));
    pair.pass(std::time::Duration::from_secs(60));
    assert!(pair.a.endpoint.is_empty() && pair.b.endpoint.is_empty());
    assert!(pair.a.sad.is_empty() && pair.b.sad.is_empty());
}
