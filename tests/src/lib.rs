//! The harness that judges the program `sluicegate` from outside: a real Apache Kafka, Kafka's own
//! Java clients, the program as a process, and records that probe what it promises to keep.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use sluicegate_tests::{client::Client, client::Isolation, program, trades};
//!
//! let client = Client::shared()?;                          // on Kafka::shared()
//! client.create_topic("trades", 4, &[])?;
//! client.produce("trades", &trades::generate(7, 2_000, 4))?;
//! let running = program::sluicegate(["run", "pipeline.yaml"])?.spawn()?;
//! client.wait_until_consumed("trades-clean", "trades", Duration::from_secs(30))?;
//! let seen = client.consume("trades.clean", Isolation::ReadCommitted)?;
//! # drop((running, seen)); Ok(())
//! # }
//! ```
//!
//! Nothing here skips: a tool that is missing fails the test and says what to install. Whatever is
//! fetched or compiled for the harness is kept in one folder ([`cache`]), and every process that is
//! started ends with the test process, however that ends ([`process`]).

pub mod build;
pub mod cache;
pub mod client;
pub mod cosign;
pub mod http;
pub mod java;
pub mod kafka;
pub mod languages;
pub mod numbered;
pub mod pipeline;
pub mod plugins;
pub mod postgres;
pub mod process;
pub mod program;
pub mod random;
pub mod record;
pub mod registry;
pub mod stamp;
pub mod trades;
pub mod user;
pub mod wait;
pub mod web;
