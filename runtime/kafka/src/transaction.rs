use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::util::Timeout;
use sluicegate_core::{Acks, Error, ErrorKind, Positions, Transaction};

use crate::context::{Consumer, Producer};
use crate::deadline::{Patience, PatientConsumer, until};
use crate::error::{self, failed_call};
use crate::native::{self, ProducerEvents, SharedConsumer, SharedProducer};
use crate::queue::failed_producer;

/// How long an abort may take; what is left of the transaction then is its successor's to fence.
const ABORT_WAIT: Duration = Duration::from_secs(10);
/// How long a group may be between two generations.
const REBALANCE_WAIT: Duration = Duration::from_secs(3);
/// How long a commit of offsets alone may take.
const COMMIT_WAIT: Duration = Duration::from_secs(60);
/// How long librdkafka flushes at a time.
const FLUSH_MS: i32 = 1;
/// Between two flushes a commit pauses, until something arrives, for this fraction of the time that it has taken so far, but
/// never for longer than [`FLUSH_PAUSE_MAX`].
const FLUSH_PAUSE: u32 = 8;
const FLUSH_PAUSE_MAX: Duration = Duration::from_millis(20);
/// Between two tries of a call that librdkafka says may be repeated.
const PAUSE: Duration = Duration::from_millis(50);

/// Commits a group's offsets, with its outputs where that is the promise, as a [`Transaction`]. To be used on one
/// thread.
pub struct KafkaTransaction(Commits);

enum Commits {
    /// A group's offsets, of which outputs that are durable are no part.
    Offsets(PatientConsumer),
    /// Outputs, whatever positions they are given with.
    Outputs(ExactlyOnce),
    /// Both as one.
    Both(SharedConsumer, ExactlyOnce),
}

struct ExactlyOnce {
    /// The sink's topics, for an error of which the coordinator does not say to which it belongs.
    topics: String,
    events: Arc<ProducerEvents>,
    producer: SharedProducer,
    patience: Patience,
    /// How long a transaction may be open.
    timeout: Duration,
    /// When the open transaction began.
    open: Option<Instant>,
}

impl KafkaTransaction {
    /// Commits offsets alone.
    pub(crate) fn at_least_once(consumer: PatientConsumer) -> Self {
        KafkaTransaction(Commits::Offsets(consumer))
    }

    /// Commits outputs, with a group's offsets where there is a consumer. Fences whoever had the same transactional id.
    ///
    /// # Errors
    /// The coordinator does not let this producer in.
    pub(crate) fn exactly_once(
        consumer: Option<SharedConsumer>,
        producer: SharedProducer,
        events: Arc<ProducerEvents>,
        topics: String,
        timeout: Duration,
        patience: Patience,
    ) -> Result<Self, Error> {
        let exactly_once = ExactlyOnce { topics, events, producer, patience, timeout, open: None };
        let begin = |producer: &Producer, left: Duration| producer.init_transactions(left);
        exactly_once.call("begin with transactions", timeout, begin, &mut idle)?;
        Ok(KafkaTransaction(match consumer {
            Some(consumer) => Commits::Both(consumer, exactly_once),
            None => Commits::Outputs(exactly_once),
        }))
    }
}

impl Transaction for KafkaTransaction {
    fn begin(&mut self) -> Result<(), Error> {
        match &mut self.0 {
            Commits::Offsets(..) => Ok(()),
            Commits::Outputs(exactly_once) | Commits::Both(_, exactly_once) => exactly_once.begin(),
        }
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
        self.commit_while(positions, &mut || false)
    }

    fn commit_while(&mut self, positions: &Positions, meanwhile: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        match &mut self.0 {
            Commits::Offsets(consumer) => commit_offsets(consumer, offsets(positions)?),
            Commits::Outputs(exactly_once) => exactly_once.commit(None, meanwhile),
            Commits::Both(consumer, exactly_once) => {
                let no_member = || Error::new(ErrorKind::Retry, "the consumer is no member of its group");
                let group = consumer.group_metadata().ok_or_else(no_member)?;
                // As that of no member, it would not be compared with the group's, whoever has the partitions now.
                if consumer.assignment_lost() {
                    return Err(Error::new(ErrorKind::Rewind, "the group went on without this member"));
                }
                exactly_once.commit(Some((offsets(positions)?, group)), meanwhile)
            }
        }
    }

    fn abort(&mut self) -> Result<(), Error> {
        match &mut self.0 {
            Commits::Offsets(..) => Ok(()),
            Commits::Outputs(exactly_once) | Commits::Both(_, exactly_once) => exactly_once.abort(),
        }
    }
}

/// Commits offsets alone. A cooperative group whose members still read may be between two generations, and take no offsets
/// for a moment; this member keeps what it owns meanwhile, unless that is lost.
fn commit_offsets(consumer: &PatientConsumer, offsets: TopicPartitionList) -> Result<(), Error> {
    let (start, offsets) = (Instant::now(), Arc::new(offsets));
    let committed = Arc::clone(&offsets);
    let commit = move |consumer: &Consumer| loop {
        match consumer.commit(&committed, CommitMode::Sync) {
            Err(KafkaError::ConsumerCommit(code))
                if error::kind(code) == ErrorKind::Rewind
                    && start.elapsed() < REBALANCE_WAIT
                    && !consumer.assignment_lost() =>
            {
                thread::sleep(PAUSE);
            }
            result => return result,
        }
    };
    consumer.call("commit offsets", COMMIT_WAIT, commit).map_err(|error| error.within(&names(&offsets)))
}

