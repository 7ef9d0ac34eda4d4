use std::collections::HashMap;

use rusqlite::{ErrorCode, params};
use sluicegate_core::{Error, ErrorKind, Partition, Positions};

use crate::error::Fault;
use crate::log::{Log, Turn};
use crate::topics::deleted;

/// Which member of a group reads a partition now. A member whose partition was claimed by another cannot commit any
/// more: a worker that was given up for dead and comes back does no harm.
///
/// In memory only: no other process has the log open, and claims end with the process.
#[derive(Default)]
pub(crate) struct Claims {
    members: u64,
    holders: HashMap<(String, i64), Member>,
}

/// One member of one group, never the same twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member(u64);

impl Claims {
    /// A new member of the group, who holds these partitions from now on.
    pub(crate) fn claim(&mut self, group: &str, partitions: impl Iterator<Item = i64>) -> Member {
        self.members += 1;
        let member = Member(self.members);
        self.holders.extend(partitions.map(|partition| ((group.to_owned(), partition), member)));
        member
    }

    fn holds(&self, member: Member, group: &str, partition: i64) -> bool {
        self.holders.get(&(group.to_owned(), partition)) == Some(&member)
    }
}

/// Makes `next` a member's offset in a partition.
///
/// # Errors
/// `Promise` if another member of the group has claimed the partition, `Config` if its topic was deleted.
pub(crate) fn commit(
    turn: &mut Turn<'_>,
    group: &str,
    member: Member,
    (partition, id): (&Partition, i64),
    next: u64,
) -> Result<(), Fault> {
    if !turn.claims.holds(member, group, id) {
        let message = format!(
            "{partition}: another worker of group '{group}' has taken the partition over; nothing was committed. Two \
             pipelines must not share a group"
        );
        return Err(Error::new(ErrorKind::Promise, message).into());
    }
    put(turn, group, id, next).map_err(|error| match error.sqlite_error_code() {
        // An offset is of a partition that is there.
        Some(ErrorCode::ConstraintViolation) => deleted(&partition.topic).into(),
        _ => Fault::from(error),
    })
}

/// A group does not go back: what was in flight while it was moved on is committed after that.
pub(crate) fn put(turn: &Turn<'_>, group: &str, partition: i64, next: u64) -> rusqlite::Result<()> {
    turn.sql
        .prepare_cached(
            "INSERT INTO offsets (consumer_group, partition, next) VALUES (?1, ?2, ?3)
             ON CONFLICT (consumer_group, partition) DO UPDATE SET next = max(next, excluded.next)",
        )?
        .execute(params![group, partition, next as i64])?;
    Ok(())
}

impl Log {
    /// The groups that have read something, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn groups(&self) -> Result<Vec<String>, Error> {
        self.read("list the groups", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT DISTINCT consumer_group FROM offsets ORDER BY consumer_group")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }

    /// The offsets a group has committed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn offsets(&self, group: &str) -> Result<Positions, Error> {
        self.read("read a group's offsets", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT t.name, p.number, o.next FROM offsets o
                 JOIN partitions p ON p.id = o.partition JOIN topics t ON t.id = p.topic
                 WHERE o.consumer_group = ?1",
            )?;
            let rows = statement.query_map([group], |row| {
                let partition = Partition { topic: row.get::<_, String>(0)?.into(), number: row.get(1)? };
                Ok((partition, row.get::<_, i64>(2)? as u64))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Sets a group's offsets, for a replay. Workers of the group that are running have to be started anew: what they
    /// commit from now on is refused.
    ///
    /// # Errors
    /// `Config` if one of the partitions does not exist; then none is set.
    pub fn set_offsets(&self, group: &str, positions: &Positions) -> Result<(), Error> {
        let mut ids = Vec::new();
        for partition in positions.keys() {
            let topic = self.topic(&partition.topic)?;
            let id = topic.partitions.get(partition.number as usize).copied();
            ids.push(id.ok_or_else(|| crate::error::config(format!("there is no partition {partition}")))?);
        }
        self.write("set a group's offsets", |turn| {
            turn.claims.claim(group, ids.iter().copied());
            for (id, next) in ids.iter().zip(positions.values()) {
                put(turn, group, *id, *next)?;
            }
            Ok(())
        })
    }
}
