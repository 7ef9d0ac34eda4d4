use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::client::Client;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use rdkafka::producer::Producer as _;
use regex::Regex;
use sluicegate_core::{Delivery, Error, ErrorKind, SinkLimits};

use crate::admin::{ADMIN_WAIT, Topics};
use crate::config::{KafkaSinkConfig, KafkaSourceConfig, PartitionBy};
use crate::context::{Consumer, ConsumerState, Faults, Producer, ProducerState, is_authentication};
use crate::deadline::{Bounded, Patience, PatientConsumer};
use crate::error::{failed, failed_call, kind};
use crate::limits::{MESSAGE_BYTES_DEFAULT, TopicLimits};
use crate::native::{ProducerEvents, SharedConsumer, SharedProducer};
use crate::queue::Queue;
use crate::sink::KafkaSink;
use crate::source::KafkaSource;
use crate::transaction::KafkaTransaction;

/// How long brokers may take to answer at all.
pub(crate) const REACH_WAIT: Duration = Duration::from_secs(10);
/// How long brokers may take to say what topics take, where that can be done without.
const LIMITS_WAIT: Duration = Duration::from_secs(1);
/// How long a new producer waits for an answer that only makes it ready sooner.
const READY_WAIT: Duration = Duration::from_secs(1);

/// One worker's share of Kafka.
pub struct Connection {
    /// The group member.
    pub source: KafkaSource,
    /// The producer.
    pub sink: KafkaSink,
    /// What makes them one.
    pub transaction: KafkaTransaction,
    /// What the sink takes in one record, for [`sluicegate_core::OutputLimits`].
    pub limits: SinkLimits,
}

/// A sink alone.
pub struct SinkConnection {
    /// The producer.
    pub sink: KafkaSink,
    /// Its transactions.
    pub transaction: KafkaTransaction,
    /// As of [`Connection`].
    pub limits: SinkLimits,
}

/// Connects a worker: checks that brokers answer and topics exist, and fences whoever had the same transactional id.
/// The group is joined by the first poll. Blocks, for some seconds at most where all is well; on any thread. `patience` is
/// the worker's.
///
/// # Errors
/// [`ErrorKind::Unreachable`]: no broker answers. [`ErrorKind::Login`]: none lets this program in.
/// [`ErrorKind::Config`]: a property that is unknown or may not be set, a topic that is not there, an access that is
/// refused.
pub fn connect(source: &KafkaSourceConfig, sink: &KafkaSinkConfig, patience: Patience) -> Result<Connection, Error> {
    let (consumer, partitions) = consumer(source, sink.delivery)?;
    let patient = || PatientConsumer::new(&consumer, &patience);
    let found = check_sink(sink, partitions.most)?;
    if sink.delivery == Delivery::ExactlyOnce && source.brokers != sink.brokers {
        check_same_cluster(&consumer, &found.admin)?;
    }
    let (queue, limits) = queue(sink, found, patience.clone())?;
    let transaction = match sink.delivery {
        Delivery::AtLeastOnce => KafkaTransaction::at_least_once(patient()),
        Delivery::ExactlyOnce => transaction(Some(Arc::clone(&consumer)), &queue, sink, &patience)?,
    };
    Ok(Connection {
        source: KafkaSource::new(patient(), source, partitions.by_topic)?,
        sink: KafkaSink::new(queue, sink)?,
        transaction,
        limits,
    })
}

/// As [`connect`], of a source alone: its outputs go to another system, so its offsets are committed at least once.
/// Also returns the most partitions that one of its topics has.
///
/// # Errors
/// As [`connect`].
pub fn connect_source(
    source: &KafkaSourceConfig,
    patience: Patience,
) -> Result<(KafkaSource, KafkaTransaction, usize), Error> {
    let (consumer, partitions) = consumer(source, Delivery::AtLeastOnce)?;
    let patient = || PatientConsumer::new(&consumer, &patience);
    let source = KafkaSource::new(patient(), source, partitions.by_topic)?;
    Ok((source, KafkaTransaction::at_least_once(patient()), partitions.most))
}

/// As [`connect`], of a sink alone, at least once: its source is another system's, with topics of at most so many
/// partitions. Also returns [`Connection::limits`].
///
/// # Errors
/// As [`connect`].
pub fn connect_sink(
    sink: &KafkaSinkConfig,
    source_partitions: usize,
    patience: Patience,
) -> Result<(KafkaSink, SinkLimits), Error> {
    let (queue, limits) = queue(sink, check_sink(sink, source_partitions)?, patience)?;
    Ok((KafkaSink::new(queue, sink)?, limits))
}

