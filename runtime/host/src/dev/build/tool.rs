//! The tools of languages, as processes.

use std::io::ErrorKind;
use std::process::{Command, Stdio};

use anyhow::{anyhow, bail};

/// Runs a tool to its end. What it says goes to standard error, as standard output is for what was built.
///
/// # Errors
/// It is missing, and `remedy` says how to get it; or it failed, after its own words.
pub(super) fn run(command: &mut Command, remedy: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("the build failed: {program} ended with {status}"),
        Err(error) => Err(cannot_start(&program, &error, remedy)),
    }
}

/// Why a tool does not start, and what helps.
pub(super) fn cannot_start(program: &str, error: &std::io::Error, remedy: &str) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow!("{program} is missing: {remedy}"),
        _ => anyhow!("cannot start {program}: {error}"),
    }
}

/// Whether a tool is there and answers.
pub(super) fn answers(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
