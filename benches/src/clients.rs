//! Clients of librdkafka, set as one would set them for throughput, and how a record is sent.

#![expect(unsafe_code, reason = "librdkafka's flush, which rdkafka wraps with long waits")]

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t::{RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR_NO_ERROR};

use crate::workload::HEADER;

/// Bounds a wait for what does not come.
pub const WAIT: Duration = Duration::from_secs(60);
/// How long librdkafka's flush waits before delivery reports are served in between, in milliseconds.
const FLUSH_MS: i32 = 1;

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

/// The settings of a consumer of committed records from the beginning, whose offsets are its user's to commit.
pub fn consumer(brokers: &str, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("fetch.message.max.bytes", "4000000")
        .set("queued.min.messages", "200000")
        .set("queued.max.messages.kbytes", "131072")
        .set("fetch.queue.backoff.ms", "5");
    config
}

/// librdkafka's own limits on how much is on its way, which are lower than those above: for a producer or a consumer.
pub fn limit_as_by_default(config: &mut ClientConfig) {
    for key in
        ["batch.num.messages", "queue.buffering.max.messages", "queued.min.messages", "queued.max.messages.kbytes"]
    {
        config.remove(key);
    }
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
/// rdkafka's own `flush`, which its `commit_transaction` calls too, serves reports for a whole 100 ms before it looks again
/// whether they have all come. That would be most of what a commit takes here, so librdkafka's is called directly.
///
/// # Errors
/// It takes longer than [`WAIT`].
pub fn flush(producer: &BaseProducer) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < WAIT {
        // SAFETY: the producer is valid; the call may be made on any thread.
        let result = unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), FLUSH_MS) };
        if result == RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        ensure!(result == RD_KAFKA_RESP_ERR__TIMED_OUT, "flush: {result:?}");
        serve(producer);
    }
    bail!("outputs are still on their way after {WAIT:?}")
}

/// Takes all reports that are here: rdkafka's `poll` takes one of a batch at a time.
fn serve(producer: &BaseProducer) {
    let mut before = i32::MAX;
    while producer.in_flight_count() < before {
        before = producer.in_flight_count();
        producer.poll(Duration::ZERO);
    }
}
