use std::collections::VecDeque;
use std::time::Duration;

use sluicegate_audit::{Partition, Record};
use sluicegate_core::Ticket;

/// An index into [`Broker::transactions`].
pub(crate) type TransactionId = usize;

/// The output topics, the transactions, and the producers with what is on its way from them. Output partitions are
/// indices ("places").
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) logs: Vec<Log>,
    pub(crate) producers: Vec<Producer>,
    transactions: Vec<Transaction>,
    /// The epoch of each transactional id.
    epochs: Vec<u64>,
}

/// One output partition.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) place: Partition,
    pub(crate) entries: Vec<Entry>,
}

/// One output, in a queue or in a log.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) record: Record,
    pub(crate) transaction: Option<TransactionId>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug)]
struct Transaction {
    status: Status,
    identity: Identity,
    offsets: Vec<(usize, u64)>,
}

/// A transactional id, and how often it had been taken over by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) slot: usize,
    epoch: u64,
}

/// A producer, its queues and the acknowledgements on their way back.
#[derive(Debug)]
pub(crate) struct Producer {
    /// None without transactions.
    pub(crate) identity: Option<Identity>,
    pub(crate) transaction: Option<TransactionId>,
    /// One for each output partition.
    lanes: Vec<Lane>,
    /// Why an output was refused, until somebody asks.
    pub(crate) refused: Option<String>,
    numbered: u64,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Queued>,
    acknowledgements: VecDeque<(Duration, Ticket)>,
    /// When the last of the queue is due, and its acknowledgement.
    due: Duration,
    acknowledged: Duration,
    /// An output was refused: no later one is taken, lest they change places.
    broken: bool,
}

#[derive(Debug)]
struct Queued {
    number: u64,
    entry: Entry,
    ticket: Ticket,
    transit: Transit,
}

/// How an output will fare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transit {
    /// From the write to the log, if nothing is in its way.
    pub(crate) there: Duration,
    /// From the log back to the producer; none if the acknowledgement never comes.
    pub(crate) back: Option<Duration>,
    /// Whether the broker refuses it.
    pub(crate) refused: bool,
}

impl Broker {
    pub(crate) fn new(places: Vec<Partition>, slots: usize) -> Self {
        let logs = places.into_iter().map(|place| Log { place, entries: Vec::new() });
        Broker { logs: logs.collect(), producers: Vec::new(), transactions: Vec::new(), epochs: vec![0; slots] }
    }

    /// A new producer; with a transactional id it fences whoever had that before. Gives the open transaction of the
    /// fenced, which is to be aborted.
    pub(crate) fn produce(&mut self, slot: Option<usize>) -> (usize, Option<TransactionId>) {
        let identity = slot.map(|slot| {
            self.epochs[slot] += 1;
            Identity { slot, epoch: self.epochs[slot] }
        });
        let lanes = self.logs.iter().map(|_| Lane::default()).collect();
        self.producers.push(Producer { identity, transaction: None, lanes, refused: None, numbered: 0 });
        let orphan = self
            .transactions
            .iter()
            .rposition(|transaction| transaction.status == Status::Open && Some(transaction.identity.slot) == slot);
        (self.producers.len() - 1, orphan)
    }

    pub(crate) fn is_fenced(&self, identity: Identity) -> bool {
        self.epochs[identity.slot] != identity.epoch
    }

    /// Begins a transaction of this producer's.
    pub(crate) fn begin(&mut self, producer: usize, identity: Identity) -> TransactionId {
        self.transactions.push(Transaction { status: Status::Open, identity, offsets: Vec::new() });
        self.producers[producer].transaction = Some(self.transactions.len() - 1);
        self.transactions.len() - 1
    }

    /// These offsets are to be committed with the transaction.
    pub(crate) fn add_offsets(&mut self, transaction: TransactionId, offsets: &[(usize, u64)]) {
        self.transactions[transaction].offsets = offsets.to_vec();
    }

