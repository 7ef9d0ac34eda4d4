//! [`Source`](sluicegate_core::Source), [`Sink`](sluicegate_core::Sink) and
//! [`Transaction`](sluicegate_core::Transaction) on Kafka.
//!
//! ```text
//! connect → KafkaSource (one group member) → … → KafkaSink (one producer) → KafkaTransaction (both)
//! ```
//!
//! librdkafka's threads fetch and send; everything here runs on the worker's thread, except calls of librdkafka that
//! may take longer than a second or two, which a side thread waits for. Callbacks only note down what happened. Records
//! are copied once on their way in, from librdkafka's memory to the batch, and once on their way out.

mod admin;
mod assigned;
mod assignment;
mod client;
mod config;
mod connect;
mod context;
mod deadline;
mod error;
mod flush_schedule;
mod limits;
mod native;
mod presence;
mod properties;
mod queue;
mod sink;
mod source;
mod transaction;
mod wake;

pub use admin::{PartitionInfo, TopicInfo, Topics};
pub use client::{ClientConfig, Produce, Reader, Writer};
pub use config::{KafkaSinkConfig, KafkaSourceConfig, OnMissingOffset, PartitionBy, Start, transaction_timeout};
pub use connect::{Connection, SinkConnection, connect, connect_sink, connect_source, connect_transactional_sink};
pub use deadline::Patience;
pub use presence::Silence;
pub use properties::{Refusal, Role, check};
pub use sink::KafkaSink;
pub use source::KafkaSource;
pub use transaction::KafkaTransaction;
