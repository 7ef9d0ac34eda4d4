//! Inputs to columns, and columns back to outcomes, the slow and strict way.

use super::{Header, Input, Outcome, Output};
use crate::bindings::exports::sluicegate::plugin::batch_transform::{Batch, Column, Headers, Outcomes};
use crate::record::NO_TIMESTAMP;

/// A batch of these, which are of one partition; the first is number `from` of the run.
pub(super) fn batch(inputs: &[Input], from: usize) -> Batch {
    let headers = || inputs.iter().flat_map(|input| &input.headers);
    let any_header = headers().next().is_some();
    let counts = inputs.iter().map(|input| input.headers.len() as i32);
    Batch {
        topic: inputs[0].topic.clone(),
        partition: inputs[0].partition,
        offsets: (from as u64..).zip(inputs).map(|(number, input)| input.offset.unwrap_or(number)).collect(),
        timestamps: inputs.iter().map(|input| input.timestamp.unwrap_or(NO_TIMESTAMP)).collect(),
        keys: column(inputs.iter().map(|input| input.key.as_deref())),
        values: column(inputs.iter().map(|input| input.value.as_deref())),
        headers: Headers {
            counts: if any_header { counts.collect() } else { Vec::new() },
            keys: column(headers().map(|(key, _)| Some(key.as_slice()))),
            values: column(headers().map(|(_, value)| value.as_deref())),
        },
    }
}

fn column<'a>(strings: impl Iterator<Item = Option<&'a [u8]>>) -> Column {
    let mut column = Column { data: Vec::new(), lengths: Vec::new() };
    for string in strings {
        column.data.extend_from_slice(string.unwrap_or_default());
        column.lengths.push(string.map_or(-1, |string| string.len() as i32));
    }
    column
}

/// The outcome of each input. Panics where the runtime would refuse the columns.
pub(super) fn read(inputs: &[Input], names: &[String], columns: &Outcomes) -> Vec<Outcome> {
    assert_eq!(columns.outcomes.len(), inputs.len(), "an outcome for each record");
    let emitted = columns.outcomes.iter().map(|outcome| (*outcome).max(0) as usize).sum();
    let (mut reasons, mut outputs) = (columns.reasons.iter(), Outputs::new(columns, emitted));
    let read = columns.outcomes.iter().zip(inputs).map(|(outcome, input)| match outcome {
        -2 => Outcome::Reject(reasons.next().expect("a reason for each refusal").clone()),
        -1 => Outcome::Pass,
        0 => Outcome::Drop,
        1.. => Outcome::Emit((0..*outcome).map(|_| outputs.next(input, names)).collect()),
        _ => panic!("there is no outcome {outcome}"),
    });
    let read = read.collect();
    assert!(reasons.next().is_none(), "no reason without a refusal");
    outputs.finish();
    read
}

/// Reads outputs one after the other.
struct Outputs<'a> {
    to: Vec<i32>,
    timestamps: Vec<Option<i64>>,
    counts: Vec<i32>,
    keys: Strings<'a>,
    values: Strings<'a>,
    header_keys: Strings<'a>,
    header_values: Strings<'a>,
    at: usize,
}

impl<'a> Outputs<'a> {
    fn new(columns: &'a Outcomes, emitted: usize) -> Self {
        Outputs {
            to: filled(columns.to.iter().copied(), emitted, -1),
            timestamps: filled(columns.timestamps.iter().map(|timestamp| Some(*timestamp)), emitted, None),
            counts: filled(columns.headers.counts.iter().copied(), emitted, -2),
            keys: Strings::of(&columns.keys),
            values: Strings::of(&columns.values),
            header_keys: Strings::of(&columns.headers.keys),
            header_values: Strings::of(&columns.headers.values),
            at: 0,
        }
    }

    fn next(&mut self, input: &Input, names: &[String]) -> Output {
        let at = self.at;
        self.at += 1;
        Output {
            to: match self.to[at] {
                -1 => None,
                index => Some(names[usize::try_from(index).expect("an index of an output")].clone()),
            },
            timestamp: match self.timestamps[at] {
                None => input.timestamp,
                Some(timestamp) => (timestamp != NO_TIMESTAMP).then_some(timestamp),
            },
            key: self.keys.next().unwrap_or_else(|| input.key.clone()),
            value: self.values.next().unwrap_or_else(|| input.value.clone()),
            headers: match self.counts[at] {
                -2 => input.headers.clone(),
                count => (0..count).map(|_| self.next_header()).collect(),
            },
        }
    }

    fn next_header(&mut self) -> Header {
        let key = self.header_keys.next().flatten().expect("a header's name");
        (key, self.header_values.next().expect("a header inherits nothing"))
    }

    fn finish(self) {
        for strings in [self.keys, self.values, self.header_keys, self.header_values] {
            assert!(strings.lengths.is_empty() && strings.data.is_empty(), "columns end where the outputs end");
        }
        assert_eq!(self.at, self.to.len(), "every output belongs to a record");
    }
}

/// A column that may be left empty, as it is meant then.
fn filled<T: Clone>(column: impl ExactSizeIterator<Item = T>, outputs: usize, inherited: T) -> Vec<T> {
    let given = column.len();
    assert!(given == 0 || given == outputs, "{given} entries for {outputs} outputs");
    if given == 0 { vec![inherited; outputs] } else { column.collect() }
}

struct Strings<'a> {
    data: &'a [u8],
    lengths: &'a [i32],
}

impl<'a> Strings<'a> {
    fn of(column: &'a Column) -> Self {
        Strings { data: &column.data, lengths: &column.lengths }
    }

    /// The next string, or null; none where it is inherited.
    fn next(&mut self) -> Option<Option<Vec<u8>>> {
        let (length, lengths) = self.lengths.split_first().expect("a length for each string");
        self.lengths = lengths;
        match length {
            -2 => None,
            -1 => Some(None),
            length => {
                let (string, data) = self.data.split_at(usize::try_from(*length).expect("a length"));
                self.data = data;
                Some(Some(string.to_vec()))
            }
        }
    }
}
