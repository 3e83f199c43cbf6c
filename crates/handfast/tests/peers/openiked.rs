//! OpenIKED 7.2.

use super::{Setup, Who, cookie_by_us, fragments, liveness, rekeying_by_time, tunnel};
use interop::{Boot, kernel_tests};

const INITIATOR: &str = "left";
const RESPONDER: &str = "right";

kernel_tests! {
    initiator: Boot::TRAVEL, || tunnel("openiked::initiator", &Setup::new(Who::OpenIked, INITIATOR));
    responder: Boot::TRAVEL, || tunnel("openiked::responder", &Setup::new(Who::OpenIked, RESPONDER));
    rekeying_as_initiator: Boot::TRAVEL, || {
        rekeying_by_time("openiked::rekeying_as_initiator", &Setup::new(Who::OpenIked, INITIATOR));
    };
    rekeying_as_responder: Boot::TRAVEL, || {
        rekeying_by_time("openiked::rekeying_as_responder", &Setup::new(Who::OpenIked, RESPONDER));
    };
    cookie: Boot::TRAVEL, || cookie_by_us("openiked::cookie", Who::OpenIked, "send ike_sa_init req 0", 2);
    fragments_as_initiator: Boot::TRAVEL, || {
        fragments("openiked::fragments_as_initiator", Who::OpenIked, INITIATOR, ["", "", "set fragmentation"]);
    };
    fragments_as_responder: Boot::TRAVEL, || {
        fragments("openiked::fragments_as_responder", Who::OpenIked, RESPONDER, ["", "", "set fragmentation"]);
    };
    dead_peer: Boot::TRAVEL, || liveness("openiked::dead_peer", &Setup::new(Who::OpenIked, INITIATOR));
}
