//! What librdkafka calls back. All of it only notes down what happened; the worker acts on it afterwards.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use sluicegate_core::{Acks, Ticket};

use crate::error::{Consequence, consequence};

/// The client that a source reads with.
pub(crate) type Consumer = BaseConsumer<ConsumerState>;
/// The client that a sink writes with.
pub(crate) type Producer = BaseProducer<ProducerState>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Errors that librdkafka reported, for whoever has to say why something did not work.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    last: Mutex<Option<Fault>>,
    disconnects: AtomicU64,
}

#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) reason: String,
    at: Instant,
}

/// The same trouble is logged once in this time.
const REPEAT: Duration = Duration::from_secs(30);

impl Faults {
    fn note(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let mut last = locked(&self.last);
        let repeated = last.as_ref().is_some_and(|last| {
            // It comes many times a second, after the reason for it was said.
            (last.code == code || code == RDKafkaErrorCode::AllBrokersDown) && last.at.elapsed() < REPEAT
        });
        if repeated {
            tracing::debug!(target: "librdkafka", "{code}: {reason}");
        } else {
            tracing::warn!(target: "librdkafka", "{code}: {reason}");
        }
        // "All brokers are down" says less than the reason before it.
        let kept = last.as_ref().is_some_and(|last| {
            code == RDKafkaErrorCode::AllBrokersDown || is_authentication(last.code) && !is_authentication(code)
        });
        if !kept {
            let at = if repeated { last.as_ref().map_or_else(Instant::now, |last| last.at) } else { Instant::now() };
            *last = Some(Fault { code, reason: reason.to_owned(), at });
        }
    }

    /// The last error that says something.
    pub(crate) fn last(&self) -> Option<Fault> {
        locked(&self.last).clone()
    }

    /// Looks for requests of which nobody knows what became of them in what librdkafka logs: neither a connection that the
    /// other side closed nor a request that was not answered in time is an error to it.
    fn note_log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // What `debug` asks for tells the same twice, and much that is no trouble.
        if matches!(level, RDKafkaLogLevel::Debug) {
            return;
        }
        // A connection that never came about carried no request. One that logs in again (KIP-368) may wait for answers
        // until that of its handshake comes, and looks like one that logs in for the first time.
        let carries = ["in state UP", "in state REAUTH", "in state AUTH_HANDSHAKE"];
        let is_lost = carries.iter().any(|state| line.contains(state)) && !line.contains("handshake failed");
        if facility == "FAIL" && is_lost || facility == "REQTMOUT" {
            self.disconnects.fetch_add(1, Relaxed);
        }
    }

    /// How many connections were lost, and how often requests were not answered within `socket.timeout.ms`. Librdkafka tells of a
    /// lost connection once in half a minute for each broker: whoever needs to know of each must have a new client after the
    /// first.
    pub(crate) fn disconnects(&self) -> u64 {
        self.disconnects.load(Relaxed)
    }
}

/// Whether the brokers answer but do not let the client in.
pub(crate) fn is_authentication(code: RDKafkaErrorCode) -> bool {
    consequence(code) == Consequence::TryAgainToLogIn
}

fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", "{facility}: {line}");
        }
        // Lost connections are librdkafka's errors; a worker gets over them.
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            if facility == "FAIL" || facility == "ERROR" {
                tracing::debug!(target: "librdkafka", "{facility}: {line}");
            } else {
                tracing::warn!(target: "librdkafka", "{facility}: {line}");
            }
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", "{facility}: {line}"),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", "{facility}: {line}"),
    }
}

/// What the group asks of this member.
#[derive(Debug)]
pub(crate) enum Rebalance {
    /// Take these partitions too (cooperative), or these alone (eager).
    Assign(TopicPartitionList),
    /// Give these up (cooperative), or all (eager).
    Revoke(TopicPartitionList),
}

/// What the consumer called back.
#[derive(Debug, Default)]
pub(crate) struct ConsumerState {
    pub(crate) faults: Faults,
    rebalances: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
}

impl ConsumerState {
    /// The oldest rebalance that nobody answered. The group waits for the answer: a call of [`assign`] or [`unassign`].
    pub(crate) fn next_rebalance(&self) -> Option<Rebalance> {
        locked(&self.rebalances).pop_front()
    }

    /// From now on partitions are given up as soon as the group asks.
    pub(crate) fn close(&self) {
        self.closing.store(true, Relaxed);
    }
}

/// Answers an assignment, by the group's protocol.
pub(crate) fn assign(consumer: &Consumer, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        _ => consumer.assign(partitions),
    }
}

/// Answers a revocation, by the group's protocol.
pub(crate) fn unassign(consumer: &Consumer, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        _ => consumer.unassign(),
    }
}

/// Answers whatever the group asks, while closing.
pub(crate) fn give_up(consumer: &BaseConsumer<ConsumerState>, asked: &Rebalance) {
    let answered = match asked {
        Rebalance::Assign(_) => assign(consumer, &TopicPartitionList::new()),
        Rebalance::Revoke(partitions) => unassign(consumer, partitions),
    };
    if let Err(error) = answered {
        tracing::debug!("a rebalance while closing: {error}");
    }
}

