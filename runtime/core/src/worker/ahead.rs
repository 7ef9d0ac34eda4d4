//! What a worker does while a commit is under way: it reads on and runs stages, and writes nothing.

use std::collections::BTreeMap;

use super::parked::{self, Parked};
use super::{Meanwhile, Worker};
use crate::batch::{Batch, Partition};
use crate::chain::Chain;
use crate::error::Error;
use crate::seams::{Clock, Source};
use crate::stage::Ran;

/// As many batches as are run in the hundredth of a second or two that a commit takes. No more wait than that: each holds its
/// input, and whatever came of it, beside the budget.
const BATCHES_MAX: usize = 8;

/// The parts of a worker that take no part in a commit.
struct Ahead<'a> {
    source: &'a mut dyn Source,
    chain: &'a mut Chain,
    clock: &'a dyn Clock,
    /// What has run waits here, with its partition held, beside what waits for another try.
    parked: &'a mut Vec<Parked>,
    lag: &'a mut BTreeMap<Partition, u64>,
    left: usize,
    error: Option<Error>,
}

impl Worker {
    /// Commits outputs and offsets, and may meanwhile run what is here already. What went wrong with that is returned beside, as
    /// it took no part in the commit.
    pub(super) fn commit_outputs(&mut self, meanwhile: Meanwhile) -> (Result<(), Error>, Option<Error>) {
        let Worker { source, chain, clock, parked, lag, transaction, progress, .. } = self;
        let (source, clock) = (&mut **source, &**clock);
        let left = match meanwhile {
            Meanwhile::RunAhead => BATCHES_MAX.saturating_sub(parked.len()),
            Meanwhile::Wait => 0,
        };
        let mut ahead = Ahead { source, chain, clock, parked, lag, left, error: None };
        let committed = transaction.commit_while(&progress.ends(), &mut || ahead.go_on());
        (committed, ahead.error)
    }
}

impl Ahead<'_> {
    /// Runs one batch, and says whether there may be another.
    fn go_on(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        let ran = self.run().unwrap_or_else(|error| {
            self.error = Some(error);
            self.left = 0;
            false
        });
        self.left = self.left.saturating_sub(usize::from(ran));
        ran
    }

    fn run(&mut self) -> Result<bool, Error> {
        let mut batch = Batch::default();
        if !self.source.ready(&mut batch)? {
            return Ok(false);
        }
        let mut passage = self.chain.passage();
        let ran = self.chain.run(&batch, &mut passage, self.clock)?;
        if ran != Ran::Done {
            // Slow, or in trouble: the commit is not to wait for more of it.
            self.left = 0;
        }
        let mut due = self.clock.now();
        if let Ran::RetryAfter(wait) = ran {
            due += wait;
            self.lag.extend(parked::lag(&batch).map(|lag| (batch.partition.clone(), lag)));
        }
        self.source.hold(&batch.partition, true);
        self.parked.push(Parked { batch, passage, due });
        Ok(true)
    }
}
