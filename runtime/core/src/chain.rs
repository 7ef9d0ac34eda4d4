use std::iter::Peekable;

use crate::batch::Batch;
use crate::emission::Emission;
use crate::error::Error;
use crate::failure::Failure;
use crate::maker::PluginHeader;
use crate::output::{Destination, Output};
use crate::seams::Clock;
use crate::stage::{Ran, Stage, StageResult, TURN_MAX};

/// The stages of a pipeline, in order.
///
/// What a stage routes to a named output leaves the pipeline there; the rest is the next stage's input. A record is done as
/// a whole: if a later stage fails on anything that came of it, none of its outputs is written.
pub(crate) struct Chain {
    stages: Vec<Stage>,
    /// What outputs say of the plugins that made them; none: nothing.
    plugin_header: Option<PluginHeader>,
}

/// One batch's way through the chain, as far as it came.
pub(crate) struct Passage {
    /// The first stage that has not done its part.
    stage: usize,
    /// Whether it has begun.
    began: bool,
    results: Vec<StageResult>,
    /// `carried[k]` is what stage k hands to stage k + 1, unless it passed everything.
    carried: Vec<Carried>,
    /// `routed[k]` is what stage k, not the last, routed to named outputs.
    routed: Vec<Routed>,
    /// The input of the present stage: an index into `carried`, or none for the batch itself.
    input: Option<usize>,
    failed: Vec<FailedRecord>,
}

/// A record of the batch that failed for good.
#[derive(Debug)]
pub(crate) struct FailedRecord {
    /// Its row in the batch.
    pub(crate) row: usize,
    pub(crate) stage: usize,
    pub(crate) failure: Failure,
}

/// Records between two stages, and the rows of the batch that they came of.
#[derive(Default)]
struct Carried {
    records: Batch,
    origins: Vec<usize>,
    /// Which of them a canary took part in; empty where there is none such.
    by_canary: Vec<bool>,
}

#[derive(Default)]
struct Routed {
    carried: Carried,
    to: Vec<u32>,
}

impl Carried {
    fn clear(&mut self) {
        self.records.clear();
        self.origins.clear();
        self.by_canary.clear();
    }

    fn is_by_canary(&self, row: usize) -> bool {
        self.by_canary.get(row) == Some(&true)
    }

    fn push(&mut self, offset: u64, origin: usize, emission: &Emission<'_>) {
        self.records.push(offset, emission.timestamp, emission.key, emission.value);
        for (name, value) in emission.headers {
            self.records.push_header(name, value);
        }
        self.origins.push(origin);
    }
}

impl Chain {
    pub(crate) fn new(mut stages: Vec<Stage>) -> Self {
        stages.last_mut().into_iter().for_each(Stage::feed_sink);
        Chain { stages, plugin_header: None }
    }

    pub(crate) fn stage(&self, index: usize) -> &Stage {
        &self.stages[index]
    }

    /// From now on outputs say which plugins made them.
    pub(crate) fn name_plugins(&mut self) {
        self.plugin_header = Some(PluginHeader::of(&self.stages));
    }

    pub(crate) fn plugin_header(&self) -> Option<&PluginHeader> {
        self.plugin_header.as_ref()
    }

    /// Batches are run again from their first records: no record counts twice for a breaker.
    pub(crate) fn start_over(&mut self) {
        self.stages.iter_mut().for_each(Stage::start_over);
    }

    /// Changes the plugins of a stage. Passages that have begun must be restarted.
    pub(crate) fn change(&mut self, index: usize, change: impl FnOnce(&mut Stage)) {
        self.start_over();
        if let Some(stage) = self.stages.get_mut(index) {
            change(stage);
        }
        if self.plugin_header.is_some() {
            self.name_plugins();
        }
    }

    /// A passage for a batch that has not begun.
    pub(crate) fn passage(&self) -> Passage {
        let mut passage = Passage {
            stage: 0,
            began: false,
            results: Vec::new(),
            carried: Vec::new(),
            routed: Vec::new(),
            input: None,
            failed: Vec::new(),
        };
        passage.results.resize_with(self.stages.len(), Default::default);
        passage.carried.resize_with(self.stages.len(), Default::default);
        passage.routed.resize_with(self.stages.len(), Default::default);
        passage
    }

