//! The choice among proposals, from both sides (RFC 7296 §2.7, §3.3).

use policy::{
    ChildKe, IkeKe, Offer, Proposal, Transform, accept_child, accept_ike, child_offers, choose_child,
    choose_ike, default_esp, default_ike, first_ke, ike_offers, parse_esp, parse_ike,
};
use wire::num::{Encr, EsnMode, Integ, KeMethod, Prf, TransformType};

/// No KE payload was sent, and additional key exchanges may follow.
const ANY: IkeKe = IkeKe { sent: None, additional: true };

fn ike(texts: &[&str]) -> Vec<Proposal> {
    texts.iter().flat_map(|text| parse_ike(text).unwrap()).collect()
}

fn esp(texts: &[&str]) -> Vec<Proposal> {
    texts.iter().flat_map(|text| parse_esp(text).unwrap()).collect()
}

fn ike_choice(ours: &[&str], theirs: &[&str], ke: KeMethod) -> String {
    match choose_ike(&ike(ours), &ike_offers(&ike(theirs)), IkeKe { sent: Some(ke), additional: true }) {
        Ok(choice) => format!("{}: {}", choice.number, choice.suite),
        Err(why) => why.to_string(),
    }
}

#[test]
fn the_responders_order_decides() {
    let theirs = ["aes128-sha256-modp2048", "aes256gcm16-prfsha256-prfsha384-modp2048-x25519"];
    let ours = ["aes256gcm16-prfsha384-x25519-modp2048", "aes128-sha256-modp2048"];
    assert_eq!(ike_choice(&ours, &theirs, KeMethod::CURVE25519), "2: aes256gcm16-prfsha384-x25519");
    let ours = ["aes128-sha256-modp2048", "aes256gcm16-prfsha384-x25519"];
    assert_eq!(ike_choice(&ours, &theirs, KeMethod::CURVE25519), "1: aes128-sha256-prfsha256-modp2048");
}

#[test]
fn within_a_proposal_our_first_cipher_wins_whatever_the_peers_order() {
    let ours = ["aes256-aes128-sha512-sha256-x25519"];
    let theirs = ["aes128-sha256-x25519", "aes128-aes256-sha256-sha512-x25519"];
    assert_eq!(ike_choice(&ours, &theirs, KeMethod::CURVE25519), "2: aes256-sha512-prfsha512-x25519");
}

#[test]
fn the_group_of_the_ke_payload_saves_a_round_trip_within_one_proposal_only() {
    let theirs = ["aes256gcm16-prfsha384-modp2048-x25519"];
    let one = ["aes256gcm16-prfsha384-x25519-modp2048"];
    assert_eq!(ike_choice(&one, &theirs, KeMethod::MODP_2048), "1: aes256gcm16-prfsha384-modp2048");
    let two = ["aes256gcm16-prfsha384-x25519", "aes256gcm16-prfsha384-modp2048"];
    assert_eq!(ike_choice(&two, &theirs, KeMethod::MODP_2048), "1: aes256gcm16-prfsha384-x25519");
    // A group that is not ours does not count, even when it was sent.
    assert_eq!(ike_choice(&two, &theirs, KeMethod::MODP_4096), "1: aes256gcm16-prfsha384-x25519");
}

#[test]
fn a_refusal_names_the_nearest_pair_and_what_differs() {
    let theirs = ["3des-md5-modp1024", "aes256-sha256-modp1024-modp1536"];
    let why = ike_choice(
        &["aes256gcm16-prfsha384-x25519", "aes256-sha256-x25519-ecp256"],
        &theirs,
        KeMethod::MODP_1024,
    );
    assert_eq!(
        why,
        "None of the 2 proposals offered is acceptable. The nearest, number 2, differs from ours \
         (aes256-sha256-x25519-ecp256) in key exchange: offered modp1024 or modp1536, wanted x25519 or ecp256."
    );
    assert_eq!(
        choose_ike(&default_ike(), &[], ANY).unwrap_err().to_string(),
        "No proposal was offered at all."
    );
}

#[test]
fn a_refusal_stays_short_whatever_a_peer_offers() {
    let transforms = (0..255).map(|id| Transform::new(TransformType::KE, 1000 + id)).collect();
    let offers: Vec<Offer> = (1..=255)
        .map(|number| Offer { number, transforms: Vec::clone(&transforms), has_unknown: false })
        .collect();
    let why = choose_ike(&default_ike(), &offers, ANY).unwrap_err().to_string();
    assert!(why.len() < 1500, "{} octets", why.len());
    assert!(why.contains("and 243 more") || why.contains("or 243 more"), "{why}");
}

