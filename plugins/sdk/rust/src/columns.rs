//! The columns that go back: written in place, and left out where everything is inherited.

use crate::bindings::exports::sluicegate::plugin::batch_transform::{Batch, Column, Headers, Outcomes};

/// The length that says: no value at all.
pub(crate) const NULL: i32 = -1;
/// The length or count that says: as in the input record.
const INHERIT: i32 = -2;
const PASSED: i32 = -1;
const REJECTED: i32 = -2;
const DEFAULT_OUTPUT: i32 = -1;

/// Writes the outcomes of one batch. The last output begun is the current one: setters speak of it.
///
/// Columns are lazy. An output writes only into those it differs in; entries it has skipped are filled when a later
/// output writes, or at the end. `to`, `timestamps` and header counts that nothing was written to stay empty, which the
/// boundary reads as "all inherited". So a column holds at most one entry an output, and its last may be the current's.
pub(crate) struct Writer {
    outputs: usize,
    columns: Outcomes,
}

impl Writer {
    pub(crate) fn new(batch: &Batch) -> Self {
        let columns = Outcomes {
            outcomes: Vec::with_capacity(batch.offsets.len()),
            reasons: Vec::new(),
            to: Vec::new(),
            timestamps: Vec::new(),
            keys: column(),
            values: column(),
            headers: Headers { counts: Vec::new(), keys: column(), values: column() },
        };
        Writer { outputs: 0, columns }
    }

    /// The number of outputs so far.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Begins an output that inherits everything.
    #[inline]
    pub(crate) fn begin(&mut self, batch: &Batch) {
        self.outputs += 1;
        // The one column that has no word for "inherited": once it exists, every output has its entry from the start.
        if !self.columns.timestamps.is_empty() {
            self.columns.timestamps.push(batch.timestamps[self.columns.outcomes.len()]);
        }
    }

    pub(crate) fn set_to(&mut self, to: i32) {
        self.columns.to.resize(self.outputs - 1, DEFAULT_OUTPUT);
        self.columns.to.push(to);
    }

    pub(crate) fn set_timestamp(&mut self, timestamp: i64, batch: &Batch) {
        if self.columns.timestamps.is_empty() {
            self.inherit_timestamps(batch);
        }
        self.columns.timestamps.pop();
        self.columns.timestamps.push(timestamp);
    }

    /// Gives all outputs so far their input's timestamp.
    #[cold]
    fn inherit_timestamps(&mut self, batch: &Batch) {
        let timestamps = &mut self.columns.timestamps;
        for (emitted, timestamp) in self.columns.outcomes.iter().zip(&batch.timestamps) {
            let emitted = usize::try_from(*emitted).unwrap_or(0);
            timestamps.resize(timestamps.len() + emitted, *timestamp);
        }
        // The rest are the current record's, which has no outcome yet.
        let current = batch.timestamps[self.columns.outcomes.len()];
        timestamps.resize(self.outputs, current);
    }

    #[inline]
    pub(crate) fn set_key(&mut self, key: Option<&[u8]>) {
        replace(&mut self.columns.keys, self.outputs);
        push(&mut self.columns.keys, key);
    }

    #[inline]
    pub(crate) fn set_value(&mut self, value: Option<&[u8]>, batch: &Batch) {
        self.expect_value(batch);
        replace(&mut self.columns.values, self.outputs);
        push(&mut self.columns.values, value);
    }

    /// The values' column, ready for the current output's bytes at its end, and their length after them.
    #[inline]
    pub(crate) fn open_value(&mut self, batch: &Batch) -> &mut Column {
        self.expect_value(batch);
        replace(&mut self.columns.values, self.outputs);
        &mut self.columns.values
    }

    /// The first value written announces others: values that go out are mostly as large as those that came in, so one
    /// allocation a batch will do.
    #[inline]
    fn expect_value(&mut self, batch: &Batch) {
        if self.columns.values.data.capacity() == 0 {
            self.columns.values.data.reserve(batch.values.data.len());
            self.columns.values.lengths.reserve(batch.offsets.len());
        }
    }

