//! A plugin that does the worst: its victims become dead letters, all else arrives, and the process lives.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::plugins::guest;
use sluicegate_tests::process::Signal;
use sluicegate_tests::program::{done, sluicegate};
use sluicegate_tests::record::{Record, difference};
use sluicegate_tests::trades;
use sluicegate_tests::wait::eventually;

const COUNT: usize = 50_000;
const PARTITIONS: i32 = 4;
const ONE_IN: usize = 10_000;
const DONE_WITHIN: Duration = Duration::from_secs(120);
const AT_ONCE: Duration = Duration::from_secs(2);
const TOPIC: &str = "hostile.trades";
const OUTPUT: &str = "hostile.clean";
const DEAD: &str = "hostile.dead";

/// What a record asks the guest to do, the failure it becomes, and a word of its reason.
const CRIMES: [(&str, &str, &str); 8] = [
    ("trap", "trap", "aborted"),
    ("loop", "deadline", "200ms"),
    ("grow", "memory", "32"),
    ("malformed", "malformed", "keys"),
    ("million", "too-much-output", "limits.output"),
    ("headers", "too-much-output", "the sink takes"),
    ("future", "malformed", "later than"),
    ("past", "malformed", "earlier than"),
];

/// What the output's topic takes: an hour after now, and twenty years before.
const TIMESTAMPS: [(&str, &str); 2] =
    [("message.timestamp.after.max.ms", "3600000"), ("message.timestamp.before.max.ms", "631152000000")];

#[test]
fn culprits_are_dead_letters_and_all_else_arrives() -> Result<()> {
    let client = Client::shared()?;
    for (topic, settings) in [(TOPIC, &[][..]), (OUTPUT, &TIMESTAMPS), (DEAD, &[])] {
        client.create_topic(topic, PARTITIONS, settings)?;
    }
    let input: Vec<_> = (0..COUNT).map(record).collect();
    client.produce(TOPIC, &input)?;
    let pipeline = Pipeline::new(&pipeline()?)?;
    let running = pipeline.run()?;
    client.wait_until_consumed("hostile", TOPIC, DONE_WITHIN)?;
    running.end()?;

    let expected = trades::expected(&input, |record| match crime(record) {
        Some(_) => vec![],
        None => {
            let value = record.value.as_ref().map(|value| value.to_ascii_uppercase());
            vec![Record { value, ..record.clone() }]
        }
    });
    let seen = client.consume(OUTPUT, Isolation::ReadCommitted)?;
    assert_eq!(difference(&expected, &seen), None);
    dead_letters_tell_their_story(&input, &client.consume(DEAD, Isolation::ReadCommitted)?)
}

/// What is in flight takes a minute, and nobody wants to wait for it.
#[test]
fn a_second_signal_ends_the_process_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text = format!(
        "name: busy\n\
         source: {{ local: {{ path: log, topics: [in] }} }}\n\
         stages: [{{ plugin: {}, limits: {{ deadline: 60s }} }}]\n\
         sink: {{ local: {{ path: log, topic: out }} }}\n",
        guest("hostile")?.display()
    );
    fs::write(folder.path().join("pipeline.yaml"), text)?;
    let run = |args: &[&str], input: &str| {
        done(sluicegate(args.iter().chain(&["--local", "log"]))?.folder(folder.path()).input(input).run()?)
    };
    run(&["topics", "create", "in"], "")?;
    run(&["produce", "in", "--raw"], "talk\nloop\n")?;
    let mut running = sluicegate(["run", "pipeline.yaml"])?.folder(folder.path()).spawn()?;
    let mut signal_once = |words: &str, signal: Signal| {
        eventually(DONE_WITHIN, words, || Ok(running.stderr()?.contains(words).then_some(())))?;
        running.signal(signal)
    };
    signal_once("line 0", Signal::Term)?;
    signal_once("a second signal ends at once", Signal::Int)?;
    let end = running.wait(AT_ONCE)?;
    ensure!(end.code == Some(130), "{end:?}");
    Ok(())
}

