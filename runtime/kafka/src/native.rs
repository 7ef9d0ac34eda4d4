//! The calls of librdkafka that rust-rdkafka does not wrap, or wraps at a cost per record. The one file of the
//! workspace with `unsafe` in it: each type here owns what it points to and keeps its client alive.
#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
use rdkafka_sys::rd_kafka_vtype_t::*;
use sluicegate_core::{Batch, NO_TIMESTAMP};

use crate::context::Producer;
use crate::record::{Produced, ReadError, SharedConsumer, SharedProducer};
use crate::wake::Wake;

/// What a queue tells when it stops being empty.
struct Ready {
    ready: AtomicBool,
    wake: Arc<Wake>,
}

unsafe extern "C" fn on_nonempty(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `opaque` is the `Ready` of the queue's owner, which disables this callback before it drops it;
    // librdkafka calls it with the queue's lock held, so that disabling waits for a call under way.
    let ready = unsafe { &*opaque.cast::<Ready>() };
    ready.ready.store(true, SeqCst);
    ready.wake.raise();
}

/// A queue of librdkafka's with its wake-up.
struct Queue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    ready: Box<Ready>,
}

impl Queue {
    /// Takes ownership of `queue`.
    ///
    /// # Safety
    /// `queue` is null or a reference to a queue that nobody else destroys, and its client outlives this.
    unsafe fn new(queue: *mut sys::rd_kafka_queue_t, wake: Arc<Wake>) -> Option<Self> {
        let queue = NonNull::new(queue)?;
        let ready = Box::new(Ready { ready: AtomicBool::new(true), wake });
        // SAFETY: the queue is valid, and the boxed `ready` stays where it is until drop disables the callback.
        unsafe {
            let opaque = ptr::from_ref::<Ready>(&ready).cast_mut().cast();
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_nonempty), opaque);
        }
        Some(Queue { queue, ready })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is valid and ours; after the first call no callback can reach `ready` any more.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

// SAFETY: librdkafka's queues may be used from any thread, and at once; `Ready` is made of types that may too.
unsafe impl Send for Queue {}
unsafe impl Sync for Queue {}

/// The queue on which a client's events wait for `poll`.
pub(crate) struct EventQueue {
    queue: Queue,
    /// Dropped after the queue.
    _client: Arc<dyn Any + Send + Sync>,
}

impl EventQueue {
    /// The producer's. At most one a client: the last one made is the one that wakes.
    pub(crate) fn of_producer(client: &SharedProducer) -> Option<Self> {
        // SAFETY: the client is valid, and kept alive by `_client`.
        let queue = unsafe { Queue::new(sys::rd_kafka_queue_get_main(client.client().native_ptr()), Arc::default())? };
        Some(EventQueue { queue, _client: Arc::clone(client) as _ })
    }

    /// The consumer's; raises `wake` when something comes. At most one a client.
    pub(crate) fn of_consumer(client: &SharedConsumer, wake: Arc<Wake>) -> Option<Self> {
        // SAFETY: the client is valid, and kept alive by `_client`.
        let queue = unsafe { Queue::new(sys::rd_kafka_queue_get_consumer(client.client().native_ptr()), wake)? };
        Some(EventQueue { queue, _client: Arc::clone(client) as _ })
    }

    /// Raised when something comes.
    pub(crate) fn wake(&self) -> &Wake {
        &self.queue.ready.wake
    }

    /// Whether no event waits.
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: the queue is valid as long as `self`.
        unsafe { sys::rd_kafka_queue_length(self.queue.queue.as_ptr()) == 0 }
    }
}

/// The records of one partition that were fetched but not read.
pub(crate) struct PartitionQueue {
    queue: Queue,
    topic: CString,
    number: i32,
    client: SharedConsumer,
}

impl PartitionQueue {
    /// Splits the partition's records off the consumer's own queue. Before `assign`, so that none of them gets there.
    pub(crate) fn split(client: &SharedConsumer, topic: &str, number: i32, wake: Arc<Wake>) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: client and name are valid; a null destination keeps the records in the queue itself.
        let queue = unsafe {
            let queue = sys::rd_kafka_queue_get_partition(client.client().native_ptr(), topic.as_ptr(), number);
            let queue = Queue::new(queue, wake)?;
            sys::rd_kafka_queue_forward(queue.queue.as_ptr(), ptr::null_mut());
            queue
        };
        Some(PartitionQueue { queue, topic, number, client: Arc::clone(client) })
    }

    /// Whether something came since the last call; reading on until the queue is empty is up to the caller.
    pub(crate) fn take_ready(&self) -> bool {
        self.queue.ready.ready.swap(false, SeqCst)
    }

    /// Makes the next [`PartitionQueue::take_ready`] true.
    pub(crate) fn set_ready(&self) {
        self.queue.ready.ready.store(true, SeqCst);
    }

    /// The end of the partition's log as the last fetch told it. No network.
    pub(crate) fn log_end(&self) -> Option<u64> {
        let (mut low, mut high) = (-1i64, -1i64);
        // SAFETY: client and name are valid, and the two places outlive the call.
        let err = unsafe {
            let native = self.client.client().native_ptr();
            sys::rd_kafka_get_watermark_offsets(native, self.topic.as_ptr(), self.number, &raw mut low, &raw mut high)
        };
        (err == RD_KAFKA_RESP_ERR_NO_ERROR).then_some(high).and_then(|high| u64::try_from(high).ok())
    }
}

