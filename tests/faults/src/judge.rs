//! Tells the auditor what was seen, in the order in which it happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use sluicegate_audit::{Auditor, Partition, Record as Said, Report, Terms};
use sluicegate_tests::client::{Client, Isolation, Offsets};
use sluicegate_tests::record::{Record, as_stored};

use crate::setting::{BATCH_RECORDS, COMMIT_RECORDS, Delivery, ID, sinks, source};
use crate::task::fate;
use crate::watch::Sample;

/// Above this a process has too much memory: a worker's budget, what its clients fetch ahead, and the engine.
const MEMORY_MAX: u64 = 512 << 20;

/// What a reader sees of all topics that a run writes.
#[derive(Debug, Default)]
pub struct Reading(BTreeMap<String, Vec<Record>>);

impl Reading {
    /// What a reader of committed records sees now.
    pub fn now(client: &Client, run: &str) -> Result<Self> {
        let read = sinks(run).map(|topic| {
            let seen = client.consume(&topic, Isolation::ReadCommitted)?;
            Ok((topic, seen))
        });
        Ok(Self(read.into_iter().collect::<Result<_>>()?))
    }
}

/// What there is to judge of a run.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The run's name.
    pub run: &'a str,
    /// The promise.
    pub delivery: Delivery,
    /// All inputs, in the order in which they were written.
    pub inputs: &'a [Record],
    /// Offsets, by partition, of inputs that were deleted before anybody read them.
    pub gone: &'a BTreeMap<i32, Range<i64>>,
    /// What somebody saw who looked on.
    pub samples: &'a [Sample],
    /// Some samples may have older offsets than those before them.
    pub coordinators_move: bool,
    /// What a reader saw in the middle of the run, and what another saw at its end.
    pub outputs: [&'a Reading; 2],
    /// The most memory that each process has had, in bytes.
    pub memory: &'a [u64],
}

impl Evidence<'_> {
    /// Keeps what was seen in this folder: samples, and outputs by their ids.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        let samples = self.samples.iter().map(|sample| format!("{sample:?}\n"));
        fs::write(folder.join("samples.txt"), samples.collect::<String>())?;
        let outputs = by_place(&self.outputs).into_iter().map(|((topic, partition, offset), output)| {
            let id = output.header(ID).flatten().unwrap_or_default();
            format!("{topic}[{partition}]@{offset} {}\n", String::from_utf8_lossy(id))
        });
        Ok(fs::write(folder.join("outputs.txt"), outputs.collect::<String>())?)
    }
}

/// Judges a run.
pub fn judge(evidence: &Evidence<'_>) -> Result<Report> {
    let mut auditor = Auditor::new(terms(evidence));
    let from = source(evidence.run);
    let is_gone = |input: &Record| evidence.gone.get(&input.partition).is_some_and(|gone| gone.contains(&input.offset));
    for input in as_stored(evidence.inputs).into_iter().filter(|input| !is_gone(input)) {
        let place = partition(&from, input.partition)?;
        auditor.input(&place, u64::try_from(input.offset)?, fate(evidence.run, &input)?);
    }
    let mut outputs = by_place(&evidence.outputs);
    let mut latest = BTreeMap::new();
    for sample in evidence.samples {
        tell_outputs(&mut auditor, &mut outputs, Some(&sample.ends))?;
        for (number, offset) in &sample.committed {
            let latest = latest.entry(number).or_insert(*offset);
            *latest = if evidence.coordinators_move { *offset.max(latest) } else { *offset };
            auditor.committed(&partition(&from, *number)?, u64::try_from(*latest)?);
        }
        if sample.fault {
            auditor.fault();
        }
    }
    tell_outputs(&mut auditor, &mut outputs, None)?;
    let last = by_place(&evidence.outputs[1..]);
    for (topic, number) in last.keys().map(|(topic, number, _)| (*topic, *number)).collect::<BTreeSet<_>>() {
        let offsets = last.range((topic, number, 0)..(topic, number + 1, 0));
        let offsets: Vec<u64> = offsets.map(|((.., offset), _)| offset.unsigned_abs()).collect();
        auditor.read_again(&partition(topic, number)?, &offsets);
    }
    evidence.memory.iter().for_each(|used| auditor.memory(*used));
    Ok(auditor.verdict())
}

fn terms(evidence: &Evidence<'_>) -> Terms {
    let (delivery, repeats_max) = match evidence.delivery {
        Delivery::ExactlyOnce => (sluicegate_audit::Delivery::ExactlyOnce, 0),
        // A commit's worth, and the batch that made it due.
        Delivery::AtLeastOnce => (sluicegate_audit::Delivery::AtLeastOnce, COMMIT_RECORDS + BATCH_RECORDS),
    };
    Terms { repeats_max, memory_max: MEMORY_MAX, ..Terms::new(evidence.run, delivery) }
}

