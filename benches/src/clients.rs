//! Clients of librdkafka, set as one would set them for throughput, and how a record is sent.

use std::time::Duration;

use anyhow::Result;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::workload::HEADER;

/// Bounds a wait for what does not come.
pub const WAIT: Duration = Duration::from_secs(60);

/// A producer's settings.
pub fn producer(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "10")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "50000")
        .set("queue.buffering.max.messages", "1000000");
    config
}

/// A consumer of committed records from the beginning, whose offsets are its user's to commit.
///
/// # Errors
/// librdkafka refuses.
pub fn consumer(brokers: &str, group: &str) -> Result<BaseConsumer> {
    let consumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("fetch.message.max.bytes", "4000000")
        .set("queued.min.messages", "200000")
        .set("queued.max.messages.kbytes", "131072")
        .set("fetch.queue.backoff.ms", "5")
        .create()?;
    Ok(consumer)
}

/// Sends a record, with [`HEADER`] if asked, and waits for as long as the producer's queue is full.
///
/// # Errors
/// The producer refuses it.
pub fn send(producer: &BaseProducer, topic: &str, key: Option<&[u8]>, value: &[u8], header: bool) -> Result<()> {
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).payload(value);
    record.key = key;
    if header {
        record =
            record.headers(OwnedHeaders::new_with_capacity(1).insert(Header { key: HEADER.0, value: Some(HEADER.1) }));
    }
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(Duration::from_millis(10));
                record = back;
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// Waits until all that was sent is in the log.
///
/// # Errors
/// It takes longer than [`WAIT`].
pub fn flush(producer: &BaseProducer) -> Result<()> {
    Ok(producer.flush(WAIT)?)
}
