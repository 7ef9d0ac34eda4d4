//! Faults of brokers.

use std::time::Duration;

use anyhow::Result;
use sluicegate_tests::process::Signal;

use crate::cluster::NODES;
use crate::scene::Scene;

/// Past `broker.session.timeout.ms`, so that the others have taken over.
const GONE: Duration = Duration::from_secs(5);

pub(super) fn kill(scene: &mut Scene<'_>) -> Result<()> {
    let node = any(scene)?;
    scene.cluster.node(node)?.kill()?;
    scene.last(GONE)?;
    scene.cluster.node(node)?.start()?;
    scene.journal.note(&format!("broker {node} is back"));
    Ok(())
}

/// What was acknowledged is in their files, and nowhere else.
pub(super) fn kill_all(scene: &mut Scene<'_>) -> Result<()> {
    scene.some_progress()?;
    (0..NODES).try_for_each(|node| scene.cluster.node(node)?.kill())?;
    scene.journal.note("all brokers are gone");
    scene.cluster.heal()?;
    scene.journal.note("all brokers are back");
    Ok(())
}

pub(super) fn restart(scene: &mut Scene<'_>) -> Result<()> {
    let node = any(scene)?;
    scene.cluster.node(node)?.stop()?;
    scene.cluster.node(node)?.start()?;
    scene.journal.note(&format!("broker {node} is back"));
    Ok(())
}

pub(super) fn freeze(scene: &mut Scene<'_>) -> Result<()> {
    let node = any(scene)?;
    scene.cluster.node(node)?.signal(Signal::Stop)?;
    scene.last(GONE)?;
    scene.cluster.node(node)?.signal(Signal::Cont)?;
    scene.journal.note(&format!("broker {node} is back"));
    Ok(())
}

/// All processes are asked to end while a broker does not answer.
pub(super) fn terminate(scene: &mut Scene<'_>) -> Result<()> {
    let node = any(scene)?;
    scene.cluster.node(node)?.signal(Signal::Stop)?;
    let all = scene.fleet.numbers();
    scene.fleet.stop(&all)?;
    scene.journal.note("all processes ended");
    scene.cluster.node(node)?.signal(Signal::Cont)?;
    all.iter().try_for_each(|_| scene.start().map(drop))
}

fn any(scene: &mut Scene<'_>) -> Result<usize> {
    scene.some_progress()?;
    let node = scene.random.below(NODES as u64) as usize;
    scene.journal.note(&format!("broker {node} goes"));
    Ok(node)
}
