use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::Partition;
use tracing::Level;

use crate::bindings::common::sluicegate::plugin::log as contract;
use crate::host::State;

/// A line is cut after this many bytes.
const LINE_BYTES_MAX: usize = 4 << 10;
/// What a failure's reason takes of a line, in bytes.
const WORDS_BYTES_MAX: usize = 512;
const WINDOW: Duration = Duration::from_secs(1);

/// Who is logging; the same for all instances of a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pub(crate) pipeline: String,
    pub(crate) stage: String,
    pub(crate) plugin: String,
    pub(crate) version: String,
    /// What it is beside the stage's own plugin.
    pub(crate) role: Option<&'static str>,
}

/// One instance's lines: rate-limited, cut, escaped, and labelled.
pub(crate) struct Logger {
    labels: Arc<Labels>,
    partition: Option<Partition>,
    lines_per_second: u32,
    lines_left: u32,
    window: Instant,
    suppressed: u64,
    last_error: Option<String>,
}

impl Logger {
    pub(crate) fn new(labels: Arc<Labels>, lines_per_second: u32) -> Self {
        Logger {
            labels,
            partition: None,
            lines_per_second,
            lines_left: lines_per_second,
            window: Instant::now(),
            suppressed: 0,
            last_error: None,
        }
    }

    /// Begins a call: lines belong to this partition, and earlier errors explain nothing any more.
    pub(crate) fn begin(&mut self, partition: &Partition) {
        if self.partition.as_ref() != Some(partition) {
            self.partition = Some(partition.clone());
        }
        self.last_error = None;
    }

    /// The last line of level error since the call began.
    pub(crate) fn last_error(&mut self) -> Option<String> {
        self.last_error.take()
    }

    pub(crate) fn line(&mut self, level: Level, line: &str) {
        if level == Level::ERROR {
            // Kept even where the line itself is one too many: it explains a trap.
            self.last_error = Some(clean(line, WORDS_BYTES_MAX));
        }
        if self.admit() {
            self.write(level, &clean(line, LINE_BYTES_MAX));
        }
    }

    fn admit(&mut self) -> bool {
        if self.lines_left == 0 && self.window.elapsed() >= WINDOW {
            self.window = Instant::now();
            self.lines_left = self.lines_per_second;
            if self.suppressed > 0 {
                let lines = std::mem::take(&mut self.suppressed);
                self.write(
                    Level::WARN,
                    &format!("{lines} lines suppressed: more than {} a second", self.lines_per_second),
                );
            }
        }
        match self.lines_left.checked_sub(1) {
            Some(left) => self.lines_left = left,
            None => self.suppressed += 1,
        }
        self.suppressed == 0
    }

    fn write(&self, level: Level, line: &str) {
        let Labels { pipeline, stage, plugin, version, role } = &*self.labels;
        let partition = self.partition.as_ref().map(tracing::field::display);
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(target: "plugin", $level, pipeline, stage, plugin, version, role, partition, "{line}")
            };
        }
        match level {
            Level::TRACE => event!(Level::TRACE),
            Level::DEBUG => event!(Level::DEBUG),
            Level::INFO => event!(Level::INFO),
            Level::WARN => event!(Level::WARN),
            Level::ERROR => event!(Level::ERROR),
        }
    }
}

impl contract::Host for State {
    fn log(&mut self, level: contract::Level, line: String) {
        let level = match level {
            contract::Level::Trace => Level::TRACE,
            contract::Level::Debug => Level::DEBUG,
            contract::Level::Info => Level::INFO,
            contract::Level::Warn => Level::WARN,
            contract::Level::Error => Level::ERROR,
        };
        self.log.line(level, &line);
    }
}

/// A guest's words as one harmless line: nothing in it can pass for another line, move a cursor or turn text around.
pub(crate) fn clean(line: &str, bytes_max: usize) -> String {
    let mut clean = String::with_capacity(line.len().min(bytes_max));
    for (at, char) in line.char_indices() {
        if clean.len() >= bytes_max {
            let _ = write!(clean, "… ({} bytes more)", line.len() - at);
            break;
        }
        let turns = matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if char.is_control() || turns {
            clean.extend(char.escape_default());
        } else {
            clean.push(char);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_harmless_line() {
        assert_eq!(clean("a\nERROR b\u{1b}[2J\u{202e}c", 99), "a\\nERROR b\\u{1b}[2J\\u{202e}c");
        assert_eq!(clean(&"ä".repeat(9), 4), "ää… (14 bytes more)");
    }

    #[test]
    fn lines_are_limited_and_the_last_error_is_kept() {
        let mut log = Logger::new(Arc::default(), 2);
        let admitted = (0..5).filter(|_| log.admit()).count();
        assert_eq!((admitted, log.suppressed), (2, 3));
        log.line(Level::ERROR, "why");
        assert_eq!(log.last_error().as_deref(), Some("why"));
        log.window -= WINDOW;
        assert!(log.admit());
        assert_eq!((log.lines_left, log.suppressed), (1, 0));
    }
}
