//! Faults of topics.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluicegate_tests::client::Isolation;
use sluicegate_tests::wait::eventually;

use crate::run::{PARTITIONS, PARTITIONS_MAX};
use crate::scene::{FLOW_WITHIN, Scene};
use crate::setting::source;

const REFUSED_WITHIN: Duration = Duration::from_secs(30);
/// The exit code for what somebody has to mend before the pipeline can go on.
const REFUSED: i32 = 2;

pub(super) fn grow(scene: &mut Scene<'_>) -> Result<()> {
    scene.some_progress()?;
    scene.client.grow_topic(&source(scene.name), PARTITIONS_MAX)?;
    scene.journal.note(&format!("{PARTITIONS_MAX} partitions instead of {PARTITIONS}"));
    scene.feed.spread(PARTITIONS_MAX);
    Ok(())
}

pub(super) fn delete(scene: &mut Scene<'_>) -> Result<()> {
    scene.some_progress()?;
    scene.feed.end()?;
    scene.client.delete_topic(&source(scene.name))?;
    scene.journal.note("the source is deleted");
    wait_for_refusal(scene)
}

/// Somebody wants to go on from committed offsets whose records are gone.
pub(super) fn retain(scene: &mut Scene<'_>) -> Result<()> {
    delete_unread(scene)?;
    scene.start()?;
    wait_for_refusal(scene)
}

/// The same, where the user said what to do then. What is passed over is what the program says, for every partition.
pub(super) fn skip(scene: &mut Scene<'_>) -> Result<()> {
    delete_unread(scene)?;
    let number = scene.start()?;
    let topic = source(scene.name);
    for (partition, gone) in &mut scene.gone {
        let is_gone = format!("offset {} of {topic}[{partition}], ", gone.start);
        gone.end = eventually(FLOW_WITHIN, &format!("word of partition {partition}"), || {
            let said = scene.fleet.said(number)?;
            let line = said.lines().find(|line| line.contains(&is_gone));
            let to = line.and_then(|line| line.split_once("going on from ")?.1.split_once(',')?.0.parse::<i64>().ok());
            Ok(to)
        })?;
    }
    scene.journal.note(&format!("passed over: {:?}", scene.gone));
    Ok(())
}

/// Deletes some of what nobody has read yet, of every partition, while nobody reads.
fn delete_unread(scene: &mut Scene<'_>) -> Result<()> {
    scene.some_progress()?;
    let all = scene.fleet.numbers();
    scene.fleet.stop(&all)?;
    let committed = scene.watch.committed_now(FLOW_WITHIN)?;
    let end = eventually(FLOW_WITHIN, "unread records in every partition", || {
        let end = scene.client.end_offsets(&source(scene.name), Isolation::ReadCommitted)?;
        Ok(committed.iter().all(|(partition, from)| end.get(partition) > Some(&(from + 1))).then_some(end))
    })?;
    for (partition, from) in committed {
        let unread = end[&partition] - from;
        let before = from + 1 + scene.random.below(unread as u64 - 1) as i64;
        scene.gone.insert(partition, from..before);
    }
    let before = scene.gone.iter().map(|(partition, gone)| (*partition, gone.end)).collect();
    scene.client.delete_records(&source(scene.name), &before)?;
    scene.journal.note(&format!("deleted unread: {:?}", scene.gone));
    Ok(())
}

/// Every process ends by itself, as after a wrong configuration, and its error names the topic.
fn wait_for_refusal(scene: &mut Scene<'_>) -> Result<()> {
    for number in scene.fleet.numbers() {
        let code = scene.fleet.wait(number, REFUSED_WITHIN)?;
        scene.journal.note(&format!("process {number} ended with {code:?}"));
        let said = scene.fleet.said(number)?;
        let (_, error) = said.rsplit_once("error: ").with_context(|| format!("process {number} says no error"))?;
        ensure!(code == Some(REFUSED), "process {number} ended with {code:?}: {error}");
        ensure!(error.contains(&source(scene.name)), "process {number} does not say what it refuses: {error}");
    }
    Ok(())
}
