//! One worker goes on where another leaves off.

use std::collections::BTreeMap;

use super::Worker;
use crate::batch::{Batch, Partition};
use crate::progress::Progress;
use crate::seams::{Sink, Source, Transaction};

/// How a worker ended well.
pub enum Ended {
    /// It was asked to stop, and has left the group.
    Left,
    /// It was told to hand over, and nothing is in flight. A worker over these seams goes on as the same member of the group, with
    /// the same partitions, and starts with the batches that this one had read but not finished.
    HandedOver(Seams),
}

/// What a worker stands on, but for its plugins and its clock.
pub struct Seams {
    /// Where records come from.
    pub source: Box<dyn Source>,
    /// Where outputs go.
    pub sink: Box<dyn Sink>,
    /// What makes offsets and outputs one.
    pub transaction: Box<dyn Transaction>,
    pub(super) rest: Rest,
}

impl Seams {
    /// Seams that no worker has had yet.
    pub fn new(source: Box<dyn Source>, sink: Box<dyn Sink>, transaction: Box<dyn Transaction>) -> Self {
        Seams { source, sink, transaction, rest: Rest::default() }
    }
}

/// What the worker before had read and not finished: batches whose partitions are held.
#[derive(Default)]
pub(super) struct Rest {
    pub(super) batches: Vec<Batch>,
    pub(super) lag: BTreeMap<Partition, u64>,
    /// Has nothing in flight.
    pub(super) progress: Progress,
}

impl Worker {
    /// Leaves the seams, with nothing in flight.
    pub(super) fn hand_over(self) -> Seams {
        let Worker { source, sink, transaction, lag, progress, .. } = self;
        let batches = self.parked.into_iter().map(|parked| parked.batch).collect();
        Seams { source, sink, transaction, rest: Rest { batches, lag, progress } }
    }
}
