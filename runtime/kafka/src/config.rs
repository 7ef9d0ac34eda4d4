use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use sluicegate_core::{Delivery, Error};

use crate::properties::{self, Role};

/// Where there are fewer partitions than this, each gets as much as if there were so many.
const PARTITIONS_FEW: usize = 4;
/// The least that is fetched ahead of a partition, however many there are: with less, it would be fetched record by record.
const FETCH_BYTES_MIN: usize = 256 << 10;
/// The least room for the outputs to a partition, however many there are: a request for every few outputs keeps brokers busy.
const SEND_BYTES_MIN: usize = 64 << 10;
/// The most that this adds up to for all partitions.
const SEND_BYTES_MAX: usize = 256 << 20;
/// How long a transaction may stay open before its coordinator aborts it, unless the user says otherwise.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// librdkafka's default of `message.timeout.ms`.
const MESSAGE_TIMEOUT_MS: u64 = 300_000;
/// librdkafka's bound on `linger.ms`.
const LINGER_MS_MAX: u64 = 900_000;

/// Where a source begins with a partition for which its group has no offset yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record there is.
    Earliest,
    /// With what comes from now on.
    Latest,
    /// With the first record of this time, in milliseconds since the Unix epoch, or later.
    Timestamp(i64),
}

/// What to do where the group's offset of a partition is gone: retention passed it, or the topic was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissingOffset {
    /// Stop, and say so.
    Stop,
    /// Go on with the oldest record that is left.
    Earliest,
    /// Go on with what comes from now on.
    Latest,
}

/// Which partition of its topic an output goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionBy {
    /// The one its key hashes to (murmur2, as Java clients do it); records without a key are spread.
    Key,
    /// The one with the number of the source's partition. Dead letters go by key even so.
    Same,
}

/// A source: one member of a group.
#[derive(Clone)]
pub struct KafkaSourceConfig {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// Topics; a name that begins with `^` is a regular expression.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// Where to begin where the group has no offset.
    pub start: Start,
    /// What to do where the group's offset is gone.
    pub on_missing_offset: OnMissingOffset,
    /// librdkafka's properties, checked by [`crate::check`].
    pub properties: BTreeMap<String, String>,
    /// The most records of a batch.
    pub batch_records: usize,
    /// The bytes at which a batch is full; its last record may go beyond.
    pub batch_bytes: usize,
    /// The bytes that are fetched ahead, of all partitions together. The fewer there are, the more each gets, which makes for
    /// fewer and larger fetches. Librdkafka counts each partition by itself, and may exceed its share by one fetch.
    pub queue_bytes: usize,
}

/// A sink: one producer.
#[derive(Clone)]
pub struct KafkaSinkConfig {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// The topic of the default output.
    pub topic: String,
    /// Names and topics of the named outputs, in the order of [`sluicegate_core::Destination::Named`].
    pub outputs: Vec<(String, String)>,
    /// The dead-letter topic.
    pub dead_letter: Option<String>,
    /// How outputs are spread over partitions.
    pub partition: PartitionBy,
    /// The header that carries each output's stable id; none: no such header.
    pub id_header: Option<String>,
    /// The pipeline's name, the first part of that id.
    pub pipeline: String,
    /// librdkafka's properties, checked by [`crate::check`].
    pub properties: BTreeMap<String, String>,
    /// The promise.
    pub delivery: Delivery,
    /// Unique to pipeline, instance and worker, and stable over restarts. Read under exactly-once only.
    pub transactional_id: String,
    /// The bytes of outputs that may wait to be sent before the sink blocks; more where there are many partitions, or where a
    /// single output may be larger.
    pub queue_bytes: usize,
}

impl KafkaSourceConfig {
    /// The bytes to fetch ahead of each of so many partitions, all of which may come to one member of the group; 0 if it is
    /// not known how many there are.
    pub(crate) fn fetch_bytes(&self, partitions: usize) -> usize {
        (self.queue_bytes / partitions.max(PARTITIONS_FEW)).max(FETCH_BYTES_MIN)
    }

    /// librdkafka's configuration of the consumer of so many partitions, as [`KafkaSourceConfig::fetch_bytes`] takes it.
    ///
    /// # Errors
    /// A property that may not be set.
    pub(crate) fn configuration(&self, delivery: Delivery, partitions: usize) -> Result<ClientConfig, Error> {
        let fetch_bytes = self.fetch_bytes(partitions);
        let mut config = ClientConfig::new();
        config
            .set("client.id", format!("sluicegate-{}", self.group))
            .set("isolation.level", "read_committed")
            // What retention took away, or a topic made anew, must not be passed over silently.
            .set("auto.offset.reset", "error")
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "100")
            // The default of a second stalls a partition whose queue was full once.
            .set("fetch.queue.backoff.ms", "5")
            // A fetch comes whole, whatever room the queue has left. A larger record is fetched all the same.
            .set("fetch.message.max.bytes", (fetch_bytes / 2).clamp(1024, 1_000_000_000).to_string())
            .set("queued.min.messages", "100000")
            .set("queued.max.messages.kbytes", (fetch_bytes / 1024).clamp(1, 2_097_151).to_string());
        apply(&mut config, Role::Source(delivery), &self.properties)?;
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "false")
            // The default takes records that were damaged on their way for good.
            .set("check.crcs", "true");
        Ok(config)
    }
}

