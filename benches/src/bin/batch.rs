//! The least that a program on librdkafka can cost: batches read by one call and written by one call, at least once,
//! with no plugin. Rust's rdkafka wraps neither call.
//!
//! ```text
//! batch <workload> <commit ms> <linger ms> <brokers> <in> <out> <records>
//! ```
//!
//! It takes workloads of one output and no headers, which the write call has no room for.
#![expect(unsafe_code, reason = "librdkafka's own calls are what is measured")]

use std::ffi::{CString, c_void};
use std::ptr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t::{RD_KAFKA_RESP_ERR__QUEUE_FULL, RD_KAFKA_RESP_ERR_NO_ERROR};
use sluicegate_benches::clients::{consumer, flush, producer, send};
use sluicegate_benches::workload::{Made, Native, Workload};

/// How many records a call reads or writes at most.
const BATCH: usize = 512;
/// Lets librdkafka choose by the key: its `RD_KAFKA_PARTITION_UA`, a macro that the bindings lack.
const ANY_PARTITION: i32 = -1;
/// How long a call that reads waits, in milliseconds.
const READ_WAIT: i32 = 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [workload, interval, linger, brokers, from, to, records] = arguments[..] else {
        bail!("usage: batch <workload> <commit ms> <linger ms> <brokers> <in> <out> <records>");
    };
    let (workload, interval) = (Workload::find(workload)?, Duration::from_millis(interval.parse()?));
    ensure!(workload.outputs.is_empty() && !workload.headers, "'{}' has headers or several outputs", workload.name);
    let consumer = consumer(brokers, to).create::<BaseConsumer>()?;
    consumer.subscribe(&[from])?;
    let producer = producer(brokers).set("linger.ms", linger).create::<BaseProducer>()?;
    let batch = Batch::new(&consumer, &producer, to, workload.native())?;
    // Rebalances reach rdkafka by `poll` alone, which gives the first record with them; after it, the group stands still.
    let first = loop {
        if let Some(message) = consumer.poll(Duration::from_millis(10)) {
            break message?;
        }
    };
    if let Made::Value(value, _) = (batch.native)(first.payload().context("a value")?) {
        send(&producer, to, first.key(), &value, false)?;
    }
    // What is done while the producer waits for its id would be left out: measuring begins with the first output.
    flush(&producer)?;
    let (mut done, mut last, records) = (1, Instant::now(), records.parse::<usize>()?);
    while done < records {
        done += batch.step()?;
        producer.poll(Duration::ZERO);
        if last.elapsed() >= interval {
            commit(&consumer, &producer)?;
            last = Instant::now();
        }
    }
    commit(&consumer, &producer)?;
    loop {
        std::thread::park();
    }
}

fn commit(consumer: &BaseConsumer, producer: &BaseProducer) -> Result<()> {
    flush(producer)?;
    match consumer.commit_consumer_state(CommitMode::Sync) {
        // Nothing was read since the last time.
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
        committed => Ok(committed?),
    }
}

/// Where records are read from and written to. Client and topic live as long as the process.
struct Batch<'a> {
    queue: *mut sys::rd_kafka_queue_t,
    topic: *mut sys::rd_kafka_topic_t,
    producer: &'a BaseProducer,
    native: Native,
}

impl<'a> Batch<'a> {
    fn new(consumer: &BaseConsumer, producer: &'a BaseProducer, to: &str, native: Native) -> Result<Self> {
        let to = CString::new(to)?;
        // SAFETY: both clients are valid, and the name is copied.
        let (queue, topic) = unsafe {
            let queue = sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
            (queue, sys::rd_kafka_topic_new(producer.client().native_ptr(), to.as_ptr(), ptr::null_mut()))
        };
        ensure!(!queue.is_null() && !topic.is_null(), "librdkafka gives no queue or no topic");
        Ok(Batch { queue, topic, producer, native })
    }

    /// Reads, works and writes once; how many records that were.
    fn step(&self) -> Result<usize> {
        let mut read = [ptr::null_mut(); BATCH];
        // SAFETY: queue and array are valid; what is written there is this function's to destroy.
        let got = unsafe { sys::rd_kafka_consume_batch_queue(self.queue, READ_WAIT, read.as_mut_ptr(), BATCH) };
        let read = &read[..usize::try_from(got).context("librdkafka reads no more")?];
        // SAFETY: the messages are valid until they are destroyed below, after all that borrows from them is gone.
        let result = unsafe { self.write(read) };
        for message in read {
            // SAFETY: valid, ours, and not used again.
            unsafe { sys::rd_kafka_message_destroy(*message) };
        }
        result.map(|()| read.len())
    }

    /// # Safety
    /// The messages are valid for as long as this takes.
    unsafe fn write(&self, read: &[*mut sys::rd_kafka_message_t]) -> Result<()> {
        let mut values = Vec::with_capacity(read.len());
        for message in read {
            // SAFETY: valid, by the contract; the payload has the message's length.
            let (message, value) = unsafe {
                let message = &**message;
                (message, std::slice::from_raw_parts(message.payload.cast::<u8>().cast_const(), message.len))
            };
            ensure!(message.err == RD_KAFKA_RESP_ERR_NO_ERROR, "{:?}", message.err);
            if let Made::Value(value, _) = (self.native)(value) {
                values.push((message.key, message.key_len, value));
            }
        }
        let mut written: Vec<_> = values.iter().map(|(key, key_len, value)| message(*key, *key_len, value)).collect();
        self.produce(&mut written)
    }

    /// Hands over copies, again and again while the producer's queue is full.
    fn produce(&self, mut messages: &mut [sys::rd_kafka_message_t]) -> Result<()> {
        loop {
            let count = i32::try_from(messages.len())?;
            let flags = sys::RD_KAFKA_MSG_F_COPY;
            // SAFETY: the topic is valid, and so are `count` messages with keys and values that are copied.
            let taken =
                unsafe { sys::rd_kafka_produce_batch(self.topic, ANY_PARTITION, flags, messages.as_mut_ptr(), count) };
            let Some(refused) = messages.iter().find(|message| message.err != RD_KAFKA_RESP_ERR_NO_ERROR) else {
                return Ok(());
            };
            ensure!(refused.err == RD_KAFKA_RESP_ERR__QUEUE_FULL, "{:?} after {taken}", refused.err);
            messages.sort_by_key(|message| message.err == RD_KAFKA_RESP_ERR_NO_ERROR);
            let left = messages.partition_point(|message| message.err != RD_KAFKA_RESP_ERR_NO_ERROR);
            messages = &mut messages[..left];
            self.producer.poll(Duration::from_millis(10));
        }
    }
}

/// A message to write, that borrows key and value.
fn message(key: *mut c_void, key_len: usize, value: &[u8]) -> sys::rd_kafka_message_t {
    sys::rd_kafka_message_t {
        err: RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: ANY_PARTITION,
        payload: value.as_ptr().cast_mut().cast(),
        len: value.len(),
        key,
        key_len,
        offset: 0,
        _private: ptr::null_mut(),
    }
}
