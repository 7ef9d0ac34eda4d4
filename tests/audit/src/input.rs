use std::ops::Range;
use std::sync::Arc;

use crate::order::Order;
use crate::partition::{Partition, Partitions};
use crate::record::{Header, Id, Record};

/// What must become of an input record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// These outputs, in the order of their index; none where a plugin drops the record or a policy skips it.
    Produced(Vec<Expected>),
    /// The record itself, with further headers after its own.
    DeadLetter {
        /// The record, where it goes to.
        letter: Expected,
        /// What must be among those headers: who failed on the record, and how.
        story: Vec<Header>,
    },
}

/// An output that must come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The topic it goes to.
    pub topic: Arc<str>,
    /// The partition it goes to, where only one is right.
    pub partition: Option<u32>,
    /// What it says.
    pub record: Record,
}

/// One input partition, and what has been seen of its outputs.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pub(crate) entries: Vec<Entry>,
    /// The committed offset as last seen.
    pub(crate) committed: u64,
    /// How many entries were below the highest committed offset.
    pub(crate) done: usize,
    /// How many entries were done at each fault.
    pub(crate) faults: Vec<usize>,
    /// One for each output partition.
    pub(crate) orders: Partitions<Order>,
}

/// One input record.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) offset: u64,
    /// What a dead letter must tell, if it becomes one.
    pub(crate) story: Option<Vec<Header>>,
    pub(crate) due: Vec<Due>,
}

/// One output that is due.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) expected: Expected,
    pub(crate) seen: u32,
    /// Its place in the order of its output partition, once seen.
    pub(crate) place: u32,
}

/// How an output came.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// How often it has come by now.
    pub(crate) times: u32,
    /// Offset and index of an output that was there already and should have come later.
    pub(crate) late: Option<(u64, u32)>,
    /// If it does not follow what came before it: how often that was so by now.
    pub(crate) restarts: usize,
    /// Faults so far.
    pub(crate) faults: usize,
}

impl Input {
    pub(crate) fn push(&mut self, offset: u64, fate: Fate) {
        let (story, expected) = match fate {
            Fate::Produced(outputs) => (None, outputs),
            Fate::DeadLetter { letter, story } => (Some(story), vec![letter]),
        };
        let due = expected.into_iter().map(|expected| Due { expected, seen: 0, place: 0 }).collect();
        self.entries.push(Entry { offset, story, due });
    }

    /// The entry that causes an output of this id.
    pub(crate) fn find(&self, id: Id<'_>) -> Option<usize> {
        let at = self.entries.binary_search_by_key(&id.offset, |entry| entry.offset).ok()?;
        ((id.index as usize) < self.entries[at].due.len()).then_some(at)
    }

    /// An output of an entry comes to an output partition.
    pub(crate) fn arrive(&mut self, at: usize, index: usize, place: &Partition) -> Arrival {
        let entry = &mut self.entries[at];
        let due = &mut entry.due[index];
        let order = self.orders.entry(place);
        due.seen += 1;
        let mut late = None;
        if due.seen == 1 {
            (due.place, late) = order.first((entry.offset, index as u32));
        }
        // Once told, a restart is not told again with every output that follows it.
        let restarts = if order.begins_run(due.place) { order.runs() - 1 } else { 0 };
        Arrival { times: due.seen, late, restarts, faults: self.faults.len() }
    }

    /// The entries that are done now and were not before.
    pub(crate) fn newly_done(&mut self, committed: u64) -> Range<usize> {
        let from = self.done;
        self.done = from + self.entries[from..].iter().take_while(|entry| entry.offset < committed).count();
        from..self.done
    }

    /// How often the faults allow an entry to be repeated, if each repeats so many entries at most.
    pub(crate) fn repeats_allowed(&self, entry: usize, entries_max: usize) -> usize {
        self.faults.iter().filter(|done| (**done..done.saturating_add(entries_max)).contains(&entry)).count()
    }
}

impl Entry {
    pub(crate) fn missing(&self) -> impl Iterator<Item = usize> {
        self.due.iter().enumerate().filter(|(_, due)| due.seen == 0).map(|(index, _)| index)
    }
}
