use sluicegate_core::Error;

use crate::buffer::{Buffer, Record};
use crate::error::config;
use crate::log::{Log, unix_ms};
use crate::partitioner::partition_of_key;

/// A record to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// The partition. None: the one that the key belongs to; records without a key go to one after the other.
    pub partition: Option<u32>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Names and values, in order, duplicates allowed.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
    /// Milliseconds since the Unix epoch, or [`sluicegate_core::NO_TIMESTAMP`]; none: now.
    pub timestamp: Option<i64>,
}

/// Writes records to a topic outside any pipeline. May move between threads.
///
/// Records gather in memory and are written together, by [`Writer::flush`] or once there are many. A writer that is
/// dropped does not write what was not flushed.
pub struct Writer {
    log: Log,
    buffer: Buffer,
    /// The partition for the next record without a key.
    next: u32,
}

/// So many gathered bytes are written without a call of [`Writer::flush`].
const GATHER_BYTES: usize = 4 << 20;

impl Writer {
    /// A writer for a topic that exists.
    ///
    /// # Errors
    /// `Config`, with the remedy, if it does not.
    pub fn open(log: &Log, topic: &str) -> Result<Self, Error> {
        Ok(Writer { log: log.clone(), buffer: Buffer::new([log.topic(topic)?]), next: 0 })
    }

    /// Takes in one record; says to which partition it goes.
    ///
    /// # Errors
    /// `Config` if the partition does not exist or the record is too large; else as of [`Writer::flush`].
    pub fn send(&mut self, record: &NewRecord<'_>) -> Result<u32, Error> {
        let topic = self.buffer.topic(0);
        let count = topic.partitions.len() as u32;
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of_key(key, count),
            (None, None) => self.next,
        };
        if partition >= count {
            let name = &topic.name;
            return Err(config(format!("topic '{name}' has {count} partitions, numbered from 0; not {partition}")));
        }
        if record.partition.is_none() && record.key.is_none() {
            self.next = (self.next + 1) % count;
        }
        let header = |(name, value): &(&[u8], Option<&[u8]>)| name.len() + value.map_or(0, <[u8]>::len);
        let timestamp = record.timestamp.unwrap_or_else(unix_ms);
        let header_bytes = record.headers.iter().map(header).sum();
        let batch = self.buffer.push(
            0,
            partition,
            &Record { timestamp, key: record.key, value: record.value, header_bytes },
        )?;
        record.headers.iter().for_each(|(name, value)| batch.push_header(name, *value));
        if self.buffer.bytes() >= GATHER_BYTES {
            self.flush()?;
        }
        Ok(partition)
    }

    /// Writes all gathered records in one transaction; they are durable when this returns.
    ///
    /// # Errors
    /// `Retry`, naming the path, if the disk is full; `Config` if the topic was deleted. The records stay gathered.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.log.write("write records", |turn| self.buffer.append(turn))?;
        self.buffer.clear();
        self.log.sweep_if_due();
        Ok(())
    }
}
