use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::util::Timeout;
use sluicegate_core::{Error, ErrorKind, Positions, Transaction};

use crate::context::{Consumer, Producer};
use crate::deadline::within;
use crate::error::failed_call;
use crate::native::{self, EventQueue};
use crate::record::{SharedConsumer, SharedProducer};
use crate::sink::{failed_producer, serve};

/// How long an abort may take; what is left of the transaction then is its successor's to fence.
const ABORT_WAIT: Duration = Duration::from_secs(10);
/// How long a group may be between two generations.
const REBALANCE_WAIT: Duration = Duration::from_secs(3);
/// Between two tries of a call that librdkafka says may be repeated.
const PAUSE: Duration = Duration::from_millis(50);

/// Commits a group's offsets, with its outputs where that is the promise, as a [`Transaction`]. To be used on one
/// thread.
pub struct KafkaTransaction {
    /// None: outputs alone.
    consumer: Option<SharedConsumer>,
    exactly_once: Option<ExactlyOnce>,
}

struct ExactlyOnce {
    /// The sink's topics, for an error of which the coordinator does not say to which it belongs.
    topics: String,
    events: Arc<EventQueue>,
    producer: SharedProducer,
    /// How long a transaction may be open.
    timeout: Duration,
    /// When the open transaction began.
    open: Option<Instant>,
    /// Connections lost before it began.
    disconnects: u64,
}

impl KafkaTransaction {
    /// Commits offsets alone.
    pub(crate) fn at_least_once(consumer: SharedConsumer) -> Self {
        KafkaTransaction { consumer: Some(consumer), exactly_once: None }
    }

    /// Commits outputs, with a group's offsets where there is a consumer. Fences whoever had the same transactional id.
    ///
    /// # Errors
    /// The coordinator does not let this producer in.
    pub(crate) fn exactly_once(
        consumer: Option<SharedConsumer>,
        producer: SharedProducer,
        events: Arc<EventQueue>,
        topics: String,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let exactly_once = ExactlyOnce { topics, events, producer, timeout, open: None, disconnects: 0 };
        exactly_once.call("begin with transactions", timeout, |producer, left| producer.init_transactions(left))?;
        Ok(KafkaTransaction { consumer, exactly_once: Some(exactly_once) })
    }
}

impl Transaction for KafkaTransaction {
    fn begin(&mut self) -> Result<(), Error> {
        self.exactly_once.as_mut().map_or(Ok(()), ExactlyOnce::begin)
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
        let offsets = offsets(positions)?;
        match (&mut self.exactly_once, &self.consumer) {
            (None, None) => Ok(()),
            (None, Some(consumer)) => commit_offsets(consumer, &offsets),
            (Some(exactly_once), None) => exactly_once.commit(None),
            (Some(exactly_once), Some(consumer)) => {
                let no_member = || Error::new(ErrorKind::Retry, "the consumer is no member of its group");
                exactly_once.commit(Some((offsets, consumer.group_metadata().ok_or_else(no_member)?)))
            }
        }
    }

    fn abort(&mut self) -> Result<(), Error> {
        self.exactly_once.as_mut().map_or(Ok(()), ExactlyOnce::abort)
    }
}

/// Commits offsets alone. While members of a cooperative group still read, the group may be between two generations
/// and take no offsets for a moment; what this member owns stays its own meanwhile, unless it is lost.
fn commit_offsets(consumer: &Consumer, offsets: &TopicPartitionList) -> Result<(), Error> {
    let end = Instant::now() + REBALANCE_WAIT;
    loop {
        match consumer.commit(offsets, CommitMode::Sync) {
            Err(KafkaError::ConsumerCommit(
                RDKafkaErrorCode::RebalanceInProgress | RDKafkaErrorCode::IllegalGeneration,
            )) if Instant::now() < end && !consumer.assignment_lost() => {
                thread::sleep(PAUSE);
            }
            result => return result.map_err(|error| failed_call("commit offsets", &error)),
        }
    }
}

impl ExactlyOnce {
    fn begin(&mut self) -> Result<(), Error> {
        if self.open.is_none() {
            self.disconnects = self.producer.context().faults.disconnects();
            self.producer.begin_transaction().map_err(|error| self.failed("begin a transaction", &error))?;
            self.open = Some(Instant::now());
        }
        Ok(())
    }

