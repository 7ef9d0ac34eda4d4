//! Faults of processes.

use std::time::Duration;

use anyhow::Result;
use sluicegate_tests::process::Signal;

use crate::frame::Api;
use crate::network::Way;
use crate::scene::Scene;
use crate::setting::{Delivery, Tuning};

const KILLS: usize = 3;

pub(super) fn kill(scene: &mut Scene<'_>) -> Result<()> {
    for _ in 0..KILLS {
        scene.some_progress()?;
        let victim = scene.any()?;
        scene.kill(victim)?;
    }
    Ok(())
}

/// Kills a process at a point of its work that the wire shows. What was stopped there goes no further.
pub(super) fn kill_at(scene: &mut Scene<'_>, api: Api, way: Way) -> Result<()> {
    scene.some_progress()?;
    let victim = scene.any()?;
    let caught = scene.catch(api, way, victim)?;
    scene.kill(victim)?;
    drop(caught);
    Ok(())
}

/// By what offsets are committed.
pub(super) fn offsets(scene: &Scene<'_>) -> Api {
    match scene.setting.delivery {
        Delivery::AtLeastOnce => Api::OffsetCommit,
        Delivery::ExactlyOnce => Api::TxnOffsetCommit,
    }
}

pub(super) fn terminate(scene: &mut Scene<'_>) -> Result<()> {
    for _ in 0..2 {
        scene.some_progress()?;
        let leaver = scene.any()?;
        scene.journal.note(&format!("process {leaver} is asked to end"));
        scene.fleet.stop(&[leaver])?;
        scene.start()?;
    }
    Ok(())
}

/// The others take over what the sleeper had; then it wakes up and believes that nothing happened.
pub(super) fn freeze_past_session(scene: &mut Scene<'_>) -> Result<()> {
    scene.some_progress()?;
    let sleeper = scene.any()?;
    scene.freeze(sleeper, Signal::Stop)?;
    scene.wait_for_flow()?;
    scene.freeze(sleeper, Signal::Cont)
}

/// A sleeper in the middle of a transaction, which its coordinator aborts; its session goes on.
pub(super) fn freeze_past_transaction(scene: &mut Scene<'_>) -> Result<()> {
    let timeout = Duration::from_millis(Tuning::TRANSACTION_FIRST.transaction_ms);
    scene.client.configure_group(scene.name, &[("consumer.session.timeout.ms", "20000")])?;
    scene.some_progress()?;
    let sleeper = scene.any()?;
    let caught = scene.catch(Api::TxnOffsetCommit, Way::Request, sleeper)?;
    scene.freeze(sleeper, Signal::Stop)?;
    caught.let_go()?;
    scene.last(timeout + Duration::from_secs(2))?;
    scene.freeze(sleeper, Signal::Cont)
}
