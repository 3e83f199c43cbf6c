//! Numbers of identities, certificates and authentication.

use super::registry;

registry! {
    /// Identification types (RFC 7296 §3.5).
    IdType(u8) {
        IPV4_ADDR = 1, "ID_IPV4_ADDR";
        FQDN = 2, "ID_FQDN";
        RFC822_ADDR = 3, "ID_RFC822_ADDR";
        IPV6_ADDR = 5, "ID_IPV6_ADDR";
        DER_ASN1_DN = 9, "ID_DER_ASN1_DN";
        DER_ASN1_GN = 10, "ID_DER_ASN1_GN";
        KEY_ID = 11, "ID_KEY_ID";
        /// RFC 4595
        FC_NAME = 12, "ID_FC_NAME";
        /// RFC 7619
        NULL = 13, "ID_NULL";
    }
}

registry! {
    /// Certificate encodings (RFC 7296 §3.6).
    CertEncoding(u8) {
        PKCS7_WRAPPED_X509 = 1, "PKCS #7 wrapped X.509 certificate";
        PGP = 2, "PGP Certificate";
        DNS_SIGNED_KEY = 3, "DNS Signed Key";
        X509_SIGNATURE = 4, "X.509 Certificate - Signature";
        KERBEROS_TOKEN = 6, "Kerberos Tokens";
        CRL = 7, "Certificate Revocation List (CRL)";
        ARL = 8, "Authority Revocation List (ARL)";
        SPKI = 9, "SPKI Certificate";
        X509_ATTRIBUTE = 10, "X.509 Certificate - Attribute";
        RAW_RSA_KEY = 11, "Raw RSA Key (deprecated)";
        HASH_AND_URL_X509 = 12, "Hash and URL of X.509 certificate";
        HASH_AND_URL_BUNDLE = 13, "Hash and URL of X.509 bundle";
        /// RFC 4806
        OCSP_CONTENT = 14, "OCSP Content";
        /// RFC 7670
        RAW_PUBLIC_KEY = 15, "Raw Public Key";
    }
}

registry! {
    /// Authentication methods (RFC 7296 §3.8).
    AuthMethod(u8) {
        RSA = 1, "RSA Digital Signature";
        SHARED_KEY = 2, "Shared Key Message Integrity Code";
        DSS = 3, "DSS Digital Signature";
        /// RFC 4754
        ECDSA_256 = 9, "ECDSA with SHA-256 on the P-256 curve";
        /// RFC 4754
        ECDSA_384 = 10, "ECDSA with SHA-384 on the P-384 curve";
        /// RFC 4754
        ECDSA_521 = 11, "ECDSA with SHA-512 on the P-521 curve";
        /// RFC 6467
        GENERIC_SECURE_PASSWORD = 12, "Generic Secure Password Authentication Method";
        /// RFC 7619
        NULL = 13, "NULL Authentication";
        /// RFC 7427
        DIGITAL_SIGNATURE = 14, "Digital Signature";
    }
}

registry! {
    /// Hash algorithms of SIGNATURE_HASH_ALGORITHMS (RFC 7427 §7).
    HashAlgorithm(u16) {
        SHA1 = 1, "SHA1";
        SHA2_256 = 2, "SHA2-256";
        SHA2_384 = 3, "SHA2-384";
        SHA2_512 = 4, "SHA2-512";
        /// The signature scheme hashes by itself (RFC 8420).
        IDENTITY = 5, "Identity";
        STREEBOG_256 = 6, "STREEBOG_256";
        STREEBOG_512 = 7, "STREEBOG_512";
    }
}

registry! {
    /// Codes of EAP packets (RFC 3748 §4, RFC 6696 §5.3).
    EapCode(u8) {
        REQUEST = 1, "Request";
        RESPONSE = 2, "Response";
        SUCCESS = 3, "Success";
        FAILURE = 4, "Failure";
        INITIATE = 5, "Initiate";
        FINISH = 6, "Finish";
    }
}

registry! {
    /// EAP methods (IANA "EAP Registry, Method Types"). What EAP-MSCHAPv2 sends everywhere is 26, not 29.
    EapType(u8) {
        IDENTITY = 1, "Identity";
        NOTIFICATION = 2, "Notification";
        NAK = 3, "Legacy Nak";
        MD5_CHALLENGE = 4, "MD5-Challenge";
        OTP = 5, "One-Time Password";
        GTC = 6, "Generic Token Card";
        RSA_PUBLIC_KEY = 9, "RSA Public Key Authentication";
        DSS_UNILATERAL = 10, "DSS Unilateral";
        KEA = 11, "KEA";
        KEA_VALIDATE = 12, "KEA-VALIDATE";
        TLS = 13, "EAP-TLS";
        DEFENDER_TOKEN = 14, "Defender Token";
        RSA_SECURID = 15, "RSA Security SecurID EAP";
        ARCOT = 16, "Arcot Systems EAP";
        LEAP = 17, "EAP-Cisco Wireless";
        SIM = 18, "EAP-SIM";
        SRP_SHA1 = 19, "SRP-SHA1";
        TTLS = 21, "EAP-TTLS";
        REMOTE_ACCESS = 22, "Remote Access Service";
        AKA = 23, "EAP-AKA";
        THREECOM_WIRELESS = 24, "EAP-3Com Wireless";
        PEAP = 25, "PEAP";
        MSCHAPV2 = 26, "MS-EAP-Authentication";
        MAKE = 27, "Mutual Authentication w/Key Exchange";
        CRYPTOCARD = 28, "CRYPTOCard";
        EAP_MSCHAP_V2 = 29, "EAP-MSCHAP-V2";
        DYNAMID = 30, "DynamID";
        ROB = 31, "Rob EAP";
        POTP = 32, "Protected One-Time Password";
        MS_AUTHENTICATION_TLV = 33, "MS-Authentication-TLV";
        SENTRINET = 34, "SentriNET";
        ACTIONTEC = 35, "EAP-Actiontec Wireless";
        COGENT = 36, "Cogent Systems Biometrics Authentication EAP";
        AIRFORTRESS = 37, "AirFortress EAP";
        HTTP_DIGEST = 38, "EAP-HTTP Digest";
        SECURESUITE = 39, "SecureSuite EAP";
        DEVICECONNECT = 40, "DeviceConnect EAP";
        SPEKE = 41, "EAP-SPEKE";
        MOBAC = 42, "EAP-MOBAC";
        FAST = 43, "EAP-FAST";
        ZLXEAP = 44, "ZoneLabs EAP";
        LINK = 45, "EAP-Link";
        PAX = 46, "EAP-PAX";
        PSK = 47, "EAP-PSK";
        SAKE = 48, "EAP-SAKE";
        IKEV2 = 49, "EAP-IKEv2";
        AKA_PRIME = 50, "EAP-AKA'";
        GPSK = 51, "EAP-GPSK";
        PWD = 52, "EAP-pwd";
        EKE = 53, "EAP-EKE Version 1";
        PT_EAP = 54, "EAP Method Type for PT-EAP";
        TEAP = 55, "TEAP";
        NOOB = 56, "EAP-NOOB";
        EXPANDED = 254, "Expanded Type";
        EXPERIMENTAL = 255, "Experimental";
    }
}
