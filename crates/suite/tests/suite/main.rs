//! What a peer may do, must do, and may try. Each file is one procedure, one extension or one attack.

mod captures;
mod golden;
