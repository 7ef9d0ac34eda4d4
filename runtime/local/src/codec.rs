//! How a batch lies in its row: a version, seven counts, then the columns one after the other, little-endian.
//!
//! ```text
//! version · records · headers · bytes of keys, values, header names, header values            (7 × u32)
//! timestamps (i64) · key lengths · value lengths · header counts, none without headers (i32) · one a record
//! name lengths · value lengths (i32)                                                        · one a header
//! keys · values · header names · header values
//! ```
//! Offsets follow from the row's first: a partition has no gaps.

use std::ops::Range;

use sluicegate_core::{Batch, Column, NULL};

const VERSION: u32 = 1;
const PREAMBLE: usize = 7 * 4;

/// Replaces `into` by the stored form of the batch.
pub(crate) fn encode(batch: &Batch, into: &mut Vec<u8>) {
    into.clear();
    let headers = &batch.headers;
    let columns = [&batch.keys, &batch.values, &headers.keys, &headers.values];
    into.extend(VERSION.to_le_bytes());
    // The buffer bounds a stored batch far below 4 GiB.
    for count in [batch.len(), headers.keys.len()].into_iter().chain(columns.map(|column| column.data.len())) {
        into.extend((count as u32).to_le_bytes());
    }
    batch.timestamps.iter().for_each(|timestamp| into.extend(timestamp.to_le_bytes()));
    let counts = if headers.keys.is_empty() { &[][..] } else { &headers.counts };
    for lengths in [&batch.keys.lengths, &batch.values.lengths, counts, &headers.keys.lengths, &headers.values.lengths]
    {
        lengths.iter().for_each(|length| into.extend(length.to_le_bytes()));
    }
    columns.iter().for_each(|column| into.extend_from_slice(&column.data));
}

/// A batch as it is stored, checked and not yet copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'a> {
    timestamps: &'a [u8],
    keys: Strings<'a>,
    values: Strings<'a>,
    counts: &'a [u8],
    header_keys: Strings<'a>,
    header_values: Strings<'a>,
}

/// A column as it is stored.
#[derive(Clone, Copy, Debug)]
struct Strings<'a> {
    lengths: &'a [u8],
    data: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Reads what [`encode`] wrote; whatever the bytes, nothing that is read from it later is out of bounds.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let (preamble, mut rest) = bytes.split_at_checked(PREAMBLE).ok_or("a batch without its counts")?;
        let mut counts = integers(preamble).map(|count| count as u32 as usize);
        let mut next = || counts.next().unwrap_or_default();
        if next() != VERSION as usize {
            return Err("a batch of an unknown version");
        }
        let (records, headers) = (next(), next());
        let data = [next(), next(), next(), next()];
        let counted = if headers == 0 { 0 } else { records };
        let mut take = |count: usize, size: usize| {
            let (taken, left) = rest.split_at_checked(count.checked_mul(size)?)?;
            rest = left;
            Some(taken)
        };
        let mut sections = || {
            let timestamps = take(records, 8)?;
            let lengths =
                [take(records, 4)?, take(records, 4)?, take(counted, 4)?, take(headers, 4)?, take(headers, 4)?];
            let data = [take(data[0], 1)?, take(data[1], 1)?, take(data[2], 1)?, take(data[3], 1)?];
            Some((timestamps, lengths, data))
        };
        let (timestamps, lengths, data) = sections().ok_or("a batch cut short")?;
        let strings = |lengths, data| Strings { lengths, data };
        let stored = Stored {
            timestamps,
            keys: strings(lengths[0], data[0]),
            values: strings(lengths[1], data[1]),
            counts: lengths[2],
            header_keys: strings(lengths[3], data[2]),
            header_values: strings(lengths[4], data[3]),
        };
        let whole = rest.is_empty() && integers(stored.counts).all(|count| count >= 0);
        let add_up = [stored.keys, stored.values, stored.header_keys, stored.header_values].iter().all(Strings::add_up);
        if !whole || !add_up || integers(stored.counts).map(i64::from).sum::<i64>() != headers as i64 {
            return Err("a batch whose lengths do not add up");
        }
        Ok(stored)
    }

    /// The number of records.
    pub(crate) fn len(&self) -> usize {
        self.timestamps.len() / 8
    }

    /// The bytes of all keys, values and headers.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.data.len() + self.values.data.len() + self.header_keys.data.len() + self.header_values.data.len()
    }

    /// The timestamps, in order.
    pub(crate) fn timestamps(&self) -> impl Iterator<Item = i64> + use<'a> {
        let words = self.timestamps.chunks_exact(8);
        words.map(|word| i64::from_le_bytes(word.try_into().unwrap_or_default()))
    }

    /// How many records from `start` on have at most `bytes`, but at least one.
    pub(crate) fn fitting(&self, start: usize, bytes: usize) -> usize {
        let size = |row: usize| {
            let headers = self.headers(row..row + 1);
            self.keys.range(row..row + 1).1.len()
                + self.values.range(row..row + 1).1.len()
                + self.header_keys.range(headers.clone()).1.len()
                + self.header_values.range(headers).1.len()
        };
        let mut left = bytes.checked_sub(size(start));
        let further = (start + 1..self.len()).take_while(|row| {
            left = left.and_then(|left| left.checked_sub(size(*row)));
            left.is_some()
        });
        1 + further.count()
    }

    /// Appends the records `rows`, where the first of all has the offset `first`.
    pub(crate) fn append(&self, rows: Range<usize>, first: u64, batch: &mut Batch) {
        batch.offsets.extend(rows.clone().map(|row| first + row as u64));
        batch.timestamps.extend(self.timestamps().skip(rows.start).take(rows.len()));
        self.keys.append(rows.clone(), &mut batch.keys);
        self.values.append(rows.clone(), &mut batch.values);
        let headers = self.headers(rows.clone());
        if !headers.is_empty() {
            batch.headers.counts.resize(batch.offsets.len() - rows.len(), 0);
            batch.headers.counts.extend(integers(&self.counts[rows.start * 4..rows.end * 4]));
            self.header_keys.append(headers.clone(), &mut batch.headers.keys);
            self.header_values.append(headers, &mut batch.headers.values);
        } else if !batch.headers.counts.is_empty() {
            batch.headers.counts.resize(batch.offsets.len(), 0);
        }
    }

    /// The numbers of the headers that the records `rows` have.
    fn headers(&self, rows: Range<usize>) -> Range<usize> {
        if self.counts.is_empty() {
            return 0..0;
        }
        let sum = |bytes| integers(bytes).map(|count| count as usize).sum::<usize>();
        let start = sum(&self.counts[..rows.start * 4]);
        start..start + sum(&self.counts[rows.start * 4..rows.end * 4])
    }
}

