use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::batch::Partition;

/// The next offset to read of each partition: what a group commits.
pub type Positions = BTreeMap<Partition, u64>;

/// Stands for one batch on its way through the sink. Opaque, small, and never reused within a sink's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// How far each partition is done: the end of the longest prefix of batches whose outputs are all durable.
///
/// Pure bookkeeping, one entry a batch. A batch that is not acknowledged holds back the later ones of its partition.
#[derive(Debug, Default)]
pub struct Progress {
    flights: VecDeque<Flight>,
    /// The ticket of `flights[0]`.
    first: u64,
    /// Positions reached since the last commit.
    reached: Positions,
    bytes: usize,
    records: usize,
}

#[derive(Debug)]
struct Flight {
    partition: Partition,
    end: u64,
    bytes: usize,
    records: usize,
    since: Duration,
    /// Outputs handed over less those acknowledged; below zero where acknowledgements come before [`Progress::written`].
    outstanding: i64,
    written: bool,
    counted: bool,
}

impl Flight {
    fn is_done(&self) -> bool {
        self.written && self.outstanding == 0
    }
}

impl Progress {
    /// An empty progress that continues `before`'s ticket numbers, so that late acknowledgements of what `before` forgot match
    /// nothing.
    #[must_use]
    pub fn after(before: &Progress) -> Self {
        Progress { first: before.first + before.flights.len() as u64, ..Progress::default() }
    }

    /// A batch that ends before offset `end` of `partition` sets out at time `now`.
    pub fn begin(&mut self, partition: Partition, end: u64, records: usize, bytes: usize, now: Duration) -> Ticket {
        let ticket = Ticket(self.first + self.flights.len() as u64);
        self.bytes += bytes;
        self.records += records;
        self.flights.push_back(Flight {
            partition,
            end,
            bytes,
            records,
            since: now,
            outstanding: 0,
            written: false,
            counted: false,
        });
        ticket
    }

    /// All of the batch's outputs, this many, are handed over to the sink.
    pub fn written(&mut self, ticket: Ticket, outputs: u64) {
        if let Some(flight) = self.flight(ticket) {
            flight.outstanding += outputs as i64;
            flight.written = true;
        }
    }

    /// This many of the batch's outputs are durable. A ticket that was forgotten is ignored.
    pub fn acknowledge(&mut self, ticket: Ticket, outputs: u64) {
        if let Some(flight) = self.flight(ticket) {
            flight.outstanding -= outputs as i64;
        }
    }

    /// All outputs of all batches are durable: a transaction was committed.
    pub fn settle(&mut self) {
        for flight in &mut self.flights {
            flight.outstanding = 0;
        }
        self.advance();
    }

    /// The positions reached since the last [`Progress::committed`], given all acknowledgements.
    pub fn reached(&mut self) -> &Positions {
        self.advance();
        &self.reached
    }

    /// The positions that will be reached once everything in flight is durable.
    pub fn ends(&self) -> Positions {
        let mut ends = self.reached.clone();
        ends.extend(self.flights.iter().map(|flight| (flight.partition.clone(), flight.end)));
        ends
    }

    /// The positions reached are now the group's.
    pub fn committed(&mut self) {
        self.reached.clear();
    }

    /// Forgets everything in flight: somebody else will do it again.
    pub fn forget(&mut self) {
        self.first += self.flights.len() as u64;
        self.flights.clear();
        self.reached.clear();
        (self.bytes, self.records) = (0, 0);
    }

    /// Input bytes whose outputs are not all known to be durable.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Input records whose outputs are not all known to be durable.
    pub fn records(&self) -> usize {
        self.records
    }

    /// When the oldest batch in flight set out.
    pub fn oldest(&self) -> Option<Duration> {
        self.flights.front().map(|flight| flight.since)
    }

