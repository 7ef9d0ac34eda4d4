//! The yardstick: what a bare rdkafka loop costs that upper-cases values without a plugin, without a dead letter,
//! without a rebalance, and with none of the checks.
//!
//! ```text
//! bare at-least-once <brokers> <in> <out> <records>   poll → upper-case → produce; flush and commit every second
//! bare exactly-once <brokers> <in> <out> <records>    the same in transactions of 100 ms
//! bare load <brokers> <topic> <records>               200-byte JSON values, keyed; prints the digest of what they become
//! bare digest <brokers> <topic> <records>             reads what is committed; prints its digest
//! ```
//!
//! A digest is the number of records and the sum of their hashes. Who upper-cases waits in the end to be measured and killed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const WAIT: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["load", brokers, topic, records] => return load(brokers, topic, records.parse()?),
        ["digest", brokers, topic, records] => return digest(brokers, topic, records.parse()?),
        ["at-least-once", brokers, from, to, records] => at_least_once(brokers, from, to, records.parse()?)?,
        ["exactly-once", brokers, from, to, records] => exactly_once(brokers, from, to, records.parse()?)?,
        _ => bail!("usage: bare load|digest|at-least-once|exactly-once <brokers> <topics…> <records>"),
    }
    loop {
        std::thread::park();
    }
}

/// A trade of exactly 200 bytes.
fn value(id: u64) -> String {
    let mut value = format!(r#"{{"id":{id},"symbol":"acme","user":"user-{}","note":""#, id % 1000);
    value.extend(std::iter::repeat_n('x', 198usize.saturating_sub(value.len())));
    value + r#""}"#
}

fn load(brokers: &str, topic: &str, records: u64) -> anyhow::Result<()> {
    let producer = producer(brokers).create::<BaseProducer>()?;
    let mut sum = 0u64;
    for id in 0..records {
        let (key, value) = (id.to_string(), value(id));
        sum = sum.wrapping_add(hash(Some(key.as_bytes()), value.to_ascii_uppercase().as_bytes()));
        send(&producer, topic, Some(key.as_bytes()), value.as_bytes())?;
    }
    producer.flush(WAIT)?;
    println!("{records} {sum}");
    Ok(())
}

/// Reads until there are so many records, and no more within a second; or none come.
fn digest(brokers: &str, topic: &str, records: u64) -> anyhow::Result<()> {
    let consumer = consumer(brokers, &format!("digest-{topic}"))?;
    consumer.subscribe(&[topic])?;
    let (mut seen, mut sum, mut last) = (0u64, 0u64, Instant::now());
    while last.elapsed() < if seen < records { WAIT } else { Duration::from_secs(1) } {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        (seen, last) = (seen + 1, Instant::now());
        sum = sum.wrapping_add(hash(message.key(), message.payload().unwrap_or_default()));
    }
    println!("{seen} {sum}");
    Ok(())
}

fn hash(key: Option<&[u8]>, value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

fn at_least_once(brokers: &str, from: &str, to: &str, records: u64) -> anyhow::Result<()> {
    let consumer = consumer(brokers, to)?;
    consumer.subscribe(&[from])?;
    let producer = producer(brokers).create::<BaseProducer>()?;
    let (mut done, mut last) = (0, Instant::now());
    while done < records {
        if let Some(message) = consumer.poll(Duration::from_millis(10)) {
            let message = message?;
            let value = message.payload().context("a value")?.to_ascii_uppercase();
            send(&producer, to, message.key(), &value)?;
            done += 1;
        }
        if done % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
        if last.elapsed() >= Duration::from_secs(1) {
            producer.flush(WAIT)?;
            consumer.commit(&consumer.position()?, CommitMode::Sync).or_else(ignore_no_offset)?;
            last = Instant::now();
        }
    }
    producer.flush(WAIT)?;
    Ok(consumer.commit(&consumer.position()?, CommitMode::Sync)?)
}

fn exactly_once(brokers: &str, from: &str, to: &str, records: u64) -> anyhow::Result<()> {
    let consumer = consumer(brokers, to)?;
    consumer.subscribe(&[from])?;
    let producer = producer(brokers).set("transactional.id", format!("bare-{to}")).create::<BaseProducer>()?;
    producer.init_transactions(WAIT)?;
    let (mut done, mut begun) = (0, None);
    while done < records || begun.is_some() {
        if let Some(message) = if done < records { consumer.poll(Duration::from_millis(10)) } else { None } {
            let message = message?;
            if begun.is_none() {
                producer.begin_transaction()?;
                begun = Some(Instant::now());
            }
            let value = message.payload().context("a value")?.to_ascii_uppercase();
            send(&producer, to, message.key(), &value)?;
            done += 1;
        }
        if done % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
        if begun.is_some_and(|begun: Instant| done == records || begun.elapsed() >= Duration::from_millis(100)) {
            let group = consumer.group_metadata().context("a group")?;
            producer.send_offsets_to_transaction(&consumer.position()?, &group, WAIT)?;
            producer.commit_transaction(WAIT)?;
            begun = None;
        }
    }
    Ok(())
}

fn ignore_no_offset(error: KafkaError) -> Result<(), KafkaError> {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::NoOffset) => Ok(()),
        _ => Err(error),
    }
}

fn send(producer: &BaseProducer, topic: &str, key: Option<&[u8]>, value: &[u8]) -> anyhow::Result<()> {
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).payload(value);
    record.key = key;
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

fn producer(brokers: &str) -> ClientConfig {
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

fn consumer(brokers: &str, group: &str) -> anyhow::Result<BaseConsumer> {
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
