//! One worker goes on where another leaves off.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Worker;
use super::parked::Parked;
use crate::batch::{Batch, Partition};
use crate::progress::Progress;
use crate::seams::{Sink, Source, Transaction};

/// How a worker ended well.
pub enum Ended {
    /// It was asked to stop, and has left the group.
    Left,
    /// It was told to hand over. Nothing is in flight.
    HandedOver(Handover),
}

/// What one worker leaves to the next, which goes on as the same member of the group, with the same partitions.
pub struct Handover {
    /// Where its records came from.
    pub source: Box<dyn Source>,
    /// Where its outputs went.
    pub sink: Box<dyn Sink>,
    /// What it committed with.
    pub transaction: Box<dyn Transaction>,
    /// What the next one begins with.
    pub rest: Rest,
}

/// What a worker had read and not done: batches whose partitions are held.
#[derive(Default)]
pub struct Rest {
    batches: Vec<Batch>,
    lag: BTreeMap<Partition, u64>,
    /// Has nothing in flight.
    progress: Progress,
}

impl Worker {
    /// The same worker, which begins with what the one before it had not done; over that one's seams.
    #[must_use]
    pub fn after(mut self, rest: Rest) -> Self {
        let parked = |batch| Parked { batch, passage: self.chain.passage(), due: Duration::ZERO };
        self.parked = rest.batches.into_iter().map(parked).collect();
        self.lag = rest.lag;
        self.progress = Progress::after(&rest.progress);
        self
    }

    /// Leaves the seams, with nothing in flight.
    pub(super) fn hand_over(self) -> Handover {
        let Worker { source, sink, transaction, lag, progress, .. } = self;
        let batches = self.parked.into_iter().map(|parked| parked.batch).collect();
        Handover { source, sink, transaction, rest: Rest { batches, lag, progress } }
    }
}
