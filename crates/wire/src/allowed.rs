//! Which payloads a message may contain (RFC 7296 §1.2, §1.3, §1.4 and Appendix C; RFC 4739, RFC 5723, RFC 6023,
//! RFC 8019, RFC 9242, RFC 9370).
//!
//! An exchange's message in one direction has one or several [`Shape`]s. Order is free (RFC 7296 §2.5 and
//! Appendix C), vendor ids and notifications may stand anywhere, and payloads that we do not understand are
//! passed over here: whether they are critical is checked before.

use crate::num::{ExchangeType, NotifyType, PayloadType};
use crate::{Payload, num};
use std::fmt;

/// Request or response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// The first message of an exchange.
    Request,
    /// The answer.
    Response,
}

/// What a rule counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item {
    /// Payloads of a type.
    Payload(PayloadType),
    /// Notifications of a type.
    Notify(NotifyType),
    /// Notifications of any error type.
    Error,
}

/// How often something may stand in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// What.
    pub item: Item,
    /// At least so often.
    pub min: usize,
    /// At most so often.
    pub max: usize,
}

/// What a message is, judged by its payloads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Case {
    /// The normal message of its exchange: IKE_SA_INIT, INFORMATIONAL, IKE_SESSION_RESUME, IKE_INTERMEDIATE,
    /// IKE_FOLLOWUP_KE.
    Normal,
    /// Nothing but the demand for a cookie (RFC 7296 §2.6), or for the solution of a puzzle (RFC 8019 §7.1.1).
    Cookie,
    /// Nothing but an error.
    Refusal,
    /// IKE_AUTH that authenticates and makes a child SA; with EAP the last response (RFC 7296 §1.2).
    AuthWithChild,
    /// IKE_AUTH that authenticates without a child SA (RFC 6023), or whose child SA failed (RFC 7296 §1.2).
    AuthWithoutChild,
    /// IKE_AUTH that asks for EAP by leaving AUTH out, and its answer (RFC 7296 §2.16).
    EapStart,
    /// IKE_AUTH with an EAP packet only.
    Eap,
    /// IKE_AUTH with AUTH only: the initiator's last message after EAP.
    EapEnd,
    /// IKE_AUTH by whoever has nothing more to prove, while the other goes through another round (RFC 4739 §2.4, §2.5).
    Proven,
    /// CREATE_CHILD_SA for a new or rekeyed child SA (RFC 7296 §1.3.1, §1.3.3).
    Child,
    /// CREATE_CHILD_SA that rekeys the IKE SA (RFC 7296 §1.3.2).
    RekeyIke,
}

/// The payloads of one case. What no rule names must not occur, but for vendor ids and notifications.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// What the message is when it fits.
    pub case: Case,
    /// What it contains.
    pub rules: &'static [Rule],
}

/// Why a message fits none of its exchange's shapes; speaks of the shape that it is nearest to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Misfit {
    /// The exchange type is unknown.
    Exchange(ExchangeType),
    /// Something required is missing.
    Missing(Item),
    /// There is more of something than may be.
    TooMany(Item, usize),
    /// A payload that has no place in this message.
    NotAllowed(PayloadType),
}

impl Rule {
    /// Exactly one payload.
    pub const fn one(kind: PayloadType) -> Self {
        Self { item: Item::Payload(kind), min: 1, max: 1 }
    }

    /// At most one payload.
    pub const fn maybe(kind: PayloadType) -> Self {
        Self { item: Item::Payload(kind), min: 0, max: 1 }
    }

    /// Any number of payloads.
    pub const fn any(kind: PayloadType) -> Self {
        Self { item: Item::Payload(kind), min: 0, max: usize::MAX }
    }

    /// Exactly one notification.
    pub const fn notify(kind: NotifyType) -> Self {
        Self { item: Item::Notify(kind), min: 1, max: 1 }
    }

    /// At most one notification.
    pub const fn maybe_notify(kind: NotifyType) -> Self {
        Self { item: Item::Notify(kind), min: 0, max: 1 }
    }