    /// Runs the batch through the stages that it has not passed. Unless all are passed then, the next call goes on where this one
    /// stopped.
    ///
    /// # Errors
    /// A plugin cannot be started again, or its breaker tripped.
    pub(crate) fn run(&mut self, batch: &Batch, passage: &mut Passage, clock: &dyn Clock) -> Result<Ran, Error> {
        let start = clock.now();
        while let Some(stage) = self.stages.get_mut(passage.stage) {
            if passage.stage > 0 && clock.now().saturating_sub(start) >= TURN_MAX {
                return Ok(Ran::Yield);
            }
            let began = std::mem::replace(&mut passage.began, true);
            let (input, result) = passage.present(batch);
            if !began {
                stage.begin(input, result, clock);
            }
            match stage.run(input, result, clock).map_err(|error| error.by(passage.stage, stage.version()))? {
                Ran::Done => passage.advance(batch)?,
                ran => return Ok(ran),
            }
        }
        // A record that failed more than once keeps its first failure.
        passage.failed.sort_by_key(|failed| failed.row);
        passage.failed.dedup_by_key(|failed| failed.row);
        Ok(Ran::Done)
    }
}

impl Passage {
    /// The records that failed for good, by row, each once.
    pub(crate) fn failed(&self) -> &[FailedRecord] {
        &self.failed
    }

    /// Starts again, with the same batch or another.
    pub(crate) fn restart(&mut self) {
        (self.stage, self.began, self.input) = (0, false, None);
        self.failed.clear();
    }

    /// The input of the present stage, and what it makes of it.
    fn present<'a>(&'a mut self, batch: &'a Batch) -> (&'a Batch, &'a mut StageResult) {
        let input = self.input.map_or(batch, |at| &self.carried[at].records);
        (input, &mut self.results[self.stage])
    }

    /// The present stage has done its part: what it made becomes the next one's input.
    fn advance(&mut self, batch: &Batch) -> Result<(), Error> {
        let index = self.stage;
        let (done, rest) = self.carried.split_at_mut(index);
        let from = self.input.map(|at| &done[at]);
        let input = from.map_or(batch, |carried| &carried.records);
        let origin = |row: usize| from.map_or(row, |carried| carried.origins[row]);
        let (result, routed) = (&self.results[index], &mut self.routed[index]);
        let failed = result.failed().iter();
        self.failed.extend(failed.map(|(row, failure)| FailedRecord {
            row: origin(*row),
            stage: index,
            failure: failure.clone(),
        }));
        routed.carried.clear();
        routed.to.clear();
        if index + 1 < self.results.len() && !result.passes_all() {
            hand_over(input, result, origin, &mut rest[0], routed)?;
            if result.is_split() || from.is_some_and(|carried| !carried.by_canary.is_empty()) {
                note_canary(input, result, from, &mut rest[0], routed)?;
            }
            self.input = Some(index);
        }
        (self.stage, self.began) = (index + 1, false);
        Ok(())
    }

    /// Calls `each` for every output of the batch, in the order of the records that caused them, leaving out the
    /// records that failed. The batch has passed all stages.
    ///
    /// # Errors
    /// The first error of `each`.
    pub(crate) fn outputs(
        &self,
        batch: &Batch,
        header: Option<&PluginHeader>,
        mut each: impl FnMut(&Output<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut numbering = Numbering { batch, failed: &self.failed, row: usize::MAX, index: 0 };
        let Some(last) = self.results.last() else {
            let mut rows = batch.rows().enumerate();
            return rows.try_for_each(|(row, record)| numbering.number(row, &Emission::pass(&record), &[], &mut each));
        };
        let from = self.input.map(|at| &self.carried[at]);
        let input = from.map_or(batch, |carried| &carried.records);
        let added = |passed, by_canary| header.map_or(&[][..], |header| header.after(passed, by_canary));
        let (by_live, with_canary) = (added(self.results.len(), false), added(self.results.len(), true));
        // Nearly always no canary took part: then nothing is asked about each output.
        let had_canary = last.is_split() || from.is_some_and(|carried| !carried.by_canary.is_empty());
        let mut early = EarlyOutputs::new(&self.routed, header);
        last.visit(input, |row, emission| {
            let made_by = match had_canary {
                true if emission.by_canary || from.is_some_and(|carried| carried.is_by_canary(row)) => with_canary,
                _ => by_live,
            };
            let row = from.map_or(row, |carried| carried.origins[row]);
            early.up_to(row, |row, emission, made_by| numbering.number(row, emission, made_by, &mut each))?;
            numbering.number(row, &emission, made_by, &mut each)
        })?;
        early.up_to(usize::MAX, |row, emission, made_by| numbering.number(row, emission, made_by, &mut each))
    }
}

