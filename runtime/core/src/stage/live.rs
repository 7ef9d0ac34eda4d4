use std::ops::Range;
use std::time::Duration;

use crate::batch::Batch;
use crate::error::{Error, ErrorKind};
use crate::failure::{Failure, FailureKind};
use crate::outcome::{Outcomes, Valid};
use crate::seams::{Clock, Transform};

use super::result::Part;
use super::{Ran, Terms};

/// After calls that took this long in total, the worker attends to its group, its commit and its commands before the next.
pub const TURN_MAX: Duration = Duration::from_secs(1);
/// How long a candidate, which leaves no turns, may hold a worker up: with one batch before a further call, and with its failed
/// calls and the fresh instances after them since the last batch with a record that the live plugin failed on too.
const LOST_MAX: Duration = Duration::from_secs(5);

/// One live instance, and what was learned of it.
pub(super) struct Live {
    transform: Box<dyn Transform>,
    pace: Pace,
    /// Whether it has processed anything since it was made or renewed.
    is_used: bool,
    /// Records in a row that made the plugin fail.
    failures: u32,
    /// A candidate's records are not tried again, and its time is limited.
    is_candidate: bool,
    /// How long a candidate's failed calls took, and the fresh instances after them.
    lost: Duration,
    slice: Batch,
}

/// What follows from a call that failed, in a fresh instance.
enum Next {
    /// Any of its records may be to blame: each half is run by itself.
    Halves,
    /// The record was alone, and need not be to blame: it is run again.
    Again,
    /// It was alone, and is run again after this pause.
    RetryAfter(Duration),
    /// It was alone, and has failed for good.
    GiveUp,
}

impl Live {
    pub(super) fn new(transform: Box<dyn Transform>) -> Self {
        let (pace, lost) = (Pace { rows: usize::MAX }, Duration::ZERO);
        Live { transform, pace, is_used: false, failures: 0, is_candidate: false, lost, slice: Batch::default() }
    }

    pub(super) fn candidate(transform: Box<dyn Transform>) -> Self {
        Live { is_candidate: true, ..Live::new(transform) }
    }

    pub(super) fn transform(&self) -> &dyn Transform {
        &*self.transform
    }

    pub(super) fn retire(self) {
        self.transform.retire();
    }

    /// The breaker counts anew.
    pub(super) fn start_over(&mut self) {
        self.failures = 0;
    }

    /// What was lost until now is not this candidate's fault.
    pub(super) fn forgive(&mut self) {
        self.lost = Duration::ZERO;
    }

    /// Lays out how a batch of so many records is to be run.
    pub(super) fn plan(&self, len: usize, part: &mut Part) {
        self.pace.split(len, self.transform.rows_max(), &mut part.todo);
    }

    /// Runs what is left to do of the batch.
    ///
    /// # Errors
    /// The plugin cannot be started again, its breaker tripped, or it is a candidate and took too much time.
    pub(super) fn run(
        &mut self,
        terms: &Terms,
        input: &Batch,
        part: &mut Part,
        clock: &dyn Clock,
    ) -> Result<Ran, Error> {
        let before = part.took;
        while let Some(rows) = part.todo.pop() {
            let took = part.took - before;
            if self.is_candidate && took >= LOST_MAX {
                return Err(too_slow(terms, took, rows.start, input.len()));
            }
            if !self.is_candidate && took >= TURN_MAX {
                part.todo.push(rows);
                return Ok(Ran::Yield);
            }
            let failure = match self.call(terms, input, rows.clone(), part, clock) {
                Ok(outcomes) => {
                    self.failures = 0;
                    part.retries = 0;
                    part.add(rows, outcomes);
                    continue;
                }
                Err(failure) => failure,
            };
            let was_used = std::mem::take(&mut self.is_used);
            self.renew(terms, part, clock)?;
            self.check_lost(terms, &failure)?;
            match self.next(terms, failure.kind, rows.len(), was_used, part.retries) {
                Next::Halves => {
                    let middle = rows.start + rows.len() / 2;
                    part.todo.push(middle..rows.end);
                    part.todo.push(rows.start..middle);
                }
                Next::Again => part.todo.push(rows),
                Next::RetryAfter(wait) => {
                    let wait = jittered(wait, input.offsets[rows.start], part.retries);
                    part.retries += 1;
                    part.todo.push(rows);
                    return Ok(Ran::RetryAfter(wait));
                }
                Next::GiveUp => {
                    part.retries = 0;
                    self.count(terms, &failure)?;
                    part.failed.push((rows.start, failure));
                }
            }
        }
        Ok(Ran::Done)
    }

