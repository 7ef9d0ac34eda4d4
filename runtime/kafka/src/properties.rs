//! Which of librdkafka's properties a user may set: any that does something, except those that would break the promise.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::error::KafkaError;
use sluicegate_core::{Delivery, Error, ErrorKind};

/// Which client a property is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `source.kafka.properties`
    Source(Delivery),
    /// `sink.kafka.properties`
    Sink(Delivery),
    /// A client of the command line, which promises nothing.
    Plain,
}

/// A property that cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub key: String,
    /// Why, without its value: that may be a secret.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "property '{}' cannot be set: {}", self.key, self.reason)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Error::new(ErrorKind::Config, refusal.to_string())
    }
}

/// Checks the properties that a user wrote: that each does something and breaks no promise, and that librdkafka knows it
/// and takes its value. Whether they fit together shows when the client is made. No IO.
///
/// # Errors
/// The first that cannot be set, by name.
pub fn check(role: Role, properties: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let group_protocol = properties.get("group.protocol").map_or("classic", String::as_str);
    for (key, value) in properties {
        let reason = match role {
            Role::Source(delivery) => common(key)
                .or_else(|| source(delivery, key, value))
                .or_else(|| if group_protocol.eq_ignore_ascii_case("consumer") { of_classic_group(key) } else { None }),
            Role::Sink(delivery) => common(key).or_else(|| sink(delivery, key, value)),
            Role::Plain => common(key),
        };
        let reason = reason.map(str::to_owned).or_else(|| librdkafka_refuses(key, value));
        if let Some(reason) = reason {
            return Err(Refusal { key: key.clone(), reason });
        }
    }
    Ok(())
}

/// Tries a property out.
fn librdkafka_refuses(key: &str, value: &str) -> Option<String> {
    match rdkafka::ClientConfig::new().set(key, value).create_native_config() {
        Err(KafkaError::ClientConfig(_, words, ..)) => Some(without_value(&words, value)),
        _ => None,
    }
}

/// What librdkafka says of a property, without the value that it was given.
pub(crate) fn without_value(words: &str, value: &str) -> String {
    let mut words = words.trim_end().to_owned();
    // In quotes it repeats the value, or that entry of a list which it does not take.
    let entries = value.split(',').map(|entry| entry.trim().trim_start_matches(['+', '-']));
    for quoted in [value.trim()].into_iter().chain(entries).filter(|text| !text.is_empty()) {
        words = words.replace(&format!("\"{quoted}\""), "…");
    }
    // Configuration property "k" value 5 is outside allowed range 1..3
    if let Some((before, rest)) = words.split_once("\" value ")
        && let Some((_, after)) = rest.rsplit_once(" is outside")
    {
        return format!("{before}\" is outside{after}");
    }
    // Invalid value for configuration property "k": v
    match words.split_once("\": ") {
        Some((before, _)) if words.starts_with("Invalid value for") => format!("{before}\""),
        _ => words,
    }
}

/// Whether a property is about how brokers are reached, and so for every kind of client.
pub(crate) fn is_of_connection(key: &str) -> bool {
    let prefixes = [
        "bootstrap.",
        "security.",
        "sasl.",
        "ssl.",
        "socket.",
        "broker.",
        "client.",
        "enable.ssl",
        "debug",
        "enable.sasl",
    ];
    prefixes.iter().any(|prefix| key.starts_with(prefix))
}

fn is(value: &str, meant: bool) -> bool {
    let (words, other) = (["true", "t", "1"], ["false", "f", "0"]);
    if meant { words.contains(&value) } else { other.contains(&value) }
}

fn common(key: &str) -> Option<&'static str> {
    match key {
        "bootstrap.servers" | "metadata.broker.list" => Some("write `brokers` instead"),
        "group.id" => Some("write `group` instead"),
        "transactional.id" => Some("it is made of pipeline, instance and worker, so that the dead are fenced"),
        "log.queue" | "log_level" | "log.thread.name" => Some("logs go to the program's own log"),
        "enabled_events" | "opaque" | "default_topic_conf" => Some("it is not a setting but a part of the library"),
        "statistics.interval.ms" => Some("nothing reads librdkafka's statistics; the admin endpoint has metrics"),
        _ if key.ends_with("_cb") || key == "interceptors" => Some("it takes a function, not a value"),
        _ if key.starts_with("test.mock.") => Some("it is for the library's own tests"),
        _ => None,
    }
}

