use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluicegate_core::{Batch, Error, ErrorKind, Partition, Polled, Source};

use crate::assigned::Assigned;
use crate::assignment::{self, Starts};
use crate::config::KafkaSourceConfig;
use crate::context::{self, Rebalance};
use crate::deadline::{CLOSE_WAIT, PatientConsumer};
use crate::error::{self, failed, failed_call};
use crate::native::{ConsumerEvents, ReadError};
use crate::presence::{Presence, Silence};
use crate::wake::Wake;

/// A member of a consumer group, as a [`Source`]. To be used on one thread.
///
/// Records are read from one queue a partition, in turn. Rebalances are noted down in librdkafka's callback and
/// answered here, between batches.
pub struct KafkaSource {
    consumer: PatientConsumer,
    events: ConsumerEvents,
    wake: Arc<Wake>,
    group: String,
    /// To be subscribed to by the first poll: a member that does not poll would only hold the others up.
    topics: Vec<String>,
    presence: Presence,
    starts: Starts,
    batch_records: usize,
    batch_bytes: usize,
    partitions: Vec<Assigned>,
    /// Which partition is read next.
    turn: usize,
    /// What the group asks and has no answer to yet.
    unanswered: Option<Rebalance>,
    closed: bool,
}

/// How long librdkafka may take to note that a partition is to be read from elsewhere.
const SEEK_WAIT: Duration = Duration::from_secs(5);
const BACK: &str = "go back to the committed offsets";

impl KafkaSource {
    /// `known` says how many partitions each topic has now.
    pub(crate) fn new(
        consumer: PatientConsumer,
        config: &KafkaSourceConfig,
        known: BTreeMap<String, usize>,
    ) -> Result<Self, Error> {
        let wake = Arc::new(Wake::default());
        let events = ConsumerEvents::new(&consumer, Arc::clone(&wake));
        let events = events.ok_or_else(|| Error::new(ErrorKind::Stopped, "the consumer has no queue of events"))?;
        Ok(KafkaSource {
            events,
            wake,
            group: config.group.clone(),
            topics: config.topics.clone(),
            presence: Presence::new(&config.topics),
            starts: Starts::new(config.start, config.on_missing_offset, known),
            batch_records: config.batch_records,
            batch_bytes: config.batch_bytes.max(1),
            partitions: Vec::new(),
            turn: 0,
            unanswered: None,
            closed: false,
            consumer,
        })
    }

    /// Whether no broker has answered for some time.
    pub fn silence(&self) -> Silence {
        self.presence.silence()
    }

