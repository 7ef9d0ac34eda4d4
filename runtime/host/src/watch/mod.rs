//! Watches where plugins come from, and has a changed one taken up.

mod files;
pub(crate) mod notice;
mod tags;

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use crate::app::App;
use crate::config::{Reload, Stage};
use crate::exit::Exit;
use crate::registry::Fetched;
use crate::supervisor::Running;
use notice::{News, Notice};

/// The threads that watch. They end with this.
pub(crate) struct Watch {
    files: Sender<News>,
    tags: Sender<News>,
}

impl Watch {
    /// Watches the files and tags of all stages that do not say otherwise.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub(crate) fn start(app: &Arc<App>, pipelines: &[Arc<Running>]) -> Result<Watch, Exit> {
        let ((files, of_files), (tags, of_tags)) = (channel(), channel());
        let spawn = |name: &str, watch: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(watch).map(drop)
        };
        let found: Vec<_> = pipelines.iter().flat_map(files::of).collect();
        if !found.is_empty() {
            let (app, notice) = (Arc::clone(app), Notice::new(files.clone(), of_files));
            spawn("files", Box::new(move || files::watch(&app, found, notice)))?;
        }
        let found: Vec<_> = pipelines.iter().flat_map(tags::of).collect();
        if !found.is_empty() {
            let app = Arc::clone(app);
            spawn("tags", Box::new(move || tags::watch(&app, found, &of_tags)))?;
        }
        Ok(Watch { files, tags })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Where nothing is watched, nobody listens.
        let _ = self.files.send(News::End);
        let _ = self.tags.send(News::End);
    }
}

/// The stages whose plugins may become others: one that is pinned is what it is.
fn watched(running: &Arc<Running>) -> impl Iterator<Item = Watched> {
    let stages = running.pipeline.config.stages.iter().enumerate();
    let watched = stages.filter(|(_, stage)| stage.reload == Reload::Watch && stage.digest.is_none());
    watched.map(|(stage, _)| {
        let tried = Ok(running.pipeline.file_digest(stage));
        Watched { running: Arc::clone(running), stage, tried }
    })
}

/// A stage whose plugin may become another.
struct Watched {
    running: Arc<Running>,
    stage: usize,
    /// The digest of what there was at the last look, or why it could not be read.
    tried: Result<String, String>,
}

impl Watched {
    fn config(&self) -> &Stage {
        &self.running.pipeline.config.stages[self.stage]
    }

    /// Has what there is now taken up, unless it is what there was.
    fn take_up(&mut self, app: &App, read: Result<Fetched, String>, why: &str) {
        let tried = read.as_ref().map(|read| read.digest.hex().to_owned()).map_err(Clone::clone);
        if tried != self.tried {
            self.tried = tried;
            self.running.pipeline.take_up_changed(app, self.stage, read, why);
        }
    }
}
