use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use sluicegate_core::{Batch, Error, ErrorKind, Partition, Row, Story, replayed};

use super::{Coordinates, Filter, LetterReader};

/// A letter's place in the dead-letter topic: partition and offset.
pub(crate) type Place = (u32, u64);

/// Which letters a filter takes and which are replayed already: what can be told only after the whole topic was read, as
/// marks come after letters. A few dozen bytes a letter.
#[derive(Default)]
pub(crate) struct Index {
    replayed: HashSet<Place>,
    /// In the order in which they are read.
    letters: Vec<Letter>,
    sources: HashMap<Partition, usize>,
    /// Keyed at random: nobody can make records whose hashes are the same.
    hashes: RandomState,
}

struct Letter {
    place: Place,
    record: Identity,
}

/// Tells a record from all others, also from one that stood at the same place before its topic was made anew.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    /// The record's partition, as a number among `sources`.
    source: usize,
    offset: u64,
    /// Of all that the record consists of.
    hash: u64,
}

impl Index {
    /// Reads the whole topic.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn read(reader: &mut dyn LetterReader, filter: &Filter) -> Result<Self, Error> {
        let mut index = Index::default();
        visit(reader, |at, row| {
            let partition = at.partition.number;
            if let Some(offset) = replayed(row) {
                index.replayed.insert((partition, offset));
            } else if let Some((story, own)) = Story::read(row)
                && filter.takes(at, &story)
            {
                let known = index.sources.len();
                let source = *index.sources.entry(story.source).or_insert(known);
                let record = Identity { source, offset: story.offset, hash: hash(&index.hashes, row, own) };
                index.letters.push(Letter { place: (partition, at.offset), record });
            }
            Ok(())
        })?;
        Ok(index)
    }

    /// Whether the letter at this place has a mark.
    pub(crate) fn is_replayed(&self, at: &Coordinates) -> bool {
        self.replayed.contains(&(at.partition.number, at.offset))
    }

    /// The first `limit` letters that are to be replayed, each with the others that hold the same record: at least once, a
    /// crash may write a dead letter twice.
    pub(crate) fn open(&self, limit: usize) -> HashMap<Place, Vec<Place>> {
        let mut first_of: HashMap<Identity, Place> = HashMap::new();
        let mut open: HashMap<Place, Vec<Place>> = HashMap::new();
        for Letter { place, record } in self.letters.iter().filter(|letter| !self.replayed.contains(&letter.place)) {
            match first_of.entry(*record) {
                Entry::Occupied(first) => open.entry(*first.get()).or_default().push(*place),
                Entry::Vacant(first) if open.len() < limit => {
                    open.insert(*first.insert(*place), Vec::new());
                }
                Entry::Vacant(_) => {}
            }
        }
        open
    }
}

/// The hash of a letter's record, whose own headers are the first `own` of the row.
///
/// The timestamp is part of it. Where the dead-letter topic sets its own, a record that has two letters is therefore replayed
/// twice; if it were left out, one of two records that differ in nothing else would be lost.
fn hash(hashes: &RandomState, row: &Row<'_>, own: usize) -> u64 {
    let mut hasher = hashes.build_hasher();
    (row.timestamp, row.key, row.value).hash(&mut hasher);
    row.headers.take(own).for_each(|header| header.hash(&mut hasher));
    hasher.finish()
}

/// Longer than any transaction may be open, unless its owner set another time-out.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(90);

