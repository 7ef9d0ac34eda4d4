/// What went wrong with a record, as data for a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which of the ways to fail.
    pub kind: FailureKind,
    /// In the words of the plugin or of the runtime.
    pub reason: String,
}

/// The ways in which a record can fail in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// The plugin refused the record.
    Rejected,
    /// The plugin crashed: a panic, an exception, unreachable code, an exhausted stack.
    Trap,
    /// The call took longer than the stage's `deadline`.
    Deadline,
    /// The plugin asked for more memory than the stage's `memory`.
    Memory,
    /// The plugin returned columns that contradict themselves.
    Malformed,
    /// The plugin returned more outputs or bytes for the record than its limits allow.
    TooMuchOutput,
}

impl FailureKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [FailureKind; 6] = [
        FailureKind::Rejected,
        FailureKind::Trap,
        FailureKind::Deadline,
        FailureKind::Memory,
        FailureKind::Malformed,
        FailureKind::TooMuchOutput,
    ];

    /// The name used in configuration, headers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::Rejected => "rejected",
            FailureKind::Trap => "trap",
            FailureKind::Deadline => "deadline",
            FailureKind::Memory => "memory",
            FailureKind::Malformed => "malformed",
            FailureKind::TooMuchOutput => "too-much-output",
        }
    }
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Failure { kind, reason: reason.into() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.reason)
    }
}