    /// What to do about a call of so many records that failed so.
    fn next(&self, terms: &Terms, kind: FailureKind, rows: usize, was_used: bool, retries: u32) -> Next {
        if rows > 1 {
            return Next::Halves;
        }
        if was_used && kind == FailureKind::Memory {
            // What an instance has kept of earlier records is not this one's fault.
            return Next::Again;
        }
        match terms.policy.retry(kind, retries) {
            Some(wait) if !self.is_candidate => Next::RetryAfter(wait),
            _ => Next::GiveUp,
        }
    }

    fn call(
        &mut self,
        terms: &Terms,
        input: &Batch,
        rows: Range<usize>,
        part: &mut Part,
        clock: &dyn Clock,
    ) -> Result<Valid, Failure> {
        let batch = if rows.len() == input.len() {
            input
        } else {
            input.slice(rows, &mut self.slice);
            &self.slice
        };
        let mut outcomes = Outcomes::default();
        let start = clock.now();
        let processed = self.transform.process(batch, &mut outcomes);
        let took = clock.now().saturating_sub(start);
        part.took += took;
        if let Err(failure) = processed {
            part.overruns += u64::from(failure.kind == FailureKind::Deadline);
            self.lost += took;
            return Err(failure);
        }
        self.pace.learn(terms.deadline, batch.len(), took);
        self.is_used = true;
        outcomes.validate(batch, terms.outputs, &terms.limits, terms.feeds_sink, clock.unix_ms())
    }

    /// Puts a fresh instance in the place of one that failed. Its time is the plugin's: instantiation and configuration are its code.
    fn renew(&mut self, terms: &Terms, part: &mut Part, clock: &dyn Clock) -> Result<(), Error> {
        let start = clock.now();
        let renewed = self.transform.renew().map_err(|error| error.within(&format!("stage '{}'", terms.name)));
        let took = clock.now().saturating_sub(start);
        part.took += took;
        self.lost += took;
        renewed
    }

    /// Tells a broken plugin from a few bad records.
    fn count(&mut self, terms: &Terms, failure: &Failure) -> Result<(), Error> {
        self.failures = self.failures.saturating_add(1);
        if terms.breaker.is_none_or(|most| self.failures < most) {
            return Ok(());
        }
        let message = format!(
            "stage '{}': the breaker tripped, as the plugin failed on {} records in a row, lastly with {failure}; \
             mend the plugin, or raise on-failure.breaker if its records are to blame",
            terms.name, self.failures
        );
        Err(Error::new(ErrorKind::Tripped, message))
    }

    fn check_lost(&self, terms: &Terms, failure: &Failure) -> Result<(), Error> {
        if !self.is_candidate || self.lost < LOST_MAX {
            return Ok(());
        }
        let message = format!(
            "stage '{}': failed calls of the candidate have held a worker up for {LOST_MAX:?}, lastly with {failure}",
            terms.name
        );
        Err(Error::new(ErrorKind::Tripped, message))
    }
}

#[cold]
fn too_slow(terms: &Terms, took: Duration, done: usize, of: usize) -> Error {
    let message = format!(
        "stage '{}': too slow: the candidate took {took:.1?} for {done} of a batch's {of} records, and a worker waits for \
         {LOST_MAX:?} at most; make batch.records smaller, or the plugin faster",
        terms.name
    );
    Error::new(ErrorKind::Tripped, message)
}

/// Sizes batches so that a slow plugin stays well under its deadline and is not halved for being slow.
struct Pace {
    rows: usize,
}

impl Pace {
    /// Calls aim at this part of the deadline.
    const PART: u32 = 4;

    fn learn(&mut self, deadline: Duration, rows: usize, took: Duration) {
        let target = deadline / Self::PART;
        if took > target {
            let fitting = rows as f64 * target.as_secs_f64() / took.as_secs_f64();
            self.rows = (fitting as usize).max(1);
        } else if rows >= self.rows {
            // Cautiously back, so that a passing stall of the machine does not keep batches small for ever.
            self.rows = self.rows.saturating_mul(2);
        }
    }

    /// Adds the ranges in which to run `len` records, at most so many at once; the first one last.
    fn split(&self, len: usize, rows_max: usize, ranges: &mut Vec<Range<usize>>) {
        let rows = self.rows.min(rows_max).min(len).max(1);
        ranges.extend((0..len.div_ceil(rows)).rev().map(|i| i * rows..((i + 1) * rows).min(len)));
    }
}

/// Between half of the pause and all of it, so that what failed together is not tried again together. For the same record and
/// retry it is always the same.
fn jittered(wait: Duration, offset: u64, retry: u32) -> Duration {
    // The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
    let mut mixed = (offset ^ (u64::from(retry) << 48)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let part = ((mixed ^ (mixed >> 31)) >> 40) as u32;
    wait / 2 + (wait / 2).mul_f64(f64::from(part) / f64::from(1u32 << 24))
}
