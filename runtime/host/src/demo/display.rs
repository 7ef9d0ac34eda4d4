use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use sluicegate_core::{Batch, Tally};
use sluicegate_local::{Log, Reader, Start};

use crate::exit::Exit;
use crate::supervisor::{Running, WorkerState};

const TITLE: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const TOPIC: Style = AnsiColor::Cyan.on_default();
const SECOND: Duration = Duration::from_secs(1);
/// A sample is cut here, to stay on one line of most terminals.
const SAMPLE_CHARS: usize = 110;

/// Says what is going on, and how to have the same on a Kafka of one's own.
pub(super) fn introduce(folder: &Path, admin: Option<SocketAddr>) {
    let shown = folder.display();
    let admin = admin
        .map_or(String::new(), |admin| format!("  admin     http://{admin}/v1/pipelines  http://{admin}/metrics\n"));
    print(&format!(
        "{TITLE}Sluicegate demo{TITLE:#}: trades → redact → route → trades.clean, trades.large; exactly once\n  \
         pipeline  {shown}/pipeline.yaml, on an embedded log: nothing to install\n{admin}  \
         on Kafka  replace 'local: {{ path: data, … }}' by 'kafka: {{ brokers: host:9092, … }}' in that file,\n            \
         create its topics, and: sluicegate run pipeline.yaml   (Ctrl-C ends the demo)\n"
    ));
}

/// Whether anybody is there to read it: a demo that nobody watches any more is over, and cleans up.
fn print(text: &str) -> bool {
    writeln!(anstream::stdout(), "{text}").is_ok()
}

/// Shows, second by second, rates, lag, and what came in and went out.
pub(super) struct Display {
    running: Arc<Running>,
    log: Log,
    topics: Vec<(String, Option<Reader>)>,
}

impl Display {
    pub(super) fn open(log: &Log, running: Arc<Running>) -> Result<Self, Exit> {
        let topics = ["trades", "trades.clean", "trades.large", "trades.dead"];
        let topics = topics.into_iter().map(|topic| (topic.to_owned(), None)).collect();
        Ok(Display { running, log: log.clone(), topics })
    }

    /// Returns after `duration`, or when the pipeline ends, or nobody watches.
    pub(super) fn run(mut self, duration: Option<Duration>) {
        let start = Instant::now();
        let mut before = Tally::default();
        let mut due = start + SECOND;
        while !self.is_over() && duration.is_none_or(|duration| start.elapsed() < duration) {
            std::thread::sleep(Duration::from_millis(20));
            if Instant::now() >= due {
                due += SECOND;
                let now = self.running.pipeline().meters.tally();
                if !print(&(self.rates(start.elapsed(), &before, &now) + &self.samples())) {
                    break;
                }
                before = now;
            }
        }
        let total = self.running.pipeline().meters.tally();
        print(&format!(
            "\n{TITLE}{} records in, {} out, {} dead letters{TITLE:#}; what is in flight is finished now",
            total.records_in, total.outputs, total.dead_letters
        ));
    }

    fn is_over(&self) -> bool {
        let over = |state: &WorkerState| matches!(state, WorkerState::Stopped | WorkerState::Failed { .. });
        self.running.states().iter().all(over)
    }

    fn rates(&self, elapsed: Duration, before: &Tally, now: &Tally) -> String {
        let lag: u64 = self.running.pipeline().meters.lag().values().sum();
        format!(
            "{TITLE}{:>4} s  in {:>7}/s  out {:>7}/s  dead letters {:>3}  lag {lag:>5}{TITLE:#}",
            elapsed.as_secs(),
            now.records_in - before.records_in,
            now.outputs - before.outputs,
            now.dead_letters,
        )
    }

    /// The last record of each topic within this second, if there is one.
    fn samples(&mut self) -> String {
        let mut samples = String::new();
        for (topic, reader) in &mut self.topics {
            if reader.is_none() {
                // Output topics come to be with the first worker.
                *reader = Reader::open(&self.log, topic, None, Start::Latest).ok();
                continue;
            }
            let mut batch = Batch::default();
            let mut sample = None;
            while let Some(true) =
                reader.as_mut().map(|reader| reader.read(&mut batch, Duration::ZERO).unwrap_or(false))
            {
                if let Some(row) = batch.rows().last() {
                    sample = Some(format!("{}[{}]", batch.partition.number, row.offset) + &text(row.value));
                }
            }
            if let Some(sample) = sample {
                samples += &format!("\n  {TOPIC}{topic:<12}{TOPIC:#} {FAINT}{sample}{FAINT:#}");
            }
        }
        samples
    }
}

fn text(value: Option<&[u8]>) -> String {
    let text = value.map_or("null".into(), String::from_utf8_lossy);
    let cut: String = text.chars().take(SAMPLE_CHARS).collect();
    format!(" {cut}")
}
