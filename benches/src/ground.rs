//! The broker, with the input that all contenders read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::BaseProducer;
use sluicegate_tests::client::{Client, Isolation, Offsets};
use sluicegate_tests::kafka::Kafka;

use crate::clients::{self, WAIT};
use crate::workload::{Digest, HEADER, Made, Workload};

/// How many partitions the topics have, unless something else is asked.
pub const PARTITIONS: i32 = 4;
/// How long nothing more comes before a topic counts as read.
const QUIET: Duration = Duration::from_secs(1);
/// Inputs are no larger than this together: records of 64 KiB are fewer than those of 200 bytes.
const INPUT_BYTES: u64 = 4 << 30;

/// The offsets of a topic's records, in order, by partition.
pub type Places = BTreeMap<i32, Vec<i64>>;

/// A broker, and clients to look at it.
pub struct Ground {
    kafka: Kafka,
    client: Client,
}

/// A topic full of records, and what is to become of them.
pub struct Input {
    /// The topic's name.
    pub topic: String,
    /// How many partitions it has, and so each topic of the outputs.
    pub partitions: i32,
    /// How many records it has.
    pub records: u64,
    /// What the outputs have to be.
    pub expected: Digest,
}

impl Ground {
    /// Starts a broker.
    ///
    /// # Errors
    /// A tool is missing, or the broker does not start.
    pub fn prepare() -> Result<Self> {
        let kafka = Kafka::start()?;
        let client = Client::connect(&kafka)?;
        Ok(Ground { kafka, client })
    }

    /// Where the broker listens.
    pub fn brokers(&self) -> String {
        self.kafka.bootstrap()
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn create(&self, topic: &str, partitions: i32) -> Result<()> {
        self.client.create_topic(topic, partitions, &[])
    }

    /// Deletes a topic, so that disk and page cache stay what they were for the next contender.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn delete(&self, topic: &str) -> Result<()> {
        self.client.delete_topic(topic)
    }

    /// Makes the topic and loads the workload's records into it, as many of these as there is room for.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn load(&self, topic: &str, partitions: i32, workload: &Workload, records: u64) -> Result<Input> {
        self.create(topic, partitions)?;
        let empty = Input { topic: topic.to_owned(), partitions, records: 0, expected: Digest::default() };
        self.add(&empty, workload, records.min(INPUT_BYTES / workload.bytes as u64))
    }

    /// Loads more of the workload's records: gives the input with these.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn add(&self, input: &Input, workload: &Workload, records: u64) -> Result<Input> {
        let producer = clients::producer(&self.brokers()).create::<BaseProducer>()?;
        let (native, mut expected) = (workload.native(), input.expected);
        for id in input.records..input.records + records {
            let (key, value) = (Workload::key(id), workload.value(id));
            clients::send(&producer, &input.topic, Some(key.as_bytes()), &value, workload.headers)?;
            if let Made::Value(value, to) = native(&value) {
                let headers = workload.headers.then_some((HEADER.0, HEADER.1.as_bytes()));
                expected.add(to, Some(key.as_bytes()), &value, headers.into_iter());
            }
        }
        clients::flush(&producer)?;
        Ok(Input { topic: input.topic.clone(), records: input.records + records, expected, ..*input })
    }

    /// Where the partitions of each topic end: behind records, and under exactly-once behind the marks of transactions.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn ends(&self, topics: &[String]) -> Result<Vec<Offsets>> {
        topics.iter().map(|topic| self.client.end_offsets(topic, Isolation::ReadUncommitted)).collect()
    }

    /// Whether the outputs are what they have to be: every record once, changed as it should, and committed. Where they are, by
    /// topic.
    ///
    /// # Errors
    /// They are not.
    pub fn verify(&self, topics: &[String], expected: Digest) -> Result<Vec<Places>> {
        let (found, places) = self.digest(topics, expected.records)?;
        ensure!(found == expected, "{topics:?} are {found:?}, and should be {expected:?}");
        Ok(places)
    }

    /// Reads until there are so many records, and no more for a while; or none come.
    fn digest(&self, topics: &[String], records: u64) -> Result<(Digest, Vec<Places>)> {
        let consumer = clients::consumer(&self.brokers(), &format!("digest-{}", topics[0])).create::<BaseConsumer>()?;
        consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
        let (mut digest, mut last) = (Digest::default(), Instant::now());
        let mut places = vec![Places::new(); topics.len()];
        while last.elapsed() < if digest.records < records { WAIT } else { QUIET } {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message?;
            last = Instant::now();
            let topic = topics.iter().position(|topic| topic == message.topic()).context("one of the topics")?;
            places[topic].entry(message.partition()).or_default().push(message.offset());
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            let headers = headers.map(|header| (header.key, header.value.unwrap_or_default()));
            digest.add(topic, message.key(), message.payload().unwrap_or_default(), headers);
        }
        Ok((digest, places))
    }
}