/// As [`connect`], of a sink without a source, exactly once: its transactions are outputs alone, whatever positions they
/// are given. What whoever had the same transactional id had committed is visible when this returns.
///
/// # Errors
/// As [`connect`].
pub fn connect_transactional_sink(sink: &KafkaSinkConfig, patience: Patience) -> Result<SinkConnection, Error> {
    let sink = KafkaSinkConfig { delivery: Delivery::ExactlyOnce, ..sink.clone() };
    let (queue, limits) = queue(&sink, check_sink(&sink, 0)?, patience.clone())?;
    let transaction = transaction(None, &queue, &sink, &patience)?;
    let sink = KafkaSink::new(queue, &sink)?;
    Ok(SinkConnection { sink, transaction, limits })
}

/// What the sink's topics take.
fn topic_limits(admin: &Topics, sink: &KafkaSinkConfig) -> TopicLimits {
    // Whoever sets it knows it; and for what topics say of timestamps alone, nobody waits long.
    let set = sink.properties.get("message.max.bytes").and_then(|value| value.parse().ok());
    let within = if set.is_some() { LIMITS_WAIT } else { ADMIN_WAIT };
    let limits = admin.limits(&sink.topics(), within).unwrap_or_default();
    TopicLimits { message_bytes: set.unwrap_or(limits.message_bytes), ..limits }
}

/// A producer's queue, and [`Connection::limits`]. Asks for the limits of the sink's topics, for which
/// `found` is not needed any more then.
fn queue(sink: &KafkaSinkConfig, found: FoundSink, patience: Patience) -> Result<(Queue, SinkLimits), Error> {
    let FoundSink { admin, partitions } = found;
    let limits = topic_limits(&admin, sink);
    admin.leave();
    let producer: Producer = sink
        .configuration(limits.message_bytes, partitions)?
        .create_with_context(ProducerState::default())
        .map_err(|error| failed_call("make a producer", &error).within("sink"))?;
    // librdkafka asks for an idempotent producer's id half a second after it is made, or when it hears of topics from a
    // broker that it then still has a connection to: without this, the first records of a process wait for that half
    // second. The first to answer may be the address it was given, which it drops for the brokers that it learns of;
    // the second is one of those. A failure tells nothing new: what sends waits and reports by itself.
    for _ in 0..2 {
        let _ = producer.client().fetch_metadata(Some(&sink.topic), READY_WAIT);
    }
    let producer: SharedProducer = Arc::new(Bounded::new(producer));
    let events = ProducerEvents::new(&producer);
    let events = events.ok_or_else(|| Error::new(ErrorKind::Stopped, "the producer has no queue of events"))?;
    let queue = Queue::new(producer, Arc::new(events), sink.fills_at(limits.message_bytes, partitions), patience);
    Ok((queue, limits.of_sink()))
}

fn transaction(
    consumer: Option<SharedConsumer>,
    queue: &Queue,
    sink: &KafkaSinkConfig,
    patience: &Patience,
) -> Result<KafkaTransaction, Error> {
    let timeout = sink.transaction_timeout();
    let (producer, events, topics) = (Arc::clone(&queue.producer), Arc::clone(&queue.events), sink.topics().join(", "));
    KafkaTransaction::exactly_once(consumer, producer, events, topics, timeout, patience.clone())
        .map_err(|error| error.within(&format!("transactional id '{}'", sink.transactional_id)))
}

/// How many partitions the source's topics have.
#[derive(Debug, Default)]
struct Partitions {
    /// The topic that has most.
    most: usize,
    /// All topics together, those too that an expression finds now.
    total: usize,
    /// Each topic; all of the cluster where there is an expression.
    by_topic: BTreeMap<String, usize>,
}

/// The consumer, once brokers answered and the topics were found.
fn consumer(source: &KafkaSourceConfig, delivery: Delivery) -> Result<(SharedConsumer, Partitions), Error> {
    let make = |partitions| -> Result<Bounded<Consumer>, Error> {
        let consumer: Consumer = source
            .configuration(delivery, partitions)?
            .create_with_context(ConsumerState::default())
            .map_err(|error| failed_call("make a consumer", &error).within("source"))?;
        Ok(Bounded::new(consumer))
    };
    let consumer = make(0)?;
    let partitions = check_source(&consumer, source)?;
    // How much a consumer fetches ahead of each partition is fixed when it is made, and depends on how many there are.
    if source.fetch_bytes(partitions.total) == source.fetch_bytes(0) {
        return Ok((Arc::new(consumer), partitions));
    }
    consumer.leave();
    Ok((Arc::new(make(partitions.total)?), partitions))
}

