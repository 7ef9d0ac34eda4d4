//! A mock cluster, and what runs against it. Each file of tests uses a part of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use sluicegate_core::{Batch, Clock, CommitEvery, Delivery, Error, Meters, Seams, Worker, WorkerSettings};
use sluicegate_kafka::{
    ClientConfig, Connection, KafkaSinkConfig, KafkaSourceConfig, OnMissingOffset, PartitionBy, Patience, Produce,
    Reader, Start, Writer,
};

pub(crate) type Mock = MockCluster<'static, DefaultProducerContext>;

pub(crate) fn mock(topics: &[(&str, i32)]) -> Mock {
    let mock = MockCluster::new(1).unwrap();
    for (topic, partitions) in topics {
        mock.create_topic(topic, *partitions, 1).unwrap();
    }
    mock
}

pub(crate) fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn source(brokers: &str, group: &str) -> KafkaSourceConfig {
    KafkaSourceConfig {
        brokers: brokers.into(),
        topics: vec!["in".into()],
        group: group.into(),
        start: Start::Earliest,
        on_missing_offset: OnMissingOffset::Stop,
        properties: properties(&[("heartbeat.interval.ms", "200"), ("session.timeout.ms", "6000")]),
        batch_records: 64,
        batch_bytes: 1 << 20,
        queue_bytes: 16 << 20,
    }
}

pub(crate) fn sink(brokers: &str, delivery: Delivery) -> KafkaSinkConfig {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    KafkaSinkConfig {
        brokers: brokers.into(),
        topic: "out".into(),
        outputs: vec![],
        dead_letter: None,
        partition: PartitionBy::Same,
        id_header: None,
        pipeline: "test".into(),
        // Not waited for then: the mock does not know how to answer.
        properties: properties(&[("message.max.bytes", "1048588")]),
        delivery,
        transactional_id: format!("test-{}", NEXT.fetch_add(1, Relaxed)),
        queue_bytes: 8 << 20,
    }
}

pub(crate) struct Real(Instant);

impl Clock for Real {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
    fn unix_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
    }
}

/// Connects a worker that nobody asks to stop.
pub(crate) fn connect(source: &KafkaSourceConfig, sink: &KafkaSinkConfig) -> Result<Connection, Error> {
    sluicegate_kafka::connect(source, sink, Patience::new(&Arc::default(), Duration::from_secs(10)))
}

/// A worker without stages: what comes in goes out.
pub(crate) fn worker(connection: Connection, delivery: Delivery) -> Worker {
    counted(connection, delivery, Arc::new(Meters::new([])))
}

/// The same, which counts here what it does.
pub(crate) fn counted(connection: Connection, delivery: Delivery, meters: Arc<Meters>) -> Worker {
    let settings = WorkerSettings {
        pipeline: "test".into(),
        delivery,
        commit: CommitEvery { interval: Duration::from_millis(50), records: 1000, bytes: 1 << 20 },
        budget: 4 << 20,
        drain: Duration::from_secs(10),
    };
    let Connection { source, sink, transaction, .. } = connection;
    let clock = Box::new(Real(Instant::now()));
    let seams = Seams::new(Box::new(source), Box::new(sink), Box::new(transaction));
    Worker::new(settings, seams, vec![], clock, meters)
}

pub(crate) fn produce(brokers: &str, topic: &str, partitions: u32, records: std::ops::Range<u32>) {
    let config = ClientConfig { brokers: brokers.into(), ..ClientConfig::default() };
    let mut writer = Writer::new(&config, topic).unwrap();
    for number in records {
        let value = number.to_string();
        let partition = Some(number % partitions);
        let record = Produce { partition, key: Some(b"k"), value: Some(value.as_bytes()), ..Produce::default() };
        writer.write(&record).unwrap();
    }
    writer.flush(Duration::from_secs(20)).unwrap();
}

/// A record as text, with all that must not change.
pub(crate) type Seen = (u32, String);

/// Reads until there are `count` records, repeats not counted, or for a while.
pub(crate) fn read(brokers: &str, topic: &str, count: usize) -> Vec<Seen> {
    let config = ClientConfig { brokers: brokers.into(), ..ClientConfig::default() };
    let mut reader = Reader::new(&config, topic, true).unwrap();
    let (mut batch, mut seen, end) = (Batch::default(), Vec::new(), Instant::now() + Duration::from_secs(30));
    let mut known = HashSet::new();
    while Instant::now() < end && (known.len() < count || !reader.at_end()) {
        if reader.read(&mut batch, Duration::from_millis(200)).unwrap() {
            for row in batch.rows() {
                let headers: Vec<_> = row.headers.collect();
                let text = format!("{} {:?} {:?} {headers:?}", row.timestamp, row.key, row.value);
                known.insert((batch.partition.number, text.clone()));
                seen.push((batch.partition.number, text));
            }
        }
    }
    seen
}
