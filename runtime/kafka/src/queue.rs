use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use sluicegate_core::{Error, ErrorKind, Output};

use crate::context::Producer;
use crate::deadline::Patience;
use crate::error::{failed, kind};
use crate::flush_schedule::{FlushSchedule, Why};
use crate::native::{self, OutputHeaders, Produced, ProducerEvents, SharedProducer, TopicHandle};

/// How long an output waits for room at most.
const FULL_WAIT: Duration = Duration::from_secs(60);
/// How often it looks whether there is room again.
const FULL_TURN: Duration = Duration::from_millis(2);
/// A queue that is still full after this long is not just waiting for what is already on its way: outputs that wait in
/// unfilled batches are flushed.
const STUCK: Duration = Duration::from_millis(20);
/// How long librdkafka flushes at a time: its threads take a moment to hear of it.
const FLUSH_MS: i32 = 1;

/// librdkafka's queue of outputs, where they wait until their batch is full or flushed.
pub(crate) struct Queue {
    pub(crate) producer: SharedProducer,
    pub(crate) events: Arc<ProducerEvents>,
    schedule: FlushSchedule,
    /// With so many outputs in flight, some partition's batch is full once the queue is.
    fills_at: u64,
    patience: Patience,
}

impl Queue {
    pub(crate) fn new(
        producer: SharedProducer,
        events: Arc<ProducerEvents>,
        fills_at: u64,
        patience: Patience,
    ) -> Self {
        Queue { producer, events, schedule: FlushSchedule::new(Instant::now()), fills_at, patience }
    }

    /// Adds an output, and blocks while there is no room for it.
    #[inline]
    pub(crate) fn push(
        &mut self,
        topic: &TopicHandle,
        output: &Output<'_>,
        produced: &Produced<'_>,
        headers: &mut Option<OutputHeaders>,
    ) -> Result<(), Error> {
        self.schedule.add();
        let mut full = None;
        loop {
            match topic.produce(produced, headers) {
                Ok(()) => return Ok(()),
                Err(RDKafkaErrorCode::QueueFull) => self.make_room(topic, &mut full)?,
                Err(code) => return Err(not_taken(&self.producer, topic, output, code)),
            }
        }
    }

    /// Takes reports of what has arrived, which makes room; if that did not help before (`full` says since when), waits for more.
    #[cold]
    fn make_room(&mut self, topic: &TopicHandle, full: &mut Option<Instant>) -> Result<(), Error> {
        if let Some(start) = *full {
            if self.patience.is_over(start + FULL_WAIT) {
                let message = format!("the queue of topic '{}' stayed full", topic.name());
                return Err(Error::new(ErrorKind::Retry, message));
            }
            // Unless some batch is full, nothing goes by itself.
            let may_wait = self.when_blocked() != Why::Blocked && start.elapsed() < STUCK;
            if may_wait || !self.flush(Why::Blocked) {
                self.events.wait(FULL_TURN);
            }
        } else {
            *full = Some(Instant::now());
        }
        self.events.serve();
        Ok(())
    }

    /// Flushes unfilled batches, which takes a millisecond, unless it is too early for that. Says whether it did.
    pub(crate) fn flush(&mut self, why: Why) -> bool {
        let due = self.schedule.should_flush(Instant::now(), self.in_flight(), why);
        if due {
            native::flush(&self.producer, FLUSH_MS);
        }
        due
    }

    /// Sleeps until some outputs have arrived, the next flush is due, or for `time`.
    pub(crate) fn wait(&self, time: Duration, why: Why) {
        let next = self.schedule.next_flush_in(Instant::now(), self.in_flight(), why);
        self.events.wait(next.map_or(time, |next| time.min(next)));
    }

    /// Why a worker that waits for some outputs to arrive flushes: where some batch is sure to be full, and on its way, others
    /// need not hurry.
    pub(crate) fn when_blocked(&self) -> Why {
        if self.in_flight() < self.fills_at { Why::Blocked } else { Why::Idle }
    }

    /// How many outputs have not arrived.
    fn in_flight(&self) -> u64 {
        u64::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }
}

#[cold]
fn not_taken(producer: &Producer, topic: &TopicHandle, output: &Output<'_>, code: RDKafkaErrorCode) -> Error {
    let Output { source, offset, .. } = output;
    failed_producer(
        producer,
        &format!("produce what came of {source} offset {offset} to topic '{}'", topic.name()),
        code,
    )
}

/// An error of the producer's, by its cause where the producer is dead.
pub(crate) fn failed_producer(producer: &Producer, doing: &str, code: RDKafkaErrorCode) -> Error {
    match producer.client().fatal_error() {
        Some((cause, reason)) if code == RDKafkaErrorCode::Fatal || kind(code) == ErrorKind::Retry => {
            failed(&format!("{doing} ({reason})"), cause)
        }
        _ => failed(doing, code),
    }
}
