//! Going on with what was changed at run time: after a restart, and after the pipeline's file has changed.

use super::{Asker, Refusal};
use crate::app::{App, LoadedPipeline, Swapped};
use crate::exit::Exit;
use crate::journal::{Action, Ended, Entry, RunTimeChange, Turn};

impl LoadedPipeline {
    /// Goes on with what was changed before the last stop, as the journal has it.
    ///
    /// # Errors
    /// A plugin does not run any more. Nothing is forgotten: the next start tries again.
    pub(crate) fn restore(&self, app: &App) -> Result<(), Exit> {
        let turn = self.journal.turn();
        self.restore_changes(app, &turn, "it was changed at run time before the last stop")?;
        self.forget_tryout(&turn);
        Ok(())
    }

    /// The same for a pipeline that takes the place of another. If it fails, the journal is as it was, and the other can go on.
    pub(super) fn restore_changes(&self, app: &App, turn: &Turn<'_>, why: &str) -> Result<(), Exit> {
        let stages = 0..self.stages.len();
        let restored: Vec<_> =
            stages.map(|index| self.restore_stage(app, turn, index, why)).collect::<Result<_, _>>()?;
        // Not before: if a later stage had failed, nothing would have changed.
        for (index, entry) in restored.into_iter().enumerate() {
            let Some(entry) = entry else { continue };
            if entry.ended == Ended::Refused
                && let Err(error) = self.keep(turn, index)
            {
                tracing::warn!(pipeline = %self.config.name, "{error}");
            }
            self.journal.note(&self.config.name, entry);
        }
        if self.journal.is_paused() {
            self.set_paused(turn, true);
        }
        self.journal.forget_plugins_but(self.digests());
        Ok(())
    }

    /// Runs in a stage what was asked for at run time, unless the stage's file has changed since. Gives how that ended; none if
    /// nothing was asked for.
    fn restore_stage(&self, app: &App, turn: &Turn<'_>, index: usize, why: &str) -> Result<Option<Entry>, Exit> {
        let Some(change) = self.journal.run_time_change(&self.config.stages[index].name) else {
            return Ok(None);
        };
        let asker = Asker { who: "sluicegate".into(), why: Some(why.to_owned()) };
        let entry = self.entry(Action::Restore, Some(index), Some(&change.digest), &asker);
        if change.file != self.file_digest(index) {
            let reason = Some("the stage's file has changed since, and wins".to_owned());
            return Ok(Some(Entry { ended: Ended::Refused, reason, ..entry }));
        }
        match self.run_again(app, turn, index, &change) {
            Ok(swapped) => Ok(Some(Entry { before: Some(swapped.before.to_string()), ..entry })),
            Err(refusal) => Err(self.cannot_restore(index, &change, &refusal)),
        }
    }

    fn run_again(&self, app: &App, turn: &Turn<'_>, index: usize, change: &RunTimeChange) -> Result<Swapped, Refusal> {
        let stage = &self.config.stages[index];
        let bytes = self.journal.plugin(&change.digest, stage.limits.file_size.0).map_err(Refusal::Unfit)?;
        let plugin = app.plugin_for(&self.config, stage, None, bytes)?;
        self.reinstate(turn, index, &plugin).map_err(|error| Refusal::Unfit(error.message))
    }

    /// To run the file's plugin instead is for a person to decide: it does something else than what was asked for last.
    fn cannot_restore(&self, index: usize, change: &RunTimeChange, refusal: &Refusal) -> Exit {
        let (pipeline, stage) = (&self.config.name, &self.config.stages[index].name);
        let entry = self
            .journal
            .file()
            .map(|file| format!(", or by removing \"{stage}\" from \"stages\" in {}", file.display()));
        Exit::usage(format!(
            "pipeline '{pipeline}', stage '{stage}': at run time it was changed to {}, which does not run any more: {}\n\
             hint: mend that, or have the stage run what its file has: while the pipeline runs, by 'sluicegate load {pipeline} \
             {stage} --configured'; while it does not, by another plugin in that file{}",
            change.digest,
            refusal.message(),
            entry.unwrap_or_default(),
        ))
    }
}
