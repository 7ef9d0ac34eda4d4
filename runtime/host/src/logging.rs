use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// rust-rdkafka calls it an error that a consumer it drops was closed before, in good order; notify tells of folders that were
/// watched and are gone.
const SILENT: &str = "rdkafka::consumer::base_consumer=off,notify=warn";

/// Sends `tracing` to standard error. Called once, first thing.
///
/// # Errors
/// The filter is not one that `tracing` knows.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{filter},{SILENT}"))
        .map_err(|error| format!("--log '{filter}': {error}; try 'info' or 'debug'"))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
