use std::ops::Range;
use std::time::Duration;

use crate::batch::{Batch, Row};
use crate::commands::Replacement;
use crate::error::{Error, ErrorKind};
use crate::failure::{Failure, FailureKind};
use crate::outcome::{Emission, Outcomes, OutputLimits, PASS, REJECT};
use crate::policy::Policy;
use crate::seams::{Clock, Transform};

/// A plugin's place in a pipeline: one live instance, its limits and its policy.
pub struct Stage {
    name: String,
    transform: Box<dyn Transform>,
    policy: Policy,
    limits: OutputLimits,
    /// The number of named outputs that results may be routed to.
    outputs: usize,
    pace: Pace,
    breaker: Breaker,
    part: Batch,
    version: u64,
    on_trial: bool,
}

impl Stage {
    /// A stage of this name. `deadline` is the one the transform enforces for each call.
    pub fn new(
        name: impl Into<String>,
        transform: Box<dyn Transform>,
        policy: Policy,
        limits: OutputLimits,
        outputs: usize,
        deadline: Duration,
    ) -> Self {
        let pace = Pace { deadline, rows: usize::MAX };
        let breaker = Breaker { failures: 0, most: None };
        Stage {
            name: name.into(),
            transform,
            policy,
            limits,
            outputs,
            pace,
            breaker,
            part: Batch::default(),
            version: 0,
            on_trial: false,
        }
    }

    /// The same stage, which says in errors that its plugin is of this version. One that is `on_trial` has another version
    /// before it, which takes over should this one end the worker: then nothing that is not committed counts.
    #[must_use]
    pub fn with_version(mut self, version: u64, on_trial: bool) -> Self {
        (self.version, self.on_trial) = (version, on_trial);
        self
    }

