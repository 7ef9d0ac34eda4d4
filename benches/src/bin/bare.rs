//! The yardstick: what a bare rdkafka loop costs that does the same work without a plugin, without a dead letter,
//! without a rebalance, and with none of the checks.
//!
//! ```text
//! bare <limits> <delivery> <workload> <commit ms> <linger ms> <brokers> <in> <out> <records>
//! ```
//!
//! The limits on what is in flight and fetched ahead are `large` or `default`, which is librdkafka's. `at-least-once` polls, works,
//! produces, and at each interval flushes and commits; `exactly-once` does so in transactions. Once all records are through it
//! waits to be measured and killed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{BaseProducer, Producer as _};
use sluicegate_benches::clients::{WAIT, consumer, flush, limit_as_by_default, producer, send};
use sluicegate_benches::workload::{Made, Native, Workload};

const POLL: Duration = Duration::from_millis(10);
/// How often the producer's reports are served, in records.
const SERVE: u64 = 1000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [limits, delivery, workload, interval, linger, brokers, from, to, records] = arguments[..] else {
        bail!("usage: bare <limits> <delivery> <workload> <commit ms> <linger ms> <brokers> <in> <out> <records>");
    };
    let workload = Workload::find(workload)?;
    let (mut reading, mut writing) = (consumer(brokers, to), producer(brokers));
    writing.set("linger.ms", linger);
    match limits {
        "large" => {}
        "default" => [&mut reading, &mut writing].into_iter().for_each(limit_as_by_default),
        _ => bail!("'{limits}' is neither large nor default"),
    }
    if delivery == "exactly-once" {
        writing.set("transactional.id", format!("bare-{to}"));
    }
    let bare = Bare {
        consumer: reading.create()?,
        producer: writing.create()?,
        native: workload.native(),
        topics: workload.topics(to),
        headers: workload.headers,
        interval: Duration::from_millis(interval.parse()?),
    };
    bare.consumer.subscribe(&[from])?;
    match delivery {
        "at-least-once" => bare.at_least_once(records.parse()?)?,
        "exactly-once" => bare.exactly_once(records.parse()?)?,
        _ => bail!("'{delivery}' is neither at-least-once nor exactly-once"),
    }
    loop {
        std::thread::park();
    }
}

struct Bare {
    consumer: BaseConsumer,
    producer: BaseProducer,
    native: Native,
    topics: Vec<String>,
    headers: bool,
    interval: Duration,
}

impl Bare {
    fn at_least_once(&self, records: u64) -> Result<()> {
        let (mut done, mut last) = (0, Instant::now());
        while done < records {
            if let Some(message) = self.consumer.poll(POLL) {
                self.work(&message?)?;
                done += 1;
                if done == 1 {
                    // What is done while the producer waits for its id would be left out: measuring begins with the first output.
                    flush(&self.producer)?;
                }
            }
            if done % SERVE == 0 {
                self.producer.poll(Duration::ZERO);
            }
            if last.elapsed() >= self.interval {
                self.commit()?;
                last = Instant::now();
            }
        }
        self.commit()
    }

    fn commit(&self) -> Result<()> {
        flush(&self.producer)?;
        match self.consumer.commit(&self.consumer.position()?, CommitMode::Sync) {
            // Nothing was read yet.
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
            committed => Ok(committed?),
        }
    }

    fn exactly_once(&self, records: u64) -> Result<()> {
        self.producer.init_transactions(WAIT)?;
        let (mut done, mut begun) = (0, None);
        while done < records || begun.is_some() {
            if let Some(message) = if done < records { self.consumer.poll(POLL) } else { None } {
                let message = message?;
                if begun.is_none() {
                    self.producer.begin_transaction()?;
                    begun = Some(Instant::now());
                }
                self.work(&message)?;
                done += 1;
            }
            if done % SERVE == 0 {
                self.producer.poll(Duration::ZERO);
            }
            if begun.is_some_and(|begun: Instant| done == records || begun.elapsed() >= self.interval) {
                let group = self.consumer.group_metadata().context("a group")?;
                self.producer.send_offsets_to_transaction(&self.consumer.position()?, &group, WAIT)?;
                flush(&self.producer)?;
                self.producer.commit_transaction(WAIT)?;
                begun = None;
            }
        }
        Ok(())
    }

    fn work(&self, message: &BorrowedMessage<'_>) -> Result<()> {
        match (self.native)(message.payload().context("a value")?) {
            Made::Dropped => Ok(()),
            Made::Value(value, to) => send(&self.producer, &self.topics[to], message.key(), &value, self.headers),
        }
    }
}