    const ERROR: Rule = Rule { item: Item::Error, min: 1, max: usize::MAX };

    fn count(&self, payloads: &[Payload<'_>]) -> usize {
        payloads.iter().filter(|payload| self.item.matches(payload)).count()
    }
}

impl Item {
    fn matches(self, payload: &Payload<'_>) -> bool {
        match (self, payload) {
            (Self::Payload(kind), payload) => payload.kind() == kind,
            (Self::Notify(kind), Payload::Notify(notify)) => notify.kind == kind,
            (Self::Error, Payload::Notify(notify)) => notify.kind.is_error(),
            _ => false,
        }
    }
}

impl Shape {
    /// Checks a message against this shape with the `extra` rules of extensions.
    pub fn fits(&self, extra: &[Rule], payloads: &[Payload<'_>]) -> Result<(), Misfit> {
        self.misfits(extra, payloads).next().map_or(Ok(()), Err)
    }

    fn misfits<'s>(
        &'s self,
        extra: &'s [Rule],
        payloads: &'s [Payload<'_>],
    ) -> impl Iterator<Item = Misfit> + 's {
        let rules = move || self.rules.iter().chain(extra);
        let missing = rules()
            .filter_map(|rule| (rule.count(payloads) < rule.min).then_some(Misfit::Missing(rule.item)));
        let too_many = rules().filter_map(move |rule| {
            let max =
                rules().filter(|r| r.item == rule.item).fold(0, |sum: usize, r| sum.saturating_add(r.max));
            (rule.count(payloads) > max).then_some(Misfit::TooMany(rule.item, max))
        });
        let strangers = payloads.iter().filter_map(move |payload| {
            let free = matches!(payload, Payload::Notify(_) | Payload::VendorId(_) | Payload::Unknown { .. });
            let named = rules().any(|rule| rule.item == Item::Payload(payload.kind()));
            (!free && !named).then_some(Misfit::NotAllowed(payload.kind()))
        });
        missing.chain(too_many).chain(strangers)
    }
}

/// The first of an exchange's shapes that a message fits; `payloads` are those inside of SK where there is one.
/// `extra` are the rules of extensions that are in use.
pub fn classify(
    exchange: ExchangeType,
    direction: Direction,
    extra: &[Rule],
    payloads: &[Payload<'_>],
) -> Result<Case, Misfit> {
    let shapes = shapes(exchange, direction);
    if let Some(shape) = shapes.iter().find(|shape| shape.fits(extra, payloads).is_ok()) {
        return Ok(shape.case);
    }
    let nearest = shapes.iter().min_by_key(|shape| shape.misfits(extra, payloads).count());
    Err(nearest.and_then(|shape| shape.fits(extra, payloads).err()).unwrap_or(Misfit::Exchange(exchange)))
}

/// The shapes of an exchange's messages; none for an exchange that is not in the table.
pub const fn shapes(exchange: ExchangeType, direction: Direction) -> &'static [Shape] {
    match (exchange, direction) {
        (ExchangeType::IKE_SA_INIT, Direction::Request) => INIT_REQUEST,
        (ExchangeType::IKE_SA_INIT, Direction::Response) => INIT_RESPONSE,
        (ExchangeType::IKE_AUTH, Direction::Request) => AUTH_REQUEST,
        (ExchangeType::IKE_AUTH, Direction::Response) => AUTH_RESPONSE,
        (ExchangeType::CREATE_CHILD_SA, Direction::Request) => CHILD_REQUEST,
        (ExchangeType::CREATE_CHILD_SA, Direction::Response) => CHILD_RESPONSE,
        (ExchangeType::INFORMATIONAL, _) => INFORMATIONAL,
        (ExchangeType::IKE_SESSION_RESUME, Direction::Request) => RESUME_REQUEST,
        (ExchangeType::IKE_SESSION_RESUME, Direction::Response) => RESUME_RESPONSE,
        (ExchangeType::IKE_INTERMEDIATE, Direction::Request) => INTERMEDIATE_REQUEST,
        (ExchangeType::IKE_INTERMEDIATE, Direction::Response) => INTERMEDIATE_RESPONSE,
        (ExchangeType::IKE_FOLLOWUP_KE, Direction::Request) => FOLLOWUP_REQUEST,
        (ExchangeType::IKE_FOLLOWUP_KE, Direction::Response) => FOLLOWUP_RESPONSE,
        _ => &[],
    }
}

