//! Records as Kafka holds them, and the file that carries them to and from the Java driver.
//!
//! # The file
//! Records one after the other, until the end. All numbers are big-endian; `bytes` are a length
//! (`i32`) and that many bytes, or the length -1 for null.
//!
//! | field | type | |
//! |---|---|---|
//! | partition | `i32` | -1: the producer's own choice |
//! | offset | `i64` | ignored when producing |
//! | timestamp | `i64` | milliseconds since 1970; -1: the producer's clock |
//! | key | `bytes` | |
//! | value | `bytes` | |
//! | header count | `i32` | |
//! | each header | `bytes`, `bytes` | name (UTF-8, never null) and value |

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Stands for a partition, an offset or a timestamp that is not known, or not chosen yet.
pub const UNKNOWN: i64 = -1;

/// One record of a topic.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The partition; -1 lets the producer choose.
    pub partition: i32,
    /// The offset, or [`UNKNOWN`].
    pub offset: i64,
    /// Milliseconds since 1970, or [`UNKNOWN`].
    pub timestamp: i64,
    /// The key; null is not empty.
    pub key: Option<Vec<u8>>,
    /// The value; null (a tombstone) is not empty.
    pub value: Option<Vec<u8>>,
    /// Names and values in order; names may come twice, values may be null.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// A record of this key and value, without headers; all else is left to the producer.
    pub fn new(key: &str, value: &str) -> Self {
        Self {
            partition: UNKNOWN as i32,
            offset: UNKNOWN,
            timestamp: UNKNOWN,
            key: Some(key.into()),
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    /// The same record in this partition.
    pub fn in_partition(self, partition: i32) -> Self {
        Self { partition, ..self }
    }

    /// The value of the first header of this name, if there is one; the value may be null.
    pub fn header(&self, name: &str) -> Option<Option<&[u8]>> {
        let header = self.headers.iter().find(|header| header.0 == name)?;
        Some(header.1.as_deref())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]@{} t={} ", self.partition, self.offset, self.timestamp)?;
        write!(f, "key={} value={} headers={{", short(self.key.as_deref()), short(self.value.as_deref()))?;
        for (index, (name, value)) in self.headers.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name:?}={}", short(value.as_deref()))?;
        }
        f.write_str("}")
    }
}

/// Null, or the first bytes: as text where they are plain ASCII, else in hex.
fn short(bytes: Option<&[u8]>) -> String {
    const SHOWN: usize = 48;
    let Some(bytes) = bytes else {
        return "null".into();
    };
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let mut text = match std::str::from_utf8(shown) {
        Ok(text) if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => format!("{text:?}"),
        _ => shown.iter().fold("0x".to_owned(), |hex, byte| format!("{hex}{byte:02x}")),
    };
    if bytes.len() > SHOWN {
        text += &format!("… ({} bytes)", bytes.len());
    }
    text
}

/// The records as an empty topic holds them once they were produced: by partition, in their order,
/// numbered from 0.
pub fn as_stored(records: &[Record]) -> Vec<Record> {
    let mut stored = records.to_vec();
    stored.sort_by_key(|record| record.partition);
    let mut next = BTreeMap::new();
    for record in &mut stored {
        let offset = next.entry(record.partition).or_insert(0);
        record.offset = *offset;
        *offset += 1;
    }
    stored
}

/// What differs first, partition by partition, or nothing. Order matters within a partition only.
/// Where the expected offset or timestamp is [`UNKNOWN`], any will do.
pub fn difference(expected: &[Record], seen: &[Record]) -> Option<String> {
    let (expected, mut seen) = (by_partition(expected), by_partition(seen));
    for (partition, wanted) in expected {
        let got = seen.remove(&partition).unwrap_or_default();
        let differs = wanted.iter().zip(&got).position(|(wanted, got)| !matches(wanted, got));
        let at = differs.unwrap_or(wanted.len().min(got.len()));
        if at < wanted.len() || at < got.len() {
            return Some(format!(
                "partition {partition}, record {at} of {} expected and {} seen:\nexpected {:?}\n    seen {:?}",
                wanted.len(),
                got.len(),
                wanted.get(at),
                got.get(at)
            ));
        }
    }
    let unexpected = seen.values().flatten().next()?;
    Some(format!("nothing was expected in the partition of {unexpected:?}"))
}

fn by_partition(records: &[Record]) -> BTreeMap<i32, Vec<&Record>> {
    let mut partitions = BTreeMap::<_, Vec<_>>::new();
    for record in records {
        partitions.entry(record.partition).or_default().push(record);
    }
    partitions
}

fn matches(expected: &Record, seen: &Record) -> bool {
    let any = |expected, seen| expected == UNKNOWN || expected == seen;
    any(expected.offset, seen.offset)
        && any(expected.timestamp, seen.timestamp)
        && expected.key == seen.key
        && expected.value == seen.value
        && expected.headers == seen.headers
}

