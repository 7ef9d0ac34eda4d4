use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use sluicegate_core::Error;

use crate::error::{Fault, config};
use crate::log::{Log, Turn, in_turns};
use crate::retention::{Retention, Room, trim};

const PARTITIONS_MAX: u32 = 10_000;
const NAME_LENGTH_MAX: usize = 249;
/// Given back to the file system in one turn: 16 MiB.
const VACUUM_PAGES: u32 = 4096;

/// What a topic is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// The number of partitions, from 1 to 10,000; it stays.
    pub partitions: u32,
    /// How much is kept.
    pub retention: Retention,
}

impl Default for TopicSettings {
    /// One partition, everything kept.
    fn default() -> Self {
        TopicSettings { partitions: 1, retention: Retention::default() }
    }
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// How much of it is kept.
    pub retention: Retention,
    /// Its partitions, by number from 0.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The offset of the oldest record that is kept, or `end` if there is none.
    pub start: u64,
    /// The offset of the next record.
    pub end: u64,
    /// The bytes its batches take.
    pub bytes: u64,
}

/// What is needed to read or write a topic: its partitions' ids, by number.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) partitions: Vec<i64>,
}

impl Log {
    /// Makes a topic.
    ///
    /// # Errors
    /// `Config` if there is one of that name, the name is none that Kafka would take, or the number of partitions is
    /// out of bounds.
    pub fn create_topic(&self, name: &str, settings: &TopicSettings) -> Result<(), Error> {
        self.write("create a topic", |turn| {
            if find(turn.sql, name)?.is_some() {
                return Err(config(format!("topic '{name}' exists already")).into());
            }
            create(turn, name, settings)?;
            Ok(())
        })
    }

    /// Makes a topic, unless there is one of that name: that stays as it is. Says whether one was made.
    ///
    /// # Errors
    /// As of [`Log::create_topic`].
    pub fn ensure_topic(&self, name: &str, settings: &TopicSettings) -> Result<bool, Error> {
        self.write("create a topic", |turn| match find(turn.sql, name)? {
            Some(_) => Ok(false),
            None => create(turn, name, settings).map(|_| true),
        })
    }

    /// Deletes a topic, its records and what groups have read of it. Whoever reads or writes it gets an error. Others commit in
    /// between, however large it is; ended half-way, it leaves a topic without its oldest records.
    ///
    /// # Errors
    /// `Config` if there is no such topic.
    pub fn delete_topic(&self, name: &str) -> Result<(), Error> {
        in_turns(|| self.write("delete a topic", |turn| delete(turn, name)))?;
        self.give_space_back()
    }

    /// Gives pages that nothing uses back to the file system.
    fn give_space_back(&self) -> Result<(), Error> {
        let mut before = i64::MAX;
        in_turns(|| {
            self.read("give space back to the file system", |connection| {
                let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
                let mut freed = statement.query([])?;
                while freed.next()?.is_some() {}
                let left: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
                let is_worth_more = left > 0 && left < before;
                before = left;
                Ok(is_worth_more)
            })
        })
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn topics(&self) -> Result<Vec<TopicInfo>, Error> {
        self.read("list the topics", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT t.name, t.retention_bytes, t.retention_ms, p.next, p.bytes,
                        coalesce((SELECT min(first) FROM batches b WHERE b.partition = p.id), p.next)
                 FROM topics t JOIN partitions p ON p.topic = t.id ORDER BY t.name, p.number",
            )?;
            let mut rows = statement.query([])?;
            let mut topics: Vec<TopicInfo> = Vec::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(0)?;
                let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
                let partition = PartitionInfo { start: number(5)?, end: number(3)?, bytes: number(4)? };
                match topics.last_mut().filter(|topic| topic.name == name) {
                    Some(topic) => topic.partitions.push(partition),
                    None => {
                        let retention = Retention::from_columns(row.get(1)?, row.get(2)?);
                        topics.push(TopicInfo { name, retention, partitions: vec![partition] });
                    }
                }
            }
            Ok(topics)
        })
    }

    /// The largest number of partitions among these topics: what a sink makes its topics with.
    ///
    /// # Errors
    /// `Config`, with the remedy, if one of them does not exist.
    pub fn partitions_of<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<u32, Error> {
        let counts = names.into_iter().map(|name| Ok(self.topic(name)?.partitions.len() as u32));
        counts.collect::<Result<Vec<_>, Error>>().map(|counts| counts.into_iter().max().unwrap_or(1))
    }

    /// A topic that must be there.
    pub(crate) fn topic(&self, name: &str) -> Result<Topic, Error> {
        let found = self.read("look for a topic", |connection| Ok(find(connection, name)?))?;
        found.ok_or_else(|| unknown(name).within(&format!("local log {}", self.directory().display())))
    }

    /// A topic, which is made with so many partitions if it does not exist.
    pub(crate) fn topic_or_new(&self, name: &str, partitions: u32) -> Result<Topic, Error> {
        self.write("create a topic", |turn| match find(turn.sql, name)? {
            Some(topic) => Ok(topic),
            None => create(turn, name, &TopicSettings { partitions, ..TopicSettings::default() }),
        })
    }
}