    /// Lets another version of the plugin take over; gives back the one before. What was learned of that is forgotten.
    /// To be called between two batches.
    pub(crate) fn replace(&mut self, by: Replacement) -> Box<dyn Transform> {
        (self.version, self.on_trial) = (by.version, by.on_trial);
        self.pace.rows = usize::MAX;
        self.breaker.failures = 0;
        std::mem::replace(&mut self.transform, by.transform)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn is_on_trial(&self) -> bool {
        self.on_trial
    }

    /// The same stage with a breaker: it stops the worker once this many records in a row made the plugin fail.
    /// Rejections are answers, not failures of the plugin.
    #[must_use]
    pub fn with_breaker(mut self, failures: u32) -> Self {
        self.breaker.most = Some(failures);
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn transform(&self) -> &dyn Transform {
        &*self.transform
    }

    /// Makes `result` that of a batch of `len` records of which nothing is done yet.
    pub(crate) fn begin(&self, len: usize, result: &mut StageResult) {
        result.clear();
        self.pace.split(len, &mut result.todo);
    }

    /// Runs what is left of the batch through the plugin. Whatever the plugin does, each record ends either in one of
    /// the result's segments or among its failures.
    ///
    /// A failed call says nothing about which record is to blame: the instance is thrown away and each half of the
    /// batch is run in a fresh one, until the record is alone. If its policy then gives it another try after a pause,
    /// that pause is returned, and the next call goes on from there.
    ///
    /// # Errors
    /// The plugin cannot be started again, or its breaker tripped.
    pub(crate) fn run(
        &mut self,
        input: &Batch,
        result: &mut StageResult,
        clock: &dyn Clock,
    ) -> Result<Option<Duration>, Error> {
        while let Some(rows) = result.todo.pop() {
            let failure = match self.call(input, rows.clone(), clock) {
                Ok(outcomes) => {
                    self.breaker.failures = 0;
                    result.retries = 0;
                    result.add(rows, outcomes);
                    continue;
                }
                Err(failure) => failure,
            };
            self.transform.renew().map_err(|error| error.within(&format!("stage '{}'", self.name)))?;
            if rows.len() > 1 {
                let middle = rows.start + rows.len() / 2;
                result.todo.push(middle..rows.end);
                result.todo.push(rows.start..middle);
            } else if let Some(wait) = self.policy.retry(failure.kind, result.retries) {
                let wait = jittered(wait, input.offsets[rows.start], result.retries);
                result.retries += 1;
                result.todo.push(rows);
                return Ok(Some(wait));
            } else {
                result.retries = 0;
                self.breaker.count(&self.name, &failure)?;
                result.failed.push((rows.start, failure));
            }
        }
        Ok(None)
    }

    fn call(&mut self, input: &Batch, rows: Range<usize>, clock: &dyn Clock) -> Result<Outcomes, Failure> {
        let batch = if rows.len() == input.len() {
            input
        } else {
            input.slice(rows, &mut self.part);
            &self.part
        };
        let mut outcomes = Outcomes::default();
        let start = clock.now();
        self.transform.process(batch, &mut outcomes)?;
        self.pace.learn(batch.len(), clock.now().saturating_sub(start));
        outcomes.validate(batch, self.outputs, &self.limits)?;
        Ok(outcomes)
    }
}

/// Sizes batches so that a slow plugin stays well under its deadline and is not halved for being slow.
#[derive(Debug)]
struct Pace {
    deadline: Duration,
    rows: usize,
}

impl Pace {
    /// Calls aim at this part of the deadline.
    const PART: u32 = 4;

    fn learn(&mut self, rows: usize, took: Duration) {
        let target = self.deadline / Self::PART;
        if took > target {
            let fitting = rows as f64 * target.as_secs_f64() / took.as_secs_f64();
            self.rows = (fitting as usize).max(1);
        } else if rows >= self.rows {
            // Cautiously back, so that a passing stall of the machine does not keep batches small for ever.
            self.rows = self.rows.saturating_mul(2);
        }
    }

    /// Adds the ranges in which to run `len` records, the first one last.
    fn split(&self, len: usize, ranges: &mut Vec<Range<usize>>) {
        let rows = self.rows.min(len).max(1);
        ranges.extend((0..len.div_ceil(rows)).rev().map(|i| i * rows..((i + 1) * rows).min(len)));
    }
}

/// Notices a plugin that is broken, rather than met by a few bad records.
#[derive(Debug)]
struct Breaker {
    /// Records in a row that made the plugin fail.
    failures: u32,
    most: Option<u32>,
}

impl Breaker {
    fn count(&mut self, stage: &str, failure: &Failure) -> Result<(), Error> {
        self.failures = self.failures.saturating_add(1);
        if self.most.is_none_or(|most| self.failures < most) {
            return Ok(());
        }
        let message = format!(
            "stage '{stage}': the breaker tripped, as the plugin failed on {} records in a row, lastly with {failure}; \
             mend the plugin, or raise on-failure.breaker if its records are to blame",
            self.failures
        );
        Err(Error::new(ErrorKind::Tripped, message))
    }
}

/// Between half of the pause and all of it, so that what failed together is not tried again together. The same for the
/// same record and retry.
fn jittered(wait: Duration, offset: u64, retry: u32) -> Duration {
    // The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
    let mut mixed = (offset ^ (u64::from(retry) << 48)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let part = ((mixed ^ (mixed >> 31)) >> 40) as u32;
    wait / 2 + (wait / 2).mul_f64(f64::from(part) / f64::from(1u32 << 24))
}

/// What became of a batch in one stage, as far as it is done.
#[derive(Debug, Default)]
pub(crate) struct StageResult {
    segments: Vec<Segment>,
    failed: Vec<(usize, Failure)>,
    /// The ranges still to do, the next one last.
    todo: Vec<Range<usize>>,
    /// How often the next one, a record that failed alone, was tried again.
    retries: u32,
}

#[derive(Debug)]
struct Segment {
    rows: Range<usize>,
    outcomes: Outcomes,
}

impl StageResult {
    fn clear(&mut self) {
        self.segments.clear();
        self.failed.clear();
        self.todo.clear();
        self.retries = 0;
    }

    fn add(&mut self, rows: Range<usize>, mut outcomes: Outcomes) {
        if !outcomes.reasons.is_empty() {
            let rejected = rows.clone().zip(&outcomes.outcomes).filter(|(_, outcome)| **outcome == REJECT);
            let reasons = outcomes.reasons.drain(..);
            self.failed.extend(
                rejected.zip(reasons).map(|((row, _), reason)| (row, Failure::new(FailureKind::Rejected, reason))),
            );
        }
        self.segments.push(Segment { rows, outcomes });
    }

    /// Row and failure of the records that failed for good, each row once, in order.
    pub(crate) fn failed(&self) -> &[(usize, Failure)] {
        &self.failed
    }

    /// Whether the stage's output is its input.
    pub(crate) fn passes_all(&self) -> bool {
        self.failed.is_empty() && self.segments.iter().all(|segment| segment.outcomes.passes_all())
    }

    /// Calls `each` with row and output, in order, for every output of the stage.
    ///
    /// # Errors
    /// The first error of `each`.
    pub(crate) fn visit<'a>(
        &'a self,
        input: &'a Batch,
        mut each: impl FnMut(usize, Emission<'a>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut rows = input.rows().enumerate();
        for segment in &self.segments {
            let mut emissions = segment.outcomes.emissions();
            let mut outcomes = segment.outcomes.outcomes.iter();
            let segment_rows = rows.by_ref().skip_while(|(row, _)| *row < segment.rows.start);
            for ((row, record), outcome) in segment_rows.zip(outcomes.by_ref()) {
                visit_row(row, &record, *outcome, &mut emissions, &mut each)?;
                if row + 1 == segment.rows.end {
                    break; // Before the zip takes a row that is the next segment's.
                }
            }
        }
        Ok(())
    }
}

#[inline]
fn visit_row<'a>(
    row: usize,
    record: &Row<'a>,
    outcome: i32,
    emissions: &mut crate::outcome::Emissions<'a>,
    each: &mut impl FnMut(usize, Emission<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    if outcome == PASS {
        return each(row, Emission::pass(record));
    }
    for _ in 0..outcome.max(0) {
        each(row, emissions.next(record))?;
    }
    Ok(())
}