impl KafkaSinkConfig {
    /// Topics of all outputs, each once.
    pub(crate) fn topics(&self) -> Vec<&str> {
        let named = self.outputs.iter().map(|(_, topic)| topic.as_str());
        let mut topics: Vec<&str> =
            [self.topic.as_str()].into_iter().chain(named).chain(self.dead_letter.as_deref()).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// librdkafka's configuration of the producer. `largest` is the smallest `max.message.bytes` of the topics, which have so
    /// many partitions together.
    ///
    /// # Errors
    /// A property that may not be set.
    pub(crate) fn configuration(&self, largest: usize, partitions: usize) -> Result<ClientConfig, Error> {
        let queue_kbytes = self.send_bytes(largest, partitions).div_ceil(1024);
        let queue_records = (BATCH_RECORDS + QUEUED_BESIDE).saturating_mul(partitions.max(PARTITIONS_FEW));
        let mut config = ClientConfig::new();
        config
            .set("client.id", format!("sluicegate-{}", self.pipeline))
            // Nothing waits for this: the sink flushes by its own schedule (`FlushSchedule` says why), and exactly once a commit
            // does.
            .set("linger.ms", self.linger_ms().to_string())
            // How long outputs without a key keep to a partition, so that they fill a batch; by default, twice `linger.ms`.
            .set("sticky.partitioning.linger.ms", "50")
            .set("batch.num.messages", BATCH_RECORDS.to_string())
            // A batch above the topic's limit is refused as a whole.
            .set("batch.size", largest.saturating_sub(BATCH_OVERHEAD).clamp(1, BATCH_BYTES_MAX).to_string())
            .set("message.max.bytes", largest.clamp(1000, 1_000_000_000).to_string())
            .set("queue.buffering.max.messages", queue_records.min(QUEUE_RECORDS_MAX).to_string())
            .set("queue.buffering.max.kbytes", queue_kbytes.clamp(1024, 2_097_151).to_string());
        if self.delivery == Delivery::ExactlyOnce {
            config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string());
        }
        apply(&mut config, Role::Sink(self.delivery), &self.properties)?;
        config
            .set("bootstrap.servers", &self.brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random");
        if self.delivery == Delivery::ExactlyOnce {
            // Lost connections are told in logs only; what is shown of those is not librdkafka's to decide.
            config.set_log_level(RDKafkaLogLevel::Debug);
            config.set("transactional.id", &self.transactional_id);
        }
        Ok(config)
    }

    /// What the outputs to so many partitions may take in librdkafka. An output of the largest size fits at least when it is
    /// alone: one that does not would wait for room for ever.
    fn send_bytes(&self, largest: usize, partitions: usize) -> usize {
        self.queue_bytes.max(SEND_BYTES_MIN.saturating_mul(partitions).min(SEND_BYTES_MAX)).max(largest)
    }

    /// How many unacknowledged outputs a full queue must hold for some partition's batch to be full; 0 where its bytes alone
    /// guarantee that.
    pub(crate) fn fills_at(&self, largest: usize, partitions: usize) -> u64 {
        let by_bytes = self.send_bytes(largest, partitions) >= BATCH_BYTES_MAX.saturating_mul(partitions);
        if by_bytes { 0 } else { BATCH_RECORDS.saturating_mul(partitions) as u64 }
    }

    /// How long a transaction may stay open.
    pub(crate) fn transaction_timeout(&self) -> Duration {
        transaction_timeout(&self.properties)
    }

    /// Half of a transaction, but less than an output has to become durable, and no more than librdkafka takes.
    fn linger_ms(&self) -> u64 {
        let set = ["message.timeout.ms", "delivery.timeout.ms"].iter().find_map(|key| self.properties.get(*key));
        let limit = match set.and_then(|ms| ms.trim().parse().ok()) {
            // There is none.
            Some(0) => u64::MAX,
            limit => limit.unwrap_or(MESSAGE_TIMEOUT_MS),
        };
        let half = self.transaction_timeout().as_millis() as u64 / 2;
        half.min(limit - 1).min(LINGER_MS_MAX)
    }
}

/// How long a transaction may stay open with these properties of a sink before its coordinator aborts it.
pub fn transaction_timeout(properties: &BTreeMap<String, String>) -> Duration {
    let set = properties.get("transaction.timeout.ms").and_then(|ms| ms.trim().parse::<u32>().ok());
    set.map_or(TRANSACTION_TIMEOUT, |ms| Duration::from_millis(ms.into()))
}

/// The most outputs of one batch. Two threads walk the outputs in flight, in turn and three times in all. While these, with
/// librdkafka's 250 bytes for each, fit into what other programs leave of the processor's cache, that takes a fifth less CPU
/// time than from memory. Each partition has one batch on its way at a time: where brokers make it durable in 5 ms, this
/// allows 160,000 outputs a second and partition.
pub(crate) const BATCH_RECORDS: usize = 800;
/// How many more outputs may wait for each partition: while a batch is on its way the next one fills, and batches of other
/// partitions that do not fill take room. With a third of it the worker stands still whenever a broker takes a moment longer,
/// which costs a tenth of the rate.
const QUEUED_BESIDE: usize = 1200;
/// The most outputs that may wait, however many partitions there are; beyond, their bytes decide.
const QUEUE_RECORDS_MAX: usize = 1_000_000;
/// The most bytes of one batch of outputs, even if the topic takes more. A full batch is sent, one of each partition at a time.
/// With half of it, or twice as much, the rate is a fifth lower.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// What a batch's own header takes of the topic's limit, with room to spare.
const BATCH_OVERHEAD: usize = 512;

/// Takes over the user's properties.
///
/// # Errors
/// A property that may not be set in this role.
pub(crate) fn apply(config: &mut ClientConfig, role: Role, user: &BTreeMap<String, String>) -> Result<(), Error> {
    properties::check(role, user)?;
    for (key, value) in user {
        config.set(key, value);
    }
    Ok(())
}

impl fmt::Debug for KafkaSourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSourceConfig")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("group", &self.group)
            .field("start", &self.start)
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KafkaSinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSinkConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("outputs", &self.outputs)
            .field("dead_letter", &self.dead_letter)
            .field("delivery", &self.delivery)
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Producer, ProducerState};

    fn sink(delivery: Delivery, pairs: &[(&str, &str)]) -> KafkaSinkConfig {
        KafkaSinkConfig {
            brokers: "127.0.0.1:1".into(),
            topic: "out".into(),
            outputs: Vec::new(),
            dead_letter: None,
            partition: PartitionBy::Same,
            id_header: None,
            pipeline: "test".into(),
            properties: pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            delivery,
            transactional_id: "test".into(),
            queue_bytes: 4 << 20,
        }
    }

    #[test]
    fn outputs_linger_for_less_than_they_may_take() {
        use Delivery::{AtLeastOnce, ExactlyOnce};
        for (delivery, pairs, linger) in [
            (ExactlyOnce, &[][..], "30000"),
            (AtLeastOnce, &[], "30000"),
            (AtLeastOnce, &[("message.timeout.ms", "1000")], "999"),
            (AtLeastOnce, &[("delivery.timeout.ms", "20000")], "19999"),
            (AtLeastOnce, &[("message.timeout.ms", "0")], "30000"),
            (AtLeastOnce, &[("transaction.timeout.ms", "4000000")], "299999"),
            (AtLeastOnce, &[("transaction.timeout.ms", "4000000"), ("message.timeout.ms", "0")], "900000"),
            (ExactlyOnce, &[("transaction.timeout.ms", "4000000")], "299999"),
            (ExactlyOnce, &[("transaction.timeout.ms", "1000")], "500"),
        ] {
            let config = sink(delivery, pairs).configuration(1 << 20, 1).unwrap();
            assert_eq!(config.get("linger.ms"), Some(linger), "{delivery:?} {pairs:?}");
            let producer: Result<Producer, _> = config.create_with_context(ProducerState::default());
            assert!(producer.is_ok(), "{delivery:?} {pairs:?}: {:?}", producer.err());
        }
    }

    #[test]
    fn the_queue_takes_the_largest_output() {
        let sink = sink(Delivery::AtLeastOnce, &[]);
        let kbytes = |largest, partitions| -> usize {
            let config = sink.configuration(largest, partitions).unwrap();
            config.get("queue.buffering.max.kbytes").unwrap().parse().unwrap()
        };
        assert_eq!(kbytes(1 << 20, 1), 4 << 10);
        assert_eq!(kbytes((10 << 20) + 12, 1), (10 << 10) + 1);
    }

    #[test]
    fn a_source_looks_for_damage() {
        let source = KafkaSourceConfig {
            brokers: "127.0.0.1:1".into(),
            topics: Vec::new(),
            group: "g".into(),
            start: Start::Latest,
            on_missing_offset: OnMissingOffset::Stop,
            properties: BTreeMap::new(),
            batch_records: 1,
            batch_bytes: 1,
            queue_bytes: 1,
        };
        assert_eq!(source.configuration(Delivery::AtLeastOnce, 0).unwrap().get("check.crcs"), Some("true"));
    }
}
