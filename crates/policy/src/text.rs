//! Proposals as strings: `aes256gcm16-prfsha384-x25519`, as in swanctl.conf.

use crate::choose::{choose_additional, is_aead};
use crate::keyword::{self, WORDS, Word, spell};
use crate::{ADDITIONAL, Additional, ChildSuite, IkeSuite, Offer, Proposal};
use std::fmt;
use std::ops::Range;
use wire::num::{Encr, EsnMode, Integ, KeMethod, Prf};

/// What a proposal string does not say rightly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProposalError {
    /// The octets of the string that it is about.
    pub at: Range<usize>,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for ProposalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, " {hint}"))
    }
}

impl std::error::Error for ProposalError {}

/// Reads a proposal for an IKE SA; `default` stands for [`default_ike`].
pub fn parse_ike(text: &str) -> Result<Vec<Proposal>, ProposalError> {
    if text.trim() == "default" {
        return Ok(default_ike());
    }
    let mut p = Proposal::default();
    for (at, word) in words(text) {
        match add(&mut p, &at, word)? {
            Word::Esn(_) => {
                return Err(error(
                    at,
                    format!("`{word}` has no place in a proposal for an IKE SA."),
                    Some("Only ESP has extended sequence numbers: write it into `esp_proposals`."),
                ));
            }
            Word::Ke(KeMethod::NONE) => {
                return Err(error(
                    at,
                    format!("`{word}`: an IKE SA cannot be without key exchange."),
                    Some("Name a method, such as `x25519`."),
                ));
            }
            _ => {}
        }
    }
    let whole = 0..text.len();
    if p.prf.is_empty() {
        p.prf = p.integ.iter().filter_map(|integ| implied_prf(*integ)).collect();
    }
    complete(&mut p, &whole)?;
    if p.prf.is_empty() {
        return Err(error(
            whole,
            "A proposal for an IKE SA needs a pseudorandom function.".into(),
            Some("Add one, such as `prfsha384`."),
        ));
    }
    if p.ke.is_empty() {
        return Err(error(
            whole,
            "A proposal for an IKE SA needs a key exchange method.".into(),
            Some("Add one, such as `x25519`."),
        ));
    }
    check_additional(&p, whole)?;
    Ok(vec![p])
}

/// Whether some choice of additional key exchanges can satisfy the proposal at all.
//= rfc9370 §2.2.1
//# the responder's choice MUST NOT contain duplicated algorithms
fn check_additional(p: &Proposal, whole: Range<usize>) -> Result<(), ProposalError> {
    if !p.has_additional() {
        return Ok(());
    }
    if p.ke.iter().all(|ke| *ke == KeMethod::NONE) {
        return Err(error(
            whole,
            "Additional key exchanges need a first one.".into(),
            Some("Add a method without a number, as in `x25519-ke1_mlkem768`."),
        ));
    }
    let all = Offer { number: 1, transforms: crate::offer::additional(p).collect(), has_unknown: false };
    let possible = |ke: &KeMethod| *ke != KeMethod::NONE && choose_additional(p, *ke, &all).is_some();
    if p.ke.iter().any(possible) {
        return Ok(());
    }
    let message = "Each key exchange of a proposal must have a method of its own (RFC 9370 §2.2.1), but too few are named.";
    Err(error(
        whole,
        message.into(),
        Some("Name another method for one of them, or `none` where it may be left out."),
    ))
}

/// Reads a proposal for a child SA with ESP; `default` stands for [`default_esp`].
pub fn parse_esp(text: &str) -> Result<Vec<Proposal>, ProposalError> {
    if text.trim() == "default" {
        return Ok(default_esp());
    }
    let mut p = Proposal::default();
    for (at, word) in words(text) {
        if let Word::Prf(_) = add(&mut p, &at, word)? {
            let hint = word.strip_prefix("prf").filter(|rest| keyword::lookup(rest).is_some());
            let hint = hint.map(|rest| format!("Did you mean `{rest}`?"));
            let message = format!("`{word}` is a pseudorandom function, which ESP does not use.");
            return Err(ProposalError { at, message, hint });
        }
    }
    complete(&mut p, &(0..text.len()))?;
    if p.esn.is_empty() {
        p.esn.push(EsnMode::NONE);
    }
    check_additional(&p, 0..text.len())?;
    Ok(vec![p])
}