/// Records as librdkafka gave them, of one partition and in order, until they are copied.
pub(crate) struct MessageBatch {
    messages: Vec<*mut sys::rd_kafka_message_t>,
    /// Those of `next..filled` are ours.
    next: usize,
    filled: usize,
    _client: SharedConsumer,
}

impl MessageBatch {
    /// Room for this many records.
    pub(crate) fn new(client: &SharedConsumer, records: usize) -> Self {
        let messages = vec![ptr::null_mut(); records.max(1)];
        MessageBatch { messages, next: 0, filled: 0, _client: Arc::clone(client) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.filled
    }

    /// Drops what is left.
    pub(crate) fn clear(&mut self) {
        while self.take().is_some() {}
    }

    /// Replaces what is left by the next records of the queue, without waiting. Says whether more may be there.
    pub(crate) fn fill(&mut self, queue: &PartitionQueue) -> bool {
        self.clear();
        let room = self.messages.len();
        // SAFETY: queue and array are valid, and `room` is the array's length. What is written is ours to destroy.
        let got = unsafe {
            sys::rd_kafka_consume_batch_queue(queue.queue.queue.as_ptr(), 0, self.messages.as_mut_ptr(), room)
        };
        (self.next, self.filled) = (0, usize::try_from(got).unwrap_or(0));
        self.filled == room
    }

    /// Copies records into `batch` until it holds `bytes`, passing over those before offset `from`.
    ///
    /// # Errors
    /// The next record is none, but an error of the partition. Records before it are in `batch`: it comes alone.
    pub(crate) fn copy_into(&mut self, batch: &mut Batch, bytes: usize, from: u64) -> Result<(), ReadError> {
        while batch.bytes() < bytes && !self.is_empty() {
            // SAFETY: not empty, hence the message at `next` is ours and valid.
            if unsafe { (*self.messages[self.next]).err } != RD_KAFKA_RESP_ERR_NO_ERROR && !batch.is_empty() {
                return Ok(());
            }
            let Some(message) = self.take() else { return Ok(()) };
            message.copy_into(batch, from)?;
        }
        Ok(())
    }

    fn take(&mut self) -> Option<Message> {
        if self.is_empty() {
            return None;
        }
        self.next += 1;
        Some(Message(self.messages[self.next - 1]))
    }
}

impl Drop for MessageBatch {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One record, destroyed with this.
struct Message(*mut sys::rd_kafka_message_t);

impl Message {
    #[inline]
    fn copy_into(&self, batch: &mut Batch, from: u64) -> Result<(), ReadError> {
        // SAFETY: the message is valid until it is dropped.
        let message = unsafe { &*self.0 };
        if message.err != RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(self.error(message));
        }
        let Ok(offset) = u64::try_from(message.offset) else { return Ok(()) };
        if offset < from {
            return Ok(());
        }
        // SAFETY: pointers and lengths are the message's own, which stays valid while they are copied.
        let (timestamp, key, value) = unsafe {
            let timestamp = sys::rd_kafka_message_timestamp(self.0, ptr::null_mut());
            (timestamp, bytes(message.key, message.key_len), bytes(message.payload, message.len))
        };
        batch.push(offset, if timestamp < 0 { NO_TIMESTAMP } else { timestamp }, key, value);
        self.copy_headers(batch);
        Ok(())
    }

    #[inline]
    fn copy_headers(&self, batch: &mut Batch) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is valid; what is returned stays its own.
        if unsafe { sys::rd_kafka_message_headers(self.0, &raw mut headers) } != RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are valid; index is checked there; name is a C string and value has `size` bytes.
            let (name, value) = unsafe {
                let err = sys::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size);
                if err != RD_KAFKA_RESP_ERR_NO_ERROR {
                    return;
                }
                (CStr::from_ptr(name), bytes(value.cast_mut(), size))
            };
            batch.push_header(name.to_bytes(), value);
        }
    }

    #[cold]
    fn error(&self, message: &sys::rd_kafka_message_t) -> ReadError {
        // SAFETY: the message is valid and an error, which has a text that lives as long.
        let reason = unsafe { CStr::from_ptr(sys::rd_kafka_message_errstr(self.0)) }.to_string_lossy().into_owned();
        ReadError { code: message.err.into(), offset: message.offset, reason }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is valid and ours, and is not used after this.
        unsafe { sys::rd_kafka_message_destroy(self.0) }
    }
}

/// The bytes at `pointer`, where null means none.
///
/// # Safety
/// `pointer` is null or points to `length` bytes that stay as they are for the lifetime that the caller uses.
#[inline]
unsafe fn bytes<'a>(pointer: *mut c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: not null, and the caller vouches for the rest.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) })
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

/// A topic to produce to.
pub(crate) struct TopicHandle {
    topic: NonNull<sys::rd_kafka_topic_t>,
    name: String,
    client: SharedProducer,
}

// SAFETY: librdkafka's topics may be used from any thread, and its messages read and destroyed there.
unsafe impl Send for TopicHandle {}
unsafe impl Send for MessageBatch {}

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
