//! The daemon: event loop, job pool, control socket.
