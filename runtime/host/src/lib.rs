//! The program `sluicegate`: configuration, composition, supervision, and the command line.
//!
//! ```text
//! cli → config::load → App::load (registry → trust → plugins) → Supervisor (a thread a worker) → App::connect → Worker::run
//!                                        ↘ admin (/live /ready /metrics /v1/…) reads Meters and states
//! admin, watch → change (a plugin in a stage, a pause) → journal, and Commands to the workers
//! ```

// `console` prints: its lines survive that nobody reads them.
#![deny(clippy::print_stdout)]

pub mod admin;
pub mod app;
mod change;
pub mod cli;
pub mod config;
mod console;
pub mod dead_letters;
mod demo;
pub mod dev;
mod exit;
mod files;
mod journal;
mod logging;
mod metrics;
mod pem;
mod pipes;
mod record;
pub mod registry;
mod seat;
pub mod service;
mod state;
pub mod supervisor;
pub mod trust;
mod watch;

pub use exit::Exit;
