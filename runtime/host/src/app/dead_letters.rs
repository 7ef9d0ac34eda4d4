//! What reads a dead-letter topic, and what its replay writes to.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{Batch, Error, ErrorKind, Sink, SinkLimits, Stop, Transaction};
use sluicegate_kafka::{ClientConfig, Patience};
use sluicegate_local::{LocalSink, LocalSource, Log, SourceSettings};

use super::seams::{LOCAL_LIMITS, kafka_sink, local_sink};
use super::{App, DRAIN};
use crate::config::{Pipeline, Sink as SinkConfig, Source as SourceConfig};
use crate::dead_letters::LetterReader;

/// Where a replay writes: a sink and its transactions.
pub(crate) struct Outlet {
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) transaction: Box<dyn Transaction>,
    pub(crate) limits: SinkLimits,
}

/// How long a reader waits for records at a time.
const READ_WAIT: Duration = Duration::from_millis(100);

impl App {
    /// Reads the pipeline's dead-letter topic up to where it ends now. With `settled`, it waits for the transactions
    /// that are open now, and so misses nothing that is there already but not yet visible.
    ///
    /// # Errors
    /// The topic is not there, or cannot be read.
    pub(crate) fn letters(&self, config: &Pipeline, settled: bool) -> Result<Box<dyn LetterReader>, Error> {
        let topic = dead_letter_topic(config)?;
        Ok(match &config.sink {
            SinkConfig::Kafka(sink) => {
                let client = ClientConfig::of_connection(&sink.brokers, &sink.properties.to_map());
                let reader = sluicegate_kafka::Reader::new(&client, topic, true)?;
                Box::new(if settled { reader.past_open_transactions(&client)? } else { reader })
            }
            SinkConfig::Local(sink) => {
                // Who only looks does so beside the process that runs the pipeline.
                let log = if settled { self.log(&sink.path)? } else { Log::visit(&sink.path)? };
                let start = sluicegate_local::Start::Earliest;
                Box::new(sluicegate_local::Reader::open(&log, topic, None, start)?.up_to_end())
            }
        })
    }

    /// Connects the pipeline's sink for a replay, and fences any other replay of the same pipeline. Dead letters are in
    /// the sink's own system, so outputs and marks are one transaction whatever the pipeline itself promises.
    ///
    /// # Errors
    /// The system cannot be reached, or refuses.
    pub(crate) fn outlet(&self, config: &Pipeline, stop: &Arc<Stop>) -> Result<Outlet, Error> {
        match &config.sink {
            SinkConfig::Kafka(sink) => {
                let transactional_id = format!("{}-replay", config.name);
                let connection = sluicegate_kafka::connect_transactional_sink(
                    &kafka_sink(config, sink, &transactional_id),
                    Patience::new(stop, DRAIN),
                )?;
                Ok(Outlet {
                    sink: Box::new(connection.sink),
                    transaction: Box::new(connection.transaction),
                    limits: connection.limits,
                })
            }
            SinkConfig::Local(sink) => {
                let log = self.log(&sink.path)?;
                let new_partitions = match &config.source {
                    SourceConfig::Local(source) => {
                        self.log(&source.path)?.partitions_of(source.topics.iter().map(String::as_str))?
                    }
                    SourceConfig::Kafka(_) => 1,
                };
                let sink = LocalSink::open(&log, &local_sink(config, sink, new_partitions))?;
                // A member that reads nothing: its transactions are outputs alone.
                let nobody = SourceSettings {
                    topics: Vec::new(),
                    group: format!("{}-replay", config.name),
                    start: sluicegate_local::Start::Earliest,
                    on_missing_offset: sluicegate_local::OnMissingOffset::Stop,
                    worker: 0,
                    workers: 1,
                    batch: sluicegate_local::BatchLimits::default(),
                };
                let transaction = LocalSource::open(&log, &nobody)?.transaction(Some(&sink));
                Ok(Outlet { sink: Box::new(sink), transaction: Box::new(transaction), limits: LOCAL_LIMITS })
            }
        }
    }
}

/// The pipeline's dead-letter topic.
///
/// # Errors
/// It has none.
pub(crate) fn dead_letter_topic(config: &Pipeline) -> Result<&str, Error> {
    let topic = config.dead_letter.as_ref().map(|dead_letter| dead_letter.topic.as_str());
    topic.ok_or_else(|| {
        let message = format!(
            "pipeline '{}' has no dead-letter topic, and so no dead letters; name one with 'dead-letter: {{ topic: … }}'",
            config.name
        );
        Error::new(ErrorKind::Config, message)
    })
}

impl LetterReader for sluicegate_kafka::Reader {
    fn read(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        self.read(batch, READ_WAIT)
    }

    fn is_done(&self) -> bool {
        self.at_end()
    }
}

impl LetterReader for sluicegate_local::Reader {
    fn read(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        self.read(batch, READ_WAIT)
    }

    fn is_done(&self) -> bool {
        sluicegate_local::Reader::is_done(self)
    }
}
