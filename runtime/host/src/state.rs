use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::exit::Exit;
use crate::journal::{Broken, Journal};

/// Where what is changed at run time is kept over a restart. Clones are one.
#[derive(Clone)]
pub(crate) struct StateFolder {
    path: Option<PathBuf>,
    /// By pipeline. When one was removed and comes again, its last worker may still hang, or its last change be under way.
    journals: Arc<Mutex<BTreeMap<String, Weak<Journal>>>>,
}

/// A pipeline's folder. Every process of the pipeline may read it; only the first that asks may change it, until it ends.
pub(crate) struct PipelineFolder {
    pub(crate) path: PathBuf,
    /// The operating system frees it when a process ends, however it ends.
    lock: Mutex<Option<File>>,
}

const LOCK: &str = "lock";

impl StateFolder {
    /// This folder, or the user's own for such things.
    pub(crate) fn new(given: Option<&Path>) -> Self {
        let path = given.map(Path::to_owned).or_else(|| {
            let folders = directories::ProjectDirs::from("", "", "sluicegate")?;
            Some(folders.state_dir().unwrap_or_else(|| folders.data_local_dir()).to_owned())
        });
        if path.is_none() {
            tracing::warn!("no folder is known for changes made at run time: a restart forgets them; give --state-dir");
        }
        StateFolder { path, journals: Arc::default() }
    }

    /// The journal of the pipeline of this name, which is about to be loaded. There is only one in a process at a time.
    ///
    /// # Errors
    /// What is kept cannot be read, or makes no sense.
    pub(crate) fn journal(&self, pipeline: &str) -> Result<Arc<Journal>, Exit> {
        let mut journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = journals.get(pipeline).and_then(Weak::upgrade) {
            return Ok(journal);
        }
        let journal = Arc::new(self.open(pipeline)?);
        journals.insert(pipeline.to_owned(), Arc::downgrade(&journal));
        Ok(journal)
    }

    fn open(&self, pipeline: &str) -> Result<Journal, Exit> {
        let Some(path) = &self.path else { return Ok(Journal::default()) };
        let folder = PipelineFolder::new(path.join(pipeline));
        if let Err(why) = folder.take() {
            tracing::warn!(%pipeline, "{why}; a restart forgets what is changed in this process");
        }
        match Journal::open(folder) {
            Ok(journal) => Ok(journal),
            Err(Broken::Content(error)) => Err(Exit::usage(error)),
            Err(Broken::Folder(error)) => {
                tracing::warn!("{error}; a restart forgets changes made at run time");
                Ok(Journal::default())
            }
        }
    }
}

impl PipelineFolder {
    pub(crate) fn new(path: PathBuf) -> Self {
        PipelineFolder { path, lock: Mutex::default() }
    }

    /// Asks for the right to change it, unless this process has that already: another that had it may have ended by now.
    ///
    /// # Errors
    /// Another process has it, or the folder cannot be made.
    pub(crate) fn take(&self) -> Result<(), String> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(lock(&self.path)?);
        }
        Ok(())
    }
}

/// Locks a pipeline's folder, and makes it where there is none.
fn lock(folder: &Path) -> Result<File, String> {
    let failed = |error: std::io::Error| format!("state folder {}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(format!(
                "state folder {}: another process of this pipeline keeps its changes there; give each its own --state-dir",
                folder.display()
            ));
        }
        // Some network file systems have no locks; most pipelines have one process.
        Err(TryLockError::Error(error)) => {
            let folder = folder.display();
            tracing::warn!("state folder {folder} cannot be locked: {error}; let one process of its pipeline use it");
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_changes_a_pipelines_folder() {
        let folder = tempfile::tempdir().unwrap();
        // Locks are of open files, so that another of these is as good as another process.
        let of = |pipeline: &str| PipelineFolder::new(folder.path().join(pipeline));
        let (first, other) = (of("p"), of("p"));
        first.take().unwrap();
        first.take().unwrap();
        assert!(other.take().unwrap_err().contains("--state-dir"));
        of("q").take().unwrap();
        drop(first);
        other.take().unwrap();
    }

    #[test]
    fn a_pipeline_that_comes_again_goes_on_with_its_journal_while_somebody_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::new(Some(folder.path()));
        let (journal, other) = (state.journal("p").unwrap(), state.journal("q").unwrap());
        assert!(Arc::ptr_eq(&journal, &state.clone().journal("p").unwrap()) && !Arc::ptr_eq(&journal, &other));
        journal.keep_paused(true).unwrap();
        drop(journal);
        let again = state.journal("p").unwrap();
        assert!(again.is_paused());
        again.keep_paused(false).unwrap();
    }
}
