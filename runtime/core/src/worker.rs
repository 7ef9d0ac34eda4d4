mod ahead;
mod commit;
mod handover;
mod parked;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::batch::{Batch, Partition};
use crate::chain::{Chain, Passage};
use crate::commands::{Command, Inbox};
use crate::error::{Error, ErrorKind};
use crate::meters::Meters;
use crate::progress::Progress;
use crate::seams::{Clock, Polled, Sink, Source, Transaction};
use crate::stage::{Ran, Stage};

pub use commit::CommitEvery;
use commit::{Amount, Meanwhile};
pub use handover::{Ended, Seams};
use parked::Parked;

/// One thread's share of a pipeline: a group member, a producer and an instance of each stage's plugin.
///
/// All of it runs on the thread that calls [`Worker::run`]; only [`Stop`], [`Meters`] and
/// [`Commands`](crate::Commands) are shared.
pub struct Worker {
    settings: WorkerSettings,
    source: Box<dyn Source>,
    chain: Chain,
    sink: Box<dyn Sink>,
    transaction: Box<dyn Transaction>,
    clock: Box<dyn Clock>,
    meters: Arc<Meters>,
    progress: Progress,
    batch: Batch,
    /// The batch's way through the stages.
    passage: Passage,
    /// Batches that wait, at most one a partition, in the order in which they came: for another try of a record, for the end of a
    /// commit, or for their turn where a plugin is slow.
    parked: Vec<Parked>,
    /// How many of them were resumed since the source was polled last.
    resumed: u32,
    /// When the oldest uncommitted batch set out; none if there is none.
    open_since: Option<Duration>,
    /// Whether there was nothing to read when this turn looked.
    lull: bool,
    /// The mean duration of a commit, of late.
    commits_take: Duration,
    /// Input since the last commit.
    fresh: Amount,
    /// Input whose offsets are not committed: what a crash now would repeat.
    uncommitted: Amount,
    lag: BTreeMap<Partition, u64>,
    /// How often the worker has gone back since its last commit.
    rewinds: u32,
    inbox: Inbox,
    /// What is read while it is paused is parked, a batch a partition.
    paused: bool,
    /// It is to end, and leave its seams to another worker.
    handing_over: bool,
}

/// The promise a pipeline makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Outputs and offsets are one transaction.
    ExactlyOnce,
    /// Offsets follow acknowledged outputs.
    AtLeastOnce,
}

/// What a worker is told once.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The pipeline's name.
    pub pipeline: String,
    /// The promise.
    pub delivery: Delivery,
    /// When to commit.
    pub commit: CommitEvery,
    /// Input bytes in flight beyond which the source is not read.
    pub budget: usize,
    /// How long a drain may take; what is in flight after that is left to the next worker.
    pub drain: Duration,
}

