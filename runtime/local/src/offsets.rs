use std::collections::HashMap;

use rusqlite::{ErrorCode, params};
use sluicegate_core::{Error, ErrorKind, Partition};

use crate::error::Fault;
use crate::log::Turn;
use crate::topics::deleted;

/// Which member of a group reads a partition now. Once another has claimed the partition, a member cannot commit any
/// more: a worker that was given up for dead and comes back does no harm.
///
/// In memory only: no other process reads for a group, and claims end with the process.
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
