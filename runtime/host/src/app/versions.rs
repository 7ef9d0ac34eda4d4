use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sluicegate_core::{Command, Commands, Culprit, Error, Inbox, Replacement, SinkLimits, Transform};
use sluicegate_wasm::{Instance, Plugin};

use super::LoadedPipeline;
use super::candidates::Tryout;
use super::seams::LOCAL_LIMITS;
use crate::config::Digest;
use crate::journal::Turn;

/// How long a version is on trial once it has taken over: if it ends a worker in that time, the previous one comes back.
const TRIAL: Duration = Duration::from_secs(600);
/// So many versions are kept to go back to.
const EARLIER_MAX: usize = 4;
/// How long to wait for workers to take up a version, or a pause. One in the middle of a long call does so later.
pub(super) const TAKEN_UP_WITHIN: Duration = Duration::from_secs(10);

/// Which version of its plugin each stage runs, and the workers that hear of another.
pub(super) struct Versions {
    pub(super) commands: Arc<Commands>,
    roster: Mutex<Roster>,
}

pub(super) struct Roster {
    stages: Vec<StageVersions>,
    /// By the number of its inbox, the most bytes that a worker's sink takes in one record.
    pub(super) workers: BTreeMap<u64, SinkLimits>,
    /// The candidate in one of the stages, or the last that was there.
    pub(super) tryout: Option<Arc<Tryout>>,
    paused: bool,
    succession: Succession,
    /// The number of the next version.
    next: u64,
}

/// Whether another [`LoadedPipeline`] takes the place of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Succession {
    /// None does.
    None,
    /// One is being made: nothing is changed here any more.
    Awaited,
    /// It is there: workers hand over to it.
    Done,
}

struct StageVersions {
    current: Version,
    /// What ran before and was not found wanting, the latest last.
    earlier: Vec<Version>,
    /// The digest of what the stage's file had when it was looked at last.
    file: Digest,
}

/// A plugin that runs in a stage, ran there, or is to.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) plugin: Plugin,
    pub(crate) digest: Digest,
    /// Its own within the pipeline.
    pub(crate) number: u64,
    /// When it took over.
    pub(crate) since: SystemTime,
    /// Until when it is on trial; none if there is nothing to go back to, or nobody has just put it here.
    trial: Option<Instant>,
}

impl Version {
    /// One that takes over now, on trial until this time.
    fn new(plugin: Plugin, number: u64, trial: Option<Instant>) -> Self {
        let digest = Digest::of_plugin(&plugin);
        Version { plugin, digest, number, since: SystemTime::now(), trial }
    }

    /// Whether the version before takes over again should this one end a worker.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.trial.is_some_and(|end| Instant::now() < end)
    }
}

/// What came of an exchange.
#[derive(Clone, Debug)]
pub(crate) struct Swapped {
    /// The digest of the version before.
    pub(crate) before: Digest,
    /// Workers that had not come to it in time, and will.
    pub(crate) behind: usize,
}

impl Versions {
    /// Of the plugins that the pipeline's file names.
    pub(super) fn new(plugins: Vec<Plugin>) -> Self {
        let stage = |plugin: Plugin| {
            let current = Version::new(plugin, 0, None);
            StageVersions { file: current.digest.clone(), current, earlier: Vec::new() }
        };
        let stages = plugins.into_iter().map(stage).collect();
        let (workers, succession) = (BTreeMap::new(), Succession::None);
        let roster = Roster { stages, workers, tryout: None, paused: false, succession, next: 1 };
        Versions { commands: Arc::default(), roster: Mutex::new(roster) }
    }

    /// A new worker, which hears of everything that changes from now on, and what it is to begin with.
    pub(super) fn enlist(&self, sink: SinkLimits) -> (Inbox, Vec<Version>, Option<Arc<Tryout>>) {
        let mut roster = self.roster();
        let inbox = self.commands.join();
        roster.workers.insert(inbox.number(), sink);
        if roster.paused {
            self.commands.send([(inbox.number(), Command::Pause)]);
        }
        if roster.succession == Succession::Done {
            self.commands.send([(inbox.number(), Command::HandOver)]);
        }
        let versions = roster.stages.iter().map(|stage| stage.current.clone()).collect();
        (inbox, versions, roster.tryout.clone().filter(|tryout| tryout.goes_on()))
    }

    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        let members = self.commands.members();
        roster.workers.retain(|number, _| members.contains(number));
        roster
    }
}

