//! When outputs that wait in unfilled batches are flushed.

use std::time::{Duration, Instant};

use crate::config::BATCH_RECORDS;

/// The shortest time between two flushes: a request for every few records costs brokers more than it gains.
const INTERVAL_MIN: Duration = Duration::from_millis(2);
/// The same where enough outputs are in flight to fill batches, which are sent by themselves once they are full.
const INTERVAL_FULL: Duration = Duration::from_millis(30);
/// The same while more outputs come. A flush takes milliseconds on a busy processor.
const INTERVAL_TRICKLE: Duration = Duration::from_millis(300);
/// While outputs of the last flush have not arrived, the interval grows by this factor: further ones may only queue behind
/// them. A blocked worker need not wait for all: once some arrive there is room on the way, as only so many go to each
/// broker at a time.
const INTERVAL_GROWTH: u32 = 2;
/// The longest interval: the outputs that have not arrived may be those of one broker, which stands still.
const INTERVAL_MAX: Duration = Duration::from_millis(500);

/// Why outputs should not wait for their batches to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// No more outputs come for now.
    Idle,
    /// More come, but perhaps too few for some partitions.
    Trickle,
    /// The worker waits until some have arrived.
    Blocked,
}

/// Says when to flush.
///
/// This is not left to librdkafka's `linger.ms`. While outputs are older than that and a batch of their partition is on its way,
/// librdkafka's thread checks without pause whether that has arrived (`rd_kafka_toppar_producer_serve` has it wake at once,
/// and may send nothing). That takes a core where brokers are slow, and makes brokers slow where many clients do it. It does
/// the same while it flushes: so each flush is short, and there are few where they could not help.
pub(crate) struct FlushSchedule {
    /// All outputs so far.
    produced: u64,
    /// How many there were at the last flush.
    flushed: u64,
    /// How many had arrived by then.
    acked_at_flush: u64,
    /// When that was.
    last: Instant,
    /// How long to wait for more of them to arrive.
    interval: Duration,
}

impl FlushSchedule {
    pub(crate) fn new(now: Instant) -> Self {
        FlushSchedule { produced: 0, flushed: 0, acked_at_flush: 0, last: now, interval: INTERVAL_MIN }
    }

    /// Counts an output.
    #[inline]
    pub(crate) fn add(&mut self) {
        self.produced += 1;
    }

    /// Whether to flush now, which then counts as done. Of all outputs, `in_flight` have not arrived.
    pub(crate) fn should_flush(&mut self, now: Instant, in_flight: u64, why: Why) -> bool {
        if self.next_flush_in(now, in_flight, why) != Some(Duration::ZERO) {
            return false;
        }
        self.interval = (self.interval(in_flight, why) * INTERVAL_GROWTH).min(INTERVAL_MAX);
        (self.flushed, self.acked_at_flush, self.last) = (self.produced, self.produced.saturating_sub(in_flight), now);
        true
    }

    /// When to flush if nothing arrives before; never where nothing is in flight.
    pub(crate) fn next_flush_in(&self, now: Instant, in_flight: u64, why: Why) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.last);
        (in_flight > 0).then(|| self.interval(in_flight, why).saturating_sub(passed))
    }

    fn interval(&self, in_flight: u64, why: Why) -> Duration {
        let shortest = match why {
            Why::Idle if in_flight >= BATCH_RECORDS as u64 => INTERVAL_FULL,
            Why::Idle | Why::Blocked => INTERVAL_MIN,
            Why::Trickle => INTERVAL_TRICKLE,
        };
        let acked = self.produced.saturating_sub(in_flight);
        let has_room = acked >= self.flushed || why == Why::Blocked && acked > self.acked_at_flush;
        if has_room { shortest } else { shortest.max(self.interval) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When outputs that come each millisecond are flushed, while none arrives.
    fn flushes(each: usize, why: Why) -> Vec<u32> {
        let start = Instant::now();
        let mut schedule = FlushSchedule::new(start);
        let mut in_flight = 0;
        let due = |ms: &u32| {
            (0..each).for_each(|_| schedule.add());
            in_flight += each as u64;
            schedule.should_flush(start + *ms * MS, in_flight, why)
        };
        (0..1000).filter(due).collect()
    }

    #[test]
    fn flushes_are_frequent_where_all_before_has_arrived() {
        let start = Instant::now();
        let mut schedule = FlushSchedule::new(start);
        assert!(!schedule.should_flush(start + 100 * MS, 0, Why::Idle), "nothing is in flight");
        for turn in 1..=10 {
            let now = start + 100 * turn * MS;
            schedule.add();
            assert!(schedule.should_flush(now, 1, Why::Idle));
            schedule.add();
            assert!(!schedule.should_flush(now + MS, 1, Why::Idle), "the last flush was just before");
            assert!(schedule.should_flush(now + 2 * MS, 1, Why::Idle));
        }
    }

    #[test]
    fn while_nothing_arrives_flushes_become_rare() {
        assert_eq!(flushes(1, Why::Idle), [2, 6, 14, 30, 62, 126, 254, 510]);
        assert_eq!(flushes(100, Why::Blocked), [2, 6, 14, 30, 62, 126, 254, 510]);
    }

    #[test]
    fn a_blocked_worker_flushes_as_soon_as_some_arrive() {
        let start = Instant::now();
        let mut schedule = FlushSchedule::new(start);
        (0..1000).for_each(|_| schedule.add());
        for turn in 1..=5 {
            let (now, in_flight) = (start + 2 * turn * MS, 1000 - 100 * u64::from(turn));
            assert_eq!(schedule.next_flush_in(now, in_flight, Why::Blocked), Some(Duration::ZERO));
            assert!(schedule.should_flush(now, in_flight, Why::Blocked));
            assert_eq!(schedule.next_flush_in(now, in_flight, Why::Blocked), Some(4 * MS), "none arrived since");
            assert_eq!(schedule.next_flush_in(now, in_flight - 1, Why::Blocked), Some(2 * MS));
        }
        let idle = schedule.next_flush_in(start + 10 * MS, 499, Why::Idle);
        assert_eq!(idle, Some(4 * MS), "more may come, and fill batches");
        assert_eq!(schedule.next_flush_in(start, 0, Why::Blocked), None, "there is nothing to flush");
    }

    #[test]
    fn outputs_that_fill_batches_are_flushed_seldom() {
        assert_eq!(flushes(BATCH_RECORDS, Why::Idle), [30, 90, 210, 450, 930]);
        assert_eq!(flushes(BATCH_RECORDS, Why::Trickle), [300, 800]);
    }
}
