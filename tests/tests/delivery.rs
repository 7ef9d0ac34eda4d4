//! Real input, through the program, under both promises: what comes out is what should, byte for byte and in order.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::plugins::plugin;
use sluicegate_tests::record::{Record, as_stored, difference};
use sluicegate_tests::trades;

const SEED: u64 = 20_260_105;
const COUNT: usize = 200_000;
const PARTITIONS: i32 = 3;
const TOPIC: &str = "trades";
const DONE_WITHIN: Duration = Duration::from_secs(120);

#[test]
fn exactly_once_makes_of_each_record_what_it_should() -> Result<()> {
    delivers("exactly-once")
}

#[test]
fn at_least_once_makes_of_each_record_what_it_should() -> Result<()> {
    delivers("at-least-once")
}

fn delivers(delivery: &str) -> Result<()> {
    let (client, input) = (Client::shared()?, input()?);
    let (group, output) = (format!("{delivery}-group"), format!("{delivery}.clean"));
    client.create_topic(&output, PARTITIONS, &[])?;
    let pipeline = Pipeline::new(&pipeline(delivery, &group, &output)?)?;
    let running = pipeline.run()?;
    client.wait_until_consumed(&group, TOPIC, DONE_WITHIN)?;
    running.end()?;

    let committed = client.committed(&group, TOPIC)?;
    assert_eq!(committed, client.end_offsets(TOPIC, Isolation::ReadCommitted)?);
    let seen = client.consume(&output, Isolation::ReadCommitted)?;
    let expected = trades::expected(&as_stored(input), |trade| match delivery {
        "at-least-once" => clean(trade).into_iter().map(|output| with_id(output, delivery, trade)).collect(),
        _ => clean(trade),
    });
    ensure!(expected.len() > COUNT / 2 && expected.len() < COUNT, "the filter keeps {}", expected.len());
    assert_eq!(difference(&expected, &seen), None);
    Ok(())
}

/// The trades, written once for all tests of this file.
fn input() -> Result<&'static [Record]> {
    static INPUT: OnceLock<Result<Vec<Record>, String>> = OnceLock::new();
    let produce = || -> Result<_> {
        let client = Client::shared()?;
        client.create_topic(TOPIC, PARTITIONS, &[])?;
        let trades = trades::generate(SEED, COUNT, PARTITIONS);
        client.produce(TOPIC, &trades)?;
        Ok(trades)
    };
    let input = INPUT.get_or_init(|| produce().map_err(|error| format!("{error:#}")));
    input.as_deref().map_err(|error| anyhow!("no input: {error}"))
}

/// What the pipeline below should make of a trade.
fn clean(trade: &Record) -> Vec<Record> {
    let trace = trade.headers.iter().rfind(|header| header.0 == "trace-id");
    if trace.is_some_and(|trace| trace.1.as_ref().is_some_and(|id| id.starts_with(b"0"))) {
        return vec![];
    }
    let value = trade.value.as_ref().map(|value| value.to_ascii_uppercase());
    vec![Record { value, ..trade.clone() }]
}

/// The only output of a trade, with the header by which consumers can tell repeats: on by default where there are any.
fn with_id(mut output: Record, pipeline: &str, trade: &Record) -> Record {
    let id = format!("{pipeline}/{TOPIC}/{}/{}/0", trade.partition, trade.offset);
    output.headers.push(("sluicegate-id".into(), Some(id.into_bytes())));
    output
}

fn pipeline(delivery: &str, group: &str, output: &str) -> Result<String> {
    let (filter, uppercase) = (plugin("filter")?, plugin("uppercase")?);
    let (brokers, filter, uppercase) = (Kafka::shared()?.bootstrap(), filter.display(), uppercase.display());
    Ok(format!(
        "
name: {delivery}
source:
  kafka: {{ brokers: '{brokers}', topics: [{TOPIC}], group: {group}, start: earliest }}
stages:
  - plugin: {filter}
    config: {{ drop: {{ header: trace-id, matches: ^0 }} }}
  - plugin: {uppercase}
sink:
  kafka: {{ topic: {output}, partition: same }}
delivery: {delivery}
"
    ))
}