impl ExactlyOnce {
    fn begin(&mut self) -> Result<(), Error> {
        if self.open.is_none() {
            self.check("between two transactions")?;
            self.producer.begin_transaction().map_err(|error| self.failed("begin a transaction", &error))?;
            self.open = Some(Instant::now());
        }
        Ok(())
    }

    fn commit(
        &mut self,
        group: Option<(TopicPartitionList, ConsumerGroupMetadata)>,
        meanwhile: &mut dyn FnMut() -> bool,
    ) -> Result<(), Error> {
        // A batch of which nothing is left has its offsets committed all the same.
        self.begin()?;
        self.flush(meanwhile)?;
        if let Some((offsets, group)) = group.filter(|(offsets, _)| offsets.count() > 0) {
            let send = move |producer: &Producer, left| producer.send_offsets_to_transaction(&offsets, &group, left);
            self.call("commit offsets in the transaction", self.timeout, send, meanwhile)?;
        }
        let commit = |producer: &Producer, _| producer.commit_transaction(Timeout::Never);
        self.call("commit the transaction", self.timeout, commit, meanwhile)?;
        self.open = None;
        self.check("during a transaction, which was committed")
    }

    /// Waits until no output is in flight.
    ///
    /// While it flushes, librdkafka checks without pause whether a batch has arrived that another waits for. So each flush is
    /// short, and the next follows when something has arrived, or after a pause that grows.
    fn flush(&self, meanwhile: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let flushed = native::flush(&self.producer, FLUSH_MS);
            self.events.serve();
            if let Some(refused) = self.producer.context().take_reports(&mut Acks::default()) {
                let doing = format!("produce to {}[{}]", refused.topic, refused.partition);
                return Err(self.own_timeout(failed_producer(&self.producer, &doing, refused.code)));
            }
            if flushed {
                return Ok(());
            }
            if self.patience.is_over(start + self.timeout) {
                return Err(Error::new(ErrorKind::Retry, "outputs were not durable in time"));
            }
            if !meanwhile() {
                self.events.wait((start.elapsed() / FLUSH_PAUSE).min(FLUSH_PAUSE_MAX));
            }
        }
    }

    fn abort(&mut self) -> Result<(), Error> {
        if self.open.take().is_none() {
            return Ok(());
        }
        // librdkafka throws away what waits, and waits for what was sent: its events are served meanwhile.
        let result = self.call(
            "abort the transaction",
            ABORT_WAIT,
            |producer, _| producer.abort_transaction(Timeout::Never),
            &mut idle,
        );
        self.producer.context().forgive();
        result?;
        self.check("during a transaction, which was aborted")
    }

    /// A producer that lost a connection, or had no answer in time, is not used for another transaction: until librdkafka has
    /// KIP-890 (#5423), a request that was sent twice may end the *next* one too.
    fn check(&self, when: &str) -> Result<(), Error> {
        if !self.was_disconnected() {
            return Ok(());
        }
        let message = format!("a connection was lost, or an answer, {when}; going on with a new producer");
        Err(Error::new(ErrorKind::Retry, message))
    }

    fn was_disconnected(&self) -> bool {
        self.events.serve();
        self.producer.context().faults.disconnects() > 0
    }

    /// Makes a transactional call on a side thread, as some of them do not keep to their time-out, and serves the
    /// producer's events meanwhile, as some of them wait for that. Repeats what may be repeated while time is left.
    fn call(
        &self,
        doing: &'static str,
        limit: Duration,
        call: impl Fn(&Producer, Duration) -> Result<(), KafkaError> + Send + 'static,
        meanwhile: &mut dyn FnMut() -> bool,
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
        let meanwhile = || {
            self.events.serve();
            meanwhile()
        };
        match until(|| self.patience.is_over(end), work, meanwhile) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(self.failed(doing, &error)),
            None => {
                self.events.serve();
                let last = self.producer.context().faults.last();
                let last = last.map_or(String::new(), |fault| format!(" ({})", fault.reason));
                Err(Error::new(ErrorKind::Retry, format!("cannot {doing} in time{last}")))
            }
        }
    }

    fn failed(&self, doing: &str, cause: &KafkaError) -> Error {
        let error = match cause.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                failed_call(doing, cause).within(&format!("sink topics {}", self.topics))
            }
            Some(RDKafkaErrorCode::Fatal) => failed_producer(&self.producer, doing, RDKafkaErrorCode::Fatal),
            _ => failed_call(doing, cause),
        };
        match error.kind {
            ErrorKind::Rewind | ErrorKind::Retry if self.can_go_on_after(cause) => {
                Error { kind: ErrorKind::Rewind, ..error }
            }
            ErrorKind::Rewind => Error { kind: ErrorKind::Retry, ..error },
            _ => self.own_timeout(error),
        }
    }

    /// Whether an abort is all that the open transaction needs: nothing of it is on its way any more.
    fn can_go_on_after(&self, cause: &KafkaError) -> bool {
        let KafkaError::Transaction(native) = cause else { return false };
        let is_abortable = self.open.is_some() && native.txn_requires_abort() && !native.is_fatal();
        is_abortable && !error::leaves_doubt(native.code()) && !self.was_disconnected()
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

/// Nothing else to do.
fn idle() -> bool {
    false
}

fn names(partitions: &TopicPartitionList) -> String {
    let elements = partitions.elements();
    let names = elements.iter().map(|element| format!("{}[{}]", element.topic(), element.partition()));
    names.collect::<Vec<_>>().join(", ")
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
