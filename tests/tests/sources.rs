//! Topics as a real broker has them: those that a pattern names, a start by time, and what brokers do to records: compress them,
//! stamp them with their own time, and leave gaps where they compact.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use sluicegate_tests::client::{Client, Isolation, Offsets};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::program::{Running, free_address, sluicegate};
use sluicegate_tests::record::{Record, UNKNOWN, difference};
use sluicegate_tests::trades;
use sluicegate_tests::wait::eventually;

const WITHIN: Duration = Duration::from_secs(60);
const TRADES: usize = 1_000;
/// 2026-01-05, 14:30 UTC.
const OPENING: i64 = 1_767_623_400_000;

#[test]
fn a_pattern_names_topics_and_those_that_come_later_too() -> Result<()> {
    let client = client()?;
    let write = |topic: &str| {
        client.create_topic(topic, 1, &[])?;
        client.produce(topic, &[Record::new("k", topic)])
    };
    ["legacy-a", "legacy-b", "not-legacy-c", "patterns.out"].into_iter().try_for_each(write)?;
    let folder = tempfile::tempdir()?;
    let source = "topics: ['^legacy-.*'], properties: { topic.metadata.refresh.interval.ms: 500 }";
    write_pipeline(folder.path(), "patterns", source, "")?;
    let running = start(folder.path(), &["patterns"])?;
    let written = |topics: &[&str]| {
        let mut seen = BTreeSet::new();
        let waited = eventually(WITHIN, "the outputs", || {
            let outputs = client.consume("patterns.out", Isolation::ReadCommitted)?;
            seen = outputs.into_iter().filter_map(|output| String::from_utf8(output.value?).ok()).collect();
            Ok(topics.iter().all(|topic| seen.contains(*topic)).then_some(()))
        });
        waited.with_context(|| format!("{seen:?}, and {topics:?} are due"))
    };
    written(&["legacy-a", "legacy-b"])?;
    write("legacy-d")?;
    written(&["legacy-a", "legacy-b", "legacy-d"])?;
    running.end()?;
    assert_eq!(client.committed("patterns", "not-legacy-c")?, Offsets::new());
    assert_eq!(client.consume("patterns.out", Isolation::ReadCommitted)?.len(), 1 + 3);
    Ok(())
}

/// Partition 1 has nothing from then on until later.
#[test]
fn a_start_by_time_begins_with_the_first_record_from_then_on() -> Result<()> {
    let (client, folder) = (client()?, tempfile::tempdir()?);
    client.create_topic("timed.in", 2, &[])?;
    let at = |partition, minutes: i64| Record {
        timestamp: OPENING + 60_000 * minutes,
        ..Record::new("k", &format!("{partition} after {minutes} minutes")).in_partition(partition)
    };
    let old: Vec<_> = (-9..0).map(|minute| at(0, minute)).chain((-9..0).map(|minute| at(1, minute))).collect();
    let due: Vec<_> = (0..9).map(|minute| at(0, minute)).collect();
    client.produce("timed.in", &[&old[..], &due].concat())?;
    let starts = [("by-date", "2026-01-05T14:30:00Z"), ("by-number", "1767623400000")];
    for (name, start) in starts {
        client.create_topic(&format!("{name}.out"), 2, &[])?;
        write_pipeline(folder.path(), name, &format!("topics: [timed.in], start: {start}"), "")?;
    }
    let running = start(folder.path(), &starts.map(|(name, _)| name))?;
    starts.iter().try_for_each(|(name, _)| client.wait_until_consumed(name, "timed.in", WITHIN))?;
    client.produce("timed.in", &[at(1, -5)])?;
    starts.iter().try_for_each(|(name, _)| client.wait_until_consumed(name, "timed.in", WITHIN))?;
    running.end()?;
    for (name, _) in starts {
        let seen = client.consume(&format!("{name}.out"), Isolation::ReadCommitted)?;
        let expected = [&due[..], &[at(1, -5)]].concat();
        assert_eq!(difference(&expected, &seen), None, "{name}");
    }
    Ok(())
}

#[test]
fn what_brokers_do_to_records_does_no_harm() -> Result<()> {
    let (client, folder) = (client()?, tempfile::tempdir()?);
    let topics = [
        ("gzip", ("compression.type", "gzip"), "compression.type: gzip"),
        ("snappy", ("compression.type", "snappy"), "compression.type: snappy"),
        ("lz4", ("compression.type", "lz4"), "compression.type: lz4"),
        ("zstd", ("compression.type", "zstd"), "compression.type: zstd"),
        ("appended", ("message.timestamp.type", "LogAppendTime"), ""),
    ];
    for (seed, (name, setting, property)) in topics.iter().enumerate() {
        client.create_topic(&format!("{name}.in"), 1, &[*setting])?;
        client.produce(&format!("{name}.in"), &trades::generate(seed as u64, TRADES, 1))?;
        write_pipeline(folder.path(), name, &format!("topics: [{name}.in]"), &format!("properties: {{ {property} }}"))?;
    }
    compacted_topic(client, "compacted.in")?;
    write_pipeline(folder.path(), "compacted", "topics: [compacted.in]", "")?;

    let names: Vec<&str> = topics.iter().map(|topic| topic.0).chain(["compacted"]).collect();
    names.iter().try_for_each(|name| client.create_topic(&format!("{name}.out"), 1, &[]))?;
    let running = start(folder.path(), &names)?;
    for name in names {
        client.wait_until_consumed(name, &format!("{name}.in"), WITHIN).context(name)?;
        // As Kafka's own client sees it.
        let seen = |end: &str| client.consume(&format!("{name}.{end}"), Isolation::ReadCommitted);
        let expected: Vec<_> = seen("in")?.into_iter().map(|input| Record { offset: UNKNOWN, ..input }).collect();
        assert_eq!(difference(&expected, &seen("out")?), None, "{name}");
        let stamped = expected.iter().all(|record| record.timestamp > OPENING + 86_400_000);
        ensure!(stamped == (name == "appended"), "{name}: the broker stamped records, or did not");
    }
    running.end()
}