/// Sorts a stage's outputs into what goes on and what leaves the pipeline here.
fn hand_over(
    input: &Batch,
    result: &StageResult,
    origin: impl Fn(usize) -> usize,
    next: &mut Carried,
    routed: &mut Routed,
) -> Result<(), Error> {
    next.clear();
    next.records.partition = input.partition.clone();
    result.visit(input, |row, emission| {
        let (offset, origin) = (input.offsets[row], origin(row));
        match emission.to {
            None => next.push(offset, origin, &emission),
            Some(to) => {
                routed.carried.push(offset, origin, &emission);
                routed.to.push(to);
            }
        }
        Ok(())
    })
}

/// Notes in which of the records that were handed over a canary took part.
#[cold]
fn note_canary(
    input: &Batch,
    result: &StageResult,
    from: Option<&Carried>,
    next: &mut Carried,
    routed: &mut Routed,
) -> Result<(), Error> {
    result.visit(input, |row, emission| {
        let to = if emission.to.is_none() { &mut *next } else { &mut routed.carried };
        to.by_canary.push(emission.by_canary || from.is_some_and(|carried| carried.is_by_canary(row)));
        Ok(())
    })
}

/// Numbers the outputs of each record, and leaves out those of records that failed.
struct Numbering<'a> {
    batch: &'a Batch,
    failed: &'a [FailedRecord],
    row: usize,
    index: u32,
}

impl Numbering<'_> {
    #[inline]
    fn number(
        &mut self,
        row: usize,
        emission: &Emission<'_>,
        added: &[(&'static str, String)],
        each: &mut impl FnMut(&Output<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.failed.is_empty() && self.failed.binary_search_by_key(&row, |failed| failed.row).is_ok() {
            return Ok(());
        }
        self.index = if row == self.row { self.index + 1 } else { 0 };
        self.row = row;
        each(&Output {
            to: emission.to.map_or(Destination::Default, Destination::Named),
            source: &self.batch.partition,
            offset: self.batch.offsets[row],
            index: self.index,
            timestamp: emission.timestamp,
            key: emission.key,
            value: emission.value,
            headers: emission.headers,
            added,
        })
    }
}

/// What stages before the last routed to named outputs, read in the order of the batch's rows.
struct EarlyOutputs<'a> {
    stages: Vec<Peekable<Box<dyn Iterator<Item = RowEmission<'a>> + 'a>>>,
}

/// Row of the batch, output, and what is said of the plugins that made it.
type RowEmission<'a> = (usize, Emission<'a>, &'a [(&'static str, String)]);

impl<'a> EarlyOutputs<'a> {
    fn new(routed: &'a [Routed], header: Option<&'a PluginHeader>) -> Self {
        let filled = routed.iter().enumerate().filter(|(_, routed)| !routed.to.is_empty());
        let stages = filled.map(|(stage, routed)| {
            let rows = routed.carried.records.rows().zip(&routed.to).zip(&routed.carried.origins).enumerate();
            let emissions = rows.map(move |(at, ((row, to), origin))| {
                let by_canary = routed.carried.is_by_canary(at);
                let made_by = header.map_or(&[][..], |header| header.after(stage + 1, by_canary));
                (*origin, Emission { to: Some(*to), ..Emission::pass(&row) }, made_by)
            });
            (Box::new(emissions) as Box<dyn Iterator<Item = _>>).peekable()
        });
        EarlyOutputs { stages: stages.collect() }
    }

    #[inline]
    fn up_to(
        &mut self,
        row: usize,
        mut each: impl FnMut(usize, &Emission<'a>, &'a [(&'static str, String)]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while !self.stages.is_empty() {
            // The earliest row first; of one row, the earlier stage first.
            let next = self.stages.iter_mut().filter_map(|stage| stage.peek().map(|(at, ..)| *at)).min();
            let Some(at) = next.filter(|at| *at <= row) else {
                break;
            };
            for stage in &mut self.stages {
                while let Some((origin, emission, made_by)) = stage.next_if(|(origin, ..)| *origin == at) {
                    each(origin, &emission, made_by)?;
                }
            }
        }
        Ok(())
    }
}
