//! The command line.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The control socket, where neither `--socket` nor the configuration names another.
pub(crate) const DEFAULT_SOCKET: &str = "/run/handfast/control.sock";

const AFTER_HELP: &str = "\
Examples:
  handfast check /etc/handfast/handfast.toml     find every problem of a configuration
  handfast run --config /etc/handfast/handfast.toml
  handfast up office                             bring a connection up, and see how it goes
  handfast up office/lan                         only one of its children
  handfast status                                what stands, with algorithms and counters
  handfast down office
  handfast demo                                  a whole tunnel in throw-away namespaces

Exit codes: 0 done · 1 refused or failed, the reason is printed · 2 the command line or the configuration is at
fault · 3 no daemon answers · 4 this machine lacks something (permission, namespaces)";

/// Handfast: an IKE daemon. It authenticates peers, agrees on keys with them, and carries traffic through ESP.
#[derive(Debug, Parser)]
#[command(name = "handfast", version, after_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Cli {
    /// The daemon's control socket
    #[arg(long, global = true, value_name = "PATH", env = "HANDFAST_SOCKET")]
    pub(crate) socket: Option<PathBuf>,

    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon, in the foreground
    ///
    /// SIGTERM or Ctrl-C: delete all SAs with their peers, then end. SIGHUP: read the configuration again.
    /// Needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE, as root has.
    Run {
        /// The configuration file (TOML)
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// How log lines look, instead of what the file says
        #[arg(long, value_name = "FORMAT")]
        log_format: Option<LogFormat>,
        /// How much is logged: error, warn, info, debug or trace, instead of what the file says
        #[arg(long, value_name = "LEVEL", env = "HANDFAST_LOG")]
        log_level: Option<String>,
        /// End as after SIGTERM when standard input closes
        #[arg(long, hide = true)]
        until_stdin_closes: bool,
    },
    /// Find every problem of a configuration file, each with its line and column
    ///
    /// What this accepts, `run` accepts. Prints what would run.
    Check {
        /// The configuration file (TOML)
        file: PathBuf,
    },
    /// Bring a connection up, or one child of it
    ///
    /// Prints what happens on the way, and in the end what stands or why it was refused. Ctrl-C ends this
    /// command only: what the daemon has begun goes on.
    Up {
        /// The connection's name, or NAME/CHILD for one child of it
        #[arg(value_name = "NAME[/CHILD]")]
        name: String,
    },
    /// Take a connection down, or one child of it, telling the peer
    Down {
        /// The connection's name, or NAME/CHILD for one child of it
        #[arg(value_name = "NAME[/CHILD]")]
        name: String,
    },
    /// Give a connection's IKE SAs new keys, or one child of it
    ///
    /// Returns when the exchange has begun; the log and `watch` tell what comes of it. Traffic flows on meanwhile.
    Rekey {
        /// The connection's name, or NAME/CHILD for one child of it
        #[arg(value_name = "NAME[/CHILD]")]
        name: String,
    },
    /// Make another IKE SA beside a connection's, with one child of it or none (RFC 7791)
    ///
    /// Nobody proves anew who it is: both sides must have said that this may be (`clone_ike_sa`). Each of both can move to a
    /// link of its own (`mobike`).
    Clone {
        /// The connection's name, or NAME/CHILD for a child that the new one gets
        #[arg(value_name = "NAME[/CHILD]")]
        name: String,
    },
    /// Send the clients of a connection on to another gateway (RFC 5685)
    ///
    /// Those that can follow make an IKE SA with the other gateway, with the same children, and then delete the one here.
    Redirect {
        /// The connection's name
        name: String,
        /// The other gateway: an address, or a DNS name
        to: String,
    },
    /// Show what stands: SAs, algorithms, counters
    ///
    /// `--json` prints the stable shape that docs/status-json.md describes.
    Status,
    /// Read the daemon's configuration file again (as SIGHUP does)
    ///
    /// A broken file changes nothing. SAs that stand keep what they were made with.
    Reload,
    /// Show what happens, as it happens, until Ctrl-C
    Watch,
    /// Print an IKEv2 message, given in hexadecimal, with every field named
    ///
    /// What is encrypted stays so.
    Decode {
        /// The message in hexadecimal; without it, standard input is read
        hex: Option<String>,
    },
    /// A whole tunnel in throw-away network namespaces, in a few seconds
    ///
    /// Two gateways negotiate IKEv2, a host behind each pings the other and pushes a stream of TCP through the
    /// tunnel, and the wire between them is searched for plaintext. Needs root, or user namespaces.
    Demo {
        /// Leave it all standing until Ctrl-C, to look around
        #[arg(long)]
        keep: bool,
        /// Print the gateways' logs too
        #[arg(long, short)]
        verbose: bool,
    },
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// `NAME` or `NAME/CHILD`.
pub(crate) fn split_name(name: &str) -> (String, Option<String>) {
    match name.split_once('/') {
        Some((connection, child)) => (connection.to_string(), Some(child.to_string())),
        None => (name.to_string(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_child_stands_behind_a_slash() {
        assert_eq!(split_name("office"), ("office".to_string(), None));
        assert_eq!(split_name("office/lan"), ("office".to_string(), Some("lan".to_string())));
    }
}