/// A topic of which only the last record of each key is left, and gaps where others were.
fn compacted_topic(client: &Client, topic: &str) -> Result<()> {
    let settings = [("cleanup.policy", "compact"), ("segment.ms", "50"), ("min.cleanable.dirty.ratio", "0.0001")];
    client.create_topic(topic, 1, &settings)?;
    let mut records = trades::generate(9, TRADES, 1);
    records.retain(|record| record.key.is_some());
    client.produce(topic, &records)?;
    let last: HashMap<_, _> = records.iter().enumerate().map(|(at, record)| (&record.key, at)).collect();
    // The segment that is written to is left as it is; this record is alone in it.
    client
        .produce(topic, &[Record { timestamp: OPENING + 3_600_000, ..Record::new("the last", "").in_partition(0) }])?;
    eventually(WITHIN, "compaction", || {
        let left = client.consume(topic, Isolation::ReadCommitted)?.len();
        Ok((left == last.len() + 1).then_some(()))
    })?;
    ensure!(last.len() < records.len() * 9 / 10, "no gaps worth the name: {} of {}", last.len(), records.len());
    Ok(())
}

/// What the README says under "Its limits", so that it is known when it no longer holds.
#[test]
fn the_limits_are_what_they_are_said_to_be() -> Result<()> {
    let (client, folder) = (client()?, tempfile::tempdir()?);
    ["limits.in", "limits.out"].iter().try_for_each(|topic| client.create_topic(topic, 1, &[]))?;
    let headers = vec![("name\0rest".to_owned(), Some(b"value\0rest".to_vec()))];
    let record = Record { timestamp: 0, headers, ..Record::new("k", "v").in_partition(0) };
    client.produce("limits.in", std::slice::from_ref(&record))?;
    write_pipeline(folder.path(), "limits", "topics: [limits.in]", "")?;
    let running = start(folder.path(), &["limits"])?;
    client.wait_until_consumed("limits", "limits.in", WITHIN)?;
    running.end()?;
    let headers = vec![("name".to_owned(), Some(b"value\0rest".to_vec()))];
    let expected = Record { timestamp: 1, headers, ..record };
    assert_eq!(difference(&[expected], &client.consume("limits.out", Isolation::ReadCommitted)?), None);
    Ok(())
}

/// A pipeline from what `source` says to `<name>.out`, which copies records.
fn write_pipeline(folder: &Path, name: &str, source: &str, sink: &str) -> Result<()> {
    let brokers = kafka()?.bootstrap();
    let yaml = format!(
        "name: {name}\n\
         source: {{ kafka: {{ brokers: '{brokers}', {source} }} }}\n\
         stages: []\n\
         sink: {{ kafka: {{ topic: {name}.out, partition: same, {sink} }} }}\n\
         workers: 1\n"
    );
    Ok(fs::write(folder.join(format!("{name}.yaml")), yaml)?)
}

/// One process that runs them all.
fn start(folder: &Path, names: &[&str]) -> Result<Running> {
    let (files, admin) = (names.iter().map(|name| format!("{name}.yaml")), free_address()?);
    let args = ["run".to_owned(), "--admin".to_owned(), admin.to_string()].into_iter().chain(files);
    let mut running = sluicegate(args)?.folder(folder).spawn()?;
    running.wait_ready(admin, WITHIN)?;
    Ok(running)
}

/// A broker that compacts soon.
fn kafka() -> Result<&'static Kafka> {
    static KAFKA: OnceLock<Result<Kafka, String>> = OnceLock::new();
    let start = || Kafka::start_with(&[("log.cleaner.backoff.ms", "200")]);
    let kafka = KAFKA.get_or_init(|| start().map_err(|error| format!("{error:#}")));
    kafka.as_ref().map_err(|error| anyhow!("no Kafka: {error}"))
}

fn client() -> Result<&'static Client> {
    static CLIENT: OnceLock<Result<Client, String>> = OnceLock::new();
    let client = CLIENT.get_or_init(|| kafka().and_then(Client::connect).map_err(|error| format!("{error:#}")));
    client.as_ref().map_err(|error| anyhow!("no client: {error}"))
}