/// Exchanging versions.
impl LoadedPipeline {
    /// What a stage runs.
    pub(crate) fn version(&self, stage: usize) -> Version {
        self.versions.roster().stages[stage].current.clone()
    }

    /// What a stage would go back to.
    pub(crate) fn version_before(&self, stage: usize) -> Option<Version> {
        self.versions.roster().stages[stage].earlier.last().cloned()
    }

    /// Has a plugin take over in a stage, on trial. First every worker's instance of it is made and configured, on this
    /// thread; then all workers are told at once. If anything fails, nothing has changed.
    ///
    /// # Errors
    /// The plugin does not start, or refuses its configuration.
    pub(crate) fn swap(&self, _: &Turn<'_>, stage: usize, plugin: &Plugin) -> Result<Swapped, Error> {
        self.take_over(stage, plugin, Some(Instant::now() + TRIAL))
    }

    /// The same for what ran there before a restart, or before the pipeline's file changed. It is not on trial: what it would
    /// go back to is what somebody has replaced by it.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn reinstate(&self, _: &Turn<'_>, stage: usize, plugin: &Plugin) -> Result<Swapped, Error> {
        self.take_over(stage, plugin, None)
    }

    fn take_over(&self, stage: usize, plugin: &Plugin, trial: Option<Instant>) -> Result<Swapped, Error> {
        let round = self.exchange(stage, plugin, |stage, number| {
            let new = Version::new(plugin.clone(), number, trial);
            stage.earlier.retain(|version| version.digest != new.digest);
            let before = std::mem::replace(&mut stage.current, new);
            let digest = before.digest.clone();
            stage.earlier.push(before);
            if stage.earlier.len() > EARLIER_MAX {
                stage.earlier.remove(0);
            }
            digest
        })?;
        Ok(self.taken_up(round))
    }

    /// Has the previous version take over again in a stage. None: there is none.
    ///
    /// # Errors
    /// It does not start any more.
    pub(crate) fn swap_back(&self, _: &Turn<'_>, stage: usize) -> Result<Option<Swapped>, Error> {
        let Some(back) = self.version_before(stage) else {
            return Ok(None);
        };
        let round = self.exchange(stage, &back.plugin, |stage, number| {
            stage.earlier.pop();
            let trial = back.trial.filter(|_| !stage.earlier.is_empty());
            std::mem::replace(&mut stage.current, Version::new(back.plugin.clone(), number, trial)).digest
        })?;
        Ok(Some(self.taken_up(round)))
    }

    /// Whether the culprit still runs, is on trial, and has a version before it.
    pub(crate) fn is_to_go_back(&self, culprit: Culprit) -> bool {
        let roster = self.versions.roster();
        roster.stages.get(culprit.stage).is_some_and(|stage| {
            stage.current.number == culprit.version && stage.current.is_on_trial() && !stage.earlier.is_empty()
        })
    }

    /// Whether another version has replaced the culprit.
    pub(crate) fn is_replaced(&self, culprit: Culprit) -> bool {
        self.versions.roster().stages.get(culprit.stage).is_some_and(|stage| stage.current.number != culprit.version)
    }

    /// The digest of what a stage's file had when it was looked at last.
    pub(crate) fn file_digest(&self, stage: usize) -> Digest {
        self.versions.roster().stages[stage].file.clone()
    }

    pub(crate) fn set_file_digest(&self, stage: usize, digest: &Digest) {
        self.versions.roster().stages[stage].file = digest.clone();
    }

    /// The digests of all versions that run or can be gone back to.
    pub(crate) fn digests(&self) -> BTreeSet<Digest> {
        let roster = self.versions.roster();
        let all = roster.stages.iter().flat_map(|stage| stage.earlier.iter().chain([&stage.current]));
        all.map(|version| version.digest.clone()).collect()
    }

    /// Whether workers are told to pause.
    pub(crate) fn is_paused(&self) -> bool {
        self.versions.roster().paused
    }

    /// Tells all workers, and those to come, to pause or to go on. How many had not come to it in time, and will.
    pub(crate) fn set_paused(&self, _: &Turn<'_>, paused: bool) -> usize {
        self.tell_all(|roster| roster.paused = paused, || if paused { Command::Pause } else { Command::Resume })
    }

    /// From now on nothing is changed here: another is being made to take this one's place, or it ends.
    pub(crate) fn await_successor(&self, _: &Turn<'_>) {
        self.versions.roster().succession = Succession::Awaited;
    }

    /// The other is there: all workers, and those to come, hand over to it. How many had not come to it in time, and will.
    pub(crate) fn hand_over(&self) -> usize {
        self.tell_all(|roster| roster.succession = Succession::Done, || Command::HandOver)
    }

    /// Whether another takes the place of this one, or is about to.
    pub(crate) fn is_succeeded(&self) -> bool {
        self.versions.roster().succession != Succession::None
    }

    /// Makes a change of what is to come, and tells the workers that there are.
    pub(super) fn tell_all(&self, change: impl FnOnce(&mut Roster), command: impl Fn() -> Command) -> usize {
        let round = {
            let mut roster = self.versions.roster();
            change(&mut roster);
            self.versions.commands.send(roster.workers.keys().map(|number| (*number, command())))
        };
        self.versions.commands.wait(round, TAKEN_UP_WITHIN)
    }

    /// Makes an instance for every worker there is, changes what is current by `change`, and tells them all.
    fn exchange(
        &self,
        stage: usize,
        plugin: &Plugin,
        change: impl FnOnce(&mut StageVersions, u64) -> Digest,
    ) -> Result<(u64, Digest), Error> {
        let make = |sink| self.instance(stage, plugin, sink, None);
        self.equip(make, |roster, ready| {
            let number = roster.next;
            roster.next += 1;
            let versions = &mut roster.stages[stage];
            let before = change(versions, number);
            let on_trial = versions.current.is_on_trial();
            let replace = |transform: Box<dyn Transform + Send>| {
                Command::Replace(Replacement { stage, transform, version: number, on_trial })
            };
            let commands = ready.into_iter().map(|(worker, instance)| (worker, replace(Box::new(instance))));
            let beside = roster.tryout.iter().filter(|tryout| tryout.stage == stage);
            beside.for_each(|tryout| tryout.supersede());
            (self.versions.commands.send(commands), before)
        })
    }

    /// Makes an instance for every worker there is, and then calls `tell` with them. With the roster still locked: who
    /// enlists next begins with what is changed there.
    pub(super) fn equip<T>(
        &self,
        make: impl Fn(SinkLimits) -> Result<Instance, Error>,
        tell: impl FnOnce(&mut Roster, BTreeMap<u64, Instance>) -> T,
    ) -> Result<T, Error> {
        // One more than there are workers: it must be seen to start even where none runs at the moment.
        drop(make(LOCAL_LIMITS)?);
        let mut ready: BTreeMap<u64, Instance> = BTreeMap::new();
        loop {
            let mut roster = self.versions.roster();
            let missing: Vec<(u64, SinkLimits)> = roster
                .workers
                .iter()
                .filter(|(number, _)| !ready.contains_key(number))
                .map(|(number, sink)| (*number, *sink))
                .collect();
            if missing.is_empty() {
                return Ok(tell(&mut roster, ready));
            }
            drop(roster);
            for (number, sink) in missing {
                ready.insert(number, make(sink)?);
            }
        }
    }

    fn taken_up(&self, (round, before): (u64, Digest)) -> Swapped {
        let behind = self.versions.commands.wait(round, TAKEN_UP_WITHIN);
        if let Some(tryout) = self.tryout().filter(|tryout| tryout.is_superseded()) {
            // Only now: a worker that sees the end of a canary before what comes after it would go back to what was before both.
            let is_itself = self.version(tryout.stage).digest == tryout.digest;
            tryout.findings.end(if is_itself { "it runs for all records now" } else { "another version took over" });
        }
        Swapped { before, behind }
    }
}
