use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{Batch, Error, ErrorKind, NO_TIMESTAMP, Partition, Polled, Source, Stop};

use super::input::{Input, More};
use crate::config::Pipeline;
use crate::record::Line;

/// A line that has more is not read.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Gives standard input's lines as records. Asks the worker to stop after the last one.
///
/// They are of the pipeline's topic, and where a line names no partition and offset, of partition 0, numbered from 0.
pub(super) struct StdinSource {
    input: Input,
    raw: bool,
    topic: Arc<str>,
    /// The bounds of a batch.
    records: usize,
    bytes: usize,
    /// What was read, from `start` on not yet given.
    text: Vec<u8>,
    start: usize,
    /// Up to here there is no end of a line.
    searched: usize,
    /// Lines, and records in them, so far.
    lines: u64,
    numbered: u64,
    ended: bool,
    held: HashSet<Partition>,
    stop: Arc<Stop>,
}

impl StdinSource {
    pub(super) fn new(config: &Pipeline, raw: bool, input: Input, stop: Arc<Stop>) -> Self {
        let topic = match config.source.topics() {
            [topic] if !topic.starts_with('^') => topic.as_str(),
            _ => "stdin",
        };
        StdinSource {
            input,
            raw,
            topic: topic.into(),
            records: config.batch.records as usize,
            bytes: config.batch.bytes.bytes(),
            text: Vec::new(),
            start: 0,
            searched: 0,
            lines: 0,
            numbered: 0,
            ended: false,
            held: HashSet::new(),
            stop,
        }
    }

    /// Fills the batch with whole lines, as many as there are and go into one. Whether there are any.
    fn fill(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        while batch.len() < self.records && batch.bytes() < self.bytes {
            let (line, next) = match self.line() {
                Ok(Some(found)) => found,
                Err(error) if batch.is_empty() => return Err(error),
                // What comes before it is done first.
                Ok(None) | Err(_) => break,
            };
            match Line::read(&self.text[line], self.raw) {
                Ok(Some(line)) if !self.push(&line, batch) => break,
                Ok(_) => self.pass_to(next),
                Err(_) if !batch.is_empty() => break,
                Err(error) => return Err(Error::new(ErrorKind::Config, format!("line {}: {error}", self.lines + 1))),
            }
        }
        Ok(!batch.is_empty())
    }

    /// The next line without its end, and where the one after it starts; none if it is not whole yet.
    fn line(&mut self) -> Result<Option<(Range<usize>, usize)>, Error> {
        let found = memchr::memchr(b'\n', &self.text[self.searched..]).map(|at| self.searched + at);
        let (end, next) = match found {
            Some(end) => (end, end + 1),
            None if self.ended && self.start < self.text.len() => (self.text.len(), self.text.len()),
            None => {
                self.searched = self.text.len();
                return match self.searched - self.start {
                    0..=LINE_BYTES_MAX => Ok(None),
                    _ => Err(Error::new(ErrorKind::Config, format!("line {} has more than 64 MiB", self.lines + 1))),
                };
            }
        };
        let end = if self.text[self.start..end].ends_with(b"\r") { end - 1 } else { end };
        Ok(Some((self.start..end, next)))
    }

    fn pass_to(&mut self, next: usize) {
        (self.start, self.searched) = (next, next);
        self.lines += 1;
    }

    /// Whether the record goes into the batch, which has one partition, and offsets that grow.
    fn push(&mut self, line: &Line, batch: &mut Batch) -> bool {
        let number = line.partition.unwrap_or(0);
        let offset = line.offset.unwrap_or(self.numbered);
        if batch.is_empty() {
            batch.partition = Partition { topic: Arc::clone(&self.topic), number };
        } else if batch.partition.number != number || batch.offsets.last().is_some_and(|last| *last >= offset) {
            return false;
        }
        let (key, value) = (line.key.bytes(), line.value.bytes());
        batch.push(offset, line.timestamp.unwrap_or(NO_TIMESTAMP), key.as_deref(), value.as_deref());
        for (name, value) in &line.headers {
            batch.push_header(name.as_bytes(), value.bytes().as_deref());
        }
        self.numbered += 1;
        true
    }

