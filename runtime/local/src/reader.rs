use std::time::Duration;

use sluicegate_core::{Batch, Error, Partition};

use crate::error::config;
use crate::feed::{Feed, Found, Slot};
use crate::log::Log;
use crate::source::{BatchLimits, Start, first_offset};

/// Reads a topic outside any pipeline and group: where it stopped is not remembered. May move between threads.
pub struct Reader {
    log: Log,
    feed: Feed,
}

impl Reader {
    /// Reads one partition of a topic, or all of them in turn, from `start` on.
    ///
    /// # Errors
    /// `Config` if there is no such topic or partition.
    pub fn open(log: &Log, topic: &str, partition: Option<u32>, start: Start) -> Result<Self, Error> {
        let topic = log.topic(topic)?;
        let all = (0..).zip(&topic.partitions).filter(|(number, _)| partition.is_none_or(|wanted| wanted == *number));
        let slots = log.read("find where to begin", |connection| {
            let slot = |(number, id): (u32, &i64)| {
                let partition = Partition { topic: topic.name.clone(), number };
                Ok(Slot {
                    partition,
                    id: *id,
                    position: first_offset(connection, *id, start)?,
                    until: u64::MAX,
                    held: false,
                })
            };
            all.map(slot).collect::<Result<Vec<_>, _>>()
        })?;
        if slots.is_empty() {
            let count = topic.partitions.len();
            return Err(config(format!("topic '{}' has {count} partitions, numbered from 0", topic.name)));
        }
        Ok(Reader { log: log.clone(), feed: Feed::new(log, slots, BatchLimits::default())? })
    }

    /// The same, but reads no record that is written from now on.
    #[must_use]
    pub fn up_to_end(mut self) -> Self {
        for slot in self.feed.slots_mut() {
            slot.until = self.log.ends().of(slot.id).unwrap_or_default();
        }
        self
    }

    /// Replaces `batch` by the next records of one partition, waiting at most `wait` for the first; says whether there
    /// are any. Records of one partition come in order, without those that retention takes meanwhile; partitions take turns.
    ///
    /// # Errors
    /// `Config` if the topic was deleted, or the database is damaged.
    pub fn read(&mut self, batch: &mut Batch, wait: Duration) -> Result<bool, Error> {
        while !self.is_done() {
            match self.feed.poll(batch, wait)? {
                Found::Records => return Ok(true),
                Found::Nothing => return Ok(false),
                Found::Gap(at) => self.feed.slots_mut()[at].position = self.feed.behind_gap(at)?.0,
            }
        }
        batch.clear();
        Ok(false)
    }

    /// Whether a reader made by [`Reader::up_to_end`] has read everything.
    pub fn is_done(&self) -> bool {
        self.feed.slots().iter().all(|slot| slot.position >= slot.until)
    }
}
