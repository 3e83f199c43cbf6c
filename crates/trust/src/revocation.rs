//! Whether a certificate was revoked (RFC 5280 §6.3, RFC 6960), and what follows from it.
//!
//! Judged is each certificate of a path that is valid and whose key has signed, but not the trusted authority at its end.
//! For each, in this order: an OCSP response that the peer sent, the OCSP servers that the certificate names, the CRLs of
//! files, the CRLs that the certificate names. The first that can tell decides, but for the CRLs of files: what they revoke is
//! revoked before anybody is asked.
//!
//! Nothing is fetched here: [`Step::Needs`] says what to fetch, and the check is asked for again with what came, the
//! [`Evidence`]. Since only a peer that has proven to have the key of a certificate below a trusted authority comes so far, no
//! stranger can make us fetch anything.

mod crl;
mod ocsp;
mod request;

pub use crl::{CrlFacts, crl_facts, crls};
pub use request::{Evidence, Fetched, Request, is_http};

use crate::certificate::{name, parse};
use crate::limits::{CLOCK_SKEW, MAX_PEER_CERTIFICATES};
use crate::path::described;
use crate::text::{date, quote};
use base::WallClock;
use crypto::Suite;
use policy::{Demand, Places, Revocation};
use request::Named;
use sa::Answer;
use x509_parser::prelude::X509Certificate;

/// What became of a check.
#[derive(Debug)]
pub enum Step {
    /// It is done.
    Answered(Answered),
    /// It cannot go on before these were fetched, or could not be: to be asked for again with what came.
    Needs(Vec<Request>),
}

/// The end of a check.
#[derive(Debug)]
pub struct Answered {
    /// For the core.
    pub answer: Answer,
    /// Sentences for the log: what could not be told and was no obstacle.
    pub warnings: Vec<String>,
    /// What of the evidence proved good, and how long it is so.
    pub keep: Vec<(Request, WallClock)>,
}

impl Answered {
    /// An answer, and nothing else to say.
    pub fn plain(answer: Answer) -> Self {
        Self { answer, warnings: Vec::new(), keep: Vec::new() }
    }
}

/// A certificate, and that of its issuer.
pub(crate) struct Pair<'a> {
    pub(crate) certificate: X509Certificate<'a>,
    pub(crate) issuer: X509Certificate<'a>,
}

impl<'a> Pair<'a> {
    pub(crate) fn issuer_spki(&self) -> &'a [u8] {
        self.issuer.tbs_certificate.subject_pki.raw
    }

    /// Whether the certificate is that of an authority.
    pub(crate) fn is_authority(&self) -> bool {
        let constraints = self.certificate.basic_constraints().ok().flatten();
        constraints.is_some_and(|constraints| constraints.value.ca)
    }
}

/// What a source says of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    Good,
    Revoked(Revoked),
}

/// When and why a certificate was revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Revoked {
    /// Seconds since 1970.
    pub(crate) when: i64,
    /// CRLReason (RFC 5280 §5.3.1).
    pub(crate) reason: Option<u8>,
}

impl Revoked {
    /// certificateHold: a suspension, which a later CRL can end.
    pub(crate) const HOLD: u8 = 6;

    fn why(self) -> &'static str {
        match self.reason {
            None | Some(0) => "no reason given",
            Some(1) => "its key was compromised",
            Some(2) => "its authority was compromised",
            Some(3) => "its owner's affiliation changed",
            Some(4) => "it was superseded",
            Some(5) => "it is no longer needed",
            Some(Self::HOLD) => "it is on hold",
            Some(9) => "its owner's privilege was withdrawn",
            Some(10) => "an attribute authority was compromised",
            Some(_) => "for a reason that is not known here",
        }
    }
}

/// What a source says, and until when that is so; unset where it does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) status: Status,
    pub(crate) until: Option<WallClock>,
}

/// Judges a path.
pub(crate) struct Judge<'a> {
    pub(crate) suite: &'a dyn Suite,
    pub(crate) revocation: &'a Revocation,
    /// OCSP responses that the peer sent.
    pub(crate) stapled: &'a [Vec<u8>],
    pub(crate) evidence: &'a Evidence,
    pub(crate) wall: WallClock,
}

