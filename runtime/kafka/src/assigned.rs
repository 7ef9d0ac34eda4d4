use std::sync::Arc;

use rdkafka::topic_partition_list::Offset;
use sluicegate_core::{Batch, Partition};

use crate::native::{MessageBatch, PartitionQueue, ReadError, SharedConsumer};
use crate::wake::Wake;

/// A partition that this member reads.
pub(crate) struct Assigned {
    pub(crate) partition: Partition,
    pub(crate) queue: PartitionQueue,
    /// Records that the last batch had no room for.
    pub(crate) rest: MessageBatch,
    /// No batch is to be given of it for now.
    pub(crate) held: bool,
    /// Where it began, should the group have no offset yet.
    pub(crate) begin: Offset,
    /// Where the next batch goes on; 0 while none was given.
    pub(crate) next: u64,
}

impl Assigned {
    /// Splits the partition's records off the consumer's own queue, `records` at a time. Before `assign`, as
    /// [`PartitionQueue::split`].
    pub(crate) fn new(
        consumer: &SharedConsumer,
        partition: Partition,
        begin: Offset,
        records: usize,
        wake: &Arc<Wake>,
    ) -> Option<Self> {
        let (topic, number) = (&partition.topic, partition.number.cast_signed());
        let queue = PartitionQueue::split(consumer, topic, number, Arc::clone(wake))?;
        let rest = MessageBatch::new(consumer, records);
        Some(Assigned { partition, queue, rest, held: false, begin, next: 0 })
    }

    /// Fills the batch with the partition's next records that wait, and says whether it is to be given. It has no records, but an
    /// end, where there were only transactions' markers or aborted records: the group is to go on after those, or it would
    /// lag behind the end of the log for ever.
    pub(crate) fn read(&mut self, batch: &mut Batch, batch_bytes: usize) -> Result<bool, ReadError> {
        batch.partition.clone_from(&self.partition);
        loop {
            while !self.rest.is_empty() {
                // A repeated offset would be a repeated record; none is let through, whatever librdkafka does.
                self.rest.copy_into(batch, batch_bytes, self.next)?;
                if self.advance(batch) {
                    return Ok(true);
                }
            }
            if !self.queue.take_ready() {
                return Ok(false);
            }
            if self.rest.fill(&self.queue) {
                self.queue.set_ready();
            }
            if self.rest.is_empty() && self.advance(batch) {
                return Ok(true);
            }
        }
    }

    /// Goes on after what the batch holds, and after what librdkafka passed over behind that. Says whether there was any of both.
    fn advance(&mut self, batch: &mut Batch) -> bool {
        let last = batch.offsets.last().map_or(self.next, |last| last + 1);
        // While records wait, librdkafka's position is behind those.
        let passed = if self.rest.is_empty() { self.queue.advance() } else { None };
        batch.end = passed.filter(|position| *position > last);
        let next = batch.end.unwrap_or(last);
        let advances = next > self.next;
        if advances {
            self.next = next;
            batch.log_end = self.queue.log_end();
        }
        advances
    }
}
