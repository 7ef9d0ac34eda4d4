use std::ops::Range;
use std::time::Duration;

use crate::batch::{Batch, Row};
use crate::canary::Share;
use crate::emission::{Emission, Emissions};
use crate::error::Error;
use crate::failure::{Failure, FailureKind};
use crate::outcome::{PASS, REJECT, Valid};

/// What became of a batch in one stage, as far as it is done.
#[derive(Debug, Default)]
pub(crate) struct StageResult {
    pub(super) live: Part,
    pub(super) split: Split,
}

/// What one instance made of what it was given.
#[derive(Debug, Default)]
pub(super) struct Part {
    segments: Vec<Segment>,
    /// Row and failure of the records that failed for good, each row once, in order.
    pub(super) failed: Vec<(usize, Failure)>,
    /// The ranges still to do, the next one last.
    pub(super) todo: Vec<Range<usize>>,
    /// How often the next one, a record that failed alone, was tried again.
    pub(super) retries: u32,
    /// The time in calls, and for a fresh instance after each that failed.
    pub(super) took: Duration,
    /// Calls that took longer than the deadline.
    pub(super) overruns: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Segment {
    rows: Range<usize>,
    outcomes: Valid,
}

/// How a batch is divided between the live plugin and a canary. All empty where the canary has no share in it.
#[derive(Debug, Default)]
pub(super) struct Split {
    /// One a row of the input.
    pub(super) makers: Vec<Maker>,
    /// The rows that the canary was given.
    pub(super) given: Vec<usize>,
    /// What it made of them, by their places in `given`.
    pub(super) canary: Part,
    /// What is left for the live plugin, and its rows in the input.
    rest: Batch,
    rows: Vec<usize>,
}

/// Whose outcome of a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    Live,
    Canary,
    /// The live plugin's, because the canary failed on the record.
    LiveAfterCanary,
}

impl StageResult {
    pub(super) fn clear(&mut self) {
        self.live.clear();
        self.split.clear();
    }

    /// What the live plugin is to run, and what it makes of that.
    pub(super) fn of_live<'a>(&'a mut self, input: &'a Batch) -> (&'a Batch, &'a mut Part) {
        let input = if self.split.makers.is_empty() { input } else { &self.split.rest };
        (input, &mut self.live)
    }

    /// Everything is done: from now on failures have the rows of the input.
    pub(super) fn finish(&mut self) {
        if self.is_split() {
            self.live.failed.iter_mut().for_each(|(row, _)| *row = self.split.rows[*row]);
        }
    }

    /// Row and failure of the records that failed for good, each row once, in order.
    pub(crate) fn failed(&self) -> &[(usize, Failure)] {
        &self.live.failed
    }

    /// How the live plugin failed on this row, if it did.
    pub(super) fn failure_of(&self, row: usize) -> Option<&Failure> {
        let at = self.live.failed.binary_search_by_key(&row, |(row, _)| *row).ok()?;
        Some(&self.live.failed[at].1)
    }

    /// Whether a canary took part.
    pub(crate) fn is_split(&self) -> bool {
        !self.split.makers.is_empty()
    }

    /// Whether the stage's output is its input, so that nothing need be copied. False where a canary took part: what it passed
    /// on must stay traceable.
    pub(crate) fn passes_all(&self) -> bool {
        let live = &self.live;
        !self.is_split() && live.failed.is_empty() && live.segments.iter().all(|segment| segment.outcomes.passes_all())
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
        if !self.is_split() {
            return self.live.visit(input, each);
        }
        let (mut live, mut canary) = (self.live.reader(), self.split.canary.reader());
        for ((row, record), maker) in input.rows().enumerate().zip(&self.split.makers) {
            match maker {
                Maker::Live => live.next(row, &record, &mut each)?,
                Maker::Canary => canary
                    .next(row, &record, &mut |row, emission| each(row, Emission { by_canary: true, ..emission }))?,
                Maker::LiveAfterCanary => {
                    canary.next(row, &record, &mut |_, _| Ok(()))?;
                    live.next(row, &record, &mut each)?;
                }
            }
        }
        Ok(())
    }
}

