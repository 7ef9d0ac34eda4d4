//! The production loop in a simulated world: one thread, one seed, faults at every step.
//!
//! ```text
//! Plan → World (clock, events, Broker, Group, Observer) → Life after Life of sluicegate_core::Worker → the Auditor's Report
//! ```
//!
//! A seed decides everything: the pipeline and its records (`plan.rs`), what goes wrong and when (`faults.rs`), who
//! changes the pipeline meanwhile (`changes.rs`), how long each request takes (`state.rs`). The world moves on only inside
//! the calls that a worker makes through its seams (`source.rs`, `transform.rs`, `sink.rs`, `transaction.rs`). There it may
//! crash the worker, lose what it sent, refuse it, take its partitions away; or let it sleep there while other workers of
//! the group live out their lives (`world.rs`), so that it wakes up as a zombie.
//!
//! ```text
//! cargo run --release -p sluicegate-sim -- --seeds 10000            # many worlds; exit code 1 if one broke the promise
//! cargo run --release -p sluicegate-sim -- --seed 12 --verbose      # one of them, and what happened in it
//! ```
//!
//! What comes of it is judged by `sluicegate-audit`, which is shown the topics and offsets as readers see them.

mod broker;
mod changes;
mod clock;
mod event;
mod fate;
mod faults;
mod group;
mod life;
mod observer;
mod patch;
mod plan;
mod plugin;
mod seed;
mod simulation;
mod sink;
mod source;
mod state;
mod transaction;
mod transform;
mod world;

pub use life::Seat;
pub use patch::{Patch, Unpatched};
pub use seed::Random;
pub use simulation::{Outcome, simulate};
pub use world::World;
