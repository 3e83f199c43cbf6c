//! Attributes of group key management (RFC 9838 §9.1), 15 bits each.

use super::registry;

registry! {
    /// Attributes of a group SA policy.
    GsaAttributeType(u16) {
        GSA_KEY_LIFETIME = 1, "GSA_KEY_LIFETIME";
        GSA_INITIAL_MESSAGE_ID = 2, "GSA_INITIAL_MESSAGE_ID";
        GSA_NEXT_SPI = 3, "GSA_NEXT_SPI";
    }
}

registry! {
    /// Attributes of a group-wide policy.
    GroupPolicyAttributeType(u16) {
        GWP_ATD = 1, "GWP_ATD";
        GWP_DTD = 2, "GWP_DTD";
        GWP_SENDER_ID_BITS = 3, "GWP_SENDER_ID_BITS";
    }
}

registry! {
    /// Attributes of a group key bag.
    GroupKeyAttributeType(u16) {
        SA_KEY = 1, "SA_KEY";
    }
}

registry! {
    /// Attributes of a member key bag.
    MemberKeyAttributeType(u16) {
        WRAP_KEY = 1, "WRAP_KEY";
        AUTH_KEY = 2, "AUTH_KEY";
        GM_SENDER_ID = 3, "GM_SENDER_ID";
    }
}
