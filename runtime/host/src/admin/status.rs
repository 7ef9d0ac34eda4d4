use std::path::PathBuf;

use serde::Serialize;

use super::tryouts::TryoutStatus;
use crate::app::LoadedPipeline;
use crate::journal::{Entry, time};
use crate::supervisor::{Running, WorkerState};
use crate::watch::Found;

/// A pipeline as `/v1/pipelines` shows it.
#[derive(Serialize)]
pub(super) struct PipelineStatus {
    name: String,
    delivery: crate::config::Delivery,
    ready: bool,
    /// By request. A worker that waits because a breaker tripped says so itself.
    paused: bool,
    workers: Vec<WorkerState>,
    stages: Vec<StageStatus>,
    records_in: u64,
    outputs: u64,
    dead_letters: u64,
    skipped: u64,
    commits: u64,
    lag: Vec<Lag>,
}

#[derive(Serialize)]
struct StageStatus {
    name: String,
    plugin: String,
    version: String,
    digest: String,
    /// Since when this version runs.
    since: String,
    /// Whether the version before takes over by itself if this one fails.
    on_trial: bool,
    /// What a rollback would bring back.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    /// The digest of what the stage's file has, if that is not what runs: because of a change at run time, or because it was
    /// refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// The latest attempt to change the stage, if it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Entry>,
    /// What is being tried out beside it, or was last.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<TryoutStatus>,
}

/// A file of the folder of pipelines, as `/v1/files` shows it.
#[derive(Serialize)]
pub(super) struct FileStatus {
    file: PathBuf,
    /// The pipeline that runs from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline: Option<String>,
    /// Why what is in it now does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

impl FileStatus {
    pub(super) fn of((file, found): (PathBuf, Found)) -> Self {
        FileStatus { file, pipeline: found.pipeline, refused: found.refused }
    }
}

#[derive(Serialize)]
struct Lag {
    topic: String,
    partition: u32,
    records: u64,
}

impl PipelineStatus {
    pub(super) fn of(running: &Running) -> Self {
        let pipeline = &running.pipeline();
        let tally = pipeline.meters.tally();
        let lag = pipeline.meters.lag().into_iter().map(|(partition, records)| Lag {
            topic: partition.topic.to_string(),
            partition: partition.number,
            records,
        });
        PipelineStatus {
            name: pipeline.config.name.clone(),
            delivery: pipeline.config.delivery,
            ready: running.is_ready(),
            paused: pipeline.is_paused(),
            workers: running.states(),
            stages: (0..pipeline.stages.len()).map(|index| StageStatus::of(pipeline, index)).collect(),
            records_in: tally.records_in,
            outputs: tally.outputs,
            dead_letters: tally.dead_letters,
            skipped: tally.skipped,
            commits: pipeline.meters.commits(),
            lag: lag.collect(),
        }
    }
}

impl StageStatus {
    fn of(pipeline: &LoadedPipeline, index: usize) -> Self {
        let (version, file) = (pipeline.version(index), pipeline.file_digest(index));
        let (description, name) = (version.plugin.description(), pipeline.stages[index].name.clone());
        StageStatus {
            plugin: description.name.clone(),
            version: description.version.clone(),
            digest: version.digest.to_string(),
            since: time(version.since),
            on_trial: version.is_on_trial(),
            before: pipeline.version_before(index).map(|before| before.digest.to_string()),
            file: (file != version.digest).then(|| file.to_string()),
            refused: pipeline.journal.last_refusal(&name),
            candidate: pipeline.tryout().filter(|tryout| tryout.stage == index).map(|tryout| TryoutStatus::of(&tryout)),
            name,
        }
    }
}
