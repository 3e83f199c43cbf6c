//! `handfast run`: the daemon in the foreground.

use crate::cli::LogFormat;
use crate::exit::Exit;
use crate::{load, logs};
use config::{LogLevel, Outcome};
use runtime::Daemon;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What the command line says about a run.
pub(crate) struct Options {
    pub(crate) config: PathBuf,
    /// Where the control socket is to be, instead of where the file says.
    pub(crate) socket: Option<PathBuf>,
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) log_level: Option<String>,
    /// End as after SIGTERM when standard input closes: for whoever starts a daemon and may die.
    pub(crate) until_stdin_closes: bool,
}

/// Runs until a signal ends it.
pub(crate) fn run(options: Options) -> Exit {
    let started = Instant::now();
    let suite = load::suite();
    let Outcome { config, problems } = load::read(&options.config, suite.as_ref());
    let Some(config) = config else {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        eprintln!("{} cannot be used; `handfast check` finds the same.", options.config.display());
        return Exit::Usage;
    };
    let format = options.log_format.unwrap_or(match config.daemon.log.format {
        config::LogFormat::Human => LogFormat::Human,
        config::LogFormat::Json => LogFormat::Json,
    });
    let level = options.log_level.unwrap_or_else(|| level(config.daemon.log.level).to_string());
    if let Err(error) = logs::start(format, &level) {
        eprintln!("{error}");
        return Exit::Usage;
    }
    for problem in &problems {
        tracing::warn!("{}", one_line(problem));
    }
    let mut setup = load::setup(absolute(&options.config), config, suite, started);
    setup.control = options.socket.unwrap_or(setup.control);
    let daemon = match Daemon::start(setup) {
        Ok(daemon) => daemon,
        Err(error) => {
            tracing::error!("The daemon does not start: {error}");
            return Exit::Unable;
        }
    };
    if options.until_stdin_closes {
        end_with_stdin();
    }
    match daemon.run() {
        Ok(()) => Exit::Done,
        Err(error) => {
            tracing::error!("The daemon broke off: {error}");
            Exit::Failed
        }
    }
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

/// A reload must find the file again whatever the working directory is by then.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf())
}

/// A problem of the configuration as a line of the log.
pub(crate) fn one_line(problem: &config::Problem) -> String {
    let hint = problem.hint.as_ref().map_or_else(String::new, |hint| format!(" {hint}"));
    match problem.line {
        0 => format!("{}: {}{hint}", problem.file.display(), problem.message),
        line => format!("{}:{line}:{}: {}{hint}", problem.file.display(), problem.column, problem.message),
    }
}

fn end_with_stdin() {
    let spawned = std::thread::Builder::new().name("stdin".into()).spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock().take(u64::MAX), &mut std::io::sink());
        crate::demo::terminate_self();
    });
    if let Err(error) = spawned {
        tracing::warn!("Standard input is not watched: {error}");
    }
}
