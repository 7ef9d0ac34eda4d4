use std::mem;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use sluicegate_core::{Batch, NO_TIMESTAMP, Outcomes, Partition};

use super::payload::{self, Output};
use crate::failure::TooMuchOutput;
use crate::guest::OUTPUT_OVERHEAD_BYTES;

/// What one header takes on the host beside its bytes, at most.
const HEADER_OVERHEAD_BYTES: usize = 16;

/// A batch that a guest has, and what the guest has made of it so far.
pub(super) struct Work {
    pub(super) partition: Partition,
    records: Vec<Record>,
    /// The payloads of all records, end to end.
    payloads: Vec<u8>,
    /// How many records the guest has read, and where the next one's payload begins.
    read: usize,
    next_payload: usize,
    outcomes: Outcomes,
    /// How many bytes the guest may still write.
    fuel: usize,
}

/// A record beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) offset: u64,
    /// As Kafka has it: -1 where there is none.
    pub(super) timestamp: i64,
    size: usize,
}

/// A batch's head, as far as it is known outside a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) base_offset: u64,
    pub(super) last_offset_delta: i32,
    pub(super) records: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    /// The size of the largest payload, in bytes.
    pub(super) largest: i32,
}

/// Why there is no next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRecord {
    /// All have been read.
    End,
    /// It takes more room than the guest offers.
    Large,
}

impl Work {
    /// The payloads of a batch, of which `fuel` bytes may be made.
    pub(super) fn of(batch: &Batch, fuel: usize) -> Work {
        let mut records = Vec::with_capacity(batch.len());
        // Lengths take some bytes a record; headers, which take more, are rare.
        let mut payloads = Vec::with_capacity(batch.bytes() + batch.len() * 8);
        for row in batch.rows() {
            let start = payloads.len();
            payload::append(&row, &mut payloads);
            let timestamp = if row.timestamp == NO_TIMESTAMP { -1 } else { row.timestamp };
            records.push(Record { offset: row.offset, timestamp, size: payloads.len() - start });
        }
        let outcomes = Outcomes { outcomes: Vec::with_capacity(batch.len()), ..Outcomes::default() };
        let partition = batch.partition.clone();
        Work { partition, records, payloads, read: 0, next_payload: 0, outcomes, fuel }
    }

    pub(super) fn head(&self) -> Head {
        let (Some(first), Some(last)) = (self.records.first(), self.records.last()) else {
            return Head::default();
        };
        let max_timestamp = self.records.iter().map(|record| record.timestamp).max();
        let largest = self.records.iter().map(|record| record.size).max();
        let bounded = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
        Head {
            base_offset: first.offset,
            last_offset_delta: bounded(last.offset - first.offset),
            records: bounded(self.records.len() as u64),
            base_timestamp: first.timestamp,
            max_timestamp: max_timestamp.unwrap_or_default(),
            largest: bounded(largest.unwrap_or_default() as u64),
        }
    }

    /// The next record and its payload, which has to fit into `room` bytes. Outputs that follow are of this record.
    pub(super) fn next(&mut self, room: usize) -> Result<(Record, &[u8]), NoRecord> {
        let record = *self.records.get(self.read).ok_or(NoRecord::End)?;
        if record.size > room {
            return Err(NoRecord::Large);
        }
        let start = self.next_payload;
        self.read += 1;
        self.next_payload += record.size;
        self.outcomes.outcomes.push(0);
        Ok((record, &self.payloads[start..self.next_payload]))
    }

    /// Whether a record has been read, so that outputs have one that they are of.
    pub(super) fn has_begun(&self) -> bool {
        self.read > 0
    }

