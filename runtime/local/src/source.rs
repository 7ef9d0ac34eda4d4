use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use sluicegate_core::{Batch, Error, Partition, Polled, Source};

use crate::codec::Stored;
use crate::error::{Fault, config, damaged};
use crate::feed::{Feed, Slot};
use crate::log::Log;
use crate::offsets::{self, Member};
use crate::sink::LocalSink;
use crate::transaction::LocalTransaction;

/// What a [`LocalSource`] reads, and for whom.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// The topics; they have to exist.
    pub topics: Vec<String>,
    /// The group whose offsets say where to go on.
    pub group: String,
    /// Where to begin in a partition of which the group has no offset.
    pub start: Start,
    /// The number of this worker among those of the pipeline, from 0.
    pub worker: u32,
    /// The number of the pipeline's workers: this one reads the partitions whose number modulo `workers` is `worker`.
    pub workers: u32,
    /// The bounds of a batch.
    pub batch: BatchLimits,
}

/// The bounds of a batch; a single record may be larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The most records.
    pub records: usize,
    /// The most bytes of keys, values and headers.
    pub bytes: usize,
}

impl Default for BatchLimits {
    /// 512 records, 1 MiB.
    fn default() -> Self {
        BatchLimits { records: 512, bytes: 1 << 20 }
    }
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record that is kept.
    Earliest,
    /// With the first record that is written from now on.
    Latest,
    /// With the first record that is not older than this, in milliseconds since the Unix epoch; with the first one from
    /// now on if there is none.
    Timestamp(i64),
    /// With this offset, or the oldest record after it that is kept.
    Offset(u64),
}

/// One worker's share of some topics. For the thread that opened it.
pub struct LocalSource {
    feed: Feed,
    membership: Rc<Membership>,
}

/// A worker's place in a group.
pub(crate) struct Membership {
    pub(crate) log: Log,
    pub(crate) group: String,
    pub(crate) member: Member,
    pub(crate) partitions: BTreeMap<Partition, i64>,
}

impl LocalSource {
    /// Joins the group and takes the worker's partitions over, from whoever held them before: that one cannot commit
    /// any more. Where the group has no offset, the start becomes its offset here and now, so that a later restart
    /// begins at the same record.
    ///
    /// # Errors
    /// `Config`, with the remedy, if a topic does not exist.
    pub fn open(log: &Log, settings: &SourceSettings) -> Result<Self, Error> {
        if settings.worker >= settings.workers {
            let SourceSettings { worker, workers, .. } = settings;
            return Err(config(format!("worker {worker} of {workers}: workers are numbered from 0")));
        }
        if !log.is_owned() {
            return Err(config(format!("local log {}: a visitor reads for no group", log.directory().display())));
        }
        let mut partitions = BTreeMap::new();
        for name in &settings.topics {
            let topic = log.topic(name)?;
            let numbered =
                (0..).zip(&topic.partitions).filter(|(number, _)| number % settings.workers == settings.worker);
            partitions.extend(numbered.map(|(number, id)| (Partition { topic: topic.name.clone(), number }, *id)));
        }
        let group = &settings.group;
        let (member, slots) = log.write("join a group", |turn| {
            let member = turn.claims.claim(group, partitions.values().copied());
            let mut slots = Vec::new();
            for (partition, id) in &partitions {
                let mut find =
                    turn.sql.prepare_cached("SELECT next FROM offsets WHERE consumer_group = ?1 AND partition = ?2")?;
                let committed = find.query_row(params![group, id], |row| row.get::<_, i64>(0)).optional()?;
                let position = match committed {
                    Some(next) => next as u64,
                    None => {
                        let start = first_offset(turn.sql, *id, settings.start)?;
                        offsets::put(turn, group, *id, start)?;
                        start
                    }
                };
                slots.push(Slot { partition: partition.clone(), id: *id, position, until: u64::MAX, held: false });
            }
            Ok((member, slots))
        })?;
        let membership = Membership { log: log.clone(), group: group.clone(), member, partitions };
        Ok(LocalSource { feed: Feed::new(log, slots, settings.batch)?, membership: Rc::new(membership) })
    }

    /// The transaction that commits this source's offsets, together with the outputs of `sink`, or, for a sink of
    /// another system, alone.
    pub fn transaction(&self, sink: Option<&LocalSink>) -> LocalTransaction {
        LocalTransaction::new(self.membership.clone(), sink)
    }

    /// The partitions that are this worker's.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.membership.partitions.keys()
    }
}

impl Source for LocalSource {
    /// Waits asleep; the commit that brings records wakes it. Partitions take turns, and are never revoked.
    fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
        Ok(if self.feed.poll(batch, wait)? { Polled::Batch } else { Polled::Idle })
    }

    fn ready(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        Ok(false)
    }

    fn release(&mut self) -> Result<Vec<Partition>, Error> {
        Ok(Vec::new())
    }

    /// Nothing here asks for it; a new worker opens the log anew.
    fn rewind(&mut self, why: &Error) -> Result<(), Error> {
        Err(why.clone())
    }

    fn hold(&mut self, partition: &Partition, held: bool) {
        self.feed.slots_mut().iter_mut().filter(|slot| slot.partition == *partition).for_each(|slot| slot.held = held);
    }

    /// Nothing to do: the next worker takes over by opening its source.
    fn close(&mut self) {}
}

/// The offset where reading a partition begins.
pub(crate) fn first_offset(sql: &Connection, partition: i64, start: Start) -> Result<u64, Fault> {
    let end = || {
        let mut find = sql.prepare_cached("SELECT next FROM partitions WHERE id = ?1")?;
        find.query_row([partition], |row| row.get::<_, i64>(0)).map(|next| next as u64)
    };
    let oldest = || {
        let mut find = sql.prepare_cached("SELECT min(first) FROM batches WHERE partition = ?1")?;
        find.query_row([partition], |row| row.get::<_, Option<i64>>(0)).map(|first| first.map(|first| first as u64))
    };
    Ok(match start {
        Start::Latest => end()?,
        Start::Earliest => oldest()?.map_or_else(end, Ok)?,
        Start::Offset(offset) => oldest()?.map_or_else(end, Ok)?.max(offset),
        Start::Timestamp(timestamp) => first_since(sql, partition, timestamp)?.map_or_else(end, Ok)?,
    })
}

fn first_since(sql: &Connection, partition: i64, timestamp: i64) -> Result<Option<u64>, Fault> {
    let mut find = sql.prepare_cached(
        "SELECT first, records FROM batches WHERE partition = ?1 AND latest >= ?2 ORDER BY first LIMIT 1",
    )?;
    let mut rows = find.query(params![partition, timestamp])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let stored = row.get_ref(1)?.as_blob().map_err(|_| "no batch").and_then(Stored::parse);
    let stored = stored.map_err(|what| damaged(sql.path().unwrap_or_default().as_ref(), what))?;
    let within = stored.timestamps().position(|at| at >= timestamp).unwrap_or_default();
    Ok(Some(row.get::<_, i64>(0)? as u64 + within as u64))
}
