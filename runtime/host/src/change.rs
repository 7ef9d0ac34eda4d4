//! Changing a pipeline while it runs: another plugin in a stage, back to the one before, a pause. Every change goes this way,
//! whether the admin endpoint, a file or the breaker asks for it. Each is written into the journal, and either holds as a whole
//! or leaves everything as it was.
//!
//! A change may take as long as compiling does: do not make one on a tokio task, nor on a worker that streams.

mod restoration;
mod succession;
mod tryouts;

use std::time::SystemTime;

use serde::Serialize;
use sluicegate_core::Culprit;
use sluicegate_wasm::Plugin;

use crate::app::{App, LoadedPipeline, Swapped, load_options};
use crate::config::{self, ConfigError, Digest};
use crate::journal::{Action, Ended, Entry, RunTimeChange, Turn, time};
use crate::registry::{Fetched, PluginRef};
pub(crate) use tryouts::{Begin, parse_share, share_words, try_plugin};

/// Who asks for a change, and why.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) who: String,
    pub(crate) why: Option<String>,
}

/// What came of a change.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Changed {
    pub(crate) pipeline: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<String>,
    /// What runs now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Digest>,
    /// What ran before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Digest>,
    /// False: it was so already.
    pub(crate) changed: bool,
    /// Workers that had not taken it up yet when this was said.
    pub(crate) behind: usize,
    /// What else there is to know, such as why it will not survive a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such pipeline or stage.
    Unknown(String),
    /// It cannot be done as things are.
    Conflict(String),
    /// The plugin is not one that this stage can run.
    Unfit(String),
}

impl Refusal {
    pub(crate) fn message(&self) -> &str {
        match self {
            Refusal::Unknown(message) | Refusal::Conflict(message) | Refusal::Unfit(message) => message,
        }
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        Refusal::Unfit(format!("{}{hint}", error.message))
    }
}

impl LoadedPipeline {
    /// Runs the plugin of these bytes in a stage.
    pub(crate) fn load_plugin(
        &self,
        app: &App,
        stage: &str,
        bytes: Vec<u8>,
        expected: Option<&Digest>,
        asker: &Asker,
    ) -> Result<Changed, Refusal> {
        let index = self.stage_index(stage)?;
        let digest = Digest::of(&bytes);
        self.noted(Action::Load, index, Some(&digest), asker, || {
            check_expected(&digest, expected)?;
            self.take_up(app, index, None, bytes, &digest)
        })
    }

    /// Runs in a stage what its file has, and drops what was asked for at run time.
    pub(crate) fn reset_plugin(&self, app: &App, stage: &str, asker: &Asker) -> Result<Changed, Refusal> {
        let index = self.stage_index(stage)?;
        self.take_up_named(app, Action::Reset, index, self.read_named(app, index), asker)
    }

    /// The plugin that the pipeline's file names for a stage has changed: runs what was read there now.
    pub(crate) fn take_up_changed(&self, app: &App, index: usize, read: Result<Fetched, String>, why: &str) {
        if self.is_succeeded() {
            return; // Its successor has read the same.
        }
        let asker = Asker { who: "watcher".into(), why: Some(why.into()) };
        // Refusals are in the journal, and whoever asked is the file.
        let _ = self.take_up_named(app, Action::File, index, read, &asker);
    }

    /// Runs in a stage what the pipeline's file names for it.
    fn take_up_named(
        &self,
        app: &App,
        action: Action,
        index: usize,
        read: Result<Fetched, String>,
        asker: &Asker,
    ) -> Result<Changed, Refusal> {
        let digest = read.as_ref().ok().map(|read| read.digest.clone());
        self.noted(action, index, digest.as_ref(), asker, || {
            let Fetched { bytes, digest, .. } = read.map_err(Refusal::Unfit)?;
            self.set_file_digest(index, &digest);
            self.take_up(app, index, Some(&self.config.stages[index].plugin), bytes, &digest)
        })
    }

