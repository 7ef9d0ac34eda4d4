/// Why a worker ended, or began again. Nothing that it had in flight is acknowledged.
///
/// Failures of single records are not errors but [`crate::Failure`]s, which a policy decides upon.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct Error {
    /// What follows from it.
    pub kind: ErrorKind,
    /// What went wrong, where, and how to mend it: one line for a person.
    pub message: String,
    /// The plugin at fault, if one is.
    pub culprit: Option<Culprit>,
}

/// The plugin that an [`Error`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// Its stage, from 0.
    pub stage: usize,
    /// Its version, as [`crate::Stage::with_version`] or [`crate::Replacement`] numbered it.
    pub version: u64,
}

/// What follows from an [`Error`]. All but [`ErrorKind::Rewind`] end the worker, and are a supervisor's matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Passing, and the worker's membership and producer are good: it undoes what is in flight and reads it again from
    /// the committed offsets. If that does not help, it ends as after [`ErrorKind::Retry`].
    Rewind,
    /// Passing: start a new worker from the committed offsets, after a pause.
    Retry,
    /// The broker cannot be reached; at start-up this ends the program with its own exit code.
    Unreachable,
    /// The brokers do not let the program in; at start-up this ends it as [`ErrorKind::Config`] does.
    Login,
    /// The configuration does not fit what is there: an unknown topic, a refused one, a bad property.
    Config,
    /// The promise could not be kept: fenced for good, or a dead letter refused.
    Promise,
    /// A policy said stop, or the program itself is at fault.
    Stopped,
    /// A stage's breaker: the plugin seems broken. Start again from the committed offsets, after a long pause.
    Tripped,
}

impl ErrorKind {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Rewind => "rewind",
            ErrorKind::Retry => "retry",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::Login => "login",
            ErrorKind::Config => "config",
            ErrorKind::Promise => "promise",
            ErrorKind::Stopped => "stopped",
            ErrorKind::Tripped => "tripped",
        }
    }
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), culprit: None }
    }

    /// The same error, with its place named first.
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        Error { message: format!("{place}: {}", self.message), ..self }
    }

    /// The same error, of this plugin.
    #[must_use]
    pub(crate) fn by(self, stage: usize, version: u64) -> Self {
        Error { culprit: Some(Culprit { stage, version }), ..self }
    }
}
