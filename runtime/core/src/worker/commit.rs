//! When what was written is committed, and how.

use std::time::Duration;

use super::{Delivery, WAIT_MAX, Worker, WorkerSettings};
use crate::error::{Error, ErrorKind};
use crate::seams::Polled;

/// At least once, a commit's worth is committed in so many parts: while one is being acknowledged the next is written, and a
/// crash repeats both at most.
const PARTS: usize = 2;

/// Where nothing waits to be read, a transaction is committed after this part of the interval, as readers of committed records
/// see nothing of it before that.
const LULL_PART: u32 = 4;
/// But never sooner than this many times the mean duration of a commit.
const LULL_COMMITS: u32 = 4;
/// The latest commit's weight in that mean is one in so many: one slow commit does not delay readers.
const COMMITS_KNOWN: u32 = 8;

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

/// What to do while a transaction is being committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    /// Nothing, as nothing is to come after it.
    Wait,
    /// Read on, and run stages.
    RunAhead,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Amount {
    records: usize,
    bytes: usize,
}

impl Amount {
    pub(super) fn add(&mut self, records: usize, bytes: usize) {
        self.records += records;
        self.bytes += bytes;
    }
}

impl CommitEvery {
    /// Whether the amount is a commit's worth, divided by `part`.
    fn is_reached(&self, amount: Amount, part: usize) -> bool {
        amount.records >= self.records / part || amount.bytes >= self.bytes / part
    }
}

impl Worker {
    /// Waits until everything in flight is durable, and commits it.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        let give_up = self.clock.now() + self.settings.drain;
        if self.settings.delivery == Delivery::AtLeastOnce {
            self.progress.reached();
            while !self.progress.is_idle() && self.clock.now() < give_up {
                self.sink.acknowledged(&mut self.progress, WAIT_MAX)?;
                self.progress.reached();
            }
        }
        self.commit(Meanwhile::Wait)?;
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
    pub(super) fn is_full(&self) -> bool {
        let WorkerSettings { commit, budget, delivery, .. } = &self.settings;
        self.progress.bytes() >= *budget
            || *delivery == Delivery::AtLeastOnce
                && (commit.is_reached(self.uncommitted, 1) || self.is_past(self.progress.oldest(), commit.interval))
    }

    pub(super) fn make_room(&mut self) -> Result<(), Error> {
        if self.settings.delivery == Delivery::ExactlyOnce {
            return self.commit(Meanwhile::RunAhead);
        }
        // The sink may take minutes: neither the group nor whoever commands waits for it.
        if let Polled::Revoked { lost } = self.source.attend()? {
            return self.revoke(lost);
        }
        self.obey()?;
        self.sink.acknowledged(&mut self.progress, WAIT_MAX)?;
        self.progress.reached();
        // It is acknowledged little by little, and not each bit is worth a commit: where the budget or a batch's age is
        // the limit, acknowledgements alone make room.
        let WorkerSettings { commit, .. } = &self.settings;
        let waiting = Amount { records: self.progress.records(), bytes: self.progress.bytes() };
        let is_worth_it = commit.is_reached(self.uncommitted, 1) && !commit.is_reached(waiting, PARTS);
        if self.commit_is_due() || is_worth_it { self.commit(Meanwhile::RunAhead) } else { Ok(()) }
    }

    pub(super) fn commit(&mut self, meanwhile: Meanwhile) -> Result<(), Error> {
        if self.open_since.is_none() {
            return Ok(());
        }
        let mut ahead = None;
        match self.settings.delivery {
            Delivery::ExactlyOnce => {
                let began = self.clock.now();
                let committed;
                (committed, ahead) = self.commit_outputs(meanwhile);
                let took = self.clock.now().saturating_sub(began);
                self.commits_take = (self.commits_take * (COMMITS_KNOWN - 1) + took) / COMMITS_KNOWN;
                committed.map_err(|error| graver(error, ahead.take()))?;
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
        self.meters.add_commit(self.clock.unix_ms(), &self.lag);
        self.open_since = if self.progress.is_idle() { None } else { Some(self.clock.now()) };
        ahead.map_or(Ok(()), Err)
    }

    pub(super) fn commit_is_due(&self) -> bool {
        self.open_since.is_some()
            && (self.settings.commit.is_reached(self.fresh, self.parts())
                || self.is_past(self.open_since, self.commit_interval()))
    }

    fn is_past(&self, since: Option<Duration>, time: Duration) -> bool {
        since.is_some_and(|since| self.clock.now().saturating_sub(since) >= time)
    }

    pub(super) fn commit_interval(&self) -> Duration {
        let interval = self.settings.commit.interval / self.parts() as u32;
        if !self.lull {
            return interval;
        }
        (interval / LULL_PART).max(self.commits_take * LULL_COMMITS).min(interval)
    }

    /// In how many parts a commit's worth is committed.
    fn parts(&self) -> usize {
        if self.settings.delivery == Delivery::AtLeastOnce { PARTS } else { 1 }
    }
}

/// Which error counts, of a commit and of what was run meanwhile: one after which nothing goes on, before one after which it is
/// done again.
#[cold]
fn graver(of_commit: Error, ahead: Option<Error>) -> Error {
    let could_go_on = matches!(of_commit.kind, ErrorKind::Rewind | ErrorKind::Retry);
    ahead.filter(|ahead| could_go_on && ahead.kind != ErrorKind::Rewind).unwrap_or(of_commit)
}