//= rfc7296 §3.3.6
#[test]
fn what_is_not_understood_spoils_its_proposal_or_transform_but_not_the_others() {
    let ours = ike(&["aes256gcm16-prfsha384-x25519"]);
    let mut offers =
        ike_offers(&ike(&["aes256gcm16-prfsha384-x25519", "aes256gcm16-prfsha384-x25519-modp2048"]));
    offers[0].transforms.push(Transform::new(TransformType::KWA, 36));
    assert_eq!(choose_ike(&ours, &offers, ANY).unwrap().number, 2);
    offers[1].has_unknown = true;
    let why = choose_ike(&ours, &offers, ANY).unwrap_err().to_string();
    assert!(why.contains("KWA: offered"), "{why}");
    // A transform with an unknown attribute cannot be chosen, its twin without can.
    let mut offers = ike_offers(&ours);
    let twin = offers[0].transforms[0];
    offers[0].transforms[0].has_unknown = true;
    assert!(choose_ike(&ours, &offers, ANY).is_err());
    offers[0].transforms.push(twin);
    assert!(choose_ike(&ours, &offers, ANY).is_ok());
}

//= rfc7296 §3.3.3
#[test]
fn a_proposal_without_a_mandatory_type_is_unacceptable() {
    for missing in [TransformType::ENCR, TransformType::PRF, TransformType::INTEG, TransformType::KE] {
        let ours = ike(&["aes256-sha256-x25519"]);
        let mut offers = ike_offers(&ours);
        assert!(choose_ike(&ours, &offers, ANY).is_ok());
        offers[0].transforms.retain(|t| t.kind != missing);
        let why = choose_ike(&ours, &offers, ANY).unwrap_err();
        assert_eq!(why.nearest.unwrap().mismatches[0].kind, missing);
    }
    let ours = esp(&["aes256gcm16"]);
    let mut offers = child_offers(&ours, false);
    offers[0].transforms.retain(|t| t.kind != TransformType::ESN);
    let why = choose_child(&ours, &offers, ChildKe::Without).unwrap_err().to_string();
    assert!(why.contains("sequence numbers: offered none, wanted noesn"), "{why}");
}

//= rfc7296 §3.3.5
#[test]
fn the_key_length_must_be_there_where_it_varies_and_nowhere_else() {
    let cases = [
        ("aes256gcm16-prfsha256-x25519", Transform::encr(Encr::AES_GCM_16, 0)),
        ("aes256gcm16-prfsha256-x25519", Transform::encr(Encr::AES_GCM_16, 128)),
        ("chacha20poly1305-prfsha256-x25519", Transform::encr(Encr::CHACHA20_POLY1305, 256)),
    ];
    for (text, offered) in cases {
        let mut offers = ike_offers(&ike(&[text]));
        assert!(choose_ike(&ike(&[text]), &offers, ANY).is_ok());
        offers[0].transforms[0] = offered;
        assert!(choose_ike(&ike(&[text]), &offers, ANY).is_err(), "{text}");
    }
    let ours = ike(&["aes256gcm16-prfsha256-x25519"]);
    let mut offers = ike_offers(&ours);
    offers[0].transforms[1].key_bits = Some(256);
    let why = choose_ike(&ours, &offers, ANY).unwrap_err().to_string();
    assert!(why.contains("prfsha256 with a key length of 256 bits, which it cannot have"), "{why}");
}

//= rfc5282 §8
#[test]
fn a_combined_mode_comes_without_integrity_or_with_none() {
    let ours = ike(&["aes256gcm16-prfsha256-x25519"]);
    let mut offers = ike_offers(&ours);
    let none = Transform::new(TransformType::INTEG, Integ::NONE.0);
    offers[0].transforms.push(none);
    let choice = choose_ike(&ours, &offers, ANY).unwrap();
    assert_eq!(choice.suite.integ, Integ::NONE);
    // Of each type that was offered the answer has one (RFC 7296 §2.7).
    assert!(choice.answer.contains(&none) && choice.answer.len() == 4);
    offers[0].transforms.pop();
    offers[0].transforms.push(Transform::new(TransformType::INTEG, Integ::HMAC_SHA2_256_128.0));
    let why = choose_ike(&ours, &offers, ANY).unwrap_err().to_string();
    assert!(why.contains("integrity: offered sha256, wanted none beside a combined mode"), "{why}");
}