    /// Whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    fn flight(&mut self, ticket: Ticket) -> Option<&mut Flight> {
        let index = ticket.0.checked_sub(self.first)?;
        self.flights.get_mut(usize::try_from(index).ok()?)
    }

    fn advance(&mut self) {
        let mut held: Vec<&Partition> = Vec::new();
        for flight in &mut self.flights {
            if flight.counted || held.contains(&&flight.partition) {
                continue;
            }
            if !flight.is_done() {
                held.push(&flight.partition);
                continue;
            }
            flight.counted = true;
            self.bytes -= flight.bytes;
            self.records -= flight.records;
            self.reached.insert(flight.partition.clone(), flight.end);
        }
        while self.flights.front().is_some_and(|flight| flight.counted) {
            self.flights.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn partition(number: u32) -> Partition {
        Partition { topic: "t".into(), number }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write { partition: u32, outputs: u64 },
        Acknowledge { nth: usize },
        Commit,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..3u32, 0..4u64).prop_map(|(partition, outputs)| Step::Write { partition, outputs }),
            5 => (0..40usize).prop_map(|nth| Step::Acknowledge { nth }),
            1 => Just(Step::Commit),
        ]
    }

    #[test]
    fn what_another_forgot_is_nobodys_when_it_is_acknowledged_late() {
        let mut before = Progress::default();
        let late = before.begin(partition(0), 10, 10, 100, Duration::ZERO);
        before.written(late, 1);
        before.forget();
        let mut progress = Progress::after(&before);
        let ticket = progress.begin(partition(0), 10, 10, 100, Duration::ZERO);
        progress.written(ticket, 1);
        progress.acknowledge(late, 1);
        assert!(progress.reached().is_empty());
        progress.acknowledge(ticket, 1);
        assert_eq!(progress.reached().len(), 1);
    }

    proptest! {
        /// Against a model that keeps every batch for ever: what is reached is the longest acknowledged prefix.
        #[test]
        fn reached_is_the_longest_durable_prefix(steps in prop::collection::vec(step(), 0..200)) {
            let mut progress = Progress::default();
            let mut model: Vec<(u32, u64, Ticket, u64)> = Vec::new(); // partition, end, ticket, outstanding
            let mut ends = [0u64; 3];
            let mut group = [0u64; 3];
            for step in steps {
                match step {
                    Step::Write { partition: number, outputs } => {
                        ends[number as usize] += 10;
                        let end = ends[number as usize];
                        let ticket = progress.begin(partition(number), end, 10, 100, Duration::ZERO);
                        progress.written(ticket, outputs);
                        model.push((number, end, ticket, outputs));
                    }
                    Step::Acknowledge { nth } => {
                        let open: Vec<_> = model.iter_mut().filter(|batch| batch.3 > 0).collect();
                        let len = open.len().max(1);
                        if let Some(batch) = open.into_iter().nth(nth % len) {
                            batch.3 -= 1;
                            progress.acknowledge(batch.2, 1);
                        }
                    }
                    Step::Commit => {
                        for (partition, end) in progress.reached().clone() {
                            prop_assert!(end >= group[partition.number as usize], "an offset went back");
                            group[partition.number as usize] = end;
                        }
                        progress.committed();
                        for number in 0..3 {
                            let mut of = model.iter().filter(|batch| batch.0 == number);
                            let prefix = of.by_ref().take_while(|batch| batch.3 == 0).last().map_or(0, |batch| batch.1);
                            prop_assert_eq!(group[number as usize], prefix);
                        }
                    }
                }
            }
            for batch in &model {
                progress.acknowledge(batch.2, batch.3);
            }
            progress.reached();
            prop_assert!(progress.is_idle());
            prop_assert_eq!((progress.bytes(), progress.records()), (0, 0));
        }

        /// Acknowledgements may overtake `written`; forgotten tickets change nothing.
        #[test]
        fn early_and_late_acknowledgements(outputs in 1..5u64, early in 0..5u64) {
            let early = early.min(outputs);
            let mut progress = Progress::default();
            let lost = progress.begin(partition(0), 5, 5, 50, Duration::ZERO);
            progress.written(lost, 1);
            progress.forget();
            progress.acknowledge(lost, 1);
            let ticket = progress.begin(partition(0), 9, 9, 90, Duration::ZERO);
            progress.acknowledge(ticket, early);
            prop_assert!(progress.reached().is_empty());
            progress.written(ticket, outputs);
            progress.acknowledge(ticket, outputs - early);
            prop_assert_eq!(progress.reached().get(&partition(0)), Some(&9));
        }
    }

    #[test]
    fn a_committed_transaction_settles_all() {
        let mut progress = Progress::default();
        for (number, end) in [(0, 3), (1, 7), (0, 6)] {
            let ticket = progress.begin(partition(number), end, 3, 30, Duration::ZERO);
            progress.written(ticket, 2);
        }
        assert!(progress.reached().is_empty());
        assert_eq!(progress.ends().into_values().collect::<Vec<_>>(), [6, 7]);
        progress.settle();
        assert_eq!(progress.reached().values().copied().collect::<Vec<_>>(), [6, 7]);
        assert!(progress.is_idle());
    }
}
