use std::io::{BufRead, Write};
use std::time::Duration;

use clap::Args;
use sluicegate_core::{Batch, Row};

use super::topics::{Backend, Place};
use crate::console::{complain, settled};
use crate::exit::Exit;
use crate::record::{self, Bytes, Headers, LINES_HELP, Line, Shown};

/// Records must arrive within this once all are handed over.
const FLUSH_LIMIT: Duration = Duration::from_secs(60);
const READ_WAIT: Duration = Duration::from_millis(100);

#[derive(Args)]
#[command(after_help = LINES_HELP)]
pub(super) struct Produce {
    /// The topic, which must exist.
    topic: String,
    #[command(flatten)]
    place: Place,
    /// Each line is a bare value, not JSON.
    #[arg(long)]
    raw: bool,
}

enum Writer {
    Kafka(sluicegate_kafka::Writer),
    Local(sluicegate_local::Writer),
}

impl Writer {
    fn open(place: &Place, topic: &str) -> Result<Self, Exit> {
        Ok(match place.open()? {
            Backend::Kafka(config) => Writer::Kafka(sluicegate_kafka::Writer::new(&config, topic)?),
            Backend::Local(log) => Writer::Local(sluicegate_local::Writer::open(&log, topic)?),
        })
    }

    fn write(&mut self, line: &Line) -> Result<(), Exit> {
        let (key, value) = (line.key.bytes(), line.value.bytes());
        let headers: Vec<_> = line.headers.iter().map(|(name, value)| (name.as_bytes(), value.bytes())).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_deref())).collect();
        let (partition, timestamp, headers) = (line.partition, line.timestamp, headers.as_slice());
        let (key, value) = (key.as_deref(), value.as_deref());
        match self {
            Writer::Kafka(writer) => {
                writer.write(&sluicegate_kafka::Produce { partition, timestamp, key, value, headers })?;
            }
            Writer::Local(writer) => {
                writer.send(&sluicegate_local::NewRecord { partition, timestamp, key, value, headers })?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Exit> {
        match self {
            Writer::Kafka(writer) => writer.flush(FLUSH_LIMIT)?,
            Writer::Local(writer) => writer.flush()?,
        }
        Ok(())
    }
}

/// Writes standard input's lines to a topic; done when all are durable.
pub(super) fn produce(options: &Produce) -> Result<(), Exit> {
    let mut writer = Writer::open(&options.place, &options.topic)?;
    let mut count = 0;
    let copied = copy(&mut writer, options.raw, &mut count);
    let flushed = writer.flush();
    copied.map_err(|Exit { code, message }| {
        let written = if flushed.is_ok() { "are written" } else { "may not all be written" };
        Exit { code, message: format!("{message}; the {count} records before it {written}") }
    })?;
    flushed?;
    complain(format_args!("{count} records written to {}", options.topic));
    Ok(())
}

/// Hands standard input's lines over, up to the first that cannot be, and counts them.
fn copy(writer: &mut Writer, raw: bool, count: &mut u64) -> Result<(), Exit> {
    for (number, text) in (1..).zip(std::io::stdin().lock().split(b'\n')) {
        let place = || format!("line {number}");
        let text = text.map_err(|error| Exit::from(error).within(&place()))?;
        let text = text.strip_suffix(b"\r").unwrap_or(&text);
        let line = Line::read(text, raw).map_err(|error| Exit::usage(error).within(&place()))?;
        let Some(line) = line else { continue };
        writer.write(&line).map_err(|exit| exit.within(&place()))?;
        *count += 1;
    }
    Ok(())
}

#[derive(Args)]
pub(super) struct Consume {
    /// The topic.
    topic: String,
    #[command(flatten)]
    place: Place,
    /// Wait for records that come later, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Show only records that come from now on, until interrupted.
    #[arg(long)]
    latest: bool,
    /// Stop after this many records.
    #[arg(long, short = 'n')]
    max: Option<u64>,
}

enum Reader {
    Kafka(Box<sluicegate_kafka::Reader>),
    Local(sluicegate_local::Reader),
}

impl Reader {
    fn open(options: &Consume) -> Result<Self, Exit> {
        Ok(match options.place.open()? {
            Backend::Kafka(config) => {
                Reader::Kafka(Box::new(sluicegate_kafka::Reader::new(&config, &options.topic, !options.latest)?))
            }
            Backend::Local(log) => {
                let start =
                    if options.latest { sluicegate_local::Start::Latest } else { sluicegate_local::Start::Earliest };
                let reader = sluicegate_local::Reader::open(&log, &options.topic, None, start)?;
                Reader::Local(if options.follow || options.latest { reader } else { reader.up_to_end() })
            }
        })
    }

    fn read(&mut self, batch: &mut Batch) -> Result<bool, Exit> {
        Ok(match self {
            Reader::Kafka(reader) => reader.read(batch, READ_WAIT)?,
            Reader::Local(reader) => reader.read(batch, READ_WAIT)?,
        })
    }

    fn is_done(&self) -> bool {
        match self {
            Reader::Kafka(reader) => reader.at_end(),
            Reader::Local(reader) => reader.is_done(),
        }
    }
}

/// Prints a topic's records, one JSON object a line; `produce` takes the same lines.
pub(super) fn consume(options: &Consume) -> Result<(), Exit> {
    let mut reader = Reader::open(options)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut batch = Batch::default();
    let mut left = options.max.unwrap_or(u64::MAX);
    while left > 0 {
        if reader.read(&mut batch)? {
            for row in batch.rows().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                settled(write_line(&mut out, &batch, &row))?;
                left -= 1;
            }
            settled(out.flush())?;
        } else if !options.follow && !options.latest && reader.is_done() {
            break;
        }
    }
    Ok(())
}

fn write_line(out: &mut impl Write, batch: &Batch, row: &Row<'_>) -> std::io::Result<()> {
    let shown = Shown {
        to: None,
        partition: Some(batch.partition.number),
        offset: Some(row.offset),
        timestamp: record::timestamp(row.timestamp),
        key: Bytes(row.key),
        value: Bytes(row.value),
        headers: Headers(row.headers),
    };
    serde_json::to_writer(&mut *out, &shown)?;
    out.write_all(b"\n")
}
