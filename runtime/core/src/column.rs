use std::ops::Range;

/// The length that says: no value at all. A tombstone is not an empty value.
pub const NULL: i32 = -1;
/// The length that says, in an output only: as in the input record.
pub const INHERIT: i32 = -2;

/// Byte strings laid end to end: the shape in which records cross the boundary to a plugin.
///
/// `lengths[i]` is the length of the i-th string, or [`NULL`], or [`INHERIT`]; the last two take no bytes in `data`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// All strings, one after the other.
    pub data: Vec<u8>,
    /// One length a string.
    pub lengths: Vec<i32>,
}

/// One string of a [`Column`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// As in the input record.
    Inherit,
    /// No value.
    Null,
    /// These bytes, maybe none.
    Bytes(&'a [u8]),
}

impl<'a> Entry<'a> {
    /// The entry's value, where `inherited` is the input record's.
    #[inline]
    pub fn or(self, inherited: Option<&'a [u8]>) -> Option<&'a [u8]> {
        match self {
            Entry::Inherit => inherited,
            Entry::Null => None,
            Entry::Bytes(bytes) => Some(bytes),
        }
    }
}

impl Column {
    /// The number of strings.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is no string.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Empties the column and keeps its memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.lengths.clear();
    }

    /// Appends a string, or a null.
    ///
    /// # Panics
    /// If the string is longer than `i32::MAX`; every source bounds its records far below.
    #[inline]
    pub fn push(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.lengths.push(NULL),
            Some(bytes) => {
                self.data.extend_from_slice(bytes);
                self.lengths.push(i32::try_from(bytes.len()).expect("a string of at most i32::MAX bytes"));
            }
        }
    }

    /// Reads the strings in order, from the first.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor { data: &self.data, lengths: &self.lengths }
    }

    /// Appends the strings `rows` of `other`.
    pub fn extend(&mut self, other: &Column, rows: Range<usize>) {
        let from = byte_length(&other.lengths[..rows.start]);
        let lengths = &other.lengths[rows];
        self.data.extend_from_slice(&other.data[from..from + byte_length(lengths)]);
        self.lengths.extend_from_slice(lengths);
    }

    /// Checks that the lengths are legal and add up to exactly the bytes that are there.
    ///
    /// # Errors
    /// Says what is wrong, for the dead letter's reason. `what` names the column.
    pub(crate) fn validate(&self, what: &str, inherit_allowed: bool) -> Result<(), String> {
        let lowest = if inherit_allowed { INHERIT } else { NULL };
        let mut total = 0u64;
        let mut least = 0i32;
        for &length in &self.lengths {
            // At most 2^31 strings of at most 2^31 bytes: the sum fits u64.
            total += length.max(0) as u64;
            least = least.min(length);
        }
        if least < lowest {
            return Err(format!("{what}: a length of {least} is not allowed"));
        }
        if total != self.data.len() as u64 {
            return Err(format!("{what}: lengths add up to {total} bytes, data has {}", self.data.len()));
        }
        Ok(())
    }
}

/// The bytes that strings of these lengths take.
pub(crate) fn byte_length(lengths: &[i32]) -> usize {
    lengths.iter().map(|length| (*length).max(0) as usize).sum()
}

/// Reads a column's strings in order without a table of offsets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor<'a> {
    data: &'a [u8],
    lengths: &'a [i32],
}

impl<'a> Cursor<'a> {
    /// Splits off the next `count` strings as a cursor of their own.
    #[inline]
    pub fn split(&mut self, count: usize) -> Cursor<'a> {
        let (lengths, rest) = self.lengths.split_at(count);
        let (data, rest_data) = self.data.split_at(byte_length(lengths));
        *self = Cursor { data: rest_data, lengths: rest };
        Cursor { data, lengths }
    }

    /// How many strings are left.
    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    /// The bytes of all strings that are left.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }
}

impl<'a> Iterator for Cursor<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let (&length, rest) = self.lengths.split_first()?;
        self.lengths = rest;
        Some(match length {
            NULL => Entry::Null,
            INHERIT => Entry::Inherit,
            length => {
                let (bytes, data) = self.data.split_at(length as usize);
                self.data = data;
                Entry::Bytes(bytes)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_empty_are_told_apart() {
        let mut column = Column::default();
        column.push(None);
        column.push(Some(b""));
        column.push(Some(b"x"));
        let entries: Vec<_> = column.cursor().collect();
        assert_eq!(entries, [Entry::Null, Entry::Bytes(b""), Entry::Bytes(b"x")]);
    }

    #[test]
    fn lies_about_lengths_are_refused() {
        let lie = |lengths: &[i32]| Column { data: vec![1, 2, 3], lengths: lengths.to_vec() }.validate("values", true);
        assert!(lie(&[1, 2]).is_ok());
        assert!(lie(&[1, INHERIT, NULL, 2]).is_ok());
        assert!(lie(&[4]).unwrap_err().contains("add up to 4"));
        assert!(lie(&[i32::MAX, i32::MAX]).is_err());
        assert!(lie(&[3, -3]).unwrap_err().contains("-3"));
        let inherit = Column { data: vec![], lengths: vec![INHERIT] };
        assert!(inherit.validate("header keys", false).is_err());
    }
}
