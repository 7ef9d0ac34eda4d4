//! Redpanda's Data Transforms, unchanged: core modules that import `redpanda_transform`, version 2 of that ABI.
//!
//! ```text
//! Guest::process → Work → read_batch_header … read_next_record, write_record … read_batch_header → Outcomes
//! ```
//!
//! A plugin of ours is called for each batch. A transform's `_start` is called once, and asks for batches and records in an
//! endless loop. So a guest here is a future over its store, which wasmtime runs on a stack of its own and which is pending
//! only in `read_batch_header`: a call of `process` gives it a batch, polls it once and takes the outcomes. That needs no
//! thread and no copy of memory, and deadline, memory and output are bounded as they are for a component.
//!
//! The ABI is that of Redpanda's SDKs (Apache License 2.0).

mod abi;
mod guest;
mod memory;
mod payload;
mod poll;
mod wasi;
mod work;
mod world;

use wasmtime::Module;

pub(crate) use guest::{Guest, Linked};
pub(crate) use world::World;

use crate::artifact::Artifact;
use crate::bindings::common::exports::sluicegate::plugin::lifecycle::Description;

/// A transform's configuration is its environment.
const CONFIG_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "description": "The transform's environment.",
  "type": "object",
  "propertyNames": { "pattern": "^[^=\\u0000]+$" },
  "additionalProperties": { "type": ["string", "number", "boolean"] }
}"#;
/// How many characters of a digest tell versions apart.
const VERSION_CHARS: usize = 12;

/// What can be said of a transform, which says nothing of itself.
pub(crate) fn describe(module: &Module, artifact: &Artifact) -> Description {
    let name = module.name().map(|name| name.trim_end_matches(".wasm")).filter(|name| !name.trim().is_empty());
    Description {
        name: name.unwrap_or("redpanda-transform").to_owned(),
        version: artifact.digest[..VERSION_CHARS].to_owned(),
        summary: "a transform for Redpanda".to_owned(),
        config_schema: Some(CONFIG_SCHEMA.to_owned()),
    }
}