pub(crate) fn unknown(name: &str) -> Error {
    config(format!("there is no topic '{name}'; make it with `sluicegate topics create {name}`"))
}

pub(crate) fn deleted(name: &str) -> Error {
    config(format!("topic '{name}' was deleted while it was in use"))
}

fn find(connection: &Connection, name: &str) -> rusqlite::Result<Option<Topic>> {
    let mut statement = connection.prepare_cached("SELECT id FROM topics WHERE name = ?1")?;
    let Some(topic) = statement.query_row([name], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(None);
    };
    let mut statement = connection.prepare_cached("SELECT id FROM partitions WHERE topic = ?1 ORDER BY number")?;
    let partitions = statement.query_map([topic], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Some(Topic { name: name.into(), partitions }))
}

fn create(turn: &mut Turn<'_>, name: &str, settings: &TopicSettings) -> Result<Topic, Fault> {
    check_name(name)?;
    if !(1..=PARTITIONS_MAX).contains(&settings.partitions) {
        let partitions = settings.partitions;
        return Err(config(format!(
            "topic '{name}': {partitions} partitions; from 1 to {PARTITIONS_MAX} are possible"
        ))
        .into());
    }
    let retention = &settings.retention;
    turn.sql.execute(
        "INSERT INTO topics (name, retention_bytes, retention_ms) VALUES (?1, ?2, ?3)",
        params![name, retention.bytes_column(), retention.age_column()],
    )?;
    let topic = turn.sql.last_insert_rowid();
    let mut partitions = Vec::new();
    for number in 0..settings.partitions {
        turn.sql
            .prepare_cached("INSERT INTO partitions (topic, number) VALUES (?1, ?2)")?
            .execute(params![topic, number])?;
        let id = turn.sql.last_insert_rowid();
        turn.ends_at(id, 0);
        partitions.push(id);
    }
    Ok(Topic { name: name.into(), partitions })
}

/// Deletes some of a topic's records or, where none are left, the topic; says whether there is more to do.
fn delete(turn: &mut Turn<'_>, name: &str) -> Result<bool, Fault> {
    let topic = find(turn.sql, name)?.ok_or_else(|| unknown(name))?;
    let mut room = Room::default();
    for id in &topic.partitions {
        trim(turn.sql, *id, Some(0), None, &mut room)?;
    }
    if room.is_used_up() {
        return Ok(true);
    }
    turn.sql.execute("DELETE FROM topics WHERE name = ?1", [name])?;
    topic.partitions.iter().for_each(|id| turn.is_gone(*id));
    Ok(false)
}

/// Kafka's rules, so that a topic keeps its name when a pipeline moves to Kafka.
fn check_name(name: &str) -> Result<(), Error> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_legal = !name.is_empty() && name.len() <= NAME_LENGTH_MAX && name.bytes().all(legal);
    if is_legal && name != "." && name != ".." {
        return Ok(());
    }
    Err(config(format!(
        "'{name}' is no topic name: 1 to {NAME_LENGTH_MAX} characters of a-z, A-Z, 0-9, '.', '_' and '-', other than '.' and '..'"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        for name in ["trades", "a.b_c-D9", &"x".repeat(249)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "é", "a\0", &"x".repeat(250)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_large_topic_is_deleted_in_turns_and_leaves_no_free_pages() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path()).unwrap();
        log.create_topic("large", &TopicSettings { partitions: 2, ..TopicSettings::default() }).unwrap();
        log.write("fill the topic", |turn| {
            Ok(turn.sql.execute_batch(
                "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2499)
                 INSERT INTO batches SELECT id, n, n + 1, 0, 0, 10000, zeroblob(10000) FROM partitions, numbers;
                 UPDATE partitions SET next = 2500, bytes = 25000000;",
            )?)
        })
        .unwrap();
        let turn = || log.write("delete a topic", |turn| delete(turn, "large")).unwrap();
        assert!(turn() && turn());
        let topics = log.topics().unwrap();
        let starts: Vec<u64> = topics[0].partitions.iter().map(|partition| partition.start).collect();
        assert_eq!(starts, [2000, 0]);
        log.delete_topic("large").unwrap();
        assert_eq!(log.topics().unwrap(), []);
        let pages = |name: &str| {
            log.read("count pages", |sql| Ok(sql.pragma_query_value(None, name, |row| row.get::<_, i64>(0))?)).unwrap()
        };
        assert!(pages("freelist_count") == 0 && pages("page_count") < 100, "{} pages", pages("page_count"));
    }
}
