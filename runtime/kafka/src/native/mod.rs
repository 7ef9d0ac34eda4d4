//! The calls of librdkafka that rust-rdkafka does not wrap, or wraps at a cost per record. The one module of the
//! workspace with `unsafe` in it: each type here owns what it points to and keeps its client alive.
#![allow(unsafe_code)]

mod events;
mod outputs;
mod queue;
mod records;

use std::ffi::{CStr, c_char};

pub(crate) use events::{ConsumerEvents, ProducerEvents};
pub(crate) use outputs::{OutputHeaders, TopicHandle, flush};
pub(crate) use records::{MessageBatch, PartitionQueue};

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
