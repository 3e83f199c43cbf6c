//! The control protocol as it stands on the socket: these lines are a promise to other people's programs.

use runtime::protocol::{
    Answer, Ask, ChildRefusal, EventReport, MessageReport, RefusalReport, UpReport, VERSION,
};

fn asks() -> Vec<(Ask, &'static str)> {
    let (connection, child) = ("office".to_string(), Some("lan".to_string()));
    vec![
        (Ask::Up { connection: connection.clone(), child: None }, r#"{"ask":"up","connection":"office"}"#),
        (
            Ask::Up { connection: connection.clone(), child: child.clone() },
            r#"{"ask":"up","connection":"office","child":"lan"}"#,
        ),
        (Ask::Down { connection, child }, r#"{"ask":"down","connection":"office","child":"lan"}"#),
        (Ask::Status {}, r#"{"ask":"status"}"#),
        (Ask::Reload {}, r#"{"ask":"reload"}"#),
        (Ask::Watch {}, r#"{"ask":"watch"}"#),
    ]
}

fn refusal() -> RefusalReport {
    RefusalReport {
        kind: "ts_unacceptable".into(),
        by_peer: true,
        connection: Some("office".into()),
        reason: "No traffic in common.".into(),
    }
}

fn answers() -> Vec<(Answer, &'static str)> {
    const REFUSAL: &str =
        r#""kind":"ts_unacceptable","by_peer":true,"connection":"office","reason":"No traffic in common.""#;
    let leak = |text: String| -> &'static str { text.leak() };
    vec![
        (
            Answer::Hello { protocol: VERSION, version: "0.1.0".into() },
            r#"{"type":"hello","protocol":1,"version":"0.1.0"}"#,
        ),
        (
            Answer::Progress { milliseconds: 1.5, text: "Sent.".into() },
            r#"{"type":"progress","milliseconds":1.5,"text":"Sent."}"#,
        ),
        (
            Answer::Up(UpReport {
                ike_sa: 3,
                children: vec!["lan".into()],
                refused: vec![ChildRefusal { child: "dmz".into(), refusal: refusal() }],
                milliseconds: 7.25,
            }),
            leak(format!(
                r#"{{"type":"up","ike_sa":3,"children":["lan"],"refused":[{{"child":"dmz","refusal":{{{REFUSAL}}}}}],"milliseconds":7.25}}"#
            )),
        ),
        (Answer::Down { ike_sas: 1, child_sas: 2 }, r#"{"type":"down","ike_sas":1,"child_sas":2}"#),
        (Answer::Rekeying { ike_sas: 1, child_sas: 0 }, r#"{"type":"rekeying","ike_sas":1,"child_sas":0}"#),
        (Answer::Redirecting { ike_sas: 2 }, r#"{"type":"redirecting","ike_sas":2}"#),
        (
            Answer::Reloaded { added: vec!["a".into()], removed: vec![], changed: vec!["b".into()] },
            r#"{"type":"reloaded","added":["a"],"removed":[],"changed":["b"]}"#,
        ),
        (Answer::Refused(refusal()), leak(format!(r#"{{"type":"refused",{REFUSAL}}}"#))),
        (Answer::Error { text: "No.".into() }, r#"{"type":"error","text":"No."}"#),
        (
            Answer::Event(Box::new(EventReport {
                milliseconds: 12.0,
                event: "message".into(),
                text: "Sent.".into(),
                ike_sa: Some(1),
                message: Some(MessageReport {
                    sent: true,
                    resent: 0,
                    local: "192.0.2.1:500".into(),
                    remote: "192.0.2.2:500".into(),
                    exchange: "IKE_SA_INIT".into(),
                    response: false,
                    message_id: 0,
                    octets: 240,
                    datagrams: 1,
                    payloads: "SA KE No".into(),
                }),
                lost_before: 0,
            })),
            r#"{"type":"event","milliseconds":12.0,"event":"message","text":"Sent.","ike_sa":1,"message":{"sent":true,"resent":0,"local":"192.0.2.1:500","remote":"192.0.2.2:500","exchange":"IKE_SA_INIT","response":false,"message_id":0,"octets":240,"datagrams":1,"payloads":"SA KE No"}}"#,
        ),
    ]
}

#[test]
fn requests_read_and_print_as_documented() {
    for (ask, line) in asks() {
        assert_eq!(serde_json::to_string(&ask).unwrap(), line);
        assert_eq!(serde_json::from_str::<Ask>(line).unwrap(), ask);
    }
}

#[test]
fn answers_read_and_print_as_documented() {
    for (answer, line) in answers() {
        assert_eq!(serde_json::to_string(&answer).unwrap(), line);
        assert_eq!(serde_json::from_str::<Answer>(line).unwrap(), answer);
    }
}

#[test]
fn what_is_no_request_is_an_error() {
    for line in [
        "",
        "{}",
        "[]",
        r#"{"ask":"fly"}"#,
        r#"{"ask":"up"}"#,
        r#"{"ask":"up","connection":"a","extra":1}"#,
        r#"{"ask":"status","extra":1}"#,
    ] {
        assert!(serde_json::from_str::<Ask>(line).is_err(), "{line}");
    }
}
