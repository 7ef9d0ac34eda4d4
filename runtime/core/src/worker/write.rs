//! What came of a batch, on its way to the sink.

use super::Worker;
use crate::batch::NO_TIMESTAMP;
use crate::chain::FailedRecord;
use crate::error::{Error, ErrorKind};
use crate::letter::Story;
use crate::meters::Tally;
use crate::output::{Destination, Output};
use crate::policy::Action;
use crate::progress::Ticket;

impl Worker {
    pub(super) fn write(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        if self.open_since.is_none() {
            self.transaction.begin()?;
            self.open_since = Some(now);
        }
        let (records, bytes) = (self.batch.len(), self.batch.bytes());
        let Some(end) = self.batch.next_offset() else {
            return Ok(());
        };
        let ticket = self.progress.begin(self.batch.partition.clone(), end, records, bytes, now);
        self.fresh.add(records, bytes);
        self.uncommitted.add(records, bytes);
        let mut tally = Tally { records_in: records as u64, bytes_in: bytes as u64, ..Tally::default() };
        self.write_outputs(ticket, &mut tally)?;
        self.write_dead_letters(ticket, &mut tally)?;
        self.progress.written(ticket, tally.outputs + tally.dead_letters);
        self.meters.add(&tally);
        if let Some(log_end) = self.batch.log_end {
            self.lag.insert(self.batch.partition.clone(), log_end.saturating_sub(end));
        }
        Ok(())
    }

    /// An error where a policy says stop: nothing of the batch is written, and what came before it is committed.
    pub(super) fn refuse_to_pass_over(&self) -> Result<(), Error> {
        for failed in self.passage.failed() {
            let stage = self.chain.stage(failed.stage);
            if stage.policy().action(failed.failure.kind) == Action::Stop {
                self.meters.add_failure(failed.stage, failed.failure.kind);
                let (partition, offset) = (&self.batch.partition, self.batch.offsets[failed.row]);
                return Err(Error::new(
                    ErrorKind::Stopped,
                    format!(
                        "stage '{}' failed on {partition} offset {offset} ({}), and its policy is 'stop'; mend the plugin \
                         or the record, or set a dead-letter topic or on-failure.then",
                        stage.name(),
                        failed.failure
                    ),
                )
                .by(failed.stage, stage.version()));
            }
        }
        Ok(())
    }

    fn write_outputs(&mut self, ticket: Ticket, tally: &mut Tally) -> Result<(), Error> {
        let sink = &mut *self.sink;
        self.passage.outputs(&self.batch, self.chain.plugin_header(), |output| {
            tally.outputs += 1;
            sink.write(output, ticket)
        })
    }

    /// Does with each failed record what its policy says: a dead letter, or nothing.
    fn write_dead_letters(&mut self, ticket: Ticket, tally: &mut Tally) -> Result<(), Error> {
        let mut rows = self.batch.rows().enumerate();
        for failed in self.passage.failed() {
            self.meters.add_failure(failed.stage, failed.failure.kind);
            let stage = self.chain.stage(failed.stage);
            if stage.policy().action(failed.failure.kind) == Action::Skip {
                tally.skipped += 1;
                continue;
            }
            let Some((_, record)) = rows.by_ref().find(|(row, _)| *row == failed.row) else {
                continue;
            };
            let story = self.story(failed).into_headers();
            // Its own, unless that would be refused here too.
            let taken = stage.limits().sink.timestamps(self.clock.unix_ms()).take(record.timestamp);
            let timestamp = if taken { record.timestamp } else { NO_TIMESTAMP };
            self.sink.write(
                &Output {
                    to: Destination::DeadLetter,
                    source: &self.batch.partition,
                    offset: record.offset,
                    index: 0,
                    timestamp,
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                    added: &story,
                },
                ticket,
            )?;
            tally.dead_letters += 1;
        }
        Ok(())
    }

    fn story(&self, failed: &FailedRecord) -> Story {
        let stage = self.chain.stage(failed.stage);
        let plugin = stage.transform().identity();
        Story {
            pipeline: self.settings.pipeline.clone(),
            stage: stage.name().to_owned(),
            plugin: plugin.name.clone(),
            plugin_version: plugin.version.clone(),
            plugin_digest: plugin.digest.clone(),
            failure: failed.failure.kind.name().to_owned(),
            reason: failed.failure.reason.clone(),
            source: self.batch.partition.clone(),
            offset: self.batch.offsets[failed.row],
            time_ms: self.clock.unix_ms(),
        }
    }
}
