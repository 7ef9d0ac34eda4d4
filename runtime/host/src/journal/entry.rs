use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// One change, or the attempt of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// RFC 3339.
    pub(crate) time: String,
    pub(crate) action: Action,
    pub(crate) stage: Option<String>,
    /// What was to run; it does, unless the change was refused.
    pub(crate) digest: Option<String>,
    /// What ran before.
    pub(crate) before: Option<String>,
    pub(crate) who: String,
    pub(crate) why: Option<String>,
    pub(crate) ended: Ended,
    /// Why it was refused.
    pub(crate) reason: Option<String>,
}

/// So many bytes of what others say are kept, that the whole history fits into the file, escaped or not.
const WORDS_BYTES_MAX: usize = 1024;

impl Entry {
    /// Cuts what others say where it is too long.
    pub(super) fn shorten(&mut self) {
        [&mut self.why, &mut self.reason].into_iter().flatten().for_each(|words| *words = shortened(words));
    }
}

pub(super) fn shortened(words: &str) -> String {
    match words.len() {
        ..=WORDS_BYTES_MAX => words.to_owned(),
        _ => format!("{}…", &words[..words.floor_char_boundary(WORDS_BYTES_MAX)]),
    }
}

/// What was to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// A plugin was given.
    Load,
    /// The stage's file has changed.
    File,
    /// Back to what the stage's file has.
    Reset,
    /// Back to the version before.
    Rollback,
    Pause,
    Resume,
    /// At a start, what was changed before it.
    Restore,
    /// The pipeline's file has changed.
    Configure,
    /// A shadow beside a stage's plugin.
    Shadow,
    /// The end of it.
    ShadowEnd,
    /// A canary beside a stage's plugin; its end is a promotion or a rollback.
    Canary,
    /// A canary became the stage's plugin.
    Promote,
    /// Made by a later release, from which somebody has come back to this one.
    #[serde(other)]
    Other,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ended {
    Done,
    Refused,
}

impl Action {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Action::Load => "load",
            Action::File => "file",
            Action::Reset => "reset",
            Action::Rollback => "rollback",
            Action::Pause => "pause",
            Action::Resume => "resume",
            Action::Restore => "restore",
            Action::Configure => "configure",
            Action::Shadow => "shadow",
            Action::ShadowEnd => "shadow-end",
            Action::Canary => "canary",
            Action::Promote => "promote",
            Action::Other => "other",
        }
    }
}

impl Ended {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ended::Done => "done",
            Ended::Refused => "refused",
        }
    }
}

/// A time, as the history has it.
pub(crate) fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}
