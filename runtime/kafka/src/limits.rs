use rdkafka::admin::ConfigResource;
use sluicegate_core::SinkLimits;

/// The largest batch a topic takes by default (1 MiB and 12 bytes).
pub(crate) const MESSAGE_BYTES_DEFAULT: usize = 1_048_588;
/// Of that, what lengths, a dead letter's story and the batch itself may need.
const RECORD_OVERHEAD: usize = 4096;
/// The clocks of brokers are not this machine's, and an output is on its way for some time. Of a narrow limit it is half.
const CLOCKS_APART_MS: u64 = 60_000;

/// What a topic takes, or each of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicLimits {
    /// The bytes of a batch.
    pub(crate) message_bytes: usize,
    /// How long before and after the broker's time a record's timestamp may lie.
    pub(crate) before_ms: u64,
    pub(crate) after_ms: u64,
}

impl Default for TopicLimits {
    /// Where brokers do not tell.
    fn default() -> Self {
        TopicLimits { message_bytes: MESSAGE_BYTES_DEFAULT, before_ms: u64::MAX, after_ms: u64::MAX }
    }
}

impl TopicLimits {
    /// As a topic's settings say; none: they do not.
    pub(crate) fn of(topic: &ConfigResource) -> Option<Self> {
        Self::read(|name| topic.get(name)?.value.as_deref())
    }

    fn read<'a>(setting: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let message_bytes = setting("max.message.bytes")?.parse().ok()?;
        if setting("message.timestamp.type") == Some("LogAppendTime") {
            // The broker sets its own.
            return Some(TopicLimits { message_bytes, ..TopicLimits::default() });
        }
        // i64::MAX, the default, is none. Brokers before Kafka 3.6 have one setting for both.
        let limit = |name| setting(name)?.parse::<i64>().ok().filter(|ms| *ms != i64::MAX);
        let either = limit("message.timestamp.difference.max.ms");
        let limit = |name| limit(name).or(either).map_or(u64::MAX, i64::unsigned_abs);
        let (before_ms, after_ms) = (limit("message.timestamp.before.max.ms"), limit("message.timestamp.after.max.ms"));
        Some(TopicLimits { message_bytes, before_ms, after_ms })
    }

    /// What both take.
    pub(crate) fn and(self, other: Self) -> Self {
        TopicLimits {
            message_bytes: self.message_bytes.min(other.message_bytes),
            before_ms: self.before_ms.min(other.before_ms),
            after_ms: self.after_ms.min(other.after_ms),
        }
    }

    /// What a sink takes whose outputs go there.
    pub(crate) fn of_sink(self) -> SinkLimits {
        let bytes = self.message_bytes;
        let apart = |ms: u64| ms - CLOCKS_APART_MS.min(ms / 2);
        SinkLimits {
            bytes: bytes.saturating_sub(RECORD_OVERHEAD).max(bytes / 2),
            before_ms: apart(self.before_ms),
            after_ms: apart(self.after_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn of(settings: &[(&str, &'static str)]) -> Option<TopicLimits> {
        TopicLimits::read(|name| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
    }

    #[test]
    fn settings_are_read_as_brokers_do() {
        let (bytes, max) = (("max.message.bytes", "1000"), "9223372036854775807");
        let (before, after) = ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms");
        let (either, by) = ("message.timestamp.difference.max.ms", "message.timestamp.type");
        let limits = |before_ms, after_ms| Some(TopicLimits { message_bytes: 1000, before_ms, after_ms });
        assert_eq!(of(&[bytes, (before, max), (after, "3600000")]), limits(u64::MAX, HOUR_MS));
        assert_eq!(of(&[bytes, (before, max), (after, "3600000"), (by, "LogAppendTime")]), limits(u64::MAX, u64::MAX));
        assert_eq!(of(&[bytes, (either, "3600000"), (by, "CreateTime")]), limits(HOUR_MS, HOUR_MS));
        assert_eq!(of(&[bytes, (either, "3600000"), (before, "5"), (after, max)]), limits(5, HOUR_MS));
        assert_eq!(of(&[bytes]), limits(u64::MAX, u64::MAX));
        assert_eq!(of(&[(after, "5")]), None);
    }

    #[test]
    fn a_sink_takes_what_all_topics_do_and_a_little_less() {
        let hours = |before, after| TopicLimits {
            message_bytes: MESSAGE_BYTES_DEFAULT,
            before_ms: before * HOUR_MS,
            after_ms: after * HOUR_MS,
        };
        let SinkLimits { bytes, before_ms, after_ms } = hours(2, 3).and(hours(3, 1)).of_sink();
        assert_eq!((before_ms, after_ms), (2 * HOUR_MS - 60_000, HOUR_MS - 60_000));
        assert!(bytes < MESSAGE_BYTES_DEFAULT);
        let narrow = TopicLimits { message_bytes: 500, before_ms: 10, after_ms: 0 };
        assert_eq!(narrow.of_sink(), SinkLimits { bytes: 250, before_ms: 5, after_ms: 0 });
    }
}
