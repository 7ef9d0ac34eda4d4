//! When outputs that wait for company in their batches are sent without it.

use std::time::{Duration, Instant};

use crate::config::BATCH_RECORDS;

/// Not more often than this: a request for every few records keeps brokers busier than it makes outputs earlier.
const EVERY_MIN: Duration = Duration::from_millis(2);
/// Not more often than this where batches fill: those that are full go by themselves.
const EVERY_FULL: Duration = Duration::from_millis(30);
/// While more comes, those of which there are few go so often. Each time takes milliseconds where the processor is busy.
const EVERY_BUSY: Duration = Duration::from_millis(300);
/// While those that were told to go have not arrived, others are told after so many times as long, as they may only wait behind
/// them. But where nothing comes before some arrive, and some do, there is room on the way for others: only so many go to each
/// broker at a time.
const EVERY_GROWS: u32 = 2;
/// But after this in any case: what is on its way may be to another broker, which stands still.
const EVERY_MAX: Duration = Duration::from_millis(500);

/// Why outputs should not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No more comes for now.
    Lull,
    /// More comes, but perhaps none that would be company for some.
    Company,
    /// Others are held up until some have arrived.
    Held,
}

/// Says when outputs that wait are to be told to go.
///
/// This is not left to librdkafka's `linger.ms`: while outputs are older than that and a batch of their partition is on its
/// way, its thread asks without pause whether that has arrived (`rd_kafka_toppar_producer_serve` has it wake at once, and may send
/// nothing). That takes a core where brokers are slow, and makes brokers slow where many do it. It asks as much while it is told
/// to flush. So it is told for a moment, and seldom where that could not help.
pub(crate) struct Departures {
    written: u64,
    /// How many were written when they were told to go.
    told: u64,
    /// How many had arrived by then.
    arrived: u64,
    at: Instant,
    /// How long it is waited for more to arrive.
    patience: Duration,
}

impl Departures {
    pub(crate) fn new(now: Instant) -> Self {
        Departures { written: 0, told: 0, arrived: 0, at: now, patience: EVERY_MIN }
    }

    #[inline]
    pub(crate) fn write(&mut self) {
        self.written += 1;
    }

    /// Whether to tell them now, which then counts as done. `under_way` of all that were written have not arrived.
    pub(crate) fn are_due(&mut self, now: Instant, under_way: u64, reason: Reason) -> bool {
        if self.due_in(now, under_way, reason) != Some(Duration::ZERO) {
            return false;
        }
        self.patience = (self.every(under_way, reason) * EVERY_GROWS).min(EVERY_MAX);
        (self.told, self.arrived, self.at) = (self.written, self.written.saturating_sub(under_way), now);
        true
    }

    /// When to tell them if none arrives meanwhile; never where there are none.
    pub(crate) fn due_in(&self, now: Instant, under_way: u64, reason: Reason) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.at);
        (under_way > 0).then(|| self.every(under_way, reason).saturating_sub(passed))
    }

    fn every(&self, under_way: u64, reason: Reason) -> Duration {
        let least = match reason {
            Reason::Lull if under_way >= BATCH_RECORDS as u64 => EVERY_FULL,
            Reason::Lull | Reason::Held => EVERY_MIN,
            Reason::Company => EVERY_BUSY,
        };
        let arrived = self.written.saturating_sub(under_way);
        let has_way = arrived >= self.told || reason == Reason::Held && arrived > self.arrived;
        if has_way { least } else { least.max(self.patience) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When those that are written each millisecond are told to go, while none arrives.
    fn told(each: usize, reason: Reason) -> Vec<u32> {
        let start = Instant::now();
        let mut departures = Departures::new(start);
        let mut under_way = 0;
        let due = |ms: &u32| {
            (0..each).for_each(|_| departures.write());
            under_way += each as u64;
            departures.are_due(start + *ms * MS, under_way, reason)
        };
        (0..1000).filter(due).collect()
    }

    #[test]
    fn they_go_soon_where_all_before_have_arrived() {
        let start = Instant::now();
        let mut departures = Departures::new(start);
        assert!(!departures.are_due(start + 100 * MS, 0, Reason::Lull), "nothing is written");
        for turn in 1..=10 {
            let now = start + 100 * turn * MS;
            departures.write();
            assert!(departures.are_due(now, 1, Reason::Lull));
            departures.write();
            assert!(!departures.are_due(now + MS, 1, Reason::Lull), "others were sent just before");
            assert!(departures.are_due(now + 2 * MS, 1, Reason::Lull));
        }
    }

    #[test]
    fn while_none_arrives_they_are_told_less_and_less_often() {
        assert_eq!(told(1, Reason::Lull), [2, 6, 14, 30, 62, 126, 254, 510]);
        assert_eq!(told(100, Reason::Held), [2, 6, 14, 30, 62, 126, 254, 510]);
    }

    #[test]
    fn where_some_arrive_others_are_told_at_once() {
        let start = Instant::now();
        let mut departures = Departures::new(start);
        (0..1000).for_each(|_| departures.write());
        for turn in 1..=5 {
            let (now, under_way) = (start + 2 * turn * MS, 1000 - 100 * u64::from(turn));
            assert_eq!(departures.due_in(now, under_way, Reason::Held), Some(Duration::ZERO));
            assert!(departures.are_due(now, under_way, Reason::Held));
            assert_eq!(departures.due_in(now, under_way, Reason::Held), Some(4 * MS), "none arrived since");
            assert_eq!(departures.due_in(now, under_way - 1, Reason::Held), Some(2 * MS));
        }
        let lull = departures.due_in(start + 10 * MS, 499, Reason::Lull);
        assert_eq!(lull, Some(4 * MS), "others may come meanwhile, and be company");
        assert_eq!(departures.due_in(start, 0, Reason::Held), None, "there is nobody to tell");
    }

    #[test]
    fn those_that_fill_batches_are_told_seldom() {
        assert_eq!(told(BATCH_RECORDS, Reason::Lull), [30, 90, 210, 450, 930]);
        assert_eq!(told(BATCH_RECORDS, Reason::Company), [300, 800]);
    }
}
