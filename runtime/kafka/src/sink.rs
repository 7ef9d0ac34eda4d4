use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use sluicegate_core::{Delivery, Destination, Error, ErrorKind, Output, Progress, Sink, Ticket};

use crate::config::{KafkaSinkConfig, PartitionBy};
use crate::context::Producer;
use crate::deadline::Patience;
use crate::error::{failed, kind};
use crate::native::{self, EventQueue, OutputHeaders, TopicHandle};
use crate::record::{BY_KEY, Produced, SharedProducer};

/// How long [`Sink::write`] blocks at most while the queue is full.
const FULL_WAIT: Duration = Duration::from_secs(60);
/// How often it looks whether there is room again.
const FULL_TURN: Duration = Duration::from_millis(2);
/// A queue that is full for so long waits for batches to fill that have no room to.
const STUCK: Duration = Duration::from_millis(5);

/// For so long librdkafka is told to send without regard to `linger.ms`: its threads take a moment to hear of it.
const SEND_MS: i32 = 1;
/// And not more often than this: a request for every few records keeps brokers busier than it makes outputs earlier.
const SEND_EVERY: Duration = Duration::from_millis(2);

/// A producer, as a [`Sink`]. To be used on one thread.
pub struct KafkaSink {
    events: Arc<EventQueue>,
    producer: SharedProducer,
    default: TopicHandle,
    named: Vec<TopicHandle>,
    dead_letter: Option<TopicHandle>,
    partition: PartitionBy,
    id: Option<IdHeader>,
    delivery: Delivery,
    durable: Vec<(usize, u64)>,
    /// Whether something may wait for company in its batch.
    unsent: bool,
    /// When that was sent last.
    sent: Instant,
    patience: Patience,
}

/// Writes the header with an output's stable id.
struct IdHeader {
    name: String,
    pipeline: String,
    value: String,
}

impl KafkaSink {
    pub(crate) fn new(
        producer: SharedProducer,
        events: Arc<EventQueue>,
        config: &KafkaSinkConfig,
        patience: Patience,
    ) -> Result<Self, Error> {
        let handle = |topic: &str| {
            let handle = TopicHandle::new(&producer, topic);
            handle.ok_or_else(|| failed(&format!("produce to topic '{topic}'"), RDKafkaErrorCode::InvalidTopic))
        };
        let id = config.id_header.clone();
        Ok(KafkaSink {
            events,
            default: handle(&config.topic)?,
            named: config.outputs.iter().map(|(_, topic)| handle(topic)).collect::<Result<_, _>>()?,
            dead_letter: config.dead_letter.as_deref().map(handle).transpose()?,
            partition: config.partition,
            id: id.map(|name| IdHeader { name, pipeline: config.pipeline.clone(), value: String::new() }),
            delivery: config.delivery,
            durable: Vec::new(),
            unsent: false,
            sent: Instant::now(),
            patience,
            producer,
        })
    }

    /// Blocks until the producer takes the output that its queue had no room for.
    #[cold]
    fn write_when_there_is_room(
        &self,
        topic: &TopicHandle,
        output: &Output<'_>,
        produced: &Produced<'_>,
        headers: &mut Option<OutputHeaders>,
    ) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            self.events.wake().lower();
            serve(&self.producer, &self.events);
            match topic.produce(produced, headers) {
                Ok(()) => return Ok(()),
                Err(RDKafkaErrorCode::QueueFull) if !self.patience.is_over(start + FULL_WAIT) => {
                    if start.elapsed() > STUCK {
                        native::flush(&self.producer, SEND_MS);
                    }
                    self.events.wake().wait(FULL_TURN);
                }
                Err(RDKafkaErrorCode::QueueFull) => {
                    let message = format!("the queue of topic '{}' stayed full", topic.name());
                    return Err(Error::new(ErrorKind::Retry, message));
                }
                Err(code) => return Err(not_taken(&self.producer, topic, output, code)),
            }
        }
    }
}

impl Sink for KafkaSink {
    #[inline]
    fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
        let topic = match output.to {
            Destination::Default => Some(&self.default),
            Destination::Named(index) => self.named.get(index as usize),
            Destination::DeadLetter | Destination::Replayed => self.dead_letter.as_ref(),
        };
        let topic = topic.ok_or_else(|| no_such_output(output))?;
        let by_key = match output.to {
            Destination::DeadLetter => true,
            Destination::Replayed => false,
            _ => self.partition == PartitionBy::Key,
        };
        let produced = Produced {
            partition: if by_key { BY_KEY } else { output.source.number.cast_signed() },
            timestamp: output.timestamp,
            key: output.key,
            value: output.value,
            ticket: ticket.0 as usize,
        };
        self.unsent = true;
        let mut headers = headers_of(output, self.id.as_mut());
        match topic.produce(&produced, &mut headers) {
            Ok(()) => Ok(()),
            Err(RDKafkaErrorCode::QueueFull) => self.write_when_there_is_room(topic, output, &produced, &mut headers),
            Err(code) => Err(not_taken(&self.producer, topic, output, code)),
        }
    }

    fn send_now(&mut self) {
        if self.unsent && self.sent.elapsed() >= SEND_EVERY {
            self.unsent = !native::flush(&self.producer, SEND_MS);
            self.sent = Instant::now();
        }
    }

    fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
        let mut end = None;
        loop {
            self.events.wake().lower();
            serve(&self.producer, &self.events);
            self.durable.clear();
            let refused = self.producer.context().take_reports(&mut self.durable);
            for (ticket, outputs) in &self.durable {
                progress.acknowledge(Ticket(*ticket as u64), *outputs);
            }
            if let Some(refused) = refused {
                let doing = format!("make an output durable in {}[{}]", refused.topic, refused.partition);
                return Err(failed_producer(&self.producer, &doing, refused.code));
            }
            if !self.durable.is_empty() || self.delivery == Delivery::ExactlyOnce || wait.is_zero() {
                return Ok(());
            }
            let now = Instant::now();
            let end = *end.get_or_insert(now + wait);
            if now >= end {
                return Ok(());
            }
            self.events.wake().wait(end - now);
        }
    }
}

/// Serves librdkafka's events: delivery reports, logs, errors.
pub(crate) fn serve(producer: &Producer, events: &EventQueue) {
    for _ in 0..4096 {
        if events.is_empty() {
            return;
        }
        // Handles one event, of all reports that came together.
        producer.poll(Duration::ZERO);
    }
}

/// The headers that the output goes with; none, without any work, where it has none.
#[inline]
fn headers_of(output: &Output<'_>, id: Option<&mut IdHeader>) -> Option<OutputHeaders> {
    let mut own = output.headers.peekable();
    if own.peek().is_none() && output.added.is_empty() && id.is_none() {
        return None;
    }
    let mut headers = OutputHeaders::new()?;
    for (name, value) in own {
        headers.add(name, value);
    }
    for (name, value) in output.added {
        headers.add(name.as_bytes(), Some(value.as_bytes()));
    }
    if let Some(IdHeader { name, pipeline, value }) = id {
        output.write_id(pipeline, value);
        headers.add(name.as_bytes(), Some(value.as_bytes()));
    }
    Some(headers)
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

#[cold]
fn no_such_output(output: &Output<'_>) -> Error {
    let message = match output.to {
        Destination::DeadLetter => "a dead letter, but no dead-letter topic is configured".to_owned(),
        to => format!("an output to {to:?}, which is not configured"),
    };
    Error::new(ErrorKind::Stopped, message)
}