impl<'a> Strings<'a> {
    fn add_up(&self) -> bool {
        let least = integers(self.lengths).min().unwrap_or_default();
        least >= NULL && byte_length(self.lengths) == self.data.len()
    }

    /// The lengths and the bytes of the strings `rows`.
    fn range(&self, rows: Range<usize>) -> (&'a [u8], &'a [u8]) {
        let lengths = &self.lengths[rows.start * 4..rows.end * 4];
        let from = byte_length(&self.lengths[..rows.start * 4]);
        (lengths, &self.data[from..from + byte_length(lengths)])
    }

    fn append(&self, rows: Range<usize>, column: &mut Column) {
        let (lengths, data) = self.range(rows);
        column.lengths.extend(integers(lengths));
        column.data.extend_from_slice(data);
    }
}

fn byte_length(lengths: &[u8]) -> usize {
    integers(lengths).map(|length| length.max(0) as usize).sum()
}

fn integers(bytes: &[u8]) -> impl Iterator<Item = i32> + '_ {
    bytes.chunks_exact(4).map(|word| i32::from_le_bytes(word.try_into().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Header = (Vec<u8>, Option<Vec<u8>>);
    type Record = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<Header>);

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..6)
    }

    fn record() -> impl Strategy<Value = Record> {
        let headers = prop::collection::vec((bytes(), prop::option::of(bytes())), 0..3);
        (any::<i64>(), prop::option::of(bytes()), prop::option::of(bytes()), headers)
    }

    fn batch(records: &[Record], first: u64) -> Batch {
        let mut batch = Batch::default();
        for (at, (timestamp, key, value, headers)) in records.iter().enumerate() {
            batch.push(first + at as u64, *timestamp, key.as_deref(), value.as_deref());
            headers.iter().for_each(|(name, value)| batch.push_header(name, value.as_deref()));
        }
        batch
    }

    fn records_of(batch: &Batch) -> Vec<Record> {
        let record = |row: sluicegate_core::Row<'_>| {
            let headers = row.headers.map(|(name, value)| (name.into(), value.map(Into::into))).collect();
            (row.timestamp, row.key.map(Into::into), row.value.map(Into::into), headers)
        };
        batch.rows().map(record).collect()
    }

    proptest! {
        #[test]
        fn any_part_of_a_stored_batch_is_what_was_stored(
            before in prop::collection::vec(record(), 0..3),
            records in prop::collection::vec(record(), 1..20),
            cut in any::<[prop::sample::Index; 2]>(),
        ) {
            let (mut stored, whole) = (Vec::new(), batch(&records, 100));
            encode(&whole, &mut stored);
            let read = Stored::parse(&stored).unwrap();
            prop_assert_eq!((read.len(), read.bytes()), (records.len(), whole.bytes()));
            let mut cut = cut.map(|index| index.index(records.len() + 1));
            cut.sort_unstable();
            let rows = cut[0]..cut[1];
            let mut part = batch(&before, 0);
            read.append(rows.clone(), 100, &mut part);
            let offsets = (0..before.len() as u64).chain(rows.clone().map(|row| 100 + row as u64));
            prop_assert_eq!(&part.offsets, &offsets.collect::<Vec<_>>());
            prop_assert_eq!(records_of(&part), [&before[..], &records[rows]].concat());
        }

        #[test]
        fn damage_is_refused_or_harmless(records in prop::collection::vec(record(), 1..5), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut stored = Vec::new();
            encode(&batch(&records, 0), &mut stored);
            prop_assert!(Stored::parse(&stored[..cut.index(stored.len())]).is_err());
            let at = at.index(stored.len());
            stored[at] = byte;
            if let Ok(read) = Stored::parse(&stored) {
                let mut into = Batch::default();
                read.append(0..read.len(), 0, &mut into);
                prop_assert_eq!(into.rows().count(), into.len());
            }
        }

        #[test]
        fn what_fits_is_at_least_a_record_and_never_too_much(records in prop::collection::vec(record(), 1..20), start in any::<prop::sample::Index>(), bytes in 0usize..60) {
            let mut stored = Vec::new();
            encode(&batch(&records, 0), &mut stored);
            let (read, start) = (Stored::parse(&stored).unwrap(), start.index(records.len()));
            let fitting = read.fitting(start, bytes);
            let size = |count: usize| batch(&records[start..start + count], 0).bytes();
            prop_assert!(fitting == 1 || size(fitting) <= bytes);
            prop_assert!(start + fitting == records.len() || size(fitting + 1) > bytes);
        }
    }
}