fn dead_letters_tell_their_story(input: &[Record], letters: &[Record]) -> Result<()> {
    let stored = sluicegate_tests::record::as_stored(input);
    let culprits = stored.iter().filter_map(|record| Some((record, crime(record)?)));
    let mut by_value: BTreeMap<_, _> = letters.iter().map(|letter| (letter.value.clone(), letter)).collect();
    ensure!(by_value.len() == letters.len(), "a dead letter came twice: {letters:?}");
    for (record, (_, failure, reason)) in culprits {
        let letter = by_value.remove(&record.value).with_context(|| format!("no dead letter of {record:?}"))?;
        let (headers, story) = letter.headers.split_at_checked(record.headers.len()).context("too few headers")?;
        let (partition, offset) = (record.partition, record.offset);
        let original = Record { headers: headers.to_vec(), partition, offset, ..letter.clone() };
        assert_eq!(&original, record);
        let story: BTreeMap<_, _> = story
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_deref().unwrap_or_default())))
            .collect();
        let tells =
            |name: &str| story.get(name).map(|value| value.as_ref()).with_context(|| format!("no {name}: {letter:?}"));
        assert_eq!(tells("sluicegate-failure")?, failure, "{letter:?}: {story:?}");
        ensure!(tells("sluicegate-reason")?.contains(reason), "{failure}: {story:?}");
        assert_eq!(tells("sluicegate-pipeline")?, "hostile");
        assert_eq!(tells("sluicegate-stage")?, "victim");
        assert_eq!(tells("sluicegate-plugin")?, "hostile");
        ensure!(!tells("sluicegate-plugin-version")?.is_empty());
        ensure!(tells("sluicegate-plugin-digest")?.len() >= 64, "{story:?}");
        assert_eq!(tells("sluicegate-topic")?, TOPIC);
        assert_eq!(tells("sluicegate-partition")?, record.partition.to_string());
        assert_eq!(tells("sluicegate-offset")?, record.offset.to_string());
        ensure!(tells("sluicegate-time")?.parse::<u64>()? > 1_700_000_000_000);
    }
    ensure!(by_value.is_empty(), "innocent: {by_value:?}");
    Ok(())
}

/// Each crime once in [`ONE_IN`] records, spread out.
fn record(index: usize) -> Record {
    let step = ONE_IN / CRIMES.len();
    let value = match index % step {
        777 => format!("{} {index}", CRIMES[index % ONE_IN / step].0),
        _ => format!("a trade of number {index}"),
    };
    Record {
        timestamp: 1_767_623_400_000 + index as i64,
        headers: vec![("n".into(), Some(index.to_string().into())), ("none".into(), None)],
        ..Record::new(&format!("key-{}", index % 100), &value).in_partition(index as i32 / 7 % PARTITIONS)
    }
}

fn crime(record: &Record) -> Option<(&'static str, &'static str, &'static str)> {
    let value = record.value.as_deref()?;
    let word = value.split(|byte| *byte == b' ').next()?;
    CRIMES.into_iter().find(|crime| crime.0.as_bytes() == word)
}

fn pipeline() -> Result<String> {
    let (brokers, hostile) = (Kafka::shared()?.bootstrap(), guest("hostile")?);
    let hostile = hostile.display();
    Ok(format!(
        "
name: hostile
source:
  kafka: {{ brokers: '{brokers}', topics: [{TOPIC}], start: earliest }}
stages:
  - name: victim
    plugin: {hostile}
    limits: {{ memory: 32MiB, deadline: 200ms, outputs-per-record: 1000 }}
sink:
  kafka: {{ topic: {OUTPUT}, partition: same }}
dead-letter: {{ topic: {DEAD} }}
delivery: exactly-once
"
    ))
}
