//! Numbered records, written all the time while something else happens, and what must have become of them in a pipeline
//! that [stamps](crate::stamp) them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::client::Client;
use crate::record::Record;
use crate::stamp::take_apart;

/// The partitions of a topic of numbered records.
pub const PARTITIONS: i32 = 4;
/// Records are written in slices, this often.
const SLICE_EVERY: Duration = Duration::from_millis(50);

/// What was written while something else happened.
#[derive(Debug)]
pub struct Fed<T> {
    /// So many records.
    pub written: usize,
    /// For so long.
    pub took: Duration,
    /// What came of the other thing.
    pub result: T,
}

/// Writes records to a topic, so many a second, until `during` is over. Their numbers go on from those that are there.
pub fn feed<T>(
    writer: &Client,
    topic: &str,
    records_per_second: usize,
    during: impl FnOnce() -> Result<T>,
) -> Result<Fed<T>> {
    let slice = records_per_second * SLICE_EVERY.as_millis() as usize / 1000;
    let first = writer.offsets_taken(topic)? as usize;
    let (done, start) = (AtomicBool::new(false), Instant::now());
    thread::scope(|scope| {
        let feeding = scope.spawn(|| -> Result<usize> {
            let mut next = first;
            while !done.load(Relaxed) {
                let due = start + SLICE_EVERY * ((next - first) / slice) as u32;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                writer.produce(topic, &(next..next + slice).map(record).collect::<Vec<_>>())?;
                next += slice;
            }
            Ok(next - first)
        });
        let result = during();
        done.store(true, Relaxed);
        let written = feeding.join().map_err(|_| anyhow!("the writer panicked"))??;
        Ok(Fed { written, took: start.elapsed(), result: result? })
    })
}

/// The record of this number.
pub fn record(index: usize) -> Record {
    let value = format!("{index:010} {}", "a trade of some hundred bytes ".repeat(3));
    Record::new(&format!("key-{}", index % 1000), &value).in_partition((index % PARTITIONS as usize) as i32)
}

/// The number of the record that has this value.
pub fn index(value: &[u8]) -> Result<usize> {
    Ok(std::str::from_utf8(value.get(..10).context("an index")?)?.parse()?)
}

/// Sees that each of the first `written` records is there once but those `without`, in order, with one stamp, and by no
/// older version than the one before it in its partition.
pub fn judge(outputs: &[Record], written: usize, without: &BTreeSet<usize>) -> Result<()> {
    let missing = without.len();
    ensure!(outputs.len() + missing == written, "{} outputs of {written} records, without {missing}", outputs.len());
    let mut last: BTreeMap<i32, (usize, usize)> = BTreeMap::new();
    for output in outputs {
        let (version, value) = take_apart(output)?;
        let index = index(value)?;
        let expected = record(index);
        ensure!(output.partition == expected.partition && expected.value.as_deref() == Some(value), "{output:?}");
        let first = (output.partition as usize, version);
        let (mut wanted, before) =
            last.get(&output.partition).map_or(first, |(index, version)| (index + PARTITIONS as usize, *version));
        while without.contains(&wanted) {
            wanted += PARTITIONS as usize;
        }
        ensure!(index == wanted, "record {index} where {wanted} was due: {output:?}");
        ensure!(version >= before, "version {version} after {before}: {output:?}");
        last.insert(output.partition, (index, version));
    }
    Ok(())
}
