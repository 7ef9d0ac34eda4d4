//! What Sluicegate means, free of IO: the data path between four seams.
//!
//! ```text
//! Source::poll → Batch → Stage 1 … Stage n (Transform::process → Outcomes → Policy) → Sink::write → Progress → Transaction::commit
//! ```
//!
//! [`Worker`] is the loop that reads like that line. It owns no clock, opens no file and knows neither Kafka nor
//! wasmtime: those are behind [`Source`], [`Transform`], [`Sink`] and [`Transaction`], so that a simulation drives the
//! very code that runs in production.

mod acks;
mod batch;
mod canary;
mod chain;
mod column;
mod commands;
mod emission;
mod error;
mod failure;
mod findings;
mod letter;
mod limits;
mod maker;
mod meters;
mod outcome;
mod output;
mod policy;
mod progress;
mod seams;
mod stage;
mod worker;

pub use acks::Acks;
pub use batch::{Batch, Headers, NO_TIMESTAMP, Partition, Row};
pub use canary::{Share, is_worse};
pub use column::{Column, Cursor, Entry, INHERIT, NULL};
pub use commands::{Candidate, Command, Commands, Inbox, Replacement, Role};
pub use error::{Culprit, Error, ErrorKind};
pub use failure::{Failure, FailureKind};
pub use findings::{Conduct, Findings, Made, MadeOutput, Report, Sample};
pub use letter::{REPLAYED, Story, replayed};
pub use limits::{OutputLimits, SinkLimits};
pub use meters::{Meters, Tally};
pub use outcome::{EMIT_NONE, Outcomes, PASS, REJECT, Valid};
pub use output::{Destination, HeaderSlice, Output};
pub use policy::{Action, Policy, Rule};
pub use progress::{Positions, Progress, Ticket};
pub use seams::{Clock, Identity, Polled, Sink, Source, Transaction, Transform};
pub use stage::{Stage, TURN_MAX};
pub use worker::{CommitEvery, Delivery, Ended, Seams, Stop, Worker, WorkerSettings};