/// Declares shapes: a case and its rules.
macro_rules! shapes {
    ($($name:ident { $($case:ident: $($rule:ident($what:ident))*;)* })*) => {
        $(const $name: &[Shape] = &[
            $(Shape { case: Case::$case, rules: &[$(shapes!(@ $rule $what)),*] }),*
        ];)*
    };
    (@ notify $what:ident) => { Rule::notify(NotifyType::$what) };
    (@ maybe_notify $what:ident) => { Rule::maybe_notify(NotifyType::$what) };
    (@ error $what:ident) => { Rule::$what };
    (@ $rule:ident $what:ident) => { Rule::$rule(PayloadType::$what) };
}

shapes! {
    // Appendix C.1; RFC 8019 §7.1.2 for PS, §7.1.1 and §7.2.1 for PUZZLE
    INIT_REQUEST {
        Normal: one(SA) one(KE) one(NONCE) maybe(PS) maybe_notify(COOKIE) maybe_notify(NAT_DETECTION_DESTINATION_IP);
    }
    INIT_RESPONSE {
        Normal: one(SA) one(KE) one(NONCE) any(CERTREQ) maybe_notify(PUZZLE) maybe_notify(NAT_DETECTION_DESTINATION_IP);
        Cookie: notify(COOKIE) maybe_notify(PUZZLE);
        Refusal: error(ERROR);
    }
    // Appendix C.2 and C.3; RFC 6023 §3 for no child SA
    AUTH_REQUEST {
        AuthWithChild: one(IDI) maybe(IDR) any(CERT) any(CERTREQ) one(AUTH) maybe(CP) one(SA) one(TSI) one(TSR);
        AuthWithoutChild: one(IDI) maybe(IDR) any(CERT) any(CERTREQ) one(AUTH) maybe(CP);
        EapStart: one(IDI) maybe(IDR) any(CERTREQ) maybe(CP) maybe(SA) maybe(TSI) maybe(TSR);
        Eap: one(EAP);
        EapEnd: one(AUTH);
        Proven: ;
    }
    AUTH_RESPONSE {
        // After EAP the last response names the responder no more.
        AuthWithChild: maybe(IDR) any(CERT) one(AUTH) maybe(CP) one(SA) one(TSI) one(TSR);
        EapStart: one(IDR) any(CERT) one(AUTH) one(EAP);
        AuthWithoutChild: maybe(IDR) any(CERT) one(AUTH) maybe(CP);
        Eap: one(EAP);
        Refusal: error(ERROR);
        Proven: maybe(CP) one(SA) one(TSI) one(TSR);
        Proven: maybe(CP);
    }
    // Appendix C.4 and C.5
    CHILD_REQUEST {
        Child: one(SA) one(NONCE) maybe(KE) one(TSI) one(TSR) maybe(CP) maybe_notify(REKEY_SA);
        RekeyIke: one(SA) one(NONCE) one(KE);
    }
    CHILD_RESPONSE {
        Child: one(SA) one(NONCE) maybe(KE) one(TSI) one(TSR) maybe(CP);
        RekeyIke: one(SA) one(NONCE) one(KE);
        Refusal: error(ERROR);
    }
    // Appendix C.6
    INFORMATIONAL {
        Normal: any(DELETE) any(CP);
    }
    // RFC 5723 §4.3.2
    RESUME_REQUEST {
        Normal: one(NONCE) notify(TICKET_OPAQUE) maybe_notify(COOKIE);
    }
    RESUME_RESPONSE {
        Normal: one(NONCE);
        Cookie: notify(COOKIE);
        Refusal: notify(TICKET_NACK);
        Refusal: error(ERROR);
    }
    // RFC 9242 §3.2, with RFC 9370 §2.2.2: extensions say what else it carries; RFC 9593 §3.1 for CERTREQ
    INTERMEDIATE_REQUEST {
        Normal: maybe(KE);
    }
    INTERMEDIATE_RESPONSE {
        Normal: maybe(KE) any(CERTREQ);
    }
    // RFC 9370 §2.2.4
    FOLLOWUP_REQUEST {
        Normal: one(KE) notify(ADDITIONAL_KEY_EXCHANGE);
    }
    FOLLOWUP_RESPONSE {
        Normal: one(KE) maybe_notify(ADDITIONAL_KEY_EXCHANGE);
        Refusal: error(ERROR);
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payload(num::PayloadType::NONCE) => f.write_str("a nonce payload"),
            Self::Payload(kind) => write!(f, "a payload {kind}"),
            Self::Notify(kind) => write!(f, "a notification {kind}"),
            Self::Error => f.write_str("an error notification"),
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(exchange) => write!(f, "the exchange type {exchange} is not supported"),
            Self::Missing(item) => write!(f, "{item} is missing"),
            Self::TooMany(item, max) => write!(f, "{item} occurs more than {max} times"),
            Self::NotAllowed(kind) => write!(f, "a payload {kind} has no place in this message"),
        }
    }
}

