//! A data plane: `esp` over a TUN device.
