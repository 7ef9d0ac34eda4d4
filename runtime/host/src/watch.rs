//! Watches the files of plugins, and has a changed one taken up.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::app::App;
use crate::config::{Digest, Reload};
use crate::exit::Exit;
use crate::supervisor::Running;

/// Who writes a file pauses less than this within it.
const QUIET: Duration = Duration::from_millis(100);
/// A folder in which something changes all the time is looked at even so.
const QUIET_WITHIN: Duration = Duration::from_secs(2);
/// Files are looked at in any case this often: not every file system tells of changes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Symbolic links that are followed.
const LINKS_MAX: usize = 16;

/// A thread that watches. It ends with this.
pub(crate) struct Watch {
    news: Sender<News>,
}

enum News {
    Changed,
    End,
}

impl Watch {
    /// Watches the files of all stages that do not say otherwise.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub(crate) fn start(app: &Arc<App>, pipelines: &[Arc<Running>]) -> Result<Watch, Exit> {
        let (news, heard) = channel();
        let files: Vec<File> = pipelines.iter().flat_map(files).collect();
        if !files.is_empty() {
            let (app, told) = (Arc::clone(app), news.clone());
            let watch = move || watch(&app, files, told, &heard);
            std::thread::Builder::new().name("watch".into()).spawn(watch)?;
        }
        Ok(Watch { news })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Where nothing is watched, nobody listens.
        let _ = self.news.send(News::End);
    }
}

/// A pinned plugin is what it is.
fn files(running: &Arc<Running>) -> Vec<File> {
    let stages = running.pipeline.config.stages.iter().enumerate();
    let watched = stages.filter(|(_, stage)| stage.reload == Reload::Watch && stage.digest.is_none());
    let file = |(stage, config): (usize, &crate::config::Stage)| {
        Some(File {
            running: Arc::clone(running),
            stage,
            path: config.plugin.file()?.to_owned(),
            stamp: None,
            tried: Ok(running.pipeline.file_digest(stage)),
        })
    };
    watched.filter_map(file).collect()
}

fn watch(app: &App, mut files: Vec<File>, news: Sender<News>, heard: &Receiver<News>) {
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
struct File {
    running: Arc<Running>,
    stage: usize,
    path: PathBuf,
    /// None before the first look, which makes up for what happened between loading and watching.
    stamp: Option<Option<Stamp>>,
    /// The digest of what it had, or why it could not be read.
    tried: Result<String, String>,
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
        self.take_up(app);
        true
    }

    fn take_up(&mut self, app: &App) {
        let pipeline = &self.running.pipeline;
        let Some(read) = pipeline.read_file(self.stage) else { return };
        let tried = read.as_ref().map(|bytes| Digest::of(bytes).hex().to_owned()).map_err(Clone::clone);
        if tried != self.tried {
            self.tried = tried;
            pipeline.take_up_file(app, self.stage, read);
        }
    }
}
