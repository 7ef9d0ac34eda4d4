//! What was changed in a pipeline while it ran: who did, when, why, and how it ended. Kept in a folder, so that a restart
//! goes on with it.

mod entry;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::Digest;
use crate::files;
use crate::state::PipelineFolder;

pub(crate) use entry::{Action, Ended, Entry, time};

/// So much of the history is kept.
const ENTRIES_MAX: usize = 200;
/// What a folder's file may have: more is not read.
const FILE_BYTES_MAX: u64 = 4 << 20;
const FILE: &str = "state.json";

/// The changes of one pipeline. Shared; changes are made one at a time.
#[derive(Default)]
pub(crate) struct Journal {
    kept: Mutex<Kept>,
    /// Held while `kept` is changed and written, so that files come in the order of changes. Whoever only looks at `kept` waits
    /// for no disk.
    writing: Mutex<()>,
    counts: Mutex<BTreeMap<(Action, Ended), u64>>,
    folder: Option<PipelineFolder>,
    changing: Mutex<()>,
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

/// A candidate that is tried out: kept so that a restart, which knows nothing of it, can say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptCandidate {
    pub(crate) stage: String,
    pub(crate) digest: String,
    pub(crate) is_canary: bool,
}

/// A plugin that was asked for at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunTimeChange {
    /// The digest of what runs.
    pub(crate) digest: String,
    /// The digest of what the stage's file had then: once it has another, the file wins.
    pub(crate) file: String,
}

/// Why there is no journal.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The folder cannot be made or read.
    Folder(String),
    /// What is kept in it makes no sense.
    Content(String),
}

impl Journal {
    /// The journal of a pipeline in its folder.
    ///
    /// # Errors
    /// What is in the folder cannot be read, or nothing can be made there.
    pub(crate) fn open(folder: PipelineFolder) -> Result<Journal, Broken> {
        let fail = |error: std::io::Error| Broken::Folder(format!("state folder {}: {error}", folder.path.display()));
        std::fs::create_dir_all(folder.path.join("plugins")).map_err(fail)?;
        let file = folder.path.join(FILE);
        let kept = match files::read(&file, FILE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Broken::Content(format!("{}: {error}; remove it to forget what was changed", file.display()))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(fail(error)),
        };
        Ok(Journal { kept: Mutex::new(kept), folder: Some(folder), ..Journal::default() })
    }