    #[cold]
    fn subscribe(&mut self) -> Result<(), Error> {
        let topics = std::mem::take(&mut self.topics);
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&names).map_err(|error| failed_call(&format!("subscribe to {topics:?}"), &error))
    }

    /// Serves librdkafka's events: logs, errors, rebalances. Keeps `max.poll.interval.ms` at bay.
    fn serve(&mut self) -> Result<(), Error> {
        // Each poll handles one event; a burst of them is not worth more than this many before the next batch.
        for _ in 0..64 {
            match self.consumer.poll(Duration::ZERO) {
                None => {}
                Some(Err(error)) => self.check(&error)?,
                Some(Ok(_)) => {
                    return Err(Error::new(ErrorKind::Stopped, "a record came outside the queue of its partition"));
                }
            }
            if self.events.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn check(&mut self, error: &KafkaError) -> Result<(), Error> {
        let doing = format!("read as group '{}'", self.group);
        match (error, error.rdkafka_error_code()) {
            (KafkaError::PartitionEOF(_), _) => Ok(()),
            (_, Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)) => {
                self.presence.doubt();
                Ok(())
            }
            (KafkaError::MessageConsumptionFatal(_), Some(RDKafkaErrorCode::Fatal)) => {
                let (code, reason) =
                    self.consumer.client().fatal_error().unwrap_or((RDKafkaErrorCode::Fatal, "no cause".into()));
                Err(failed(&format!("{doing} any more ({reason})"), code))
            }
            // Of a member that was thrown out, librdkafka says so by a revocation too.
            (_, Some(code)) if error::passes(code) || error::kind(code) == ErrorKind::Rewind => Ok(()),
            _ => Err(failed_call(&doing, error)),
        }
    }

    /// Answers what the group asks, unless the worker has to finish first.
    fn rebalance(&mut self) -> Result<Polled, Error> {
        loop {
            if self.unanswered.is_none() {
                self.unanswered = self.consumer.context().next_rebalance();
                // It may be because a topic was made anew, whose partitions begin elsewhere.
                if self.unanswered.is_some()
                    && let Some(topic) = self.presence.remade(&self.consumer)
                {
                    self.begin_anew(&topic)?;
                }
            }
            match &self.unanswered {
                None => return Ok(Polled::Idle),
                Some(Rebalance::Assign(partitions)) => {
                    // Should that fail, it is still to be answered.
                    let partitions = partitions.clone();
                    self.assign(&partitions)?;
                    self.unanswered = None;
                }
                Some(Rebalance::Revoke(_)) if self.partitions.is_empty() => drop(self.release()?),
                Some(Rebalance::Revoke(_)) => {
                    return Ok(Polled::Revoked { lost: self.consumer.assignment_lost() });
                }
            }
        }
    }

    fn assign(&mut self, partitions: &TopicPartitionList) -> Result<(), Error> {
        let (begin, decided) = assignment::resolve(&self.consumer, &self.group, partitions, &self.starts)?;
        let mut topics: HashMap<String, Arc<str>> = HashMap::new();
        for element in begin.elements() {
            let name = element.topic();
            self.presence.watch(name);
            let topic = topics.entry(name.to_owned()).or_insert_with(|| Arc::from(name));
            let partition = Partition { topic: Arc::clone(topic), number: element.partition().unsigned_abs() };
            self.partitions.retain(|assigned| assigned.partition != partition);
            let (begin, doing) = (element.offset(), format!("read {partition}"));
            let assigned = Assigned::new(&self.consumer, partition, begin, self.batch_records, &self.wake);
            self.partitions.push(assigned.ok_or_else(|| failed(&doing, RDKafkaErrorCode::UnknownPartition))?);
        }
        self.turn = 0;
        context::assign(&self.consumer, &begin).map_err(|error| failed_call("take over partitions", &error))?;
        assignment::remember(&self.consumer, decided);
        let names: Vec<String> = self.partitions.iter().map(|assigned| assigned.partition.to_string()).collect();
        tracing::info!(group = %self.group, partitions = %names.join(" "), "partitions assigned");
        Ok(())
    }

    /// Goes back to where the group is with these partitions, or to where they began.
    fn seek(&mut self, partitions: &TopicPartitionList) -> Result<(), Error> {
        let committed = assignment::committed(&self.consumer, &self.group, partitions)?;
        let mut to = TopicPartitionList::new();
        for assigned in self.partitions.iter_mut().filter(|assigned| assigned.next > 0) {
            let Partition { topic, number } = &assigned.partition;
            let found = committed.find_partition(topic, number.cast_signed()).map(|element| element.offset());
            let offset = found.filter(|offset| matches!(offset, Offset::Offset(_))).unwrap_or(assigned.begin);
            assigned.next = if let Offset::Offset(offset) = offset { offset.unsigned_abs() } else { 0 };
            assigned.rest.clear();
            to.add_partition_offset(topic, number.cast_signed(), offset).map_err(|error| failed_call(BACK, &error))?;
        }
        let sought = self.consumer.call(BACK, SEEK_WAIT, move |consumer| consumer.seek_partitions(to, SEEK_WAIT))?;
        sought.elements().iter().try_for_each(|element| element.error()).map_err(|error| failed_call(BACK, &error))?;
        // Librdkafka's position before it counts no more.
        for assigned in &mut self.partitions {
            let _ = assigned.queue.advance();
        }
        Ok(())
    }

    /// The topic was deleted and made anew since this member looked first: what it was given of it, and the group's offsets,
    /// are of another log.
    #[cold]
    fn begin_anew(&mut self, topic: &str) -> Result<(), Error> {
        let mut held = TopicPartitionList::new();
        for Assigned { partition, .. } in self.partitions.iter().filter(|held| &*held.partition.topic == topic) {
            held.add_partition(topic, partition.number.cast_signed());
        }
        let what = format!("topic '{topic}' was deleted and made anew while group '{}' read it", self.group);
        match self.starts.begin_anew(&self.consumer, topic, &held, &what) {
            Ok(()) => self.presence.accept(topic),
            // Tried again once the group is stable.
            Err(error) if error.kind == ErrorKind::Rewind => return Ok(()),
            Err(error) => return Err(error.within("source")),
        }
        if held.count() == 0 { Ok(()) } else { Err(Error::new(ErrorKind::Retry, what)) }
    }

    /// Fills the batch with the next records that wait, if any do.
    fn read(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        let count = self.partitions.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let assigned = &mut self.partitions[at];
            if assigned.held {
                continue;
            }
            match assigned.read(batch, self.batch_bytes) {
                Ok(false) => {}
                Ok(true) => {
                    // Another's turn, once its rest is used up.
                    self.turn = if assigned.rest.is_empty() { at + 1 } else { at };
                    return Ok(true);
                }
                Err(error) => return Err(self.unreadable(at, &error)),
            }
        }
        Ok(false)
    }

    /// What follows where a partition gives an error instead of records.
    #[cold]
    fn unreadable(&self, at: usize, error: &ReadError) -> Error {
        let partition = &self.partitions[at].partition;
        if !matches!(error.code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) {
            return error.of(partition);
        }
        // Most likely not of this partition alone.
        let mut all = TopicPartitionList::new();
        for Assigned { partition, next, .. } in &self.partitions {
            let next = if *next > 0 { Offset::Offset(next.cast_signed()) } else { Offset::Invalid };
            // Fails for an offset only that is none.
            let _ = all.add_partition_offset(&partition.topic, partition.number.cast_signed(), next);
        }
        let cut = error.cut_at().map(|at| (partition, at));
        match self.starts.skip_missing(&self.consumer, &self.group, &all, cut) {
            Ok(()) => Error::new(ErrorKind::Retry, format!("cannot {} any more", error.doing(partition))),
            Err(error) => error,
        }
    }

    /// Forgets the partitions that are being given up, and says which of this member's they are.
    fn forget(&mut self, partitions: &TopicPartitionList) -> Vec<Partition> {
        let given_up = |assigned: &mut Assigned| {
            let Partition { topic, number } = &assigned.partition;
            partitions.find_partition(topic, number.cast_signed()).is_some()
        };
        self.turn = 0;
        self.partitions.extract_if(.., given_up).map(|assigned| assigned.partition).collect()
    }
}