    /// Goes back to the previous version in a stage. With `to`, that version must be this one: a request that is repeated
    /// because its answer was lost does not go back twice.
    pub(crate) fn roll_back(&self, stage: &str, to: Option<&Digest>, asker: &Asker) -> Result<Changed, Refusal> {
        let index = self.stage_index(stage)?;
        let turn = self.turn()?;
        let current = self.version(index).digest;
        if to == Some(&current) {
            return Ok(self.unchanged(index, &current));
        }
        let back = self.version_before(index).map(|back| back.digest);
        self.noted(Action::Rollback, index, back.as_ref(), asker, || {
            if let Some(to) = to.filter(|to| Some(*to) != back.as_ref()) {
                return Err(Refusal::Conflict(format!("the version before is not {to}; 'sluicegate status' shows it")));
            }
            self.swap_to_before(&turn, index)
        })
    }

    /// Goes back to the previous version after one on trial ended a worker. True if the worker should simply start again;
    /// false if the culprit is not on trial, or there is nothing to go back to.
    pub(crate) fn go_back_from(&self, culprit: Culprit, reason: &str) -> bool {
        let turn = self.journal.turn();
        if self.is_replaced(culprit) || self.is_succeeded() {
            return true; // Another worker had the same, or somebody was faster.
        }
        if !self.is_to_go_back(culprit) {
            return false;
        }
        let stage = culprit.stage;
        let back = self.version_before(stage).map(|back| back.digest);
        let asker = Asker { who: "sluicegate".into(), why: Some(reason.to_owned()) };
        self.noted(Action::Rollback, stage, back.as_ref(), &asker, || self.swap_to_before(&turn, stage)).is_ok()
    }

    /// Tells the workers to pause or to go on. Those that pause first finish and commit what is in flight; they stay members
    /// of the group and keep their partitions.
    ///
    /// # Errors
    /// Its configuration is being changed at this moment.
    pub(crate) fn pause(&self, paused: bool, asker: &Asker) -> Result<Changed, Refusal> {
        let turn = self.turn()?;
        let changed = self.is_paused() != paused;
        let behind = self.set_paused(&turn, paused);
        // Kept even if it was so already: that may not have been written.
        let note = self.journal.keep_paused(paused).err().map(|error| forgotten(&error));
        if changed {
            let action = if paused { Action::Pause } else { Action::Resume };
            self.journal.note(&self.config.name, self.entry(action, None, None, asker));
        }
        let pipeline = self.config.name.clone();
        Ok(Changed { pipeline, stage: None, digest: None, before: None, changed, behind, note })
    }

