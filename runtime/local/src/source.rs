use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use sluicegate_core::{Batch, Error, Partition, Polled, Source};

use crate::codec::Stored;
use crate::error::{Fault, config, damaged};
use crate::feed::{Feed, Found, Slot, span};
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
    /// What to do where the group's offset is gone.
    pub on_missing_offset: OnMissingOffset,
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
}

/// What to do where the group's offset of a partition is gone, as retention passed it before the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissingOffset {
    /// Stop, and say so.
    Stop,
    /// Go on with the oldest record that is left.
    Earliest,
    /// Go on with what is written from now on.
    Latest,
}

/// One worker's share of some topics. For the thread that opened it.
pub struct LocalSource {
    feed: Feed,
    membership: Rc<Membership>,
    on_missing_offset: OnMissingOffset,
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
        Ok(LocalSource {
            feed: Feed::new(log, slots, settings.batch)?,
            membership: Rc::new(membership),
            on_missing_offset: settings.on_missing_offset,
        })
    }

    /// The transaction that commits this source's offsets, together with the outputs of `sink`, or, for a sink of
    /// another system, alone.
    pub fn transaction(&self, sink: Option<&LocalSink>) -> LocalTransaction {
        LocalTransaction::new(self.membership.clone(), sink)
    }

    /// Goes on behind a gap, if that is what is to be done.
    #[cold]
    fn skip(&mut self, at: usize) -> Result<(), Error> {
        let (start, end) = self.feed.behind_gap(at)?;
        let Membership { log, group, member, .. } = &*self.membership;
        let slot = &mut self.feed.slots_mut()[at];
        let gone = format!(
            "offset {} of {}, where group '{group}' is, is gone: the log has {start} to {end}",
            slot.position, slot.partition
        );
        slot.position = match self.on_missing_offset {
            OnMissingOffset::Earliest => start,
            OnMissingOffset::Latest => end,
            OnMissingOffset::Stop => {
                let remedy = "the topic's retention passed it; `on-missing-offset: earliest` (or `latest`) of the source goes on \
                              from there";
                return Err(config(format!("{gone}; {remedy}")));
            }
        };
        tracing::warn!("{gone}; going on from {}, as on-missing-offset says", slot.position);
        if self.on_missing_offset == OnMissingOffset::Latest {
            // Decided once: what is written from now on is not missed if the next start comes before the next commit.
            let (partition, next) = ((&slot.partition, slot.id), slot.position);
            log.write("move the group on", |turn| offsets::commit(turn, group, *member, partition, next))?;
        }
        Ok(())
    }
}

impl Source for LocalSource {
    /// Waits asleep; the commit that brings records wakes it. Partitions take turns, and are never revoked.
    fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
        loop {
            match self.feed.poll(batch, wait)? {
                Found::Records => return Ok(Polled::Batch),
                Found::Nothing => return Ok(Polled::Idle),
                Found::Gap(at) => self.skip(at)?,
            }
        }
    }

    fn attend(&mut self) -> Result<Polled, Error> {
        Ok(Polled::Idle)
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
    let (oldest, end) = span(sql, partition)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(match start {
        Start::Latest => end,
        Start::Earliest => oldest,
        Start::Timestamp(timestamp) => first_since(sql, partition, timestamp)?.unwrap_or(end),
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
