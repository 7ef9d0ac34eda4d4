//! The calls of librdkafka that rust-rdkafka does not wrap, or wraps at a cost per record. The one module of the
//! workspace with `unsafe` in it: each type here owns what it points to and keeps its client alive.
#![allow(unsafe_code)]

mod events;
mod outputs;
mod queue;
mod records;

pub(crate) use events::{ConsumerEvents, ProducerEvents};
pub(crate) use outputs::{OutputHeaders, TopicHandle, flush};
pub(crate) use records::{MessageBatch, PartitionQueue};