/// After this time a person is told what is waited for.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// Calls `each` for every record of the topic.
///
/// # Errors
/// The first error of `each`; or the topic cannot be read.
pub(crate) fn visit(
    reader: &mut dyn LetterReader,
    mut each: impl FnMut(&Coordinates, &Row<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut batch = Batch::default();
    let (mut moved, mut told) = (Instant::now(), false);
    loop {
        if reader.read(&mut batch)? {
            moved = Instant::now();
            let mut at = Coordinates { partition: batch.partition.clone(), offset: 0 };
            for row in batch.rows() {
                at.offset = row.offset;
                each(&at, &row)?;
            }
        } else if reader.is_done() {
            return Ok(());
        } else if moved.elapsed() > STUCK_AFTER {
            return Err(stuck());
        } else if moved.elapsed() > TELL_AFTER && !std::mem::replace(&mut told, true) {
            tracing::info!("waiting for the transactions that are open in the dead-letter topic");
        }
    }
}

pub(super) fn stuck() -> Error {
    let message = "the dead-letter topic was not read to its end: a transaction in it is still open, or its brokers do \
                   not answer; try again later";
    Error::new(ErrorKind::Stopped, message)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use sluicegate_core::REPLAYED;

    use super::*;

    struct Pages(VecDeque<Batch>);

    impl LetterReader for Pages {
        fn read(&mut self, batch: &mut Batch) -> Result<bool, Error> {
            let page = self.0.pop_front();
            *batch = page.unwrap_or_default();
            Ok(!batch.is_empty())
        }

        fn is_done(&self) -> bool {
            self.0.is_empty()
        }
    }

    fn page(partition: u32) -> Batch {
        Batch { partition: Partition { topic: "dead".into(), number: partition }, ..Batch::default() }
    }

    fn letter(batch: &mut Batch, at: u64, offset: u64) {
        letter_of(batch, at, offset, (0, None, None), None);
    }

    type Content<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>);

    fn letter_of(batch: &mut Batch, at: u64, offset: u64, (timestamp, key, value): Content<'_>, header: Option<&str>) {
        batch.push(at, timestamp, key, value);
        header.into_iter().for_each(|name| batch.push_header(name.as_bytes(), None));
        let story = Story {
            pipeline: "p".into(),
            stage: String::new(),
            plugin: String::new(),
            plugin_version: String::new(),
            plugin_digest: String::new(),
            failure: String::new(),
            reason: String::new(),
            source: Partition { topic: "t".into(), number: 0 },
            offset,
            time_ms: 0,
        };
        for (name, value) in story.into_headers() {
            batch.push_header(name.as_bytes(), Some(value.as_bytes()));
        }
    }

    fn mark(batch: &mut Batch, at: u64, letter: u64) {
        batch.push(at, 0, None, None);
        batch.push_header(REPLAYED.as_bytes(), Some(letter.to_string().as_bytes()));
    }

    #[test]
    fn open_is_what_has_no_mark_and_each_record_once() {
        let (mut first, mut second) = (page(0), page(1));
        letter(&mut first, 0, 10);
        letter(&mut first, 1, 11);
        letter(&mut first, 2, 12);
        letter(&mut second, 0, 12);
        letter(&mut second, 1, 13);
        mark(&mut second, 2, 1); // Of another letter than the one at 0@1.
        mark(&mut first, 3, 0);
        let filter = Filter { pipeline: "p".into(), ..Filter::default() };
        let index = Index::read(&mut Pages([first, second].into()), &filter).unwrap();
        assert_eq!(index.open(usize::MAX), HashMap::from([((0, 1), vec![]), ((0, 2), vec![(1, 0)])]));
        assert_eq!(index.open(1), HashMap::from([((0, 1), vec![])]));
        assert!(index.is_replayed(&"dead/0@0".parse().unwrap()) && !index.is_replayed(&"dead/0@1".parse().unwrap()));
    }

    #[test]
    fn records_that_stood_at_the_same_place_are_not_one() {
        let records: [(Content<'_>, Option<&str>); 6] = [
            ((5, Some(b"k"), Some(b"v")), None),
            ((6, Some(b"k"), Some(b"v")), None),
            ((5, None, Some(b"v")), None),
            ((5, Some(b"k"), None), None),
            ((5, Some(b"kv"), Some(b"")), None),
            ((5, Some(b"k"), Some(b"v")), Some("h")),
        ];
        let (mut first, mut again) = (page(0), page(1));
        for page in [&mut first, &mut again] {
            for (at, (content, header)) in (0..).zip(records) {
                letter_of(page, at, 7, content, header);
            }
        }
        let filter = Filter { pipeline: "p".into(), ..Filter::default() };
        let index = Index::read(&mut Pages([first, again].into()), &filter).unwrap();
        let each = (0..records.len() as u64).map(|at| ((0, at), vec![(1, at)]));
        assert_eq!(index.open(usize::MAX), HashMap::from_iter(each));
    }
}