/// What follows for the peer.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// It may come in.
    Accepted { warnings: Vec<String>, keep: Vec<(Request, WallClock)> },
    /// It may not; a sentence.
    Refused { why: String, keep: Vec<(Request, WallClock)> },
    /// That cannot be said yet.
    Needs(Vec<Request>),
}

/// What all sources together say of one certificate.
enum Known {
    Good,
    /// With the source.
    Revoked(Revoked, String),
    Needs(Request),
    /// Nobody could tell; why each of them could not, and whether the certificate names any.
    Nothing {
        why: Vec<String>,
        named: bool,
    },
}

impl Judge<'_> {
    /// `path` is as [`crate::path::Path::validate`] gives it.
    pub(crate) fn judge(&self, path: &[Vec<u8>]) -> Judgement {
        let (mut needs, mut warnings, mut keep) = (Vec::new(), Vec::new(), Vec::new());
        let mut refusal = None;
        for (index, pair) in path.windows(2).enumerate() {
            let [certificate, issuer] = pair else { continue };
            let (Some(certificate), Some(issuer)) = (parse(certificate), parse(issuer)) else { continue };
            let pair = Pair { certificate, issuer };
            let who = self.who(path, index, &pair);
            match self.known(&pair, &mut keep) {
                Known::Good => {}
                Known::Needs(request) => needs.push(request),
                Known::Revoked(revoked, source) => {
                    let why = revoked_sentence(&who, revoked, &source);
                    return Judgement::Refused { why, keep };
                }
                Known::Nothing { why, named } => match self.unknown(&who, &why, named) {
                    Ok(warning) => warnings.extend(warning),
                    Err(why) => refusal = refusal.or(Some(why)),
                },
            }
        }
        match refusal {
            _ if !needs.is_empty() => Judgement::Needs(needs),
            Some(why) => Judgement::Refused { why, keep },
            None => Judgement::Accepted { warnings, keep },
        }
    }

    /// Asks whoever can tell, until somebody does.
    fn known(&self, pair: &Pair<'_>, keep: &mut Vec<(Request, WallClock)>) -> Known {
        let mut why = Vec::new();
        let mut listed_good = false;
        let issuer = name(pair.certificate.issuer().as_raw());
        for list in self.revocation.crls.iter().filter(|list| *list.issuer == *issuer) {
            let source = format!("the configured CRL of {}", quote(&list.issuer));
            match crl::ask(self.suite, pair, &list.der, self.wall).map(|told| told.status) {
                Ok(Status::Revoked(revoked)) => return Known::Revoked(revoked, source),
                Ok(Status::Good) => listed_good = true,
                Err(problem) => why.push(format!("{source} cannot be used: {problem}")),
            }
        }
        for response in self.stapled.iter().take(MAX_PEER_CERTIFICATES) {
            let source = "the OCSP response that the peer sent";
            match ocsp::ask(self.suite, pair, response, self.wall) {
                Ok(told) => return known(told.status, source.to_owned()),
                Err(ocsp::Problem::AboutAnother) => {}
                Err(problem) => why.push(format!("{source} cannot be used: {problem}")),
            }
        }
        let (mut servers, mut lists) = (Named::ocsp(&pair.certificate), Named::crls(&pair.certificate));
        for places in self.revocation.places.iter().filter(|places| is_issuer(places, pair)) {
            servers.put_first(&places.ocsp);
            lists.put_first(&places.crls);
        }
        let named = servers.any || lists.any;
        let request = ocsp::request(self.suite, pair);
        let servers = servers.usable(&mut why).into_iter().zip(std::iter::repeat(request));
        let servers = servers.filter_map(|(uri, body)| Some(Request::ocsp(uri, body?)));
        let lists = if listed_good { Vec::new() } else { lists.usable(&mut why) };
        for request in servers.chain(lists.into_iter().map(Request::crl)) {
            let source = request.to_string();
            let bytes = match self.evidence.of(&request) {
                None => return Known::Needs(request),
                Some(Ok(bytes)) => bytes,
                Some(Err(problem)) => {
                    why.push(format!("{source} could not be asked: {problem}"));
                    continue;
                }
            };
            let told = match request.body() {
                Some(_) => {
                    ocsp::ask(self.suite, pair, &bytes, self.wall).map_err(|problem| problem.to_string())
                }
                None => crl::ask(self.suite, pair, &bytes, self.wall),
            };
            match told {
                Ok(told) => {
                    keep.extend(told.until.map(|until| (request, until)));
                    return known(told.status, source);
                }
                Err(problem) => why.push(format!("{source} is of no use: {problem}")),
            }
        }
        if listed_good { Known::Good } else { Known::Nothing { why, named } }
    }

    /// Whether it matters that nobody could tell: a sentence, to refuse with or to warn of.
    fn unknown(&self, who: &str, why: &[String], named: bool) -> Result<Option<String>, String> {
        let reasons = match (why.is_empty(), named) {
            (false, _) => why.join("; "),
            (true, true) => "none of the places that it names can be asked".to_owned(),
            (true, false) => {
                "it names neither an OCSP server nor a CRL, and no CRL of its issuer is configured".to_owned()
            }
        };
        let demand = self.revocation.demand;
        let refused = match demand {
            Demand::Relaxed => false,
            Demand::IfUri => named,
            Demand::Strict => true,
        };
        if refused {
            return Err(format!(
                "{who} is refused: whether it is revoked is not known, and `revocation = \"{demand}\"` wants to know: {reasons}; \
                 make one of these work, give a CRL by `crls`, or relax `revocation`"
            ));
        }
        let warn = !why.is_empty() || named;
        Ok(warn.then(|| {
            format!("{who}: whether it is revoked is not known, which `revocation = \"{demand}\"` lets pass: {reasons}")
        }))
    }

    /// The certificate at `index` of the path, as the sentences name it.
    fn who(&self, path: &[Vec<u8>], index: usize, pair: &Pair<'_>) -> String {
        let end_entity = path.first().and_then(|der| parse(der));
        match end_entity.filter(|_| index > 0) {
            None => format!("the peer's certificate {}", described(&pair.certificate)),
            Some(end_entity) => format!(
                "the peer's certificate {}, or rather the intermediate {} of its path,",
                quote(&name(end_entity.subject().as_raw())),
                described(&pair.certificate)
            ),
        }
    }
}

