//! Two processes of one group, and `kill -9`: what is promised holds.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::plugins::plugin;
use sluicegate_tests::process::Signal;
use sluicegate_tests::program::{Running, free_address};
use sluicegate_tests::random::{Random, seed};
use sluicegate_tests::record::{Record, difference};
use sluicegate_tests::trades;
use sluicegate_tests::wait::eventually;

const COUNT: usize = 100_000;
const PARTITIONS: i32 = 4;
const KILLS: usize = 10;
/// How much input each kill releases, so that all of them come under load.
const PORTION: usize = COUNT / (KILLS + 1) + 1;
const SLICE: usize = 1_000;
const COMMIT_RECORDS: usize = 1_000;
const BATCH_RECORDS: usize = 256;
const WORKERS: usize = 2;
const PROGRESS_WITHIN: Duration = Duration::from_secs(90);
const DONE_WITHIN: Duration = Duration::from_secs(120);
const DRAINED_WITHIN: Duration = Duration::from_secs(10);
const ID: &str = "sluicegate-id";

#[test]
fn exactly_once_gives_each_output_once() -> Result<()> {
    let (expected, seen) = survive("exactly-once")?;
    let ids: HashSet<_> = seen.iter().map(id).collect::<Result<_>>()?;
    ensure!(ids.len() == seen.len(), "{} outputs have {} ids", seen.len(), ids.len());
    assert_eq!(difference(&expected, &without_ids(&seen)), None);
    Ok(())
}

#[test]
fn at_least_once_loses_nothing_and_repeats_little() -> Result<()> {
    let (expected, seen) = survive("at-least-once")?;
    let mut ids = HashSet::new();
    let mut first = Vec::new();
    for output in &seen {
        if ids.insert(id(output)?) {
            first.push(output.clone());
        }
    }
    // The first of each is in order too: a repeat begins before what was committed, and goes on from there.
    assert_eq!(difference(&expected, &without_ids(&first)), None);
    let repeats = seen.len() - first.len();
    println!("at-least-once: {repeats} repeats after {KILLS} kills");
    // Each worker of the killed process had read a commit's worth, and the batch that made it due.
    let most = KILLS * WORKERS * (COMMIT_RECORDS + BATCH_RECORDS);
    ensure!(repeats <= most, "{repeats} repeats after {KILLS} kills: more than {most}");
    Ok(())
}

/// Streams the trades through two processes of which one is killed again and again. What should have come out, without
/// ids, and what did.
fn survive(delivery: &str) -> Result<(Vec<Record>, Vec<Record>)> {
    let seed = seed()?;
    let (source, output) = (format!("{delivery}.trades"), format!("{delivery}.clean"));
    let kafka = kafka()?;
    let (watcher, writer) = (Client::connect(kafka)?, Client::connect(kafka)?);
    watcher.create_topic(&source, PARTITIONS, &[])?;
    watcher.create_topic(&output, PARTITIONS, &[])?;
    let input = trades::generate(seed, COUNT, PARTITIONS);
    let pipeline = Pipeline::new(&pipeline(delivery, &source, &output)?)?;
    let kills = AtomicUsize::new(0);
    let mut processes = thread::scope(|scope| -> Result<_> {
        let feeding = scope.spawn(|| feed(&writer, &source, &input, &kills));
        let survivors = kill_often(&watcher, &output, &pipeline, seed, &kills);
        kills.store(COUNT, SeqCst); // Lets go of all that is left, whatever happened.
        feeding.join().map_err(|_| anyhow!("the writer panicked"))??;
        survivors
    })?;
    watcher.wait_until_consumed(delivery, &source, DONE_WITHIN)?;
    for process in &mut processes {
        process.signal(Signal::Term)?;
    }
    for process in processes {
        let end = process.wait(DRAINED_WITHIN)?;
        ensure!(end.code == Some(0), "{end:?}");
    }
    let expected = trades::expected(&input, |trade| {
        let value = trade.value.as_ref().map(|value| value.to_ascii_uppercase());
        vec![Record { value, ..trade.clone() }]
    });
    Ok((expected, watcher.consume(&output, Isolation::ReadCommitted)?))
}

