//! What was on the wire: a capture in the middle, and tshark's opinion of it.

use crate::{Lab, Process, run, wait_until};
use std::path::PathBuf;
use std::time::Duration;

/// A running capture.
pub struct Capture {
    process: Process,
    file: PathBuf,
}

/// What tshark saw.
#[derive(Debug)]
pub struct Wire {
    /// Datagrams with an IKE message from the address asked for.
    pub ike_sent: usize,
    /// tshark's complaints about those.
    pub complaints: Vec<String>,
    /// ESP packets in either direction, in UDP or not.
    pub esp: usize,
    /// Whether a given octet string stood anywhere in clear.
    pub plaintext: bool,
    /// Packets of ping, TCP or UDP that were neither ESP nor IKE, for people.
    pub in_clear: Vec<String>,
}

impl Capture {
    /// Captures at the middle's interface towards `side`.
    pub fn start(lab: &Lab, side: &str) -> Result<Capture, String> {
        let file = lab.folder().join("wire.pcap");
        let path = file.display().to_string();
        let interface = lab.middle_interface(side);
        let mut command =
            ["tcpdump", "-Z", "root", "-i", interface, "-s", "0", "-U", "--immediate-mode", "-w", &path];
        let process = lab.spawn("middle", &mut command, &[])?;
        if !wait_until(Duration::from_secs(5), || process.output().contains("listening on")) {
            return Err(format!("tcpdump did not start: {}", process.output()));
        }
        Ok(Capture { process, file })
    }

    /// Ends the capture and reads it: IKE from the address `sender`, and whether `plaintext` can be seen.
    pub fn finish(mut self, sender: &str, plaintext: &[u8]) -> Result<Wire, String> {
        self.process.stop(Duration::from_secs(5));
        let file = self.file.display().to_string();
        let field = if sender.contains(':') { "ipv6.src" } else { "ip.src" };
        let tshark = |filter: &str, fields: &[&str]| {
            let mut args = vec!["-r", &file, "-Y", filter, "-T", "fields"];
            args.extend(fields.iter().flat_map(|f| ["-e", f]));
            run("tshark", &args)
        };
        let from_us = format!("isakmp && {field} == {sender}");
        let ike_sent = tshark(&from_us, &["frame.number"])?.lines().count();
        let bad = format!("{from_us} && (_ws.malformed || _ws.expert.severity >= 6291456)");
        let complaints =
            tshark(&bad, &["frame.number", "_ws.expert.message"])?.lines().map(str::to_string).collect();
        let esp = tshark("esp", &["frame.number"])?.lines().count();
        let clear = "(icmp || icmpv6.type == 128 || icmpv6.type == 129 || tcp || udp) && !esp && !isakmp && !udpencap";
        let fields = ["frame.number", "frame.protocols", "ip.src", "ipv6.src"];
        let in_clear = tshark(clear, &fields)?.lines().map(str::to_string).collect();
        let octets = std::fs::read(&self.file).map_err(|error| format!("{file}: {error}"))?;
        let plaintext = !plaintext.is_empty() && octets.windows(plaintext.len()).any(|w| w == plaintext);
        Ok(Wire { ike_sent, complaints, esp, plaintext, in_clear })
    }
}
