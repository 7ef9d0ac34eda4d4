//! The broker, with the input that all contenders read.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::kafka::Kafka;

use crate::contender::program;

/// How many partitions the topics have.
pub const PARTITIONS: i32 = 4;
/// The topic that all read.
pub const INPUT: &str = "bench";

/// A broker, and clients to look at it.
pub struct Ground {
    kafka: Kafka,
    client: Client,
    /// What the output has to be.
    expected: Digest,
}

/// Records regardless of their order: how many, and the sum of their hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// How many.
    pub records: u64,
    /// The wrapping sum of the hashes of key and value.
    pub sum: u64,
}

impl Ground {
    /// Starts a broker and loads `records` of 200 bytes; none for those who bring their own.
    ///
    /// # Errors
    /// A tool is missing, or the broker does not start.
    pub fn prepare(records: u64) -> Result<Self> {
        let kafka = Kafka::start()?;
        let client = Client::connect(&kafka)?;
        client.create_topic(INPUT, PARTITIONS, &[("retention.ms", "-1")])?;
        let expected = bare(&["load", &kafka.bootstrap(), INPUT, &records.to_string()])?;
        ensure!(expected.records == records, "{} records were loaded, not {records}", expected.records);
        Ok(Ground { kafka, client, expected })
    }

    /// Where the broker listens.
    pub fn brokers(&self) -> String {
        self.kafka.bootstrap()
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn create(&self, topic: &str) -> Result<()> {
        self.client.create_topic(topic, PARTITIONS, &[("retention.ms", "-1")])
    }

    /// Deletes a topic, so that disk and page cache stay what they were for the next contender.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn delete(&self, topic: &str) -> Result<()> {
        self.client.delete_topic(topic)
    }

    /// The number of offsets in the topic: records, and under exactly-once the markers of transactions.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn offsets(&self, topic: &str) -> Result<u64> {
        Ok(self.client.end_offsets(topic, Isolation::ReadUncommitted)?.values().map(|end| end.cast_unsigned()).sum())
    }

    /// Whether the output is what it has to be: every record once, upper-cased, and committed.
    ///
    /// # Errors
    /// It is not.
    pub fn verify(&self, output: &str) -> Result<()> {
        let found = bare(&["digest", &self.brokers(), output, &self.expected.records.to_string()])?;
        ensure!(found == self.expected, "{output} is {found:?}, and should be {:?}", self.expected);
        Ok(())
    }
}

/// Runs the bare program for a digest.
fn bare(arguments: &[&str]) -> Result<Digest> {
    let output = Command::new(program("bare")?).args(arguments).output()?;
    ensure!(output.status.success(), "bare {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout)?;
    let (records, sum) = printed.trim().split_once(' ').with_context(|| format!("no digest: {printed}"))?;
    Ok(Digest { records: records.parse()?, sum: sum.parse()? })
}
