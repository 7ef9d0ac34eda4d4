use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::batch::{Batch, Partition};
use crate::chain::{Chain, FailedRecord, Passage};
use crate::commands::{Command, Inbox, Replacement};
use crate::error::{Error, ErrorKind};
use crate::letter::Story;
use crate::meters::{Meters, Tally};
use crate::output::{Destination, Output};
use crate::policy::Action;
use crate::progress::{Progress, Ticket};
use crate::seams::{Clock, Polled, Sink, Source, Transaction};
use crate::stage::Stage;

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
    /// Batches that wait before a record of theirs is tried again, at most one a partition.
    parked: Vec<Parked>,
    /// When the oldest uncommitted batch set out; none if there is none.
    open_since: Option<Duration>,
    /// Input since the last commit.
    fresh: Amount,
    /// Input whose offsets are not committed: what a crash now would repeat.
    uncommitted: Amount,
    lag: BTreeMap<Partition, u64>,
    /// How often the worker went back since its last commit.
    rewinds: u32,
    inbox: Inbox,
    /// What is read meanwhile is parked, a batch a partition.
    paused: bool,
}

/// The promise a pipeline makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Outputs and offsets are one transaction.
    ExactlyOnce,
    /// Offsets follow acknowledged outputs.
    AtLeastOnce,
}

/// When to commit: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitEvery {
    /// After this time.
    pub interval: Duration,
    /// After this many input records.
    pub records: usize,
    /// After this many input bytes.
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    records: usize,
    bytes: usize,
}

impl Amount {
    fn add(&mut self, records: usize, bytes: usize) {
        self.records += records;
        self.bytes += bytes;
    }
}

impl CommitEvery {
    /// Whether the amount is one commit's worth, or this part of it.
    fn is_reached(&self, amount: Amount, part: usize) -> bool {
        amount.records >= self.records / part || amount.bytes >= self.bytes / part
    }
}

struct Parked {
    batch: Batch,
    passage: Passage,
    due: Duration,
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
    /// How long a drain may take before what is in flight is left for the next worker.
    pub drain: Duration,
}

/// Asks workers to drain and end. Cheap to look at; shared.
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
/// At least once, each commit takes up this part of a commit's worth: while one part is being acknowledged the next is
/// written, and both together are what a crash repeats.
const PARTS: usize = 2;
/// A worker that goes back so often without a commit between is to be replaced, and a pause is due.
const REWINDS_MAX: u32 = 5;

impl Worker {
    /// A worker over these seams. `meters` must have been made for the same stages.
    pub fn new(
        settings: WorkerSettings,
        source: Box<dyn Source>,
        stages: Vec<Stage>,
        sink: Box<dyn Sink>,
        transaction: Box<dyn Transaction>,
        clock: Box<dyn Clock>,
        meters: Arc<Meters>,
    ) -> Self {
        let chain = Chain::new(stages);
        Worker {
            settings,
            source,
            passage: chain.passage(),
            parked: Vec::new(),
            chain,
            sink,
            transaction,
            clock,
            meters,
            progress: Progress::default(),
            batch: Batch::default(),
            open_since: None,
            fresh: Amount::default(),
            uncommitted: Amount::default(),
            lag: BTreeMap::new(),
            rewinds: 0,
            inbox: Inbox::default(),
            paused: false,
        }
    }

    /// The same worker, which does what it is told by way of this inbox.
    #[must_use]
    pub fn with_inbox(mut self, inbox: Inbox) -> Self {
        self.inbox = inbox;
        self
    }

    /// Streams until `stop` is requested, then finishes what is in flight, commits and leaves the group.
    ///
    /// # Errors
    /// What was in flight is undone or left unacknowledged; a new worker does it again from the committed offsets.
    pub fn run(mut self, stop: &Stop) -> Result<(), Error> {
        let result = self.flow(stop);
        if result.is_err() && self.open_since.is_some() {
            // The first error counts; whatever cannot be undone here is fenced by the next worker.
            let _ = self.transaction.abort();
        }
        self.source.close();
        self.meters.forget_lag(self.lag.keys());
        result
    }

    fn flow(&mut self, stop: &Stop) -> Result<(), Error> {
        while !stop.requested() {
            match self.turn() {
                Err(error) if error.kind == ErrorKind::Rewind => self.rewind(error)?,
                result => result?,
            }
        }
        self.finish()
    }

