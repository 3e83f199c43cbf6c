//! Real traffic: what the captures of other projects hold is what tshark read in them, and what crashed other parsers
//! is refused or read here.

use std::path::Path;
use testkit::{Tree, corpus, files, pcap, read, to_hex};
use wire::*;

/// Messages that are refused here although tshark shows them; the octets behind `ikev2-id-*`'s last payload belong to no
/// payload, `ikev2pI2-segfault` is malformed for tshark too.
const MALFORMED: [&str; 3] = ["ikev2-id-normal.pcap", "ikev2-id-short.pcap", "ikev2pI2-segfault.pcapng"];

/// A message in facts that both sides can state.
fn our_facts(message: &Message<'_>) -> Vec<String> {
    let header = &message.header;
    let mut facts = vec![format!(
        "exchange {} flags {} id {} length {} SPIs {} {}",
        header.exchange.0,
        header.flags.octet(),
        header.message_id,
        header.length,
        header.spi_i,
        header.spi_r
    )];
    for payload in &message.payloads {
        facts.push(format!("payload {}", payload.kind().0));
        match payload {
            Payload::Sa(proposals) => {
                proposals.iter().for_each(|proposal| our_proposal(proposal, &mut facts))
            }
            Payload::Ke(ke) => facts.push(format!("ke {} {}", ke.method.0, to_hex(&ke.data))),
            Payload::Nonce(nonce) => facts.push(format!("nonce {}", to_hex(nonce))),
            Payload::Notify(notify) => {
                facts.push(format!("notify {} {}", notify.protocol.0, notify.kind.0));
            }
            Payload::IdI(id) | Payload::IdR(id) => facts.push(format!("id {}", id.kind.0)),
            _ => {}
        }
    }
    facts
}

fn our_proposal(proposal: &Proposal<'_>, facts: &mut Vec<String>) {
    let (number, protocol, spi) = (proposal.number, proposal.protocol.0, to_hex(&proposal.spi));
    facts.push(format!("proposal {number} {protocol} {spi} {}", proposal.transforms.len()));
    for transform in &proposal.transforms {
        let bits = transform.key_bits().unwrap_or(0);
        facts.push(format!("transform {} {} {bits}", transform.kind.0, transform.id));
    }
}

fn their_facts(isakmp: &Tree) -> Vec<String> {
    let number = |key| isakmp.number(key).unwrap_or_else(|| panic!("no {key}"));
    let spi = |key| isakmp.text(key).unwrap_or_default().replace(':', "");
    let mut facts = vec![format!(
        "exchange {} flags {} id {} length {} SPIs {} {}",
        number("isakmp.exchangetype"),
        number("isakmp.flags"),
        number("isakmp.messageid"),
        number("isakmp.length"),
        spi("isakmp.ispi"),
        spi("isakmp.rspi")
    )];
    for (kind, payload) in substructures(isakmp) {
        facts.push(format!("payload {kind}"));
        let number = |key| payload.number(key).unwrap_or_else(|| panic!("payload {kind}: no {key}"));
        let octets = |key| payload.text(key).unwrap_or_else(|| panic!("no {key}")).replace(':', "");
        match kind {
            33 => substructures(payload).for_each(|(_, proposal)| their_proposal(proposal, &mut facts)),
            34 => {
                let (group, data) =
                    (number("isakmp.key_exchange.dh_group"), octets("isakmp.key_exchange.data"));
                facts.push(format!("ke {group} {data}"));
            }
            35 | 36 => facts.push(format!("id {}", number("isakmp.id.type"))),
            40 => facts.push(format!("nonce {}", octets("isakmp.nonce"))),
            41 => {
                let (protocol, kind) = (number("isakmp.notify.protoid"), number("isakmp.notify.msgtype"));
                facts.push(format!("notify {protocol} {kind}"));
            }
            _ => {}
        }
    }
    facts
}

