use std::sync::Arc;

use crate::batch::{Partition, Row};
use crate::maker::PLUGIN_DIGEST;
use crate::output::Output;

/// The headers that tell a dead letter's story, in order. They follow those of the record itself.
const NAMES: [&str; 11] = [
    "sluicegate-pipeline",
    "sluicegate-stage",
    "sluicegate-plugin",
    "sluicegate-plugin-version",
    PLUGIN_DIGEST,
    "sluicegate-failure",
    "sluicegate-reason",
    "sluicegate-topic",
    "sluicegate-partition",
    "sluicegate-offset",
    "sluicegate-time",
];

/// The header of a mark, which stands in the partition of a dead letter and says that it was replayed: its value is the
/// letter's offset.
pub const REPLAYED: &str = "sluicegate-replayed";

/// What a dead letter tells, in headers, about the record that it holds and its failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The pipeline.
    pub pipeline: String,
    /// The stage that failed on the record.
    pub stage: String,
    /// The plugin's own name.
    pub plugin: String,
    /// The plugin's own version.
    pub plugin_version: String,
    /// The SHA-256 of the plugin's bytes, in hexadecimal.
    pub plugin_digest: String,
    /// The name of the kind of failure.
    pub failure: String,
    /// The reason, in the words of the plugin or of the runtime.
    pub reason: String,
    /// The partition that the record came from.
    pub source: Partition,
    /// The record's offset there.
    pub offset: u64,
    /// When it failed, in milliseconds since the Unix epoch.
    pub time_ms: i64,
}

impl Story {
    /// The headers that tell it.
    pub fn into_headers(self) -> [(&'static str, String); NAMES.len()] {
        let values = [
            self.pipeline,
            self.stage,
            self.plugin,
            self.plugin_version,
            self.plugin_digest,
            self.failure,
            bounded(self.reason),
            self.source.topic.to_string(),
            self.source.number.to_string(),
            self.offset.to_string(),
            self.time_ms.to_string(),
        ];
        let mut values = values.into_iter();
        NAMES.map(|name| (name, values.next().unwrap_or_default()))
    }

    /// The story that a record tells, and how many headers before it are the record's own; none if it is no dead letter.
    ///
    /// A record may have been a dead letter before, of this pipeline or of another: the last story counts, and the
    /// others belong to the record.
    pub fn read(row: &Row<'_>) -> Option<(Self, usize)> {
        let begins = |(name, _): (&[u8], Option<&[u8]>)| name == NAMES[0].as_bytes();
        let own = row.headers.enumerate().filter(|(_, header)| begins(*header)).last()?.0;
        Some((Story::told(row.headers.skip(own))?, own))
    }

    /// The story that an output tells which is a dead letter on its way to the sink; none if it is none.
    pub fn of(output: &Output<'_>) -> Option<Self> {
        Story::told(output.added.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))))
    }

    /// The story that headers tell which begin with it.
    fn told<'a>(headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Option<Self> {
        let values = values(headers)?;
        let [pipeline, stage, plugin, plugin_version, plugin_digest, failure, reason, topic, partition, offset, time] =
            values;
        let source = Partition { topic: Arc::from(topic), number: partition.parse().ok()? };
        let (offset, time_ms) = (offset.parse().ok()?, time.parse().ok()?);
        Some(Story { pipeline, stage, plugin, plugin_version, plugin_digest, failure, reason, source, offset, time_ms })
    }
}

/// The offset of the dead letter that this record marks as replayed; none if it is no mark.
pub fn replayed(row: &Row<'_>) -> Option<u64> {
    let (name, value) = { row.headers }.next()?;
    if name != REPLAYED.as_bytes() || Story::read(row).is_some() {
        // What tells a story is a dead letter, and the header that of the record in it.
        return None;
    }
    std::str::from_utf8(value?).ok()?.parse().ok()
}

/// The values of a story's headers, if all are there, in order.
fn values<'a>(mut headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Option<[String; NAMES.len()]> {
    let mut values: [String; NAMES.len()] = Default::default();
    for (name, text) in NAMES.iter().zip(&mut values) {
        let (found, value) = headers.next()?;
        if found != name.as_bytes() {
            return None;
        }
        *text = String::from_utf8_lossy(value?).into_owned();
    }
    Some(values)
}

/// A reason that fits a header: at most 1 KiB, cut at a character.
fn bounded(mut reason: String) -> String {
    const REASON_BYTES_MAX: usize = 1024;
    if reason.len() > REASON_BYTES_MAX {
        let end = (0..=REASON_BYTES_MAX).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        reason.truncate(end);
        reason.push('…');
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::output::{Destination, HeaderSlice};

    fn story(pipeline: &str) -> Story {
        Story {
            pipeline: pipeline.into(),
            stage: "s".into(),
            plugin: "p".into(),
            plugin_version: "1.0.0".into(),
            plugin_digest: "ab".into(),
            failure: "trap".into(),
            reason: "bööm".into(),
            source: Partition { topic: "trades".into(), number: 3 },
            offset: 1 << 40,
            time_ms: 1_767_623_400_123,
        }
    }

    fn tell(batch: &mut Batch, story: Story) {
        for (name, value) in story.into_headers() {
            batch.push_header(name.as_bytes(), Some(value.as_bytes()));
        }
    }

    #[test]
    fn a_story_reads_back_and_leaves_the_records_own_headers() {
        let mut batch = Batch::default();
        batch.push(0, 0, None, None);
        batch.push_header(b"own", None);
        tell(&mut batch, story("first"));
        tell(&mut batch, story("second"));
        batch.push_header(b"sluicegate-id", Some(b"id"));
        let row = batch.rows().next().unwrap();
        assert_eq!(Story::read(&row), Some((story("second"), 1 + NAMES.len())));
    }

    #[test]
    fn a_letter_on_its_way_out_tells_its_story() {
        let (added, source) = (story("p").into_headers(), story("p").source);
        let letter = Output {
            to: Destination::DeadLetter,
            source: &source,
            offset: 0,
            index: 0,
            timestamp: 0,
            key: None,
            value: None,
            headers: HeaderSlice::default(),
            added: &added,
        };
        assert_eq!(Story::of(&letter), Some(story("p")));
        assert_eq!(Story::of(&Output { added: &[(PLUGIN_DIGEST, "ab".into())], ..letter }), None);
    }

    #[test]
    fn what_is_no_letter_tells_no_story() {
        let mut batch = Batch::default();
        batch.push(0, 0, None, None);
        batch.push(1, 0, None, None);
        batch.push_header(NAMES[0].as_bytes(), Some(b"only the beginning"));
        batch.push(2, 0, None, None);
        batch.push_header(REPLAYED.as_bytes(), Some(b"42"));
        let rows: Vec<_> = batch.rows().collect();
        assert!(rows.iter().all(|row| Story::read(row).is_none()));
        assert_eq!(rows.iter().map(replayed).collect::<Vec<_>>(), [None, None, Some(42)]);
    }

    #[test]
    fn a_letter_marks_no_other_as_replayed() {
        let mut batch = Batch::default();
        batch.push(0, 0, None, None);
        batch.push_header(REPLAYED.as_bytes(), Some(b"42"));
        tell(&mut batch, story("p"));
        assert_eq!(replayed(&batch.rows().next().unwrap()), None);
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let reason = Story { reason: "ä".repeat(600), ..story("p") }.into_headers()[6].1.clone();
        assert_eq!(reason, format!("{}…", "ä".repeat(512)));
    }
}
