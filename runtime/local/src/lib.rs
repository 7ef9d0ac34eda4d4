//! The embedded log: topics in one SQLite database, behind the same seams as Kafka.
//!
//! ```text
//! LocalSource::poll → Batch → … → LocalSink::write → Buffer → LocalTransaction::commit = BEGIN IMMEDIATE … COMMIT
//! ```
//!
//! A [`Log`] is a directory that one process owns. Others may visit it, to read and write outside any group. Outputs,
//! dead letters and the group's offsets are written in one SQLite transaction, and a commit returns only when it is on
//! the disk (`synchronous=FULL`), so that exactly-once holds through `kill -9` and through a power cut. The database
//! holds batches as they are in memory: one row a batch, its columns end to end, so that the cost of a row is paid once
//! for hundreds of records.
//!
//! [`Writer`] and [`Reader`] are for use outside pipelines: `produce`, `consume` and the demo.

mod buffer;
mod codec;
mod error;
mod feed;
mod lock;
mod log;
mod offsets;
mod partitioner;
mod reader;
mod retention;
mod schema;
mod sink;
mod source;
mod topics;
mod transaction;
mod writer;

pub use log::Log;
pub use partitioner::PartitionBy;
pub use reader::Reader;
pub use retention::Retention;
pub use sink::{IdHeader, LocalSink, SinkSettings};
pub use source::{BatchLimits, LocalSource, OnMissingOffset, SourceSettings, Start};
pub use topics::{PartitionInfo, TopicInfo, TopicSettings};
pub use transaction::LocalTransaction;
pub use writer::{NewRecord, Writer};
