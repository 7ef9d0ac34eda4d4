//! What was changed in a pipeline while it ran: who did, when, why, and how it ended. Kept in a folder, so that a restart
//! goes on with it.

mod digits;
mod entry;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::Digest;
use crate::files;
use crate::state::PipelineFolder;

use entry::shortened;
pub(crate) use entry::{Action, Ended, Entry, time};

/// So much of the history is kept.
const ENTRIES_MAX: usize = 200;
/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
const FILE: &str = "state.json";
const NO_FOLDER: &str = "there is no state folder";

/// The changes of one pipeline. Shared; changes are made one at a time, in turn.
#[derive(Default)]
pub(crate) struct Journal {
    kept: Mutex<Kept>,
    /// Held while `kept` is changed and written, so that files come in the order of changes. Whoever only looks at `kept` waits
    /// for no disk.
    writing: Mutex<()>,
    /// Plugins that are not in the folder: there is none, or it takes no more.
    held: Mutex<BTreeMap<Digest, Vec<u8>>>,
    counts: Mutex<BTreeMap<(Action, Ended), u64>>,
    folder: Option<PipelineFolder>,
    turn: Mutex<()>,
}

/// The right to change a pipeline, which only one thread has at a time, until it drops this. Functions that change what runs,
/// or what is kept of it, ask to see it.
pub(crate) struct Turn<'a> {
    _alone: MutexGuard<'a, ()>,
}

/// What is kept in the folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    #[serde(default)]
    paused: bool,
    /// By stage, what was asked for at run time.
    #[serde(default)]
    stages: BTreeMap<String, RunTimeChange>,
    /// The candidate that is tried out in one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    candidate: Option<KeptCandidate>,
    #[serde(default)]
    history: VecDeque<Entry>,
}

/// A candidate that is tried out. A restart does not go on with it, but notes that it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptCandidate {
    pub(crate) stage: String,
    #[serde(with = "digits")]
    pub(crate) digest: Digest,
    pub(crate) is_canary: bool,
}

/// A plugin that was asked for at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunTimeChange {
    /// The digest of what runs.
    #[serde(with = "digits")]
    pub(crate) digest: Digest,
    /// The digest of what the stage's file had then: once it has another, the file wins.
    #[serde(with = "digits")]
    pub(crate) file: Digest,
}

/// Why there is no journal.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The folder cannot be made: nothing is kept.
    Folder(String),
    /// What is kept in it cannot be read, or makes no sense.
    Content(String),
}

impl Journal {
    /// The journal of a pipeline in its folder.
    ///
    /// # Errors
    /// What is in the folder cannot be read or makes no sense, or nothing can be made there.
    pub(crate) fn open(folder: PipelineFolder) -> Result<Journal, Broken> {
        let fail = |error: std::io::Error| Broken::Folder(format!("state folder {}: {error}", folder.path.display()));
        std::fs::create_dir_all(folder.path.join("plugins")).map_err(fail)?;
        let file = folder.path.join(FILE);
        let broken = |error: &dyn Display| {
            Broken::Content(format!("{}: {error}; remove it to forget what was changed", file.display()))
        };
        let kept = match files::read(&file, FILE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| broken(&error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(broken(&error)),
        };
        Ok(Journal { kept: Mutex::new(kept), folder: Some(folder), ..Journal::default() })
    }

    /// Waits until nobody else makes a change.
    pub(crate) fn turn(&self) -> Turn<'_> {
        Turn { _alone: lock(&self.turn) }
    }

    /// Notes a change, or an attempt, and logs it.
    pub(crate) fn note(&self, pipeline: &str, mut entry: Entry) {
        let (action, stage) = (entry.action.name(), entry.stage.as_deref().unwrap_or_default());
        let (digest, who) = (entry.digest.as_deref().unwrap_or_default(), &entry.who);
        let why = entry.why.as_deref().unwrap_or_default();
        match &entry.reason {
            None => tracing::info!(pipeline, stage, digest, who, why, "{action}: done"),
            Some(reason) => tracing::warn!(pipeline, stage, digest, who, why, "{action}: refused: {reason}"),
        }
        *lock(&self.counts).entry((entry.action, entry.ended)).or_default() += 1;
        entry.shorten();
        let kept = self.update(|kept| {
            kept.history.push_back(entry);
            while kept.history.len() > ENTRIES_MAX {
                kept.history.pop_front();
            }
        });
        if let Err(error) = kept {
            tracing::warn!(pipeline, "the history is not kept: {error}");
        }
    }

    /// The history, the latest last.
    pub(crate) fn history(&self) -> Vec<Entry> {
        lock(&self.kept).history.iter().cloned().collect()
    }

    /// The latest attempt to change a stage, if it was refused.
    pub(crate) fn last_refusal(&self, stage: &str) -> Option<Entry> {
        let kept = lock(&self.kept);
        let last = kept.history.iter().rev().find(|entry| entry.stage.as_deref() == Some(stage));
        last.filter(|entry| entry.ended == Ended::Refused).cloned()
    }

    /// Whether the latest change of the pipeline's file was refused for this reason.
    pub(crate) fn is_last_file_refusal(&self, reason: &str) -> bool {
        let kept = lock(&self.kept);
        let last = kept.history.iter().rev().find(|entry| entry.action == Action::Configure);
        last.is_some_and(|entry| entry.reason == Some(shortened(reason)))
    }

    /// How often each kind of change was made or refused since the start.
    pub(crate) fn counts(&self) -> BTreeMap<(Action, Ended), u64> {
        lock(&self.counts).clone()
    }

    /// What a stage was asked to run, and goes on with after a restart.
    pub(crate) fn run_time_change(&self, stage: &str) -> Option<RunTimeChange> {
        lock(&self.kept).stages.get(stage).cloned()
    }