impl ClientContext for ConsumerState {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.faults.note(&error, reason);
    }
}

impl ConsumerContext for ConsumerState {
    /// Only notes the event down. librdkafka's event interface lets the (un)assign call come later: until then the
    /// group waits and the member's partitions are paused. Nothing else assigns, as this replaces the default.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let partitions = partitions.clone();
        let asked = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assign(partitions),
            _ => Rebalance::Revoke(partitions),
        };
        if self.closing.load(Relaxed) {
            give_up(consumer, &asked);
        } else {
            locked(&self.rebalances).push_back(asked);
        }
    }
}

/// What the producer called back.
#[derive(Debug, Default)]
pub(crate) struct ProducerState {
    pub(crate) faults: Faults,
    reports: Mutex<Reports>,
}

#[derive(Debug, Default)]
pub(crate) struct Reports {
    durable: Acks,
    refused: Option<Refused>,
}

/// An output that did not become durable.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

impl Reports {
    #[inline]
    pub(crate) fn add_durable(&mut self, ticket: usize) {
        self.durable.add(Ticket(ticket as u64));
    }

    /// `place` tells the topic and the partition.
    #[cold]
    pub(crate) fn add_refused(&mut self, code: RDKafkaErrorCode, place: impl FnOnce() -> (String, i32)) {
        use RDKafkaErrorCode::{InvalidDifferentRecord, PurgeInflight, PurgeQueue};
        // Purged: by an abort, which knows.
        let purged = matches!(code, PurgeQueue | PurgeInflight);
        // The first counts, unless it only shared a batch with the culprit.
        let counts = self.refused.as_ref().is_none_or(|first| first.code == InvalidDifferentRecord);
        if counts && !purged {
            let (topic, partition) = place();
            self.refused = Some(Refused { code, topic, partition });
        }
    }
}

impl ProducerState {
    /// Moves the reports since the last call into `durable`, which must be empty. Returns the first refusal.
    pub(crate) fn take_reports(&self, durable: &mut Acks) -> Option<Refused> {
        let mut reports = locked(&self.reports);
        std::mem::swap(durable, &mut reports.durable);
        reports.refused.clone()
    }

    /// For all reports of an event.
    pub(crate) fn reports(&self) -> MutexGuard<'_, Reports> {
        locked(&self.reports)
    }

    /// Forgets a refusal: its transaction was aborted.
    pub(crate) fn forgive(&self) {
        locked(&self.reports).refused = None;
    }
}

impl ClientContext for ProducerState {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.faults.note_log(level, facility, line);
        log(level, facility, line);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.faults.note(&error, reason);
    }
}

impl ProducerContext for ProducerState {
    type DeliveryOpaque = usize;

    /// Reports are noted by [`ProducerEvents`](crate::native::ProducerEvents). Those that come here are of a client that is dropped.
    fn delivery(&self, _: &DeliveryResult<'_>, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_may_still_take_effect_are_counted() {
        use RDKafkaLogLevel::{Debug, Error, Info, Notice, Warning};
        let faults = Faults::default();
        let up = "127.0.0.1:9092/1: Disconnected (after 5ms in state UP)";
        for (level, facility, line, counted) in [
            (Info, "FAIL", up, 1),
            (Error, "FAIL", "127.0.0.1:9092/1: Connect failed (after 0ms in state CONNECT)", 1),
            (Debug, "FAIL", up, 1),
            (Error, "FAIL", "SASL PLAIN mechanism handshake failed: any (after 1ms in state AUTH_HANDSHAKE)", 1),
            (Notice, "REQTMOUT", "Timed out EndTxnRequest in flight (after 1000ms, timeout #0)", 2),
            (Warning, "REQTMOUT", "Timed out 1 in-flight, 0 retry-queued, 0 out-queue, 0 partially-sent requests", 3),
            (Debug, "REQTMOUT", "anything", 3),
            (Warning, "GETPID", "anything", 3),
            (Info, "FAIL", "127.0.0.1:9092/1: Disconnected (after 5ms in state AUTH_HANDSHAKE)", 4),
        ] {
            faults.note_log(level, facility, line);
            assert_eq!(faults.disconnects(), counted, "{level:?} {facility}: {line}");
        }
    }

    #[test]
    fn of_a_batch_that_is_refused_the_culprit_is_told() {
        use RDKafkaErrorCode::{InvalidDifferentRecord, InvalidRecord, MessageTimedOut, PurgeQueue};
        let told = |codes: &[RDKafkaErrorCode]| {
            let mut reports = Reports::default();
            for (partition, code) in (0..).zip(codes) {
                reports.add_refused(*code, || ("out".to_owned(), partition));
            }
            reports.refused.map(|refused| refused.partition)
        };
        assert_eq!(told(&[InvalidDifferentRecord, InvalidDifferentRecord, InvalidRecord, MessageTimedOut]), Some(2));
        assert_eq!(told(&[InvalidRecord, InvalidDifferentRecord]), Some(0));
        assert_eq!(told(&[PurgeQueue, InvalidDifferentRecord]), Some(1));
        assert_eq!(told(&[PurgeQueue]), None);
    }
}
