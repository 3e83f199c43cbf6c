//! What a peer may do, must do, and may try. Each file is one procedure, one extension or one attack.

mod captures;
mod childless;
mod cookies;
mod critical_payloads;
mod dataplane_refuses;
mod deletion;
mod establish;
mod exchanges_out_of_place;
mod forged_messages;
mod fragments;
mod golden;
mod identities;
mod initial_contact;
mod invalid_ke;
mod late_answers;
mod liveness;
mod malformed;
mod proposals;
mod psk;
mod replays;
mod retransmission;
mod simultaneous;
mod traffic_selectors;
mod versions;
