use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::{Batch, Error, Partition, Polled, Row, Source, Stop, Story};

use super::LetterReader;
use super::index::{Place, STUCK_AFTER, stuck};
use super::ledger::Ledger;
use crate::config::BatchLimits;

/// Gives the records of letters as they were before they failed: with their own headers, topic, partition and offset. Asks
/// the worker to stop after the last one.
pub(super) struct LetterSource {
    reader: Box<dyn LetterReader>,
    /// The bounds of a batch.
    records: usize,
    bytes: usize,
    /// What is to be given, and the further letters of the same record.
    open: HashMap<Place, Vec<Place>>,
    ready: VecDeque<Ready>,
    held: HashSet<Partition>,
    page: Batch,
    ledger: Rc<RefCell<Ledger>>,
    stop: Arc<Stop>,
    /// When the last page came.
    moved: Instant,
}

/// A batch of records, and the letters of each.
#[derive(Default)]
struct Ready {
    batch: Batch,
    letters: Vec<Vec<Place>>,
}

/// While partitions are held, no more than this is read ahead for the others.
const READY_MAX: usize = 256;

impl LetterSource {
    pub(super) fn new(
        reader: Box<dyn LetterReader>,
        batch: &BatchLimits,
        open: HashMap<Place, Vec<Place>>,
        ledger: Rc<RefCell<Ledger>>,
        stop: Arc<Stop>,
    ) -> Self {
        let (ready, held, page) = Default::default();
        let (records, bytes) = (batch.records as usize, batch.bytes.bytes());
        LetterSource { reader, records, bytes, open, ready, held, page, ledger, stop, moved: Instant::now() }
    }

    /// The next batch that may set out. Those of a partition keep their order.
    fn next(&mut self) -> Option<Batch> {
        let mut ledger = self.ledger.borrow_mut();
        let mut waiting: Vec<&Partition> = self.held.iter().collect();
        let index = self.ready.iter().position(|Ready { batch, .. }| {
            let may_go = !waiting.contains(&&batch.partition) && ledger.takes(batch);
            if !may_go {
                waiting.push(&batch.partition);
            }
            may_go
        })?;
        let Ready { batch, letters } = self.ready.remove(index)?;
        ledger.give(&batch, letters);
        Some(batch)
    }

    /// Reads a page of the topic; whether there may be more of it to come.
    fn read(&mut self) -> Result<bool, Error> {
        if self.open.is_empty() {
            return Ok(false);
        }
        if self.reader.read(&mut self.page)? {
            self.moved = Instant::now();
            self.sort();
            return Ok(true);
        }
        if self.moved.elapsed() > STUCK_AFTER {
            return Err(stuck());
        }
        Ok(!self.reader.is_done())
    }

    /// Sorts the page's open letters into batches by the partition that their records came from.
    fn sort(&mut self) {
        let mut batches: Vec<Ready> = Vec::new();
        for row in self.page.rows() {
            let place = (self.page.partition.number, row.offset);
            let Some(others) = self.open.remove(&place) else { continue };
            let Some((story, own)) = Story::read(&row) else { continue };
            let has_room = |Ready { batch, .. }: &Ready| {
                let has_room = batch.len() < self.records && batch.bytes() < self.bytes;
                has_room && batch.offsets.last() < Some(&story.offset)
            };
            // Only the last batch of a partition may grow: records keep the order of their letters.
            let last = batches.iter().rposition(|ready| ready.batch.partition == story.source);
            let index = last.filter(|index| has_room(&batches[*index])).unwrap_or_else(|| {
                batches.push(Ready::default());
                batches.len() - 1
            });
            batches[index].push(&row, &story, own, std::iter::once(place).chain(others).collect());
        }
        self.ready.extend(batches);
    }
}

impl Ready {
    fn push(&mut self, row: &Row<'_>, story: &Story, own: usize, letters: Vec<Place>) {
        self.batch.partition.clone_from(&story.source);
        self.batch.push(story.offset, row.timestamp, row.key, row.value);
        for (name, value) in row.headers.take(own) {
            self.batch.push_header(name, value);
        }
        self.letters.push(letters);
    }
}

impl Source for LetterSource {
    fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
        batch.clear();
        if let Some(next) = self.next() {
            *batch = next;
            return Ok(Polled::Batch);
        }
        let may_read = self.ready.len() < READY_MAX;
        if may_read && self.read()? {
            return Ok(Polled::Idle);
        }
        if self.ready.is_empty() && self.held.is_empty() {
            self.stop.request();
        } else {
            // All that is left waits for a retry, or for what is on its way.
            std::thread::sleep(wait);
        }
        Ok(Polled::Idle)
    }

    fn attend(&mut self) -> Result<Polled, Error> {
        Ok(Polled::Idle)
    }

    fn ready(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        Ok(false)
    }

    fn release(&mut self) -> Result<Vec<Partition>, Error> {
        Ok(Vec::new())
    }

    /// The next replay goes on from what is committed.
    fn rewind(&mut self, why: &Error) -> Result<(), Error> {
        Err(why.clone())
    }

    fn hold(&mut self, partition: &Partition, held: bool) {
        match held {
            true => self.held.insert(partition.clone()),
            false => self.held.remove(partition),
        };
    }

    fn close(&mut self) {}
}
