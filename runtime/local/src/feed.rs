use std::collections::HashMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row, params};
use sluicegate_core::{Batch, Error, Partition};

use crate::codec::Stored;
use crate::error::{Fault, damaged};
use crate::log::Log;
use crate::source::BatchLimits;
use crate::topics::deleted;

/// Reads partitions in turn, each from a position of its own. What [`crate::LocalSource`] and [`crate::Reader`] share.
pub(crate) struct Feed {
    log: Log,
    connection: Connection,
    slots: Vec<Slot>,
    /// The slot to look at first.
    turn: usize,
    limits: BatchLimits,
    /// When it was last looked for what other processes wrote.
    looked: Instant,
}

/// A partition that is read.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) partition: Partition,
    pub(crate) id: i64,
    /// The next offset to read.
    pub(crate) position: u64,
    /// Nothing is read from here on.
    pub(crate) until: u64,
    /// Passed over for now.
    pub(crate) held: bool,
}

/// What [`Feed::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The batch holds at least one record.
    Records,
    /// Nothing came within the wait.
    Nothing,
    /// The record at this slot's position is gone, as retention has passed it. The slot stays where it is until it is moved.
    Gap(usize),
}

/// How often a reader looks for what other processes wrote, asleep or busy.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Feed {
    pub(crate) fn new(log: &Log, slots: Vec<Slot>, limits: BatchLimits) -> Result<Self, Error> {
        log.look_around()?;
        Ok(Feed { connection: log.connect()?, log: log.clone(), slots, turn: 0, limits, looked: Instant::now() })
    }

    pub(crate) fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Replaces `batch` by the next records of one partition, waiting at most `wait` for the first. Waiting costs next to
    /// no CPU, and ends with the commit that brings records, or soon after it if that is another process's. Partitions
    /// take turns, whoever writes them.
    ///
    /// # Errors
    /// `Config` if a topic was deleted or the database is damaged; else what [`crate::error::explain`] says.
    pub(crate) fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Found, Error> {
        batch.clear();
        let mut now = Instant::now();
        let deadline = now + wait;
        loop {
            if now.duration_since(self.looked) >= LOOK_EVERY && self.log.try_look_around()? {
                self.looked = now;
            }
            let nap = deadline.min(now + LOOK_EVERY);
            let next = self.log.ends().wait_for(nap, |ends| next(&self.slots, self.turn, ends));
            now = Instant::now();
            let Some(found) = next else {
                if now < deadline {
                    continue;
                }
                return Ok(Found::Nothing);
            };
            let (at, end) = found?;
            self.turn = at + 1;
            let slot = &mut self.slots[at];
            batch.partition.clone_from(&slot.partition);
            batch.log_end = Some(end);
            fill(&self.connection, slot, end, &self.limits, batch)
                .map_err(|fault| fault.explain(self.log.file(), "read records"))?;
            return Ok(if batch.is_empty() { Found::Gap(at) } else { Found::Records });
        }
    }

    /// Where reading a slot can go on that has a gap: with the oldest record that is left, or at the end.
    ///
    /// # Errors
    /// `Config` if the topic was deleted, or the database is damaged.
    pub(crate) fn behind_gap(&self, at: usize) -> Result<(u64, u64), Error> {
        let Slot { partition, id, position, .. } = &self.slots[at];
        let span = span(&self.connection, *id);
        let span = span.map_err(|error| Fault::from(error).explain(self.log.file(), "look for the oldest record"))?;
        match span {
            None => Err(deleted(&partition.topic)),
            // Retention takes the oldest only.
            Some((start, _)) if start <= *position => Err(damaged(self.log.file(), "records are missing")),
            Some(span) => Ok(span),
        }
    }
}

/// The first slot, from `turn` on and round, that has records, and its partition's end.
fn next(slots: &[Slot], turn: usize, ends: &HashMap<i64, u64>) -> Option<Result<(usize, u64), Error>> {
    (0..slots.len()).map(|step| (turn + step) % slots.len()).find_map(|at| {
        let slot = &slots[at];
        match ends.get(&slot.id) {
            None => Some(Err(deleted(&slot.partition.topic))),
            Some(end) if !slot.held && slot.position < slot.until.min(*end) => Some(Ok((at, *end))),
            Some(_) => None,
        }
    })
}

