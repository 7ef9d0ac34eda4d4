//! Watches where plugins come from, and has changed ones taken up.

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
    /// Watches the plugin files and tags of all stages that do not turn it off.
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

/// The running pipelines, which come, change and go.
struct Pipelines {
    supervisor: Arc<Supervisor>,
    known: Vec<Arc<LoadedPipeline>>,
}

impl Pipelines {
    /// Drops from `watched` what belongs to pipelines that are gone, and adds what `of` finds in new ones.
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

/// The stages whose plugins may change. A pinned one never does.
fn watched(pipeline: &Arc<LoadedPipeline>) -> impl Iterator<Item = Watched> {
    let stages = pipeline.config.stages.iter().enumerate();
    let watched = stages.filter(|(_, stage)| stage.reload == Reload::Watch && stage.digest.is_none());
    watched.map(|(stage, _)| {
        let tried = Ok(pipeline.file_digest(stage));
        Watched { pipeline: Arc::clone(pipeline), stage, tried }
    })
}

/// A stage whose plugin may change.
struct Watched {
    pipeline: Arc<LoadedPipeline>,
    stage: usize,
    /// The digest found at the last look, or why nothing could be read.
    tried: Result<Digest, String>,
}

impl Watched {
    fn config(&self) -> &Stage {
        &self.pipeline.config.stages[self.stage]
    }

    /// Has what was read taken up, unless it is the same as at the last look.
    fn take_up(&mut self, app: &App, read: Result<Fetched, String>, why: &str) {
        let tried = read.as_ref().map(|read| read.digest.clone()).map_err(Clone::clone);
        if tried != self.tried {
            self.tried = tried;
            self.pipeline.take_up_changed(app, self.stage, read, why);
        }
    }
}