    fn commit(&mut self, group: Option<(TopicPartitionList, ConsumerGroupMetadata)>) -> Result<(), Error> {
        // A batch of which nothing is left has its offsets committed all the same.
        self.begin()?;
        self.flush()?;
        if let Some((offsets, group)) = group.filter(|(offsets, _)| offsets.count() > 0) {
            self.call("commit offsets in the transaction", self.timeout, move |producer, left| {
                producer.send_offsets_to_transaction(&offsets, &group, left)
            })?;
        }
        self.call("commit the transaction", self.timeout, |producer, _| producer.commit_transaction(Timeout::Never))?;
        self.open = None;
        if self.producer.context().faults.disconnects() != self.disconnects {
            // Until librdkafka has KIP-890 (#5423), a request that was sent twice may end the *next* transaction too.
            return Err(Error::new(
                ErrorKind::Retry,
                "a connection was lost during a transaction, which was committed; going on with a new producer",
            ));
        }
        Ok(())
    }

    /// Waits until no output is in flight.
    fn flush(&self) -> Result<(), Error> {
        let end = Instant::now() + self.timeout;
        loop {
            serve(&self.producer, &self.events);
            if let Some(refused) = self.producer.context().take_reports(&mut Vec::new()) {
                let doing = format!("produce to {}[{}]", refused.topic, refused.partition);
                return Err(self.own_timeout(failed_producer(&self.producer, &doing, refused.code)));
            }
            if native::flush(&self.producer, 5) {
                return Ok(());
            }
            if Instant::now() >= end {
                let message = format!("outputs were not durable within {:?}", self.timeout);
                return Err(Error::new(ErrorKind::Retry, message));
            }
        }
    }

    fn abort(&mut self) -> Result<(), Error> {
        if self.open.take().is_none() {
            return Ok(());
        }
        // librdkafka throws away what waits, and waits for what was sent: its events are served meanwhile.
        let result =
            self.call("abort the transaction", ABORT_WAIT, |producer, _| producer.abort_transaction(Timeout::Never));
        self.producer.context().forgive();
        result
    }

    /// Makes a transactional call on a side thread, as some of them do not keep to their time-out, and serves the
    /// producer's events meanwhile, as some of them wait for that. Repeats what may be repeated while time is left.
    fn call(
        &self,
        doing: &'static str,
        limit: Duration,
        call: impl Fn(&Producer, Duration) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<(), Error> {
        let producer = Arc::clone(&self.producer);
        let end = Instant::now() + limit;
        let work = move || loop {
            let result = call(&producer, end.saturating_duration_since(Instant::now()));
            match &result {
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() + PAUSE < end => {
                    thread::sleep(PAUSE);
                }
                _ => return result,
            }
        };
        match within(limit, work, || serve(&self.producer, &self.events)) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(self.failed(doing, &error)),
            None => {
                serve(&self.producer, &self.events);
                let last = self.producer.context().faults.last();
                let last = last.map_or(String::new(), |fault| format!(" ({})", fault.reason));
                Err(Error::new(ErrorKind::Retry, format!("cannot {doing} within {limit:?}{last}")))
            }
        }
    }

    fn failed(&self, doing: &str, error: &KafkaError) -> Error {
        let error = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                failed_call(doing, error).within(&format!("sink topics {}", self.topics))
            }
            Some(RDKafkaErrorCode::Fatal) => failed_producer(&self.producer, doing, RDKafkaErrorCode::Fatal),
            _ => failed_call(doing, error),
        };
        self.own_timeout(error)
    }

    /// A coordinator fences whoever leaves a transaction open for too long: nobody else took over then.
    fn own_timeout(&self, error: Error) -> Error {
        let open = self.open.map_or(Duration::ZERO, |since| since.elapsed());
        if error.kind == ErrorKind::Promise && open >= self.timeout {
            return Error::new(
                ErrorKind::Retry,
                format!(
                    "the transaction was open for {open:?}, longer than transaction.timeout.ms: its coordinator aborted it"
                ),
            );
        }
        error
    }
}

fn offsets(positions: &Positions) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (partition, position) in positions {
        list.add_partition_offset(
            &partition.topic,
            partition.number.cast_signed(),
            Offset::Offset(position.cast_signed()),
        )
        .map_err(|error| failed_call(&format!("commit offset {position} of {partition}"), &error))?;
    }
    Ok(list)
}
