use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use crate::bindings::exports::sluicegate::plugin::batch_transform::Column;
use crate::columns::{Writer, length};
use crate::record::{NO_TIMESTAMP, Row};
use crate::{Destination, Outcome};

/// An output being written, straight into the columns that go back to the runtime.
///
/// It inherits key, value, headers and timestamp of its record, and takes the default output; what is inherited never
/// crosses the boundary. Setting something twice keeps the last. End with [`done`](Self::done).
pub struct Output<'a> {
    row: Row<'a>,
    writer: &'a mut Writer,
    /// How many outputs there were before this record.
    before: usize,
}

impl<'a> Output<'a> {
    #[inline]
    pub(crate) fn begin(row: Row<'a>, writer: &'a mut Writer) -> Self {
        let before = writer.outputs();
        writer.begin(row.batch());
        Output { row, writer, before }
    }

    /// Sets the value.
    #[inline]
    pub fn value(&mut self, value: &[u8]) -> &mut Self {
        self.writer.set_value(Some(value), self.row.batch());
        self
    }

    /// Sets the value to null, which deletes the key from a compacted topic.
    pub fn tombstone(&mut self) -> &mut Self {
        self.writer.set_value(None, self.row.batch());
        self
    }

    /// Sets the value to what is written into the buffer: no copy, and no allocation a record. Empty at first.
    #[inline]
    pub fn write_value(&mut self) -> Buffer<'_> {
        Buffer::new(self.writer.open_value(self.row.batch()))
    }

    /// Sets the key; `None` is null, and not the same as empty.
    #[inline]
    pub fn key(&mut self, key: Option<&[u8]>) -> &mut Self {
        self.writer.set_key(key);
        self
    }

    /// Sets the timestamp, in milliseconds since the Unix epoch. With `None` the output goes out without one, whatever
    /// its record has.
    pub fn timestamp(&mut self, timestamp: Option<i64>) -> &mut Self {
        self.writer.set_timestamp(timestamp.unwrap_or(NO_TIMESTAMP), self.row.batch());
        self
    }

    /// Adds a header after those that are there: the inherited ones, unless they were cleared. The name is a text, or the
    /// bytes of a record's own header.
    pub fn header(&mut self, key: impl AsRef<[u8]>, value: Option<&[u8]>) -> &mut Self {
        if self.writer.inherits_headers() {
            self.writer.clear_headers();
            for inherited in self.row.headers() {
                self.writer.push_header(inherited.key, inherited.value);
            }
        }
        self.writer.push_header(key.as_ref(), value);
        self
    }

    /// Removes all headers, the inherited ones too.
    pub fn clear_headers(&mut self) -> &mut Self {
        self.writer.clear_headers();
        self
    }

    /// Sends it to a named output.
    pub fn to(&mut self, destination: Destination) -> &mut Self {
        self.writer.set_to(destination.0);
        self
    }

    /// Ends the output, and gives the outcome to return.
    #[inline]
    pub fn done(&mut self) -> Outcome {
        Outcome::Emit(Emitted { before: self.before, outputs: self.writer.outputs() })
    }
}

/// Several outputs in a record's place: `add` each, then `done`.
pub struct Split<'a> {
    row: Row<'a>,
    writer: &'a mut Writer,
    before: usize,
}

impl<'a> Split<'a> {
    pub(crate) fn new(row: Row<'a>, writer: &'a mut Writer) -> Self {
        let before = writer.outputs();
        Split { row, writer, before }
    }

    /// Begins the next output. It inherits all that is not set.
    pub fn add(&mut self) -> Output<'_> {
        Output { before: self.before, ..Output::begin(self.row, self.writer) }
    }

    /// Ends the last output, and gives the outcome to return.
    pub fn done(self) -> Outcome {
        Outcome::Emit(Emitted { before: self.before, outputs: self.writer.outputs() })
    }
}

/// Says that outputs were written; only [`Output::done`] and [`Split::done`] make one, for the record at hand.
#[derive(Debug, PartialEq, Eq)]
pub struct Emitted {
    before: usize,
    outputs: usize,
}

impl Emitted {
    pub(crate) fn is_of(&self, before: usize, outputs: usize) -> bool {
        (self.before, self.outputs) == (before, outputs)
    }
}

/// The value of an output, to be written piece by piece: `Write` of `std::io` and of `std::fmt`, and a slice of what
/// was written so far. It lies in the batch's own column, so writing costs a copy and nothing more.
pub struct Buffer<'a> {
    column: &'a mut Column,
    start: usize,
}

impl<'a> Buffer<'a> {
    #[inline]
    fn new(column: &'a mut Column) -> Self {
        Buffer { start: column.data.len(), column }
    }

    /// Appends bytes.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.column.data.extend_from_slice(bytes);
    }

    /// Appends one byte.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.column.data.push(byte);
    }

    /// Removes what was written so far.
    pub fn clear(&mut self) {
        self.column.data.truncate(self.start);
    }
}

impl Drop for Buffer<'_> {
    #[inline]
    fn drop(&mut self) {
        self.column.lengths.push(length(self.column.data.len() - self.start));
    }
}

impl Deref for Buffer<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.column.data[self.start..]
    }
}

impl DerefMut for Buffer<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.column.data[self.start..]
    }
}

impl Extend<u8> for Buffer<'_> {
    #[inline]
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.column.data.extend(bytes);
    }
}

impl io::Write for Buffer<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.column.data.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Buffer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.column.data.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
