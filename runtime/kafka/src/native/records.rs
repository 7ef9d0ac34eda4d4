use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t::{RD_KAFKA_RESP_ERR__NOENT, RD_KAFKA_RESP_ERR_NO_ERROR};
use sluicegate_core::{Batch, Error, ErrorKind, NO_TIMESTAMP, Partition};

use super::queue::Queue;
use super::{SharedConsumer, error_of, text};
use crate::error::failed;
use crate::wake::Wake;

/// The records of one partition that were fetched but not read.
pub(crate) struct PartitionQueue {
    queue: Queue,
    topic: CString,
    number: i32,
    place: Place,
    /// Librdkafka's position when it was asked for it last.
    position: Option<u64>,
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
            sys::rd_kafka_queue_forward(queue.native(), ptr::null_mut());
            queue
        };
        let place = Place::new(&topic, number)?;
        let mut queue = PartitionQueue { queue, topic, number, place, position: None, client: Arc::clone(client) };
        // It may still be that of a time when the partition was this member's before.
        queue.advance();
        Some(queue)
    }

    /// Whether something came since the last call; reading on until the queue is empty is up to the caller.
    pub(crate) fn take_ready(&self) -> bool {
        self.queue.take_ready()
    }

    /// Makes the next [`PartitionQueue::take_ready`] true.
    pub(crate) fn set_ready(&self) {
        self.queue.set_ready();
    }

    /// Librdkafka's position, if that is another than when this was called last: the offset after all that
    /// [`MessageBatch::fill`] took out, and after what was passed over there in silence, which are transactions' markers and
    /// aborted records. To be called after a seek, too, so that a position from before it is not taken for a new one.
    /// No network.
    pub(crate) fn advance(&mut self) -> Option<u64> {
        // SAFETY: client and list are valid.
        let err = unsafe { sys::rd_kafka_position(self.client.client().native_ptr(), self.place.0.as_ptr()) };
        let position = (err == RD_KAFKA_RESP_ERR_NO_ERROR).then(|| self.place.offset());
        // Below zero: unknown, as nothing was taken out yet.
        let position = position.and_then(|position| u64::try_from(position).ok());
        let before = std::mem::replace(&mut self.position, position);
        position.filter(|_| position != before)
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

/// A list of one partition, for calls that fill in its offset.
struct Place(NonNull<sys::rd_kafka_topic_partition_list_t>);

// SAFETY: a list may be used from any thread, by one at a time.
unsafe impl Send for Place {}

impl Place {
    fn new(topic: &CStr, number: i32) -> Option<Self> {
        // SAFETY: takes a size only.
        let list = Place(NonNull::new(unsafe { sys::rd_kafka_topic_partition_list_new(1) })?);
        // SAFETY: list and name are valid, and the name is copied.
        unsafe { sys::rd_kafka_topic_partition_list_add(list.0.as_ptr(), topic.as_ptr(), number) };
        Some(list)
    }

    fn offset(&self) -> i64 {
        // SAFETY: the list is valid and has an element.
        unsafe { (*(*self.0.as_ptr()).elems).offset }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: valid and ours, and not used after this.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) }
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

// SAFETY: librdkafka's messages may be read and destroyed on any thread.
unsafe impl Send for MessageBatch {}

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
        let got =
            unsafe { sys::rd_kafka_consume_batch_queue(queue.queue.native(), 0, self.messages.as_mut_ptr(), room) };
        (self.next, self.filled) = (0, usize::try_from(got).unwrap_or(0));
        self.filled == room
    }

    /// Copies records into `batch` until it holds `bytes`, passing over those before offset `from`.
    ///
    /// # Errors
    /// The next record is none, but an error of the partition. Records before it are in `batch`: it comes alone.
    pub(crate) fn copy_into(&mut self, batch: &mut Batch, bytes: usize, from: u64) -> Result<(), ReadError> {
        while batch.bytes() < bytes && !self.is_empty() {
            let message = Message(self.messages[self.next]);
            let headers = message.headers();
            if headers.is_err() && !batch.is_empty() {
                // Still one of those that wait.
                std::mem::forget(message);
                return Ok(());
            }
            self.next += 1;
            message.copy_into(batch, from, headers?)?;
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
    /// Its headers, if it has any: still the message's own.
    #[inline]
    fn headers(&self) -> Result<Option<NonNull<sys::rd_kafka_headers_t>>, ReadError> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is valid until it is dropped.
        unsafe {
            if let Some(code) = error_of(self.0) {
                return Err(self.error(code));
            }
            match sys::rd_kafka_message_headers(self.0, &raw mut headers) {
                RD_KAFKA_RESP_ERR_NO_ERROR => Ok(NonNull::new(headers)),
                RD_KAFKA_RESP_ERR__NOENT => Ok(None),
                _ => Err(self.unreadable_headers()),
            }
        }
    }

    /// `headers` are those of this message.
    #[inline]
    fn copy_into(
        &self,
        batch: &mut Batch,
        from: u64,
        headers: Option<NonNull<sys::rd_kafka_headers_t>>,
    ) -> Result<(), ReadError> {
        // SAFETY: the message is valid until it is dropped, and none with an error, whose code might be none of the enum's.
        let message = unsafe { &*self.0 };
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
        headers.map_or(Ok(()), |headers| self.copy_headers(batch, headers))
    }

    fn copy_headers(&self, batch: &mut Batch, headers: NonNull<sys::rd_kafka_headers_t>) -> Result<(), ReadError> {
        let headers = headers.as_ptr();
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are valid; index is checked there; name is a C string and value has `size` bytes.
            let (name, value) = unsafe {
                match sys::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size) {
                    RD_KAFKA_RESP_ERR_NO_ERROR => (CStr::from_ptr(name), bytes(value.cast_mut(), size)),
                    RD_KAFKA_RESP_ERR__NOENT => break,
                    _ => return Err(self.unreadable_headers()),
                }
            };
            batch.push_header(name.to_bytes(), value);
        }
        Ok(())
    }

    #[cold]
    fn error(&self, code: RDKafkaErrorCode) -> ReadError {
        // SAFETY: the message is valid and an error, which has a text that lives as long.
        let (offset, reason) = unsafe { ((*self.0).offset, text(sys::rd_kafka_message_errstr(self.0))) };
        ReadError { code: Some(code), offset, reason }
    }

    #[cold]
    fn unreadable_headers(&self) -> ReadError {
        let reason = "its headers cannot be read; librdkafka takes 100,000 of them at most".to_owned();
        // SAFETY: the message is valid.
        ReadError { code: None, offset: unsafe { (*self.0).offset }, reason }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is valid and ours, and is not used after this.
        unsafe { sys::rd_kafka_message_destroy(self.0) }
    }
}