fn source(delivery: Delivery, key: &str, value: &str) -> Option<&'static str> {
    let commits = "offsets are committed only after the outputs they stand for are durable";
    match key {
        "enable.auto.commit" | "auto.commit.enable" | "enable.auto.offset.store" if !is(value, false) => Some(commits),
        "auto.commit.interval.ms" => Some("the pipeline's own `commit.interval` says when offsets are committed"),
        "offset.store.method" | "offset.store.path" | "offset.store.sync.interval.ms" => Some(commits),
        "isolation.level" if delivery == Delivery::ExactlyOnce && value != "read_committed" => {
            Some("exactly-once must not read records of aborted transactions; use delivery: at-least-once to read them")
        }
        "auto.offset.reset" | "topic.auto.offset.reset" if value != "error" => {
            Some("write `on-missing-offset`, or `start` for where to begin without an offset")
        }
        "enable.partition.eof" if !is(value, false) => Some("ends of partitions are not records"),
        "check.crcs" if !is(value, true) => Some("records damaged on their way would be taken for good"),
        "consume.callback.max.messages" => Some("nothing reads it; `batch.records` bounds a batch"),
        _ => None,
    }
}

/// What the brokers decide by the newer of the group's protocols.
fn of_classic_group(key: &str) -> Option<&'static str> {
    match key {
        "session.timeout.ms" | "heartbeat.interval.ms" => {
            Some("with `group.protocol: consumer` the group's setting of that name on the brokers counts")
        }
        "partition.assignment.strategy" => Some("with `group.protocol: consumer` it is `group.remote.assignor`"),
        _ => None,
    }
}