impl Source for KafkaSource {
    fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
        batch.clear();
        if !self.topics.is_empty() {
            self.subscribe()?;
        }
        let mut end = None;
        loop {
            let polled = self.attend()?;
            if polled != Polled::Idle {
                return Ok(polled);
            }
            if self.read(batch)? {
                return Ok(Polled::Batch);
            }
            let now = Instant::now();
            let end = *end.get_or_insert(now + wait);
            if now >= end {
                break;
            }
            self.wake.wait(end - now);
        }
        // Should a queue ever fail to call, it is looked at all the same.
        self.partitions.iter().for_each(|assigned| assigned.queue.set_ready());
        Ok(Polled::Idle)
    }

    fn attend(&mut self) -> Result<Polled, Error> {
        if let Some(topic) = self.presence.check(&self.consumer)? {
            self.begin_anew(&topic)?;
        }
        self.wake.lower();
        self.serve()?;
        self.rebalance()
    }

    fn ready(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        self.read(batch)
    }

    fn release(&mut self) -> Result<Vec<Partition>, Error> {
        let Some(Rebalance::Revoke(partitions)) =
            self.unanswered.take_if(|asked| matches!(asked, Rebalance::Revoke(_)))
        else {
            return Ok(Vec::new());
        };
        let lost = self.consumer.assignment_lost();
        let gone = self.forget(&partitions);
        context::unassign(&self.consumer, &partitions).map_err(|error| failed_call("give up partitions", &error))?;
        tracing::info!(group = %self.group, partitions = partitions.count(), lost, "partitions given up");
        self.presence.doubt();
        if lost && !self.partitions.is_empty() {
            // What was in flight of these was given up too, and has to be read again.
            return Err(Error::new(ErrorKind::Retry, "some partitions were lost, those that are left are read again"));
        }
        Ok(gone)
    }

    fn rewind(&mut self, why: &Error) -> Result<(), Error> {
        if self.consumer.assignment_lost() {
            // All are about to be taken away, and not to be read until then.
            self.partitions.clear();
            tracing::info!(group = %self.group, "{why}; what was in flight is left to whoever gets the partitions");
            return Ok(());
        }
        let mut given = TopicPartitionList::new();
        for assigned in &mut self.partitions {
            assigned.held = false;
            if assigned.next > 0 {
                given.add_partition(&assigned.partition.topic, assigned.partition.number.cast_signed());
            }
        }
        tracing::info!(group = %self.group, partitions = given.count(), "{why}; going on from the committed offsets");
        if given.count() > 0 { self.seek(&given) } else { Ok(()) }
    }

    fn hold(&mut self, partition: &Partition, held: bool) {
        if let Some(assigned) = self.partitions.iter_mut().find(|assigned| assigned.partition == *partition) {
            assigned.held = held;
        }
    }

    fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.partitions.clear();
        let context = self.consumer.context();
        context.close();
        // First of all: from then on librdkafka takes any answer to a rebalance for "give up all". Before, it would refuse an
        // answer about partitions that were assigned and never taken over, and wait for another one for ever.
        if let Err(error) = self.consumer.close_queue() {
            tracing::debug!(group = %self.group, "the group cannot be left in good order: {error}");
            return;
        }
        let unanswered = self.unanswered.take().into_iter().chain(std::iter::from_fn(|| context.next_rebalance()));
        unanswered.for_each(|asked| context::give_up(&self.consumer, &asked));
        let end = Instant::now() + CLOSE_WAIT;
        while Instant::now() < end && !self.consumer.closed() {
            // Ends early with any event.
            let _ = self.consumer.poll(Duration::from_millis(20));
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.close();
    }
}
