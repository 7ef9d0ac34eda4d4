//! The files of plugins: replaced, half-written, or reached by links that change.

use std::path::PathBuf;
use std::sync::Arc;

use super::notice::{News, Notice};
use super::{Pipelines, Watched, watched};
use crate::app::{App, LoadedPipeline};
use crate::files::{Stamp, folders};

/// The files of stages that are watched.
fn of(pipeline: &Arc<LoadedPipeline>) -> Vec<File> {
    let file = |watched: Watched| {
        let path = watched.config().plugin.file()?.to_owned();
        Some(File { path, is_new: true, stamp: None, watched })
    };
    watched(pipeline).filter_map(file).collect()
}

/// Watches until it is told to end.
pub(super) fn watch(app: &App, mut pipelines: Pipelines, mut notice: Notice) {
    let mut files: Vec<File> = Vec::new();
    loop {
        pipelines.follow(&mut files, of);
        let changed = files.iter_mut().map(|file| file.look(app)).filter(|changed| *changed).count();
        if changed > 0 {
            notice.observe(&files.iter().flat_map(|file| folders(&file.path)).collect());
        }
        if notice.wait() == News::End {
            return;
        }
    }
}

/// A stage's file, as it was when it was looked at last.
struct File {
    watched: Watched,
    path: PathBuf,
    /// Not looked at yet: the first look makes up for what happened between loading and watching.
    is_new: bool,
    /// None where there was no file.
    stamp: Option<Stamp>,
}

impl AsRef<Watched> for File {
    fn as_ref(&self) -> &Watched {
        &self.watched
    }
}

impl File {
    /// Has the file taken up if it has changed. Whether it may have.
    fn look(&mut self, app: &App) -> bool {
        let stamp = Stamp::of(&self.path);
        let is_new = std::mem::replace(&mut self.is_new, false);
        if stamp == self.stamp && !is_new {
            return false;
        }
        self.stamp = stamp;
        if let Some(read) = self.watched.pipeline.read_file(self.watched.stage) {
            self.watched.take_up(app, read, "the file has changed");
        }
        true
    }
}
