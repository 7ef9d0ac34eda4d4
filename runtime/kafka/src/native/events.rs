use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;
use rdkafka_sys as sys;

use super::queue::Queue;
use super::{SharedConsumer, SharedProducer, code, error_of, text};
use crate::context::ProducerState;
use crate::wake::Wake;

/// Syslog's levels, which librdkafka gives by their numbers.
const LEVELS: [RDKafkaLogLevel; 8] = [
    RDKafkaLogLevel::Emerg,
    RDKafkaLogLevel::Alert,
    RDKafkaLogLevel::Critical,
    RDKafkaLogLevel::Error,
    RDKafkaLogLevel::Warning,
    RDKafkaLogLevel::Notice,
    RDKafkaLogLevel::Info,
    RDKafkaLogLevel::Debug,
];
/// More events than this are left for the next time.
const EVENTS_MAX: usize = 4096;

unsafe extern "C" {
    /// As rdkafka-sys declares it, but with the code as the number that it is.
    fn rd_kafka_event_error(event: *mut sys::rd_kafka_event_t) -> i32;
}

/// A consumer's queue of events, which its `poll` serves. At most one a client: the last one made is the one that wakes.
pub(crate) struct ConsumerEvents {
    queue: Queue,
    /// Dropped after the queue.
    _client: SharedConsumer,
}

impl ConsumerEvents {
    /// Raises `wake` when something comes.
    pub(crate) fn new(client: &SharedConsumer, wake: Arc<Wake>) -> Option<Self> {
        // SAFETY: the client is valid, and kept alive by `_client`.
        let queue = unsafe { Queue::new(sys::rd_kafka_queue_get_consumer(client.client().native_ptr()), wake)? };
        Some(ConsumerEvents { queue, _client: Arc::clone(client) })
    }

    /// Whether no event waits.
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: the queue is valid as long as `self`.
        unsafe { sys::rd_kafka_queue_length(self.queue.native()) == 0 }
    }
}

/// A producer's queue of events. At most one a client, as above.
///
/// Served here and not by rust-rdkafka's `poll`, which calls back for each output, allocates for each event, and changes two
/// atomic counts for each output.
pub(crate) struct ProducerEvents {
    queue: Queue,
    /// Dropped after the queue.
    client: SharedProducer,
}

impl ProducerEvents {
    pub(crate) fn new(client: &SharedProducer) -> Option<Self> {
        // SAFETY: the client is valid, and kept alive by `client`.
        let queue = unsafe { Queue::new(sys::rd_kafka_queue_get_main(client.client().native_ptr()), Arc::default())? };
        Some(ProducerEvents { queue, client: Arc::clone(client) })
    }

    /// Sleeps until something comes that [`ProducerEvents::serve`] has not seen, or for `time`.
    pub(crate) fn wait(&self, time: Duration) {
        self.queue.wake().wait(time);
    }

    /// Notes down in the client's [`ProducerState`] what has happened: reports, errors, logs. Does not wait for more. To be called
    /// on the thread that [waits](ProducerEvents::wait).
    pub(crate) fn serve(&self) {
        self.queue.wake().lower();
        for _ in 0..EVENTS_MAX {
            // SAFETY: the queue is valid as long as `self`; what comes out of it is ours.
            let event = unsafe { sys::rd_kafka_queue_poll(self.queue.native(), 0) };
            let Some(event) = NonNull::new(event) else { return };
            Event(event).note(self.client.context());
        }
    }
}

/// One event, destroyed with this.
struct Event(NonNull<sys::rd_kafka_event_t>);

impl Event {
    fn note(&self, state: &ProducerState) {
        // SAFETY: the event is valid.
        match unsafe { sys::rd_kafka_event_type(self.0.as_ptr()) } {
            sys::RD_KAFKA_EVENT_DR => self.note_reports(state),
            sys::RD_KAFKA_EVENT_ERROR => self.note_error(state),
            sys::RD_KAFKA_EVENT_LOG => self.note_log(state),
            // Statistics, should a property ask for them.
            _ => {}
        }
    }

    /// One for each output, of one partition and in order.
    fn note_reports(&self, state: &ProducerState) {
        let mut reports = state.reports();
        loop {
            // SAFETY: the event is valid, and so is its message until the event is destroyed.
            let message = unsafe { sys::rd_kafka_event_message_next(self.0.as_ptr()) };
            if message.is_null() {
                return;
            }
            // SAFETY: as above.
            match unsafe { error_of(message) } {
                // SAFETY: as above.
                None => reports.add_durable(unsafe { (*message)._private } as usize),
                Some(code) => reports.add_refused(code, || {
                    // SAFETY: as above; a message has a topic, whose name is a C string and lives as long. The broker's own words
                    // are not read: librdkafka has freed them by now (rd_kafka_Produce_result_destroy).
                    unsafe { (text(sys::rd_kafka_topic_name((*message).rkt)), (*message).partition) }
                }),
            }
        }
    }

    #[cold]
    fn note_error(&self, state: &ProducerState) {
        // SAFETY: the event is valid and an error, whose text lives as long.
        let (error, reason) = unsafe {
            let event = self.0.as_ptr();
            (code(rd_kafka_event_error(event)), text(sys::rd_kafka_event_error_string(event)))
        };
        state.error(KafkaError::Global(error), reason.trim());
    }

    #[cold]
    fn note_log(&self, state: &ProducerState) {
        let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the event is valid, and the three places outlive the call.
        let err = unsafe { sys::rd_kafka_event_log(self.0.as_ptr(), &raw mut facility, &raw mut line, &raw mut level) };
        if err == 0 {
            // SAFETY: both are C strings that live as long as the event.
            let (facility, line) = unsafe { (text(facility), text(line)) };
            let level =
                usize::try_from(level).ok().and_then(|level| LEVELS.get(level)).unwrap_or(&RDKafkaLogLevel::Debug);
            state.log(*level, facility.trim(), line.trim());
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: valid and ours, and not used after this.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}
