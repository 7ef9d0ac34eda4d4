use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::exit::Exit;
use crate::journal::{Broken, Journal};

/// Where what is changed at run time is kept over a restart.
#[derive(Clone, Debug)]
pub(crate) struct StateFolder {
    path: Option<PathBuf>,
    claims: Claims,
}

/// The folders of pipelines that this process may change. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(Arc<Mutex<BTreeMap<PathBuf, Weak<File>>>>);

/// A pipeline's folder. Every process of the pipeline may read it; only the first that asks may change it, until it ends.
#[derive(Debug)]
pub(crate) struct PipelineFolder {
    pub(crate) path: PathBuf,
    claims: Claims,
    /// The operating system frees it when a process ends, however it ends.
    lock: Mutex<Option<Arc<File>>>,
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
        StateFolder { path, claims: Claims::default() }
    }

    /// The journal of the pipeline of this name, which is about to be loaded.
    ///
    /// # Errors
    /// What is kept cannot be read, or makes no sense.
    pub(crate) fn journal(&self, pipeline: &str) -> Result<Arc<Journal>, Exit> {
        let Some(path) = &self.path else { return Ok(Arc::default()) };
        let folder = PipelineFolder::new(path.join(pipeline), &self.claims);
        if let Err(why) = folder.take() {
            tracing::warn!(%pipeline, "{why}; a restart forgets what is changed in this process");
        }
        match Journal::open(folder) {
            Ok(journal) => Ok(Arc::new(journal)),
            Err(Broken::Content(error)) => Err(Exit::usage(error)),
            Err(Broken::Folder(error)) => {
                tracing::warn!("{error}; a restart forgets changes made at run time");
                Ok(Arc::default())
            }
        }
    }
}

impl PipelineFolder {
    pub(crate) fn new(path: PathBuf, claims: &Claims) -> Self {
        PipelineFolder { path, claims: claims.clone(), lock: Mutex::default() }
    }

    /// Asks for the right to change it, unless this process has that already: another that had it may have ended by now.
    ///
    /// # Errors
    /// Another process has it, or the folder cannot be made.
    pub(crate) fn take(&self) -> Result<(), String> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(self.claims.claim(&self.path)?);
        }
        Ok(())
    }
}

impl Claims {
    /// Locks a pipeline's folder, and makes it where there is none. This process may hold the lock already: when a pipeline was
    /// removed and comes again, its last worker may still hang, or its last change still be under way.
    fn claim(&self, path: &Path) -> Result<Arc<File>, String> {
        let mut claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match claimed.get(path).and_then(Weak::upgrade) {
            Some(file) => file,
            None => Arc::new(lock(path)?),
        };
        claimed.insert(path.to_owned(), Arc::downgrade(&file));
        Ok(file)
    }
}

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
        // Locks are of open files, so that what has its own claims is as good as another process.
        let (here, elsewhere) = (Claims::default(), Claims::default());
        let of = |pipeline: &str, claims: &Claims| PipelineFolder::new(folder.path().join(pipeline), claims);
        let (first, second, other) = (of("p", &here), of("p", &here.clone()), of("p", &elsewhere));
        first.take().unwrap();
        second.take().unwrap();
        assert!(other.take().unwrap_err().contains("--state-dir"));
        of("q", &elsewhere).take().unwrap();
        drop(first);
        assert!(other.take().is_err(), "the second has it still");
        drop(second);
        other.take().unwrap();
        assert!(of("p", &here).take().is_err());
    }
}
