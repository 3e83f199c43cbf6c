//! The one public sans-IO type: hands each datagram to its IKE SA.
#![forbid(unsafe_code)]
