use sluicegate_core::{Error, ErrorKind, Seams, Sink, SinkLimits, Source, Transaction};
use sluicegate_kafka::{KafkaSinkConfig, KafkaSourceConfig, OnMissingOffset, Patience, Silence};
use sluicegate_local::{IdHeader, LocalSink, LocalSource, Log, SinkSettings, SourceSettings};

use super::App;
use crate::config::{self, Delivery, Partitioning, Pipeline};

/// What the embedded log takes, which has no bound of its own.
pub(super) const LOCAL_LIMITS: SinkLimits = SinkLimits { bytes: 64 << 20, ..SinkLimits::NONE };
/// What librdkafka fetches ahead, of all partitions. A third of it makes for fetches so small that the rate falls by a fifth; more
/// costs memory, two to three times as much as is fetched, as librdkafka keeps some 300 bytes of its own a record, and CPU time once all
/// that is more than a processor's cache.
const FETCH_BYTES: usize = 3 << 20;
/// What a worker's outputs may take in librdkafka before the source has to wait.
const SEND_BYTES: usize = 4 << 20;

/// A worker's seams, and what is to be known of them beside.
pub(crate) struct Connected {
    pub(crate) seams: Seams,
    /// What the sink takes in one record.
    pub(crate) limits: SinkLimits,
    /// Whether the source's brokers do not answer. An embedded log has none.
    pub(crate) silence: Silence,
}

impl Connected {
    /// Connects worker number `index`. From one system to another there is no common transaction: at least once, which
    /// the configuration has made sure of.
    ///
    /// # Errors
    /// A system cannot be reached, or refuses.
    pub(super) fn connect(
        app: &App,
        config: &Pipeline,
        seat: &str,
        index: u32,
        patience: Patience,
    ) -> Result<Self, Error> {
        let transactional_id = format!("{}-{seat}-{index}", config.name);
        match (&config.source, &config.sink) {
            (config::Source::Kafka(source), config::Sink::Kafka(sink)) => {
                let (source, sink) = (kafka_source(config, source, index), kafka_sink(config, sink, &transactional_id));
                let connection = sluicegate_kafka::connect(&source, &sink, patience)?;
                let (limits, silence) = (connection.limits, connection.source.silence());
                let connected = Connected::new(connection.source, connection.sink, connection.transaction, limits);
                Ok(Connected { silence, ..connected })
            }
            (config::Source::Local(source), config::Sink::Local(sink)) => {
                let (log, source, partitions) = local_source(app, config, source, index)?;
                let sink_log = app.log(&sink.path)?;
                // At least once, the sink makes its outputs durable by itself, in the same log too.
                let is_one = config.delivery == Delivery::ExactlyOnce;
                if is_one && log != sink_log {
                    return Err(two_logs(&log, &sink_log));
                }
                let sink = LocalSink::open(&sink_log, &local_sink(config, sink, partitions))?;
                let transaction = source.transaction(is_one.then_some(&sink));
                Ok(Connected::new(source, sink, transaction, LOCAL_LIMITS))
            }
            (config::Source::Kafka(source), config::Sink::Local(sink)) => {
                let (source, transaction, partitions) =
                    sluicegate_kafka::connect_source(&kafka_source(config, source, index), patience)?;
                let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
                let sink = LocalSink::open(&app.log(&sink.path)?, &local_sink(config, sink, partitions))?;
                let silence = source.silence();
                Ok(Connected { silence, ..Connected::new(source, sink, transaction, LOCAL_LIMITS) })
            }
            (config::Source::Local(source), config::Sink::Kafka(sink)) => {
                let (_, source, partitions) = local_source(app, config, source, index)?;
                let sink = kafka_sink(config, sink, &transactional_id);
                let (sink, limits) = sluicegate_kafka::connect_sink(&sink, partitions as usize, patience)?;
                let transaction = source.transaction(None);
                Ok(Connected::new(source, sink, transaction, limits))
            }
        }
    }

    fn new(
        source: impl Source + 'static,
        sink: impl Sink + 'static,
        transaction: impl Transaction + 'static,
        limits: SinkLimits,
    ) -> Self {
        let seams = Seams::new(Box::new(source), Box::new(sink), Box::new(transaction));
        Connected { seams, limits, silence: Silence::default() }
    }
}

/// Two paths that look like one, as the configuration knows them, and by a symbolic link lead to two logs.
fn two_logs(source: &Log, sink: &Log) -> Error {
    let (source, sink) = (source.directory().display(), sink.directory().display());
    let message = format!(
        "exactly-once needs source and sink in one log, and {source} and {sink} lead to two: write the same path for both, or \
         set 'delivery: at-least-once'"
    );
    Error::new(ErrorKind::Config, message)
}

