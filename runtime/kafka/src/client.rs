//! What the command line needs of Kafka beside pipelines: to write some records, and to read some.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluicegate_core::{Acks, Batch, Error, ErrorKind, Partition};

use crate::config::apply;
use crate::connect::{partitions, reach};
use crate::context::{Consumer, ConsumerState, Producer, ProducerState};
use crate::deadline::Bounded;
use crate::error::{failed, failed_call};
use crate::native::{
    BY_KEY, MessageBatch, OutputHeaders, PartitionQueue, Produced, ProducerEvents, SharedConsumer, SharedProducer,
    TopicHandle,
};
use crate::properties::{Role, is_of_connection};
use crate::queue::failed_producer;
use crate::wake::Wake;

/// How a command reaches Kafka.
#[derive(Clone, Default)]
pub struct ClientConfig {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// librdkafka's properties, checked by [`crate::check`].
    pub properties: BTreeMap<String, String>,
}

impl ClientConfig {
    /// Of the properties of another client, those that say how brokers are reached.
    pub fn of_connection(brokers: &str, properties: &BTreeMap<String, String>) -> Self {
        let properties = properties.iter().filter(|(key, _)| is_of_connection(key));
        let properties = properties.map(|(key, value)| (key.clone(), value.clone())).collect();
        ClientConfig { brokers: brokers.to_owned(), properties }
    }

    pub(crate) fn configuration(&self) -> Result<rdkafka::ClientConfig, Error> {
        let mut config = rdkafka::ClientConfig::new();
        config.set("client.id", "sluicegate");
        apply(&mut config, Role::Plain, &self.properties)?;
        config.set("bootstrap.servers", &self.brokers);
        Ok(config)
    }
}

impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Any value may be a secret.
        let keys = self.properties.keys();
        f.debug_struct("ClientConfig").field("brokers", &self.brokers).field("properties", &keys).finish()
    }
}

/// Writes records to one topic, in order. To be used on one thread.
pub struct Writer {
    events: ProducerEvents,
    topic: TopicHandle,
    producer: SharedProducer,
}

/// A record to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Produce<'a> {
    /// Its partition; none: by its key, as Java clients do it.
    pub partition: Option<u32>,
    /// Milliseconds since the Unix epoch; none: now.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in order; values may be null.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl Writer {
    /// Connects to the topic, which must be there.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`], or [`ErrorKind::Config`].
    pub fn new(config: &ClientConfig, topic: &str) -> Result<Self, Error> {
        crate::admin::Topics::new(config)?.partitions(topic)?;
        let mut properties = config.configuration()?;
        properties.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("linger.ms", "5");
        let producer: Producer = properties
            .create_with_context(ProducerState::default())
            .map_err(|error| failed_call("make a producer", &error))?;
        let producer: SharedProducer = Arc::new(Bounded::new(producer));
        let broken = || failed(&format!("produce to topic '{topic}'"), RDKafkaErrorCode::InvalidTopic);
        Ok(Writer {
            events: ProducerEvents::new(&producer).ok_or_else(broken)?,
            topic: TopicHandle::new(&producer, topic).ok_or_else(broken)?,
            producer,
        })
    }

    /// Hands over one record; blocks while too many wait.
    ///
    /// # Errors
    /// It, or one before it, is refused.
    pub fn write(&mut self, record: &Produce<'_>) -> Result<(), Error> {
        let produced = Produced {
            partition: record.partition.map_or(BY_KEY, u32::cast_signed),
            timestamp: record.timestamp.unwrap_or_else(now_ms),
            key: record.key,
            value: record.value,
            ticket: 0,
        };
        let mut headers = if record.headers.is_empty() { None } else { OutputHeaders::new() };
        for (name, value) in record.headers {
            headers.iter_mut().for_each(|headers| headers.add(name, *value));
        }
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match self.topic.produce(&produced, &mut headers) {
                Ok(()) => return self.refused(),
                Err(RDKafkaErrorCode::QueueFull) if Instant::now() < end => {
                    self.events.serve();
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(code) => {
                    let doing = format!("produce to topic '{}'", self.topic.name());
                    return Err(failed_producer(&self.producer, &doing, code));
                }
            }
        }
    }

    /// Waits until all records are durable.
    ///
    /// # Errors
    /// One is refused, or `limit` is over.
    pub fn flush(&mut self, limit: Duration) -> Result<(), Error> {
        let end = Instant::now() + limit;
        while !crate::native::flush(&self.producer, 2) {
            self.refused()?;
            if Instant::now() >= end {
                let message = format!("topic '{}' did not take all records within {limit:?}", self.topic.name());
                return Err(Error::new(ErrorKind::Unreachable, message));
            }
        }
        self.refused()
    }

    fn refused(&self) -> Result<(), Error> {
        self.events.serve();
        match self.producer.context().take_reports(&mut Acks::default()) {
            None => Ok(()),
            Some(refused) => {
                let doing = format!("make a record durable in {}[{}]", refused.topic, refused.partition);
                Err(failed_producer(&self.producer, &doing, refused.code))
            }
        }
    }
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

/// Reads the committed records of one topic, without a group. To be used on one thread.
pub struct Reader {
    partitions: Vec<Reading>,
    wake: Arc<Wake>,
    turn: usize,
    consumer: SharedConsumer,
}

