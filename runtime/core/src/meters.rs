use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::batch::Partition;
use crate::failure::FailureKind;

/// What one worker counts within a batch, before it is added to [`Meters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records read.
    pub records_in: u64,
    /// Bytes of keys, values and headers read.
    pub bytes_in: u64,
    /// Outputs handed to the sink, dead letters not counted.
    pub outputs: u64,
    /// Records for which a dead letter was produced.
    pub dead_letters: u64,
    /// Failed records that a policy skipped.
    pub skipped: u64,
}

/// The counters of a pipeline, shared by its workers and whoever looks at them. Written once a batch, never a record.
#[derive(Debug)]
pub struct Meters {
    records_in: AtomicU64,
    bytes_in: AtomicU64,
    outputs: AtomicU64,
    dead_letters: AtomicU64,
    skipped: AtomicU64,
    commits: AtomicU64,
    /// Milliseconds since the Unix epoch; 0 before the first.
    last_commit_ms: AtomicI64,
    swaps: AtomicU64,
    swap_ns_max: AtomicU64,
    stages: Vec<StageMeters>,
    lag: Mutex<BTreeMap<Partition, u64>>,
}

#[derive(Debug)]
struct StageMeters {
    name: String,
    failures: [AtomicU64; FailureKind::ALL.len()],
}

impl Meters {
    /// All at zero, for a pipeline of these stages.
    pub fn new<'a>(stages: impl IntoIterator<Item = &'a str>) -> Self {
        let stage = |name: &str| StageMeters { name: name.to_owned(), failures: Default::default() };
        Meters {
            records_in: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            outputs: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            last_commit_ms: AtomicI64::new(0),
            swaps: AtomicU64::new(0),
            swap_ns_max: AtomicU64::new(0),
            stages: stages.into_iter().map(stage).collect(),
            lag: Mutex::default(),
        }
    }

    /// The sums so far.
    pub fn tally(&self) -> Tally {
        Tally {
            records_in: self.records_in.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            outputs: self.outputs.load(Relaxed),
            dead_letters: self.dead_letters.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
        }
    }

    /// Commits so far.
    pub fn commits(&self) -> u64 {
        self.commits.load(Relaxed)
    }

    /// When a worker last committed, in milliseconds since the Unix epoch; none before the first time.
    pub fn last_commit_ms(&self) -> Option<i64> {
        Some(self.last_commit_ms.load(Relaxed)).filter(|milliseconds| *milliseconds != 0)
    }

    /// How often a worker has exchanged a plugin for another version, and how long that held one up at most.
    pub fn swaps(&self) -> (u64, Duration) {
        (self.swaps.load(Relaxed), Duration::from_nanos(self.swap_ns_max.load(Relaxed)))
    }

    /// Failed records so far, by stage and kind.
    pub fn failures(&self) -> impl Iterator<Item = (&str, FailureKind, u64)> {
        self.stages.iter().flat_map(|stage| {
            FailureKind::ALL
                .iter()
                .map(|kind| (stage.name.as_str(), *kind, stage.failures[*kind as usize].load(Relaxed)))
        })
    }

    /// How many records of each assigned partition were not done, as of the last commit, or of the last pause before a retry.
    pub fn lag(&self) -> BTreeMap<Partition, u64> {
        self.lag.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(crate) fn add(&self, tally: &Tally) {
        self.records_in.fetch_add(tally.records_in, Relaxed);
        self.bytes_in.fetch_add(tally.bytes_in, Relaxed);
        self.outputs.fetch_add(tally.outputs, Relaxed);
        self.dead_letters.fetch_add(tally.dead_letters, Relaxed);
        self.skipped.fetch_add(tally.skipped, Relaxed);
    }

    pub(crate) fn add_failure(&self, stage: usize, kind: FailureKind) {
        if let Some(stage) = self.stages.get(stage) {
            stage.failures[kind as usize].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn add_swap(&self, took: Duration) {
        self.swaps.fetch_add(1, Relaxed);
        self.swap_ns_max.fetch_max(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn add_commit(&self, unix_ms: i64, lag: &BTreeMap<Partition, u64>) {
        self.commits.fetch_add(1, Relaxed);
        self.last_commit_ms.fetch_max(unix_ms, Relaxed);
        self.set_lag(lag);
    }

    pub(crate) fn set_lag(&self, lag: &BTreeMap<Partition, u64>) {
        let mut shared = self.lag.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.extend(lag.iter().map(|(partition, lag)| (partition.clone(), *lag)));
    }

    pub(crate) fn forget_lag<'a>(&self, partitions: impl Iterator<Item = &'a Partition>) {
        let mut shared = self.lag.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        partitions.for_each(|partition| {
            shared.remove(partition);
        });
    }
}