    fn turn(&mut self) -> Result<(), Error> {
        if self.is_full() {
            return self.make_room();
        }
        if let Some(index) = self.due() {
            self.resume(index)?;
        } else {
            let wait = self.wait();
            match self.source.poll(&mut self.batch, wait)? {
                Polled::Batch => {
                    self.passage.restart();
                    self.process()?;
                }
                Polled::Idle => self.obey()?,
                Polled::Revoked { lost } => self.revoke(lost)?,
            }
        }
        self.sink.acknowledged(&mut self.progress, Duration::ZERO)?;
        if self.commit_is_due() { self.commit() } else { Ok(()) }
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

    /// What the worker was told since the last batch. Looked for once a batch is read, not before: it may be of a partition
    /// that another worker has run on a newer version already.
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
                Command::Replace(replacement) => self.replace(replacement),
                Command::Pause => self.paused = true,
                Command::Resume => self.paused = false,
            }
        }
        let drained = if self.paused && !was_paused { self.finish() } else { Ok(()) };
        self.inbox.done();
        drained
    }

    /// Between two batches. What is parked has nothing written, and begins anew with the new version.
    fn replace(&mut self, replacement: Replacement) {
        let Some(stage) = self.chain.stage_mut(replacement.stage) else {
            return;
        };
        let start = self.clock.now();
        stage.replace(replacement).retire();
        self.passage.restart();
        for parked in &mut self.parked {
            parked.passage.restart();
            parked.due = start;
        }
        self.meters.add_swap(self.clock.now().saturating_sub(start));
    }

    /// One batch, as far as it comes: to the sink, or until a record of it has to wait.
    fn process(&mut self) -> Result<(), Error> {
        self.obey()?;
        if self.paused {
            self.park(Duration::ZERO);
            return Ok(());
        }
        match self.run_stages() {
            Ok(None) => self.write(),
            Ok(Some(wait)) => {
                self.park(wait);
                Ok(())
            }
            // The version before runs it all again, also what this one has already made a dead letter.
            Err(error) if self.may_be_undone(&error) => Err(error),
            // What came before it is done, and stays done.
            Err(error) => self.finish().and(Err(error)),
        }
    }

    /// Whether the error is of a version on trial, and what it has made since the last commit can be undone.
    fn may_be_undone(&self, error: &Error) -> bool {
        let culprit = error.culprit.map(|culprit| self.chain.stage(culprit.stage));
        self.settings.delivery == Delivery::ExactlyOnce && culprit.is_some_and(Stage::is_on_trial)
    }

    fn run_stages(&mut self) -> Result<Option<Duration>, Error> {
        let wait = self.chain.run(&self.batch, &mut self.passage, &*self.clock)?;
        if wait.is_none() {
            self.refuse_to_pass_over()?;
        }
        Ok(wait)
    }

    /// Puts the batch aside for some time, and its partition with it: the others flow on.
    fn park(&mut self, wait: Duration) {
        self.source.hold(&self.batch.partition, true);
        let batch = std::mem::take(&mut self.batch);
        let passage = std::mem::replace(&mut self.passage, self.chain.passage());
        self.parked.push(Parked { batch, passage, due: self.clock.now() + wait });
    }

    /// A parked batch whose time has come.
    fn due(&self) -> Option<usize> {
        if self.parked.is_empty() || self.paused {
            return None;
        }
        let now = self.clock.now();
        self.parked.iter().position(|parked| parked.due <= now)
    }

    fn resume(&mut self, index: usize) -> Result<(), Error> {
        let parked = self.parked.swap_remove(index);
        (self.batch, self.passage) = (parked.batch, parked.passage);
        self.source.hold(&self.batch.partition, false);
        self.process()
    }

    fn write(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        if self.open_since.is_none() {
            self.transaction.begin()?;
            self.open_since = Some(now);
        }
        let (records, bytes) = (self.batch.len(), self.batch.bytes());
        let Some(end) = self.batch.offsets.last().map(|last| last + 1) else {
            return Ok(());
        };
        let ticket = self.progress.begin(self.batch.partition.clone(), end, records, bytes, now);
        self.fresh.add(records, bytes);
        self.uncommitted.add(records, bytes);
        let mut tally = Tally { records_in: records as u64, bytes_in: bytes as u64, ..Tally::default() };
        self.write_outputs(ticket, &mut tally)?;
        self.write_dead_letters(ticket, &mut tally)?;
        self.progress.written(ticket, tally.outputs + tally.dead_letters);
        self.meters.add(&tally);
        if let Some(log_end) = self.batch.log_end {
            self.lag.insert(self.batch.partition.clone(), log_end.saturating_sub(end));
        }
        Ok(())
    }

    /// An error where a policy says stop: nothing of the batch is written, what came before it is committed.
    fn refuse_to_pass_over(&self) -> Result<(), Error> {
        for failed in self.passage.failed() {
            let stage = self.chain.stage(failed.stage);
            if stage.policy().action(failed.failure.kind) == Action::Stop {
                self.meters.add_failure(failed.stage, failed.failure.kind);
                let (partition, offset) = (&self.batch.partition, self.batch.offsets[failed.row]);
                return Err(Error::new(
                    ErrorKind::Stopped,
                    format!(
                        "stage '{}' failed on {partition} offset {offset} ({}), and its policy is 'stop'; mend the plugin \
                         or the record, or set a dead-letter topic or on-failure.then",
                        stage.name(),
                        failed.failure
                    ),
                )
                .by(failed.stage, stage.version()));
            }
        }
        Ok(())
    }

    fn write_outputs(&mut self, ticket: Ticket, tally: &mut Tally) -> Result<(), Error> {
        let sink = &mut *self.sink;
        self.passage.outputs(&self.batch, |output| {
            tally.outputs += 1;
            sink.write(output, ticket)
        })
    }

    /// For each failed record its policy's word: a dead letter, or nothing.
    fn write_dead_letters(&mut self, ticket: Ticket, tally: &mut Tally) -> Result<(), Error> {
        let mut rows = self.batch.rows().enumerate();
        for failed in self.passage.failed() {
            self.meters.add_failure(failed.stage, failed.failure.kind);
            if self.chain.stage(failed.stage).policy().action(failed.failure.kind) == Action::Skip {
                tally.skipped += 1;
                continue;
            }
            let Some((_, record)) = rows.by_ref().find(|(row, _)| *row == failed.row) else {
                continue;
            };
            let story = self.story(failed).into_headers();
            self.sink.write(
                &Output {
                    to: Destination::DeadLetter,
                    source: &self.batch.partition,
                    offset: record.offset,
                    index: 0,
                    timestamp: record.timestamp,
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                    added: &story,
                },
                ticket,
            )?;
            tally.dead_letters += 1;
        }
        Ok(())
    }

    fn story(&self, failed: &FailedRecord) -> Story {
        let stage = self.chain.stage(failed.stage);
        let plugin = stage.transform().identity();
        Story {
            pipeline: self.settings.pipeline.clone(),
            stage: stage.name().to_owned(),
            plugin: plugin.name.clone(),
            plugin_version: plugin.version.clone(),
            plugin_digest: plugin.digest.clone(),
            failure: failed.failure.kind.name().to_owned(),
            reason: failed.failure.reason.clone(),
            source: self.batch.partition.clone(),
            offset: self.batch.offsets[failed.row],
            time_ms: self.clock.unix_ms(),
        }
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

    /// Waits until everything in flight is durable, and commits it.
    fn finish(&mut self) -> Result<(), Error> {
        let give_up = self.clock.now() + self.settings.drain;
        if self.settings.delivery == Delivery::AtLeastOnce {
            self.progress.reached();
            while !self.progress.is_idle() && self.clock.now() < give_up {
                self.sink.acknowledged(&mut self.progress, WAIT_MAX)?;
                self.progress.reached();
            }
        }
        self.commit()?;
        if self.progress.is_idle() {
            return Ok(());
        }
        let message = format!(
            "{} records were not acknowledged by the sink within {:?} of the drain; they are read again at the next start",
            self.progress.records(),
            self.settings.drain
        );
        Err(Error::new(ErrorKind::Retry, message))
    }

    /// Whether no more may be read for now: the budget is used up, or a crash would repeat more than a commit's worth.
    fn is_full(&self) -> bool {
        let WorkerSettings { commit, budget, delivery, .. } = &self.settings;
        self.progress.bytes() >= *budget
            || *delivery == Delivery::AtLeastOnce
                && (commit.is_reached(self.uncommitted, 1) || self.is_past(self.progress.oldest(), commit.interval))
    }

    fn make_room(&mut self) -> Result<(), Error> {
        if self.settings.delivery == Delivery::ExactlyOnce {
            return self.commit();
        }
        self.sink.acknowledged(&mut self.progress, WAIT_MAX)?;
        self.progress.reached();
        // Of what is acknowledged little by little, not each bit is worth a commit.
        let waiting = Amount { records: self.progress.records(), bytes: self.progress.bytes() };
        if self.commit_is_due() || !self.settings.commit.is_reached(waiting, PARTS) { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), Error> {
        if self.open_since.is_none() {
            return Ok(());
        }
        match self.settings.delivery {
            Delivery::ExactlyOnce => {
                self.transaction.commit(&self.progress.ends())?;
                self.progress.settle();
            }
            Delivery::AtLeastOnce => {
                let reached = self.progress.reached();
                if reached.is_empty() {
                    self.fresh = Amount::default();
                    self.open_since = Some(self.clock.now());
                    return Ok(());
                }
                self.transaction.commit(reached)?;
            }
        }
        self.rewinds = 0;
        self.progress.committed();
        self.fresh = Amount::default();
        self.uncommitted = Amount { records: self.progress.records(), bytes: self.progress.bytes() };
        self.meters.add_commit(&self.lag);
        self.open_since = if self.progress.is_idle() { None } else { Some(self.clock.now()) };
        Ok(())
    }

    fn commit_is_due(&self) -> bool {
        self.open_since.is_some()
            && (self.settings.commit.is_reached(self.fresh, self.parts())
                || self.is_past(self.open_since, self.commit_interval()))
    }

    fn is_past(&self, since: Option<Duration>, time: Duration) -> bool {
        since.is_some_and(|since| self.clock.now().saturating_sub(since) >= time)
    }

    fn commit_interval(&self) -> Duration {
        self.settings.commit.interval / self.parts() as u32
    }

    /// In how many parts a commit's worth is committed.
    fn parts(&self) -> usize {
        if self.settings.delivery == Delivery::AtLeastOnce { PARTS } else { 1 }
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
