//! What a plugin made of records, read out of the columns that it returned.

use sluicegate_core::{
    Batch, Cursor, EMIT_NONE, Entry, HeaderSlice, INHERIT, NO_TIMESTAMP, Outcomes, OutputLimits, PASS, Partition,
    REJECT, Row, SinkLimits, Transform, Valid,
};

use super::case_file::{CaseFile, RecordSpec, TOPIC};
use crate::record::{Found, FoundOutput};

/// The batch of some of a file's cases, which are of one partition.
pub(super) fn batch(file: &CaseFile, cases: std::ops::Range<usize>) -> Batch {
    let mut batch = Batch::default();
    for index in cases {
        let record = &file.cases[index].record;
        batch.partition = partition(record);
        let timestamp = record.timestamp.unwrap_or(NO_TIMESTAMP);
        let (key, value) = (record.key.bytes(), record.value.bytes());
        batch.push(record.offset.unwrap_or(index as u64), timestamp, key.as_deref(), value.as_deref());
        for (name, value) in &record.headers {
            batch.push_header(name.as_bytes(), value.bytes().as_deref());
        }
    }
    batch
}

/// The partition that a case's record is of.
pub(super) fn partition(record: &RecordSpec) -> Partition {
    Partition { topic: record.topic.as_deref().unwrap_or(TOPIC).into(), number: record.partition }
}

/// Runs a batch, and reads what became of each record. Of a call that fails nothing is known but that.
pub(super) fn run(
    file: &CaseFile,
    batch: &Batch,
    transform: &mut dyn Transform,
) -> Result<Vec<Found>, sluicegate_core::Failure> {
    let limits = OutputLimits {
        outputs_per_record: file.limits.outputs_per_record,
        bytes_per_record: file.limits.output_bytes_per_record.bytes(),
        sink: SinkLimits::NONE, // There is none.
    };
    let mut outcomes = Outcomes::default();
    transform.process(batch, &mut outcomes)?;
    let outcomes = outcomes.validate(batch, file.outputs.len(), &limits, true, 0)?;
    let mut reader = Reader::new(&outcomes, &file.outputs);
    Ok(batch.rows().zip(&outcomes.outcomes).map(|(row, outcome)| reader.next(&row, *outcome)).collect())
}

/// Reads what a plugin said, record by record.
struct Reader<'a> {
    outcomes: &'a Valid,
    names: &'a [String],
    /// How many outputs and reasons were read.
    outputs: usize,
    reasons: usize,
    keys: Cursor<'a>,
    values: Cursor<'a>,
    header_names: Cursor<'a>,
    header_values: Cursor<'a>,
}

impl<'a> Reader<'a> {
    fn new(outcomes: &'a Valid, names: &'a [String]) -> Self {
        Reader {
            outcomes,
            names,
            outputs: 0,
            reasons: 0,
            keys: outcomes.keys.cursor(),
            values: outcomes.values.cursor(),
            header_names: outcomes.headers.keys.cursor(),
            header_values: outcomes.headers.values.cursor(),
        }
    }

    fn next(&mut self, row: &Row<'_>, outcome: i32) -> Found {
        match outcome {
            PASS => Found::Pass,
            REJECT => {
                self.reasons += 1;
                Found::Reject(self.outcomes.reasons.get(self.reasons - 1).cloned().unwrap_or_default())
            }
            EMIT_NONE => Found::Drop,
            count => Found::Emit((0..count).map(|_| self.output(row)).collect()),
        }
    }

    fn output(&mut self, row: &Row<'_>) -> FoundOutput {
        let (outcomes, index) = (self.outcomes, self.outputs);
        self.outputs += 1;
        let to = outcomes.to.get(index).and_then(|to| self.names.get(usize::try_from(*to).ok()?));
        let timestamp = outcomes.timestamps.get(index).copied().unwrap_or(row.timestamp);
        FoundOutput {
            to: to.cloned(),
            timestamp: Some(timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP),
            key: owned(self.keys.next(), row.key),
            value: owned(self.values.next(), row.value),
            headers: match outcomes.headers.counts.get(index) {
                None | Some(&INHERIT) => owned_headers(row.headers),
                Some(count) => (0..*count).map(|_| self.header()).collect(),
            },
        }
    }

    fn header(&mut self) -> (Vec<u8>, Option<Vec<u8>>) {
        (owned(self.header_names.next(), None).unwrap_or_default(), owned(self.header_values.next(), None))
    }
}

fn owned(entry: Option<Entry<'_>>, inherited: Option<&[u8]>) -> Option<Vec<u8>> {
    entry.unwrap_or(Entry::Inherit).or(inherited).map(<[u8]>::to_vec)
}

fn owned_headers(headers: HeaderSlice<'_>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect()
}