    /// Whoever holds this is the only one to make a change.
    pub(crate) fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        lock(&self.changing)
    }

    /// Notes a change, or an attempt, and logs it.
    pub(crate) fn note(&self, pipeline: &str, entry: Entry) {
        let (action, stage) = (entry.action.name(), entry.stage.as_deref().unwrap_or_default());
        let (digest, who) = (entry.digest.as_deref().unwrap_or_default(), &entry.who);
        let why = entry.why.as_deref().unwrap_or_default();
        match &entry.reason {
            None => tracing::info!(pipeline, stage, digest, who, why, "{action}: done"),
            Some(reason) => tracing::warn!(pipeline, stage, digest, who, why, "{action}: refused: {reason}"),
        }
        *lock(&self.counts).entry((entry.action, entry.ended)).or_default() += 1;
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

    /// The latest attempt of a stage that was refused, if nothing was done after it.
    pub(crate) fn last_refusal(&self, stage: &str) -> Option<Entry> {
        let kept = lock(&self.kept);
        let last = kept.history.iter().rev().find(|entry| entry.stage.as_deref() == Some(stage));
        last.filter(|entry| entry.ended == Ended::Refused).cloned()
    }

    /// Why the pipeline's file was refused when it had changed last, if it was.
    pub(crate) fn last_file_refusal(&self) -> Option<String> {
        let kept = lock(&self.kept);
        kept.history.iter().rev().find(|entry| entry.action == Action::Configure)?.reason.clone()
    }

    /// How often each kind of change was made or refused since the start.
    pub(crate) fn counts(&self) -> BTreeMap<(Action, Ended), u64> {
        lock(&self.counts).clone()
    }

    /// What is to be gone on with after a restart.
    pub(crate) fn run_time_change(&self, stage: &str) -> Option<RunTimeChange> {
        lock(&self.kept).stages.get(stage).cloned()
    }

    /// Keeps, or forgets, what a stage was asked to run.
    ///
    /// # Errors
    /// The folder is not writable: a restart knows nothing of it.
    pub(crate) fn keep(&self, stage: &str, change: Option<RunTimeChange>) -> Result<(), String> {
        if self.run_time_change(stage) == change {
            return Ok(());
        }
        self.update(|kept| match change {
            Some(change) => drop(kept.stages.insert(stage.to_owned(), change)),
            None => drop(kept.stages.remove(stage)),
        })
    }

    /// Whether the pipeline was paused.
    pub(crate) fn is_paused(&self) -> bool {
        lock(&self.kept).paused
    }

    /// Keeps whether the pipeline is paused.
    ///
    /// # Errors
    /// The folder is not writable: a restart knows nothing of it.
    pub(crate) fn keep_paused(&self, paused: bool) -> Result<(), String> {
        self.update(|kept| kept.paused = paused)
    }

    /// The candidate that was tried out, if there is one.
    pub(crate) fn candidate(&self) -> Option<KeptCandidate> {
        lock(&self.kept).candidate.clone()
    }

    /// Keeps, or forgets, that a candidate is tried out.
    ///
    /// # Errors
    /// The folder is not writable: a restart knows nothing of it.
    pub(crate) fn keep_candidate(&self, candidate: Option<KeptCandidate>) -> Result<(), String> {
        self.update(|kept| kept.candidate = candidate)
    }

    /// Keeps the bytes of a plugin, by their digest.
    ///
    /// # Errors
    /// The folder is not writable.
    pub(crate) fn keep_plugin(&self, bytes: &[u8]) -> Result<(), String> {
        let Some(file) = self.plugin_file(Digest::of(bytes).hex()) else {
            return Ok(());
        };
        if file.exists() { Ok(()) } else { self.own()?.map_or(Ok(()), |_| keep_file(&file, bytes)) }
    }

    /// The bytes of a plugin that was kept.
    ///
    /// # Errors
    /// They are not there, or are others.
    pub(crate) fn plugin(&self, digest: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
        let file = self.plugin_file(digest).ok_or("there is no state folder")?;
        let bytes = files::read(&file, bytes_max).map_err(|error| format!("{}: {error}", file.display()))?;
        if Digest::of(&bytes).hex() != digest {
            return Err(format!("{} has other bytes than its name says", file.display()));
        }
        Ok(bytes)
    }

    /// Removes the plugins that none of these digests names, nor any change that is kept.
    pub(crate) fn forget_plugins_but(&self, mut digests: BTreeSet<String>) {
        let Ok(Some(folder)) = self.own() else { return };
        digests.extend(lock(&self.kept).stages.values().map(|change| change.digest.clone()));
        let files = std::fs::read_dir(folder.path.join("plugins")).into_iter().flatten().flatten();
        for file in files.map(|entry| entry.path()) {
            let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            if stem.is_none_or(|stem| !digests.contains(&stem))
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

    fn plugin_file(&self, digest: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.path.join("plugins").join(format!("{digest}.wasm")))
    }

    /// Changes what is kept, and writes it.
    fn update(&self, change: impl FnOnce(&mut Kept)) -> Result<(), String> {
        let _in_order = lock(&self.writing);
        let bytes = {
            let mut kept = lock(&self.kept);
            change(&mut kept);
            serde_json::to_vec_pretty(&*kept).map_err(|error| error.to_string())?
        };
        let Some(folder) = self.own()? else { return Ok(()) };
        keep_file(&folder.path.join(FILE), &bytes)
    }
}

/// The file is there as a whole or as it was, whatever happens meanwhile.
fn keep_file(file: &Path, bytes: &[u8]) -> Result<(), String> {
    files::keep(file, bytes).map_err(|error| format!("{}: {error}", file.display()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::state::Claims;

    fn open(parent: &Path) -> Result<Journal, Broken> {
        Journal::open(PipelineFolder::new(parent.join("p"), &Claims::default()))
    }

    fn entry(number: usize, ended: Ended) -> Entry {
        Entry {
            time: time(SystemTime::UNIX_EPOCH),
            action: Action::Load,
            stage: Some("s".into()),
            digest: Some(number.to_string()),
            before: None,
            who: "me".into(),
            why: None,
            ended,
            reason: (ended == Ended::Refused).then(|| "no".into()),
        }
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart_and_bounded() {
        let (folder, claims) = (tempfile::tempdir().unwrap(), Claims::default());
        let open = || Journal::open(PipelineFolder::new(folder.path().join("p"), &claims)).unwrap();
        let journal = open();
        let change = RunTimeChange { digest: "d".into(), file: "f".into() };
        journal.keep("s", Some(change.clone())).unwrap();
        journal.keep_paused(true).unwrap();
        (0..ENTRIES_MAX + 5).for_each(|number| journal.note("p", entry(number, Ended::Done)));
        assert!(journal.last_refusal("s").is_none());
        journal.note("p", entry(0, Ended::Refused));
        let again = open();
        assert_eq!((again.run_time_change("s"), again.is_paused()), (Some(change), true));
        assert_eq!(again.history().len(), ENTRIES_MAX);
        assert_eq!(again.last_refusal("s").unwrap().reason.as_deref(), Some("no"));
        again.keep("s", None).unwrap();
        assert_eq!(open().run_time_change("s"), None);
    }

    /// As where the folder's volume hangs: here, where a pipe has the name of the lock, which nobody opens at the other end.
    #[test]
    fn whoever_looks_waits_for_no_disk() {
        let folder = tempfile::tempdir().unwrap();
        let journal = std::sync::Arc::new(open(folder.path()).unwrap());
        let pipe = folder.path().join("p/lock");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (writer, looker) = (journal.clone(), journal.clone());
        let writing = std::thread::spawn(move || writer.note("p", entry(0, Ended::Refused)));
        let (send, seen) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            while looker.last_refusal("s").is_none() {
                std::thread::yield_now();
            }
            send.send(()).unwrap();
        });
        seen.recv_timeout(std::time::Duration::from_secs(60)).expect("an answer");
        assert!(!writing.is_finished());
        drop(std::fs::File::open(&pipe).unwrap());
        writing.join().unwrap();
    }

    #[test]
    fn kept_plugins_are_what_their_digests_say() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path()).unwrap();
        let digest = Digest::of(b"wasm").hex().to_owned();
        assert!(journal.plugin(&digest, 100).is_err());
        journal.keep_plugin(b"wasm").unwrap();
        assert_eq!(journal.plugin(&digest, 100).unwrap(), b"wasm");
        assert!(journal.plugin(&digest, 3).unwrap_err().contains("longer than 3 bytes"));
        std::fs::write(folder.path().join(format!("p/plugins/{digest}.wasm")), "other").unwrap();
        assert!(journal.plugin(&digest, 100).unwrap_err().contains("other bytes"));
        journal.forget_plugins_but(BTreeSet::new());
        assert!(journal.plugin(&digest, 100).unwrap_err().contains("No such file"));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("p")).unwrap();
        std::fs::write(folder.path().join("p/state.json"), "{").unwrap();
        let broken = open(folder.path()).err().unwrap();
        assert!(matches!(broken, Broken::Content(error) if error.contains("remove it to forget")));
    }
}