fn sink(delivery: Delivery, key: &str, value: &str) -> Option<&'static str> {
    let number = value.parse::<u64>().ok();
    match key {
        "enable.idempotence" if !is(value, true) => Some("without it a retry repeats and reorders outputs"),
        "acks" | "request.required.acks" if !matches!(value, "all" | "-1") => {
            Some("an output counts as durable only when all in-sync replicas have it")
        }
        "max.in.flight" | "max.in.flight.requests.per.connection" if number.is_some_and(|number| number > 5) => {
            Some("an idempotent producer keeps its order with at most 5 requests in flight")
        }
        "retries" | "message.send.max.retries" => Some("outputs are retried until they are durable or time is up"),
        "delivery.report.only.error" | "dr_msg_cb" | "dr_cb" => Some("the sink relies on the reports it asks for"),
        "message.timeout.ms" | "delivery.timeout.ms" if delivery == Delivery::ExactlyOnce => {
            Some("in a transaction it follows transaction.timeout.ms")
        }
        "message.timeout.ms" | "delivery.timeout.ms" if number.is_some_and(|ms| ms > 0 && ms < 1000) => {
            Some("outputs need at least a second to become durable")
        }
        "queuing.strategy" | "produce.offset.report" | "msg_order_cmp" => {
            Some("outputs keep the order of their inputs")
        }
        "log.connection.close" if delivery == Delivery::ExactlyOnce && !is(value, true) => {
            Some("a connection that was lost during a commit is known by its log line alone")
        }
        "partitioner" => Some("`partition` says how outputs are spread; by-key is what Java clients do"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Delivery::{AtLeastOnce, ExactlyOnce};

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn refused(role: Role, key: &str, value: &str) -> bool {
        let result = check(role, &properties(&[(key, value)]));
        if let Err(refusal) = &result {
            assert!(refusal.key == key && refusal.to_string().contains(key), "{refusal}");
        }
        result.is_err()
    }

    #[test]
    fn what_would_break_the_promise_is_refused() {
        for role in [Role::Source(ExactlyOnce), Role::Source(AtLeastOnce)] {
            for (key, value) in [
                ("enable.auto.commit", "true"),
                ("enable.auto.offset.store", "1"),
                ("auto.commit.interval.ms", "5"),
                ("group.id", "g"),
                ("bootstrap.servers", "b"),
                ("auto.offset.reset", "latest"),
                ("auto.offset.reset", "earliest"),
                ("enable.partition.eof", "true"),
                ("rebalance_cb", "x"),
            ] {
                assert!(refused(role, key, value), "{key}");
            }
        }
        for role in [Role::Sink(ExactlyOnce), Role::Sink(AtLeastOnce)] {
            for (key, value) in [
                ("enable.idempotence", "false"),
                ("acks", "1"),
                ("max.in.flight", "6"),
                ("transactional.id", "x"),
                ("retries", "0"),
                ("delivery.report.only.error", "true"),
            ] {
                assert!(refused(role, key, value), "{key}");
            }
        }
        assert!(refused(Role::Source(ExactlyOnce), "isolation.level", "read_uncommitted"));
        assert!(refused(Role::Sink(ExactlyOnce), "message.timeout.ms", "90000"));
        assert!(refused(Role::Sink(ExactlyOnce), "log.connection.close", "false"));
    }

    #[test]
    fn everything_else_passes() {
        for (role, key, value) in [
            (Role::Source(AtLeastOnce), "isolation.level", "read_uncommitted"),
            (Role::Source(ExactlyOnce), "isolation.level", "read_committed"),
            (Role::Source(ExactlyOnce), "enable.auto.commit", "false"),
            (Role::Source(ExactlyOnce), "auto.offset.reset", "error"),
            (Role::Source(ExactlyOnce), "group.protocol", "consumer"),
            (Role::Source(ExactlyOnce), "security.protocol", "SASL_SSL"),
            (Role::Sink(ExactlyOnce), "acks", "all"),
            (Role::Sink(ExactlyOnce), "linger.ms", "50"),
            (Role::Sink(ExactlyOnce), "max.in.flight", "5"),
            (Role::Sink(AtLeastOnce), "message.timeout.ms", "90000"),
            (Role::Sink(AtLeastOnce), "log.connection.close", "false"),
            (Role::Plain, "sasl.password", "x"),
        ] {
            assert!(!refused(role, key, value), "{key}");
        }
    }

    #[test]
    fn what_librdkafka_does_not_take_is_refused_in_its_words_and_without_the_value() {
        for (key, value, words) in [
            ("no.such.property", "hunter2", "No such configuration property"),
            ("linger.ms", "hunter2", "Invalid value"),
            ("security.protocol", "hunter2", "Invalid value … for configuration property \"security.protocol\""),
            ("debug", "broker,hunter2", "Invalid value … for configuration property \"debug\""),
            ("topic.blacklist", "^(hunter2", "Failed to parse pattern …: Unmatched"),
            ("socket.keepalive.enable", "hunter2", "Expected bool value"),
            ("socket.timeout.ms", "777777", "is outside allowed range 10..300000"),
            ("socket.timeout.ms", "", "empty value"),
        ] {
            let refusal = check(Role::Plain, &properties(&[(key, value)])).unwrap_err();
            assert!(refusal.key == key && refusal.reason.contains(words), "{refusal}");
            assert!(!refusal.reason.contains("hunter2") && !refusal.reason.contains("777777"), "{refusal}");
        }
    }

    #[test]
    fn what_does_nothing_is_refused() {
        assert!(refused(Role::Source(AtLeastOnce), "statistics.interval.ms", "1000"));
        for key in ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"] {
            let value = if key.ends_with(".ms") { "6000" } else { "range" };
            assert!(!refused(Role::Source(ExactlyOnce), key, value), "{key}");
            let both = properties(&[(key, value), ("group.protocol", "consumer")]);
            assert_eq!(check(Role::Source(ExactlyOnce), &both).unwrap_err().key, key);
        }
    }
}
