use crate::batch::{HeadersCursor, Row};
use crate::column::{Cursor, Entry};
use crate::outcome::Valid;
use crate::output::HeaderSlice;

/// One output of a stage, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emission<'a> {
    pub(crate) to: Option<u32>,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: HeaderSlice<'a>,
    /// Whether the stage's canary made it, and not the plugin that is live.
    pub(crate) by_canary: bool,
}

impl<'a> Emission<'a> {
    /// The record as it came.
    #[inline]
    pub(crate) fn pass(row: &Row<'a>) -> Self {
        let Row { timestamp, key, value, headers, .. } = *row;
        Emission { to: None, timestamp, key, value, headers, by_canary: false }
    }

    /// Whether a reader would see the same, whoever made it.
    pub(crate) fn is_like(&self, other: &Emission<'_>) -> bool {
        (self.to, self.timestamp, self.key, self.value) == (other.to, other.timestamp, other.key, other.value)
            && self.headers.eq(other.headers)
    }

    /// What it takes at a sink.
    pub(crate) fn bytes(&self) -> usize {
        let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        length(self.key) + length(self.value) + self.headers.cost()
    }
}

/// Reads the outputs of [`Valid`] outcomes one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Emissions<'a> {
    to: &'a [i32],
    timestamps: &'a [i64],
    keys: Cursor<'a>,
    values: Cursor<'a>,
    inherits_headers: bool,
    headers: HeadersCursor<'a>,
}

impl<'a> Emissions<'a> {
    pub(crate) fn of(outcomes: &'a Valid) -> Self {
        Emissions {
            to: &outcomes.to,
            timestamps: &outcomes.timestamps,
            keys: outcomes.keys.cursor(),
            values: outcomes.values.cursor(),
            inherits_headers: outcomes.headers.counts.is_empty(),
            headers: outcomes.headers.cursor(),
        }
    }

    /// The next output, which `row` caused.
    #[inline]
    pub(crate) fn next(&mut self, row: &Row<'a>) -> Emission<'a> {
        let to = take_first(&mut self.to).and_then(|to| u32::try_from(to).ok());
        let timestamp = take_first(&mut self.timestamps).unwrap_or(row.timestamp);
        let key = self.keys.next().unwrap_or(Entry::Inherit).or(row.key);
        let value = self.values.next().unwrap_or(Entry::Inherit).or(row.value);
        let headers = match self.inherits_headers || self.headers.is_empty() {
            true => row.headers,
            false => self.headers.next().unwrap_or(row.headers),
        };
        Emission { to, timestamp, key, value, headers, by_canary: false }
    }
}

#[inline]
fn take_first<T: Copy>(list: &mut &[T]) -> Option<T> {
    let (&first, rest) = list.split_first()?;
    *list = rest;
    Some(first)
}
