//! Real faults on a real Kafka: the program is killed, frozen, cut off and crowded while records flow, and an auditor
//! judges from topics and offsets alone whether it kept its promise.
//!
//! ```text
//! cargo run --release -p sluicegate-faults -- --short        each fault once
//! cargo run --release -p sluicegate-faults                   each fault in each setting: about an hour
//! ```
//!
//! A [`run`] loads a topic, lets one or more processes stream it ([`fleet`]), makes a [`fault`] at moments that a seed
//! decides, and waits until everything flows again and the lag is gone. The processes reach Kafka ([`cluster`]) through a
//! [`network`] of our own, which is slow, silent or cut where a fault wants it, and which stops single requests, so that a
//! process dies exactly between two steps without knowing of any test. [`watch`] looks on, [`judge`] tells the auditor.

pub mod clock;
pub mod cluster;
pub mod fault;
pub mod feed;
pub mod fleet;
pub mod frame;
pub mod judge;
mod line;
pub mod network;
pub mod plan;
pub mod report;
pub mod run;
pub mod scene;
pub mod setting;
pub mod task;
pub mod watch;
