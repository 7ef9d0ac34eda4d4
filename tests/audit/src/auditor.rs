use std::fmt::Display;

use crate::input::{Arrival, Expected, Fate, Input};
use crate::invariant::Invariant;
use crate::partition::{Partition, Partitions};
use crate::record::{Header, Id, Record};
use crate::report::Report;

/// Judges one run of one pipeline. Told what a reader sees, in the order in which it is seen.
#[derive(Debug)]
pub struct Auditor {
    terms: Terms,
    inputs: Partitions<Input>,
    /// The log offsets seen of each output partition, while they are of use.
    seen: Partitions<Vec<u64>>,
    report: Report,
}

/// What was promised.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The pipeline's name, with which every id begins.
    pub pipeline: String,
    /// The promise.
    pub delivery: Delivery,
    /// At least once: the records of one partition that a fault may repeat, counted from the offset that was
    /// committed when it struck.
    pub repeats_max: usize,
    /// The bound on memory, in whatever unit [`Auditor::memory`] is told.
    pub memory_max: u64,
}

/// The promise of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Outputs and offsets are one.
    ExactlyOnce,
    /// Offsets follow outputs.
    AtLeastOnce,
}

impl Terms {
    /// The strictest terms: no repeats, whatever fails. Memory is not bounded.
    pub fn new(pipeline: &str, delivery: Delivery) -> Self {
        Terms { pipeline: pipeline.into(), delivery, repeats_max: 0, memory_max: u64::MAX }
    }
}

impl Auditor {
    /// An auditor that has seen nothing.
    pub fn new(terms: Terms) -> Self {
        Auditor { terms, inputs: Partitions::default(), seen: Partitions::default(), report: Report::default() }
    }

    /// There is an input record, and this must become of it. The offsets of a partition come in their order, before
    /// anything that they cause.
    pub fn input(&mut self, source: &Partition, offset: u64, fate: Fate) {
        self.report.counts.records += 1;
        self.inputs.entry(source).push(offset, fate);
    }

    /// An output is seen at this log offset of this partition, with this id. Each partition is read in its order.
    pub fn output(&mut self, place: &Partition, log_offset: u64, id: &str, record: &Record) {
        self.report.counts.outputs += 1;
        self.seen.entry(place).push(log_offset);
        let known = Id::parse(id).filter(|id| id.pipeline == self.terms.pipeline);
        let found = known.and_then(|id| Some((id, self.inputs.get_mut(id.topic, id.partition)?)));
        let Some((id, input, at)) = found.and_then(|(id, input)| input.find(id).map(|at| (id, input, at))) else {
            let what = || format!("{place} offset {log_offset} has an output '{id}', which no record causes");
            return self.report.add(Invariant::Content, what);
        };
        let entry = &input.entries[at];
        if let Some(difference) = differs(&entry.due[id.index as usize].expected, place, record, entry.story.as_deref())
        {
            let what = || format!("{place} offset {log_offset} has {} with {difference}", said(&id));
            self.report.add(Invariant::Content, what);
        }
        let arrival = input.arrive(at, id.index as usize, place);
        self.judge(&arrival, &id, &format_args!("{place} offset {log_offset}"));
    }

    fn judge(&mut self, arrival: &Arrival, id: &Id<'_>, place: &dyn Display) {
        let report = &mut self.report;
        if let Some((offset, index)) = arrival.late {
            report.counts.out_of_order += 1;
            let what = || format!("{place} has {} after output {index} of offset {offset}", said(id));
            report.add(Invariant::InOrder, what);
        }
        if arrival.times > 1 {
            report.counts.repeated += 1;
        }
        if self.terms.delivery == Delivery::ExactlyOnce && arrival.times > 1 {
            let what = || format!("{place} has {}, which has come {} times by now", said(id), arrival.times);
            report.add(Invariant::ExactlyOnce, what);
        }
        if self.terms.delivery == Delivery::AtLeastOnce && arrival.restarts > arrival.faults {
            let what = || {
                format!(
                    "{place} has {}, which does not follow what came before it: restart {} with {} faults so far",
                    said(id),
                    arrival.restarts,
                    arrival.faults
                )
            };
            report.add(Invariant::InOrder, what);
        }
    }

