//! Tells the auditor what was seen, in the order in which it happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use sluicegate_audit::{Auditor, Expected, Fate, Partition, Record as Said, Report, Terms};
use sluicegate_tests::client::Offsets;
use sluicegate_tests::record::{Record, as_stored};

use crate::setting::{BATCH_RECORDS, COMMIT_RECORDS, Delivery, ID, output, source};
use crate::watch::Sample;

/// Above this a process has too much memory: a worker's budget, what its clients fetch ahead, and the engine.
const MEMORY_MAX: u64 = 512 << 20;

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
    /// The outputs that a reader saw in the middle of the run, and those that another saw at its end.
    pub outputs: [&'a [Record]; 2],
    /// The most memory that each process has had, in bytes.
    pub memory: &'a [u64],
}

impl Evidence<'_> {
    /// Keeps what was seen in this folder: samples, and outputs by their ids.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        let samples = self.samples.iter().map(|sample| format!("{sample:?}\n"));
        fs::write(folder.join("samples.txt"), samples.collect::<String>())?;
        let outputs = by_place(self.outputs).into_iter().map(|((partition, offset), output)| {
            let id = output.header(ID).flatten().unwrap_or_default();
            format!("{partition}@{offset} {}\n", String::from_utf8_lossy(id))
        });
        Ok(fs::write(folder.join("outputs.txt"), outputs.collect::<String>())?)
    }
}

/// Judges a run.
pub fn judge(evidence: &Evidence<'_>) -> Result<Report> {
    let mut auditor = Auditor::new(terms(evidence));
    let (from, to) = (source(evidence.run), output(evidence.run));
    let is_gone = |input: &Record| evidence.gone.get(&input.partition).is_some_and(|gone| gone.contains(&input.offset));
    for input in as_stored(evidence.inputs).into_iter().filter(|input| !is_gone(input)) {
        let expected =
            said(&Record { value: input.value.as_ref().map(|value| value.to_ascii_uppercase()), ..input.clone() });
        let place = partition(&from, input.partition)?;
        let expected = Expected { topic: to.as_str().into(), partition: Some(place.number), record: expected };
        auditor.input(&place, u64::try_from(input.offset)?, Fate::Produced(vec![expected]));
    }
    let mut outputs = by_place(evidence.outputs);
    let mut latest = BTreeMap::new();
    for sample in evidence.samples {
        tell_outputs(&mut auditor, &to, &mut outputs, Some(&sample.ends))?;
        for (number, offset) in &sample.committed {
            let latest = latest.entry(number).or_insert(*offset);
            *latest = if evidence.coordinators_move { *offset.max(latest) } else { *offset };
            auditor.committed(&partition(&from, *number)?, u64::try_from(*latest)?);
        }
        if sample.fault {
            auditor.fault();
        }
    }
    tell_outputs(&mut auditor, &to, &mut outputs, None)?;
    let last = by_place([evidence.outputs[1], &[]]);
    for number in last.keys().map(|place| place.0).collect::<BTreeSet<_>>() {
        let offsets: Vec<u64> =
            last.range((number, 0)..(number + 1, 0)).map(|(place, _)| place.1.unsigned_abs()).collect();
        auditor.read_again(&partition(&to, number)?, &offsets);
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

/// Outputs by partition and offset.
type Outputs<'a> = BTreeMap<(i32, i64), &'a Record>;

fn by_place(outputs: [&[Record]; 2]) -> Outputs<'_> {
    outputs.into_iter().flatten().map(|output| ((output.partition, output.offset), output)).collect()
}

/// Tells the outputs below these ends, or all, and forgets them.
fn tell_outputs(auditor: &mut Auditor, topic: &str, outputs: &mut Outputs<'_>, ends: Option<&Offsets>) -> Result<()> {
    let is_below = |place: &(i32, i64)| ends.is_none_or(|ends| ends.get(&place.0).is_some_and(|end| place.1 < *end));
    for ((number, offset), output) in outputs.extract_if(.., |place, _| is_below(place)) {
        let id = output.header(ID).flatten().with_context(|| format!("an output without an id: {output:?}"))?;
        let record = said(output);
        auditor.output(&partition(topic, number)?, offset.unsigned_abs(), &String::from_utf8_lossy(id), &record);
    }
    Ok(())
}

fn said(record: &Record) -> Said {
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
