use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sluicegate_core::{
    Destination, Error, HeaderSlice, NO_TIMESTAMP, Output, Partition, Positions, Progress, REPLAYED, Sink, Story,
    Ticket, Transaction,
};

use super::Coordinates;
use super::index::Place;
use super::ledger::Ledger;
use super::report::{Produced, Report};
use crate::config::unix_ms;

/// What the sink and the transaction of a replay share.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) ledger: Rc<RefCell<Ledger>>,
    pub(super) report: Rc<Report>,
    pub(super) topic: Arc<str>,
}

impl Desk {
    fn coordinates(&self, (number, offset): Place) -> Coordinates {
        Coordinates { partition: Partition { topic: self.topic.clone(), number }, offset }
    }

    /// The record failed again: nothing is written, and its letters stay as they are.
    fn failed(&self, output: &Output<'_>) {
        let mut ledger = self.ledger.borrow_mut();
        let mut letter = None;
        if let Some(record) = ledger.record(output.source, output.offset) {
            record.failed = true;
            letter = record.letters.first().map(|place| self.coordinates(*place));
        }
        ledger.failed += 1;
        if let (Some(letter), Some(story)) = (letter, Story::of(output)) {
            self.report.failed(&letter, &story.failure, &story.reason);
        }
    }
}

/// Writes outputs; keeps from the dead-letter topic what failed again.
pub(super) struct LetterSink {
    pub(super) inner: Rc<RefCell<Box<dyn Sink>>>,
    pub(super) desk: Desk,
}

impl Sink for LetterSink {
    fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
        if output.to == Destination::DeadLetter {
            self.desk.failed(output);
            return Ok(());
        }
        self.desk.ledger.borrow_mut().outputs += 1;
        self.inner.borrow_mut().write(output, ticket)
    }

    fn send_now(&mut self) {
        self.inner.borrow_mut().send_now();
    }

    fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
        self.inner.borrow_mut().acknowledged(progress, wait)
    }
}

/// Commits, with the outputs of records that came through, the marks of their letters.
pub(super) struct LetterTransaction {
    pub(super) inner: Box<dyn Transaction>,
    pub(super) sink: Rc<RefCell<Box<dyn Sink>>>,
    pub(super) desk: Desk,
}

impl Transaction for LetterTransaction {
    fn begin(&mut self) -> Result<(), Error> {
        self.inner.begin()
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
        self.commit_while(positions, &mut || false)
    }

    fn commit_while(&mut self, positions: &Positions, meanwhile: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        let done = self.desk.ledger.borrow_mut().done(positions);
        for place in done {
            mark(&mut **self.sink.borrow_mut(), &self.desk.coordinates(place))?;
        }
        self.inner.commit_while(&Positions::new(), meanwhile)?;
        self.desk.report.advance(&self.desk.ledger.borrow());
        Ok(())
    }

    fn abort(&mut self) -> Result<(), Error> {
        self.inner.abort()
    }
}

/// Writes the mark of the letter that stands here. It has a key and a value, as a compacted topic asks for one and would
/// take it for a deletion without the other.
fn mark(sink: &mut dyn Sink, letter: &Coordinates) -> Result<(), Error> {
    let key = letter.to_string();
    let mark = Output {
        to: Destination::Replayed,
        source: &letter.partition,
        offset: letter.offset,
        index: 0,
        timestamp: unix_ms(SystemTime::now()).unwrap_or(NO_TIMESTAMP),
        key: Some(key.as_bytes()),
        value: Some(b"replayed"),
        headers: HeaderSlice::default(),
        added: &[(REPLAYED, letter.offset.to_string())],
    };
    sink.write(&mark, Ticket(u64::MAX))
}

/// Tells what would be written, and writes nothing.
pub(super) struct Preview {
    pub(super) desk: Desk,
    /// The topics of the default output and of the named ones.
    pub(super) default: String,
    pub(super) named: Vec<String>,
}

impl Sink for Preview {
    fn write(&mut self, output: &Output<'_>, _: Ticket) -> Result<(), Error> {
        let topic = match output.to {
            Destination::Default => Some(&self.default),
            Destination::Named(index) => self.named.get(index as usize),
            Destination::DeadLetter | Destination::Replayed => {
                self.desk.failed(output);
                return Ok(());
            }
        };
        let mut ledger = self.desk.ledger.borrow_mut();
        ledger.outputs += 1;
        let letter = ledger.record(output.source, output.offset).and_then(|record| record.letters.first().copied());
        if let (Some(topic), Some(letter)) = (topic, letter) {
            self.desk.report.would_produce(&Produced { letter: self.desk.coordinates(letter), topic, output });
        }
        Ok(())
    }

    fn send_now(&mut self) {}

    fn acknowledged(&mut self, _: &mut Progress, _: Duration) -> Result<(), Error> {
        Ok(())
    }
}

/// The transaction of a [`Preview`].
pub(super) struct Nothing {
    pub(super) desk: Desk,
}

impl Transaction for Nothing {
    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
        self.desk.ledger.borrow_mut().done(positions);
        self.desk.report.advance(&self.desk.ledger.borrow());
        Ok(())
    }

    fn commit_while(&mut self, positions: &Positions, _: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        self.commit(positions)
    }

    fn abort(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
