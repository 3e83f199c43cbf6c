//! Sealing and opening are ESP's hot path: they must not allocate.

use crypto::Suite;
use provider::Provider;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use wire::num::{Encr, Integ};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread.
struct Counting;

// SAFETY: hands everything on to the system's allocator; the counter has no destructor and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn sealing_and_opening_do_not_allocate() {
    let provider = Provider::new();
    let mut shapes = 0;
    for (encr, integ) in Encr::ALL.iter().flat_map(|encr| Integ::ALL.iter().map(move |integ| (*encr, *integ)))
    {
        for bits in [0, 128, 256] {
            let Some(spec) = provider.cipher_spec(encr, bits, integ) else { continue };
            let (encr_key, integ_key) = (vec![1; spec.encr_key_len], vec![2; spec.integ_key_len]);
            let cipher = provider.cipher(encr, bits, integ, &encr_key, &integ_key).unwrap();
            let (iv, mut data, mut icv) = (vec![3; spec.iv_len], vec![4; 1408], vec![0; spec.icv_len]);
            let before = ALLOCATIONS.get();
            cipher.seal(&iv, b"spi+seq.", &mut data, &[0; 4], &mut icv);
            let opened = cipher.open(&iv, b"spi+seq.", &mut data, &[0; 4], &icv);
            let again = cipher.open(&iv, b"spi+seq.", &mut data, &[0; 4], &icv);
            assert_eq!(ALLOCATIONS.get(), before, "{encr} {integ}");
            assert_eq!((opened.is_ok(), again.is_ok()), (true, encr == Encr::NULL), "{encr} {integ}");
            shapes += 1;
        }
    }
    assert!(shapes > 40 && ALLOCATIONS.get() > shapes, "the counter must count");
}