fn their_proposal(proposal: &Tree, facts: &mut Vec<String>) {
    let number = |key| proposal.number(key).unwrap_or_else(|| panic!("proposal: no {key}"));
    let spi = proposal.text("isakmp.spi").unwrap_or_default().replace(':', "");
    facts.push(format!(
        "proposal {} {} {spi} {}",
        number("isakmp.prop.number"),
        number("isakmp.prop.protoid"),
        number("isakmp.prop.transforms")
    ));
    for (_, transform) in substructures(proposal) {
        let id = transform.entries().iter().find(|(key, _)| key.starts_with("isakmp.tf.id"));
        let id = id.and_then(|(key, _)| transform.number(key)).expect("a transform id");
        let bits = transform.get("isakmp.ike2.attr").and_then(|a| a.number("isakmp.ike2.attr.key_length"));
        let kind = transform.number("isakmp.tf.type").expect("a transform type");
        facts.push(format!("transform {kind} {id} {}", bits.unwrap_or(0)));
    }
}

/// The (type, content) pairs directly under `tree`.
fn substructures(tree: &Tree) -> impl Iterator<Item = (u64, &Tree)> {
    let kinds = tree.all("isakmp.typepayload").map(|kind| match kind {
        Tree::Leaf(text) => text.parse().expect("a payload type"),
        other => panic!("payload type {other:?}"),
    });
    kinds.zip(tree.all("isakmp.typepayload_tree"))
}

/// tshark's view of the IKEv2 messages of a capture: the octets, and what it reads in them.
fn decoded(path: &Path) -> Vec<(String, Tree)> {
    let packets = Tree::parse(&read(path));
    let layers = packets.items().iter().filter_map(|packet| packet.get("_source")?.get("layers"));
    layers
        .filter_map(|layers| {
            let isakmp = layers.get("isakmp").filter(|i| i.number("isakmp.version") == Some(0x20))?;
            let octets = layers.get("udp")?.text("udp.payload")?.replace(':', "");
            Some((octets, isakmp.clone()))
        })
        .collect()
}

/// The message with the critical bit of each payload cleared: Openswan set it on payloads that everybody knows, we do
/// not (RFC 7296 §3.2).
fn canonical(datagram: &[u8]) -> Vec<u8> {
    let header = Header::parse(datagram).expect("a header");
    let mut octets = datagram.to_vec();
    for raw in Payloads::new(header.next_payload, &datagram[limits::HEADER_LEN..], limits::HEADER_LEN) {
        octets[raw.expect("a payload").at - 3] &= 0x7f;
    }
    octets
}

#[test]
fn captures_hold_what_tshark_reads_in_them() {
    let Some(root) = corpus("captures_hold_what_tshark_reads_in_them", "captures") else { return };
    let mut compared = 0;
    for (directory, capture) in captures(&root) {
        let name = capture.file_name().unwrap().to_string_lossy().into_owned();
        let theirs = decoded(&root.join(format!("decoded/{directory}_{name}.json.gz")));
        let mut ours = pcap::ike(&read(&capture)).expect("a capture");
        ours.retain(|datagram| Header::peek(&datagram.payload).is_ok_and(|header| header.major == 2));
        assert_eq!(ours.len(), theirs.len(), "{name}: IKEv2 messages");
        for (datagram, (octets, isakmp)) in ours.iter().zip(&theirs) {
            assert_eq!(to_hex(&datagram.payload), *octets, "{name} frame {}", datagram.frame);
            match Message::parse(&datagram.payload) {
                Ok(message) => {
                    assert_eq!(our_facts(&message), their_facts(isakmp), "{name} frame {}", datagram.frame);
                    assert_eq!(
                        message.emit(),
                        canonical(&datagram.payload),
                        "{name} frame {}",
                        datagram.frame
                    );
                    compared += 1;
                }
                Err(error) => {
                    assert!(MALFORMED.contains(&&name[..]), "{name} frame {}: {error}", datagram.frame)
                }
            }
        }
    }
    println!(
        "SUMMARY: wire: {compared} captured IKEv2 messages read as tshark reads them, and re-emitted alike"
    );
    assert_eq!(compared, 40, "messages that were compared");
}

