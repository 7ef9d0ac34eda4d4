use std::fmt::Write as _;

use crate::batch::Partition;
use crate::column::Cursor;

/// Where an output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The pipeline's default output.
    Default,
    /// The named output of this index.
    Named(u32),
    /// The dead-letter topic.
    DeadLetter,
    /// The dead-letter topic too, in the partition of the letter that this marks as replayed, which is the source: so
    /// retention never takes a mark before its letter.
    Replayed,
}

/// One record on its way out, borrowed from the columns it lies in.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// Where it goes.
    pub to: Destination,
    /// The partition of the record that caused it.
    pub source: &'a Partition,
    /// The offset of the record that caused it.
    pub offset: u64,
    /// Its number among the outputs of that record, from 0: with pipeline, partition and offset, its stable id.
    pub index: u32,
    /// Milliseconds since the Unix epoch, or [`crate::NO_TIMESTAMP`].
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: HeaderSlice<'a>,
    /// Headers that the runtime adds after those; a dead letter's story.
    pub added: &'a [(&'static str, String)],
}

impl Output<'_> {
    /// Replaces `id` by the output's stable id, `pipeline/topic/partition/offset/index` of the record that caused it: the
    /// same text for the same output, whatever crashes. `id` keeps its room, so that a sink allocates nothing per output.
    pub fn write_id(&self, pipeline: &str, id: &mut String) {
        let Output { source, offset, index, .. } = self;
        id.clear();
        // Writing to a string does not fail.
        let _ = write!(id, "{pipeline}/{}/{}/{offset}/{index}", source.topic, source.number);
    }
}

/// What a header takes beside its bytes: two lengths of at most five bytes each. Thousands of empty headers would count as nothing
/// otherwise, and be too much for a broker.
pub(crate) const HEADER_OVERHEAD: usize = 10;

/// The headers of one record, in order, with duplicates: an iterator of names and values.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderSlice<'a> {
    keys: Cursor<'a>,
    values: Cursor<'a>,
}

impl<'a> HeaderSlice<'a> {
    pub(crate) fn new(keys: Cursor<'a>, values: Cursor<'a>) -> Self {
        HeaderSlice { keys, values }
    }

    /// The bytes of names and values.
    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.values.bytes()
    }

    /// The bytes that they take in a record: those of names and values, and [`HEADER_OVERHEAD`] for each.
    pub(crate) fn cost(&self) -> usize {
        self.bytes() + self.keys.len() * HEADER_OVERHEAD
    }
}

impl<'a> Iterator for HeaderSlice<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let key = self.keys.next()?.or(None)?;
        Some((key, self.values.next()?.or(None)))
    }
}