/// Whether `places` are of the certificate's issuer, by name and key.
fn is_issuer(places: &Places, pair: &Pair<'_>) -> bool {
    parse(&places.authority.der).is_some_and(|authority| {
        authority.tbs_certificate.subject_pki.raw == pair.issuer_spki()
            && authority.subject().as_raw() == pair.issuer.subject().as_raw()
    })
}

fn known(status: Status, source: String) -> Known {
    match status {
        Status::Good => Known::Good,
        Status::Revoked(revoked) => Known::Revoked(revoked, source),
    }
}

fn revoked_sentence(who: &str, revoked: Revoked, source: &str) -> String {
    let advice = match revoked.reason {
        Some(Revoked::HOLD) => "ask its authority to release it, or have a new one issued",
        _ => "have a new one issued",
    };
    format!(
        "{who} is refused: it was revoked on {} ({}), as {source} says; {advice}",
        date(revoked.when),
        revoked.why()
    )
}

/// Whether what was written at `this` and holds until `next` is so now; else what is wrong.
fn check_current(this: i64, next: i64, wall: WallClock) -> Result<(), String> {
    let now = seconds(wall);
    if next <= now {
        return Err(format!("it is out of date since {}, and it is {} here", date(next), date(now)));
    }
    if this > now.saturating_add(CLOCK_SKEW) {
        return Err(format!("it is of {}, and it is only {} here: correct the clock", date(this), date(now)));
    }
    Ok(())
}

fn seconds(wall: WallClock) -> i64 {
    i64::try_from(wall.0).unwrap_or(i64::MAX)
}

fn wall(seconds: i64) -> Option<WallClock> {
    u64::try_from(seconds).ok().map(WallClock)
}
