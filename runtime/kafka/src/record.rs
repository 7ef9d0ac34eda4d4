//! What crosses the line to [`crate::native`].

use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode;

use crate::context::{Consumer, Producer};
use crate::deadline::Bounded;

/// A consumer that outlives every queue and record taken from it.
pub(crate) type SharedConsumer = Arc<Bounded<Consumer>>;
/// A producer that outlives every topic handle taken from it.
pub(crate) type SharedProducer = Arc<Bounded<Producer>>;

/// The partition number that asks for the topic's partitioner.
pub(crate) const BY_KEY: i32 = -1;

/// An output's key, value and the like.
#[derive(Clone, Copy)]
pub(crate) struct Produced<'a> {
    /// [`BY_KEY`], or the number.
    pub(crate) partition: i32,
    /// Milliseconds, or [`NO_TIMESTAMP`].
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) ticket: usize,
}

/// Why a partition gives no more records.
#[derive(Debug)]
pub(crate) struct ReadError {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) offset: i64,
    pub(crate) reason: String,
}
