use std::ops::Range;
use std::time::Duration;

use crate::batch::{Batch, Row};
use crate::error::Error;
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
    part: Batch,
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
        Stage { name: name.into(), transform, policy, limits, outputs, pace, part: Batch::default() }
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

    /// Runs the batch through the plugin. Whatever the plugin does, each record ends either in one of the result's
    /// segments or among its failures.
    ///
    /// A failed call says nothing about which record is to blame: the instance is thrown away and each half of the
    /// batch is run in a fresh one, until the record is alone.
    ///
    /// # Errors
    /// The plugin cannot be started again.
    pub(crate) fn run(&mut self, input: &Batch, result: &mut StageResult, clock: &dyn Clock) -> Result<(), Error> {
        result.clear();
        // The ranges still to do, the next one last.
        let mut todo = self.pace.split(input.len());
        while let Some(rows) = todo.pop() {
            match self.call(input, rows.clone(), clock) {
                Ok(outcomes) => result.add(rows, outcomes),
                Err(failure) => {
                    self.transform.renew().map_err(|error| error.within(&format!("stage '{}'", self.name)))?;
                    if rows.len() > 1 {
                        let middle = rows.start + rows.len() / 2;
                        todo.push(middle..rows.end);
                        todo.push(rows.start..middle);
                    } else {
                        self.retry(input, rows, failure, result, clock)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives a record that failed alone the retries that its policy allows.
    fn retry(
        &mut self,
        input: &Batch,
        row: Range<usize>,
        first: Failure,
        result: &mut StageResult,
        clock: &dyn Clock,
    ) -> Result<(), Error> {
        let mut failure = first;
        let mut retries = 0;
        while let Some(wait) = self.policy.retry(failure.kind, retries) {
            clock.sleep(wait);
            match self.call(input, row.clone(), clock) {
                Ok(outcomes) => {
                    result.add(row, outcomes);
                    return Ok(());
                }
                Err(next) => failure = next,
            }
            self.transform.renew().map_err(|error| error.within(&format!("stage '{}'", self.name)))?;
            retries += 1;
        }
        result.failed.push((row.start, failure));
        Ok(())
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

    /// The ranges in which to run `len` records, the first one last.
    fn split(&self, len: usize) -> Vec<Range<usize>> {
        if len == 0 {
            return Vec::new();
        }
        let rows = self.rows.min(len);
        (0..len.div_ceil(rows)).rev().map(|i| i * rows..((i + 1) * rows).min(len)).collect()
    }
}

/// What became of a batch in one stage.
#[derive(Debug, Default)]
pub(crate) struct StageResult {
    segments: Vec<Segment>,
    failed: Vec<(usize, Failure)>,
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
