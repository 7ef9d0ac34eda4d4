use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
use rdkafka_sys::rd_kafka_vtype_t::*;
use sluicegate_core::NO_TIMESTAMP;

use super::SharedProducer;
use crate::context::Producer;

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
    /// Comes back with the output's report.
    pub(crate) ticket: usize,
}

/// A topic to produce to.
pub(crate) struct TopicHandle {
    topic: NonNull<sys::rd_kafka_topic_t>,
    name: String,
    client: SharedProducer,
}

// SAFETY: librdkafka's topics may be used from any thread.
unsafe impl Send for TopicHandle {}

impl TopicHandle {
    pub(crate) fn new(client: &SharedProducer, name: &str) -> Option<Self> {
        let name_c = CString::new(name).ok()?;
        // SAFETY: client and name are valid; no configuration is passed.
        let topic = unsafe { sys::rd_kafka_topic_new(client.client().native_ptr(), name_c.as_ptr(), ptr::null_mut()) };
        Some(TopicHandle { topic: NonNull::new(topic)?, name: name.to_owned(), client: Arc::clone(client) })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Hands a copy of the output to the producer, and the headers themselves; those are left where it fails.
    ///
    /// # Errors
    /// [`RDKafkaErrorCode::QueueFull`]: later. Others: never.
    #[inline]
    pub(crate) fn produce(
        &self,
        output: &Produced<'_>,
        headers: &mut Option<OutputHeaders>,
    ) -> Result<(), RDKafkaErrorCode> {
        let (key, key_length) = pointer_of(output.key);
        let (value, value_length) = pointer_of(output.value);
        let headers_pointer = headers.as_ref().map_or(ptr::null_mut(), |headers| headers.0.as_ptr());
        // librdkafka takes 0 for "now"; one millisecond later is nearer to the truth.
        let timestamp = if output.timestamp == NO_TIMESTAMP { -1 } else { output.timestamp };
        let timestamp = if timestamp == 0 { 1 } else { timestamp };
        // SAFETY: client, topic and headers are valid; key and value are valid for their lengths and are copied; each
        // argument has the type that its tag asks for, and the list is ended.
        #[rustfmt::skip]
        let err = unsafe {
            sys::rd_kafka_producev(
                self.client.client().native_ptr(),
                RD_KAFKA_VTYPE_RKT, self.topic.as_ptr(),
                RD_KAFKA_VTYPE_PARTITION, output.partition,
                RD_KAFKA_VTYPE_MSGFLAGS, sys::RD_KAFKA_MSG_F_COPY,
                RD_KAFKA_VTYPE_TIMESTAMP, timestamp,
                RD_KAFKA_VTYPE_KEY, key, key_length,
                RD_KAFKA_VTYPE_VALUE, value, value_length,
                RD_KAFKA_VTYPE_OPAQUE, output.ticket as *mut c_void,
                RD_KAFKA_VTYPE_HEADERS, headers_pointer,
                RD_KAFKA_VTYPE_END,
            )
        };
        if err != RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(err.into());
        }
        // The producer's now.
        std::mem::forget(headers.take());
        Ok(())
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: valid and ours; the client still lives.
        unsafe { sys::rd_kafka_topic_destroy(self.topic.as_ptr()) }
    }
}

/// The headers of one output, until the producer takes them.
pub(crate) struct OutputHeaders(NonNull<sys::rd_kafka_headers_t>);

impl OutputHeaders {
    pub(crate) fn new() -> Option<Self> {
        // SAFETY: takes a size only.
        NonNull::new(unsafe { sys::rd_kafka_headers_new(8) }).map(OutputHeaders)
    }

    pub(crate) fn add(&mut self, name: &[u8], value: Option<&[u8]>) {
        let (start, length) = pointer_of(value);
        // SAFETY: name and value are valid for their lengths and are copied; lengths of slices fit isize.
        unsafe {
            let name_start = name.as_ptr().cast();
            sys::rd_kafka_header_add(self.0.as_ptr(), name_start, name.len() as isize, start, length as isize);
        }
    }
}

impl Drop for OutputHeaders {
    fn drop(&mut self) {
        // SAFETY: ours, as the producer did not take them.
        unsafe { sys::rd_kafka_headers_destroy(self.0.as_ptr()) }
    }
}

#[inline]
fn pointer_of(value: Option<&[u8]>) -> (*const c_void, usize) {
    value.map_or((ptr::null(), 0), |value| (value.as_ptr().cast(), value.len()))
}

/// Sends what waits without regard to `linger.ms` and waits for at most `ms`. Says whether nothing is in flight any
/// more; an output counts as in flight until its report, if it has one, was polled.
pub(crate) fn flush(client: &Producer, ms: i32) -> bool {
    // SAFETY: the client is valid.
    unsafe { sys::rd_kafka_flush(client.client().native_ptr(), ms) == RD_KAFKA_RESP_ERR_NO_ERROR }
}
