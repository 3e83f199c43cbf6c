//! `handfast decode`: an IKEv2 message, given as hexadecimal, with every field named.

use crate::exit::Exit;
use crate::talk::{print_json, say};
use serde_json::json;
use std::io::Read;
use wire::Message;

/// The largest input: a UDP datagram in hexadecimal, with room for blanks and line ends.
const LARGEST: u64 = 1 << 20;

/// Decodes `hex`, or standard input when there is none.
pub(crate) fn decode(hex: Option<String>, json: bool) -> Exit {
    let octets = match hex.map_or_else(read_stdin, Ok).and_then(|text| parse_hex(&text)) {
        Ok(octets) => octets,
        Err(reason) => return fail(&reason, json, Exit::Usage),
    };
    // A message from port 4500 stands behind four zero octets, which no IKE message begins with.
    let bytes = octets.strip_prefix(&[0; 4]).unwrap_or(&octets);
    match Message::parse(bytes) {
        Ok(message) if json => {
            print_json(&json!({
                "exchange": message.header.exchange.to_string(),
                "response": message.header.flags.response,
                "message_id": message.header.message_id.0,
                "spi_i": message.header.spi_i.to_string(),
                "spi_r": message.header.spi_r.to_string(),
                "payloads": message.payloads.iter().map(|p| p.summary().to_string()).collect::<Vec<_>>(),
                "text": message.to_string(),
            }));
            Exit::Done
        }
        Ok(message) => {
            say(message.to_string().trim_end());
            Exit::Done
        }
        Err(error) => fail(&format!("This is no IKEv2 message: {error}."), json, Exit::Failed),
    }
}

fn fail(reason: &str, json: bool, exit: Exit) -> Exit {
    if json {
        print_json(&json!({ "error": reason }));
    } else {
        eprintln!("{reason}");
    }
    exit
}

fn read_stdin() -> Result<String, String> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(LARGEST).read_to_string(&mut text);
    read.map(|_| text).map_err(|error| format!("Cannot read standard input: {error}."))
}

/// Octets from hexadecimal digits; blanks, line ends and colons between them do not count.
fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let mut digits = Vec::new();
    for (at, c) in text.chars().enumerate().filter(|(_, c)| !c.is_whitespace() && *c != ':') {
        let digit = c.to_digit(16);
        digits.push(
            digit.ok_or_else(|| format!("Character {} ({c:?}) is no hexadecimal digit.", at + 1))? as u8
        );
    }
    match digits.len() {
        0 => Err("There is nothing to decode: give the message in hexadecimal.".to_string()),
        n if n % 2 == 1 => Err(format!("There are {n} hexadecimal digits, an odd number: one is missing.")),
        _ => Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_with_blanks_and_colons() {
        assert_eq!(parse_hex("00:ff\n 1A"), Ok(vec![0, 0xff, 0x1a]));
        assert!(parse_hex("0g").is_err_and(|error| error.contains("Character 2")));
        assert!(parse_hex("123").is_err());
        assert!(parse_hex(" \n").is_err());
    }
}
