//! "Transform Type Values" and the transform ids of each type (IANA "IKEv2 Parameters").

use super::registry;

registry! {
    /// Transform types (RFC 7296 §3.3.2, RFC 9370 §4).
    TransformType(u8) {
        ENCR = 1, "ENCR";
        PRF = 2, "PRF";
        INTEG = 3, "INTEG";
        KE = 4, "KE";
        ESN = 5, "SN";
        ADDKE1 = 6, "ADDKE1";
        ADDKE2 = 7, "ADDKE2";
        ADDKE3 = 8, "ADDKE3";
        ADDKE4 = 9, "ADDKE4";
        ADDKE5 = 10, "ADDKE5";
        ADDKE6 = 11, "ADDKE6";
        ADDKE7 = 12, "ADDKE7";
        KWA = 13, "KWA";
        GCAUTH = 14, "GCAUTH";
    }
}

registry! {
    /// Encryption algorithms, transform type 1.
    Encr(u16) {
        DES_IV64 = 1, "DES_IV64";
        DES = 2, "DES";
        TRIPLE_DES = 3, "3DES";
        RC5 = 4, "RC5";
        IDEA = 5, "IDEA";
        CAST = 6, "CAST";
        BLOWFISH = 7, "BLOWFISH";
        IDEA3 = 8, "3IDEA";
        DES_IV32 = 9, "DES_IV32";
        NULL = 11, "NULL";
        AES_CBC = 12, "AES_CBC";
        AES_CTR = 13, "AES_CTR";
        AES_CCM_8 = 14, "AES_CCM_8";
        AES_CCM_12 = 15, "AES_CCM_12";
        AES_CCM_16 = 16, "AES_CCM_16";
        AES_GCM_8 = 18, "AES_GCM_8";
        AES_GCM_12 = 19, "AES_GCM_12";
        AES_GCM_16 = 20, "AES_GCM_16";
        NULL_AUTH_AES_GMAC = 21, "NULL_AUTH_AES_GMAC";
        XTS_AES = 22, "XTS_AES";
        CAMELLIA_CBC = 23, "CAMELLIA_CBC";
        CAMELLIA_CTR = 24, "CAMELLIA_CTR";
        CAMELLIA_CCM_8 = 25, "CAMELLIA_CCM_8";
        CAMELLIA_CCM_12 = 26, "CAMELLIA_CCM_12";
        CAMELLIA_CCM_16 = 27, "CAMELLIA_CCM_16";
        CHACHA20_POLY1305 = 28, "CHACHA20_POLY1305";
        AES_CCM_8_IIV = 29, "AES_CCM_8_IIV";
        AES_GCM_16_IIV = 30, "AES_GCM_16_IIV";
        CHACHA20_POLY1305_IIV = 31, "CHACHA20_POLY1305_IIV";
        KUZNYECHIK_MGM_KTREE = 32, "KUZNYECHIK_MGM_KTREE";
        MAGMA_MGM_KTREE = 33, "MAGMA_MGM_KTREE";
        KUZNYECHIK_MGM_MAC_KTREE = 34, "KUZNYECHIK_MGM_MAC_KTREE";
        MAGMA_MGM_MAC_KTREE = 35, "MAGMA_MGM_MAC_KTREE";
    }
}

registry! {
    /// Pseudorandom functions, transform type 2.
    Prf(u16) {
        HMAC_MD5 = 1, "PRF_HMAC_MD5";
        HMAC_SHA1 = 2, "PRF_HMAC_SHA1";
        HMAC_TIGER = 3, "PRF_HMAC_TIGER";
        AES128_XCBC = 4, "PRF_AES128_XCBC";
        HMAC_SHA2_256 = 5, "PRF_HMAC_SHA2_256";
        HMAC_SHA2_384 = 6, "PRF_HMAC_SHA2_384";
        HMAC_SHA2_512 = 7, "PRF_HMAC_SHA2_512";
        AES128_CMAC = 8, "PRF_AES128_CMAC";
        HMAC_STREEBOG_512 = 9, "PRF_HMAC_STREEBOG_512";
    }
}

