use std::time::Duration;

use sluicegate_core::{Batch, NO_TIMESTAMP, Partition, Positions, Row};
use sluicegate_local::{
    LocalSource, Log, NewRecord, OnMissingOffset, PartitionBy, Reader, SinkSettings, SourceSettings, Start,
    TopicSettings, Writer,
};

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Record {
    pub(crate) fn of(row: &Row<'_>) -> Self {
        Record {
            timestamp: row.timestamp,
            key: row.key.map(Into::into),
            value: row.value.map(Into::into),
            headers: row.headers.map(|(name, value)| (name.into(), value.map(Into::into))).collect(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.value.clone().unwrap()).unwrap()
    }
}

/// A log in a directory of its own that goes when this goes.
pub(crate) struct Place {
    pub(crate) log: Log,
    _directory: tempfile::TempDir,
}

pub(crate) fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    Place { log: Log::open(directory.path().join("data")).unwrap(), _directory: directory }
}

pub(crate) fn create(log: &Log, topic: &str, partitions: u32) {
    log.create_topic(topic, &TopicSettings { partitions, ..TopicSettings::default() }).unwrap();
}

pub(crate) fn write(log: &Log, topic: &str, partition: u32, records: &[Record]) {
    let mut writer = Writer::open(log, topic).unwrap();
    for record in records {
        let headers: Vec<_> = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let (partition, timestamp) = (Some(partition), Some(record.timestamp));
        writer.send(&NewRecord { partition, key, value, headers: &headers, timestamp }).unwrap();
    }
    writer.flush().unwrap();
}

/// Writes records whose values are these numbers, in one commit.
pub(crate) fn write_numbers(log: &Log, topic: &str, partition: u32, numbers: std::ops::Range<u64>) {
    let record = |number: u64| Record {
        timestamp: number as i64,
        key: Some(format!("key {}", number % 7).into()),
        value: Some(number.to_string().into()),
        headers: Vec::new(),
    };
    write(log, topic, partition, &numbers.map(record).collect::<Vec<_>>());
}

pub(crate) fn read(log: &Log, topic: &str, partition: u32) -> Vec<Record> {
    read_from(log, topic, partition, Start::Earliest).into_iter().map(|(_, record)| record).collect()
}

/// What the topic's partition holds now, with offsets.
pub(crate) fn read_from(log: &Log, topic: &str, partition: u32, start: Start) -> Vec<(u64, Record)> {
    let mut reader = Reader::open(log, topic, Some(partition), start).unwrap().up_to_end();
    let (mut batch, mut records) = (Batch::default(), Vec::new());
    while !reader.is_done() {
        if reader.read(&mut batch, Duration::ZERO).unwrap() {
            records.extend(batch.rows().map(|row| (row.offset, Record::of(&row))));
        }
    }
    records
}

pub(crate) fn texts(log: &Log, topic: &str, partition: u32) -> Vec<String> {
    read(log, topic, partition).iter().map(Record::text).collect()
}

pub(crate) fn source_settings(topic: &str) -> SourceSettings {
    SourceSettings {
        topics: vec![topic.to_owned()],
        group: "group".to_owned(),
        start: Start::Earliest,
        on_missing_offset: OnMissingOffset::Stop,
        worker: 0,
        workers: 1,
        batch: Default::default(),
    }
}

pub(crate) fn source(log: &Log, topic: &str) -> LocalSource {
    LocalSource::open(log, &source_settings(topic)).unwrap()
}

pub(crate) fn sink_settings(topic: &str) -> SinkSettings {
    SinkSettings {
        topic: topic.to_owned(),
        outputs: Vec::new(),
        dead_letter: None,
        partition: PartitionBy::Same,
        new_partitions: 4,
        id_header: None,
    }
}

pub(crate) fn nameless(value: &str) -> Record {
    Record { timestamp: NO_TIMESTAMP, key: None, value: Some(value.into()), headers: Vec::new() }
}

/// The offsets that a group has committed.
pub(crate) fn offsets(log: &Log, group: &str) -> Positions {
    let database = rusqlite::Connection::open(log.directory().join("log.db")).unwrap();
    let mut statement = database
        .prepare(
            "SELECT t.name, p.number, o.next FROM offsets o
             JOIN partitions p ON p.id = o.partition JOIN topics t ON t.id = p.topic WHERE o.consumer_group = ?1",
        )
        .unwrap();
    let rows = statement.query_map([group], |row| {
        let partition = Partition { topic: row.get::<_, String>(0)?.into(), number: row.get(1)? };
        Ok((partition, row.get::<_, i64>(2)? as u64))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}
