use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::Partition;
use tracing::Level;

use crate::bindings::common::sluicegate::plugin::log as contract;
use crate::host::State;
use crate::words::clean;

/// A line is cut after this many bytes.
const LINE_BYTES_MAX: usize = 4 << 10;
/// How much of a line goes into a failure's reason, in bytes.
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

/// How much one stage has logged lately, in all its instances on all workers. It outlives them: a plugin that fails on
/// every record, and is started again each time, must not get its lines again each time.
#[derive(Debug, Default)]
pub struct LogWindow {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// None until there is a line.
    begin: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl LogWindow {
    fn admit(&self, lines_per_second: u32) -> Option<u64> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now(), lines_per_second)
    }
}

impl Window {
    /// Lets a line through, and says how many were suppressed since the last one. None: this is one too many.
    fn admit(&mut self, now: Instant, lines_max: u32) -> Option<u64> {
        if self.begin.is_none_or(|begin| now.saturating_duration_since(begin) >= WINDOW) {
            (self.begin, self.lines) = (Some(now), 0);
        }
        if self.lines >= lines_max {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// One instance's lines: rate-limited with those of its stage, cut, escaped, and labelled.
pub(crate) struct Logger {
    labels: Arc<Labels>,
    window: Arc<LogWindow>,
    lines_per_second: u32,
    partition: Option<Partition>,
    last_error: Option<String>,
}

impl Logger {
    pub(crate) fn new(labels: Arc<Labels>, window: Arc<LogWindow>, lines_per_second: u32) -> Self {
        Logger { labels, window, lines_per_second, partition: None, last_error: None }
    }

    /// Begins a call: lines belong to this partition, and earlier errors no longer explain anything.
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
        let Some(suppressed) = self.window.admit(self.lines_per_second) else { return };
        if suppressed > 0 {
            let most = self.lines_per_second;
            self.write(Level::WARN, &format!("{suppressed} lines suppressed: more than {most} a second"));
        }
        self.write(level, &clean(line, LINE_BYTES_MAX));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_limited_and_the_others_counted() {
        let (mut window, now) = (Window::default(), Instant::now());
        assert_eq!([(); 5].map(|()| window.admit(now, 2)), [Some(0), Some(0), None, None, None]);
        assert_eq!([(); 3].map(|()| window.admit(now + WINDOW, 2)), [Some(3), Some(0), None]);
    }

    /// It explains a trap.
    #[test]
    fn the_last_error_is_kept_where_its_line_is_one_too_many() {
        let mut log = Logger::new(Arc::default(), Arc::default(), 0);
        log.line(Level::ERROR, "why");
        assert_eq!(log.last_error().as_deref(), Some("why"));
    }
}
