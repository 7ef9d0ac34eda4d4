use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use sluicegate_core::Error;

use crate::error::Fault;
use crate::log::{Log, Turn, in_turns};

/// How much of a topic is kept. Nothing set: all, for ever.
///
/// Whole batches go, oldest first, whether or not a group has read them; of a group that has not,
/// [`OnMissingOffset`](crate::OnMissingOffset) says what becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How many bytes of each partition are kept, rounded up to whole batches. Checked with every commit.
    pub bytes: Option<u64>,
    /// How long records are kept from when they were written, whatever their timestamps: old history that is copied here
    /// is not deleted at once. Checked about every ten seconds while records are written, and when the log is opened.
    pub age: Option<Duration>,
}

/// How often commits look for records that are too old.
const SWEEP_PAUSE: Duration = Duration::from_secs(10);
/// The most that is deleted in one turn: commits do not wait long for it.
const BATCHES_MAX: usize = 1000;
const BYTES_MAX: i64 = 64 << 20;

impl Retention {
    pub(crate) fn bytes_column(&self) -> Option<i64> {
        self.bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
    }

    pub(crate) fn age_column(&self) -> Option<i64> {
        self.age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
    }

    pub(crate) fn from_columns(bytes: Option<i64>, age_ms: Option<i64>) -> Self {
        Retention {
            bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            age: age_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
        }
    }
}

impl Log {
    /// Deletes what the topics' retention says is too much or too old.
    ///
    /// # Errors
    /// As of a commit.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        self.is_time_to_sweep(Duration::ZERO);
        in_turns(|| self.write("delete old records", sweep))
    }

    /// A turn of [`Log::sweep`], if it is time; where that is not enough, the next call goes on. For whoever has just
    /// written: that is durable, whatever becomes of this.
    pub(crate) fn sweep_if_due(&self) {
        if !self.is_time_to_sweep(SWEEP_PAUSE) {
            return;
        }
        match self.write("delete old records", sweep) {
            Ok(false) => {}
            Ok(true) => self.sweep_again(),
            Err(error) => tracing::warn!("{error}; it is tried again later"),
        }
    }
}

/// Whether there may be more to delete.
fn sweep(turn: &mut Turn<'_>) -> Result<bool, Fault> {
    let mut statement = turn.sql.prepare_cached(
        "SELECT p.id, t.retention_bytes, t.retention_ms FROM partitions p JOIN topics t ON t.id = p.topic
         WHERE p.bytes > 0 AND (t.retention_bytes IS NOT NULL OR t.retention_ms IS NOT NULL)",
    )?;
    let partitions = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut room = Room::default();
    for partition in partitions.collect::<rusqlite::Result<Vec<(i64, Option<i64>, Option<i64>)>>>()? {
        let (id, bytes_max, age_ms_max) = partition;
        let oldest = age_ms_max.map(|age| turn.now_ms.saturating_sub(age));
        trim(turn.sql, id, bytes_max, oldest, &mut room)?;
    }
    Ok(room.is_used_up())
}

/// What may still be deleted in a turn.
pub(crate) struct Room {
    batches: usize,
    bytes: i64,
}

impl Default for Room {
    fn default() -> Self {
        Room { batches: BATCHES_MAX, bytes: BYTES_MAX }
    }
}

impl Room {
    pub(crate) fn is_used_up(&self) -> bool {
        self.batches == 0 || self.bytes <= 0
    }
}

/// Deletes the oldest batches of a partition as long as `bytes_max` are left without them, or they were written before
/// `oldest`, and there is room for it.
pub(crate) fn trim(
    sql: &Connection,
    partition: i64,
    bytes_max: Option<i64>,
    oldest: Option<i64>,
    room: &mut Room,
) -> rusqlite::Result<()> {
    let mut total: i64 =
        sql.prepare_cached("SELECT bytes FROM partitions WHERE id = ?1")?.query_row([partition], |row| row.get(0))?;
    let before = total;
    let mut find =
        sql.prepare_cached("SELECT first, bytes, written FROM batches WHERE partition = ?1 ORDER BY first LIMIT 1")?;
    let mut delete = sql.prepare_cached("DELETE FROM batches WHERE partition = ?1 AND first = ?2")?;
    while !room.is_used_up() {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let Some((first, bytes, written)) = find.query_row([partition], row).optional()? else {
            break;
        };
        let (first, bytes, written): (i64, i64, i64) = (first, bytes, written);
        let too_much = bytes_max.is_some_and(|max| total - bytes >= max);
        if !too_much && oldest.is_none_or(|oldest| written >= oldest) {
            break;
        }
        delete.execute([partition, first])?;
        total -= bytes;
        room.batches -= 1;
        room.bytes = room.bytes.saturating_sub(bytes);
    }
    if total != before {
        sql.prepare_cached("UPDATE partitions SET bytes = bytes + ?1 WHERE id = ?2")?
            .execute([total - before, partition])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicSettings;

    #[test]
    fn a_commit_deletes_no_more_than_a_turns_worth() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path()).unwrap();
        let retention = Retention { bytes: None, age: Some(Duration::from_secs(60)) };
        log.create_topic("t", &TopicSettings { partitions: 1, retention }).unwrap();
        let old = "
            WITH RECURSIVE generated (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM generated WHERE n < 1499)
            INSERT INTO batches SELECT partitions.id, n, n + 1, 0, 0, 1, x'00' FROM partitions, generated;
            UPDATE partitions SET next = 1500, bytes = 1500;";
        log.read("write old batches", |sql| Ok(sql.execute_batch(old)?)).unwrap();
        log.sweep_again();
        for left in [500, 0] {
            log.sweep_if_due();
            let count =
                |sql: &Connection| Ok(sql.query_row("SELECT count(*) FROM batches", [], |row| row.get::<_, i64>(0))?);
            assert_eq!(log.read("count", count).unwrap(), left);
        }
    }
}