registry! {
    /// Integrity algorithms, transform type 3.
    Integ(u16) {
        NONE = 0, "NONE";
        HMAC_MD5_96 = 1, "HMAC_MD5_96";
        HMAC_SHA1_96 = 2, "HMAC_SHA1_96";
        DES_MAC = 3, "DES_MAC";
        KPDK_MD5 = 4, "KPDK_MD5";
        AES_XCBC_96 = 5, "AES_XCBC_96";
        HMAC_MD5_128 = 6, "HMAC_MD5_128";
        HMAC_SHA1_160 = 7, "HMAC_SHA1_160";
        AES_CMAC_96 = 8, "AES_CMAC_96";
        AES_128_GMAC = 9, "AES_128_GMAC";
        AES_192_GMAC = 10, "AES_192_GMAC";
        AES_256_GMAC = 11, "AES_256_GMAC";
        HMAC_SHA2_256_128 = 12, "HMAC_SHA2_256_128";
        HMAC_SHA2_384_192 = 13, "HMAC_SHA2_384_192";
        HMAC_SHA2_512_256 = 14, "HMAC_SHA2_512_256";
    }
}

registry! {
    /// Key exchange methods, transform type 4 and ADDKE1 to ADDKE7 (6 to 12).
    KeMethod(u16) {
        NONE = 0, "NONE";
        MODP_768 = 1, "MODP_768";
        MODP_1024 = 2, "MODP_1024";
        MODP_1536 = 5, "MODP_1536";
        MODP_2048 = 14, "MODP_2048";
        MODP_3072 = 15, "MODP_3072";
        MODP_4096 = 16, "MODP_4096";
        MODP_6144 = 17, "MODP_6144";
        MODP_8192 = 18, "MODP_8192";
        ECP_256 = 19, "ECP_256";
        ECP_384 = 20, "ECP_384";
        ECP_521 = 21, "ECP_521";
        MODP_1024_160 = 22, "MODP_1024_160";
        MODP_2048_224 = 23, "MODP_2048_224";
        MODP_2048_256 = 24, "MODP_2048_256";
        ECP_192 = 25, "ECP_192";
        ECP_224 = 26, "ECP_224";
        BRAINPOOL_224 = 27, "BRAINPOOL_P224R1";
        BRAINPOOL_256 = 28, "BRAINPOOL_P256R1";
        BRAINPOOL_384 = 29, "BRAINPOOL_P384R1";
        BRAINPOOL_512 = 30, "BRAINPOOL_P512R1";
        CURVE25519 = 31, "CURVE25519";
        CURVE448 = 32, "CURVE448";
        GOST3410_2012_256 = 33, "GOST3410_2012_256";
        GOST3410_2012_512 = 34, "GOST3410_2012_512";
        ML_KEM_512 = 35, "ML_KEM_512";
        ML_KEM_768 = 36, "ML_KEM_768";
        ML_KEM_1024 = 37, "ML_KEM_1024";
    }
}

registry! {
    /// Sequence numbers, transform type 5 (RFC 7296 §3.3.2, named anew by RFC 9827).
    EsnMode(u16) {
        NONE = 0, "32-bit Sequential Numbers";
        ESN = 1, "Partially Transmitted 64-bit Sequential Numbers";
        UNSPECIFIED = 2, "32-bit Unspecified Numbers";
    }
}

registry! {
    /// Key wrap algorithms, transform type 13 (RFC 9838 §9.1).
    KeyWrap(u16) {
        KW_5649_128 = 1, "KW_5649_128";
        KW_5649_192 = 2, "KW_5649_192";
        KW_5649_256 = 3, "KW_5649_256";
        KW_ARX = 4, "KW_ARX";
    }
}

registry! {
    /// Group controller authentication methods, transform type 14 (RFC 9838 §9.1).
    GroupAuth(u16) {
        IMPLICIT = 1, "Implicit";
        DIGITAL_SIGNATURE = 2, "Digital Signature";
    }
}

registry! {
    /// Attributes of transforms (RFC 7296 §3.3.5), 15 bits.
    TransformAttributeType(u16) {
        KEY_LENGTH = 14, "KEY_LENGTH";
        /// RFC 9838
        SIGNATURE_ALGORITHM_IDENTIFIER = 18, "SIGNATURE_ALGORITHM_IDENTIFIER";
    }
}
