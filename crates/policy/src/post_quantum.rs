//! Whether what is sent today stays secret when there are quantum computers.

use crate::keyword::{Word, spell};
use crate::{IkeSuite, Proposal};
use std::fmt;
use wire::num::KeMethod;

/// Whether a key exchange method withstands a quantum computer, as far as is known.
pub fn is_post_quantum(method: KeMethod) -> bool {
    matches!(method, KeMethod::ML_KEM_512 | KeMethod::ML_KEM_768 | KeMethod::ML_KEM_1024)
}

/// Whether an IKE SA, and with it all its child SAs, withstands a quantum computer, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PostQuantum {
    /// Whether it does.
    pub safe: bool,
    /// What makes it so, or what is missing: a part of a sentence.
    pub why: String,
}

impl PostQuantum {
    /// Of an IKE SA with this suite, of a connection with these proposals.
    pub fn of(suite: &IkeSuite, ours: &[Proposal], besides: Besides<'_>) -> Self {
        let Besides { ppk, before, whole } = besides;
        let safe = |why| Self { safe: true, why };
        let word = |method| spell(Word::Ke(method));
        match (suite.post_quantum(), ppk) {
            (Some(method), None) => safe(format!("{} is part of the key exchange", word(method))),
            (Some(method), Some(id)) => {
                safe(format!("{} is part of the key exchange, and the PPK `{id}` of the keys", word(method)))
            }
            (None, Some(id)) => safe(format!("the PPK `{id}` is part of the keys")),
            (None, None) if let Some(method) = before => {
                safe(format!("{} was part of the key exchange that its keys come of", word(method)))
            }
            (None, None) => {
                let all: Vec<String> = suite.key_exchanges().map(word).collect();
                let wanted = ours.iter().any(|proposal| only_post_quantum(proposal).is_some());
                let hint = match (wanted, whole) {
                    (true, true) => {
                        "the peer has no post-quantum proposal in common with us, and has proved that"
                    }
                    (true, false) => {
                        "the peer has no post-quantum proposal in common with us; without IKE_SA_INIT_FULL_TRANSCRIPT_AUTH on both \
                         sides, whoever can break this key exchange and prove to be one of us could have made it look so"
                    }
                    (false, _) => "the connection's `proposals` have no other",
                };
                Self { safe: false, why: format!("{} is not post-quantum; {hint}", all.join(" with ")) }
            }
        }
    }
}

/// What else the keys of an IKE SA come of.
#[derive(Clone, Copy, Default, Debug)]
pub struct Besides<'a> {
    /// The identity of the pre-shared key that is mixed in (RFC 8784, RFC 9867), if one is.
    pub ppk: Option<&'a str>,
    /// What withstands a quantum computer in the IKE SA whose place it has taken, or beside which it was made: from there comes SK_d.
    pub before: Option<KeMethod>,
    /// Both ends have proved the whole of its IKE_SA_INIT (draft-ietf-ipsecme-ikev2-downgrade-prevention).
    pub whole: bool,
}

impl IkeSuite {
    /// The first of its key exchanges that withstands a quantum computer.
    pub fn post_quantum(&self) -> Option<KeMethod> {
        self.key_exchanges().find(|method| is_post_quantum(*method))
    }
}

/// `yes (…)`, `no (…)`.
impl fmt::Display for PostQuantum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", if self.safe { "yes" } else { "no" }, self.why)
    }
}

/// What of these proposals leads to nothing but post-quantum key exchanges.
pub fn post_quantum_only(ours: &[Proposal]) -> Vec<Proposal> {
    ours.iter().flat_map(only_post_quantum).collect()
}

/// The same proposal with one of its key exchanges bound to be post-quantum: the first additional one that can, else the first of
/// all. Nothing where none can.
fn only_post_quantum(proposal: &Proposal) -> Option<Proposal> {
    let mut bound = proposal.clone();
    let lists = bound.additional.iter_mut().chain([&mut bound.ke]);
    let list = lists.into_iter().find(|list| list.iter().any(|method| is_post_quantum(*method)))?;
    list.retain(|method| is_post_quantum(*method));
    Some(bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IkeKe, choose_ike, default_ike, ike_offers, parse_ike};

    fn of(text: &str) -> Vec<Proposal> {
        parse_ike(text).unwrap()
    }

    fn told(suite: &str, ours: &str, ppk: Option<&str>, whole: bool) -> String {
        let offers = ike_offers(&of(suite));
        let ke = IkeKe { sent: None, additional: true };
        let choice = choose_ike(&of(suite), &offers, ke).unwrap();
        PostQuantum::of(&choice.suite, &of(ours), Besides { ppk, before: None, whole }).to_string()
    }

    #[test]
    fn it_is_told_whether_and_why() {
        const HYBRID: &str = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
        const CLASSICAL: &str = "aes256gcm16-prfsha384-ecp384";
        assert_eq!(told(HYBRID, HYBRID, None, false), "yes (mlkem768 is part of the key exchange)");
        assert_eq!(
            told("aes256gcm16-prfsha384-mlkem512", HYBRID, Some("blue"), false),
            "yes (mlkem512 is part of the key exchange, and the PPK `blue` of the keys)"
        );
        assert_eq!(
            told(CLASSICAL, CLASSICAL, Some("blue"), false),
            "yes (the PPK `blue` is part of the keys)"
        );
        assert_eq!(
            told(CLASSICAL, HYBRID, None, true),
            "no (ecp384 is not post-quantum; the peer has no post-quantum proposal in common with us, and has proved that)"
        );
        assert_eq!(
            told(CLASSICAL, HYBRID, None, false),
            "no (ecp384 is not post-quantum; the peer has no post-quantum proposal in common with us; without IKE_SA_INIT_FULL_TRANSCRIPT_AUTH \
             on both sides, whoever can break this key exchange and prove to be one of us could have made it look so)"
        );
        assert_eq!(
            told(CLASSICAL, CLASSICAL, None, false),
            "no (ecp384 is not post-quantum; the connection's `proposals` have no other)"
        );
    }

    #[test]
    fn new_keys_hold_what_was_in_those_before() {
        let classical = of("aes256gcm16-prfsha384-ecp384");
        let suite = choose_ike(&classical, &ike_offers(&classical), IkeKe { sent: None, additional: true })
            .unwrap()
            .suite;
        let besides = Besides { before: Some(KeMethod::ML_KEM_768), ..Besides::default() };
        let known = PostQuantum::of(&suite, &classical, besides);
        assert_eq!(known.to_string(), "yes (mlkem768 was part of the key exchange that its keys come of)");
    }

    #[test]
    fn what_is_left_of_proposals_leads_to_nothing_classical() {
        let left =
            |text: &str| post_quantum_only(&of(text)).iter().map(ToString::to_string).collect::<Vec<_>>();
        let base = "aes256gcm16-prfsha384";
        assert_eq!(left(&format!("{base}-x25519")), [""; 0]);
        assert_eq!(left(&format!("{base}-x25519-mlkem768")), [format!("{base}-mlkem768")]);
        assert_eq!(
            left(&format!("{base}-x25519-ke1_mlkem768-ke1_none")),
            [format!("{base}-x25519-ke1_mlkem768")]
        );
        assert_eq!(
            left(&format!("{base}-x25519-ke1_ecp384-ke2_mlkem768-ke2_ecp256")),
            [format!("{base}-x25519-ke1_ecp384-ke2_mlkem768")]
        );
        assert!(!post_quantum_only(&default_ike()).is_empty());
    }
}
