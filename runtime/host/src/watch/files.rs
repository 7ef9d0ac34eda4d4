//! The files of plugins: replaced, half-written, or reached by links that change.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::{News, Watched, watched};
use crate::app::App;
use crate::supervisor::Running;

/// Who writes a file pauses less than this within it.
const QUIET: Duration = Duration::from_millis(100);
/// A folder in which something changes all the time is looked at even so.
const QUIET_WITHIN: Duration = Duration::from_secs(2);
/// Files are looked at in any case this often: not every file system tells of changes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Symbolic links that are followed.
const LINKS_MAX: usize = 16;

/// The files of stages that are watched.
pub(super) fn of(running: &Arc<Running>) -> Vec<File> {
    let file = |watched: Watched| Some(File { path: watched.config().plugin.file()?.to_owned(), stamp: None, watched });
    watched(running).filter_map(file).collect()
}

/// Watches until it is told to end.
pub(super) fn watch(app: &App, mut files: Vec<File>, news: Sender<News>, heard: &Receiver<News>) {
    let tell = move |event: notify::Result<notify::Event>| {
        // Reading them is no change: we do that ourselves.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            let _ = news.send(News::Changed);
        }
    };
    let mut watcher = notify::recommended_watcher(tell)
        .inspect_err(|error| tracing::debug!("no notice of changed files: {error}; they are looked at now and then"))
        .ok();
    loop {
        let changed = files.iter_mut().map(|file| file.look(app)).filter(|changed| *changed).count();
        if let Some(watcher) = watcher.as_mut().filter(|_| changed > 0) {
            observe(watcher, &files);
        }
        match heard.recv_timeout(LOOK_EVERY) {
            Ok(News::Changed) if is_quiet(heard) => {}
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Waits until nothing more changes for a moment. False: it is over.
fn is_quiet(heard: &Receiver<News>) -> bool {
    let since = Instant::now();
    while since.elapsed() < QUIET_WITHIN {
        match heard.recv_timeout(QUIET) {
            Ok(News::Changed) => {}
            Ok(News::End) | Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => return true,
        }
    }
    true
}

/// Asks for notice of changes in all folders on the way to the files: a file may be replaced, and any link before it.
fn observe(watcher: &mut RecommendedWatcher, files: &[File]) {
    let folders: BTreeSet<PathBuf> = files.iter().flat_map(|file| folders(&file.path)).collect();
    for folder in folders {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            tracing::debug!("no notice of changes in {}: {error}", folder.display());
        }
    }
}

fn folders(file: &Path) -> Vec<PathBuf> {
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

/// A stage's file, as it was when it was looked at last.
pub(super) struct File {
    watched: Watched,
    path: PathBuf,
    /// None before the first look, which makes up for what happened between loading and watching.
    stamp: Option<Option<Stamp>>,
}

/// What tells that a file may be another, without reading it.
#[derive(PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    file: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// None: there is no file.
    fn of(path: &Path) -> Option<Stamp> {
        let (path, data) = (path.canonicalize().ok()?, path.metadata().ok()?);
        let (file, changed) = ((data.dev(), data.ino()), (data.mtime(), data.mtime_nsec()));
        Some(Stamp { path, file, length: data.len(), changed })
    }
}

impl File {
    /// Has it taken up if it is another. Whether it may be.
    fn look(&mut self, app: &App) -> bool {
        let stamp = Some(Stamp::of(&self.path));
        if stamp == self.stamp {
            return false;
        }
        self.stamp = stamp;
        if let Some(read) = self.watched.running.pipeline.read_file(self.watched.stage) {
            self.watched.take_up(app, read, "the file has changed");
        }
        true
    }
}
