//! Brokers that are far away: what it takes to wait for them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sluicegate_faults::cluster::Cluster;
use sluicegate_faults::network::Weather;
use sluicegate_tests::client::Client;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::plugins::plugin;
use sluicegate_tests::process::cpu_seconds;
use sluicegate_tests::program::sluicegate;
use sluicegate_tests::record::Record;
use sluicegate_tests::wait::eventually;

const INPUT: &str = "far.in";
const RECORDS: i64 = 100_000;
const PARTITIONS: i32 = 4;
/// Each request, and each answer.
const DELAY: Duration = Duration::from_millis(60);
const WITHIN: Duration = Duration::from_secs(120);

/// librdkafka's thread asks without pause for the answer while outputs are older than `linger.ms`, and while it is told to
/// flush: most of a core, where what is to be done takes a tenth.
#[test]
fn a_slow_broker_is_waited_for_asleep() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let client = Client::connect_to(&cluster.direct(), &[])?;
    client.create_topic(INPUT, PARTITIONS, &[])?;
    let record = |number: i64| Record::new(&format!("{number}"), &"a".repeat(200)).in_partition((number % 4) as i32);
    client.produce(INPUT, &(0..RECORDS).map(record).collect::<Vec<_>>())?;
    cluster.network().set(Weather { delay: DELAY, ..Weather::default() });
    for delivery in ["at-least-once", "exactly-once"] {
        streams_asleep(&cluster, &client, delivery).context(delivery)?;
    }
    Ok(())
}

fn streams_asleep(cluster: &Cluster, client: &Client, delivery: &str) -> Result<()> {
    let output = format!("{delivery}.out");
    client.create_topic(&output, PARTITIONS, &[])?;
    let pipeline = Pipeline::new(&format!(
        "
name: {delivery}
source: {{ kafka: {{ brokers: '{brokers}', topics: [{INPUT}], start: earliest }} }}
stages: [{{ plugin: {uppercase} }}]
sink: {{ kafka: {{ topic: {output} }} }}
delivery: {delivery}
",
        brokers = cluster.doors(),
        uppercase = plugin("uppercase")?.display()
    ))?;
    let running = sluicegate(["run".as_ref(), pipeline.file().as_os_str()])?.spawn()?;
    let flows = until(client, &output, 1)?;
    let before = cpu_seconds(running.id())?;
    let done = until(client, &output, RECORDS)?;
    let (took, cpu) = ((done - flows).as_secs_f64(), cpu_seconds(running.id())? - before);
    println!("{delivery}: {RECORDS} records took {took:.1} s, and {cpu:.2} s of a processor");
    ensure!(took > 1.0, "the brokers were not slow: {took:.1} s");
    ensure!(cpu < took / 2.0, "{cpu:.2} s of a processor in {took:.1} s");
    Ok(())
}

/// When so many outputs were there.
fn until(client: &Client, output: &str, records: i64) -> Result<Instant> {
    eventually(WITHIN, &format!("{records} outputs"), || {
        let there = client.offsets_taken(output)?;
        Ok((there >= records).then(Instant::now))
    })
}