/// The most records that are given at a time.
const RECORDS: usize = 512;

struct Reading {
    partition: Partition,
    queue: PartitionQueue,
    /// What was fetched and not given yet: records, and perhaps an error behind them.
    rest: MessageBatch,
    next: u64,
    /// Where the log ended when the reader was made.
    end: u64,
}

impl Reader {
    /// Begins with the oldest record, or with what comes from now on.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`], or [`ErrorKind::Config`].
    pub fn new(config: &ClientConfig, topic: &str, from_beginning: bool) -> Result<Self, Error> {
        let mut properties = config.configuration()?;
        properties
            .set("group.id", "sluicegate")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "100");
        let consumer: Consumer = properties
            .create_with_context(ConsumerState::default())
            .map_err(|error| failed_call("make a consumer", &error))?;
        let consumer: SharedConsumer = Arc::new(Bounded::new(consumer));
        let serve = || drop(consumer.poll(Duration::ZERO));
        let metadata = reach(&config.brokers, consumer.client(), &consumer.context().faults, Some(topic), serve)?;
        let (count, wake, name) = (partitions(&metadata, topic)?, Arc::new(Wake::default()), Arc::<str>::from(topic));
        let (mut reading, mut assignment) = (Vec::new(), TopicPartitionList::new());
        for number in 0..i32::try_from(count).unwrap_or(i32::MAX) {
            let doing = format!("read {topic}[{number}]");
            let ends = consumer.fetch_watermarks(topic, number, Duration::from_secs(10));
            let (low, high) = ends.map_err(|error| failed_call(&doing, &error))?;
            let start = if from_beginning { low } else { high };
            let added = assignment.add_partition_offset(topic, number, Offset::Offset(start));
            added.map_err(|error| failed_call(&doing, &error))?;
            let queue = PartitionQueue::split(&consumer, topic, number, Arc::clone(&wake));
            reading.push(Reading {
                partition: Partition { topic: Arc::clone(&name), number: number.unsigned_abs() },
                queue: queue.ok_or_else(|| failed(&doing, RDKafkaErrorCode::UnknownPartition))?,
                rest: MessageBatch::new(&consumer, RECORDS),
                next: start.unsigned_abs(),
                end: high.unsigned_abs(),
            });
        }
        consumer.assign(&assignment).map_err(|error| failed_call("read", &error))?;
        Ok(Reader { partitions: reading, wake, turn: 0, consumer })
    }

    /// The same, but [`Reader::at_end`] is behind all transactions that are open now, too: what is committed of them will
    /// have been read.
    ///
    /// # Errors
    /// As of [`Reader::new`].
    pub fn past_open_transactions(mut self, config: &ClientConfig) -> Result<Self, Error> {
        let mut properties = config.configuration()?;
        // Ends are asked for as the client reads: the other kind stops before the first open transaction.
        properties.set("isolation.level", "read_uncommitted");
        let consumer: Consumer = properties
            .create_with_context(ConsumerState::default())
            .map_err(|error| failed_call("make a consumer", &error))?;
        let consumer = Bounded::new(consumer);
        for Reading { partition, end, .. } in &mut self.partitions {
            let ends =
                consumer.fetch_watermarks(&partition.topic, partition.number.cast_signed(), Duration::from_secs(10));
            let (_, high) = ends.map_err(|error| failed_call(&format!("find the end of {partition}"), &error))?;
            *end = high.unsigned_abs();
        }
        Ok(self)
    }

    /// Replaces `batch` by the next records of one partition. False: none came within `wait`.
    ///
    /// # Errors
    /// The brokers refuse.
    pub fn read(&mut self, batch: &mut Batch, wait: Duration) -> Result<bool, Error> {
        batch.clear();
        let end = Instant::now() + wait;
        loop {
            self.wake.lower();
            let _ = self.consumer.poll(Duration::ZERO);
            let count = self.partitions.len();
            for index in (0..count).map(|step| (self.turn + step) % count) {
                let reading = &mut self.partitions[index];
                if reading.rest.is_empty() {
                    reading.rest.fill(&reading.queue);
                }
                batch.partition.clone_from(&reading.partition);
                let copied = reading.rest.copy_into(batch, usize::MAX, reading.next);
                copied.map_err(|error| error.of(&reading.partition))?;
                if let Some(last) = batch.offsets.last() {
                    reading.next = last + 1;
                    self.turn = index + 1;
                    return Ok(true);
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.wake.wait(left);
        }
    }

    /// Whether every partition was read to the end it had when the reader was made. The last offsets of a partition
    /// may be marks of transactions, which are no records: librdkafka's own position tells.
    pub fn at_end(&self) -> bool {
        let positions = self.consumer.position().ok();
        self.partitions.iter().all(|reading| {
            let topic = &reading.partition.topic;
            let position =
                positions.as_ref().and_then(|all| all.find_partition(topic, reading.partition.number.cast_signed()));
            let position = position.map_or(0, |element| match element.offset() {
                Offset::Offset(offset) => offset.unsigned_abs(),
                _ => 0,
            });
            position.max(reading.next) >= reading.end
        })
    }
}
