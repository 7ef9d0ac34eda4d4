//! Watches where plugins come from, and has a changed one taken up.

mod files;
mod folder;
pub(crate) mod notice;
mod tags;

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use crate::app::{App, LoadedPipeline};
use crate::config::{Digest, Reload, Stage};
use crate::exit::Exit;
use crate::registry::Fetched;
use crate::supervisor::Supervisor;
pub(crate) use folder::{Files, Folder, Found, Watch as FolderWatch};
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
    pub(crate) fn start(app: &Arc<App>, supervisor: &Arc<Supervisor>) -> Result<Watch, Exit> {
        let ((files, of_files), (tags, of_tags)) = (channel(), channel());
        let watched = || Pipelines { supervisor: Arc::clone(supervisor), known: Vec::new() };
        let (own, pipelines, notice) = (Arc::clone(app), watched(), Notice::new(files.clone(), of_files));
        spawn("files", move || files::watch(&own, pipelines, notice))?;
        let (own, pipelines) = (Arc::clone(app), watched());
        spawn("tags", move || tags::watch(&own, pipelines, &of_tags))?;
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

fn spawn(name: &str, watch: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(watch).map(drop)
}

/// The pipelines that run, which come, change and go.
struct Pipelines {
    supervisor: Arc<Supervisor>,
    known: Vec<Arc<LoadedPipeline>>,
}

impl Pipelines {
    /// Forgets what is watched of pipelines that are gone, and adds what is to be watched of those that have come.
    fn follow<W: AsRef<Watched>>(&mut self, watched: &mut Vec<W>, of: impl Fn(&Arc<LoadedPipeline>) -> Vec<W>) {
        let now: Vec<_> = self.supervisor.running().iter().map(|running| running.pipeline()).collect();
        watched.retain(|watched| is_among(&watched.as_ref().pipeline, &now));
        watched.extend(now.iter().filter(|pipeline| !is_among(pipeline, &self.known)).flat_map(of));
        self.known = now;
    }
}

fn is_among(pipeline: &Arc<LoadedPipeline>, others: &[Arc<LoadedPipeline>]) -> bool {
    others.iter().any(|other| Arc::ptr_eq(other, pipeline))
}

/// The stages whose plugins may become others: one that is pinned is what it is.
fn watched(pipeline: &Arc<LoadedPipeline>) -> impl Iterator<Item = Watched> {
    let stages = pipeline.config.stages.iter().enumerate();
    let watched = stages.filter(|(_, stage)| stage.reload == Reload::Watch && stage.digest.is_none());
    watched.map(|(stage, _)| {
        let tried = Ok(pipeline.file_digest(stage));
        Watched { pipeline: Arc::clone(pipeline), stage, tried }
    })
}

/// A stage whose plugin may become another.
struct Watched {
    pipeline: Arc<LoadedPipeline>,
    stage: usize,
    /// The digest of what there was at the last look, or why it could not be read.
    tried: Result<Digest, String>,
}

impl Watched {
    fn config(&self) -> &Stage {
        &self.pipeline.config.stages[self.stage]
    }

    /// Has what there is now taken up, unless it is what there was.
    fn take_up(&mut self, app: &App, read: Result<Fetched, String>, why: &str) {
        let tried = read.as_ref().map(|read| read.digest.clone()).map_err(Clone::clone);
        if tried != self.tried {
            self.tried = tried;
            self.pipeline.take_up_changed(app, self.stage, read, why);
        }
    }
}
