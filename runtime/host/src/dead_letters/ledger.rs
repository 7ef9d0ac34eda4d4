use std::collections::{HashMap, VecDeque};

use sluicegate_core::{Batch, Partition, Positions};

use super::index::Place;

/// Which letters are on their way through the stages, and which have come through. Of one replay, on its thread.
#[derive(Default)]
pub(super) struct Ledger {
    given: HashMap<Partition, VecDeque<Given>>,
    /// Records replayed, and outputs made of them.
    pub(super) replayed: u64,
    pub(super) outputs: u64,
    /// Records that failed again.
    pub(super) failed: u64,
}

/// A batch that was given to the worker.
struct Given {
    end: u64,
    records: Vec<Record>,
}

/// A record, and the letters that hold it.
pub(super) struct Record {
    pub(super) offset: u64,
    pub(super) letters: Vec<Place>,
    pub(super) failed: bool,
}

impl Ledger {
    /// Whether a batch may set out. Not while a record is on its way that has the same place as one of its own, as where a topic
    /// was made anew: nothing would tell the two apart.
    pub(super) fn takes(&self, batch: &Batch) -> bool {
        let (Some(first), Some(given)) = (batch.offsets.first(), self.given.get(&batch.partition)) else {
            return true;
        };
        let is_on_its_way = |offset: &u64| {
            let mut near = given.iter().filter(|given| given.end > *first);
            near.any(|given| given.records.binary_search_by_key(offset, |record| record.offset).is_ok())
        };
        !batch.offsets.iter().any(is_on_its_way)
    }

    /// The batch, whose records these letters hold, sets out.
    pub(super) fn give(&mut self, batch: &Batch, letters: Vec<Vec<Place>>) {
        let records = batch.offsets.iter().zip(letters);
        let records: Vec<_> =
            records.map(|(offset, letters)| Record { offset: *offset, letters, failed: false }).collect();
        let end = batch.offsets.last().map_or(0, |last| last + 1);
        self.given.entry(batch.partition.clone()).or_default().push_back(Given { end, records });
    }

    /// The record that stood here, and is on its way.
    pub(super) fn record(&mut self, partition: &Partition, offset: u64) -> Option<&mut Record> {
        let batches = self.given.get_mut(partition)?;
        batches.iter_mut().flat_map(|given| &mut given.records).find(|record| record.offset == offset)
    }

    /// Everything given up to these positions has come through. Gives the letters of what did not fail.
    ///
    /// No two batches on their way share a record's place, so each has an end of its own, which tells which one it is: letters
    /// need not be in the order of their records.
    pub(super) fn done(&mut self, positions: &Positions) -> Vec<Place> {
        let mut done = Vec::new();
        for (partition, end) in positions {
            let Some(batches) = self.given.get_mut(partition) else { continue };
            let Some(last) = batches.iter().position(|given| given.end == *end) else { continue };
            for record in batches.drain(..=last).flat_map(|given| given.records).filter(|record| !record.failed) {
                self.replayed += 1;
                done.extend(record.letters);
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(offsets: &[u64]) -> Batch {
        let mut batch = Batch::default();
        offsets.iter().for_each(|offset| batch.push(*offset, 0, None, None));
        batch
    }

    #[test]
    fn what_came_through_is_done_and_nothing_else() {
        let mut ledger = Ledger::default();
        // Later records may have died before earlier ones.
        for (offsets, letter) in [(&[7, 8][..], 0), (&[3, 5], 2), (&[9], 4)] {
            let letters = (letter..).take(offsets.len()).map(|letter| vec![(0, letter)]).collect();
            ledger.give(&batch(offsets), letters);
        }
        let partition = batch(&[]).partition;
        ledger.record(&partition, 5).unwrap().failed = true;
        let to = |end| Positions::from([(partition.clone(), end)]);
        assert_eq!(ledger.done(&to(6)), [(0, 0), (0, 1), (0, 2)]);
        assert_eq!(ledger.done(&to(6)), []);
        assert_eq!(ledger.done(&to(10)), [(0, 4)]);
        assert_eq!(ledger.replayed, 4);
    }

    #[test]
    fn of_records_at_the_same_place_one_at_a_time_is_on_its_way() {
        let mut ledger = Ledger::default();
        let (first, again, other) = (batch(&[3, 5]), batch(&[4, 5, 6]), batch(&[4, 6]));
        ledger.give(&first, vec![vec![(0, 0)], vec![(0, 1)]]);
        assert_eq!([&first, &again, &other].map(|batch| ledger.takes(batch)), [false, false, true]);
        ledger.done(&Positions::from([(first.partition.clone(), 6)]));
        assert!(ledger.takes(&again));
    }
}