/// Where a partition's records begin and end; none if it was deleted.
pub(crate) fn span(sql: &Connection, partition: i64) -> rusqlite::Result<Option<(u64, u64)>> {
    let mut find = sql.prepare_cached(
        "SELECT coalesce((SELECT min(first) FROM batches WHERE partition = ?1), next), next FROM partitions WHERE id = ?1",
    )?;
    let row = |row: &Row<'_>| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64));
    find.query_row([partition], row).optional()
}

/// Reads as many stored batches as the limits take whole; if not even one, as much of it as they take. Nothing, if the
/// record at the slot's position is gone.
fn fill(
    connection: &Connection,
    slot: &mut Slot,
    end: u64,
    limits: &BatchLimits,
    batch: &mut Batch,
) -> Result<(), Fault> {
    let until = end.min(slot.until);
    let mut statement = connection.prepare_cached(
        "SELECT first, next, records FROM batches
         WHERE partition = ?1 AND first < ?3
         AND first >= coalesce((SELECT max(first) FROM batches WHERE partition = ?1 AND first <= ?2), 0)
         ORDER BY first",
    )?;
    let mut rows = statement.query(params![slot.id, slot.position as i64, until as i64])?;
    let mut position = slot.position;
    let mut is_full = false;
    while !is_full && let Some(row) = rows.next()? {
        let (first, next) = (row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64);
        let stored = row.get_ref(2)?.as_blob().map_err(|_| "no batch").and_then(Stored::parse);
        let file = || connection.path().unwrap_or_default().to_owned();
        let stored = stored.map_err(|what| damaged(file().as_ref(), what))?;
        if first.checked_add(stored.len() as u64) != Some(next) {
            return Err(damaged(file().as_ref(), "a batch that does not fill its offsets").into());
        }
        // It begins behind the position, where retention has passed that.
        let Some(start) = position.checked_sub(first).map(|start| start as usize) else { break };
        let mut stop = (next.min(until) - first) as usize;
        if start >= stop {
            continue;
        }
        let records_left = limits.records.saturating_sub(batch.len());
        let Some(bytes_left) = limits.bytes.checked_sub(batch.bytes()) else {
            break;
        };
        if stop - start > records_left || stored.bytes() > bytes_left {
            if !batch.is_empty() {
                break;
            }
            let fitting = stored.fitting(start, limits.bytes).min(limits.records.max(1));
            is_full = fitting < stop - start;
            stop = stop.min(start + fitting);
        }
        stored.append(start..stop, first, batch);
        position = first + stop as u64;
    }
    slot.position = position;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, sync_channel};
    use std::thread;

    use super::*;
    use crate::{NewRecord, TopicSettings, Writer};

    #[test]
    fn what_another_process_wrote_is_seen_at_the_start_though_somebody_is_writing() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path()).unwrap();
        log.create_topic("t", &TopicSettings::default()).unwrap();
        let id = log.topic("t").unwrap().partitions[0];
        let mut writer = Writer::open(&Log::visit(directory.path()).unwrap(), "t").unwrap();
        writer.send(&NewRecord::default()).unwrap();
        // The first is taken only once the log is.
        let (begun, done) = (sync_channel(0), channel());
        let beside = log.clone();
        let feed = thread::spawn(move || {
            begun.0.send(()).unwrap();
            Feed::new(&beside, Vec::new(), BatchLimits::default()).unwrap();
            done.0.send(()).unwrap();
            beside.ends().of(id)
        });
        let is_early = log.read("write meanwhile", |_| {
            begun.1.recv().unwrap();
            writer.flush().unwrap();
            // Long enough for a start that does not wait for its turn.
            Ok(done.1.recv_timeout(Duration::from_millis(50)).is_ok())
        });
        assert!(!is_early.unwrap());
        assert_eq!(feed.join().unwrap(), Some(1));
    }
}