/// Why a partition gives no more records.
#[derive(Debug)]
pub(crate) struct ReadError {
    /// None: the record itself cannot be read, however often that is tried.
    pub(crate) code: Option<RDKafkaErrorCode>,
    /// Of the record at fault; below zero where there is none.
    offset: i64,
    reason: String,
}

impl ReadError {
    /// What was being done, as [`failed`] takes it.
    pub(crate) fn doing(&self, partition: &Partition) -> String {
        let place = if self.offset < 0 { String::new() } else { format!(" offset {}", self.offset) };
        format!("read {partition}{place} ({})", self.reason)
    }

    /// What follows from it.
    pub(crate) fn of(&self, partition: &Partition) -> Error {
        let doing = self.doing(partition);
        match self.code {
            Some(code) => failed(&doing, code),
            None => Error::new(ErrorKind::Stopped, format!("cannot {doing}; to go on, move the group past it")),
        }
    }

    /// Where the partition's log was cut off and went on with other records, if that is what happened: a new leader did
    /// not have all that the one before it had. Librdkafka tells it in words only; below zero nothing is left.
    pub(crate) fn cut_at(&self) -> Option<i64> {
        let (_, at) = self.reason.split_once("broker end offset is ")?;
        at.split(' ').next()?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_cut_off_is_told_from_one_that_retention_passed() {
        let cut_at = |reason: &str| ReadError { code: None, offset: -1, reason: reason.to_owned() }.cut_at();
        let cut = "Partition log truncation detected at offset 7 (leader epoch 1): broker end offset is 5 \
                   (offset leader epoch 0). Reset to INVALID.: Local: Partition log truncation detected (broker 1)";
        assert_eq!(cut_at(cut), Some(5));
        let all = "No epoch found less or equal to offset 7 (leader epoch 1): broker end offset is -1 \
                   (offset leader epoch -1). Reset using configured policy.: Local: Partition log truncation detected";
        assert_eq!(cut_at(all), Some(-1));
        assert_eq!(
            cut_at("fetch failed due to requested offset not available on the broker: Broker: Offset out of range"),
            None
        );
    }
}
