//! Dead letters as the command line shows them.

use std::io::IsTerminal;
use std::time::{Duration, UNIX_EPOCH};

use anstyle::Style;
use serde_json::Value;
use sluicegate_core::{Error, Row, Story};

use crate::console::{say, write_out};
use crate::dead_letters::{Coordinates, as_json, one_line};
use crate::record::{self, Bytes, Headers, Shown, readable};

/// A dead letter as it is read.
pub(super) struct Letter<'a> {
    pub(super) at: &'a Coordinates,
    pub(super) story: Story,
    pub(super) row: &'a Row<'a>,
    /// How many of its headers are the record's own.
    pub(super) own: usize,
    pub(super) replayed: bool,
}

impl Letter<'_> {
    pub(super) fn as_json(&self) -> Value {
        let Letter { at, story, row, .. } = self;
        let record = Shown {
            to: None,
            partition: Some(story.source.number),
            offset: None,
            timestamp: record::timestamp(row.timestamp),
            key: Bytes(row.key),
            value: Bytes(row.value),
            headers: Headers(row.headers.take(self.own)),
        };
        let mut json = as_json(story, &record);
        json["letter"] = at.to_string().into();
        json["at"] = at.as_json();
        json["replayed"] = self.replayed.into();
        json["time_ms"] = story.time_ms.into();
        json["pipeline"] = story.pipeline.as_str().into();
        json
    }

    pub(super) fn in_full(&self) -> String {
        let Letter { at, story, row, .. } = self;
        let Story { pipeline, stage, plugin, plugin_version, plugin_digest, failure, reason, .. } = story;
        let replayed = if self.replayed { "yes" } else { "no" };
        let mut lines = vec![
            ("letter", at.to_string()),
            ("record", Coordinates::of_source(story).to_string()),
            ("failed", utc(story.time_ms)),
            ("replayed", replayed.to_owned()),
            ("pipeline", one_line(pipeline)),
            ("stage", one_line(stage)),
            ("plugin", format!("{} {} sha256:{}", one_line(plugin), one_line(plugin_version), one_line(plugin_digest))),
            ("failure", one_line(failure)),
            ("reason", readable(Some(reason.as_bytes()))),
        ];
        let timestamp = record::timestamp(row.timestamp).map_or("none".into(), |ms| format!("{} ({ms})", utc(ms)));
        lines.push(("timestamp", timestamp));
        lines.push(("key", readable(row.key)));
        for (name, value) in row.headers.take(self.own) {
            lines.push(("header", format!("{}: {}", readable(Some(name)), readable(value))));
        }
        lines.push(("value", readable(row.value)));
        lines.iter().map(|(name, value)| format!("{name:<10}{value}\n")).collect()
    }
}

/// The letters of a list: JSON at once; a table when all are known, by time.
pub(super) struct Lines {
    pub(super) json: bool,
    pub(super) rows: Vec<(i64, [String; COLUMNS.len()], String)>,
}

const COLUMNS: [&str; 5] = ["LETTER", "TIME", "STAGE", "FAILURE", "RECORD"];

impl Lines {
    pub(super) fn add(&mut self, letter: &Letter<'_>) -> Result<(), Error> {
        if self.json {
            return write_out(|out| writeln!(out, "{}", letter.as_json()));
        }
        let story = &letter.story;
        let (stage, failure) = (one_line(&story.stage), one_line(&story.failure));
        let source = Coordinates::of_source(story).to_string();
        let columns = [letter.at.to_string(), utc(story.time_ms), stage, failure, source];
        let reason = if letter.replayed { format!("(replayed) {}", story.reason) } else { story.reason.clone() };
        self.rows.push((story.time_ms, columns, one_line(&reason)));
        Ok(())
    }

    pub(super) fn end(mut self) -> Result<(), Error> {
        if self.json || self.rows.is_empty() {
            return Ok(());
        }
        self.rows.sort_by_key(|(time, ..)| *time);
        let mut widths = COLUMNS.map(str::len);
        for (_, columns, _) in &self.rows {
            widths = std::array::from_fn(|index| widths[index].max(columns[index].chars().count()));
        }
        let line = |columns: [&str; COLUMNS.len()], reason: &str| {
            let padded = columns.iter().zip(widths).map(|(text, width)| format!("{text:<width$}  "));
            padded.collect::<String>() + reason
        };
        let width = width();
        let cut = |line: String| line.chars().take(width).collect::<String>();
        const TITLE: Style = Style::new().bold();
        say!("{TITLE}{}{TITLE:#}", cut(line(COLUMNS, "REASON")));
        write_out(|out| {
            self.rows.iter().try_for_each(|(_, columns, reason)| {
                let columns = columns.each_ref().map(String::as_str);
                writeln!(out, "{}", cut(line(columns, reason)).trim_end())
            })
        })
    }
}

/// The width of the terminal; no bound where there is none.
fn width() -> usize {
    let size = terminal_size::terminal_size().filter(|_| std::io::stdout().is_terminal());
    size.map_or(usize::MAX, |(width, _)| width.0.into())
}

fn utc(ms: i64) -> String {
    let time = u64::try_from(ms).ok().and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    time.map_or_else(|| ms.to_string(), |time| humantime::format_rfc3339_millis(time).to_string())
}