/// Opens the log and this worker's share of its topics; also says how many partitions they have.
fn local_source(
    app: &App,
    config: &Pipeline,
    source: &config::LocalSource,
    index: u32,
) -> Result<(Log, LocalSource, u32), Error> {
    let log = app.log(&source.path)?;
    let settings = SourceSettings {
        topics: source.topics.clone(),
        group: source.group.clone(),
        start: match source.start {
            config::Start::Earliest => sluicegate_local::Start::Earliest,
            config::Start::Latest => sluicegate_local::Start::Latest,
            config::Start::At(ms) => sluicegate_local::Start::Timestamp(ms),
        },
        on_missing_offset: match source.on_missing_offset {
            config::OnMissingOffset::Stop => sluicegate_local::OnMissingOffset::Stop,
            config::OnMissingOffset::Earliest => sluicegate_local::OnMissingOffset::Earliest,
            config::OnMissingOffset::Latest => sluicegate_local::OnMissingOffset::Latest,
        },
        worker: index,
        workers: config.workers,
        batch: sluicegate_local::BatchLimits {
            records: config.batch.records as usize,
            bytes: config.batch.bytes.bytes(),
        },
    };
    let opened = LocalSource::open(&log, &settings)?;
    let partitions = log.partitions_of(source.topics.iter().map(String::as_str))?;
    Ok((log, opened, partitions))
}

/// Topics that are not there are made with so many partitions.
pub(super) fn local_sink(config: &Pipeline, sink: &config::LocalSink, new_partitions: u32) -> SinkSettings {
    SinkSettings {
        topic: sink.topic.clone(),
        outputs: sink.outputs.iter().map(|(_, topic)| topic.to_owned()).collect(),
        dead_letter: config.dead_letter.as_ref().map(|dead_letter| dead_letter.topic.clone()),
        partition: match sink.partition {
            Partitioning::ByKey => sluicegate_local::PartitionBy::Key,
            Partitioning::Same => sluicegate_local::PartitionBy::Same,
        },
        new_partitions,
        id_header: sink.id_header.name().map(|name| IdHeader { name: name.to_owned(), pipeline: config.name.clone() }),
    }
}

fn kafka_source(config: &Pipeline, source: &config::KafkaSource, index: u32) -> KafkaSourceConfig {
    let mut properties = source.properties.to_map();
    if config.workers > 1
        && let Some(id) = properties.get_mut("group.instance.id")
    {
        // Members that share one fence each other.
        *id = format!("{id}-{index}");
    }
    KafkaSourceConfig {
        brokers: source.brokers.clone(),
        topics: source.topics.clone(),
        group: source.group.clone(),
        start: match source.start {
            config::Start::Earliest => sluicegate_kafka::Start::Earliest,
            config::Start::Latest => sluicegate_kafka::Start::Latest,
            config::Start::At(ms) => sluicegate_kafka::Start::Timestamp(ms),
        },
        on_missing_offset: match source.on_missing_offset {
            config::OnMissingOffset::Stop => OnMissingOffset::Stop,
            config::OnMissingOffset::Earliest => OnMissingOffset::Earliest,
            config::OnMissingOffset::Latest => OnMissingOffset::Latest,
        },
        properties,
        batch_records: config.batch.records as usize,
        batch_bytes: config.batch.bytes.bytes(),
        queue_bytes: FETCH_BYTES,
    }
}

pub(super) fn kafka_sink(config: &Pipeline, sink: &config::KafkaSink, transactional_id: &str) -> KafkaSinkConfig {
    KafkaSinkConfig {
        brokers: sink.brokers.clone(),
        topic: sink.topic.clone(),
        outputs: sink.outputs.iter().map(|(name, topic)| (name.to_owned(), topic.to_owned())).collect(),
        dead_letter: config.dead_letter.as_ref().map(|dead_letter| dead_letter.topic.clone()),
        partition: match sink.partition {
            Partitioning::ByKey => sluicegate_kafka::PartitionBy::Key,
            Partitioning::Same => sluicegate_kafka::PartitionBy::Same,
        },
        id_header: sink.id_header.name().map(str::to_owned),
        pipeline: config.name.clone(),
        properties: sink.properties.to_map(),
        delivery: config.delivery.into(),
        transactional_id: transactional_id.to_owned(),
        queue_bytes: SEND_BYTES,
    }
}
