use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sluicegate_core::{Acks, Destination, Error, Output, Progress, Sink, Ticket};

use crate::buffer::{Buffer, Record};
use crate::error::config;
use crate::log::Log;
use crate::partitioner::{PartitionBy, partition_of_key};

/// Where a [`LocalSink`] writes.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// The topic of the default output.
    pub topic: String,
    /// The topics of the named outputs, in the pipeline's order.
    pub outputs: Vec<String>,
    /// The dead-letter topic.
    pub dead_letter: Option<String>,
    /// Which partition an output goes to.
    pub partition: PartitionBy,
    /// How many partitions a missing topic is created with: pass [`Log::partitions_of`] the source's topics, so that
    /// every input partition has its output partition.
    pub new_partitions: u32,
    /// A header with the stable id for every output.
    pub id_header: Option<IdHeader>,
}

/// Adds to each output its stable id: `pipeline/topic/partition/offset/index`, of the record that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdHeader {
    /// The header's name.
    pub name: String,
    /// The pipeline's name.
    pub pipeline: String,
}

/// Writes outputs to topics of the log. For the thread that opened it.
///
/// With a [`crate::LocalTransaction`] of its own, outputs become durable when that commits: exactly once. Without one,
/// [`Sink::acknowledged`] makes them durable: at least once.
pub struct LocalSink {
    log: Log,
    partition: PartitionBy,
    id_header: Option<IdHeader>,
    /// The buffer's topics of the default output, of the dead letters, and of the named outputs.
    default: usize,
    dead_letter: Option<usize>,
    named: Vec<usize>,
    /// The next partition for records without a key, of each of the buffer's topics, and the batch it is for.
    sticky: Vec<(u32, Option<Ticket>)>,
    outbox: Rc<RefCell<Outbox>>,
    pace: FlushPace,
    id: String,
}

/// What a sink and its transaction share.
pub(crate) struct Outbox {
    pub(crate) buffer: Buffer,
    /// A transaction makes the outputs durable; none are written before.
    pub(crate) is_transactional: bool,
    /// What is to be acknowledged.
    written: Acks,
}

impl Outbox {
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.written.clear();
    }
}

impl LocalSink {
    /// A sink for these topics. Those that do not exist are made, with `new_partitions` partitions and everything kept.
    ///
    /// # Errors
    /// `Config` if a name is no topic's.
    pub fn open(log: &Log, settings: &SinkSettings) -> Result<Self, Error> {
        // Two outputs of the same topic share its buffer, and so keep their order.
        let mut topics = Vec::new();
        let mut place = |name: &str| -> Result<usize, Error> {
            if let Some(at) = topics.iter().position(|topic: &crate::topics::Topic| &*topic.name == name) {
                return Ok(at);
            }
            topics.push(log.topic_or_new(name, settings.new_partitions)?);
            Ok(topics.len() - 1)
        };
        let default = place(&settings.topic)?;
        let named = settings.outputs.iter().map(|name| place(name)).collect::<Result<_, _>>()?;
        let dead_letter = settings.dead_letter.as_deref().map(&mut place).transpose()?;
        let sticky = vec![(0, None); topics.len()];
        let outbox = Outbox { buffer: Buffer::new(topics), is_transactional: false, written: Acks::default() };
        Ok(LocalSink {
            log: log.clone(),
            partition: settings.partition,
            id_header: settings.id_header.clone(),
            default,
            dead_letter,
            named,
            sticky,
            outbox: Rc::new(RefCell::new(outbox)),
            pace: FlushPace::default(),
            id: String::new(),
        })
    }

    pub(crate) fn outbox(&self) -> Rc<RefCell<Outbox>> {
        self.outbox.clone()
    }

    fn topic_of(&self, to: Destination) -> Result<usize, Error> {
        let topic = match to {
            Destination::Default => Some(self.default),
            Destination::Named(index) => self.named.get(index as usize).copied(),
            Destination::DeadLetter | Destination::Replayed => self.dead_letter,
        };
        topic.ok_or_else(|| {
            config(format!("the sink has no topic for {to:?}; name one under sink.local.outputs or dead-letter.topic"))
        })
    }

