//! Batches that wait, each with its partition, while the others flow on.

use std::time::Duration;

use super::Worker;
use crate::batch::Batch;
use crate::chain::Passage;
use crate::error::Error;

/// A batch that waits, and how far it came.
pub(super) struct Parked {
    pub(super) batch: Batch,
    pub(super) passage: Passage,
    /// When it is to go on.
    pub(super) due: Duration,
}

impl Worker {
    /// Puts the batch aside for some time, and its partition with it.
    pub(super) fn park(&mut self, wait: Duration) {
        self.source.hold(&self.batch.partition, true);
        let batch = std::mem::take(&mut self.batch);
        let passage = std::mem::replace(&mut self.passage, self.chain.passage());
        self.parked.push(Parked { batch, passage, due: self.clock.now() + wait });
    }

    /// A record of the batch is to be tried again, maybe for minutes, and nothing of its partition is read meanwhile: all of it
    /// counts as not done.
    pub(super) fn note_lag(&mut self) {
        if let Some(lag) = lag(&self.batch) {
            self.lag.insert(self.batch.partition.clone(), lag);
            self.meters.set_lag(&self.lag);
        }
    }

    /// The parked batch that has been due longest, and of several the one that came first: each has a turn before any has
    /// another.
    pub(super) fn due(&self) -> Option<usize> {
        if self.parked.is_empty() || self.paused {
            return None;
        }
        let now = self.clock.now();
        let due = self.parked.iter().enumerate().filter(|(_, parked)| parked.due <= now);
        due.min_by_key(|(_, parked)| parked.due).map(|(index, _)| index)
    }

    pub(super) fn resume(&mut self, index: usize) -> Result<(), Error> {
        // The others keep the order in which they came.
        let parked = self.parked.remove(index);
        (self.batch, self.passage) = (parked.batch, parked.passage);
        self.source.hold(&self.batch.partition, false);
        self.process()
    }
}

/// How far the partition is behind while this batch is not done, if that is known.
pub(super) fn lag(batch: &Batch) -> Option<u64> {
    let first = batch.offsets.first()?;
    Some(batch.log_end?.saturating_sub(*first))
}
