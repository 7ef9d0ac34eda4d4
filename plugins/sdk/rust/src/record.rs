use std::cell::Cell;

use crate::bindings::exports::sluicegate::plugin::batch_transform::{Batch, Column};
use crate::columns::{NULL, Writer};
use crate::output::{Output, Split};
use crate::random::{self, Random};

/// The timestamp that the boundary writes for none.
pub(crate) const NO_TIMESTAMP: i64 = i64::MIN;

/// One record, borrowed from the batch it came in: looking at it allocates nothing.
///
/// What its methods return may outlive it, so that an output can be written from what was read:
/// `let value = record.value(); record.emit()…`.
pub struct Record<'a> {
    row: Row<'a>,
    writer: &'a mut Writer,
}

impl<'a> Record<'a> {
    pub(crate) fn new(row: Row<'a>, writer: &'a mut Writer) -> Self {
        Record { row, writer }
    }

    /// The topic it was read from.
    pub fn topic(&self) -> &'a str {
        &self.row.batch().topic
    }

    /// The partition it was read from.
    pub fn partition(&self) -> u32 {
        self.row.batch().partition
    }

    /// Its place in the partition. Increasing, with gaps where the log was compacted.
    pub fn offset(&self) -> u64 {
        self.row.batch().offsets[self.row.index]
    }

    /// Milliseconds since the Unix epoch; none where the log has none.
    pub fn timestamp(&self) -> Option<i64> {
        Some(self.row.batch().timestamps[self.row.index]).filter(|timestamp| *timestamp != NO_TIMESTAMP)
    }

    /// The time at which the record says it was made, in milliseconds since the Unix epoch, for use where a program would
    /// look at a clock: it is the same whenever the record is processed. 0, the epoch itself, where the log has no
    /// timestamp; ask [`timestamp`](Self::timestamp) to tell that apart.
    pub fn now(&self) -> i64 {
        self.timestamp().unwrap_or(0)
    }

    /// Random numbers that are the same whenever the record is processed: seeded by pipeline, stage, topic, partition and
    /// offset. Each call begins them anew, so keep what it gives to draw more than one. Records that an earlier stage
    /// split from one have its offset, and draw the same.
    #[inline]
    pub fn random(&self) -> Random {
        Random::of_record(self.row.inputs.seed(), self.offset())
    }

    /// The key; null is not the same as empty.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.row.key
    }

    /// The value. None is a tombstone, and not the same as an empty value.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.row.value
    }

    /// The headers, in order and with duplicates.
    pub fn headers(&self) -> Headers<'a> {
        self.row.headers()
    }

    /// The last header of this name: the one that counts where a name is there more than once.
    pub fn header(&self, key: &str) -> Option<Header<'a>> {
        self.headers().filter(|header| header.key == key.as_bytes()).last()
    }

    /// Begins the one output that goes on in this record's place. It inherits all that is not set.
    #[inline]
    pub fn emit(self) -> Output<'a> {
        Output::begin(self.row, self.writer)
    }

    /// Emits any number of outputs in this record's place, one [`Split::add`] each; none of them drops the record.
    pub fn split(self) -> Split<'a> {
        Split::new(self.row, self.writer)
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name, as bytes: Kafka does not promise UTF-8.
    pub key: &'a [u8],
    /// The value; null is not the same as empty.
    pub value: Option<&'a [u8]>,
}

/// Iterator over a record's headers, in order and with duplicates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    keys: Strings<'a>,
    values: Strings<'a>,
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(Header { key: self.keys.next().unwrap_or_default(), value: self.values.next() })
    }
}

/// A batch as it came, and how far its headers were read.
pub(crate) struct Inputs<'a> {
    batch: &'a Batch,
    /// Moved only when headers are asked for: most plugins never do.
    read: Cell<HeadersRead>,
    /// Made only when random numbers are asked for.
    seed: Cell<Option<u64>>,
}

/// Where the headers of a record begin.
#[derive(Clone, Copy, Default)]
struct HeadersRead {
    record: usize,
    headers: usize,
    key_bytes: usize,
    value_bytes: usize,
}

impl<'a> Inputs<'a> {
    pub(crate) fn new(batch: &'a Batch) -> Self {
        Inputs { batch, read: Cell::default(), seed: Cell::default() }
    }

    /// What the generators of the batch's records have in common.
    #[inline]
    fn seed(&self) -> u64 {
        self.seed.get().unwrap_or_else(|| self.make_seed())
    }

    #[cold]
    fn make_seed(&self) -> u64 {
        let seed = random::batch_seed(&self.batch.topic, self.batch.partition);
        self.seed.set(Some(seed));
        seed
    }

    /// The records, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let (mut keys, mut values) = (Strings::of(&self.batch.keys), Strings::of(&self.batch.values));
        (0..self.batch.offsets.len()).map(move |index| Row {
            inputs: self,
            index,
            key: keys.next(),
            value: values.next(),
        })
    }

    /// The headers of a record. Records are processed in order, so none before the last asked for is asked for again.
    fn headers(&self, index: usize) -> Headers<'a> {
        let columns = &self.batch.headers;
        if columns.counts.is_empty() {
            return Headers::default();
        }
        let mut read = self.read.get();
        let skipped: usize = columns.counts[read.record..index].iter().copied().map(header_count).sum();
        let lengths = read.headers..read.headers + skipped;
        read.record = index;
        read.headers += skipped;
        read.key_bytes += bytes(&columns.keys.lengths[lengths.clone()]);
        read.value_bytes += bytes(&columns.values.lengths[lengths]);
        self.read.set(read);
        Headers {
            keys: Strings::from(&columns.keys, read.headers, read.key_bytes),
            values: Strings::from(&columns.values, read.headers, read.value_bytes),
            left: header_count(columns.counts[index]),
        }
    }
}

/// Inputs inherit nothing, so their counts are never negative.
fn header_count(count: i32) -> usize {
    usize::try_from(count).expect("a count of headers")
}

/// The bytes that strings of these lengths take; a null takes none.
fn bytes(lengths: &[i32]) -> usize {
    lengths.iter().map(|length| usize::try_from(*length).unwrap_or(0)).sum()
}

/// Where a record lies in its batch.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    inputs: &'a Inputs<'a>,
    index: usize,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl<'a> Row<'a> {
    pub(crate) fn batch(&self) -> &'a Batch {
        self.inputs.batch
    }

    pub(crate) fn headers(&self) -> Headers<'a> {
        self.inputs.headers(self.index)
    }
}

/// Reads a column's strings in order, without a table of offsets.
#[derive(Clone, Copy, Debug, Default)]
struct Strings<'a> {
    data: &'a [u8],
    lengths: &'a [i32],
}

impl<'a> Strings<'a> {
    fn of(column: &'a Column) -> Self {
        Strings { data: &column.data, lengths: &column.lengths }
    }

    fn from(column: &'a Column, string: usize, byte: usize) -> Self {
        Strings { data: &column.data[byte..], lengths: &column.lengths[string..] }
    }

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, lengths) = self.lengths.split_first().expect("a length for each string");
        self.lengths = lengths;
        if length == NULL {
            return None;
        }
        let length = usize::try_from(length).expect("an input inherits nothing");
        let (string, data) = self.data.split_at(length);
        self.data = data;
        Some(string)
    }
}
