use std::fmt::Display;
use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use sluicegate_core::Output;

use super::Coordinates;
use super::ledger::Ledger;
use crate::record;

const FAINT: Style = Style::new().dimmed();
const FAILED: Style = AnsiColor::Red.on_default();
/// Keys and values are cut here in what people read.
const SHOWN_CHARS: usize = 100;

/// Tells how a replay goes: to people with a bar, where there is a terminal, or to machines line by line.
pub(crate) struct Report {
    json: bool,
    bar: ProgressBar,
}

/// An output that a replay would produce.
pub(crate) struct Produced<'a> {
    /// The letter whose record it is made of.
    pub(crate) letter: Coordinates,
    /// The topic it would go to.
    pub(crate) topic: &'a str,
    /// The output.
    pub(crate) output: &'a Output<'a>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        // On standard error; hidden where that is no terminal.
        let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} dead letters  {msg}  {eta}");
        Report { json, bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())) }
    }

    /// So many letters are to be replayed.
    pub(super) fn begin(&self, letters: u64) {
        self.bar.set_length(letters);
    }

    /// So far is durable.
    pub(super) fn advance(&self, ledger: &Ledger) {
        self.bar.set_position(ledger.replayed + ledger.failed);
        if ledger.failed > 0 {
            self.bar.set_message(format!("{} failed again", ledger.failed));
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// The letter's record failed again.
    pub(super) fn failed(&self, letter: &Coordinates, failure: &str, reason: &str) {
        if self.json {
            let line = json!({ "letter": letter.to_string(), "outcome": "failed-again", "failure": failure, "reason": reason });
            say(&line);
            return;
        }
        let reason = one_line(reason);
        let line = format!("{letter}  {FAILED}failed again{FAILED:#}  {failure}: {reason}");
        self.bar.suspend(|| say(&line));
    }

    /// What would be produced, if this were no dry run.
    pub(super) fn would_produce(&self, produced: &Produced<'_>) {
        let Produced { letter, topic, output } = produced;
        if self.json {
            let line = json!({
                "letter": letter.to_string(),
                "outcome": "would-produce",
                "topic": topic,
                "timestamp": record::timestamp(output.timestamp),
                "key": record::Bytes(output.key),
                "value": record::Bytes(output.value),
                "headers": record::Headers(output.headers),
            });
            say(&line);
            return;
        }
        let (key, value) = (shown(output.key), shown(output.value));
        let line = format!("{letter}  → {topic}  {FAINT}{key}: {value}{FAINT:#}");
        self.bar.suspend(|| say(&line));
    }
}

/// A line on standard output. That nobody reads it any more does not end a replay.
fn say(line: &dyn Display) {
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// Text without what would make a terminal do things.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn shown(bytes: Option<&[u8]>) -> String {
    let text = bytes.map_or("null".into(), String::from_utf8_lossy);
    one_line(&text.chars().take(SHOWN_CHARS).collect::<String>())
}
