//! Tags in OCI registries: asked for now and then, as registries do not tell of changes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use super::notice::News;
use super::{Watched, watched};
use crate::app::App;
use crate::registry::PluginRef;
use crate::supervisor::Running;

/// A stage's tag, and when it is looked up next.
pub(super) struct Tag {
    watched: Watched,
    due: Instant,
}

/// The tags of stages that are watched.
pub(super) fn of(running: &Arc<Running>) -> Vec<Tag> {
    let is_tag = |watched: &Watched| {
        let plugin = &watched.config().plugin;
        matches!(plugin, PluginRef::Oci(_)) && !plugin.is_pinned()
    };
    let tag = |watched: Watched| Tag { due: Instant::now() + watched.config().reload_interval.0, watched };
    watched(running).filter(is_tag).map(tag).collect()
}

/// Looks tags up, each at its interval, until it is told to end. A registry that does not answer leaves what runs.
pub(super) fn watch(app: &App, mut tags: Vec<Tag>, heard: &Receiver<News>) {
    while let Some(next) = tags.iter_mut().min_by_key(|tag| tag.due) {
        let wait = next.due.saturating_duration_since(Instant::now());
        if heard.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        next.look(app);
    }
}

impl Tag {
    fn look(&mut self, app: &App) {
        let pipeline = &self.watched.running.pipeline.config;
        let stage = self.watched.config();
        let fetched = app.fetch(pipeline, stage, &stage.plugin);
        self.due = Instant::now() + stage.reload_interval.0;
        match fetched {
            Err(error) if error.is_unreachable() => {
                tracing::warn!(pipeline = %pipeline.name, "{error}; what runs goes on");
            }
            fetched => {
                self.watched.take_up(app, fetched.map_err(|error| error.message), "the tag leads to another");
            }
        }
    }
}