    /// Whether the current output still has its input's headers.
    pub(crate) fn inherits_headers(&self) -> bool {
        self.columns.headers.counts.len() < self.outputs
    }

    /// Leaves the current output without headers.
    pub(crate) fn clear_headers(&mut self) {
        let headers = &mut self.columns.headers;
        if headers.counts.len() == self.outputs {
            take_back_headers(headers);
        }
        headers.counts.resize(self.outputs - 1, INHERIT);
        headers.counts.push(0);
    }

    /// Adds to the headers of the current output, which must not inherit them any more.
    pub(crate) fn push_header(&mut self, key: &[u8], value: Option<&[u8]>) {
        let headers = &mut self.columns.headers;
        push(&mut headers.keys, Some(key));
        push(&mut headers.values, value);
        headers.counts[self.outputs - 1] += 1;
    }

    /// Undoes all but the first `outputs` outputs. Only ever the current record's, so this is rare and may be slow.
    #[inline]
    pub(crate) fn take_back(&mut self, outputs: usize) {
        if self.outputs > outputs {
            self.undo(outputs);
        }
    }

    #[cold]
    fn undo(&mut self, outputs: usize) {
        self.outputs = outputs;
        let columns = &mut self.columns;
        columns.to.truncate(outputs);
        columns.timestamps.truncate(outputs);
        while columns.keys.lengths.len() > outputs {
            pop(&mut columns.keys);
        }
        while columns.values.lengths.len() > outputs {
            pop(&mut columns.values);
        }
        while columns.headers.counts.len() > outputs {
            take_back_headers(&mut columns.headers);
        }
    }

    /// Ends the current record: it passes.
    #[inline]
    pub(crate) fn close_passed(&mut self) {
        self.columns.outcomes.push(PASSED);
    }

    /// Ends the current record: it is refused.
    pub(crate) fn close_rejected(&mut self, reason: String) {
        self.columns.outcomes.push(REJECTED);
        self.columns.reasons.push(reason);
    }

    /// Ends the current record: what was emitted since there were `before` outputs goes on in its place.
    #[inline]
    pub(crate) fn close_emitted(&mut self, before: usize) {
        self.columns.outcomes.push(length(self.outputs - before));
    }

    /// Fills the ends of the columns that exist.
    pub(crate) fn finish(mut self) -> Outcomes {
        self.columns.keys.lengths.resize(self.outputs, INHERIT);
        self.columns.values.lengths.resize(self.outputs, INHERIT);
        if !self.columns.to.is_empty() {
            self.columns.to.resize(self.outputs, DEFAULT_OUTPUT);
        }
        if !self.columns.headers.counts.is_empty() {
            self.columns.headers.counts.resize(self.outputs, INHERIT);
        }
        self.columns
    }
}

fn column() -> Column {
    Column { data: Vec::new(), lengths: Vec::new() }
}

/// Lengths and counts cross as 32 bits; more would not fit a plugin's memory.
pub(crate) fn length(of: usize) -> i32 {
    i32::try_from(of).expect("at most i32::MAX bytes, headers or outputs")
}

/// Makes room for the entry of output number `outputs`: fills what earlier ones skipped, or undoes its own.
#[inline]
fn replace(column: &mut Column, outputs: usize) {
    if column.lengths.len() == outputs {
        pop(column);
    }
    column.lengths.resize(outputs - 1, INHERIT);
}

#[inline]
fn push(column: &mut Column, entry: Option<&[u8]>) {
    match entry {
        None => column.lengths.push(NULL),
        Some(bytes) => {
            column.data.extend_from_slice(bytes);
            column.lengths.push(length(bytes.len()));
        }
    }
}

/// Takes back the last entry, with its bytes.
fn pop(column: &mut Column) {
    let bytes = column.lengths.pop().map_or(0, |length| usize::try_from(length).unwrap_or(0));
    column.data.truncate(column.data.len() - bytes);
}

/// Takes back the last count, with its headers.
fn take_back_headers(headers: &mut Headers) {
    for _ in 0..headers.counts.pop().unwrap_or(0) {
        pop(&mut headers.keys);
        pop(&mut headers.values);
    }
}