impl Part {
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        self.failed.clear();
        self.todo.clear();
        self.retries = 0;
        self.took = Duration::ZERO;
        self.overruns = 0;
    }

    pub(super) fn add(&mut self, rows: Range<usize>, mut outcomes: Valid) {
        if !outcomes.reasons.is_empty() {
            let reasons = outcomes.take_reasons();
            let rejected = rows.clone().zip(&outcomes.outcomes).filter(|(_, outcome)| **outcome == REJECT);
            self.failed.extend(
                rejected.zip(reasons).map(|((row, _), reason)| (row, Failure::new(FailureKind::Rejected, reason))),
            );
        }
        self.segments.push(Segment { rows, outcomes });
    }

    /// Whether both are the same, byte for byte. Where not, they may still mean the same.
    pub(super) fn is_like(&self, other: &Part) -> bool {
        self.segments == other.segments && self.failed == other.failed
    }

    /// Calls `each` with row and output, in order, for every output.
    ///
    /// # Errors
    /// The first error of `each`.
    pub(super) fn visit<'a>(
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

    fn reader(&self) -> PartReader<'_> {
        PartReader { segments: self.segments.iter(), segment: None, row: 0 }
    }
}

/// Reads what an instance made of its records, one after the other.
struct PartReader<'a> {
    segments: std::slice::Iter<'a, Segment>,
    segment: Option<(&'a Segment, Emissions<'a>)>,
    row: usize,
}

impl<'a> PartReader<'a> {
    /// Calls `each` for the outputs of its next record, which is `record`, in row `row` of the whole batch. A record that failed
    /// has none.
    fn next(
        &mut self,
        row: usize,
        record: &Row<'a>,
        each: &mut impl FnMut(usize, Emission<'a>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let own = self.row;
        self.row += 1;
        while self.segment.as_ref().is_none_or(|(segment, _)| segment.rows.end <= own) {
            let Some(segment) = self.segments.next() else { return Ok(()) };
            self.segment = Some((segment, segment.outcomes.emissions()));
        }
        match &mut self.segment {
            Some((segment, emissions)) if segment.rows.contains(&own) => {
                visit_row(row, record, segment.outcomes.outcomes[own - segment.rows.start], emissions, each)
            }
            _ => Ok(()),
        }
    }
}

#[inline]
fn visit_row<'a>(
    row: usize,
    record: &Row<'a>,
    outcome: i32,
    emissions: &mut Emissions<'a>,
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

impl Split {
    pub(super) fn clear(&mut self) {
        self.makers.clear();
        self.given.clear();
        self.canary.clear();
        self.rows.clear();
    }

    /// Chooses the canary's rows. The same record is always or never among them, wherever and however often it is read.
    pub(super) fn draw(&mut self, share: &Share, input: &Batch) {
        self.clear();
        let by_partition = share.has_partition(&input.partition);
        match share.of_keys {
            false if !by_partition => {}
            false => self.given.extend(0..input.len()),
            true => {
                let keys = input.keys.cursor().map(|key| key.or(None));
                let taken = keys.map(|key| key.map_or(by_partition, |key| share.has_key(key)));
                self.given.extend(taken.enumerate().filter(|(_, taken)| *taken).map(|(row, _)| row));
            }
        }
        if !self.given.is_empty() {
            self.makers.resize(input.len(), Maker::Live);
            self.given.iter().for_each(|row| self.makers[*row] = Maker::Canary);
        }
    }

