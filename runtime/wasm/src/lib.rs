//! Plugins on wasmtime: a sandbox for every place in a pipeline.
//!
//! ```text
//! Engine (one a process) → Plugin (checked, compiled, pre-linked) → Instance (one store; core's Transform)
//! ```
//!
//! A plugin is checked before it is compiled ([`Artifact::read`] names the first thing that is wrong), compiled under
//! a time limit, and asked once to describe itself. An [`Instance`] lowers the columns of a batch straight into the
//! guest's memory and lifts the guest's columns straight into the outcomes. Every call has a deadline, a memory limit
//! and a bound on what is lifted; whatever goes wrong in it becomes a `Failure` that a policy can decide upon.
//!
//! A core module that is a plugin in all but its wrapping is wrapped as it is compiled ([`component_of`]). A transform for
//! Redpanda's ABI runs as it is: `redpanda/` turns it into the same `Transform`, and nothing else knows the difference.
//!
//! A plugin gets a log, counters, a seed, and the empty shell of WASI that its language's standard library insists on:
//! no files, no network, no environment, no arguments, no input, and clocks and random numbers that are fixed unless the
//! stage allows real ones ([`Allow`]). Each host capability is one file under `host/`.

mod allow;
mod artifact;
mod bindings;
mod cache;
mod call;
mod compile;
mod engine;
mod failure;
mod guest;
mod host;
mod instance;
mod plugin;
mod redpanda;
mod words;
mod wrap;

pub use allow::{Allow, Ask, Capability, Fixed};
pub use artifact::{Artifact, ArtifactError, CONTRACT_VERSION, Form, Interface, Producer, Sbom};
pub use compile::{CompilerProgram, compile_into_cache};
pub use engine::{Engine, EngineError, EngineSettings};
pub use host::log::LogWindow;
pub use host::metrics::PluginCounters;
pub use instance::{Instance, InstanceLimits, InstanceSpec, Topics};
pub use plugin::{Description, FILE_BYTES_MAX, LoadError, LoadOptions, Plugin};
pub use words::clean;
pub use wrap::{WIT, WrapError, component_of};
