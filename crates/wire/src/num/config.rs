//! Numbers of traffic selectors and of the configuration payload.

use super::registry;

registry! {
    /// Traffic selector types (RFC 7296 §3.13.1).
    TsType(u8) {
        IPV4_ADDR_RANGE = 7, "TS_IPV4_ADDR_RANGE";
        IPV6_ADDR_RANGE = 8, "TS_IPV6_ADDR_RANGE";
        /// RFC 4595
        FC_ADDR_RANGE = 9, "TS_FC_ADDR_RANGE";
        /// RFC 9478
        SECLABEL = 10, "TS_SECLABEL";
    }
}

registry! {
    /// What a configuration payload does (RFC 7296 §3.15).
    CfgType(u8) {
        REQUEST = 1, "CFG_REQUEST";
        REPLY = 2, "CFG_REPLY";
        SET = 3, "CFG_SET";
        ACK = 4, "CFG_ACK";
    }
}

registry! {
    /// Configuration attributes (RFC 7296 §3.15.1), 15 bits.
    CfgAttributeType(u16) {
        INTERNAL_IP4_ADDRESS = 1, "INTERNAL_IP4_ADDRESS";
        INTERNAL_IP4_NETMASK = 2, "INTERNAL_IP4_NETMASK";
        INTERNAL_IP4_DNS = 3, "INTERNAL_IP4_DNS";
        INTERNAL_IP4_NBNS = 4, "INTERNAL_IP4_NBNS";
        INTERNAL_ADDRESS_EXPIRY = 5, "INTERNAL_ADDRESS_EXPIRY";
        INTERNAL_IP4_DHCP = 6, "INTERNAL_IP4_DHCP";
        APPLICATION_VERSION = 7, "APPLICATION_VERSION";
        INTERNAL_IP6_ADDRESS = 8, "INTERNAL_IP6_ADDRESS";
        INTERNAL_IP6_DNS = 10, "INTERNAL_IP6_DNS";
        INTERNAL_IP6_NBNS = 11, "INTERNAL_IP6_NBNS";
        INTERNAL_IP6_DHCP = 12, "INTERNAL_IP6_DHCP";
        INTERNAL_IP4_SUBNET = 13, "INTERNAL_IP4_SUBNET";
        SUPPORTED_ATTRIBUTES = 14, "SUPPORTED_ATTRIBUTES";
        INTERNAL_IP6_SUBNET = 15, "INTERNAL_IP6_SUBNET";
        /// RFC 5026
        MIP6_HOME_PREFIX = 16, "MIP6_HOME_PREFIX";
        /// RFC 5739
        INTERNAL_IP6_LINK = 17, "INTERNAL_IP6_LINK";
        /// RFC 5739
        INTERNAL_IP6_PREFIX = 18, "INTERNAL_IP6_PREFIX";
        /// 3GPP TS 24.302
        HOME_AGENT_ADDRESS = 19, "HOME_AGENT_ADDRESS";
        /// RFC 7651
        P_CSCF_IP4_ADDRESS = 20, "P_CSCF_IP4_ADDRESS";
        /// RFC 7651
        P_CSCF_IP6_ADDRESS = 21, "P_CSCF_IP6_ADDRESS";
        /// 3GPP TS 24.302
        FTT_KAT = 22, "FTT_KAT";
        /// 3GPP TS 24.302
        EXTERNAL_SOURCE_IP4_NAT_INFO = 23, "EXTERNAL_SOURCE_IP4_NAT_INFO";
        /// 3GPP TS 24.302
        TIMEOUT_PERIOD_FOR_LIVENESS_CHECK = 24, "TIMEOUT_PERIOD_FOR_LIVENESS_CHECK";
        /// RFC 8598
        INTERNAL_DNS_DOMAIN = 25, "INTERNAL_DNS_DOMAIN";
        /// RFC 8598
        INTERNAL_DNSSEC_TA = 26, "INTERNAL_DNSSEC_TA";
        /// RFC 9464
        ENCDNS_IP4 = 27, "ENCDNS_IP4";
        /// RFC 9464
        ENCDNS_IP6 = 28, "ENCDNS_IP6";
        /// RFC 9464
        ENCDNS_DIGEST_INFO = 29, "ENCDNS_DIGEST_INFO";
    }
}

/// How the value of a configuration attribute is made up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CfgShape {
    /// An IPv4 address or netmask.
    Ip4,
    /// An IPv6 address.
    Ip6,
    /// An IPv4 address and a netmask.
    Net4,
    /// An IPv6 address and a prefix length.
    Net6,
    /// Text.
    Text,
    /// Attribute types.
    Types,
    /// Interface identifier and Link ID (RFC 5739 §5.1).
    Link,
    /// A DS record (RFC 8598 §4.2).
    Anchor,
}

/// The attributes whose values we can read (RFC 7296 §3.15.1, RFC 5739 §5, RFC 8598 §4).
const SHAPES: &[(CfgAttributeType, CfgShape)] = &[
    (CfgAttributeType::INTERNAL_IP4_ADDRESS, CfgShape::Ip4),
    (CfgAttributeType::INTERNAL_IP4_NETMASK, CfgShape::Ip4),
    (CfgAttributeType::INTERNAL_IP4_DNS, CfgShape::Ip4),
    (CfgAttributeType::INTERNAL_IP4_NBNS, CfgShape::Ip4),
    (CfgAttributeType::INTERNAL_IP4_DHCP, CfgShape::Ip4),
    (CfgAttributeType::APPLICATION_VERSION, CfgShape::Text),
    (CfgAttributeType::INTERNAL_IP6_ADDRESS, CfgShape::Net6),
    (CfgAttributeType::INTERNAL_IP6_DNS, CfgShape::Ip6),
    (CfgAttributeType::INTERNAL_IP6_NBNS, CfgShape::Ip6),
    (CfgAttributeType::INTERNAL_IP6_DHCP, CfgShape::Ip6),
    (CfgAttributeType::INTERNAL_IP4_SUBNET, CfgShape::Net4),
    (CfgAttributeType::SUPPORTED_ATTRIBUTES, CfgShape::Types),
    (CfgAttributeType::INTERNAL_IP6_SUBNET, CfgShape::Net6),
    (CfgAttributeType::INTERNAL_IP6_LINK, CfgShape::Link),
    (CfgAttributeType::INTERNAL_IP6_PREFIX, CfgShape::Net6),
    (CfgAttributeType::INTERNAL_DNS_DOMAIN, CfgShape::Text),
    (CfgAttributeType::INTERNAL_DNSSEC_TA, CfgShape::Anchor),
];

impl CfgAttributeType {
    /// How its value is made up, if we know.
    pub fn shape(self) -> Option<CfgShape> {
        SHAPES.iter().find(|(kind, _)| *kind == self).map(|(_, shape)| *shape)
    }
}
