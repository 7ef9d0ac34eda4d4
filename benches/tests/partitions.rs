//! Many partitions hold nothing up: outputs that wait for company in their batches may be all that there is room for.

use anyhow::{Result, ensure};
use sluicegate_benches::contender::{Delivery, Setup, named};
use sluicegate_benches::ground::Ground;
use sluicegate_benches::measure::throughput;
use sluicegate_benches::workload;

const RECORDS: u64 = 200_000;
/// None of them gets a full batch before the queue of outputs is full.
const PARTITIONS: i32 = 256;
/// It is three to four times as much on two slow cores and a broker that has just started, and was a tenth of it where what waits was
/// told to go once in a while alone.
const RECORDS_A_SECOND: f64 = 20_000.0;

#[test]
fn many_partitions_hold_nothing_up() -> Result<()> {
    let ground = Ground::prepare()?;
    let workload = &workload::ALL[0];
    let ours = named("sluicegate")?;
    let input = ground.load("many", PARTITIONS, workload, RECORDS)?;
    for delivery in [Delivery::AtLeastOnce, Delivery::ExactlyOnce] {
        let measured = throughput(&ground, ours, workload, &Setup::new(delivery), &input)?;
        println!("{delivery}: {measured:?}");
        ensure!(measured.rate > RECORDS_A_SECOND, "{delivery}: {measured:?}");
    }
    Ok(())
}