/// What an IKE SA is negotiated with when the file does not say: post-quantum where the peer can, in a first message that every
/// peer answers at once; nothing weak; and met by the defaults of strongSwan, Libreswan, Apple and Android (and Windows where it was told to use a
/// group above 1024 bits).
pub fn default_ike() -> Vec<Proposal> {
    let prf = vec![Prf::HMAC_SHA2_384, Prf::HMAC_SHA2_256, Prf::HMAC_SHA2_512];
    let aead = Proposal { encr: DEFAULT_AEAD.to_vec(), prf, ke: DEFAULT_KE.to_vec(), ..Proposal::default() };
    // The first of each is the order of preference: AES-256-GCM, then ChaCha20-Poly1305, with x25519 and ML-KEM-768.
    let hybrid = Proposal {
        encr: DEFAULT_HYBRID.to_vec(),
        ke: DEFAULT_EC.to_vec(),
        additional: first_place(DEFAULT_ML_KEM),
        ..aead.clone()
    };
    let classic = Proposal { encr: DEFAULT_CBC.to_vec(), integ: DEFAULT_INTEG.to_vec(), ..aead.clone() };
    vec![hybrid, aead, classic]
}

/// What a child SA is negotiated with when the file does not say. A key exchange of its own (PFS)
/// is not asked for, but agreed to when the peer asks: Apple's clients do either.
pub fn default_esp() -> Vec<Proposal> {
    let ke = [&[KeMethod::NONE], DEFAULT_KE].concat();
    let esn = vec![EsnMode::ESN, EsnMode::NONE];
    let additional = first_place(&[DEFAULT_ML_KEM, &[KeMethod::NONE]].concat());
    let aead = Proposal { encr: DEFAULT_AEAD.to_vec(), ke, additional, esn, ..Proposal::default() };
    let classic = Proposal { encr: DEFAULT_CBC.to_vec(), integ: DEFAULT_INTEG.to_vec(), ..aead.clone() };
    vec![aead, classic]
}

const DEFAULT_AEAD: &[(Encr, u16)] =
    &[(Encr::AES_GCM_16, 256), (Encr::CHACHA20_POLY1305, 0), (Encr::AES_GCM_16, 128)];
const DEFAULT_HYBRID: &[(Encr, u16)] = &[(Encr::AES_GCM_16, 256), (Encr::CHACHA20_POLY1305, 0)];
const DEFAULT_EC: &[KeMethod] = &[KeMethod::CURVE25519, KeMethod::ECP_256, KeMethod::ECP_384];
const DEFAULT_ML_KEM: &[KeMethod] = &[KeMethod::ML_KEM_768, KeMethod::ML_KEM_1024];
const DEFAULT_CBC: &[(Encr, u16)] = &[(Encr::AES_CBC, 256), (Encr::AES_CBC, 128)];
const DEFAULT_INTEG: &[Integ] =
    &[Integ::HMAC_SHA2_256_128, Integ::HMAC_SHA2_384_192, Integ::HMAC_SHA2_512_256];
const DEFAULT_KE: &[KeMethod] =
    &[KeMethod::CURVE25519, KeMethod::ECP_256, KeMethod::ECP_384, KeMethod::MODP_3072, KeMethod::MODP_2048];

/// These methods for ADDKE1, and no other additional key exchange.
fn first_place(methods: &[KeMethod]) -> [Vec<KeMethod>; ADDITIONAL] {
    let mut places: [Vec<KeMethod>; ADDITIONAL] = Default::default();
    if let Some(first) = places.first_mut() {
        *first = methods.to_vec();
    }
    places
}

/// The words between the dashes, with their places.
fn words(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    text.split('-').scan(0, |offset, part| {
        let word = part.trim();
        let start = *offset + (part.len() - part.trim_start().len());
        *offset += part.len() + 1;
        Some((start..start + word.len(), word))
    })
}

fn error(at: Range<usize>, message: String, hint: Option<&str>) -> ProposalError {
    ProposalError { at, message, hint: hint.map(str::to_string) }
}

