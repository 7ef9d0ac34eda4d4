use std::ops::Range;
use std::sync::Arc;

use crate::column::{Column, Cursor};
use crate::output::HeaderSlice;

/// The timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub number: u32,
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.topic, self.number)
    }
}

/// Consecutive records of one partition, in columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where the records come from.
    pub partition: Partition,
    /// One offset a record, increasing; gaps are fine (compaction, transaction markers).
    pub offsets: Vec<u64>,
    /// Milliseconds since the Unix epoch, or [`NO_TIMESTAMP`].
    pub timestamps: Vec<i64>,
    /// Keys; null allowed.
    pub keys: Column,
    /// Values; a null is a tombstone.
    pub values: Column,
    /// Headers, in order and with duplicates.
    pub headers: Headers,
    /// Where the group goes on after this batch, if that is beyond the record after the last one: offsets between hold no records
    /// (a transaction's marker, aborted records).
    pub end: Option<u64>,
    /// The end of the partition's log as the source last saw it, for the lag; none where it is not known.
    pub log_end: Option<u64>,
}

/// Headers in columns: record i has `counts[i]` of them. No `counts` at all means that no record has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// Headers a record; [`crate::INHERIT`] in an output only.
    pub counts: Vec<i32>,
    /// Names, as bytes: Kafka does not promise UTF-8.
    pub keys: Column,
    /// Values; null allowed.
    pub values: Column,
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            partition: Partition { topic: Arc::from(""), number: 0 },
            offsets: Vec::new(),
            timestamps: Vec::new(),
            keys: Column::default(),
            values: Column::default(),
            headers: Headers::default(),
            end: None,
            log_end: None,
        }
    }
}

impl Batch {
    /// The number of records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Where the group goes on after this batch: the larger of the offset after the last record and `end`. None for an empty batch
    /// without an end.
    pub fn next_offset(&self) -> Option<u64> {
        let after_last = self.offsets.last().map(|last| last + 1);
        after_last.max(self.end)
    }

    /// The bytes of all keys, values and headers: what the budget counts.
    pub fn bytes(&self) -> usize {
        self.keys.data.len() + self.values.data.len() + self.headers.keys.data.len() + self.headers.values.data.len()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.offsets.clear();
        self.timestamps.clear();
        self.keys.clear();
        self.values.clear();
        self.headers.clear();
        self.end = None;
        self.log_end = None;
    }

    /// Appends a record.
    #[inline]
    pub fn push(&mut self, offset: u64, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.offsets.push(offset);
        self.timestamps.push(timestamp);
        self.keys.push(key);
        self.values.push(value);
        if !self.headers.counts.is_empty() {
            self.headers.counts.push(0);
        }
    }

    /// Gives the record that was pushed last one more header.
    pub fn push_header(&mut self, key: &[u8], value: Option<&[u8]>) {
        // Batches without headers, by far the most common, never touch these columns.
        self.headers.counts.resize(self.offsets.len(), 0);
        if let Some(count) = self.headers.counts.last_mut() {
            *count += 1;
        }
        self.headers.keys.push(Some(key));
        self.headers.values.push(value);
    }

    /// Reads the records in order, from the first.
    pub fn rows(&self) -> Rows<'_> {
        Rows {
            offsets: &self.offsets,
            timestamps: &self.timestamps,
            keys: self.keys.cursor(),
            values: self.values.cursor(),
            headers: self.headers.cursor(),
        }
    }

    /// Replaces `into` by the records `rows` of this batch.
    pub fn slice(&self, rows: Range<usize>, into: &mut Batch) {
        into.clear();
        into.partition = self.partition.clone();
        into.offsets.extend_from_slice(&self.offsets[rows.clone()]);
        into.timestamps.extend_from_slice(&self.timestamps[rows.clone()]);
        into.keys.extend(&self.keys, rows.clone());
        into.values.extend(&self.values, rows.clone());
        if !self.headers.counts.is_empty() {
            let before: usize = total(&self.headers.counts[..rows.start]);
            let counts = &self.headers.counts[rows];
            let headers = before..before + total(counts);
            into.headers.counts.extend_from_slice(counts);
            into.headers.keys.extend(&self.headers.keys, headers.clone());
            into.headers.values.extend(&self.headers.values, headers);
        }
    }

    /// Replaces `into` by these rows of this batch, which are in order.
    pub(crate) fn pick(&self, rows: &[usize], into: &mut Batch) {
        into.clear();
        into.partition = self.partition.clone();
        let mut wanted = rows.iter().peekable();
        for (_, row) in self.rows().enumerate().filter(|(at, _)| wanted.next_if_eq(&at).is_some()) {
            into.push(row.offset, row.timestamp, row.key, row.value);
            row.headers.for_each(|(name, value)| into.push_header(name, value));
        }
    }
}

