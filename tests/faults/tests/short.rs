//! The kills, at random and at every named point, under both deliveries. `SLUICEGATE_SEED` replays it. The other faults
//! and protocols are the command's.

use std::env;

use anyhow::{Context, Result, ensure};
use sluicegate_faults::plan::matrix;
use sluicegate_faults::report::Table;
use sluicegate_faults::run::{Ground, logs};
use sluicegate_faults::setting::Protocol;

#[test]
fn the_promise_holds_through_kills() -> Result<()> {
    let seed = match env::var("SLUICEGATE_SEED") {
        Ok(seed) => seed.parse().context("SLUICEGATE_SEED")?,
        Err(_) => u64::from(std::process::id()),
    };
    println!("SLUICEGATE_SEED={seed}");
    let logs = logs(seed)?;
    let mut ground = Ground::start(seed, &logs)?;
    let mut outcomes = Vec::new();
    let kills = matrix(seed).into_iter().filter(|planned| {
        let setting = planned.setting;
        planned.fault.name.starts_with("kill") && setting.protocol == Protocol::Range && setting.workers == 3
    });
    for planned in kills {
        let outcome = ground.run(planned)?;
        print!("{outcome}");
        outcomes.push(outcome);
    }
    println!("{}", Table(&outcomes));
    let failed = outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).count();
    ensure!(failed == 0, "{failed} of {} runs failed; their logs: {}", outcomes.len(), logs.display());
    Ok(())
}
