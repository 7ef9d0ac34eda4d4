//! A pipeline's source in one system and its sink in another: at least once, with ids by which repeats are told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::plugins::plugin;
use sluicegate_tests::program::{Running, free_address, sluicegate};
use sluicegate_tests::record::Record;
use sluicegate_tests::wait::eventually;

const RECORDS: usize = 20_000;
/// What is written at once, so that the kill comes while records do.
const SLICE: usize = 250;
const PARTITIONS: i32 = 3;
const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// From Kafka into an embedded log and on to Kafka again, by two pipelines of one process that is killed on the way.
#[test]
fn nothing_is_lost_between_kafka_and_the_embedded_log() -> Result<()> {
    let (client, brokers, uppercase) = (Client::shared()?, Kafka::shared()?.bootstrap(), plugin("uppercase")?);
    let writer = Client::connect(Kafka::shared()?)?;
    for topic in ["bridge-in", "bridge-out"] {
        client.create_topic(topic, PARTITIONS, &[])?;
    }
    let records: Vec<_> = (0..RECORDS)
        .map(|number| Record::new(&format!("key {number}"), &format!("value {number}")).in_partition(number as i32 % 3))
        .collect();

    let folder = tempfile::tempdir()?;
    let inward = format!(
        "name: inward\n\
         source: {{ kafka: {{ brokers: '{brokers}', topics: [bridge-in], properties: {{ group.instance.id: bridge }} }} }}\n\
         stages: []\n\
         sink: {{ local: {{ path: log, topic: hop, partition: same }} }}\n\
         delivery: at-least-once\n\
         workers: 2\n"
    );
    let outward = format!(
        "name: outward\n\
         source: {{ local: {{ path: log, topics: [hop] }} }}\n\
         stages: [{{ plugin: {} }}]\n\
         sink: {{ kafka: {{ brokers: '{brokers}', topic: bridge-out, partition: same, id-header: id }} }}\n\
         delivery: at-least-once\n\
         workers: 2\n",
        uppercase.display()
    );
    fs::write(folder.path().join("inward.yaml"), inward)?;
    fs::write(folder.path().join("outward.yaml"), outward)?;
    // The hop's topic is there before either begins.
    let create = ["topics", "create", "hop", "--partitions", "3", "--local", "log"];
    ensure!(sluicegate(create)?.folder(folder.path()).run()?.code == Some(0));

    let start = || -> Result<Running> {
        let admin = free_address()?;
        let args = ["run", "inward.yaml", "outward.yaml", "--admin", &admin.to_string()];
        let mut running = sluicegate(args)?.folder(folder.path()).spawn()?;
        running.wait_ready(admin, READY_WITHIN)?;
        Ok(running)
    };
    let out = || client.offsets_taken("bridge-out");
    let running = start()?;
    let (first, second) = records.split_at(RECORDS / 2);
    thread::scope(|scope| -> Result<()> {
        let feeding = scope.spawn(|| first.chunks(SLICE).try_for_each(|slice| writer.produce("bridge-in", slice)));
        eventually(DONE_WITHIN, "the first outputs", || Ok((out()? > 0).then_some(())))?;
        running.kill()?;
        feeding.join().map_err(|_| anyhow!("the writer panicked"))?
    })?;
    let at_kill = out()?;
    ensure!(at_kill < RECORDS as i64, "all {at_kill} outputs were there at the kill");
    writer.produce("bridge-in", second)?;

    let running = start()?;
    let values = eventually(DONE_WITHIN, "all outputs", || {
        let values = without_repeats(client.consume("bridge-out", Isolation::ReadCommitted)?)?;
        Ok((values.values().map(Vec::len).sum::<usize>() >= RECORDS).then_some(values))
    })?;
    for (partition, seen) in values {
        let expected: Vec<_> = (0..RECORDS)
            .filter(|number| *number as i32 % 3 == partition)
            .map(|number| (format!("key {number}").into_bytes(), format!("VALUE {number}").into_bytes()))
            .collect();
        ensure!(seen == expected, "partition {partition} is not as it was");
    }
    running.end()
}

/// Keys and values of a partition.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// By partition, in the order of their first appearance, each id once.
fn without_repeats(records: Vec<Record>) -> Result<BTreeMap<i32, Pairs>> {
    let (mut values, mut ids, mut keys) = (BTreeMap::<i32, Pairs>::new(), BTreeSet::new(), BTreeSet::new());
    for record in records {
        let id = record.header("id").flatten().context("an id")?.to_vec();
        let (key, value) = (record.key.context("a key")?, record.value.context("a value")?);
        // What the first pipeline repeated is another record to the second, with an id of its own, but the same key.
        if ids.insert(id) && keys.insert(key.clone()) {
            values.entry(record.partition).or_default().push((key, value));
        }
    }
    Ok(values)
}