    /// Keeps, or forgets, what a stage was asked to run, whose plugin is kept already.
    ///
    /// # Errors
    /// It, or its plugin, cannot be written: a restart will not know.
    pub(crate) fn keep(&self, stage: &str, change: Option<RunTimeChange>) -> Result<(), String> {
        let written = change.as_ref().map_or(Ok(()), |change| self.write_held(&change.digest));
        self.update(|kept| match change {
            Some(change) => drop(kept.stages.insert(stage.to_owned(), change)),
            None => drop(kept.stages.remove(stage)),
        })?;
        written
    }

    /// Whether the pipeline was paused.
    pub(crate) fn is_paused(&self) -> bool {
        lock(&self.kept).paused
    }

    /// Keeps whether the pipeline is paused.
    ///
    /// # Errors
    /// There is no folder, or it is not writable: a restart will not know.
    pub(crate) fn keep_paused(&self, paused: bool) -> Result<(), String> {
        self.update(|kept| kept.paused = paused)?;
        if paused && self.folder.is_none() { Err(NO_FOLDER.into()) } else { Ok(()) }
    }

    /// The candidate that was tried out, if there is one.
    pub(crate) fn candidate(&self) -> Option<KeptCandidate> {
        lock(&self.kept).candidate.clone()
    }

    /// Keeps, or forgets, that a candidate is tried out.
    ///
    /// # Errors
    /// The folder is not writable: a restart will not know.
    pub(crate) fn keep_candidate(&self, candidate: Option<KeptCandidate>) -> Result<(), String> {
        self.update(|kept| kept.candidate = candidate)
    }

    /// Keeps the bytes of a plugin, by their digest: in memory where they cannot be written.
    pub(crate) fn keep_plugin(&self, bytes: &[u8]) {
        let digest = Digest::of(bytes);
        if self.plugin(&digest, bytes.len() as u64).is_err() && self.write_plugin(&digest, bytes).is_err() {
            lock(&self.held).insert(digest, bytes.to_owned());
        }
    }

    /// The bytes of a plugin that was kept.
    ///
    /// # Errors
    /// They are not there, or are others.
    pub(crate) fn plugin(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>, String> {
        if let Some(bytes) = lock(&self.held).get(digest) {
            return Ok(bytes.clone());
        }
        let file = self.plugin_file(digest).ok_or(NO_FOLDER)?;
        let bytes = files::read(&file, bytes_max).map_err(|error| format!("{}: {error}", file.display()))?;
        if Digest::of(&bytes) != *digest {
            return Err(format!("{} has other bytes than its name says", file.display()));
        }
        Ok(bytes)
    }

    /// The file that has everything but the plugins; none where nothing is kept.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.path.join(FILE))
    }

    /// Removes all plugins but those of these digests and of the changes that are kept.
    pub(crate) fn forget_plugins_but(&self, mut digests: BTreeSet<Digest>) {
        digests.extend(lock(&self.kept).stages.values().map(|change| change.digest.clone()));
        lock(&self.held).retain(|digest, _| digests.contains(digest));
        let Ok(Some(folder)) = self.own() else { return };
        let files = std::fs::read_dir(folder.path.join("plugins")).into_iter().flatten().flatten();
        for file in files.map(|entry| entry.path()) {
            let digest = file.file_stem().and_then(|stem| Digest::from_hex(stem.to_str()?));
            if digest.is_none_or(|digest| !digests.contains(&digest))
                && let Err(error) = std::fs::remove_file(&file)
            {
                tracing::debug!("cannot remove {}: {error}", file.display());
            }
        }
    }

    /// The folder, to change it.
    fn own(&self) -> Result<Option<&PipelineFolder>, String> {
        let Some(folder) = &self.folder else { return Ok(None) };
        folder.take().map(|()| Some(folder))
    }

    fn plugin_file(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.path.join("plugins").join(format!("{}.wasm", digest.hex())))
    }

    /// Writes a plugin that could not be written before: there may be room by now.
    fn write_held(&self, digest: &Digest) -> Result<(), String> {
        let mut held = lock(&self.held);
        match held.get(digest) {
            Some(bytes) => self.write_plugin(digest, bytes)?,
            None if self.is_written(digest) => {}
            None => return Err("its plugin is not kept".into()),
        }
        held.remove(digest);
        Ok(())
    }

    fn write_plugin(&self, digest: &Digest, bytes: &[u8]) -> Result<(), String> {
        self.own()?;
        keep_file(&self.plugin_file(digest).ok_or(NO_FOLDER)?, bytes)
    }

    fn is_written(&self, digest: &Digest) -> bool {
        self.plugin_file(digest).is_some_and(|file| file.is_file())
    }

    /// Changes what is kept, and writes it.
    fn update(&self, change: impl FnOnce(&mut Kept)) -> Result<(), String> {
        let _in_order = lock(&self.writing);
        let mut kept = {
            let mut kept = lock(&self.kept);
            change(&mut kept);
            kept.clone()
        };
        let Some(folder) = self.own()? else { return Ok(()) };
        // A start would fail over a plugin that is not there.
        kept.stages.retain(|_, change| self.is_written(&change.digest));
        let bytes = serde_json::to_vec_pretty(&kept).map_err(|error| error.to_string())?;
        keep_file(&folder.path.join(FILE), &bytes)
    }
}

/// Writes a file as a whole: whatever happens meanwhile, it has all the new bytes or all the old ones.
fn keep_file(file: &Path, bytes: &[u8]) -> Result<(), String> {
    files::keep(file, bytes).map_err(|error| format!("{}: {error}", file.display()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
