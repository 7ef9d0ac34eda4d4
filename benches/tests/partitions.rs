//! Many partitions hold nothing up: outputs that wait for company in their batches may be all that there is room for.

use anyhow::{Result, ensure};
use sluicegate_benches::contender::{Delivery, Setup, named};
use sluicegate_benches::ground::Ground;
use sluicegate_benches::measure::throughput;
use sluicegate_benches::workload;

/// Into few partitions more, so that they take as long.
const FEW: (i32, u64) = (4, 1_000_000);
/// None of them gets a full batch before the queue of outputs is full.
const MANY: (i32, u64) = (256, 200_000);
/// Many partitions take more requests, and a broker that has just started takes its time for each. Where what waits was told to go
/// once in a while alone, they were hundreds of times as slow.
const TIMES_SLOWER_MAX: f64 = 40.0;

#[test]
fn many_partitions_hold_nothing_up() -> Result<()> {
    let ground = Ground::prepare()?;
    let workload = &workload::ALL[0];
    let ours = named("sluicegate")?;
    let few = ground.load("few", FEW.0, workload, FEW.1)?;
    let many = ground.load("many", MANY.0, workload, MANY.1)?;
    for delivery in [Delivery::AtLeastOnce, Delivery::ExactlyOnce] {
        let rate = |input| anyhow::Ok(throughput(&ground, ours, workload, &Setup::new(delivery), input)?.rate);
        let (few, many) = (rate(&few)?, rate(&many)?);
        println!("{delivery}: {few:.0} records a second into few partitions, {many:.0} into many");
        ensure!(many * TIMES_SLOWER_MAX > few, "{delivery}: {many:.0} records a second into many, {few:.0} into few");
    }
    Ok(())
}
