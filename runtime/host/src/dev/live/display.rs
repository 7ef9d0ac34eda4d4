use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use sluicegate_core::{Output, Partition, Row};

use crate::console::say;
use crate::dead_letters::one_line;
use crate::record::readable;

const PLACE: Style = AnsiColor::Cyan.on_default();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WINDOW: Duration = Duration::from_secs(1);
/// Keys and values are cut here.
const SHOWN_CHARS: usize = 160;
/// More outputs of one record are counted.
const OUTPUTS_SHOWN_MAX: usize = 10;

/// Shows records and what became of them on standard output, so many a second. Shared by the workers that follow each other.
pub(super) struct Display {
    rate: usize,
    window: Mutex<Window>,
}

/// What was shown and not shown since some time.
struct Window {
    since: Instant,
    shown: usize,
    hidden: u64,
}

/// A record, and what became of it.
pub(super) struct Shown<'a> {
    pub(super) partition: &'a Partition,
    pub(super) row: Row<'a>,
    pub(super) became: &'a [Became],
}

/// What became of a record: one of its outputs, or that it failed.
pub(super) struct Became {
    pub(super) line: String,
}

impl Became {
    pub(super) fn output(output: &Output<'_>, topic: &str, as_it_came: bool) -> Self {
        let line = match as_it_came {
            true => format!("{GOOD}→ {topic}{GOOD:#}  {FAINT}passed{FAINT:#}"),
            false => format!("{GOOD}→ {topic}{GOOD:#}  {}: {}", brief(output.key), brief(output.value)),
        };
        Became { line }
    }

    /// `letter` is the topic of its dead letter; none where it is skipped.
    pub(super) fn failed(stage: &str, failure: &str, reason: &str, letter: Option<&str>) -> Self {
        let then = letter.map_or("skipped".to_owned(), |topic| format!("→ {topic}"));
        let line = format!("{BAD}{failure}{BAD:#} by {stage}: {}  {FAINT}{then}{FAINT:#}", one_line(reason));
        Became { line }
    }
}

impl Display {
    pub(super) fn new(rate: u32) -> Self {
        let window = Window { since: Instant::now(), shown: 0, hidden: 0 };
        Display { rate: rate as usize, window: Mutex::new(window) }
    }

    /// How many of so many records are to be shown.
    pub(super) fn take(&self, records: usize) -> usize {
        self.tell_hidden();
        let mut window = self.window();
        let shown = records.min(self.rate - window.shown);
        window.shown += shown;
        window.hidden += (records - shown) as u64;
        shown
    }

    /// Shows records.
    pub(super) fn show<'a>(&self, records: impl Iterator<Item = Shown<'a>>) {
        records.for_each(|record| say!("{}", record.describe()));
    }

    /// Says, once a second is over, how many records were not shown in it.
    pub(super) fn tell_hidden(&self) {
        let mut window = self.window();
        if window.since.elapsed() >= WINDOW {
            window.close();
        }
    }

    /// Says how many were not shown last.
    pub(super) fn end(&self) {
        self.window().close();
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn close(&mut self) {
        if self.hidden > 0 {
            say!("{FAINT}… and {} more records, which are not shown; --rate shows more{FAINT:#}", self.hidden);
        }
        *self = Window { since: Instant::now(), shown: 0, hidden: 0 };
    }
}

impl Shown<'_> {
    fn describe(&self) -> String {
        let Shown { partition, row, became } = self;
        let mut text = format!("{PLACE}{partition}@{}{PLACE:#}  {}: {}", row.offset, brief(row.key), brief(row.value));
        if became.is_empty() {
            let _ = write!(text, "\n  {FAINT}dropped{FAINT:#}");
        }
        for became in became.iter().take(OUTPUTS_SHOWN_MAX) {
            let _ = write!(text, "\n  {}", became.line);
        }
        if let Some(more @ 1..) = became.len().checked_sub(OUTPUTS_SHOWN_MAX) {
            let _ = write!(text, "\n  {FAINT}… and {more} more outputs{FAINT:#}");
        }
        text
    }
}

fn brief(bytes: Option<&[u8]>) -> String {
    let text = one_line(&readable(bytes));
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluicegate_core::Batch;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn described(became: &[Became]) -> String {
        let mut batch = Batch { partition: Partition { topic: "in".into(), number: 2 }, ..Batch::default() };
        batch.push(7, 0, None, Some(b"\x1b[2J"));
        let row = batch.rows().next().unwrap();
        plain(&Shown { partition: &batch.partition, row, became }.describe())
    }

    #[test]
    fn a_record_is_told_with_what_became_of_it() {
        assert_eq!(described(&[]), "in[2]@7  null: 0x1b5b324a\n  dropped");
        let failed = [Became::failed("shout", "rejected", "not\nUTF-8", Some("dead"))];
        assert_eq!(described(&failed), "in[2]@7  null: 0x1b5b324a\n  rejected by shout: not UTF-8  → dead");
        let many: Vec<Became> = (0..12).map(|_| Became { line: "→ out".into() }).collect();
        assert!(described(&many).ends_with("\n  → out\n  … and 2 more outputs"));
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        assert_eq!(brief(Some("ä".repeat(161).as_bytes())), format!("{}…", "ä".repeat(160)));
    }

    #[test]
    fn so_many_are_shown_a_second() {
        let display = Display::new(5);
        assert_eq!([display.take(3), display.take(3), display.take(3)], [3, 2, 0]);
        assert_eq!(display.window().hidden, 4);
        display.window().since -= WINDOW;
        assert_eq!(display.take(3), 3);
        assert_eq!(display.window().hidden, 0);
    }
}
