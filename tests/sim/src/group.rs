use std::collections::BTreeSet;

use crate::broker::TransactionId;

/// A membership: whoever is thrown out and joins again is another member.
pub(crate) type Member = u64;

/// The consumer group, as its coordinator sees it. Partitions are indices.
#[derive(Debug)]
pub(crate) struct Group {
    joined: Member,
    members: BTreeSet<Member>,
    owners: Vec<Option<Member>>,
    committed: Vec<u64>,
    /// The open transaction that is about to commit an offset of the partition.
    pending: Vec<Option<TransactionId>>,
}

impl Group {
    pub(crate) fn new(partitions: usize) -> Self {
        Group {
            joined: 0,
            members: BTreeSet::new(),
            owners: vec![None; partitions],
            committed: vec![0; partitions],
            pending: vec![None; partitions],
        }
    }

    pub(crate) fn join(&mut self) -> Member {
        self.joined += 1;
        self.members.insert(self.joined);
        self.joined
    }

    /// Lets a member in again that was thrown out, with nothing of what it had.
    pub(crate) fn readmit(&mut self, member: Member) -> bool {
        self.members.insert(member)
    }

    pub(crate) fn has(&self, member: Member) -> bool {
        self.members.contains(&member)
    }

    /// A member leaves or is thrown out; whether it was one.
    pub(crate) fn remove(&mut self, member: Member) -> bool {
        for owner in self.owners.iter_mut().filter(|owner| **owner == Some(member)) {
            *owner = None;
        }
        self.members.remove(&member)
    }

    /// The partitions that nobody has and whose committed offset is settled.
    pub(crate) fn free(&self) -> Vec<usize> {
        (0..self.owners.len()).filter(|at| self.owners[*at].is_none() && self.pending[*at].is_none()).collect()
    }

    pub(crate) fn take(&mut self, partition: usize, member: Member) {
        self.owners[partition] = Some(member);
    }

    pub(crate) fn release(&mut self, partition: usize, member: Member) {
        if self.owners[partition] == Some(member) {
            self.owners[partition] = None;
        }
    }

    pub(crate) fn committed(&self, partition: usize) -> u64 {
        self.committed[partition]
    }

    pub(crate) fn commit(&mut self, offsets: &[(usize, u64)]) {
        for (partition, offset) in offsets {
            self.committed[*partition] = *offset;
        }
    }

    pub(crate) fn await_transaction(&mut self, transaction: TransactionId, offsets: &[(usize, u64)]) {
        for (partition, _) in offsets {
            self.pending[*partition] = Some(transaction);
        }
    }

    pub(crate) fn transaction_ended(&mut self, transaction: TransactionId) {
        for pending in self.pending.iter_mut().filter(|pending| **pending == Some(transaction)) {
            *pending = None;
        }
    }
}
