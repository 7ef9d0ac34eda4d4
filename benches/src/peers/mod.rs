//! Contenders that are not ours: fetched from their registries, built once, kept in the cache folder.

pub(crate) mod connect;
pub(crate) mod python;
pub(crate) mod streams;

use std::hash::{DefaultHasher, Hasher as _};
use std::path::PathBuf;

use anyhow::Result;
use sluicegate_tests::{build, cache};

/// The folder of a peer's sources.
fn sources(peer: &str) -> PathBuf {
    build::project().join("benches/peers").join(peer)
}

/// A folder of the cache, made anew when these sources change.
fn built(peer: &str, files: &[&str], make: impl FnOnce(&std::path::Path) -> Result<()>) -> Result<PathBuf> {
    let mut hash = DefaultHasher::new();
    for file in files {
        hash.write(&std::fs::read(sources(peer).join(file))?);
    }
    cache::once(&format!("peer-{peer}-{:016x}", hash.finish()), make)
}
