//! A sample: each fault once, in a setting that the seed picks. `SLUICEGATE_SEED` replays it. The whole matrix is the
//! command's.

use anyhow::{Result, ensure};
use sluicegate_faults::plan::sample;
use sluicegate_faults::report::Table;
use sluicegate_faults::run::{Ground, logs};
use sluicegate_tests::random::seed;

#[test]
fn the_promise_holds_through_every_fault() -> Result<()> {
    let seed = seed()?;
    let logs = logs(seed)?;
    let mut ground = Ground::start(seed, &logs)?;
    let mut outcomes = Vec::new();
    for planned in sample(seed) {
        let outcome = ground.run(planned)?;
        print!("{outcome}");
        outcomes.push(outcome);
    }
    println!("{}", Table(&outcomes));
    let failed = outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).count();
    ensure!(failed == 0, "{failed} of {} runs failed; their logs: {}", outcomes.len(), logs.display());
    Ok(())
}