    /// Whether the transaction is open and its producer is not fenced.
    pub(crate) fn may_end(&self, transaction: TransactionId) -> bool {
        let Transaction { status, identity, .. } = &self.transactions[transaction];
        *status == Status::Open && !self.is_fenced(*identity)
    }

    pub(crate) fn status(&self, entry: &Entry) -> Status {
        entry.transaction.map_or(Status::Committed, |transaction| self.transactions[transaction].status)
    }

    /// Ends an open transaction. Gives the offsets to be committed with it.
    pub(crate) fn end(&mut self, transaction: TransactionId, status: Status) -> Vec<(usize, u64)> {
        let ended = &mut self.transactions[transaction];
        ended.status = status;
        if status == Status::Committed { std::mem::take(&mut ended.offsets) } else { Vec::new() }
    }

    /// Fences whoever began this transaction, if it is open still.
    pub(crate) fn fence(&mut self, transaction: TransactionId) -> bool {
        let may_end = self.may_end(transaction);
        self.epochs[self.transactions[transaction].identity.slot] += u64::from(may_end);
        may_end
    }

    /// Takes an output into its producer's queue. Gives its number there and when it is due, none if it will not be
    /// taken.
    pub(crate) fn write(
        &mut self,
        producer: usize,
        place: usize,
        entry: Entry,
        ticket: Ticket,
        transit: Transit,
        now: Duration,
    ) -> Option<(u64, Duration)> {
        let producer = &mut self.producers[producer];
        let lane = &mut producer.lanes[place];
        if lane.broken {
            return None;
        }
        producer.numbered += 1;
        lane.due = lane.due.max(now + transit.there);
        lane.queue.push_back(Queued { number: producer.numbered, entry, ticket, transit });
        Some((producer.numbered, lane.due))
    }

    /// The output of this number reaches its log, or is refused; nothing if it is not on its way any more. Gives
    /// whether an acknowledgement will be missed.
    pub(crate) fn arrive(&mut self, producer: usize, place: usize, number: u64, now: Duration) -> Option<bool> {
        let lane = &mut self.producers[producer].lanes[place];
        let queued = lane.queue.pop_front_if(|queued| queued.number == number)?;
        let outdated = queued.entry.transaction.is_some_and(|transaction| !self.may_end(transaction));
        let sender = &mut self.producers[producer];
        let lane = &mut sender.lanes[place];
        if outdated || queued.transit.refused {
            let why = if outdated { "the producer is fenced" } else { "the broker refuses an output" };
            sender.refused = Some(why.into());
            lane.queue.clear();
            lane.broken = true;
            return Some(false);
        }
        self.logs[place].entries.push(queued.entry);
        if let Some(back) = queued.transit.back {
            lane.acknowledged = lane.acknowledged.max(now + back);
            lane.acknowledgements.push_back((lane.acknowledged, queued.ticket));
        }
        Some(queued.transit.back.is_none())
    }

    /// The acknowledgements that are there.
    pub(crate) fn acknowledgements(&mut self, producer: usize, now: Duration, mut each: impl FnMut(Ticket)) {
        for lane in &mut self.producers[producer].lanes {
            while let Some((_, ticket)) = lane.acknowledgements.pop_front_if(|(at, _)| *at <= now) {
                each(ticket);
            }
        }
    }

    /// How many outputs wait in the producer's queues.
    pub(crate) fn queued(&self, producer: usize) -> usize {
        self.producers[producer].lanes.iter().map(|lane| lane.queue.len()).sum()
    }

    /// When the last output of the queues is due.
    pub(crate) fn flushed(&self, producer: usize) -> Duration {
        let lanes = self.producers[producer].lanes.iter().filter(|lane| !lane.queue.is_empty());
        lanes.map(|lane| lane.due).max().unwrap_or_default()
    }

    /// Throws away what waits in the queues, but for the first so many of each partition.
    pub(crate) fn purge(&mut self, producer: usize, mut keep: impl FnMut(usize) -> usize) {
        let sender = &mut self.producers[producer];
        sender.refused = None;
        for lane in &mut sender.lanes {
            lane.queue.truncate(keep(lane.queue.len()));
            lane.broken = false;
        }
    }
}
