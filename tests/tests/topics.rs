//! Topics that are unusual, or that change while a pipeline reads them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluicegate_tests::client::{Client, Ending, Isolation};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::process::Signal;
use sluicegate_tests::program::Running;
use sluicegate_tests::record::Record;
use sluicegate_tests::wait::eventually;

const DELIVERIES: [&str; 2] = ["exactly-once", "at-least-once"];
const CONFIG: i32 = 2;
const WITHIN: Duration = Duration::from_secs(60);

/// A pipeline that passes on what it reads from topic `name` to topic `name.out`, as group `name`.
fn passing_on(name: &str, delivery: &str, source: &str) -> Result<Pipeline> {
    let brokers = Kafka::shared()?.bootstrap();
    Pipeline::new(&format!(
        "name: {name}\n\
         source: {{ kafka: {{ brokers: '{brokers}', topics: [{name}], {source} }} }}\n\
         stages: []\n\
         sink: {{ kafka: {{ topic: {name}.out }} }}\n\
         delivery: {delivery}\n\
         workers: 1\n"
    ))
}

fn numbers(range: std::ops::Range<u32>, partition: i32) -> Vec<Record> {
    range.map(|number| Record::new("key", &number.to_string()).in_partition(partition)).collect()
}

/// The values that came out, in order.
fn values(client: &Client, name: &str) -> Result<Vec<String>> {
    let outputs = client.consume(&format!("{name}.out"), Isolation::ReadCommitted)?;
    outputs.into_iter().map(|output| Ok(String::from_utf8(output.value.context("a value")?)?)).collect()
}

#[test]
fn a_record_that_is_larger_than_what_usually_waits_arrives() -> Result<()> {
    let client = Client::shared()?;
    for delivery in DELIVERIES {
        let name = format!("large-{delivery}");
        for topic in [name.clone(), format!("{name}.out")] {
            client.create_topic(&topic, 1, &[("max.message.bytes", "10485760")])?;
        }
        let value = "x".repeat(5 << 20);
        client
            .produce(&name, &[Record::new("key", "small"), Record::new("key", &value), Record::new("key", "last")])?;
        let running = passing_on(&name, delivery, "start: earliest")?.run()?;
        client.wait_until_consumed(&name, &name, WITHIN)?;
        running.end()?;
        let lengths: Vec<_> = values(client, &name)?.iter().map(String::len).collect();
        assert_eq!(lengths, [5, 5 << 20, 4], "{delivery}");
    }
    Ok(())
}

