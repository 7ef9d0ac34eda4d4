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

pub(crate) use entry::{Action, Ended, Entry, time};

/// So much of the history is kept.
const ENTRIES_MAX: usize = 200;
/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
const FILE: &str = "state.json";

/// The changes of one pipeline. Shared; changes are made one at a time, in turn.
#[derive(Default)]
pub(crate) struct Journal {
    kept: Mutex<Kept>,
    /// Held while `kept` is changed and written, so that files come in the order of changes. Whoever only looks at `kept` waits
    /// for no disk.
    writing: Mutex<()>,
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

    /// The latest attempt to change a stage, if it was refused.
    pub(crate) fn last_refusal(&self, stage: &str) -> Option<Entry> {
        let kept = lock(&self.kept);
        let last = kept.history.iter().rev().find(|entry| entry.stage.as_deref() == Some(stage));
        last.filter(|entry| entry.ended == Ended::Refused).cloned()
    }

    /// Why the latest change of the pipeline's file was refused, if it was.
    pub(crate) fn last_file_refusal(&self) -> Option<String> {
        let kept = lock(&self.kept);
        kept.history.iter().rev().find(|entry| entry.action == Action::Configure)?.reason.clone()
    }

    /// How often each kind of change was made or refused since the start.
    pub(crate) fn counts(&self) -> BTreeMap<(Action, Ended), u64> {
        lock(&self.counts).clone()
    }

    /// What a stage was asked to run, and goes on with after a restart.
    pub(crate) fn run_time_change(&self, stage: &str) -> Option<RunTimeChange> {
        lock(&self.kept).stages.get(stage).cloned()
    }

    /// Keeps, or forgets, what a stage was asked to run.
    ///
    /// # Errors
    /// The folder is not writable: a restart will not know.
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
    /// The folder is not writable: a restart will not know.
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
    /// The folder is not writable: a restart will not know.
    pub(crate) fn keep_candidate(&self, candidate: Option<KeptCandidate>) -> Result<(), String> {
        self.update(|kept| kept.candidate = candidate)
    }

    /// Keeps the bytes of a plugin, by their digest.
    ///
    /// # Errors
    /// The folder is not writable.
    pub(crate) fn keep_plugin(&self, bytes: &[u8]) -> Result<(), String> {
        let digest = Digest::of(bytes);
        let Some(file) = self.plugin_file(&digest) else {
            return Ok(());
        };
        if self.plugin(&digest, bytes.len() as u64).is_ok() {
            return Ok(());
        }
        self.own()?.map_or(Ok(()), |_| keep_file(&file, bytes))
    }

    /// The bytes of a plugin that was kept.
    ///
    /// # Errors
    /// They are not there, or are others.
    pub(crate) fn plugin(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>, String> {
        let file = self.plugin_file(digest).ok_or("there is no state folder")?;
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
        let Ok(Some(folder)) = self.own() else { return };
        digests.extend(lock(&self.kept).stages.values().map(|change| change.digest.clone()));
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

/// Writes a file as a whole: whatever happens meanwhile, it has all the new bytes or all the old ones.
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
        let change = RunTimeChange { digest: Digest::of(b"d"), file: Digest::of(b"f") };
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
        let digest = Digest::of(b"wasm");
        assert!(journal.plugin(&digest, 100).is_err());
        journal.keep_plugin(b"wasm").unwrap();
        assert_eq!(journal.plugin(&digest, 100).unwrap(), b"wasm");
        assert!(journal.plugin(&digest, 3).unwrap_err().contains("longer than 3 bytes"));
        std::fs::write(folder.path().join(format!("p/plugins/{}.wasm", digest.hex())), "other").unwrap();
        assert!(journal.plugin(&digest, 100).unwrap_err().contains("other bytes"));
        journal.keep_plugin(b"wasm").unwrap();
        assert_eq!(journal.plugin(&digest, 100).unwrap(), b"wasm", "what is damaged is kept once more");
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
        // Nor is one that cannot be read taken for one that is not there.
        std::fs::remove_file(folder.path().join("p/state.json")).unwrap();
        std::fs::create_dir(folder.path().join("p/state.json")).unwrap();
        assert!(matches!(open(folder.path()).err().unwrap(), Broken::Content(_)));
    }

    #[test]
    fn what_a_later_release_has_kept_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path()).unwrap();
        journal.note("p", entry(0, Ended::Done));
        drop(journal);
        let file = folder.path().join("p/state.json");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("\"load\"", "\"swap-halves\"").replacen('{', "{\"new\": 1,", 1)).unwrap();
        let history = open(folder.path()).unwrap().history();
        assert_eq!(history.iter().map(|entry| entry.action).collect::<Vec<_>>(), [Action::Other]);
    }
}
