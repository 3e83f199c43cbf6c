//! The log's two forms, on standard error.

use crate::cli::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Begins logging. `level` is a level (`info`) or a filter (`info,handfast_net=debug`).
pub(crate) fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        format!("\"{level}\" is no log level: {error}. Take error, warn, info, debug or trace.")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| runtime::LogWriter)
        .with_target(false);
    // A log that nobody reads any more is no reason to end a tunnel: its error would be told on standard error.
    let builder = builder.log_internal_errors(false);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).event_format(Plain).init(),
    }
    Ok(())
}

/// `2026-11-20T21:00:00.123456Z  INFO sentence`: fields are for the JSON form, the sentence has them all.
struct Plain;

impl<S, N> tracing_subscriber::fmt::FormatEvent<S, N> for Plain
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    N: for<'a> tracing_subscriber::fmt::FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _ctx: &tracing_subscriber::fmt::FmtContext<'_, S, N>,
        mut writer: tracing_subscriber::fmt::format::Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        use tracing_subscriber::fmt::time::FormatTime;
        tracing_subscriber::fmt::time::SystemTime.format_time(&mut writer)?;
        write!(writer, " {:>5} ", event.metadata().level())?;
        let mut text = Message(String::new());
        event.record(&mut text);
        writeln!(writer, "{}", text.0)
    }
}

/// Takes the sentence out of an event. Control characters that a peer put into a name must not
/// reach a terminal or begin a line of their own.
struct Message(String);

impl tracing::field::Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            for c in format!("{value:?}").chars() {
                if c.is_control() { self.0.extend(c.escape_default()) } else { self.0.push(c) }
            }
        }
    }
}
