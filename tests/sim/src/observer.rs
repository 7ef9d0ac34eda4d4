use std::collections::VecDeque;

use sluicegate_audit::{Auditor, Partition};

use crate::broker::{Broker, Status};

/// Reads committed outputs as they come and the group's offsets, and shows them to the auditor.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) auditor: Auditor,
    /// How far each output partition is read.
    read: Vec<usize>,
    /// Committed offsets, to be shown once everything is read that was in the logs by then.
    offsets: VecDeque<Seen>,
}

#[derive(Debug)]
struct Seen {
    source: Partition,
    offset: u64,
    ends: Vec<usize>,
}

impl Observer {
    pub(crate) fn new(auditor: Auditor, places: usize) -> Self {
        Observer { auditor, read: vec![0; places], offsets: VecDeque::new() }
    }

    /// The group's offset of this partition is this one, now.
    pub(crate) fn committed(&mut self, broker: &Broker, source: Partition, offset: u64) {
        let ends = broker.logs.iter().map(|log| log.entries.len()).collect();
        self.offsets.push_back(Seen { source, offset, ends });
    }

    /// Reads what there is: each log as far as its first output of an open transaction.
    pub(crate) fn read(&mut self, broker: &Broker) {
        for (log, read) in broker.logs.iter().zip(&mut self.read) {
            for (at, entry) in log.entries.iter().enumerate().skip(*read) {
                match broker.status(entry) {
                    Status::Open => break,
                    Status::Aborted => {}
                    Status::Committed => self.auditor.output(&log.place, at as u64, &entry.id, &entry.record),
                }
                *read = at + 1;
            }
        }
        let read = &self.read;
        while let Some(seen) =
            self.offsets.pop_front_if(|seen| seen.ends.iter().zip(read).all(|(end, read)| end <= read))
        {
            self.auditor.committed(&seen.source, seen.offset);
        }
    }

    /// Reads everything again.
    pub(crate) fn read_again(&mut self, broker: &Broker) {
        for log in &broker.logs {
            let committed = |at: &usize| broker.status(&log.entries[*at]) == Status::Committed;
            let offsets: Vec<u64> = (0..log.entries.len()).filter(committed).map(|at| at as u64).collect();
            self.auditor.read_again(&log.place, &offsets);
        }
    }
}