    /// This offset of this input partition was seen to be committed, and whatever was durable at that moment has been
    /// told since.
    pub fn committed(&mut self, source: &Partition, offset: u64) {
        let input = self.inputs.entry(source);
        if offset < input.committed {
            let before = input.committed;
            let what = || format!("the committed offset of {source} went from {before} back to {offset}");
            self.report.add(Invariant::OffsetsForward, what);
        }
        input.committed = offset;
        for at in input.newly_done(offset) {
            let entry = &input.entries[at];
            for index in entry.missing() {
                let what = || {
                    let record = entry.offset;
                    format!(
                        "offset {offset} of {source} was committed before output {index} of offset {record} was durable"
                    )
                };
                self.report.add(Invariant::OutputsFirst, what);
            }
        }
    }

    /// A fault strikes now. Told before anything that it causes.
    pub fn fault(&mut self) {
        self.report.counts.faults += 1;
        for input in self.inputs.values_mut() {
            let done = input.entries.partition_point(|entry| entry.offset < input.committed);
            input.faults.push(done);
        }
    }

    /// So much memory is in use now.
    pub fn memory(&mut self, used: u64) {
        let max = self.terms.memory_max;
        if used > max {
            self.report.add(Invariant::Memory, || format!("{used} in use, more than {max}"));
        }
    }

    /// A fresh reader finds these log offsets, in order, in an output partition: what was seen before must be among
    /// them. For the end of a run.
    pub fn read_again(&mut self, place: &Partition, log_offsets: &[u64]) {
        for gone in self.seen.entry(place).iter().filter(|seen| log_offsets.binary_search(seen).is_err()) {
            let what = || format!("{place} offset {gone} was seen as committed, and then undone");
            self.report.add(Invariant::NothingUndone, what);
        }
    }

    /// Something did not end within its bound.
    pub fn unfinished(&mut self, what: &str) {
        self.report.add(Invariant::NoLag, || what.to_owned());
    }

    /// Judges what can only be judged when everything is over.
    pub fn verdict(mut self) -> Report {
        let Auditor { terms, inputs, report, .. } = &mut self;
        for (source, input) in inputs.iter() {
            judge_ends(&source, input, terms.delivery, report);
            if terms.delivery == Delivery::AtLeastOnce {
                judge_repeats(&source, input, terms.repeats_max, report);
            }
        }
        self.report
    }
}

/// Nothing lost, no record in part, no lag.
fn judge_ends(source: &Partition, input: &Input, delivery: Delivery, report: &mut Report) {
    for entry in &input.entries {
        let (offset, missing, due) = (entry.offset, entry.missing().count(), entry.due.len());
        let done = offset < input.committed;
        if done && missing > 0 {
            report.counts.lost += missing as u64;
            let what = || format!("{missing} of {due} outputs of {source} offset {offset} are missing");
            report.add(Invariant::NothingLost, what);
        }
        // At least once, what is not committed may be on its way.
        if 0 < missing && missing < due && (done || delivery == Delivery::ExactlyOnce) {
            let what = || format!("{source} offset {offset} has {} of {due} outputs", due - missing);
            report.add(Invariant::AllOrNone, what);
        }
    }
    if let Some(last) = input.entries.last().filter(|last| last.offset >= input.committed) {
        let what = || format!("{source} ends at offset {}, and {} is committed", last.offset + 1, input.committed);
        report.add(Invariant::NoLag, what);
    }
}

fn judge_repeats(source: &Partition, input: &Input, repeats_max: usize, report: &mut Report) {
    for (at, entry) in input.entries.iter().enumerate() {
        let repeats = entry.due.iter().map(|due| due.seen.saturating_sub(1)).max().unwrap_or(0) as usize;
        if repeats == 0 {
            continue;
        }
        let allowed = input.repeats_allowed(at, repeats_max);
        if repeats > allowed {
            let what = || {
                format!(
                    "outputs of {source} offset {} were repeated {repeats} times; {allowed} faults struck when at most \
                     {repeats_max} records before it were not committed",
                    entry.offset
                )
            };
            report.add(Invariant::RepeatsBounded, what);
        }
    }
}

fn differs(expected: &Expected, place: &Partition, record: &Record, story: Option<&[Header]>) -> Option<String> {
    if *expected.topic != *place.topic {
        return Some(format!("topic {} instead of {}", place.topic, expected.topic));
    }
    match expected.partition {
        Some(number) if number != place.number => Some(format!("partition {} instead of {number}", place.number)),
        _ => record.difference(&expected.record, story),
    }
}

fn said(id: &Id<'_>) -> String {
    format!("output {} of {}[{}] offset {}", id.index, id.topic, id.partition, id.offset)
}
