use rusqlite::{OptionalExtension, params};
use sluicegate_core::{Batch, Error, ErrorKind};

use crate::codec;
use crate::error::{Fault, config};
use crate::log::Turn;
use crate::retention::{Room, trim};
use crate::topics::{Topic, deleted};

/// A stored batch has no more records and bytes than these (or is one large record): it is what a source reads at once.
const BATCH_RECORDS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// The most bytes of a record's key, value and headers.
const RECORD_BYTES_MAX: usize = 256 << 20;
/// The most bytes of a commit.
const COMMIT_BYTES_MAX: usize = 1 << 30;

/// Records on their way into the log, in columns by topic and partition, until a turn appends them all.
///
/// Nothing touches the database before that, so a turn is short, and to give the records up is to forget them.
pub(crate) struct Buffer {
    topics: Vec<Appends>,
    bytes: usize,
    /// Emptied batches, kept for their memory.
    spare: Vec<Batch>,
    encoded: Vec<u8>,
}

struct Appends {
    topic: Topic,
    /// The batches to append to each partition.
    partitions: Vec<Vec<Batch>>,
}

/// One record on its way into the log; its headers follow.
pub(crate) struct Record<'a> {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// The bytes of names and values of the headers that will follow.
    pub(crate) header_bytes: usize,
}

impl Buffer {
    pub(crate) fn new(topics: impl IntoIterator<Item = Topic>) -> Self {
        let appends = topics.into_iter().map(|topic| {
            let partitions = vec![Vec::new(); topic.partitions.len()];
            Appends { topic, partitions }
        });
        Buffer { topics: appends.collect(), bytes: 0, spare: Vec::new(), encoded: Vec::new() }
    }

    pub(crate) fn topic(&self, topic: usize) -> &Topic {
        &self.topics[topic].topic
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.topics.iter().all(|topic| topic.partitions.iter().all(Vec::is_empty))
    }

    /// The bytes of all keys, values and headers.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in a record for a partition that exists; its headers are pushed onto the batch that this gives.
    pub(crate) fn push(&mut self, topic: usize, partition: u32, record: &Record<'_>) -> Result<&mut Batch, Error> {
        let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let bytes = length(record.key) + length(record.value) + record.header_bytes;
        if bytes > RECORD_BYTES_MAX {
            let name = &self.topics[topic].topic.name;
            return Err(config(format!(
                "topic '{name}': a record of {bytes} bytes; the local log takes {RECORD_BYTES_MAX} at most"
            )));
        }
        self.bytes += bytes;
        if self.bytes > COMMIT_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Stopped,
                format!(
                    "the outputs of one commit are more than {COMMIT_BYTES_MAX} bytes, which the local log can hold; \
                     lower commit.records, commit.bytes or batch.records"
                ),
            ));
        }
        let batches = &mut self.topics[topic].partitions[partition as usize];
        let has_room = |batch: &Batch| batch.len() < BATCH_RECORDS && batch.bytes() + bytes <= BATCH_BYTES;
        if !batches.last().is_some_and(has_room) {
            batches.push(self.spare.pop().unwrap_or_default());
        }
        let last = batches.len() - 1;
        // The offset is known when it is appended.
        batches[last].push(0, record.timestamp, record.key, record.value);
        Ok(&mut batches[last])
    }

    /// Forgets all records and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes = 0;
        for batches in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            for mut batch in batches.drain(..) {
                batch.clear();
                self.spare.push(batch);
            }
        }
        // A burst's memory is not kept for ever.
        self.spare.truncate(64);
    }

    /// Appends all records to their partitions. They stay here until [`Buffer::clear`].
    pub(crate) fn append(&mut self, turn: &mut Turn<'_>) -> Result<(), Fault> {
        for Appends { topic, partitions } in &self.topics {
            for (id, batches) in topic.partitions.iter().zip(partitions) {
                if !batches.is_empty() {
                    append(turn, topic, *id, batches, &mut self.encoded)?;
                }
            }
        }
        Ok(())
    }
}

fn append(turn: &mut Turn<'_>, topic: &Topic, id: i64, batches: &[Batch], encoded: &mut Vec<u8>) -> Result<(), Fault> {
    let sql = turn.sql;
    let end = sql.prepare_cached("SELECT next FROM partitions WHERE id = ?1")?.query_row([id], |row| row.get(0));
    let mut next: i64 = end.optional()?.ok_or_else(|| deleted(&topic.name))?;
    let mut bytes = 0;
    let mut insert = sql.prepare_cached(
        "INSERT INTO batches (partition, first, next, latest, written, bytes, records) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for batch in batches {
        codec::encode(batch, encoded);
        let first = next;
        next += batch.len() as i64;
        bytes += encoded.len() as i64;
        let latest = batch.timestamps.iter().max();
        insert.execute(params![id, first, next, latest, turn.now_ms, encoded.len() as i64, &*encoded])?;
    }
    let mut update = sql.prepare_cached(
        "UPDATE partitions SET next = ?2, bytes = bytes + ?3 WHERE id = ?1
         RETURNING bytes, (SELECT retention_bytes FROM topics WHERE topics.id = partitions.topic)",
    )?;
    let (total, bytes_max): (i64, Option<i64>) =
        update.query_row(params![id, next, bytes], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if bytes_max.is_some_and(|max| total > max) {
        trim(sql, id, bytes_max, None, &mut Room::default())?;
    }
    turn.ends_at(id, next as u64);
    Ok(())
}
