//! Batches into guests, and outcomes out of them: the two interfaces of `plugin.wit`.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;

use sluicegate_core::{
    Batch, Column, EMIT_NONE, HeaderSlice, Headers, NO_TIMESTAMP, Outcomes, PASS, Partition, REJECT, Row,
};

use crate::bindings::batched::exports::sluicegate::plugin::batch_transform as batched;
use crate::bindings::single::exports::sluicegate::plugin::transform as single;
use crate::words::clean;

/// What is kept of a reason to reject a record, in bytes: it becomes a header of a dead letter.
const REASON_BYTES_MAX: usize = 1 << 10;

/// A batch as it crosses the boundary: all columns borrowed.
pub(crate) fn lower_batch(batch: &Batch) -> batched::Batch<'_> {
    batched::Batch {
        topic: &batch.partition.topic,
        partition: batch.partition.number,
        offsets: &batch.offsets,
        timestamps: &batch.timestamps,
        keys: lower_column(&batch.keys),
        values: lower_column(&batch.values),
        headers: batched::HeadersParam {
            counts: &batch.headers.counts,
            keys: lower_column(&batch.headers.keys),
            values: lower_column(&batch.headers.values),
        },
    }
}

fn lower_column(column: &Column) -> batched::ColumnParam<'_> {
    batched::ColumnParam { data: &column.data, lengths: &column.lengths }
}

/// The lifted columns become the outcomes' own; nothing but reasons is copied.
pub(crate) fn take_outcomes(lifted: batched::Outcomes) -> Outcomes {
    Outcomes {
        outcomes: lifted.outcomes,
        reasons: lifted.reasons.iter().map(|reason| clean(reason, REASON_BYTES_MAX)).collect(),
        to: lifted.to,
        timestamps: lifted.timestamps,
        keys: take_column(lifted.keys),
        values: take_column(lifted.values),
        headers: Headers {
            counts: lifted.headers.counts,
            keys: take_column(lifted.headers.keys),
            values: take_column(lifted.headers.values),
        },
    }
}

fn take_column(lifted: batched::ColumnResult) -> Column {
    Column { data: lifted.data, lengths: lifted.lengths }
}

/// Calls `process` with one record as it crosses the boundary.
pub(crate) fn lower_record<T>(partition: &Partition, row: &Row<'_>, process: impl FnOnce(single::Input<'_>) -> T) -> T {
    // The boundary wants header names as text; Kafka does not promise that they are. See `Lossy`.
    let names: Vec<Cow<'_, str>> = row.headers.map(|(name, _)| String::from_utf8_lossy(name)).collect();
    let headers: Vec<single::HeaderParam<'_>> =
        names.iter().zip(row.headers).map(|(key, (_, value))| single::HeaderParam { key, value }).collect();
    process(single::Input {
        topic: &partition.topic,
        partition: partition.number,
        offset: row.offset,
        timestamp: (row.timestamp != NO_TIMESTAMP).then_some(row.timestamp),
        key: row.key,
        value: row.value,
        headers: &headers,
    })
}

/// Appends what became of one record. Here every output carries its own key, value, timestamp and headers.
pub(crate) fn push_outcome(outcome: single::Outcome, row: &Row<'_>, into: &mut Outcomes) {
    match outcome {
        single::Outcome::Drop => into.outcomes.push(EMIT_NONE),
        single::Outcome::Pass => into.outcomes.push(PASS),
        single::Outcome::Reject(reason) => {
            into.outcomes.push(REJECT);
            into.reasons.push(clean(&reason, REASON_BYTES_MAX));
        }
        single::Outcome::Emit(outputs) => {
            into.outcomes.push(count(outputs.len()));
            let lossy = Lossy::of(row);
            outputs.iter().for_each(|output| push_output(output, &lossy, into));
        }
    }
}

fn push_output(output: &single::Output, lossy: &Lossy<'_>, into: &mut Outcomes) {
    // An index that no output has is for `Outcomes::validate` to refuse.
    into.to.push(output.to.map_or(-1, |to| i32::try_from(to).unwrap_or(i32::MAX)));
    into.timestamps.push(output.timestamp.unwrap_or(NO_TIMESTAMP));
    into.keys.push(output.key.as_deref());
    into.values.push(output.value.as_deref());
    into.headers.counts.push(count(output.headers.len()));
    let mut names = HashMap::new();
    for header in &output.headers {
        let name = lossy.original(&header.key, &mut names).unwrap_or(header.key.as_bytes());
        into.headers.keys.push(Some(name));
        into.headers.values.push(header.value.as_deref());
    }
}

/// Lists are bounded by what may be lifted, far below this.
fn count(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

/// The names of a record's headers of which the plugin saw only a lossy reading, so that they can go on as they were.
struct Lossy<'a> {
    headers: HeaderSlice<'a>,
    /// By their reading, which several names may share, in the record's order. Few records have any.
    originals: OnceCell<HashMap<String, Vec<&'a [u8]>>>,
}

impl<'a> Lossy<'a> {
    fn of(row: &Row<'a>) -> Self {
        Lossy { headers: row.headers, originals: OnceCell::new() }
    }

    /// The name in the record that a name in an output stands for, if that is a lossy reading. The first of an output's
    /// names that read alike is the first of the record's, and so on: `seen` counts them, through one output.
    fn original<'n>(&self, name: &'n str, seen: &mut HashMap<&'n str, usize>) -> Option<&'a [u8]> {
        if !name.contains(char::REPLACEMENT_CHARACTER) {
            return None;
        }
        let originals = self.originals.get_or_init(|| self.read()).get(name)?;
        let seen = seen.entry(name).or_default();
        let original = originals.get(*seen).or(originals.last());
        *seen += 1;
        original.copied()
    }

    fn read(&self) -> HashMap<String, Vec<&'a [u8]>> {
        let mut originals: HashMap<String, Vec<&[u8]>> = HashMap::new();
        for (name, _) in self.headers {
            let text = String::from_utf8_lossy(name);
            if text.contains(char::REPLACEMENT_CHARACTER) {
                originals.entry(text.into_owned()).or_default().push(name);
            }
        }
        originals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_that_are_no_text_come_back_as_they_were() {
        let mut batch = Batch::default();
        batch.push(7, NO_TIMESTAMP, None, Some(b""));
        // Three of them read alike, and one of these is text.
        for name in [&b"\xff"[..], b"a", b"\xfe", b"\xff\xfe", "\u{fffd}".as_bytes()] {
            batch.push_header(name, Some(b"v"));
        }
        let row = batch.rows().next().unwrap();
        let mut outcomes = Outcomes::default();
        lower_record(&batch.partition, &row, |input| {
            assert_eq!((input.timestamp, input.key, input.value), (None, None, Some(&b""[..])));
            let headers = input.headers.iter().map(|header| single::HeaderResult {
                key: header.key.to_owned(),
                value: header.value.map(<[u8]>::to_vec),
            });
            let headers = headers.collect();
            let output =
                single::Output { to: Some(u32::MAX), timestamp: None, key: None, value: Some(vec![]), headers };
            push_outcome(single::Outcome::Emit(vec![output]), &row, &mut outcomes);
        });
        assert_eq!(outcomes.headers, batch.headers);
        assert_eq!(
            (outcomes.outcomes, outcomes.to, outcomes.timestamps),
            (vec![1], vec![i32::MAX], vec![NO_TIMESTAMP])
        );
        assert_eq!((outcomes.keys.lengths, outcomes.values.lengths), (vec![-1], vec![0]));
    }
}
