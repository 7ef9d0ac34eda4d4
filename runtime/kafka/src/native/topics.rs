use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka_sys as sys;

use crate::context::Consumer;

/// What a topic was given when it was made: another of the same name has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicId(i64, i64);

/// The ids of these topics, in their order, which must not hold one twice. None for each of which the broker does not tell it
/// within `wait`, for whatever reason.
pub(crate) fn topic_ids(client: &Consumer, broker: i32, names: &[&str], wait: Duration) -> Vec<Option<TopicId>> {
    let mut ids = vec![None; names.len()];
    let names_c: Vec<CString> = names.iter().filter_map(|name| CString::new(*name).ok()).collect();
    if let Some(described) = Described::ask(client, broker, &names_c, wait) {
        described.visit(|name, id| {
            if let Some(at) = names.iter().position(|known| known.as_bytes() == name.to_bytes()) {
                ids[at] = id;
            }
        });
    }
    ids
}

/// An answer, destroyed with this.
struct Described(NonNull<sys::rd_kafka_event_t>);

impl Described {
    fn ask(client: &Consumer, broker: i32, names: &[CString], wait: Duration) -> Option<Self> {
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: client and names are valid; all three objects are destroyed once the answer was waited for, and librdkafka
        // takes copies or references of its own of what it still needs then.
        unsafe {
            let native = client.client().native_ptr();
            let topics = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            let for_api = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
            let options = sys::rd_kafka_AdminOptions_new(native, for_api);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, wait_ms, ptr::null_mut(), 0);
            // Else it would be the controller, and perhaps a connection of its own.
            sys::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
            let queue = sys::rd_kafka_queue_new(native);
            sys::rd_kafka_DescribeTopics(native, topics, options, queue);
            let event = sys::rd_kafka_queue_poll(queue, wait_ms);
            sys::rd_kafka_queue_destroy(queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_TopicCollection_destroy(topics);
            NonNull::new(event).map(Described)
        }
    }

    fn visit(&self, mut each: impl FnMut(&CStr, Option<TopicId>)) {
        let mut count = 0;
        // SAFETY: the event is valid, and null comes for one of another kind. What it holds lives as long: the array has
        // `count` topics, each with a name and an id.
        unsafe {
            let Some(result) = sys::rd_kafka_event_DescribeTopics_result(self.0.as_ptr()).as_ref() else { return };
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            for index in 0..count {
                let topic = *topics.add(index);
                if topic.is_null() {
                    continue;
                }
                let id = sys::rd_kafka_TopicDescription_topic_id(topic);
                let most = sys::rd_kafka_Uuid_most_significant_bits(id);
                let least = sys::rd_kafka_Uuid_least_significant_bits(id);
                // All zero: the topic is not there, or the broker knows no ids.
                let id = (most != 0 || least != 0).then_some(TopicId(most, least));
                each(CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic)), id);
            }
        }
    }
}

impl Drop for Described {
    fn drop(&mut self) {
        // SAFETY: valid and ours, and not used after this.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}
