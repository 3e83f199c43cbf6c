//! The commands that talk to a daemon.

use crate::cli::{DEFAULT_SOCKET, split_name};
use crate::exit::Exit;
use crate::table;
use runtime::protocol::{Answer, Ask};
use runtime::{Client, ClientError};
use std::io::{IsTerminal, Write};
use std::path::Path;

/// `handfast up`
pub(crate) fn up(socket: Option<&Path>, name: &str, json: bool) -> Exit {
    let (connection, child) = split_name(name);
    bring(socket, &Ask::Up { connection, child }, name, json)
}

/// `handfast clone`
pub(crate) fn clone(socket: Option<&Path>, name: &str, json: bool) -> Exit {
    let (connection, child) = split_name(name);
    bring(socket, &Ask::Clone { connection, child }, &format!("Another IKE SA of {name}"), json)
}

fn bring(socket: Option<&Path>, ask: &Ask, what: &str, json: bool) -> Exit {
    let answer = match call(socket, ask, json) {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    let Answer::Up(report) = &answer else {
        if !json {
            eprintln!("{what} is not up.");
        }
        return other(&answer, json);
    };
    if json {
        print_json(&answer);
    } else {
        let children = match report.children.as_slice() {
            [] => "no child".to_string(),
            names => names.join(", "),
        };
        say(&format!(
            "{what} is up after {:.1} ms: IKE SA {} with {children}.",
            report.milliseconds, report.ike_sa
        ));
        for child in &report.refused {
            eprintln!("Child \"{}\" is not up. {}", child.child, child.refusal.reason);
        }
    }
    if report.refused.is_empty() { Exit::Done } else { Exit::Failed }
}

/// `handfast down`
pub(crate) fn down(socket: Option<&Path>, name: &str, json: bool) -> Exit {
    let (connection, child) = split_name(name);
    match call(socket, &Ask::Down { connection, child }, json) {
        Ok(answer @ Answer::Down { .. }) if json => print_json(&answer),
        Ok(Answer::Down { ike_sas: 0, child_sas: 0 }) => say(&format!("Nothing of {name} was up.")),
        Ok(Answer::Down { ike_sas, child_sas }) => {
            let (ike, child) = (table::count(ike_sas, "IKE SA"), table::count(child_sas, "child SA"));
            say(&format!("{name} is down: {ike} and {child} closed."));
        }
        Ok(answer) => return other(&answer, json),
        Err(exit) => return exit,
    }
    Exit::Done
}

/// `handfast rekey`
pub(crate) fn rekey(socket: Option<&Path>, name: &str, json: bool) -> Exit {
    let (connection, child) = split_name(name);
    match call(socket, &Ask::Rekey { connection, child }, json) {
        Ok(answer @ Answer::Rekeying { .. }) if json => print_json(&answer),
        Ok(Answer::Rekeying { ike_sas, child_sas: 0 }) => {
            say(&format!("{name}: new keys are asked for, for {}.", table::count(ike_sas, "IKE SA")));
        }
        Ok(Answer::Rekeying { child_sas, .. }) => {
            say(&format!("{name}: new keys are asked for, for {}.", table::count(child_sas, "child SA")));
        }
        Ok(answer) => return other(&answer, json),
        Err(exit) => return exit,
    }
    Exit::Done
}

/// `handfast redirect`
pub(crate) fn redirect(socket: Option<&Path>, (name, to): (&str, &str), json: bool) -> Exit {
    match call(socket, &Ask::Redirect { connection: name.to_string(), to: to.to_string() }, json) {
        Ok(answer @ Answer::Redirecting { .. }) if json => print_json(&answer),
        Ok(Answer::Redirecting { ike_sas }) => {
            say(&format!("{name}: {} sent on to {to}.", table::count(ike_sas, "client")));
        }
        Ok(answer) => return other(&answer, json),
        Err(exit) => return exit,
    }
    Exit::Done
}

/// `handfast status`
pub(crate) fn status(socket: Option<&Path>, json: bool) -> Exit {
    match call(socket, &Ask::Status {}, json) {
        Ok(Answer::Status(status)) if json => print_json(&status),
        Ok(Answer::Status(status)) => say(table::status(&status).trim_end()),
        Ok(answer) => return other(&answer, json),
        Err(exit) => return exit,
    }
    Exit::Done
}

/// `handfast reload`
pub(crate) fn reload(socket: Option<&Path>, json: bool) -> Exit {
    match call(socket, &Ask::Reload {}, json) {
        Ok(answer @ Answer::Reloaded { .. }) if json => print_json(&answer),
        Ok(Answer::Reloaded { added, removed, changed }) => {
            let same = added.is_empty() && removed.is_empty() && changed.is_empty();
            for (verb, names) in [("added", added), ("removed", removed), ("changed", changed)] {
                if !names.is_empty() {
                    say(&format!("{verb}: {}", names.join(", ")));
                }
            }
            let nothing = if same { " No connection differs." } else { "" };
            say(&format!("The configuration was read again.{nothing}"));
        }
        Ok(answer) => return other(&answer, json),
        Err(exit) => return exit,
    }
    Exit::Done
}

/// `handfast watch`
pub(crate) fn watch(socket: Option<&Path>, json: bool) -> Exit {
    let mut client = match connect(socket) {
        Ok(client) => client,
        Err(error) => return unreachable_daemon(&error, json),
    };
    let begun = client.ask(&Ask::Watch {});
    let end = begun.and_then(|()| {
        loop {
            let answer = client.next()?;
            let event = match &answer {
                Answer::Progress { .. } => continue,
                Answer::Event(event) => event,
                _ => return Ok(answer),
            };
            if json {
                print_json(&answer);
            } else {
                if event.lost_before > 0 {
                    say(&format!("… {} events were lost here: the terminal was too slow", event.lost_before));
                }
                say(&format!("{:>12.3} ms  {}", event.milliseconds, event.text));
            }
        }
    });
    match end {
        Ok(answer) => other(&answer, json),
        Err(error) => unreachable_daemon(&error, json),
    }
}

fn connect(socket: Option<&Path>) -> Result<Client, ClientError> {
    Client::connect(socket.unwrap_or(Path::new(DEFAULT_SOCKET)))
}

/// Asks, prints progress, and returns the last answer.
fn call(socket: Option<&Path>, ask: &Ask, json: bool) -> Result<Answer, Exit> {
    let mut client = connect(socket).map_err(|error| unreachable_daemon(&error, json))?;
    let answer = client.call(ask, |progress| {
        if json {
            print_json(progress);
        } else if let Answer::Progress { milliseconds, text } = progress {
            say(&progress_line(*milliseconds, text));
        }
    });
    answer.map_err(|error| unreachable_daemon(&error, json))
}

/// What happened after so many milliseconds. A person gets long lines broken, a program whole ones.
fn progress_line(milliseconds: f64, text: &str) -> String {
    let head = format!("{milliseconds:>10.1} ms  ");
    if !std::io::stdout().is_terminal() {
        return head + text;
    }
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    let lines = table::wrap(&words, table::WIDTH - head.len());
    format!("{head}{}", lines.join(&format!("\n{:1$}", "", head.len())))
}

/// An answer that is not the one hoped for.
fn other(answer: &Answer, json: bool) -> Exit {
    if json {
        print_json(answer);
        return Exit::Failed;
    }
    match answer {
        Answer::Refused(report) => eprintln!("{}", report.reason),
        Answer::Error { text } => eprintln!("{text}"),
        other => eprintln!("The daemon's answer does not fit the question: {other:?}"),
    }
    Exit::Failed
}

fn unreachable_daemon(error: &ClientError, json: bool) -> Exit {
    if json {
        print_json(&Answer::Error { text: error.to_string() });
    } else {
        eprintln!("{error}");
    }
    match error {
        ClientError::NoDaemon(..) => Exit::NoDaemon,
        _ => Exit::Failed,
    }
}

/// Prints a line; a reader that has gone away (`| head`) ends the command quietly.
pub(crate) fn say(line: &str) {
    if writeln!(std::io::stdout().lock(), "{line}").is_err() {
        std::process::exit(i32::from(Exit::Done as u8));
    }
}

/// Prints one JSON object on a line.
pub(crate) fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string(value) {
        Ok(line) => say(&line),
        Err(error) => eprintln!("Cannot print JSON: {error}"),
    }
}
