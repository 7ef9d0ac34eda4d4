//! A record as it crosses Redpanda's ABI: key, value and headers as in Kafka's own record format. Lengths and counts are
//! zigzag varints, and a length of -1 is null.

use sluicegate_core::{Outcomes, Row};

/// Appends a record's payload.
pub(super) fn append(row: &Row<'_>, into: &mut Vec<u8>) {
    append_bytes(row.key, into);
    append_bytes(row.value, into);
    // No batch is large enough for 2^63 headers.
    append_varint(row.headers.count() as i64, into);
    for (name, value) in row.headers {
        append_bytes(Some(name), into);
        append_bytes(value, into);
    }
}

fn append_bytes(bytes: Option<&[u8]>, into: &mut Vec<u8>) {
    match bytes {
        None => append_varint(-1, into),
        Some(bytes) => {
            append_varint(bytes.len() as i64, into);
            into.extend_from_slice(bytes);
        }
    }
}

fn append_varint(value: i64, into: &mut Vec<u8>) {
    let mut bits = ((value << 1) ^ (value >> 63)) as u64;
    while bits >= 0x80 {
        into.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    into.push(bits as u8);
}

/// An output as a guest wrote it, known to be well formed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Reader<'a>,
    /// How many headers there are.
    pub(super) count: i32,
}

impl<'a> Output<'a> {
    /// None: it is not well formed.
    pub(super) fn read(payload: &'a [u8]) -> Option<Output<'a>> {
        let mut rest = Reader(payload);
        let (key, value) = (rest.bytes()?, rest.bytes()?);
        let count = i32::try_from(rest.varint()?).ok().filter(|count| *count >= 0)?;
        let headers = rest;
        // Each takes two bytes at least: whatever the count says, the payload's end is the end.
        for _ in 0..count {
            rest.header()?;
        }
        rest.0.is_empty().then_some(Output { key, value, headers, count })
    }

    /// Appends the output. Its timestamp is the record's: the ABI has none.
    pub(super) fn emit(mut self, to: i32, into: &mut Outcomes) {
        into.to.push(to);
        into.keys.push(self.key);
        into.values.push(self.value);
        into.headers.counts.push(self.count);
        while let Some((name, value)) = self.headers.header() {
            into.headers.keys.push(Some(name));
            into.headers.values.push(value);
        }
    }
}

/// The topic that a write's options name; none where they are empty. An error: they are not well formed.
pub(super) fn topic_of(options: &[u8]) -> Result<Option<&str>, NotWellFormed> {
    const TOPIC: u8 = 1;
    match options.split_first() {
        None => Ok(None),
        Some((&TOPIC, rest)) => {
            let mut rest = Reader(rest);
            let topic = rest.bytes().flatten().and_then(|topic| str::from_utf8(topic).ok());
            topic.filter(|_| rest.0.is_empty()).map(Some).ok_or(NotWellFormed)
        }
        Some(_) => Err(NotWellFormed),
    }
}

/// Bytes from a guest that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotWellFormed;

#[derive(Clone, Copy, Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Option<i64> {
        let mut bits = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            bits |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        None
    }

    /// The inner none is null.
    fn bytes(&mut self) -> Option<Option<&'a [u8]>> {
        let length = self.varint()?;
        if length == -1 {
            return Some(None);
        }
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Some(bytes))
    }

    /// A header without a name has an empty one, as Redpanda's SDKs read it.
    fn header(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        Some((self.bytes()?.unwrap_or_default(), self.bytes()?))
    }
}

#[cfg(test)]
mod tests {
    use sluicegate_core::Batch;

    use super::*;

    fn written(payload: &[u8]) -> Option<Outcomes> {
        let mut outcomes = Outcomes::default();
        Output::read(payload)?.emit(-1, &mut outcomes);
        Some(outcomes)
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let mut batch = Batch::default();
        batch.push(0, 0, None, Some(b""));
        batch.push(1, 0, Some(b"key"), None);
        batch.push_header(b"", None);
        batch.push_header(b"name", Some(&[7; 300]));
        batch.push(2, 0, Some(&[0; 70_000]), Some(b"value"));
        for row in batch.rows() {
            let mut payload = Vec::new();
            append(&row, &mut payload);
            let outcomes = written(&payload).unwrap();
            let mut one = Batch::default();
            one.push(row.offset, 0, row.key, row.value);
            row.headers.for_each(|(name, value)| one.push_header(name, value));
            one.headers.counts.resize(1, 0);
            assert_eq!((outcomes.keys, outcomes.values, outcomes.headers), (one.keys, one.values, one.headers));
            for cut in 0..payload.len().min(400) {
                assert!(written(&payload[..cut]).is_none(), "cut at {cut}");
            }
            payload.push(0);
            assert!(written(&payload).is_none(), "something follows");
        }
    }

    #[test]
    fn varints_are_kafkas() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (300, &[0xd8, 4]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut made = Vec::new();
            append_varint(value, &mut made);
            assert_eq!((made.as_slice(), Reader(bytes).varint()), (bytes, Some(value)), "{value}");
        }
        assert_eq!(Reader(&[0x80; 11]).varint(), None);
    }

    #[test]
    fn lies_about_lengths_are_refused() {
        // Null, a value of four bytes where one is, and no headers; then 2^31 headers, then -1 of them, then a length of -2.
        for lie in [&[1, 8, 7, 0][..], &[1, 1, 0x80, 0x80, 0x80, 0x80, 0x10], &[1, 1, 1], &[3, 1, 0]] {
            assert!(written(lie).is_none(), "{lie:?}");
        }
    }

    #[test]
    fn options_name_a_topic_or_nothing() {
        assert_eq!(topic_of(&[]), Ok(None));
        assert_eq!(topic_of(&[1, 4, b'a', b'b']), Ok(Some("ab")));
        for bad in [&[2, 4, b'a', b'b'][..], &[1, 6, b'a', b'b'], &[1, 4, b'a', b'b', 0], &[1, 1], &[1, 2, 0xff], &[1]]
        {
            assert_eq!(topic_of(bad), Err(NotWellFormed), "{bad:?}");
        }
    }
}
