//! Numbers of the IKE header and of the generic payload header: exchanges and payload types.

use super::registry;

registry! {
    /// Exchange types (IANA "IKEv2 Exchange Types").
    ExchangeType(u8) {
        IKE_SA_INIT = 34, "IKE_SA_INIT";
        IKE_AUTH = 35, "IKE_AUTH";
        CREATE_CHILD_SA = 36, "CREATE_CHILD_SA";
        INFORMATIONAL = 37, "INFORMATIONAL";
        /// RFC 5723
        IKE_SESSION_RESUME = 38, "IKE_SESSION_RESUME";
        /// RFC 9838
        GSA_AUTH = 39, "GSA_AUTH";
        /// RFC 9838
        GSA_REGISTRATION = 40, "GSA_REGISTRATION";
        /// RFC 9838
        GSA_REKEY = 41, "GSA_REKEY";
        /// RFC 9838
        GSA_INBAND_REKEY = 42, "GSA_INBAND_REKEY";
        /// RFC 9242
        IKE_INTERMEDIATE = 43, "IKE_INTERMEDIATE";
        /// RFC 9370
        IKE_FOLLOWUP_KE = 44, "IKE_FOLLOWUP_KE";
    }
}

registry! {
    /// Payload types by their notation (IANA "IKEv2 Payload Types").
    PayloadType(u8) {
        /// No further payload.
        NONE = 0, "NONE";
        SA = 33, "SA";
        KE = 34, "KE";
        IDI = 35, "IDi";
        IDR = 36, "IDr";
        CERT = 37, "CERT";
        CERTREQ = 38, "CERTREQ";
        AUTH = 39, "AUTH";
        NONCE = 40, "No";
        NOTIFY = 41, "N";
        DELETE = 42, "D";
        VENDOR_ID = 43, "V";
        TSI = 44, "TSi";
        TSR = 45, "TSr";
        SK = 46, "SK";
        CP = 47, "CP";
        EAP = 48, "EAP";
        /// RFC 6467
        GSPM = 49, "GSPM";
        /// RFC 9838
        IDG = 50, "IDg";
        /// RFC 9838
        GSA = 51, "GSA";
        /// RFC 9838
        KD = 52, "KD";
        /// RFC 7383
        SKF = 53, "SKF";
        /// RFC 8019
        PS = 54, "PS";
    }
}

impl PayloadType {
    /// Whether this crate knows the payload's inside. For all others the critical bit counts
    /// (RFC 7296 §2.5): they arrive as [`Payload::Unknown`](crate::Payload::Unknown).
    pub const fn is_understood(self) -> bool {
        matches!(self.0, 33..=48) || self.0 == Self::SKF.0 || self.0 == Self::PS.0
    }
}

registry! {
    /// Security protocol identifiers (IANA "IKEv2 Security Protocol Identifiers").
    ProtocolId(u8) {
        /// No protocol: the notification concerns no SA, or the IKE SA that carries it.
        NONE = 0, "NONE";
        IKE = 1, "IKE";
        AH = 2, "AH";
        ESP = 3, "ESP";
        /// RFC 4595
        FC_ESP_HEADER = 4, "FC_ESP_HEADER";
        /// RFC 4595
        FC_CT_AUTHENTICATION = 5, "FC_CT_AUTHENTICATION";
        /// RFC 9838
        GIKE_UPDATE = 6, "GIKE_UPDATE";
    }
}

impl ProtocolId {
    /// The size of the protocol's SPI in octets where it identifies an SA (RFC 7296 §3.3.1);
    /// `None` for a protocol that we do not know.
    pub const fn spi_size(self) -> Option<usize> {
        match self {
            Self::IKE => Some(8),
            Self::AH | Self::ESP => Some(4),
            _ => None,
        }
    }
}