/// Adds what `word` means; a word that comes twice counts once.
fn add(p: &mut Proposal, at: &Range<usize>, word: &str) -> Result<Word, ProposalError> {
    fn push<T: PartialEq>(list: &mut Vec<T>, item: T) {
        if !list.contains(&item) {
            list.push(item);
        }
    }
    let Some(meaning) = keyword::lookup(word) else { return Err(unknown(at.clone(), word)) };
    match meaning {
        Word::Encr(encr, bits) => push(&mut p.encr, (encr, bits)),
        Word::Integ(integ) => push(&mut p.integ, integ),
        Word::Prf(prf) => push(&mut p.prf, prf),
        Word::Ke(ke) => push(&mut p.ke, ke),
        Word::Additional(place, ke) => {
            let slot = p.additional.get_mut(usize::from(place) - 1);
            slot.into_iter().for_each(|methods| push(methods, ke));
        }
        Word::Esn(esn) => push(&mut p.esn, esn),
    }
    Ok(meaning)
}

/// What both kinds of proposal need: encryption, and integrity just where it is wanted.
fn complete(p: &mut Proposal, whole: &Range<usize>) -> Result<(), ProposalError> {
    if p.encr.is_empty() {
        return Err(error(
            whole.clone(),
            "A proposal needs an encryption algorithm.".into(),
            Some("Add one, such as `aes256gcm16`."),
        ));
    }
    if p.encr.iter().all(|(encr, _)| is_aead(*encr)) {
        // In `aes256gcm16-sha384-x25519` the hash names the PRF only: a combined mode has no integrity beside it.
        p.integ.clear();
    } else if p.integ.is_empty() {
        let (encr, bits) =
            p.encr.iter().find(|(encr, _)| !is_aead(*encr)).copied().unwrap_or((Encr::NULL, 0));
        let message = format!("`{}` needs an integrity algorithm beside it.", spell(Word::Encr(encr, bits)));
        return Err(error(
            whole.clone(),
            message,
            Some("Add one, such as `sha256`, or use a combined mode such as `aes256gcm16`."),
        ));
    }
    Ok(())
}

/// The PRF that goes with an integrity algorithm where none is named.
fn implied_prf(integ: Integ) -> Option<Prf> {
    Some(match integ {
        Integ::HMAC_MD5_96 => Prf::HMAC_MD5,
        Integ::HMAC_SHA1_96 => Prf::HMAC_SHA1,
        Integ::HMAC_SHA2_256_128 => Prf::HMAC_SHA2_256,
        Integ::HMAC_SHA2_384_192 => Prf::HMAC_SHA2_384,
        Integ::HMAC_SHA2_512_256 => Prf::HMAC_SHA2_512,
        Integ::AES_XCBC_96 => Prf::AES128_XCBC,
        Integ::AES_CMAC_96 => Prf::AES128_CMAC,
        _ => return None,
    })
}

/// Algorithms that swanctl knows and we do not have, by the beginning of their names.
const ABSENT: &[&str] = &[
    "camellia",
    "blowfish",
    "cast",
    "des",
    "serpent",
    "twofish",
    "aes128gmac",
    "aes192gmac",
    "aes256gmac",
    "modp768",
    "ecp192",
    "ecp224",
    "ntru",
    "newhope",
    "prfcamellia",
    "camelliaxcbc",
    "sha256_96",
    "sha2_256_96",
    "sha1_160",
    "md5_128",
    "modp1024s160",
    "modp2048s224",
    "modp2048s256",
];

fn unknown(at: Range<usize>, word: &str) -> ProposalError {
    if let Some((place, method)) = keyword::additional(word) {
        let methods =
            WORDS.iter().filter(|(_, meaning)| matches!(meaning, Word::Ke(_))).map(|(name, _)| *name);
        let message = format!("`{}` is no key exchange method that is known here.", method.escape_debug());
        let hint = nearest(method, methods).map(|near| format!("Did you mean `ke{place}_{near}`?"));
        return ProposalError { at, message, hint };
    }
    if word.is_empty() {
        return error(
            at,
            "A word is missing here.".into(),
            Some("Write words with one dash between, as in `aes256gcm16-prfsha384-x25519`."),
        );
    }
    if word == "default" {
        return error(
            at,
            "`default` stands alone.".into(),
            Some("Write it as an entry of its own, as in [\"aes256gcm16-prfsha384-x25519\", \"default\"]."),
        );
    }
    if ABSENT.iter().any(|absent| word.starts_with(absent)) {
        return error(at, format!("`{word}` is not supported."), None);
    }
    let hint =
        nearest(word, WORDS.iter().map(|(name, _)| *name)).map(|near| format!("Did you mean `{near}`?"));
    ProposalError {
        at,
        message: format!("`{}` is no algorithm that is known here.", word.escape_debug()),
        hint,
    }
}