#[test]
fn what_transactions_leave_in_the_log_is_neither_read_nor_lag() -> Result<()> {
    let client = Client::shared()?;
    for delivery in DELIVERIES {
        let name = format!("marked-{delivery}");
        client.create_topic(&name, 2, &[])?;
        client.create_topic(&format!("{name}.out"), 1, &[])?;
        client.produce_in_transaction(&name, &numbers(0..10, 0), Ending::Commit)?;
        client.produce_in_transaction(&name, &numbers(1000..1500, 1), Ending::Abort)?;
        let pipeline = passing_on(&name, delivery, "start: earliest")?;
        let running = pipeline.run()?;
        client.wait_until_consumed(&name, &name, WITHIN)?;
        // The marker comes after its records, or all that comes is aborted.
        client.open_transaction(&name, &numbers(10..20, 0))?;
        client.end_transaction(Ending::Commit)?;
        client.wait_until_consumed(&name, &name, WITHIN)?;
        client.produce_in_transaction(&name, &numbers(2000..2010, 0), Ending::Abort)?;
        client.wait_until_consumed(&name, &name, WITHIN)?;
        running.end()?;

        // Retention takes all that there is.
        client.delete_records(&name, &client.end_offsets(&name, Isolation::ReadUncommitted)?)?;
        let running = pipeline.run()?;
        client.produce(&name, &[numbers(20..21, 0), numbers(21..22, 1)].concat())?;
        client.wait_until_consumed(&name, &name, WITHIN)?;
        running.end()?;
        let mut seen = values(client, &name)?.iter().map(|value| Ok(value.parse()?)).collect::<Result<Vec<u32>>>()?;
        seen.sort_unstable();
        assert_eq!(seen, (0..22).collect::<Vec<_>>(), "{delivery}");
    }
    Ok(())
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() -> Result<()> {
    let (client, name) = (Client::shared()?, "grows");
    client.create_topic(name, 1, &[])?;
    client.create_topic("grows.out", 1, &[])?;
    client.produce(name, &numbers(0..5, 0))?;
    // Librdkafka looks for added partitions every five minutes, unless it is told to hurry.
    let source = "start: latest, properties: { topic.metadata.refresh.interval.ms: 1000 }";
    let running = passing_on(name, "exactly-once", source)?.run()?;
    wait_until_it_begins(client, name)?;
    client.grow_topic(name, 3)?;
    client.produce(name, &[numbers(5..10, 1), numbers(10..15, 2)].concat())?;
    client.wait_until_consumed(name, name, WITHIN)?;
    running.end()?;
    let mut seen = values(client, name)?.iter().map(|value| Ok(value.parse()?)).collect::<Result<Vec<u32>>>()?;
    seen.sort_unstable();
    assert_eq!(seen, (5..15).collect::<Vec<_>>());
    Ok(())
}

/// Where "from now on" is.
fn wait_until_it_begins(client: &Client, name: &str) -> Result<()> {
    eventually(WITHIN, "the group's first offsets", || Ok((!client.committed(name, name)?.is_empty()).then_some(())))
}

/// Deletes the topic and makes it anew with other records, while the pipeline looks away: in no time.
fn make_anew(client: &Client, running: &mut Running, name: &str, records: &[Record]) -> Result<()> {
    running.signal(Signal::Stop)?;
    client.delete_topic(name)?;
    client.create_topic(name, 1, &[])?;
    client.produce(name, records)?;
    running.signal(Signal::Cont)
}

#[test]
fn a_topic_that_is_made_anew_stops_the_pipeline() -> Result<()> {
    let client = Client::shared()?;
    for delivery in DELIVERIES {
        // Whether the new log reaches as far as the old one, or not.
        for records in [5, 50] {
            let name = format!("anew-{records}-{delivery}");
            client.create_topic(&name, 1, &[])?;
            client.create_topic(&format!("{name}.out"), 1, &[])?;
            client.produce(&name, &numbers(0..10, 0))?;
            let mut running = passing_on(&name, delivery, "start: earliest")?.run()?;
            client.wait_until_consumed(&name, &name, WITHIN)?;
            make_anew(client, &mut running, &name, &numbers(100..100 + records, 0))?;
            let end = running.wait(WITHIN)?;
            ensure!(end.code == Some(CONFIG), "{records} records, {delivery}: {end:?}");
            for words in [name.as_str(), "made anew", "on-missing-offset: earliest"] {
                ensure!(end.stderr.contains(words), "no {words:?} in: {}", end.stderr);
            }
        }
    }
    Ok(())
}

#[test]
fn a_topic_that_is_made_anew_is_gone_on_with_where_that_is_asked_for() -> Result<()> {
    let client = Client::shared()?;
    for (delivery, records) in [("exactly-once", 5), ("exactly-once", 50), ("at-least-once", 50)] {
        let name = format!("again-{records}-{delivery}");
        client.create_topic(&name, 1, &[])?;
        client.create_topic(&format!("{name}.out"), 1, &[])?;
        let source = "start: latest, on-missing-offset: earliest";
        let mut running = passing_on(&name, delivery, source)?.run()?;
        wait_until_it_begins(client, &name)?;
        client.produce(&name, &numbers(0..10, 0))?;
        client.wait_until_consumed(&name, &name, WITHIN)?;
        make_anew(client, &mut running, &name, &numbers(100..100 + records, 0))?;
        let wanted: Vec<_> = (0..10).chain(100..100 + records).map(|number| number.to_string()).collect();
        let what = format!("all of {records} records, {delivery}");
        eventually(WITHIN, &what, || {
            let seen = values(client, &name)?;
            Ok(wanted.iter().all(|value| seen.contains(value)).then_some(()))
        })?;
        client.wait_until_consumed(&name, &name, WITHIN)?;
        running.end()?;
    }
    Ok(())
}