/// Writes the input, never more than a portion ahead of the kills.
fn feed(writer: &Client, topic: &str, input: &[Record], kills: &AtomicUsize) -> Result<()> {
    for (index, slice) in input.chunks(SLICE).enumerate() {
        let needed = index * SLICE / PORTION;
        eventually(KILLS as u32 * PROGRESS_WITHIN, "a kill", || Ok((kills.load(SeqCst) >= needed).then_some(())))?;
        writer.produce(topic, slice)?;
    }
    Ok(())
}

/// Kills the older one of two processes, again and again, each time when some more outputs are there.
fn kill_often(
    watcher: &Client,
    output: &str,
    pipeline: &Pipeline,
    seed: u64,
    kills: &AtomicUsize,
) -> Result<Vec<Running>> {
    let mut random = Random::new(seed);
    let mut processes = vec![pipeline.start(free_address()?)?, pipeline.start(free_address()?)?];
    let reached = || watcher.offsets_taken(output);
    for kill in 0..KILLS {
        let until = reached()? + 100 + random.below(PORTION as u64 / 2) as i64;
        let mut seen = 0;
        let waited = eventually(PROGRESS_WITHIN, "progress", || {
            for process in &mut processes {
                ensure!(process.is_running()?, "a process ended by itself: {}", process.stderr()?);
            }
            seen = reached()?;
            Ok((seen >= until).then_some(()))
        });
        waited.with_context(|| format!("kill {kill} at output {until}; {seen} are there"))?;
        // Found while the victim still holds its own. The successor starts once it is dead, as whoever watches it would do
        // it: what a process leaves open is ended by the one that takes its seat.
        let address = free_address()?;
        let killed = processes.remove(0).kill()?;
        ensure!(killed.signal == Some(9), "{killed:?}");
        kills.fetch_add(1, SeqCst);
        println!("kill {kill} at output {seen}");
        processes.push(pipeline.start(address)?);
    }
    Ok(processes)
}

fn id(record: &Record) -> Result<Vec<u8>> {
    let id = record.header(ID).flatten();
    Ok(id.with_context(|| format!("no id: {record:?}"))?.to_vec())
}

fn without_ids(records: &[Record]) -> Vec<Record> {
    let without = |record: &Record| {
        let mut record = record.clone();
        record.headers.retain(|header| header.0 != ID);
        record
    };
    records.iter().map(without).collect()
}

/// A broker that misses a dead member soon.
fn kafka() -> Result<&'static Kafka> {
    static KAFKA: OnceLock<Result<Kafka, String>> = OnceLock::new();
    let start = || Kafka::start_with(&[("group.min.session.timeout.ms", "1000")]);
    let kafka = KAFKA.get_or_init(|| start().map_err(|error| format!("{error:#}")));
    kafka.as_ref().map_err(|error| anyhow!("no Kafka: {error}"))
}

fn pipeline(delivery: &str, source: &str, output: &str) -> Result<String> {
    let (brokers, uppercase) = (kafka()?.bootstrap(), plugin("uppercase")?);
    let uppercase = uppercase.display();
    Ok(format!(
        "
name: {delivery}
source:
  kafka:
    brokers: '{brokers}'
    topics: [{source}]
    start: earliest
    properties: {{ session.timeout.ms: 3000, heartbeat.interval.ms: 500 }}
stages:
  - plugin: {uppercase}
sink:
  kafka: {{ topic: {output}, partition: same, id-header: {ID} }}
delivery: {delivery}
commit: {{ interval: 100ms, records: {COMMIT_RECORDS} }}
batch: {{ records: {BATCH_RECORDS} }}
workers: {WORKERS}
"
    ))
}
