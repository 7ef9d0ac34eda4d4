//! The calls of librdkafka that rust-rdkafka does not wrap, or wraps at a cost per record. The one module of the
//! workspace with `unsafe` in it: each type here owns what it points to and keeps its client alive.
#![allow(unsafe_code)]

mod events;
mod outputs;
mod queue;
mod records;
mod topics;

use std::ffi::{CStr, c_char};
use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

pub(crate) use events::{ConsumerEvents, ProducerEvents};
pub(crate) use outputs::{BY_KEY, OutputHeaders, Produced, TopicHandle, flush};
pub(crate) use records::{MessageBatch, PartitionQueue, ReadError};
pub(crate) use topics::{TopicId, topic_ids};

use crate::context::{Consumer, Producer};
use crate::deadline::Bounded;

/// A consumer that outlives every queue and record taken from it.
pub(crate) type SharedConsumer = Arc<Bounded<Consumer>>;
/// A producer that outlives every topic handle taken from it.
pub(crate) type SharedProducer = Arc<Bounded<Producer>>;

/// The code of this number, which may be a newer broker's: as the enum that rdkafka-sys declares, such a one must not even
/// be looked at.
fn code(number: i32) -> RDKafkaErrorCode {
    sys::rd_kafka_resp_err_t::try_from(number).map_or(RDKafkaErrorCode::Unknown, RDKafkaErrorCode::from)
}

/// What went wrong with a message; none if nothing did.
///
/// # Safety
/// `message` is valid.
#[inline]
unsafe fn error_of(message: *const sys::rd_kafka_message_t) -> Option<RDKafkaErrorCode> {
    // SAFETY: the caller vouches for the message; the enum's representation is that of a number.
    let number = unsafe { (&raw const (*message).err).cast::<i32>().read() };
    (number != 0).then(|| code(number))
}

/// A copy of a C string.
///
/// # Safety
/// `text` is null or a valid C string.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_nobody_knows_yet_is_unknown() {
        assert_eq!(code(3), RDKafkaErrorCode::UnknownTopicOrPartition);
        assert_eq!(code(-138), RDKafkaErrorCode::InvalidDifferentRecord);
        for number in [12_345, -12_345, i32::MIN, i32::MAX] {
            assert_eq!(code(number), RDKafkaErrorCode::Unknown);
        }
    }
}