    /// The canary has run: what it failed on goes to the live plugin too, with the rest.
    pub(super) fn hand_back(&mut self, input: &Batch) {
        self.canary.failed.iter().for_each(|(place, _)| self.makers[self.given[*place]] = Maker::LiveAfterCanary);
        let makers = self.makers.iter().enumerate();
        self.rows.extend(makers.filter(|(_, maker)| **maker != Maker::Canary).map(|(row, _)| row));
        input.pick(&self.rows, &mut self.rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Partition;
    use crate::outcome::Outcomes;
    use crate::outcome::tests::valid;
    use proptest::prelude::*;

    fn input(keys: &[Option<u8>]) -> Batch {
        let mut batch = Batch { partition: Partition { topic: "in".into(), number: 0 }, ..Batch::default() };
        for (offset, key) in (100u64..).zip(keys) {
            batch.push(offset, 7, key.as_ref().map(std::slice::from_ref), Some(offset.to_string().as_bytes()));
            if offset.is_multiple_of(3) {
                batch.push_header(b"own", Some(offset.to_string().as_bytes()));
            }
        }
        batch
    }

    /// What an instance says of `batch`, in batches of `rows`: by its offset a record is passed, dropped, doubled, rejected
    /// or fails.
    fn say(batch: &Batch, rows: usize, name: &str, salt: u64, part: &mut Part) {
        for start in (0..batch.len()).step_by(rows) {
            let (mut outcomes, mut from) = (Outcomes::default(), start);
            for (row, record) in batch.rows().enumerate().skip(start).take(rows) {
                let add = |outcomes: &mut Outcomes, copies: i32| {
                    outcomes.outcomes.push(copies);
                    for copy in 0..copies {
                        outcomes.keys.lengths.push(crate::INHERIT);
                        outcomes.values.push(Some(format!("{name}{}.{copy}", record.offset).as_bytes()));
                    }
                };
                match (record.offset ^ salt) % 6 {
                    0 => outcomes.outcomes.push(PASS),
                    1 => add(&mut outcomes, 0),
                    2 => add(&mut outcomes, 2),
                    3 => {
                        outcomes.outcomes.push(REJECT);
                        outcomes.reasons.push("no".into());
                    }
                    4 => {
                        if from < row {
                            part.add(from..row, valid(std::mem::take(&mut outcomes)));
                        }
                        from = row + 1;
                        part.failed.push((row, Failure::new(FailureKind::Trap, "boom")));
                    }
                    _ => add(&mut outcomes, 1),
                }
            }
            let end = (start + rows).min(batch.len());
            if from < end {
                part.add(from..end, valid(outcomes));
            }
        }
    }

    /// What one record becomes by itself, and whether it fails.
    fn alone(batch: &Batch, row: usize, name: &str, salt: u64) -> (Vec<String>, bool) {
        let (mut one, mut part) = (Batch::default(), Part::default());
        batch.slice(row..row + 1, &mut one);
        say(&one, 1, name, salt, &mut part);
        let mut told = Vec::new();
        part.visit(&one, |_, emission| {
            told.push(format!("{row} {:?} {:?}", emission.value, emission.headers.collect::<Vec<_>>()));
            Ok(())
        })
        .unwrap();
        (told, !part.failed.is_empty())
    }

    proptest! {
        /// However a batch is divided, cut and failed on, each record's outputs are its own, in the order of the records, and
        /// by the canary where it is the canary's and did not fail.
        #[test]
        fn what_is_split_comes_back_in_order(
            keys in prop::collection::vec(prop::option::of(any::<u8>()), 1..40), points in 0u16..=10_000, of_keys: bool,
            rows in 1usize..9, live_salt in 0u64..64, canary_salt in 0u64..64,
        ) {
            let batch = input(&keys);
            let mut result = StageResult::default();
            let share = Share { points, of_keys };
            result.split.draw(&share, &batch);
            if result.is_split() {
                let mut given = Batch::default();
                batch.pick(&result.split.given, &mut given);
                say(&given, rows, "canary", canary_salt, &mut result.split.canary);
                result.split.hand_back(&batch);
            }
            let rest = result.of_live(&batch).0.clone();
            say(&rest, rows, "live", live_salt, &mut result.live);
            result.finish();

            let (mut expected, mut failed) = (Vec::new(), Vec::new());
            for (row, key) in keys.iter().enumerate() {
                let of_key = key.filter(|_| of_keys).map(|key| share.has_key(&[key]));
                let is_canarys = of_key.unwrap_or_else(|| share.has_partition(&batch.partition));
                let by_canary = alone(&batch, row, "canary", canary_salt);
                if is_canarys && !by_canary.1 {
                    expected.extend(by_canary.0.into_iter().map(|told| (told, true)));
                    continue;
                }
                let (told, fails) = alone(&batch, row, "live", live_salt);
                expected.extend(told.into_iter().map(|told| (told, false)));
                failed.extend(fails.then_some(row));
            }
            let mut seen = Vec::new();
            result.visit(&batch, |row, emission| {
                let headers = emission.headers.collect::<Vec<_>>();
                seen.push((format!("{row} {:?} {headers:?}", emission.value), emission.by_canary));
                Ok(())
            }).unwrap();
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(result.failed().iter().map(|(row, _)| *row).collect::<Vec<_>>(), failed);
        }
    }
}