/// The candidate with the fewest edits from `word`, if they are few enough to be a slip.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer than any name: comparing it would cost time and find nothing.
    if word.len() > crate::limits::COMPARED_NAME {
        return None;
    }
    let most = (word.chars().count() / 3).max(1);
    let scored = candidates.into_iter().map(|candidate| (edits(word, candidate), candidate));
    scored.filter(|(edits, _)| *edits <= most).min_by_key(|(edits, _)| *edits).map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and exchanges of neighbours that lead from one to the other
/// (Damerau's distance), with case not counted.
fn edits(a: &str, b: &str) -> usize {
    let fold = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<char>>();
    let (a, b) = (fold(a), fold(b));
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = at(&above, j) + usize::from(x != y);
            let mut best = replaced.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    at(&above, b.len())
}

impl Proposal {
    /// What in it is weak, as `status` shows it: `modp1024 (1024-bit group)`.
    pub fn weak(&self) -> Vec<String> {
        let weak = self.meanings().into_iter().filter_map(|word| Some((word, keyword::weakness(word)?)));
        weak.map(|(word, why)| format!("{} ({why})", spell(word))).collect()
    }

    fn meanings(&self) -> Vec<Word> {
        let encr = self.encr.iter().map(|(encr, bits)| Word::Encr(*encr, *bits));
        let integ = self.integ.iter().map(|integ| Word::Integ(*integ));
        let prf = self.prf.iter().map(|prf| Word::Prf(*prf));
        let ke = self.ke.iter().map(|ke| Word::Ke(*ke));
        let places = (1u8..).zip(&self.additional);
        let additional =
            places.flat_map(|(place, methods)| methods.iter().map(move |ke| Word::Additional(place, *ke)));
        let esn = self.esn.iter().map(|esn| Word::Esn(*esn));
        encr.chain(integ).chain(prf).chain(ke).chain(additional).chain(esn).collect()
    }
}

/// As in the file; a PRF that the integrity algorithms imply and `noesn` alone are left out.
impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let implied: Vec<Prf> = self.integ.iter().filter_map(|integ| implied_prf(*integ)).collect();
        let skip = |word: &Word| match word {
            Word::Prf(_) => implied == self.prf,
            Word::Esn(_) => self.esn == [EsnMode::NONE],
            _ => false,
        };
        join(f, self.meanings().into_iter().filter(|word| !skip(word)))
    }
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let integ = (self.integ != Integ::NONE).then_some(Word::Integ(self.integ));
        let rest = [Word::Prf(self.prf), Word::Ke(self.ke)].into_iter().chain(additional(self.additional));
        join(f, [Word::Encr(self.encr, self.key_bits)].into_iter().chain(integ).chain(rest))
    }
}

impl fmt::Display for ChildSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let integ = (self.integ != Integ::NONE).then_some(Word::Integ(self.integ));
        let ke = (self.ke != KeMethod::NONE).then_some(Word::Ke(self.ke));
        let esn = self.esn.then_some(Word::Esn(EsnMode::ESN));
        let ke = ke.into_iter().chain(additional(self.additional));
        join(f, [Word::Encr(self.encr, self.key_bits)].into_iter().chain(integ).chain(ke).chain(esn))
    }
}

/// The words of the additional key exchanges that take place.
fn additional(chosen: Additional) -> impl Iterator<Item = Word> {
    let places = (1u8..).zip(chosen.0).filter(|(_, ke)| *ke != KeMethod::NONE);
    places.map(|(place, ke)| Word::Additional(place, ke))
}

fn join(f: &mut fmt::Formatter<'_>, words: impl Iterator<Item = Word>) -> fmt::Result {
    for (index, word) in words.enumerate() {
        write!(f, "{}{}", if index == 0 { "" } else { "-" }, spell(word))?;
    }
    Ok(())
}
