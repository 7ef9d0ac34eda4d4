use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use sluicegate_core::{Acks, Destination, Error, ErrorKind, Output, Progress, Sink, Ticket};

use crate::config::{KafkaSinkConfig, PartitionBy};
use crate::error::failed;
use crate::flush_schedule::Why;
use crate::native::{BY_KEY, OutputHeaders, Produced, TopicHandle};
use crate::queue::{Queue, failed_producer};

/// A producer, as a [`Sink`]. To be used on one thread.
pub struct KafkaSink {
    queue: Queue,
    default: TopicHandle,
    named: Vec<TopicHandle>,
    dead_letter: Option<TopicHandle>,
    partition: PartitionBy,
    id: Option<IdHeader>,
    durable: Acks,
}

/// Writes the header with an output's stable id.
struct IdHeader {
    name: String,
    pipeline: String,
    value: String,
}

impl KafkaSink {
    pub(crate) fn new(queue: Queue, config: &KafkaSinkConfig) -> Result<Self, Error> {
        let handle = |topic: &str| {
            let handle = TopicHandle::new(&queue.producer, topic);
            handle.ok_or_else(|| failed(&format!("produce to topic '{topic}'"), RDKafkaErrorCode::InvalidTopic))
        };
        let id = config.id_header.clone();
        Ok(KafkaSink {
            default: handle(&config.topic)?,
            named: config.outputs.iter().map(|(_, topic)| handle(topic)).collect::<Result<_, _>>()?,
            dead_letter: config.dead_letter.as_deref().map(handle).transpose()?,
            partition: config.partition,
            id: id.map(|name| IdHeader { name, pipeline: config.pipeline.clone(), value: String::new() }),
            durable: Acks::default(),
            queue,
        })
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
        let mut headers = headers_of(output, self.id.as_mut());
        self.queue.push(topic, output, &produced, &mut headers)
    }

    fn send_now(&mut self) {
        self.queue.flush(Why::Idle);
    }

    fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
        let why = if wait.is_zero() { Why::Trickle } else { self.queue.when_blocked() };
        let mut end = None;
        loop {
            self.queue.flush(why);
            self.queue.events.serve();
            let refused = self.queue.producer.context().take_reports(&mut self.durable);
            let is_any = !self.durable.is_empty();
            self.durable.report(progress);
            if let Some(refused) = refused {
                let doing = format!("make an output durable in {}[{}]", refused.topic, refused.partition);
                return Err(failed_producer(&self.queue.producer, &doing, refused.code));
            }
            if is_any || wait.is_zero() {
                return Ok(());
            }
            let now = Instant::now();
            let end = *end.get_or_insert(now + wait);
            if now >= end {
                return Ok(());
            }
            self.queue.wait(end - now, why);
        }
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
fn no_such_output(output: &Output<'_>) -> Error {
    let message = match output.to {
        Destination::DeadLetter => "a dead letter, but no dead-letter topic is configured".to_owned(),
        to => format!("an output to {to:?}, which is not configured"),
    };
    Error::new(ErrorKind::Stopped, message)
}
