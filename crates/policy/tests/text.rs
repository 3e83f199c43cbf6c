//! Proposal strings (swanctl.conf(5), `proposals` and `esp_proposals`).

use policy::keyword::WORDS;
use policy::{nearest, parse_esp, parse_ike};
use wire::num::{Encr, EsnMode, Integ, KeMethod, Prf};

#[test]
fn strings_mean_what_they_mean_for_swanctl() {
    let p = &parse_ike("aes256gcm16-prfsha384-x25519").unwrap()[0];
    assert_eq!(
        (&*p.encr, &*p.prf, &*p.ke),
        (&[(Encr::AES_GCM_16, 256)][..], &[Prf::HMAC_SHA2_384][..], &[KeMethod::CURVE25519][..])
    );
    assert!(p.integ.is_empty());
    let p = &parse_ike("aes128-sha256-modp2048").unwrap()[0];
    assert_eq!((&*p.integ, &*p.prf), (&[Integ::HMAC_SHA2_256_128][..], &[Prf::HMAC_SHA2_256][..]));
    let p = &parse_ike("aes256ctr-aesxcbc-ecp384").unwrap()[0];
    assert_eq!((p.encr[0], p.prf[0]), ((Encr::AES_CTR, 256), Prf::AES128_XCBC));
    // Beside a combined mode a hash names the PRF.
    let p = &parse_ike("aes128gcm16-sha256-ecp256").unwrap()[0];
    assert_eq!((p.integ.len(), p.prf[0]), (0, Prf::HMAC_SHA2_256));
    let p = &parse_esp("aes256gcm16-x25519-esn").unwrap()[0];
    assert_eq!((&*p.ke, &*p.esn), (&[KeMethod::CURVE25519][..], &[EsnMode::ESN][..]));
    assert_eq!(parse_esp("chacha20poly1305").unwrap()[0].esn, [EsnMode::NONE]);
    assert_eq!(parse_ike("default").unwrap(), policy::default_ike());
    assert_eq!(parse_esp(" default ").unwrap(), policy::default_esp());
}

#[test]
fn what_is_printed_reads_back() {
    for text in [
        "aes256gcm16-prfsha384-x25519",
        "aes128-sha256-modp2048",
        "aes256-sha256-prfsha512-ecp256",
        "3des-md5-modp1024",
    ] {
        let p = &parse_ike(text).unwrap()[0];
        assert_eq!(p.to_string(), text);
    }
    for p in policy::default_ike() {
        assert_eq!(parse_ike(&p.to_string()).unwrap(), [p]);
    }
    for p in policy::default_esp() {
        assert_eq!(parse_esp(&p.to_string()).unwrap(), [p]);
    }
    // Each word means what it says in some proposal.
    for (word, _) in WORDS {
        let whole = ["", "aes128-", "aes128-sha256-", "aes128-sha256-x25519-"].iter().any(|before| {
            parse_ike(&format!("{before}{word}")).is_ok()
                || parse_ike(&format!("{before}{word}-x25519")).is_ok()
                || parse_esp(&format!("{before}{word}")).is_ok()
                || parse_esp(&format!("{before}{word}-sha256")).is_ok()
        });
        assert!(whole, "{word}");
    }
}

#[test]
fn errors_point_at_the_word_and_say_what_to_write() {
    let ike = |text: &str| {
        let error = parse_ike(text).unwrap_err();
        (text[error.at.clone()].to_string(), error.to_string())
    };
    let (at, why) = ike("aes256gcm16-prfsha348-x25519");
    assert_eq!(
        (&*at, &*why),
        ("prfsha348", "`prfsha348` is no algorithm that is known here. Did you mean `prfsha384`?")
    );
    assert_eq!(
        ike("aes256gmc16-prfsha384-x25519").1,
        "`aes256gmc16` is no algorithm that is known here. Did you mean `aes256gcm16`?"
    );
    assert_eq!(
        ike("aes256gcm16-prfsha384-x25519-ke1_mlkem786"),
        (
            "ke1_mlkem786".to_string(),
            "`mlkem786` is no key exchange method that is known here. Did you mean `ke1_mlkem768`?"
                .to_string()
        )
    );
    assert!(ike("aes256gcm16-prfsha384-x25519-ke8_mlkem768").1.contains("no algorithm that is known here"));
    assert!(ike("aes256gcm16-prfsha384-ke1_mlkem768").1.contains("needs a key exchange method"));
    for twice in ["x25519-ke1_mlkem768-ke2_mlkem768", "x25519-ke3_x25519"] {
        assert!(
            ike(&format!("aes256gcm16-prfsha384-{twice}")).1.contains("must have a method of its own"),
            "{twice}"
        );
    }
    assert!(parse_esp("aes256gcm16-ke1_mlkem768").unwrap_err().to_string().contains("need a first one"));
    assert!(ike("camellia256-sha256-modp2048").1.contains("is not supported"));
    assert!(ike("aes256--x25519").1.contains("A word is missing"));
    assert!(ike("aes256gcm16-x25519").1.contains("needs a pseudorandom function"));
    assert!(ike("aes256-sha256").1.contains("needs a key exchange method"));
    assert!(ike("sha256-x25519").1.contains("needs an encryption algorithm"));
    assert!(ike("aes256-prfsha256-x25519").1.contains("`aes256` needs an integrity algorithm"));
    assert!(ike("aes256-sha256-x25519-esn").1.contains("no place in a proposal for an IKE SA"));
    assert!(ike("aes256-sha256-none").1.contains("cannot be without key exchange"));
    assert!(ike("aes256-default").1.contains("stands alone"));
    assert!(parse_esp("aes256-prfsha256").unwrap_err().to_string().ends_with("Did you mean `sha256`?"));
    assert!(ike(&"x".repeat(100_000)).1.contains("no algorithm"));
}

#[test]
fn what_is_weak_is_named() {
    assert_eq!(
        parse_ike("3des-md5-modp1024").unwrap()[0].weak(),
        ["3des (64-bit blocks)", "md5 (MD5)", "prfmd5 (MD5)", "modp1024 (1024-bit group)"]
    );
    assert_eq!(parse_esp("null-sha256").unwrap()[0].weak(), ["null (no encryption)"]);
    assert!(parse_ike("aes128-sha1-modp2048").unwrap()[0].weak().is_empty());
}

#[test]
fn the_nearest_name_is_a_slip_away() {
    let names = ["rekey_time", "replay_window", "remote_ts"];
    assert_eq!(nearest("rekeytime", names), Some("rekey_time"));
    assert_eq!(nearest("Remote_TS", names), Some("remote_ts"));
    assert_eq!(nearest("banana", names), None);
    assert_eq!(nearest("", names), None);
    assert_eq!(nearest("prot", ["port", "mtu"]), Some("port"));
    assert_eq!(nearest(&"r".repeat(policy::limits::COMPARED_NAME + 1), names), None);
}
