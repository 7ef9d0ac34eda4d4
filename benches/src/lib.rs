//! Sluicegate beside what people use today: the same work, on the same broker, in turn, each output verified.
//!
//! [`workload`] is the work, [`ground`] the broker with the input, [`contender`] says who takes part, `ours` how sluicegate does, [`peers`]
//! gets those that are not ours, [`measure`] runs one of them, in [`memory`] that costs each of them the same, [`report`] compares.
//! `side-by-side` is the command. `growth` is the command that makes one thing grow at a time, and [`curve`] what it draws.
//! [`boundary`] is the path from columns to columns alone, and [`language`] the plugins of each language for it.

pub mod boundary;
pub mod clients;
pub mod contender;
pub mod curve;
pub mod ground;
pub mod language;
pub mod measure;
pub mod memory;
mod ours;
pub mod peers;
pub mod report;
pub mod workload;
