//! Notice of changes in folders, from the operating system where it gives any.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// Who writes a file pauses less than this within it.
const QUIET: Duration = Duration::from_millis(100);
/// A folder in which something changes all the time is looked at even so.
const QUIET_WITHIN: Duration = Duration::from_secs(2);
/// Files are looked at in any case this often: not every file system tells of changes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Symbolic links that are followed.
const LINKS_MAX: usize = 16;

/// What those who wait are told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Something may have changed.
    Changed,
    /// It is over.
    End,
}

/// Waits for changes in folders. Whether a file is another one now, a [`Stamp`] tells.
pub(crate) struct Notice {
    watcher: Option<RecommendedWatcher>,
    heard: Receiver<News>,
}

impl Notice {
    /// Listens to what is sent here, and has changes sent there, which is the same channel.
    pub(crate) fn new(news: Sender<News>, heard: Receiver<News>) -> Self {
        let tell = move |event: notify::Result<notify::Event>| {
            // Reading them is no change: we do that ourselves.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                let _ = news.send(News::Changed);
            }
        };
        let watcher = notify::recommended_watcher(tell).inspect_err(|error| {
            tracing::debug!("no notice of changed files: {error}; they are looked at now and then")
        });
        Notice { watcher: watcher.ok(), heard }
    }

    /// Asks for notice of changes in these folders too, not in those below them.
    pub(crate) fn observe(&mut self, folders: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for folder in folders {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!("no notice of changes in {}: {error}", folder.display());
            }
        }
    }

    /// Waits until something may have changed and nothing more does for a moment, or it is time to look in any case.
    /// False: it is over.
    pub(crate) fn wait(&self) -> bool {
        match self.heard.recv_timeout(LOOK_EVERY) {
            Ok(News::Changed) => self.is_quiet(),
            Err(RecvTimeoutError::Timeout) => true,
            Ok(News::End) | Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    /// Waits until nothing more changes for a moment. False: it is over.
    fn is_quiet(&self) -> bool {
        let since = Instant::now();
        while since.elapsed() < QUIET_WITHIN {
            match self.heard.recv_timeout(QUIET) {
                Ok(News::Changed) => {}
                Ok(News::End) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
        true
    }
}

/// All folders on the way to a file: it may be replaced, and any link before it.
pub(crate) fn folders(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut at = file.to_owned();
    for _ in 0..LINKS_MAX {
        let folder = crate::config::folder_of(&at);
        let link = std::fs::read_link(&at);
        folders.push(folder.clone());
        match link {
            Ok(target) => at = folder.join(target),
            Err(_) => break,
        }
    }
    folders
}

/// What tells that a file may be another, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    path: PathBuf,
    file: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// None: there is no file.
    pub(crate) fn of(path: &Path) -> Option<Stamp> {
        let (path, data) = (path.canonicalize().ok()?, path.metadata().ok()?);
        let (file, changed) = ((data.dev(), data.ino()), (data.mtime(), data.mtime_nsec()));
        Some(Stamp { path, file, length: data.len(), changed })
    }
}
