//! One pipeline's configuration takes the place of another.

use std::sync::Arc;

use super::Asker;
use crate::app::{App, LoadedPipeline};
use crate::config::Pipeline;
use crate::exit::Exit;
use crate::journal::{Action, Ended, Entry};

/// Who changes a pipeline where its file has changed.
fn folder() -> Asker {
    Asker { who: "watcher".into(), why: Some("the pipeline's file has changed".into()) }
}

impl LoadedPipeline {
    /// Makes what is to run now that the pipeline's file has changed: the same as after a restart, with what was changed at
    /// run time in each stage whose plugin file has not changed since. From then on this one accepts no changes; its workers run
    /// until the other takes its place.
    ///
    /// # Errors
    /// A plugin or its configuration is no good, be it the file's or one asked for at run time. Everything stays as it is, and
    /// the history says why.
    pub(crate) fn successor(&self, app: &App, config: Pipeline) -> Result<LoadedPipeline, Exit> {
        let refused = |error: &Exit| self.refuse_file(&error.message);
        let mut next = app.load_with(Arc::clone(&self.journal), config).inspect_err(refused)?;
        next.inherit(self);
        // Nothing may change here once the other has begun to take over what was changed.
        let turn = self.journal.turn();
        let why = "it was changed at run time before the pipeline's file was";
        next.restore_changes(app, &turn, why).inspect_err(refused)?;
        self.await_successor(&turn);
        if let Some(tryout) = self.tryout() {
            self.end_tryout(&turn, &tryout, &folder());
        }
        self.journal.note(&next.config.name, next.entry(Action::Configure, None, None, &folder()));
        Ok(next)
    }

    /// Notes why the pipeline's changed file is not taken up.
    pub(crate) fn refuse_file(&self, why: &str) {
        if self.journal.is_last_file_refusal(why) {
            return; // Tried again, as what it wants may come later.
        }
        let entry = self.entry(Action::Configure, None, None, &folder());
        let refused = Entry { ended: Ended::Refused, reason: Some(why.to_owned()), ..entry };
        self.journal.note(&self.config.name, refused);
    }

    /// Takes over the other's place among processes and, where the stages are the same, its counters.
    fn inherit(&mut self, before: &LoadedPipeline) {
        self.take_seat_of(before);
        let names = |pipeline: &LoadedPipeline| -> Vec<String> {
            pipeline.stages.iter().map(|stage| stage.name.clone()).collect()
        };
        if names(self) == names(before) {
            self.meters = Arc::clone(&before.meters);
            let counters = before.stages.iter().map(|stage| Arc::clone(&stage.counters));
            self.stages.iter_mut().zip(counters).for_each(|(stage, counters)| stage.counters = counters);
        }
    }
}