fn total(counts: &[i32]) -> usize {
    counts.iter().map(|count| (*count).max(0) as usize).sum()
}

impl Headers {
    /// Empties the columns and keeps their memory.
    pub fn clear(&mut self) {
        self.counts.clear();
        self.keys.clear();
        self.values.clear();
    }

    pub(crate) fn cursor(&self) -> HeadersCursor<'_> {
        HeadersCursor { counts: &self.counts, keys: self.keys.cursor(), values: self.values.cursor() }
    }
}

/// Reads the headers of one record after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadersCursor<'a> {
    counts: &'a [i32],
    keys: Cursor<'a>,
    values: Cursor<'a>,
}

impl<'a> HeadersCursor<'a> {
    /// The next record's headers; none where they are inherited.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<HeaderSlice<'a>> {
        let Some((&count, rest)) = self.counts.split_first() else {
            return Some(HeaderSlice::default());
        };
        self.counts = rest;
        let count = usize::try_from(count).ok()?;
        Some(HeaderSlice::new(self.keys.split(count), self.values.split(count)))
    }

    /// Whether there is any header, inherited ones included, to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// One record of a [`Batch`], borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The record's offset.
    pub offset: u64,
    /// Milliseconds since the Unix epoch, or [`NO_TIMESTAMP`].
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: HeaderSlice<'a>,
}

/// Iterator over the records of a [`Batch`].
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    offsets: &'a [u64],
    timestamps: &'a [i64],
    keys: Cursor<'a>,
    values: Cursor<'a>,
    headers: HeadersCursor<'a>,
}

impl<'a> Iterator for Rows<'a> {
    type Item = Row<'a>;

    #[inline]
    fn next(&mut self) -> Option<Row<'a>> {
        let (&offset, offsets) = self.offsets.split_first()?;
        let (&timestamp, timestamps) = self.timestamps.split_first()?;
        self.offsets = offsets;
        self.timestamps = timestamps;
        Some(Row {
            offset,
            timestamp,
            key: self.keys.next()?.or(None),
            value: self.values.next()?.or(None),
            headers: self.headers.next().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let mut batch = Batch::default();
        batch.push(4, 1, None, Some(b"a"));
        batch.push(7, 2, Some(b"k"), None);
        batch.push_header(b"h", None);
        batch.push_header(b"h", Some(b""));
        batch.push(8, NO_TIMESTAMP, Some(b""), Some(b""));
        batch
    }

    #[test]
    fn rows_read_back_what_was_pushed() {
        let batch = batch();
        let rows: Vec<_> = batch.rows().collect();
        assert_eq!((rows[0].offset, rows[0].key, rows[0].value), (4, None, Some(&b"a"[..])));
        assert_eq!(rows[0].headers.count(), 0);
        let headers: Vec<_> = rows[1].headers.collect();
        assert_eq!(headers, [(&b"h"[..], None), (&b"h"[..], Some(&b""[..]))]);
        assert_eq!((rows[2].key, rows[2].value, rows[2].headers.count()), (Some(&b""[..]), Some(&b""[..]), 0));
    }

    #[test]
    fn the_group_goes_on_after_the_last_record_or_what_follows_it() {
        let next = |end| Batch { end, ..batch() }.next_offset();
        assert_eq!([next(None), next(Some(9)), next(Some(12)), next(Some(3))], [Some(9), Some(9), Some(12), Some(9)]);
        assert_eq!(Batch::default().next_offset(), None);
        assert_eq!(Batch { end: Some(5), ..Batch::default() }.next_offset(), Some(5));
    }

    #[test]
    fn a_slice_is_the_same_records() {
        let (batch, mut part) = (batch(), Batch::default());
        for (from, to) in [(0, 3), (1, 2), (2, 3), (0, 0)] {
            batch.slice(from..to, &mut part);
            let expected: Vec<_> = batch.rows().skip(from).take(to - from).map(|r| format!("{r:?}")).collect();
            let got: Vec<_> = part.rows().map(|r| format!("{r:?}")).collect();
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn rows_are_picked_as_they_are() {
        let (batch, mut part) = (batch(), Batch::default());
        for picked in [&[0, 1, 2][..], &[1], &[0, 2], &[]] {
            batch.pick(picked, &mut part);
            let rows: Vec<_> = batch.rows().collect();
            let expected: Vec<_> = picked.iter().map(|row| format!("{:?}", rows[*row])).collect();
            assert_eq!(part.rows().map(|row| format!("{row:?}")).collect::<Vec<_>>(), expected);
        }
    }
}