    /// Adds an output to the record that was read last.
    ///
    /// # Errors
    /// It is more than the guest may write.
    pub(super) fn write(&mut self, output: Output<'_>, size: usize, to: i32) -> Result<(), TooMuchOutput> {
        let cost = size + OUTPUT_OVERHEAD_BYTES + output.count as usize * HEADER_OVERHEAD_BYTES;
        self.fuel = self.fuel.checked_sub(cost).ok_or(TooMuchOutput)?;
        if let Some(outputs) = self.outcomes.outcomes.last_mut() {
            *outputs += 1;
            output.emit(to, &mut self.outcomes);
        }
        Ok(())
    }

    /// How many records the guest has not read.
    pub(super) fn unread(&self) -> usize {
        self.records.len() - self.read
    }

    pub(super) fn into_outcomes(self) -> Outcomes {
        self.outcomes
    }
}

/// Where a batch and its outcomes change hands. Only one side runs at a time: the guest is suspended in
/// `read_batch_header` while the worker runs, and the worker waits in `process` while the guest does.
#[derive(Default)]
pub(super) struct Handover(Mutex<Slot>);

#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    Given(Work),
    Done(Work),
}

impl Handover {
    /// The worker's: gives a batch.
    pub(super) fn give(&self, work: Work) {
        self.put(Slot::Given(work));
    }

    /// The guest's: takes the batch that was given.
    pub(super) fn take(&self) -> Poll<Work> {
        match self.replace(Slot::Empty) {
            Slot::Given(work) => Poll::Ready(work),
            other => {
                self.put(other);
                Poll::Pending
            }
        }
    }

    /// The guest's: gives the batch back, done.
    pub(super) fn give_back(&self, work: Work) {
        self.put(Slot::Done(work));
    }

    /// The worker's: takes the batch that is done.
    pub(super) fn take_back(&self) -> Option<Work> {
        match self.replace(Slot::Empty) {
            Slot::Done(work) => Some(work),
            _ => None,
        }
    }

    fn put(&self, slot: Slot) {
        self.replace(slot);
    }

    fn replace(&self, slot: Slot) -> Slot {
        mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let mut batch = Batch::default();
        batch.push(5, 70, Some(b"a"), Some(b"long value"));
        batch.push(9, 90, None, None);
        batch.push(12, NO_TIMESTAMP, None, Some(b"c"));
        batch
    }

    #[test]
    fn a_head_says_what_the_records_say() {
        let head = Work::of(&batch(), 0).head();
        let expected = Head {
            base_offset: 5,
            last_offset_delta: 7,
            records: 3,
            base_timestamp: 70,
            max_timestamp: 90,
            largest: 14,
        };
        assert_eq!(head, expected);
    }

    #[test]
    fn records_come_in_order_and_outputs_are_of_the_last_one() {
        let mut work = Work::of(&batch(), 1 << 20);
        assert_eq!(work.next(13), Err(NoRecord::Large));
        assert_eq!(work.unread(), 3);
        let (record, payload) = work.next(14).unwrap();
        assert_eq!((record.offset, record.timestamp, payload.len()), (5, 70, 14));
        let payload = payload.to_vec();
        let output = Output::read(&payload).unwrap();
        work.write(output, payload.len(), -1).unwrap();
        work.write(output, payload.len(), 1).unwrap();
        assert_eq!(work.next(99).unwrap().0.offset, 9);
        assert_eq!(work.next(99).unwrap().0.timestamp, -1);
        work.write(output, payload.len(), 0).unwrap();
        assert_eq!(work.next(99), Err(NoRecord::End));
        assert_eq!(work.unread(), 0);
        let outcomes = work.into_outcomes();
        assert_eq!((outcomes.outcomes, outcomes.to), (vec![2, 0, 1], vec![-1, 1, 0]));
        assert!(outcomes.timestamps.is_empty());
    }

    #[test]
    fn what_may_be_written_is_bounded() {
        let mut work = Work::of(&batch(), OUTPUT_OVERHEAD_BYTES + 20);
        work.next(99).unwrap();
        let output = Output::read(&[1, 1, 0]).unwrap();
        assert!(work.write(output, 3, -1).is_ok());
        assert!(work.write(output, 3, -1).is_err());
    }
}