impl std::error::Error for Misfit {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::{AuthMethod, IdType, KeMethod};
    use crate::{Authentication, Identification, KeyExchange, Notify};

    fn ke() -> Payload<'static> {
        Payload::Ke(KeyExchange { method: KeMethod::CURVE25519, data: vec![1; 32].into() })
    }

    fn nonce() -> Payload<'static> {
        Payload::Nonce(vec![2; 32].into())
    }

    fn id() -> Payload<'static> {
        Payload::IdI(Identification::new(IdType::FQDN, &b"a.example"[..]))
    }

    fn auth() -> Payload<'static> {
        Payload::Auth(Authentication { method: AuthMethod::SHARED_KEY, data: vec![3; 32].into() })
    }

    fn notify(kind: NotifyType) -> Payload<'static> {
        Payload::Notify(Notify::new(kind, &[][..]))
    }

    const INIT: ExchangeType = ExchangeType::IKE_SA_INIT;
    const AUTH: ExchangeType = ExchangeType::IKE_AUTH;

    //= rfc5723 §4.3.2
    #[test]
    fn a_ticket_is_shown_with_a_nonce_and_refused_without() {
        let exchange = ExchangeType::IKE_SESSION_RESUME;
        let asked = |chain: &[Payload<'_>]| classify(exchange, Direction::Request, &[], chain);
        let ticket = || notify(NotifyType::TICKET_OPAQUE);
        assert_eq!(asked(&[nonce(), ticket()]), Ok(Case::Normal));
        assert_eq!(asked(&[notify(NotifyType::COOKIE), nonce(), ticket()]), Ok(Case::Normal));
        let odd =
            [vec![nonce()], vec![ticket()], vec![nonce(), ticket(), ticket()], vec![nonce(), ticket(), ke()]];
        assert!(odd.iter().all(|chain| asked(chain).is_err()));
        let answered = |chain: &[Payload<'_>]| classify(exchange, Direction::Response, &[], chain);
        assert_eq!(answered(&[nonce()]), Ok(Case::Normal));
        assert_eq!(answered(&[notify(NotifyType::COOKIE)]), Ok(Case::Cookie));
        assert_eq!(answered(&[notify(NotifyType::TICKET_NACK)]), Ok(Case::Refusal));
        assert_eq!(answered(&[notify(NotifyType::INVALID_SYNTAX)]), Ok(Case::Refusal));
        assert!(answered(&[Payload::Sa(vec![]), nonce()]).is_err());
    }

    //= rfc7296 §2.5
    #[test]
    fn order_is_free_and_notifications_stand_anywhere() {
        let message = [notify(NotifyType(40000)), nonce(), Payload::Sa(vec![]), ke()];
        assert_eq!(classify(INIT, Direction::Request, &[], &message), Ok(Case::Normal));
    }

    #[test]
    fn the_nearest_shape_says_what_is_wrong() {
        let no_nonce = [Payload::Sa(vec![]), ke()];
        let missing = Misfit::Missing(Item::Payload(PayloadType::NONCE));
        assert_eq!(classify(INIT, Direction::Request, &[], &no_nonce), Err(missing));
        let two = [Payload::Sa(vec![]), ke(), nonce(), ke()];
        let too_many = Misfit::TooMany(Item::Payload(PayloadType::KE), 1);
        assert_eq!(classify(INIT, Direction::Request, &[], &two), Err(too_many));
        assert_eq!(too_many.to_string(), "a payload KE occurs more than 1 times");
        let stray = [Payload::Sa(vec![]), ke(), nonce(), id()];
        let not_allowed = Misfit::NotAllowed(PayloadType::IDI);
        assert_eq!(classify(INIT, Direction::Request, &[], &stray), Err(not_allowed));
    }

    #[test]
    fn responses_are_told_apart() {
        let cookie = [notify(NotifyType::COOKIE)];
        assert_eq!(classify(INIT, Direction::Response, &[], &cookie), Ok(Case::Cookie));
        let refusal = [notify(NotifyType::NO_PROPOSAL_CHOSEN)];
        assert_eq!(classify(INIT, Direction::Response, &[], &refusal), Ok(Case::Refusal));
        assert_eq!(classify(AUTH, Direction::Response, &[], &refusal), Ok(Case::Refusal));
        let failed_child = [notify(NotifyType::TS_UNACCEPTABLE), auth()];
        assert_eq!(classify(AUTH, Direction::Response, &[], &failed_child), Ok(Case::AuthWithoutChild));
    }

    #[test]
    fn requests_of_ike_auth_are_told_apart() {
        let child = [Payload::Sa(vec![]), Payload::TsI(vec![]), Payload::TsR(vec![])];
        let with = |start: &[Payload<'static>]| [start, &child[..]].concat();
        let case = |message: &[Payload<'_>]| classify(AUTH, Direction::Request, &[], message);
        assert_eq!(case(&with(&[id(), auth()])), Ok(Case::AuthWithChild));
        assert_eq!(case(&with(&[id()])), Ok(Case::EapStart));
        assert_eq!(case(&[id(), auth()]), Ok(Case::AuthWithoutChild));
        assert_eq!(case(&[auth()]), Ok(Case::EapEnd));
    }

    //= rfc4739 §2.4
    //= rfc4739 §2.5
    #[test]
    fn whoever_has_proved_all_asks_by_nothing_and_answers_with_the_child() {
        let child = [Payload::Sa(vec![]), Payload::TsI(vec![]), Payload::TsR(vec![])];
        let case = |direction, message: &[Payload<'_>]| classify(AUTH, direction, &[], message);
        assert_eq!(case(Direction::Request, &[]), Ok(Case::Proven));
        assert_eq!(case(Direction::Response, &child), Ok(Case::Proven));
        assert_eq!(case(Direction::Response, &[]), Ok(Case::Proven));
        let refused_child = [notify(NotifyType::TS_UNACCEPTABLE)];
        assert_eq!(case(Direction::Response, &refused_child), Ok(Case::Refusal));
        assert!(case(Direction::Request, &child).is_err(), "the child is asked for with the first round");
    }

    #[test]
    fn extensions_add_their_rules() {
        let message = [Payload::Sa(vec![]), nonce(), ke(), ke()];
        let exchange = ExchangeType::CREATE_CHILD_SA;
        assert!(classify(exchange, Direction::Request, &[], &message).is_err());
        let extra = [Rule::maybe(PayloadType::KE)];
        assert_eq!(classify(exchange, Direction::Request, &extra, &message), Ok(Case::RekeyIke));
    }

    #[test]
    fn an_unknown_exchange_fits_nothing() {
        let unknown = ExchangeType(99);
        assert_eq!(classify(unknown, Direction::Request, &[], &[]), Err(Misfit::Exchange(unknown)));
    }
}
