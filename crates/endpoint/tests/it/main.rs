//! Two endpoints in memory: the exchanges of IKEv2 from both ends, one procedure or extension a file.
#![allow(unreachable_pub)]

mod common;

mod certificates;
mod children;
mod deletion;
mod establish;
mod floods;
mod fragments;
mod limits;
mod nat;
mod noise;
mod refusals;
mod repeats;
