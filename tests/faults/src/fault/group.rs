//! Faults of the group: members that come and go, and one that is there twice.

use std::time::Duration;

use anyhow::{Result, ensure};
use sluicegate_tests::wait::eventually;

use crate::scene::{FLOW_WITHIN, Scene};
use crate::setting::Delivery;

const ROUNDS: usize = 3;
/// What the program says by its exit code: a promise could not be kept.
const FENCED: i32 = 70;

pub(super) fn storm(scene: &mut Scene<'_>) -> Result<()> {
    for _ in 0..ROUNDS {
        let two = [scene.start()?, scene.start()?];
        let seconds = 2 + scene.random.below(3);
        scene.last(Duration::from_secs(seconds))?;
        scene.journal.note(&format!("processes {two:?} are asked to end"));
        scene.fleet.stop(&two)?;
        scene.some_progress()?;
    }
    Ok(())
}

/// Under exactly-once whoever comes later fences the other, which ends, and it alone; at least once, both are members like any other.
pub(super) fn one_identity(scene: &mut Scene<'_>) -> Result<()> {
    let others = scene.fleet.numbers();
    let first = scene.fleet.start_as("twin")?;
    scene.fleet.stop(&others)?;
    scene.some_progress()?;
    let second = scene.fleet.start_as("twin")?;
    scene.journal.note(&format!("process {first} has a twin, {second}"));
    if scene.setting.delivery == Delivery::ExactlyOnce {
        scene.may_fall = Some(FENCED);
        eventually(FLOW_WITHIN, "a twin to be fenced", || {
            scene.mend()?;
            Ok((scene.falls > 0).then_some(()))
        })?;
        ensure!(scene.falls == 1, "both twins ended");
        scene.may_fall = None;
    }
    Ok(())
}
