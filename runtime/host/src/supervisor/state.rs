use serde::Serialize;

use crate::app::Silence;

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum WorkerState {
    /// It is connecting.
    Starting,
    /// It streams.
    Running,
    /// It would stream, but no broker has answered for some time. It goes on once one does.
    Unanswered {
        /// Why.
        reason: String,
    },
    /// It failed and will start again.
    Restarting {
        /// Why.
        reason: String,
    },
    /// A stage's breaker tripped. It will try again.
    Paused {
        /// Why.
        reason: String,
    },
    /// It was asked to end, and has.
    Stopped,
    /// It ended for good.
    Failed {
        /// Why.
        reason: String,
    },
}

impl WorkerState {
    /// Why it does not stream, if it does not. Says nothing of what a plugin has said, which may quote a record.
    pub(crate) fn why_not_running(&self) -> Option<&str> {
        match self {
            WorkerState::Running => None,
            WorkerState::Starting => Some("a worker is connecting"),
            WorkerState::Unanswered { reason } => Some(reason),
            WorkerState::Restarting { .. } => Some("a worker has failed and starts again"),
            WorkerState::Paused { .. } => Some("a worker waits, as a stage's breaker has tripped"),
            WorkerState::Stopped => Some("a worker has ended"),
            WorkerState::Failed { .. } => Some("a worker has failed for good"),
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self, WorkerState::Stopped | WorkerState::Failed { .. })
    }
}

/// A worker, as others see it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: WorkerState,
    /// Whether the brokers of its source do not answer.
    pub(super) silence: Silence,
}

impl Slot {
    pub(super) fn new() -> Self {
        Slot { state: WorkerState::Starting, silence: Silence::default() }
    }

    pub(super) fn shown(&self) -> WorkerState {
        match &self.state {
            WorkerState::Running if self.silence.is_now() => {
                WorkerState::Unanswered { reason: "no broker has answered for 30 s".into() }
            }
            state => state.clone(),
        }
    }
}
