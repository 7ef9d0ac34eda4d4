//! Which of librdkafka's properties a user may set: any, except those that would break the promise.

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

/// Checks one property that a user wrote. Whether librdkafka knows it and likes the value shows later, when the
/// client is made. Pure.
///
/// # Errors
/// [`ErrorKind::Config`], with the key and the reason.
pub fn check(role: Role, key: &str, value: &str) -> Result<(), Error> {
    let reason = match role {
        Role::Source(delivery) => common(key).or_else(|| source(delivery, key, value)),
        Role::Sink(delivery) => common(key).or_else(|| sink(delivery, key, value)),
        Role::Plain => common(key),
    };
    match reason {
        Some(reason) => Err(Error::new(ErrorKind::Config, format!("property '{key}' cannot be set: {reason}"))),
        None => Ok(()),
    }
}

/// Whether the value of this property must not show in logs and errors.
pub(crate) fn is_secret(key: &str) -> bool {
    ["password", "secret", "key.pem", "token", "sasl.oauthbearer.config", "jaas"].iter().any(|part| key.contains(part))
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

    fn refused(role: Role, key: &str, value: &str) -> bool {
        let result = check(role, key, value);
        if let Err(error) = &result {
            assert!(error.kind == ErrorKind::Config && error.message.contains(key), "{error}");
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
    fn secrets_are_known_by_name() {
        assert!(is_secret("sasl.password") && is_secret("ssl.key.pem") && is_secret("ssl.key.password"));
        assert!(!is_secret("linger.ms") && !is_secret("ssl.ca.location"));
    }
}