/// Checks that the source's topics exist.
fn check_source(consumer: &Consumer, source: &KafkaSourceConfig) -> Result<Partitions, Error> {
    let mut found = Partitions::default();
    // Librdkafka asks for the group as soon as it can, and says only once that it may not use it.
    let refused = Cell::new(None);
    let serve = || {
        if let Some(Err(error)) = consumer.poll(Duration::ZERO)
            && error.rdkafka_error_code().is_some_and(|code| kind(code) == ErrorKind::Config)
        {
            refused.set(Some(failed_call(&format!("read as group '{}'", source.group), &error)));
        }
    };
    let ask = |topic| reach(&source.brokers, consumer.client(), &consumer.context().faults, topic, serve);
    let (expressions, names): (Vec<&String>, Vec<&String>) =
        source.topics.iter().partition(|topic| topic.starts_with('^'));
    if !expressions.is_empty() {
        let metadata = ask(None)?;
        found.total = matching(&metadata, &expressions);
        let counts = metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len()));
        found.by_topic.extend(counts);
    }
    for topic in names {
        let metadata = ask(Some(topic))?;
        let count = partitions(&metadata, topic).map_err(|error| error.within("source"))?;
        (found.most, found.total) = (found.most.max(count), found.total + count);
        found.by_topic.insert(topic.clone(), count);
    }
    refused.take().map_or(Ok(found), |error| Err(error.within("source")))
}

/// How many partitions the topics have that an expression finds. Librdkafka decides which those are, and this only sizes
/// queues: an expression that is not valid here counts as finding all.
fn matching(metadata: &Metadata, expressions: &[&String]) -> usize {
    let expressions: Vec<Option<Regex>> = expressions.iter().map(|expression| Regex::new(expression).ok()).collect();
    let is_found = |name: &str| expressions.iter().any(|one| one.as_ref().is_none_or(|one| one.is_match(name)));
    let found = metadata.topics().iter().filter(|topic| is_found(topic.name()));
    found.map(|topic| topic.partitions().len()).sum()
}

/// A sink whose topics are there.
struct FoundSink {
    admin: Topics,
    /// How many its topics have together.
    partitions: usize,
}

/// Checks that the sink's topics exist, and have as many partitions as they need.
fn check_sink(sink: &KafkaSinkConfig, source_partitions: usize) -> Result<FoundSink, Error> {
    let admin = Topics::over(&sink.configuration(MESSAGE_BYTES_DEFAULT, 0)?, &sink.brokers)?;
    let mut partitions = 0;
    for topic in sink.topics() {
        let count = admin.partitions(topic).map_err(|error| error.within("sink"))?;
        let by_number = sink.partition == PartitionBy::Same && sink.dead_letter.as_deref() != Some(topic);
        if by_number && count < source_partitions {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "sink: `partition: same` needs as many partitions as the source's {source_partitions}, but topic \
                     '{topic}' has {count}; add partitions, or use `partition: by-key`"
                ),
            ));
        }
        partitions += count;
    }
    Ok(FoundSink { admin, partitions })
}

fn check_same_cluster(consumer: &SharedConsumer, admin: &Topics) -> Result<(), Error> {
    let source = consumer.client().fetch_cluster_id(REACH_WAIT);
    if source == admin.cluster_id() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        "exactly-once needs source and sink in one Kafka cluster; use delivery: at-least-once, whose outputs carry stable ids",
    ))
}

/// Asks brokers for metadata of one topic, or of all.
///
/// # Errors
/// Says why nobody answers, in the words that librdkafka had for it.
pub(crate) fn reach<C: rdkafka::ClientContext>(
    brokers: &str,
    client: &Client<C>,
    faults: &Faults,
    topic: Option<&str>,
    serve: impl Fn(),
) -> Result<Metadata, Error> {
    let end = Instant::now() + REACH_WAIT;
    loop {
        let result = client.fetch_metadata(topic, Duration::from_secs(2));
        // Errors wait in the client's queue of events, some dozens at most.
        (0..64).for_each(|_| serve());
        let error = match result {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        let fault = faults.last();
        if let Some(fault) = fault.as_ref().filter(|fault| is_authentication(fault.code)) {
            return Err(failed(&format!("log in to {brokers} ({})", fault.reason), fault.code));
        }
        if Instant::now() >= end {
            let reason = fault.map_or_else(|| error.to_string(), |fault| fault.reason);
            let message = format!(
                "no broker of '{brokers}' answered within {REACH_WAIT:?}: {reason}; check the address, and that a broker runs"
            );
            return Err(Error::new(ErrorKind::Unreachable, message));
        }
    }
}

/// The number of partitions that the topic has.
///
/// # Errors
/// It is not there, or not to be seen.
pub(crate) fn partitions(metadata: &Metadata, topic: &str) -> Result<usize, Error> {
    let doing = format!("use topic '{topic}'");
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let found = found.ok_or_else(|| failed(&doing, RDKafkaErrorCode::UnknownTopicOrPartition))?;
    match found.error().map(RDKafkaErrorCode::from) {
        None | Some(RDKafkaErrorCode::NoError | RDKafkaErrorCode::LeaderNotAvailable) => Ok(found.partitions().len()),
        Some(code) => Err(failed(&doing, code)),
    }
}
