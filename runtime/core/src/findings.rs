use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::batch::Partition;
use crate::failure::{Failure, FailureKind};

/// What all workers of a pipeline find out about a candidate beside the live plugin. Shared; each worker adds to it once a
/// batch.
#[derive(Debug, Default)]
pub struct Findings {
    ended: AtomicBool,
    report: Mutex<Report>,
    news: Condvar,
}

/// What was found out so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How the live plugin does with its records.
    pub live: Conduct,
    /// How the candidate does with its own.
    pub candidate: Conduct,
    /// Records of which a shadow made something else than the live plugin.
    pub differing: u64,
    /// The first of them.
    pub samples: Vec<Sample>,
    /// Why the candidate ended; none while it goes on.
    pub ended: Option<String>,
}

/// How a plugin does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conduct {
    /// Records that it was given.
    pub records: u64,
    /// Records that it failed on, by [`FailureKind`].
    pub failures: [u64; FailureKind::ALL.len()],
    /// Calls that took longer than the deadline.
    pub overruns: u64,
    /// The time of its calls.
    pub time: Duration,
}

/// A record of which a shadow made something else than the live plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The record's partition.
    pub partition: Partition,
    /// Its offset there.
    pub offset: u64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// What the live plugin made of it.
    pub live: Made,
    /// What the shadow made of it.
    pub candidate: Made,
    /// Whether something was too long to be kept as a whole.
    pub is_cut: bool,
}

/// What a plugin made of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// These, in order; none drops the record.
    Outputs(Vec<MadeOutput>),
    /// It failed.
    Failed(Failure),
}

/// An output, with what it inherits filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeOutput {
    /// The index of the named output, or none for the default.
    pub to: Option<u32>,
    /// Milliseconds since the Unix epoch, or [`crate::NO_TIMESTAMP`].
    pub timestamp: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values, in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Conduct {
    /// Records that it failed on, in whatever way.
    pub fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// One failure of a batch was the record's own fault. If it was too slow for the deadline, so were the calls in which it was not
    /// alone yet: none of the batch's counts.
    pub(crate) fn forget(&mut self, kind: FailureKind) {
        self.failures[kind as usize] -= 1;
        if kind == FailureKind::Deadline {
            self.overruns = 0;
        }
    }

    pub(crate) fn add(&mut self, other: &Conduct) {
        self.records += other.records;
        self.failures.iter_mut().zip(other.failures).for_each(|(sum, count)| *sum += count);
        self.overruns += other.overruns;
        self.time += other.time;
    }
}

impl Findings {
    /// What was found out so far.
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    /// Ends the candidate for this reason; the first one counts. Workers see it before their next batch.
    pub fn end(&self, reason: impl Into<String>) {
        self.lock().ended.get_or_insert(reason.into());
        self.ended.store(true, Ordering::Release);
        self.news.notify_all();
    }

    /// Whether the candidate has ended.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Waits until the candidate has ended, or time is up. Returns why it ended; none while it goes on.
    pub fn wait(&self, within: Duration) -> Option<String> {
        let waited = self.news.wait_timeout_while(self.lock(), within, |report| report.ended.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.ended.clone()
    }

    /// Adds what a batch has shown.
    pub(crate) fn add(&self, live: &Conduct, candidate: &Conduct) {
        let mut report = self.lock();
        report.live.add(live);
        report.candidate.add(candidate);
    }

    /// Adds records of which a shadow made something else; samples beyond the first are dropped.
    pub(crate) fn add_differing(&self, count: u64, samples: Vec<Sample>) {
        let mut report = self.lock();
        report.differing += count;
        let room = SAMPLES_MAX.saturating_sub(report.samples.len());
        report.samples.extend(samples.into_iter().take(room));
    }

    /// How many more samples are of use.
    pub(crate) fn samples_wanted(&self) -> usize {
        SAMPLES_MAX.saturating_sub(self.lock().samples.len())
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many differing records are kept.
const SAMPLES_MAX: usize = 16;