#[test]
fn a_mixed_offer_gives_its_other_cipher() {
    let mut offers = ike_offers(&ike(&["aes256-sha256-x25519"]));
    offers[0].transforms.insert(0, Transform::encr(Encr::AES_GCM_16, 256));
    let ours = ike(&["aes256gcm16-aes256-sha256-x25519"]);
    assert_eq!(choose_ike(&ours, &offers, ANY).unwrap().suite.encr, Encr::AES_CBC);
}

//= rfc7296 §2.7
#[test]
fn combined_modes_and_other_ciphers_are_offered_apart() {
    let offers = ike_offers(&ike(&["aes256-aes256gcm16-aes128-sha256-x25519"]));
    let encrs = |offer: &Offer| -> Vec<u16> {
        offer.transforms.iter().filter(|t| t.kind == TransformType::ENCR).map(|t| t.id).collect()
    };
    assert_eq!(offers.iter().map(|offer| offer.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(encrs(&offers[0]), [Encr::AES_CBC.0, Encr::AES_CBC.0]);
    assert_eq!(encrs(&offers[1]), [Encr::AES_GCM_16.0]);
    assert!(offers[0].transforms.iter().any(|t| t.kind == TransformType::INTEG));
    assert!(offers[1].transforms.iter().all(|t| t.kind != TransformType::INTEG));
}

#[test]
fn numbers_end_where_an_octet_does() {
    let many = vec![ike(&["aes256-aes256gcm16-sha256-x25519"])[0].clone(); 300];
    let different: Vec<Proposal> = many
        .into_iter()
        .enumerate()
        .map(|(i, p)| Proposal { ke: vec![KeMethod(1000 + i as u16)], ..p })
        .collect();
    let offers = ike_offers(&different);
    assert_eq!((offers.len(), offers[254].number), (255, 255));
}

#[test]
fn children_with_and_without_key_exchange() {
    let choose = |ours: &[Proposal], theirs: &[Proposal], sent| {
        choose_child(ours, &child_offers(theirs, true), ChildKe::Payload(sent))
            .map(|choice| choice.suite.to_string())
    };
    let (plain, pfs) = (esp(&["aes256gcm16"]), esp(&["aes256gcm16-x25519"]));
    let either = esp(&["aes256gcm16-modpnone-x25519"]);
    assert_eq!(choose(&plain, &plain, None).unwrap(), "aes256gcm16");
    assert_eq!(choose(&pfs, &pfs, Some(KeMethod::CURVE25519)).unwrap(), "aes256gcm16-x25519");
    assert_eq!(choose(&either, &plain, None).unwrap(), "aes256gcm16");
    assert_eq!(choose(&either, &pfs, Some(KeMethod::CURVE25519)).unwrap(), "aes256gcm16-x25519");
    let why = choose(&pfs, &plain, None).unwrap_err().to_string();
    assert!(why.contains("key exchange: offered none, wanted x25519"), "{why}");
    let why = choose(&plain, &pfs, Some(KeMethod::CURVE25519)).unwrap_err().to_string();
    assert!(why.contains("key exchange: offered x25519, wanted none"), "{why}");
    // An offer of NONE beside a group fits a side without PFS; a group first is PFS wished for.
    let wish = esp(&["aes256gcm16-x25519-modpnone"]);
    assert_eq!(choose(&plain, &wish, Some(KeMethod::CURVE25519)).unwrap(), "aes256gcm16");
    assert_eq!(first_ke(&child_offers(&wish, true)), Some(KeMethod::CURVE25519));
    assert_eq!(first_ke(&child_offers(&either, true)), None);
    // RFC 7296 §1.2: IKE_AUTH knows no key exchange.
    let offers = child_offers(&pfs, false);
    assert!(offers[0].transforms.iter().all(|t| t.kind != TransformType::KE));
    let choice = choose_child(&pfs, &child_offers(&pfs, true), ChildKe::Without).unwrap();
    assert_eq!(choice.suite.ke, KeMethod::NONE);
}

#[test]
fn extended_sequence_numbers_are_negotiated() {
    let offers = |text| child_offers(&esp(&[text]), false);
    let esn =
        |ours, theirs| choose_child(&esp(&[ours]), &offers(theirs), ChildKe::Without).map(|c| c.suite.esn);
    assert!(esn("aes256gcm16-esn-noesn", "aes256gcm16-noesn-esn").unwrap());
    assert!(!esn("aes256gcm16-esn-noesn", "aes256gcm16").unwrap());
    assert!(esn("aes256gcm16", "aes256gcm16-esn").is_err());
}

#[test]
fn each_default_meets_itself_and_is_not_weak() {
    let ike = choose_ike(&default_ike(), &ike_offers(&default_ike()), ANY).unwrap();
    assert_eq!(ike.suite.to_string(), "aes256gcm16-prfsha384-x25519-ke1_mlkem768");
    let classical = IkeKe { sent: Some(KeMethod::CURVE25519), additional: false };
    let ike = choose_ike(&default_ike(), &ike_offers(&default_ike()), classical).unwrap();
    assert_eq!(ike.suite.to_string(), "aes256gcm16-prfsha384-x25519");
    let esp =
        choose_child(&default_esp(), &child_offers(&default_esp(), true), ChildKe::Payload(None)).unwrap();
    assert_eq!(esp.suite.to_string(), "aes256gcm16-esn");
    assert!(default_ike().iter().chain(&default_esp()).all(|proposal| proposal.weak().is_empty()));
}

/// What PEERS' built-in clients offer by default, where that is secure: Apple's manual
/// configuration, an Apple profile, Android's two proposals, strongSwan 5.9's first ones.
#[test]
fn the_defaults_meet_the_defaults_of_others() {
    for theirs in [
        "aes256-sha256-modp2048-ecp256-modp1536",
        "aes256gcm16-prfsha256-ecp384",
        "aes256ctr-aes256-aes128-sha512-sha384-sha256-aesxcbc-aescmac-modp4096-x25519-modp3072-modp2048",
        "chacha20poly1305-aes256gcm16-aes128gcm8-prfsha512-prfsha384-prfsha256-prfaesxcbc-modp4096-x25519-modp3072-modp2048",
        "aes128-aes192-aes256-sha256-sha384-sha512-sha1-aesxcbc-x25519-x448-ecp256-modp3072-modp2048",
    ] {
        let offers = ike_offers(&ike(&[theirs]));
        assert!(choose_ike(&default_ike(), &offers, ANY).is_ok(), "{theirs}");
    }
    for theirs in
        ["aes256-sha256", "aes256gcm16-modp2048", "aes128gcm16-noesn", "aes256-aes128-sha256-sha512-ecp256"]
    {
        let offers = child_offers(&esp(&[theirs]), true);
        assert!(choose_child(&default_esp(), &offers, ChildKe::Payload(None)).is_ok(), "{theirs}");
    }
}

//= rfc7296 §3.3.6
#[test]
fn the_initiator_takes_only_what_it_offered() {
    let sent = ike_offers(&ike(&[
        "aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519-ecp256",
        "aes128-sha256-x25519",
    ]));
    let good = vec![
        Transform::encr(Encr::AES_GCM_16, 256),
        Transform::new(TransformType::PRF, Prf::HMAC_SHA2_256.0),
        Transform::new(TransformType::KE, KeMethod::ECP_256.0),
    ];
    let answer = |number, transforms: Vec<Transform>| Offer { number, transforms, has_unknown: false };
    let suite = accept_ike(&sent, &answer(1, good.clone())).unwrap();
    assert_eq!(suite.to_string(), "aes256gcm16-prfsha256-ecp256");
    // NONE beside a combined mode says nothing.
    let with_none = [good.clone(), vec![Transform::new(TransformType::INTEG, 0)]].concat();
    assert_eq!(accept_ike(&sent, &answer(1, with_none)).unwrap(), suite);

    let refused = |answer: Offer| accept_ike(&sent, &answer).unwrap_err().to_string();
    assert!(refused(answer(3, good.clone())).contains("chooses proposal 3, but those offered are 1, 2"));
    assert!(refused(answer(2, good.clone())).contains("aes256gcm16 for encryption, which was not offered"));
    assert!(refused(answer(1, good[..2].to_vec())).contains("chooses nothing for key exchange"));
    let twice = [good.clone(), vec![Transform::encr(Encr::AES_GCM_16, 128)]].concat();
    assert!(refused(answer(1, twice)).contains("more than one transform for encryption"));
    let mut other_length = good.clone();
    other_length[0].key_bits = Some(192);
    assert!(refused(answer(1, other_length)).contains("aes192gcm16"));
    let foreign =
        [good.clone(), vec![Transform::new(TransformType::INTEG, Integ::HMAC_SHA2_256_128.0)]].concat();
    assert!(refused(answer(1, foreign)).contains("sha256 for integrity"));
    assert!(refused(Offer { has_unknown: true, ..answer(1, good) }).contains("not offered"));
}

#[test]
fn every_choice_is_accepted_by_the_side_that_offered() {
    let texts = ["aes256gcm16-aes256-sha384-x25519", "3des-aes128ctr-md5-sha1-modp1024-modp2048", "default"];
    for ours in texts {
        for theirs in texts {
            let sent = ike_offers(&ike(&[theirs]));
            let Ok(choice) = choose_ike(&ike(&[ours]), &sent, ANY) else { continue };
            let answer = Offer { number: choice.number, transforms: choice.answer, has_unknown: false };
            assert_eq!(accept_ike(&sent, &answer).unwrap(), choice.suite);
        }
    }
    let sent = child_offers(&default_esp(), true);
    let choice = choose_child(&esp(&["aes128-sha256-esn"]), &sent, ChildKe::Payload(None)).unwrap();
    let answer = Offer { number: choice.number, transforms: choice.answer, has_unknown: false };
    let suite = accept_child(&sent, &answer).unwrap();
    assert_eq!((suite, suite.esn), (choice.suite, true));
    assert_eq!(EsnMode::ESN.0, 1);
}

const HYBRID: &str = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
const CLASSICAL: &str = "aes256gcm16-prfsha384-x25519";

/// The responder's choice with IKE_INTERMEDIATE and without.
fn both_choices(ours: &[&str], theirs: &[&str]) -> [String; 2] {
    [true, false].map(|additional| {
        let ke = IkeKe { sent: Some(KeMethod::CURVE25519), additional };
        match choose_ike(&ike(ours), &ike_offers(&ike(theirs)), ke) {
            Ok(choice) => format!("{}: {}", choice.number, choice.suite),
            Err(why) => why.to_string(),
        }
    })
}

//= rfc9370 §2.2.1
#[test]
fn additional_key_exchanges_are_chosen_where_ike_intermediate_is_named() {
    let [with, without] = both_choices(&[HYBRID, CLASSICAL], &[HYBRID, CLASSICAL]);
    assert_eq!(with, format!("1: {HYBRID}"));
    assert_eq!(without, format!("2: {CLASSICAL}"), "its proposal is skipped as one with an unknown type");
    let [with, without] = both_choices(&[HYBRID], &[HYBRID]);
    assert_eq!(with, format!("1: {HYBRID}"));
    assert!(without.contains("does not announce IKE_INTERMEDIATE"), "{without}");
    let [with, _] = both_choices(&[HYBRID], &[CLASSICAL]);
    assert!(with.contains("additional key exchange 1: offered none, wanted mlkem768"), "{with}");
    let [with, _] = both_choices(&[CLASSICAL], &[HYBRID]);
    assert!(with.contains("additional key exchange 1: offered mlkem768, wanted none"), "{with}");
}

/// The RFC's own example: three places, of which one is optional and two have the same methods.
//= rfc9370 §2.2.1
#[test]
fn no_method_is_chosen_twice_and_places_may_be_left_out() {
    let theirs = "aes256gcm16-prfsha256-modp4096-ke2_mlkem512-ke2_mlkem768-ke3_mlkem512-ke3_mlkem768-ke5_x448-ke5_none";
    let choice = |ours: &str| {
        choose_ike(&ike(&[ours]), &ike_offers(&ike(&[theirs])), ANY)
            .map(|choice| (choice.suite, choice.answer))
    };
    let base = "aes256gcm16-prfsha256-modp4096";
    let (suite, answer) =
        choice(&format!("{base}-ke2_mlkem768-ke2_mlkem512-ke3_mlkem768-ke3_mlkem512")).unwrap();
    assert_eq!(suite.to_string(), format!("{base}-ke2_mlkem768-ke3_mlkem512"));
    let of =
        |kind: u8| answer.iter().filter(|t| t.kind == TransformType(kind)).map(|t| t.id).collect::<Vec<_>>();
    assert_eq!(
        (of(7), of(8), of(10)),
        (vec![36], vec![35], vec![0]),
        "NONE is answered where it was proposed"
    );
    // The first of ours for ADDKE2 would leave nothing for ADDKE3.
    let (suite, _) = choice(&format!("{base}-ke2_mlkem768-ke2_mlkem512-ke3_mlkem768-ke5_x448")).unwrap();
    assert_eq!(suite.to_string(), format!("{base}-ke2_mlkem512-ke3_mlkem768-ke5_x448"));
    let offers = ike_offers(&ike(&[&format!("{base}-ke2_mlkem768-ke3_mlkem768-ke3_none")]));
    let ours = ike(&[&format!("{base}-ke2_mlkem768-ke3_mlkem768-ke3_mlkem512")]);
    let why = choose_ike(&ours, &offers, ANY).unwrap_err().to_string();
    assert!(why.contains("the same methods for several of them"), "{why}");
}

//= rfc9370 §2.2.1
#[test]
fn an_answer_that_chooses_a_method_twice_is_refused() {
    let sent = ike_offers(&ike(&[
        "aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke1_mlkem512-ke2_mlkem768-ke2_mlkem512",
    ]));
    let answer = |ids: [u16; 2]| {
        let fixed = sent[0].transforms.iter().filter(|t| t.kind.0 < 6).copied();
        let chosen = [6, 7].into_iter().zip(ids).map(|(kind, id)| Transform::new(TransformType(kind), id));
        accept_ike(&sent, &Offer { number: 1, transforms: fixed.chain(chosen).collect(), has_unknown: false })
    };
    assert_eq!(
        answer([36, 35]).unwrap().to_string(),
        "aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke2_mlkem512"
    );
    assert!(
        answer([36, 36])
            .unwrap_err()
            .to_string()
            .contains("chooses mlkem768 for two additional key exchanges")
    );
    assert!(answer([36, 37]).unwrap_err().to_string().contains("was not offered"));
}

/// What no order of seven long lists satisfies is given up soon.
#[test]
fn the_search_for_additional_key_exchanges_has_an_end() {
    let methods = ["ecp256", "ecp384", "ecp521", "modp2048", "modp3072", "modp4096"];
    let places = (1..=7).flat_map(|place| methods.iter().map(move |method| format!("-ke{place}_{method}")));
    let many = format!("aes256gcm16-prfsha256-x25519-x448{}", places.collect::<String>());
    let offers = ike_offers(&[Proposal { ..ike(&["aes256gcm16-prfsha256-x25519"]).remove(0) }]);
    let mut offer = offers[0].clone();
    for kind in 6..=12 {
        offer.transforms.extend([19, 20, 21, 14, 15, 16].map(|id| Transform::new(TransformType(kind), id)));
    }
    // Six methods cannot fill seven places.
    assert!(parse_ike(&many).unwrap_err().to_string().contains("too few are named"));
    let mut ours = ike(&["aes256gcm16-prfsha256-x25519"]);
    ours[0].additional = std::array::from_fn(|_| [19, 20, 21, 14, 15, 16].map(KeMethod).to_vec());
    assert!(choose_ike(&ours, &[offer], ANY).is_err());
}

/// PFS with additional key exchanges is taken where the peer asks for it, and never without a first one.
#[test]
fn children_have_additional_key_exchanges_of_their_own() {
    let ours = ["aes256gcm16-x25519-none-ke1_mlkem768-ke1_none"];
    let choice = |theirs: &str, ke| {
        choose_child(&esp(&ours), &child_offers(&esp(&[theirs]), true), ke)
            .map(|choice| choice.suite.to_string())
    };
    let x25519 = ChildKe::Payload(Some(KeMethod::CURVE25519));
    assert_eq!(choice("aes256gcm16-x25519-ke1_mlkem768", x25519).unwrap(), "aes256gcm16-x25519-ke1_mlkem768");
    assert_eq!(choice("aes256gcm16-x25519", x25519).unwrap(), "aes256gcm16-x25519");
    assert_eq!(choice("aes256gcm16", ChildKe::Payload(None)).unwrap(), "aes256gcm16");
    // In IKE_AUTH there is no key exchange at all.
    assert_eq!(choice("aes256gcm16-x25519-ke1_mlkem768", ChildKe::Without).unwrap(), "aes256gcm16");
}

/// The method that the peer has begun with would leave nothing for the additional key exchange.
#[test]
fn the_first_key_exchange_leaves_something_for_the_others() {
    let both = ["aes256gcm16-prfsha384-x25519-mlkem768-ke1_mlkem768"];
    assert_eq!(
        ike_choice(&both, &both, KeMethod::ML_KEM_768),
        "1: aes256gcm16-prfsha384-x25519-ke1_mlkem768"
    );
}
