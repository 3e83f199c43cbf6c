//! Diffie-Hellman on the NIST and Brainpool curves, from a private value that the caller drew.

use super::bn::{Bn, Scratch};
use aws_lc_sys as sys;
use base::Secret;
use std::ptr::{self, NonNull};

/// A curve in short Weierstrass form with cofactor 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
    Brainpool256,
    Brainpool384,
    Brainpool512,
}

impl Curve {
    /// Octets of a coordinate, which are also those of a private value.
    pub(crate) const fn len(self) -> usize {
        match self {
            Curve::P256 | Curve::Brainpool256 => 32,
            Curve::P384 | Curve::Brainpool384 => 48,
            Curve::P521 => 66,
            Curve::Brainpool512 => 64,
        }
    }

    /// The bits of the first octet of a private value that may be set.
    pub(crate) const fn first_octet_mask(self) -> u8 {
        match self {
            Curve::P521 => 1,
            _ => 0xff,
        }
    }

    fn group(self) -> *const sys::EC_GROUP {
        // SAFETY: these return pointers to static groups.
        unsafe {
            match self {
                Curve::P256 => sys::EC_group_p256(),
                Curve::P384 => sys::EC_group_p384(),
                Curve::P521 => sys::EC_group_p521(),
                Curve::Brainpool256 => sys::EC_group_brainpoolP256r1(),
                Curve::Brainpool384 => sys::EC_group_brainpoolP384r1(),
                Curve::Brainpool512 => sys::EC_group_brainpoolP512r1(),
            }
        }
    }

    /// Whether `private` lies between 1 and the group's order minus 1.
    pub(crate) fn is_valid_private(self, private: &Secret) -> bool {
        let Some(number) = Bn::from_octets(private.expose()) else { return false };
        // SAFETY: both numbers are valid; the order belongs to the static group.
        unsafe {
            sys::BN_is_zero(number.as_ptr()) == 0
                && sys::BN_cmp(number.as_ptr(), sys::EC_GROUP_get0_order(self.group())) < 0
        }
    }

    /// The public value `x | y` (RFC 5903 §7, RFC 6954 §3) of a valid private value.
    pub(crate) fn public(self, private: &Secret) -> Option<Vec<u8>> {
        let point = Point::new(self)?;
        let (number, scratch) = (Bn::from_octets(private.expose())?, Scratch::new()?);
        // SAFETY: a null point asks for a multiple of the generator alone.
        let ok = unsafe {
            let (none, no_point) = (ptr::null(), ptr::null());
            sys::EC_POINT_mul(self.group(), point.as_ptr(), number.as_ptr(), no_point, none, scratch.as_ptr())
        };
        let mut octets = vec![0; 1 + 2 * self.len()];
        // SAFETY: the buffer has the length of an uncompressed point.
        let written = unsafe {
            sys::EC_POINT_point2oct(
                self.group(),
                point.as_ptr(),
                sys::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED,
                octets.as_mut_ptr(),
                octets.len(),
                scratch.as_ptr(),
            )
        };
        if ok != 1 || written != octets.len() {
            return None;
        }
        octets.remove(0);
        Some(octets)
    }

    /// The x coordinate of `private` times the peer's point (RFC 5903 §7, RFC 6954 §3); `None` when
    /// the peer's value has the wrong length, a coordinate out of range, or is not on the curve.
    pub(crate) fn shared(self, private: &Secret, peer: &[u8]) -> Option<Secret> {
        if peer.len() != 2 * self.len() {
            return None;
        }
        let scratch = Scratch::new()?;
        let (peer, product) = (Point::decode(self, peer, &scratch)?, Point::new(self)?);
        let (number, x) = (Bn::from_octets(private.expose())?, Bn::new()?);
        let mut shared = Secret::zeroed(self.len());
        // SAFETY: both points belong to this group; a null number leaves the generator out; a null y
        // asks for x only, which fails for the point at infinity.
        let done = unsafe {
            let (group, none) = (self.group(), ptr::null());
            let scratch = scratch.as_ptr();
            sys::EC_POINT_mul(group, product.as_ptr(), none, peer.as_ptr(), number.as_ptr(), scratch) == 1
                && sys::EC_POINT_get_affine_coordinates_GFp(
                    group,
                    product.as_ptr(),
                    x.as_ptr(),
                    ptr::null_mut(),
                    scratch,
                ) == 1
        };
        (done && x.write(shared.expose_mut())).then_some(shared)
    }
}

/// A point, zeroed when it is freed.
struct Point(NonNull<sys::EC_POINT>);

impl Point {
    fn new(curve: Curve) -> Option<Self> {
        // SAFETY: allocates; null is handled.
        NonNull::new(unsafe { sys::EC_POINT_new(curve.group()) }).map(Self)
    }

    //= rfc6989 §2.3
    /// The point with the coordinates `xy`, if it is on the curve.
    fn decode(curve: Curve, xy: &[u8], scratch: &Scratch) -> Option<Self> {
        let point = Self::new(curve)?;
        let octets = [&[4], xy].concat();
        // SAFETY: octets come with their length; the library checks range and curve equation.
        let ok = unsafe {
            sys::EC_POINT_oct2point(
                curve.group(),
                point.as_ptr(),
                octets.as_ptr(),
                octets.len(),
                scratch.as_ptr(),
            )
        };
        if ok != 1 {
            super::clear_errors();
        }
        (ok == 1).then_some(point)
    }

    fn as_ptr(&self) -> *mut sys::EC_POINT {
        self.0.as_ptr()
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        // SAFETY: owned here, freed once.
        unsafe { sys::EC_POINT_clear_free(self.as_ptr()) };
    }
}