/// (directory, capture) of all captures that other projects made.
fn captures(root: &Path) -> Vec<(&'static str, std::path::PathBuf)> {
    let of = |directory: &'static str| {
        let all = files(&root.join(directory)).into_iter();
        all.filter(|path| path.to_string_lossy().contains(".pcap")).map(move |path| (directory, path))
    };
    ["wireshark", "tcpdump", "suricata"].into_iter().flat_map(of).collect()
}

/// Everything that was ever captured, of any version and form, is read or refused; most of it was made to crash somebody.
#[test]
fn s173_hostile_captures_are_read_or_refused() {
    let Some(root) = corpus("s173_hostile_captures_are_read_or_refused", "captures") else { return };
    let (mut good, mut bad) = (0, 0);
    for (_, capture) in captures(&root) {
        for frame in pcap::frames(&read(&capture)).expect("a capture") {
            // Every alignment: whatever a demultiplexer hands over is survived.
            for start in 0..frame.bytes.len().min(64) {
                match Message::parse(&frame.bytes[start..]) {
                    Ok(message) => {
                        good += 1;
                        assert!(!message.to_string().is_empty());
                    }
                    Err(_) => bad += 1,
                }
            }
        }
    }
    assert!(good > 0 && bad > 1000, "{good} read, {bad} refused");
}

#[test]
fn golden_runs_are_read_and_emitted_alike() {
    let Some(root) = corpus("golden_runs_are_read_and_emitted_alike", "golden") else { return };
    let mut messages = 0;
    for capture in files(&root).into_iter().filter(|path| path.ends_with("cap.pcap")) {
        let name = capture.display().to_string();
        for datagram in pcap::ike(&read(&capture)).expect("a capture") {
            let frame = datagram.frame;
            match Header::peek(&datagram.payload) {
                Ok(header) if header.major == 2 => {}
                _ => continue,
            }
            let message =
                Message::parse(&datagram.payload).unwrap_or_else(|e| panic!("{name} frame {frame}: {e}"));
            assert_eq!(message.emit(), datagram.payload, "{name} frame {frame}");
            let direction = match message.header.flags.response {
                true => allowed::Direction::Response,
                false => allowed::Direction::Request,
            };
            match Sealed::locate(&datagram.payload).expect("a sealed message") {
                Some(sealed) => assert_eq!(sealed.body.end, datagram.payload.len()),
                None => {
                    let case = allowed::classify(message.header.exchange, direction, &[], &message.payloads);
                    assert!(case.is_ok(), "{name} frame {frame}: {case:?}");
                }
            }
            messages += 1;
        }
    }
    println!("SUMMARY: wire: {messages} messages of the golden IKEv2 runs read and re-emitted alike");
    assert!(messages >= 100, "{messages} messages of the golden runs");
}

/// What `ike-scan`'s authors got from gateways, and rusticata's test messages.
#[test]
fn single_messages_are_read() {
    let Some(root) = corpus("single_messages_are_read", "captures") else { return };
    for (name, payloads) in [
        ("rusticata/ike-sa-init-req.bin", Some("SA KE No")),
        ("rusticata/ike-sa-init-resp.bin", Some("SA KE No CERTREQ N(HTTP_CERT_LOOKUP_SUPPORTED)")),
        ("ike-scan/pkt-v2-sainit-response.dat", Some("SA KE No")),
        ("ike-scan/pkt-v2-notify-response.dat", Some("N(NO_PROPOSAL_CHOSEN)")),
        ("ike-scan/pkt-ikev2.dat", Some("SA KE No")),
        ("ike-scan/pkt-malformed.dat", None),
        ("ike-scan/pkt-aggressive.dat", None),
    ] {
        let octets = read(&root.join(name));
        let message = Message::parse(&octets);
        let words = message.as_ref().map(|message| summary(&message.payloads).to_string());
        match payloads {
            Some(expected) => {
                assert_eq!(words, Ok(expected.to_owned()), "{name}");
                assert_eq!(message.unwrap().emit(), octets, "{name}");
            }
            None => assert!(words.is_err(), "{name}: {words:?}"),
        }
    }
}