    /// Waits for one's turn to change what runs here.
    ///
    /// # Errors
    /// Its configuration is being changed at this moment, or it ends.
    fn turn(&self) -> Result<Turn<'_>, Refusal> {
        let turn = self.journal.turn();
        match self.is_succeeded() {
            true => {
                Err(Refusal::Conflict("the pipeline ends, or its file has changed, at this moment: ask again".into()))
            }
            false => Ok(turn),
        }
    }

    /// Loads a plugin beside the one that runs, and has it take over. `from` is none where somebody handed the bytes over.
    fn take_up(
        &self,
        app: &App,
        index: usize,
        from: Option<&PluginRef>,
        bytes: Vec<u8>,
        digest: &Digest,
    ) -> Result<Changed, Refusal> {
        let config = &self.config.stages[index];
        let runs = || self.version(index).digest == *digest;
        // Outside of the turn: compiling takes its time.
        let plugin = match runs() {
            true => None,
            false => Some(app.plugin_for(&self.config, config, from, bytes.clone())?),
        };
        let turn = self.turn()?;
        match plugin {
            Some(plugin) if !runs() => return self.exchange_for(&turn, index, &plugin, &bytes),
            None if !runs() => {
                return Err(Refusal::Conflict("another plugin took its place at this moment: ask again".into()));
            }
            _ => {}
        }
        let note = self.keep(&turn, index).err();
        Ok(Changed { note, ..self.unchanged(index, digest) })
    }

    fn exchange_for(&self, turn: &Turn<'_>, index: usize, plugin: &Plugin, bytes: &[u8]) -> Result<Changed, Refusal> {
        let unfit = |error: sluicegate_core::Error| {
            Refusal::Unfit(format!("stage '{}': {}", self.config.stages[index].name, error.message))
        };
        let swapped = self.swap(turn, index, plugin).map_err(unfit)?;
        self.journal.keep_plugin(bytes);
        let kept = self.keep(turn, index);
        self.journal.forget_plugins_but(self.digests());
        Ok(Changed { note: kept.err(), ..self.changed(index, swapped) })
    }

    fn swap_to_before(&self, turn: &Turn<'_>, index: usize) -> Result<Changed, Refusal> {
        match self.swap_back(turn, index) {
            Ok(Some(swapped)) => {
                let kept = self.keep(turn, index);
                Ok(Changed { note: kept.err(), ..self.changed(index, swapped) })
            }
            Ok(None) => Err(Refusal::Conflict("there is no earlier version to go back to".into())),
            Err(error) => Err(Refusal::Unfit(error.message)),
        }
    }

    /// Keeps for the next start what a stage runs, if that is not what its file has.
    fn keep(&self, _: &Turn<'_>, index: usize) -> Result<(), String> {
        let (digest, file) = (self.version(index).digest, self.file_digest(index));
        let change = (digest != file).then_some(RunTimeChange { digest, file });
        self.journal.keep(&self.config.stages[index].name, change).map_err(|error| forgotten(&error))
    }

    /// Makes a change and notes how it ended; notes nothing if there was nothing to do and the last attempt went well.
    fn noted(
        &self,
        action: Action,
        index: usize,
        digest: Option<&Digest>,
        asker: &Asker,
        change: impl FnOnce() -> Result<Changed, Refusal>,
    ) -> Result<Changed, Refusal> {
        let entry = self.entry(action, Some(index), digest, asker);
        let result = change();
        let entry = match &result {
            Ok(changed) if !changed.changed && self.is_well(index) => return result,
            Ok(changed) => Entry { before: changed.before.as_ref().map(Digest::to_string), ..entry },
            Err(refusal) => Entry { ended: Ended::Refused, reason: Some(refusal.message().to_owned()), ..entry },
        };
        self.journal.note(&self.config.name, entry);
        result
    }

    /// Whether the latest attempt to change the stage was not refused.
    fn is_well(&self, index: usize) -> bool {
        self.journal.last_refusal(&self.config.stages[index].name).is_none()
    }

    fn entry(&self, action: Action, stage: Option<usize>, digest: Option<&Digest>, asker: &Asker) -> Entry {
        Entry {
            time: time(SystemTime::now()),
            action,
            stage: stage.map(|index| self.config.stages[index].name.clone()),
            digest: digest.map(Digest::to_string),
            before: None,
            who: asker.who.clone(),
            why: asker.why.clone(),
            ended: Ended::Done,
            reason: None,
        }
    }

    fn changed(&self, index: usize, swapped: Swapped) -> Changed {
        let Swapped { before, behind } = swapped;
        Changed { changed: true, before: Some(before), behind, ..self.unchanged(index, &self.version(index).digest) }
    }

    fn unchanged(&self, index: usize, digest: &Digest) -> Changed {
        Changed {
            pipeline: self.config.name.clone(),
            stage: Some(self.config.stages[index].name.clone()),
            digest: Some(digest.clone()),
            before: None,
            changed: false,
            behind: 0,
            note: None,
        }
    }

    pub(crate) fn stage_index(&self, stage: &str) -> Result<usize, Refusal> {
        self.stages.iter().position(|loaded| loaded.name == stage).ok_or_else(|| {
            let known = self.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join(", ");
            Refusal::Unknown(format!("pipeline '{}' has no stage '{stage}'; it has {known}", self.config.name))
        })
    }

    /// Reads the stage's file, within its limits. None: its plugin does not come from a file.
    pub(crate) fn read_file(&self, index: usize) -> Option<Result<Fetched, String>> {
        let stage: &config::Stage = &self.config.stages[index];
        let read = Plugin::read(stage.plugin.file()?, &load_options(&stage.limits));
        Some(read.map(Fetched::of).map_err(|error| error.to_string()))
    }

    /// Reads what the pipeline's file names, wherever it is.
    fn read_named(&self, app: &App, index: usize) -> Result<Fetched, String> {
        self.read_file(index).unwrap_or_else(|| {
            let stage = &self.config.stages[index];
            app.fetch_for(&self.config, stage, &stage.plugin).map_err(|exit| exit.message)
        })
    }
}

fn check_expected(digest: &Digest, expected: Option<&Digest>) -> Result<(), Refusal> {
    match expected {
        Some(expected) if expected != digest => {
            Err(Refusal::Unfit(format!("the plugin has digest {digest}, expected is {expected}")))
        }
        _ => Ok(()),
    }
}

fn forgotten(error: &str) -> String {
    format!("a restart will not know of it: {error}")
}
