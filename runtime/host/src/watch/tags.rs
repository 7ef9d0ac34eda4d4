//! Tags in OCI registries: looked up now and then, as registries do not report changes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::notice::News;
use super::{Pipelines, Watched, watched};
use crate::app::{App, LoadedPipeline};
use crate::registry::PluginRef;

/// How often new pipelines are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A stage's tag, and when it is looked up next.
struct Tag {
    watched: Watched,
    due: Instant,
}

/// The tags of stages that are watched.
fn of(pipeline: &Arc<LoadedPipeline>) -> Vec<Tag> {
    let is_tag = |watched: &Watched| {
        let plugin = &watched.config().plugin;
        matches!(plugin, PluginRef::Oci(_)) && !plugin.is_pinned()
    };
    let tag = |watched: Watched| Tag { due: Instant::now() + watched.config().reload_interval.0, watched };
    watched(pipeline).filter(is_tag).map(tag).collect()
}

/// Looks up each tag at its interval, until it is told to end. If a registry does not answer, what runs goes on.
pub(super) fn watch(app: &App, mut pipelines: Pipelines, heard: &Receiver<News>) {
    let mut tags: Vec<Tag> = Vec::new();
    loop {
        pipelines.follow(&mut tags, of);
        let now = Instant::now();
        tags.iter_mut().filter(|tag| tag.due <= now).for_each(|tag| tag.look(app));
        let next = tags.iter().map(|tag| tag.due.saturating_duration_since(Instant::now())).min();
        let wait = next.map_or(LOOK_EVERY, |next| next.min(LOOK_EVERY));
        if heard.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

impl AsRef<Watched> for Tag {
    fn as_ref(&self) -> &Watched {
        &self.watched
    }
}

impl Tag {
    fn look(&mut self, app: &App) {
        let pipeline = &self.watched.pipeline.config;
        let stage = self.watched.config();
        let fetched = app.fetch_for(pipeline, stage, &stage.plugin);
        self.due = Instant::now() + stage.reload_interval.0;
        match fetched {
            Err(error) if error.is_unreachable() => {
                tracing::warn!(pipeline = %pipeline.name, stage = %stage.name, "{error}; what runs goes on");
            }
            fetched => {
                self.watched.take_up(app, fetched.map_err(|error| error.message), "the tag leads to another");
            }
        }
    }
}
