use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use sluicegate_core::{Error, ErrorKind, Output};

use crate::context::Producer;
use crate::deadline::Patience;
use crate::departures::{Departures, Reason};
use crate::error::{failed, kind};
use crate::native::{self, OutputHeaders, ProducerEvents, TopicHandle};
use crate::record::{Produced, SharedProducer};

/// How long an output waits for room at most.
const FULL_WAIT: Duration = Duration::from_secs(60);
/// How often it looks whether there is room again.
const FULL_TURN: Duration = Duration::from_millis(2);
/// After so long it is not because of what is on its way that there is no room.
const STUCK: Duration = Duration::from_millis(20);
/// For so long librdkafka is told to send without regard to `linger.ms`: its threads take a moment to hear of it.
const SEND_MS: i32 = 1;

/// librdkafka's queue of outputs: where they wait until their batch is full, or told to go.
pub(crate) struct Queue {
    pub(crate) producer: SharedProducer,
    pub(crate) events: Arc<ProducerEvents>,
    departures: Departures,
    /// So many that have not arrived are sure to fill a batch, once the queue is full.
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
        Queue { producer, events, departures: Departures::new(Instant::now()), fills_at, patience }
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
        self.departures.write();
        let mut full = None;
        loop {
            match topic.produce(produced, headers) {
                Ok(()) => return Ok(()),
                Err(RDKafkaErrorCode::QueueFull) => self.make_room(topic, &mut full)?,
                Err(code) => return Err(not_taken(&self.producer, topic, output, code)),
            }
        }
    }

    /// Takes what has arrived out of the queue, and waits for more to where that was done before: since when, `full` says.
    #[cold]
    fn make_room(&mut self, topic: &TopicHandle, full: &mut Option<Instant>) -> Result<(), Error> {
        if let Some(start) = *full {
            if self.patience.is_over(start + FULL_WAIT) {
                let message = format!("the queue of topic '{}' stayed full", topic.name());
                return Err(Error::new(ErrorKind::Retry, message));
            }
            // What takes the room may wait for company that does not come before there is room.
            let may_wait = self.standstill() != Reason::Held && start.elapsed() < STUCK;
            if may_wait || !self.send(Reason::Held) {
                self.events.wait(FULL_TURN);
            }
        } else {
            *full = Some(Instant::now());
        }
        self.events.serve();
        Ok(())
    }

    /// Has sent what waits for company in its batch, which takes a millisecond, unless it is too early for that. Says whether it did.
    pub(crate) fn send(&mut self, reason: Reason) -> bool {
        let under_way = self.under_way();
        let due = self.departures.are_due(Instant::now(), under_way, reason);
        if due {
            native::flush(&self.producer, SEND_MS);
        }
        due
    }

    /// Sleeps until some have arrived, others are to be told to go, or for `time`.
    pub(crate) fn wait(&self, time: Duration, reason: Reason) {
        let next = self.departures.due_in(Instant::now(), self.under_way(), reason);
        self.events.wait(next.map_or(time, |next| time.min(next)));
    }

    /// Why to send while nothing more comes before some have arrived: some may fill batches, which go by themselves, or none does.
    pub(crate) fn standstill(&self) -> Reason {
        if self.under_way() < self.fills_at { Reason::Held } else { Reason::Lull }
    }

    /// How many outputs have not arrived.
    fn under_way(&self) -> u64 {
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
