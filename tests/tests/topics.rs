//! Topics that are unusual, or that change while a pipeline reads them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluicegate_tests::client::{Client, Ending, Isolation};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::process::Signal;
use sluicegate_tests::program::Running;
use sluicegate_tests::record::Record;

const DELIVERIES: [&str; 2] = ["exactly-once", "at-least-once"];
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

fn end(mut running: Running) -> Result<()> {
    running.signal(Signal::Term)?;
    let end = running.wait(WITHIN)?;
    ensure!(end.code == Some(0), "{end:?}");
    Ok(())
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
        end(running)?;
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
        end(running)?;

        // Retention takes all that there is.
        client.delete_records(&name, &client.end_offsets(&name, Isolation::ReadUncommitted)?)?;
        let running = pipeline.run()?;
        client.produce(&name, &[numbers(20..21, 0), numbers(21..22, 1)].concat())?;
        client.wait_until_consumed(&name, &name, WITHIN)?;
        end(running)?;
        let mut seen = values(client, &name)?.iter().map(|value| Ok(value.parse()?)).collect::<Result<Vec<u32>>>()?;
        seen.sort_unstable();
        assert_eq!(seen, (0..22).collect::<Vec<_>>(), "{delivery}");
    }
    Ok(())
}