/// Writes a file of records.
pub fn write_file(path: &Path, records: &[Record]) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for record in records {
        out.write_all(&record.partition.to_be_bytes())?;
        out.write_all(&record.offset.to_be_bytes())?;
        out.write_all(&record.timestamp.to_be_bytes())?;
        write_bytes(&mut out, record.key.as_deref())?;
        write_bytes(&mut out, record.value.as_deref())?;
        out.write_all(&i32::try_from(record.headers.len())?.to_be_bytes())?;
        for (name, value) in &record.headers {
            write_bytes(&mut out, Some(name.as_bytes()))?;
            write_bytes(&mut out, value.as_deref())?;
        }
    }
    Ok(out.flush()?)
}

fn write_bytes(out: &mut impl Write, bytes: Option<&[u8]>) -> Result<()> {
    match bytes {
        None => out.write_all(&(-1_i32).to_be_bytes())?,
        Some(bytes) => {
            out.write_all(&i32::try_from(bytes.len())?.to_be_bytes())?;
            out.write_all(bytes)?;
        }
    }
    Ok(())
}

/// Reads a file of records.
pub fn read_file(path: &Path) -> Result<Vec<Record>> {
    let mut input = BufReader::new(File::open(path)?);
    let mut records = Vec::new();
    while let Some(record) =
        read_record(&mut input).with_context(|| format!("record {} of {}", records.len(), path.display()))?
    {
        records.push(record);
    }
    Ok(records)
}

fn read_record(input: &mut impl Read) -> Result<Option<Record>> {
    let mut first = [0];
    if input.read(&mut first)? == 0 {
        return Ok(None);
    }
    let partition = i32::from_be_bytes(array(&mut first.chain(&mut *input))?);
    let offset = i64::from_be_bytes(array(input)?);
    let timestamp = i64::from_be_bytes(array(input)?);
    let key = read_bytes(input)?;
    let value = read_bytes(input)?;
    let mut headers = Vec::new();
    for _ in 0..i32::from_be_bytes(array(input)?) {
        let name = read_bytes(input)?.context("a header without a name")?;
        headers.push((String::from_utf8(name)?, read_bytes(input)?));
    }
    Ok(Some(Record { partition, offset, timestamp, key, value, headers }))
}

fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_bytes(input: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let length = i32::from_be_bytes(array(input)?);
    if length == -1 {
        return Ok(None);
    }
    let length = u64::try_from(length).context("a negative length")?;
    let mut bytes = Vec::new();
    if input.take(length).read_to_end(&mut bytes)? as u64 != length {
        bail!("the file ends in the middle of a record");
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd() -> Record {
        Record {
            partition: 3,
            offset: 1 << 40,
            timestamp: 1_767_623_400_123,
            key: Some(Vec::new()),
            value: None,
            headers: vec![
                ("Ünï".into(), Some(vec![0xff, 0])),
                ("twice".into(), None),
                ("twice".into(), Some(Vec::new())),
            ],
        }
    }

    #[test]
    fn a_file_gives_back_what_was_written() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("records");
        let records = [odd(), Record::new("key", "value"), odd().in_partition(0)];
        write_file(&path, &records)?;
        assert_eq!(read_file(&path)?, records);
        Ok(())
    }

    #[test]
    fn a_file_that_was_cut_is_an_error() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("records");
        write_file(&path, &[odd()])?;
        let bytes = std::fs::read(&path)?;
        for length in 1..bytes.len() {
            std::fs::write(&path, &bytes[..length])?;
            assert!(read_file(&path).is_err(), "{length} bytes of {} were taken", bytes.len());
        }
        Ok(())
    }

    #[test]
    fn debug_is_short_and_tells_null_from_empty() {
        let shown = format!("{:?}", Record { value: Some(vec![0xff; 900]), ..odd() });
        assert!(shown.len() < 300, "{shown}");
        assert!(shown.contains(r#"key="" value=0xffff"#) && shown.contains(r#""twice"=null"#), "{shown}");
    }

    #[test]
    fn a_difference_is_found_whatever_it_is() {
        let stored = as_stored(&[odd(), odd(), odd().in_partition(1)]);
        assert_eq!(stored.iter().map(|r| (r.partition, r.offset)).collect::<Vec<_>>(), [(1, 0), (3, 0), (3, 1)]);
        assert_eq!(difference(&stored, &stored), None);
        let any = stored.iter().map(|r| Record { offset: UNKNOWN, timestamp: UNKNOWN, ..r.clone() });
        assert_eq!(difference(&any.collect::<Vec<_>>(), &stored), None);

        assert!(difference(&stored, &stored[1..]).is_some(), "a partition is missing");
        assert!(difference(&stored[1..], &stored).is_some(), "a partition is too many");
        assert!(difference(&stored, &stored[..2]).is_some(), "a record is missing");
        assert!(difference(&stored[..2], &stored).is_some(), "a record is too many");
        let change: [fn(&mut Record); 5] = [
            |record| record.offset += 1,
            |record| record.timestamp += 1,
            |record| record.key = None,
            |record| record.value = Some(Vec::new()),
            |record| record.headers.swap(1, 2),
        ];
        for change in change {
            let mut seen = stored.clone();
            change(&mut seen[1]);
            assert!(difference(&stored, &seen).is_some(), "{seen:?}");
        }
    }
}