    fn read(&mut self, wait: Duration) -> Result<(), Error> {
        self.text.drain(..self.start);
        (self.start, self.searched) = (0, self.searched - self.start);
        let more = self.input.read(&mut self.text, wait);
        let more =
            more.map_err(|error| Error::new(ErrorKind::Stopped, format!("cannot read standard input: {error}")))?;
        self.ended |= more == More::End;
        Ok(())
    }
}

impl Source for StdinSource {
    fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
        batch.clear();
        if !self.held.is_empty() {
            // Lines keep their order: none passes a record that waits for another try.
            std::thread::sleep(wait);
            return Ok(Polled::Idle);
        }
        if self.fill(batch)? {
            return Ok(Polled::Batch);
        }
        if self.ended {
            self.stop.request();
            return Ok(Polled::Idle);
        }
        self.read(wait)?;
        Ok(if self.fill(batch)? { Polled::Batch } else { Polled::Idle })
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

    /// A pipe does not go back; nothing here asks for it.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch: its partition, and the offset and value of its records.
    type Given = (u32, Vec<(u64, String)>);

    /// The batches of a text, and the error, if one ends them.
    fn batches(text: &'static str, raw: bool) -> (Vec<Given>, Option<String>) {
        let config = "name: p\nsource: { local: { path: x, topics: [in] } }\nstages: []\nsink: { local: { path: x, topic: out } }\n\
                      batch: { records: 3 }\n";
        let config = crate::config::parse(config, std::path::Path::new("p.yaml"), &crate::config::Process).unwrap();
        let stop = Arc::new(Stop::default());
        let mut source = StdinSource::new(&config, raw, Input::start(text.as_bytes()).unwrap(), Arc::clone(&stop));
        let (mut batch, mut found) = (Batch::default(), Vec::new());
        while !stop.requested() {
            match source.poll(&mut batch, Duration::from_secs(60)) {
                Ok(Polled::Batch) => {
                    let text = |value: Option<&[u8]>| {
                        value.map_or("null".into(), |value| String::from_utf8_lossy(value).into_owned())
                    };
                    let rows = batch.rows().map(|row| (row.offset, text(row.value))).collect();
                    found.push((batch.partition.number, rows));
                }
                Ok(_) => {}
                Err(error) => return (found, Some(error.message)),
            }
        }
        (found, None)
    }

    fn rows(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
        rows.iter().map(|(offset, value)| (*offset, (*value).to_owned())).collect()
    }

    #[test]
    fn lines_become_batches_of_bounded_size() {
        let (found, error) = batches("a\r\nb\n\nc\nd", true);
        assert_eq!(found, [(0, rows(&[(0, "a"), (1, "b"), (2, "c")])), (0, rows(&[(3, "d")]))]);
        assert_eq!(error, None);
    }

    #[test]
    fn a_batch_has_one_partition_and_growing_offsets() {
        let text = "{\"value\":\"a\",\"partition\":1,\"offset\":7}\n{\"value\":\"b\",\"partition\":1,\"offset\":9}\n\
                    {\"value\":\"c\",\"partition\":2,\"offset\":10}\n{\"partition\":2,\"offset\":3}\n";
        let (found, error) = batches(text, false);
        let expected = [(1, rows(&[(7, "a"), (9, "b")])), (2, rows(&[(10, "c")])), (2, rows(&[(3, "null")]))];
        assert_eq!((&found[..], error), (&expected[..], None));
    }

    #[test]
    fn what_comes_before_a_bad_line_is_done() {
        let (found, error) = batches("{\"value\":\"a\"}\n\n{\"vlaue\":1}\n{}\n", false);
        assert_eq!(found, [(0, rows(&[(0, "a")]))]);
        let error = error.unwrap();
        assert!(error.starts_with("line 3: unknown field `vlaue`"), "{error}");
    }
}
