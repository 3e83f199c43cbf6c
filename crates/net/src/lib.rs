//! Sockets: UDP 500 and 4500, the non-ESP marker, raw ESP.
