//! The `handfast` command: the daemon and everything a person says to it.

mod check;
mod cli;
mod decode;
mod demo;
mod exit;
mod load;
mod logs;
mod run;
mod table;
mod talk;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let socket = cli.socket.as_deref();
    let exit = match cli.command {
        Command::Run { config, log_format, log_level, until_stdin_closes } => {
            let log_format = log_format.or(cli.json.then_some(cli::LogFormat::Json));
            run::run(run::Options { config, socket: cli.socket, log_format, log_level, until_stdin_closes })
        }
        Command::Check { file } => check::check(&file, cli.json),
        Command::Decode { hex } => decode::decode(hex, cli.json),
        Command::Up { name } => talk::up(socket, &name, cli.json),
        Command::Down { name } => talk::down(socket, &name, cli.json),
        Command::Rekey { name } => talk::rekey(socket, &name, cli.json),
        Command::Clone { name } => talk::clone(socket, &name, cli.json),
        Command::Redirect { name, to } => talk::redirect(socket, (&name, &to), cli.json),
        Command::Status => talk::status(socket, cli.json),
        Command::Reload => talk::reload(socket, cli.json),
        Command::Demo { keep, verbose } => demo::demo(demo::Options { json: cli.json, keep, verbose }),
        Command::Watch => talk::watch(socket, cli.json),
    };
    exit.code()
}
