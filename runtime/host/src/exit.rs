use std::fmt;

use sluicegate_core::{Error, ErrorKind};
use sluicegate_wasm::{EngineError, LoadError};

use crate::config::ConfigError;

/// Why the program ends other than well: an exit code, and what to tell the person.
///
/// | code | meaning |
/// |---|---|
/// | 1 | failed |
/// | 2 | bad usage or bad configuration |
/// | 3 | cannot reach the broker, or a plugin's registry |
/// | 70 | a promise could not be kept |
#[derive(Debug)]
pub struct Exit {
    /// The exit code.
    pub code: u8,
    /// One error, for a person.
    pub message: String,
}

const UNREACHABLE: u8 = 3;

impl Exit {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Exit { code: 1, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Exit { code: 2, message: message.into() }
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Exit { code: UNREACHABLE, message: message.into() }
    }

    /// Whether something did not answer: it may later.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.code == UNREACHABLE
    }

    /// The same, with its place named first.
    #[must_use]
    pub(crate) fn within(self, place: &str) -> Self {
        Exit { code: self.code, message: format!("{place}: {}", self.message) }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Exit {
    fn from(error: Error) -> Self {
        let code = match error.kind {
            ErrorKind::Rewind | ErrorKind::Retry | ErrorKind::Stopped | ErrorKind::Tripped => 1,
            ErrorKind::Login | ErrorKind::Config => 2,
            ErrorKind::Unreachable => UNREACHABLE,
            ErrorKind::Promise => 70,
        };
        Exit { code, message: error.message }
    }
}

impl From<ConfigError> for Exit {
    fn from(error: ConfigError) -> Self {
        Exit::usage(error.to_string())
    }
}

impl From<LoadError> for Exit {
    fn from(error: LoadError) -> Self {
        Exit::usage(error.to_string())
    }
}

impl From<EngineError> for Exit {
    fn from(error: EngineError) -> Self {
        Exit::failed(error.to_string())
    }
}

impl From<anyhow::Error> for Exit {
    fn from(error: anyhow::Error) -> Self {
        Exit::failed(format!("{error:#}"))
    }
}

impl From<std::io::Error> for Exit {
    fn from(error: std::io::Error) -> Self {
        Exit::failed(error.to_string())
    }
}
