//! Contenders that are not ours: fetched from their registries, built once, kept in the cache folder.

pub(crate) mod connect;
pub(crate) mod flink;
mod java;
pub(crate) mod python;
pub(crate) mod streams;

use std::path::{Path, PathBuf};

use anyhow::Result;
use sluicegate_tests::{build, cache};

use crate::contender::Task;

/// The folder of a peer's sources.
fn sources(peer: &str) -> PathBuf {
    build::project().join("benches/peers").join(peer)
}

/// A folder of the cache, made anew when these sources change.
fn built(peer: &str, files: &[&str], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let files: Vec<PathBuf> = files.iter().map(|file| sources(peer).join(file)).collect();
    cache::once_for(&format!("peer-{peer}"), &files, make)
}

/// What a peer of one's own making is told: brokers, input, output, delivery, and in ms how often it commits and how long its
/// producer gathers a batch.
fn arguments(task: &Task<'_>) -> [String; 6] {
    let Task { brokers, input, output, setup, .. } = task;
    let [commit, linger] = [setup.commit, setup.linger()].map(|time| time.as_millis().to_string());
    [brokers.clone(), (*input).into(), (*output).into(), setup.delivery.to_string(), commit, linger]
}