    fn partition_of(&mut self, output: &Output<'_>, topic: usize, count: u32, ticket: Ticket) -> Result<u32, Error> {
        let by = if output.to == Destination::Replayed { PartitionBy::Same } else { self.partition };
        match (by, output.key) {
            (PartitionBy::Same, _) => {
                let number = output.source.number;
                if number < count {
                    return Ok(number);
                }
                if output.to == Destination::DeadLetter {
                    return Ok(number % count);
                }
                let name = self.outbox.borrow().buffer.topic(topic).name.clone();
                Err(config(format!(
                    "topic '{name}' has {count} partitions, too few for the input {}; make it anew with more, or use \
                     'partition: by-key'",
                    output.source
                )))
            }
            (PartitionBy::Key, Some(key)) => Ok(partition_of_key(key, count)),
            (PartitionBy::Key, None) => {
                let (next, last) = &mut self.sticky[topic];
                if last.is_some_and(|last| last != ticket) {
                    *next = (*next + 1) % count;
                }
                *last = Some(ticket);
                Ok(*next)
            }
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let buffer = &mut self.outbox.borrow_mut().buffer;
        self.pace.time(|| self.log.write("write outputs", |turn| buffer.append(turn)))?;
        buffer.clear();
        self.log.sweep_if_due();
        Ok(())
    }
}

impl Sink for LocalSink {
    /// Copies the output into memory.
    fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
        let topic = self.topic_of(output.to)?;
        let count = self.outbox.borrow().buffer.topic(topic).partitions.len() as u32;
        let partition = self.partition_of(output, topic, count, ticket)?;
        if let Some(IdHeader { pipeline, .. }) = &self.id_header {
            output.write_id(pipeline, &mut self.id);
        }
        let added: usize = output.added.iter().map(|(name, value)| name.len() + value.len()).sum();
        let id = self.id_header.as_ref().map(|header| (header.name.as_bytes(), self.id.as_bytes()));
        let header_bytes = output.headers.bytes() + added + id.map_or(0, |(name, value)| name.len() + value.len());
        let record = Record { timestamp: output.timestamp, key: output.key, value: output.value, header_bytes };
        let mut outbox = self.outbox.borrow_mut();
        let batch = outbox.buffer.push(topic, partition, &record)?;
        output.headers.for_each(|(name, value)| batch.push_header(name, value));
        let added = output.added.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        added.chain(id).for_each(|(name, value)| batch.push_header(name, Some(value)));
        if !outbox.is_transactional {
            outbox.written.add(ticket);
        }
        Ok(())
    }

    fn send_now(&mut self) {}

    /// Unless a transaction does that, writes what has gathered and reports it: at once if `wait` is above zero, else
    /// when a flush is due.
    fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
        let (is_transactional, bytes) = {
            let outbox = self.outbox.borrow();
            (outbox.is_transactional, outbox.buffer.bytes())
        };
        if is_transactional || self.outbox.borrow().written.is_empty() {
            return Ok(());
        }
        if wait > Duration::ZERO || self.pace.is_due(bytes) {
            self.flush()?;
            self.outbox.borrow_mut().written.report(progress);
        }
        Ok(())
    }
}

/// When a flush is due: at once while flushes are rare, and so seldom that they take a fifth of the time at most.
#[derive(Default)]
struct FlushPace {
    last: Option<(Instant, Duration)>,
}

impl FlushPace {
    const BYTES: usize = 4 << 20;

    fn is_due(&self, bytes: usize) -> bool {
        bytes >= Self::BYTES || self.last.is_none_or(|(end, took)| end.elapsed() >= took * 4)
    }

    fn time<T>(&mut self, flush: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = flush();
        self.last = Some((Instant::now(), start.elapsed()));
        result
    }
}