/// Asks workers to drain and end. Shared, and cheap to check.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Asks.
    pub fn request(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether somebody asked.
    pub fn requested(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// The longest wait for records: bounds how late a stop is noticed.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// How many parked batches are resumed before the source is polled again; polling also keeps the membership alive. With a
/// slow plugin that is some seconds.
const RESUMED_MAX: u32 = 4;
/// A worker that goes back so often without a commit in between is replaced, after a pause.
const REWINDS_MAX: u32 = 5;

impl Worker {
    /// A worker over these seams. `meters` must have been made for the same stages.
    pub fn new(
        settings: WorkerSettings,
        seams: Seams,
        stages: Vec<Stage>,
        clock: Box<dyn Clock>,
        meters: Arc<Meters>,
    ) -> Self {
        let Seams { source, sink, transaction, rest } = seams;
        let chain = Chain::new(stages);
        let parked = |batch| Parked { batch, passage: chain.passage(), due: Duration::ZERO };
        Worker {
            settings,
            source,
            passage: chain.passage(),
            parked: rest.batches.into_iter().map(parked).collect(),
            resumed: 0,
            chain,
            sink,
            transaction,
            clock,
            meters,
            progress: Progress::after(&rest.progress),
            batch: Batch::default(),
            open_since: None,
            lull: false,
            commits_take: Duration::ZERO,
            fresh: Amount::default(),
            uncommitted: Amount::default(),
            lag: rest.lag,
            rewinds: 0,
            inbox: Inbox::default(),
            paused: false,
            handing_over: false,
        }
    }

    /// The same worker, which does what this inbox tells it.
    #[must_use]
    pub fn with_inbox(mut self, inbox: Inbox) -> Self {
        self.inbox = inbox;
        self
    }

    /// The same worker, whose outputs carry the header `sluicegate-plugin-digest`: the SHA-256 of each plugin that made them, in
    /// the order of the stages, with commas between.
    #[must_use]
    pub fn with_plugin_header(mut self) -> Self {
        self.chain.name_plugins();
        self
    }

    /// Streams until `stop` is requested, then finishes what is in flight, commits, and leaves the group. Where it is told to
    /// hand over it does the same, but stays in the group and leaves its seams to the next worker.
    ///
    /// # Errors
    /// What was in flight is undone or left unacknowledged; a new worker starts again from the committed offsets.
    pub fn run(mut self, stop: &Stop) -> Result<Ended, Error> {
        let result = self.flow(stop);
        if result.is_err() && self.open_since.is_some() {
            // The first error counts; whatever cannot be undone here is fenced by the next worker.
            let _ = self.transaction.abort();
        }
        self.meters.forget_lag(self.lag.keys());
        if self.handing_over && result.is_ok() && !stop.requested() {
            return Ok(Ended::HandedOver(self.hand_over()));
        }
        self.source.close();
        result.map(|()| Ended::Left)
    }

    fn flow(&mut self, stop: &Stop) -> Result<(), Error> {
        while !stop.requested() && !self.handing_over {
            match self.turn() {
                Err(error) if error.kind == ErrorKind::Rewind => self.rewind(error)?,
                result => result?,
            }
        }
        match self.finish() {
            // What is undone is read by the worker that goes on over these seams.
            Err(error) if error.kind == ErrorKind::Rewind && !stop.requested() => self.rewind(error),
            result => result,
        }
    }

    fn turn(&mut self) -> Result<(), Error> {
        if self.is_full() {
            return self.make_room();
        }
        self.lull = false;
        if let Some(index) = self.due().filter(|_| self.resumed < RESUMED_MAX) {
            self.resumed += 1;
            self.resume(index)?;
        } else {
            self.resumed = 0;
            match self.poll()? {
                Polled::Batch => {
                    self.lull = false;
                    self.passage.restart();
                    self.process()?;
                }
                Polled::Idle => self.obey()?,
                Polled::Revoked { lost } => self.revoke(lost)?,
            }
        }
        self.sink.acknowledged(&mut self.progress, Duration::ZERO)?;
        if self.commit_is_due() { self.commit(Meanwhile::RunAhead) } else { Ok(()) }
    }

    fn poll(&mut self) -> Result<Polled, Error> {
        // No output is kept waiting for records that do not come: see also `commit_is_due`.
        if !self.progress.is_idle() {
            match self.source.poll(&mut self.batch, Duration::ZERO)? {
                Polled::Idle if self.settings.delivery == Delivery::AtLeastOnce => self.sink.send_now(),
                Polled::Idle => {
                    self.lull = true;
                    if self.commit_is_due() {
                        return Ok(Polled::Idle);
                    }
                }
                polled => return Ok(polled),
            }
        }
        let wait = self.wait();
        self.source.poll(&mut self.batch, wait)
    }

    /// Undoes what is in flight, and reads it again: the same member, the same producer.
    #[cold]
    fn rewind(&mut self, why: Error) -> Result<(), Error> {
        if self.rewinds == REWINDS_MAX {
            return Err(why);
        }
        self.rewinds += 1;
        self.give_up()?;
        self.parked.clear();
        self.chain.start_over();
        self.meters.forget_lag(self.lag.keys());
        self.lag.clear();
        self.source.rewind(&why)
    }

    /// Undoes what is in flight, and forgets it.
    fn give_up(&mut self) -> Result<(), Error> {
        if self.open_since.take().is_some() {
            self.transaction.abort()?;
        }
        self.progress.forget();
        (self.fresh, self.uncommitted) = Default::default();
        Ok(())
    }

    /// Does what the worker was told since the last batch. It looks after a batch is read, not before: another worker may have
    /// run that partition on a newer version already.
    fn obey(&mut self) -> Result<(), Error> {
        match self.inbox.take() {
            None => Ok(()),
            Some(commands) => self.carry_out(commands),
        }
    }

    #[cold]
    fn carry_out(&mut self, commands: Vec<Command>) -> Result<(), Error> {
        let was_paused = self.paused;
        for command in commands {
            match command {
                Command::Replace(replacement) => {
                    let start = self.clock.now();
                    self.change(replacement.stage, |stage| stage.replace(replacement));
                    self.meters.add_swap(self.clock.now().saturating_sub(start));
                }
                Command::Try(candidate) => self.change(candidate.stage, |stage| stage.try_out(candidate)),
                Command::Dismiss { stage } => self.change(stage, Stage::dismiss),
                Command::Pause => self.paused = true,
                Command::Resume => self.paused = false,
                Command::HandOver => self.handing_over = true,
            }
        }
        let drained = if self.paused && !was_paused { self.finish() } else { Ok(()) };
        if self.paused {
            // It would stand still while the topic grows.
            self.meters.forget_lag(self.lag.keys());
        }
        self.inbox.done();
        drained
    }

    /// Between two batches. Nothing of what is parked is written yet: it begins anew with the plugin that is there now.
    fn change(&mut self, stage: usize, change: impl FnOnce(&mut Stage)) {
        self.chain.change(stage, change);
        self.passage.restart();
        let now = self.clock.now();
        for parked in &mut self.parked {
            parked.passage.restart();
            parked.due = now;
        }
    }

    /// Takes the batch as far as it goes: to the sink, or until it has to wait.
    fn process(&mut self) -> Result<(), Error> {
        self.obey()?;
        if self.paused || self.handing_over {
            self.park(Duration::ZERO);
            return Ok(());
        }
        match self.run_stages() {
            Ok(Ran::Done) => self.write(),
            Ok(Ran::Yield) => {
                self.park(Duration::ZERO);
                Ok(())
            }
            Ok(Ran::RetryAfter(wait)) => {
                self.note_lag();
                self.park(wait);
                Ok(())
            }
            // The version before runs it all again, even what this one has made dead letters of.
            Err(error) if self.may_be_undone(&error) => Err(error),
            // What came before it is done, and stays done.
            Err(error) => self.finish().and(Err(error)),
        }
    }

    /// Whether the error is that of a version on trial, all of whose work since the last commit can be undone.
    fn may_be_undone(&self, error: &Error) -> bool {
        let culprit = error.culprit.map(|culprit| self.chain.stage(culprit.stage));
        self.settings.delivery == Delivery::ExactlyOnce && culprit.is_some_and(Stage::is_on_trial)
    }

    fn run_stages(&mut self) -> Result<Ran, Error> {
        let ran = self.chain.run(&self.batch, &mut self.passage, &*self.clock)?;
        if ran == Ran::Done {
            self.refuse_to_pass_over()?;
        }
        Ok(ran)
    }

    fn revoke(&mut self, lost: bool) -> Result<(), Error> {
        if lost {
            self.give_up()?;
        } else {
            self.finish()?;
        }
        let gone = self.source.release()?;
        self.parked.retain(|parked| !gone.contains(&parked.batch.partition));
        self.meters.forget_lag(gone.iter());
        self.lag.retain(|partition, _| !gone.contains(partition));
        Ok(())
    }

    /// How long the source may wait: not past the next commit, nor the next retry.
    fn wait(&self) -> Duration {
        let commit = self.open_since.map(|since| since + self.commit_interval());
        let parked = self.parked.iter().filter(|_| !self.paused).map(|parked| parked.due);
        let Some(next) = parked.chain(commit).min() else {
            return WAIT_MAX;
        };
        next.saturating_sub(self.clock.now()).min(WAIT_MAX)
    }
}
