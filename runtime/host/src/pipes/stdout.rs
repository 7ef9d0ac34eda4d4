use std::io::{self, BufWriter, Stdout, Write};
use std::time::Duration;

use sluicegate_core::{
    Acks, Destination, Error, ErrorKind, Output, Positions, Progress, Sink, Story, Ticket, Transaction,
};

use crate::config::Pipeline;
use crate::console::settled;
use crate::dead_letters::as_json;
use crate::record::{self, Bytes, Headers, Shown};

/// Writes outputs as lines to standard output, and dead letters, as JSON, to standard error.
pub(super) struct StdoutSink {
    out: BufWriter<Stdout>,
    raw: bool,
    /// The named outputs.
    named: Vec<String>,
    /// The header of each output's stable id, where the pipeline has one.
    id_header: Option<String>,
    pipeline: String,
    id: String,
    /// What is to be acknowledged.
    written: Acks,
}

impl StdoutSink {
    pub(super) fn new(config: &Pipeline, raw: bool) -> Self {
        StdoutSink {
            out: BufWriter::with_capacity(64 << 10, io::stdout()),
            raw,
            named: config.sink.outputs().names(),
            id_header: config.sink.id_header().map(str::to_owned),
            pipeline: config.name.clone(),
            id: String::new(),
            written: Acks::default(),
        }
    }

    fn write_output(&mut self, output: &Output<'_>) -> io::Result<()> {
        if self.raw {
            // A tombstone has no value, and so no line.
            let Some(value) = output.value else { return Ok(()) };
            self.out.write_all(value)?;
            return self.out.write_all(b"\n");
        }
        if self.id_header.is_some() {
            output.write_id(&self.pipeline, &mut self.id);
        }
        let added = output.added.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let id = self.id_header.as_ref().map(|name| (name.as_bytes(), Some(self.id.as_bytes())));
        let shown = Shown {
            to: match output.to {
                Destination::Named(index) => self.named.get(index as usize).map(String::as_str),
                _ => None,
            },
            // Where it will be stored, nobody knows yet.
            partition: None,
            offset: None,
            timestamp: record::timestamp(output.timestamp),
            key: Bytes(output.key),
            value: Bytes(output.value),
            headers: Headers(output.headers.chain(added).chain(id)),
        };
        serde_json::to_writer(&mut self.out, &shown)?;
        self.out.write_all(b"\n")
    }
}

impl Sink for StdoutSink {
    fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
        match output.to {
            Destination::DeadLetter | Destination::Replayed => tell_failure(output)?,
            Destination::Default | Destination::Named(_) => settled(self.write_output(output))?,
        }
        self.written.add(ticket);
        Ok(())
    }

    fn send_now(&mut self) {}

    /// Flushes: the worker asks after each batch, before it reads more.
    fn acknowledged(&mut self, progress: &mut Progress, _: Duration) -> Result<(), Error> {
        if self.written.is_empty() {
            return Ok(());
        }
        settled(self.out.flush())?;
        self.written.report(progress);
        Ok(())
    }
}

/// A dead letter, in the words of `dead-letters list --json`; `.record` of it is a line that can be run again.
fn tell_failure(output: &Output<'_>) -> Result<(), Error> {
    let Some(story) = Story::of(output) else { return Ok(()) };
    let record = Shown {
        to: None,
        partition: Some(output.source.number),
        offset: Some(output.offset),
        timestamp: record::timestamp(output.timestamp),
        key: Bytes(output.key),
        value: Bytes(output.value),
        headers: Headers(output.headers),
    };
    // At once: standard error has no buffer.
    let line = format!("{}\n", as_json(&story, &record));
    io::stderr().write_all(line.as_bytes()).map_err(|error| {
        Error::new(ErrorKind::Stopped, format!("cannot write a dead letter to standard error: {error}"))
    })
}

/// The transaction of pipes: what is written is written.
pub(super) struct Nothing;

impl Transaction for Nothing {
    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn commit(&mut self, _: &Positions) -> Result<(), Error> {
        Ok(())
    }

    fn commit_while(&mut self, positions: &Positions, _: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        self.commit(positions)
    }

    fn abort(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
