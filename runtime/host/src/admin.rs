//! The admin endpoint: what runs, how it is, and its metrics. Read-only.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::exit::Exit;
use crate::metrics;
use crate::supervisor::{Running, WorkerState};

/// What the endpoint shows.
pub type Pipelines = Arc<[Arc<Running>]>;

/// Takes the address.
///
/// # Errors
/// It is taken already, or not this machine's.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener, Exit> {
    TcpListener::bind(listen).await.map_err(|error| {
        Exit::usage(format!("admin.listen: cannot listen on {listen}: {error}; choose another address"))
    })
}

/// Serves until the runtime ends.
pub async fn serve(listener: TcpListener, pipelines: Pipelines) {
    if let Err(error) = axum::serve(listener, router(pipelines)).await {
        tracing::error!("admin endpoint: {error}");
    }
}

fn router(pipelines: Pipelines) -> Router {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(prometheus))
        .route("/v1/pipelines", get(list))
        .with_state(pipelines)
}

async fn ready(State(pipelines): State<Pipelines>) -> impl IntoResponse {
    match pipelines.iter().find(|running| !running.is_ready()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(running) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("pipeline '{}' is not running yet\n", running.pipeline.config.name),
        ),
    }
}

async fn prometheus(State(pipelines): State<Pipelines>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::render(&pipelines))
}

async fn list(State(pipelines): State<Pipelines>) -> Json<Vec<PipelineStatus>> {
    Json(pipelines.iter().map(|running| PipelineStatus::of(running)).collect())
}

/// A pipeline as `/v1/pipelines` shows it.
#[derive(Serialize)]
struct PipelineStatus {
    name: String,
    delivery: crate::config::Delivery,
    ready: bool,
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
}

#[derive(Serialize)]
struct Lag {
    topic: String,
    partition: u32,
    records: u64,
}

impl PipelineStatus {
    fn of(running: &Running) -> Self {
        let pipeline = &running.pipeline;
        let tally = pipeline.meters.tally();
        let stages = pipeline.stages.iter().map(|stage| {
            let description = stage.plugin.description();
            StageStatus {
                name: stage.name.clone(),
                plugin: description.name.clone(),
                version: description.version.clone(),
                digest: format!("sha256:{}", stage.plugin.artifact().digest),
            }
        });
        let lag = pipeline.meters.lag().into_iter().map(|(partition, records)| Lag {
            topic: partition.topic.to_string(),
            partition: partition.number,
            records,
        });
        PipelineStatus {
            name: pipeline.config.name.clone(),
            delivery: pipeline.config.delivery,
            ready: running.is_ready(),
            workers: running.states(),
            stages: stages.collect(),
            records_in: tally.records_in,
            outputs: tally.outputs,
            dead_letters: tally.dead_letters,
            skipped: tally.skipped,
            commits: pipeline.meters.commits(),
            lag: lag.collect(),
        }
    }
}