/// Outputs by topic, partition and offset.
type Outputs<'a> = BTreeMap<(&'a str, i32, i64), &'a Record>;

fn by_place<'a>(readings: &[&'a Reading]) -> Outputs<'a> {
    let topics = readings.iter().flat_map(|reading| &reading.0);
    let place = |topic: &'a String, output: &'a Record| ((topic.as_str(), output.partition, output.offset), output);
    topics.flat_map(|(topic, outputs)| outputs.iter().map(move |output| place(topic, output))).collect()
}

/// Tells the outputs below these ends, or all, and forgets them.
fn tell_outputs(
    auditor: &mut Auditor,
    outputs: &mut Outputs<'_>,
    ends: Option<&BTreeMap<String, Offsets>>,
) -> Result<()> {
    let is_below = |(topic, number, offset): &(&str, i32, i64)| {
        ends.is_none_or(|ends| ends.get(*topic).and_then(|ends| ends.get(number)).is_some_and(|end| offset < end))
    };
    for ((topic, number, offset), output) in outputs.extract_if(.., |place, _| is_below(place)) {
        let id = output.header(ID).flatten().with_context(|| format!("an output without an id: {output:?}"))?;
        let record = said(output);
        auditor.output(&partition(topic, number)?, offset.unsigned_abs(), &String::from_utf8_lossy(id), &record);
    }
    Ok(())
}

/// What a record says to the auditor.
pub(crate) fn said(record: &Record) -> Said {
    let headers = record.headers.iter().filter(|header| header.0 != ID);
    Said {
        key: record.key.clone(),
        value: record.value.clone(),
        headers: headers.map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect(),
        timestamp: Some(record.timestamp),
    }
}

fn partition(topic: &str, number: i32) -> Result<Partition> {
    Ok(Partition::new(topic, u32::try_from(number)?))
}

#[cfg(test)]
mod tests {
    use sluicegate_audit::{Fate, Invariant};
    use sluicegate_tests::trades;

    use super::*;
    use crate::clock::Clock;
    use crate::setting::aside;
    use crate::task::assign;

    const RECORDS: usize = 100;

    /// What readers see where all went well.
    fn reading(inputs: &[Record]) -> Result<Reading> {
        let mut topics = BTreeMap::<String, Vec<Record>>::new();
        for input in as_stored(inputs) {
            let (due, story) = match fate("run", &input)? {
                Fate::Produced(due) => (due, Vec::new()),
                Fate::DeadLetter { letter, story } => (vec![letter], story),
            };
            let named = |(name, value): (Vec<u8>, _)| (String::from_utf8_lossy(&name).into_owned(), value);
            let story: Vec<_> = story.into_iter().map(named).collect();
            for (index, due) in due.into_iter().enumerate() {
                let outputs = topics.entry(due.topic.to_string()).or_default();
                let id = format!("run/{}/0/{}/{index}", source("run"), input.offset);
                let added = story.iter().cloned().chain([(ID.to_owned(), Some(id.into_bytes()))]);
                let headers = input.headers.iter().cloned().chain(added).collect();
                outputs.push(Record {
                    offset: outputs.len() as i64,
                    value: due.record.value,
                    headers,
                    ..input.clone()
                });
            }
        }
        Ok(Reading(topics))
    }

    fn report(inputs: &[Record], reading: &Reading) -> Result<Report> {
        let all = Offsets::from([(0, RECORDS as i64)]);
        let ends = reading.0.keys().map(|topic| (topic.clone(), Offsets::from([(0, i64::MAX)]))).collect();
        judge(&Evidence {
            run: "run",
            delivery: Delivery::ExactlyOnce,
            inputs,
            gone: &BTreeMap::new(),
            samples: &[Sample { at: Clock::now(), committed: all, ends, fault: false }],
            coordinators_move: false,
            outputs: [reading, reading],
            memory: &[],
        })
    }

    #[test]
    fn a_record_whose_outputs_are_there_in_part_is_found() -> Result<()> {
        let mut inputs = trades::generate(1, RECORDS, 1);
        assign(&mut inputs);
        let mut reading = reading(&inputs)?;
        assert!(report(&inputs, &reading)?.is_clean());
        // The last that went there is one of three outputs of its record.
        reading.0.get_mut(&aside("run")).and_then(Vec::pop).context("an output")?;
        assert!(report(&inputs, &reading)?.violates(Invariant::AllOrNone));
        Ok(())
    }
}
