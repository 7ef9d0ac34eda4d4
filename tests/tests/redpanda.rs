//! A transform by Redpanda's own SDK, unchanged, from topic to topic.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::plugins::transform;
use sluicegate_tests::program::sluicegate;
use sluicegate_tests::record::Record;

const PARTITIONS: i32 = 2;
const RECORDS: usize = 5_000;
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// The records that ask for something stand among many that do not, so that they come in batches with those.
#[test]
fn a_transform_for_redpanda_runs_from_topic_to_topic() -> Result<()> {
    let client = Client::shared()?;
    for topic in ["moved", "moved.out", "moved.audit", "moved.dead"] {
        client.create_topic(topic, PARTITIONS, &[])?;
    }
    let asked =
        ["drop", "twice", "to audit", "variable GREETING", "variable REDPANDA_OUTPUT_TOPIC_0", "error", "panic"];
    let value = |number: usize| match asked.get(number / 7).filter(|_| number.is_multiple_of(7)) {
        Some(asked) => (*asked).to_owned(),
        None => format!("value {number}"),
    };
    let mut records: Vec<_> =
        (0..RECORDS).map(|number| Record::new(&format!("key {number}"), &value(number)).in_partition(0)).collect();
    records[1].headers = vec![("a".into(), Some(b"1".to_vec())), ("a".into(), None)];
    records[1].timestamp = 1_700_000_000_000;
    records[2].value = None;
    client.produce("moved", &records)?;

    let (brokers, transform) = (Kafka::shared()?.bootstrap(), transform()?);
    let pipeline = Pipeline::new(&format!(
        "name: moved\n\
         source: {{ kafka: {{ brokers: '{brokers}', topics: [moved], start: earliest }} }}\n\
         stages: [{{ plugin: {}, config: {{ GREETING: hello }}, limits: {{ deadline: 5s }} }}]\n\
         sink: {{ kafka: {{ topic: moved.out, partition: same, outputs: {{ audit: moved.audit }} }} }}\n\
         dead-letter: {{ topic: moved.dead }}\n\
         delivery: exactly-once\n\
         workers: 1\n",
        transform.display()
    ))?;
    let running = pipeline.run()?;
    client.wait_until_consumed("moved", "moved", DONE_WITHIN)?;
    running.end()?;

    let read = |topic: &str| client.consume(topic, Isolation::ReadCommitted);
    let values = |records: &[Record]| -> Vec<String> {
        records
            .iter()
            .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"null")).into())
            .collect()
    };
    let expected = (0..RECORDS).flat_map(|number| match value(number).as_str() {
        "drop" | "to audit" | "error" | "panic" => vec![],
        "twice" => vec!["first".into(), "second".into()],
        "variable GREETING" => vec!["hello".into()],
        "variable REDPANDA_OUTPUT_TOPIC_0" => vec!["moved.out".into()],
        _ if number == 2 => vec!["null".into()],
        value => vec![value.to_owned()],
    });
    let out = read("moved.out")?;
    ensure!(values(&out) == expected.collect::<Vec<_>>(), "other outputs, or another order");
    let first = out.iter().find(|record| record.key.as_deref() == Some(b"key 1")).context("the first")?;
    ensure!((first.timestamp, &first.headers) == (records[1].timestamp, &records[1].headers), "{first:?}");
    assert_eq!(values(&read("moved.audit")?), ["to audit"]);

    let dead = read("moved.dead")?;
    assert_eq!(values(&dead), ["error", "panic"]);
    for (letter, reason) in dead.iter().zip(["not this one", "boom"]) {
        let said = String::from_utf8_lossy(letter.header("sluicegate-reason").flatten().context("a reason")?);
        ensure!(said.contains(reason), "{said}");
    }
    Ok(())
}

#[test]
fn it_is_inspected_and_tested_like_any_plugin() -> Result<()> {
    let transform = transform()?;
    let inspected = sluicegate(["inspect".as_ref(), transform.as_os_str()])?.run()?;
    ensure!(inspected.code == Some(0), "{inspected:?}");
    for words in
        ["redpanda_transform", "core module: a transform for Redpanda, run as it is", "The transform's environment"]
    {
        ensure!(inspected.stdout.contains(words), "{words} in {}", inspected.stdout);
    }
    let inspected = sluicegate(["inspect".as_ref(), transform.as_os_str(), "--json".as_ref()])?.run()?;
    let inspected: Value = serde_json::from_str(&inspected.stdout)?;
    assert_eq!((&inspected["form"], &inspected["interface"]), (&"module".into(), &"redpanda_transform".into()));

    let folder = tempfile::tempdir()?;
    let cases = folder.path().join("cases.yaml");
    let text = "outputs: [audit]\n\
         config: { LIMIT: 3 }\n\
         cases:\n  \
         - { record: { value: abc }, expect: { emit: [{}] } }\n  \
         - { record: { value: drop }, expect: drop }\n  \
         - { record: { value: to audit }, expect: { emit: [{ to: audit }] } }\n  \
         - { record: { value: variable LIMIT }, expect: { emit: [{ value: '3' }] } }\n  \
         - { record: { value: variable REDPANDA_INPUT_TOPIC }, expect: { emit: [{ value: test }] } }\n  \
         - { record: { value: panic }, expect: { fail: trap } }\n  \
         - { record: { value: time, timestamp: 7 }, expect: { emit: [{ value: '7' }] } }\n";
    std::fs::write(&cases, text)?;
    let test = ["test".as_ref(), cases.as_os_str(), "--plugin".as_ref(), transform.as_os_str(), "--repeat".as_ref()];
    let tested = sluicegate(test)?.run()?;
    ensure!(tested.code == Some(0) && tested.stdout.contains("7 passed, 0 failed"), "{tested:?}");
    ensure!(tested.stdout.contains("repeatable: "), "{tested:?}");
    Ok(())
}
