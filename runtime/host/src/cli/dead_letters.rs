use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anstyle::Style;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sluicegate_core::{Error, ErrorKind, FailureKind, Row, Stop, Story};

use crate::app::App;
use crate::config::{self, Pipeline};
use crate::dead_letters::{Coordinates, Filter, Index, Replay, Replayed, Report, for_replay, one_line, visit};
use crate::exit::Exit;
use crate::record;
use crate::service::stop_on_signals;

#[derive(Args)]
pub(super) struct DeadLetters {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Subcommand)]
enum DeadLettersCommand {
    /// List the dead letters that are not replayed yet.
    List(List),
    /// Show one dead letter whole.
    Show(Show),
    /// Run dead letters' records through the pipeline once more: what comes of them goes to its sink, each record once
    /// however often this is run or killed. What fails again stays a dead letter.
    Replay(ReplayOptions),
}

#[derive(Args)]
struct Which {
    /// The pipeline's file: it says where its dead letters are.
    pipeline: PathBuf,
    /// Only those that failed so: rejected, trap, deadline, memory, malformed, too-much-output; may be repeated.
    #[arg(long = "failure", value_name = "KIND", value_parser = failure)]
    failures: Vec<FailureKind>,
    /// Only those of this stage.
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Only those that failed at this time or later: 2026-01-31T12:00:00Z, milliseconds since 1970, or how long ago: 2h.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<i64>,
    /// Only those that failed before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<i64>,
    /// At most so many, the oldest of each partition first.
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<usize>,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    which: Which,
    /// Also those that are replayed.
    #[arg(long)]
    all: bool,
}

#[derive(Args)]
struct Show {
    /// The pipeline's file.
    pipeline: PathBuf,
    /// Where the dead letter stands, as `list` names it, or where its record stood: TOPIC/PARTITION@OFFSET.
    letter: Coordinates,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ReplayOptions {
    #[command(flatten)]
    which: Which,
    /// Only these, as `list` names them.
    #[arg(value_name = "LETTER")]
    letters: Vec<Coordinates>,
    /// Run this plugin in place of the stage's; --stage says which one where there are several.
    #[arg(long, value_name = "PLUGIN.WASM")]
    with: Option<PathBuf>,
    /// Say what would be produced, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(options: &DeadLetters) -> Result<u8, Exit> {
    match &options.command {
        DeadLettersCommand::List(options) => list(options).map(|()| 0),
        DeadLettersCommand::Show(options) => show(options).map(|()| 0),
        DeadLettersCommand::Replay(options) => replay(options),
    }
}

impl Which {
    /// The pipeline, and the letters of it that are meant.
    fn read(&self, places: Vec<Coordinates>) -> Result<(Pipeline, Filter), Exit> {
        let config = config::load(&self.pipeline)?;
        if let Some(stage) = self.stage.as_ref().filter(|stage| config.stages.iter().all(|other| other.name != **stage))
        {
            return Err(Exit::usage(format!(
                "--stage '{stage}': the stages of '{}' are {}",
                config.name,
                stages(&config)
            )));
        }
        let filter = Filter {
            pipeline: config.name.clone(),
            failures: self.failures.clone(),
            stage: self.stage.clone(),
            since: self.since,
            until: self.until,
            places,
        };
        Ok((config, filter))
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }
}

fn stages(config: &Pipeline) -> String {
    config.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn list(options: &List) -> Result<(), Exit> {
    let (config, filter) = options.which.read(Vec::new())?;
    let app = App::new()?;
    let index = Index::read(&mut *app.letters(&config, false)?, &filter)?;
    let mut lines = Lines { json: options.which.json, rows: Vec::new() };
    let mut left = options.which.limit();
    visit(&mut *app.letters(&config, false)?, |at, row| {
        let replayed = index.is_replayed(at);
        if let Some((story, own)) = Story::read(row)
            && left > 0
            && filter.takes(at, &story)
            && (options.all || !replayed)
        {
            left -= 1;
            return lines.add(&Letter { at, story, row, own, replayed });
        }
        Ok(())
    })?;
    Ok(lines.end()?)
}

fn show(options: &Show) -> Result<(), Exit> {
    let config = config::load(&options.pipeline)?;
    let filter = Filter { pipeline: config.name.clone(), places: vec![options.letter.clone()], ..Filter::default() };
    let app = App::new()?;
    let index = Index::read(&mut *app.letters(&config, false)?, &filter)?;
    let mut found = false;
    visit(&mut *app.letters(&config, false)?, |at, row| {
        if let Some((story, own)) = Story::read(row)
            && !found
            && filter.takes(at, &story)
        {
            found = true;
            let letter = Letter { at, story, row, own, replayed: index.is_replayed(at) };
            let text = if options.json { format!("{:#}\n", letter.as_json()) } else { letter.in_full() };
            return write_out(|out| out.write_all(text.as_bytes()));
        }
        Ok(())
    })?;
    if found {
        return Ok(());
    }
    Err(Exit::failed(format!(
        "pipeline '{}' has no dead letter {}; 'sluicegate dead-letters list --all' names those that are there",
        config.name, options.letter
    )))
}

fn replay(options: &ReplayOptions) -> Result<u8, Exit> {
    let (mut config, filter) = options.which.read(options.letters.clone())?;
    if let Some(plugin) = &options.with {
        mend(&mut config, options.which.stage.as_deref(), plugin.clone())?;
    }
    let app = App::new()?;
    let pipeline = app.load(for_replay(config))?;
    let stop = Arc::new(Stop::default());
    let signals = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (asked, interrupted) = (Arc::clone(&stop), Arc::new(Stop::default()));
    let noted = Arc::clone(&interrupted);
    stop_on_signals(&signals, move || {
        noted.request();
        asked.request();
    })?;
    let replay = Replay { filter, limit: options.which.limit(), dry_run: options.dry_run };
    let json = options.which.json;
    let done = replay.run(&app, &pipeline, Report::new(json), &stop);
    signals.shutdown_background();
    let done = done.map_err(again)?;
    tell(&done, options, interrupted.requested());
    Ok(if done.failed > 0 || interrupted.requested() { 1 } else { 0 })
}

/// Puts a mended plugin in its stage's place.
fn mend(config: &mut Pipeline, stage: Option<&str>, plugin: PathBuf) -> Result<(), Exit> {
    let names = stages(config);
    let named = |name: &str| stage.is_none_or(|stage| stage == name);
    let mut meant = config.stages.iter_mut().filter(|stage| named(&stage.name));
    match (meant.next(), meant.next()) {
        (Some(stage), None) => {
            stage.plugin = plugin;
            stage.digest = None;
            Ok(())
        }
        (None, _) => Err(Exit::usage(format!("--with: pipeline '{}' has no stage", config.name))),
        _ => Err(Exit::usage(format!("--with replaces one stage's plugin: say with --stage which of {names}"))),
    }
}

/// A fault that passes ends a replay too: it is the next one's to go on.
fn again(error: Error) -> Exit {
    match error.kind {
        ErrorKind::Retry | ErrorKind::Promise => {
            let message = format!("{error}; run the replay again: it goes on with what is not replayed yet");
            Exit::from(Error::new(error.kind, message))
        }
        _ => Exit::from(error),
    }
}

fn tell(done: &Replayed, options: &ReplayOptions, interrupted: bool) {
    let Replayed { open, replayed, outputs, failed } = done;
    if options.which.json {
        let line = json!({
            "open": open, "replayed": replayed, "outputs": outputs, "failed_again": failed,
            "dry_run": options.dry_run, "interrupted": interrupted,
        });
        println!("{line}");
        return;
    }
    let did = if options.dry_run { "would be replayed" } else { "replayed" };
    println!("{replayed} of {open} dead letters {did}, {outputs} outputs; {failed} failed again and stay");
    if interrupted {
        println!("interrupted: the others are as they were");
    }
}

/// A dead letter as it is read.
struct Letter<'a> {
    at: &'a Coordinates,
    story: Story,
    row: &'a Row<'a>,
    /// How many of its headers are the record's own.
    own: usize,
    replayed: bool,
}

impl Letter<'_> {
    fn source(&self) -> Coordinates {
        Coordinates { partition: self.story.source.clone(), offset: self.story.offset }
    }

    fn as_json(&self) -> Value {
        let Letter { at, story, row, .. } = self;
        let place = |at: &Coordinates| json!({ "topic": &*at.partition.topic, "partition": at.partition.number, "offset": at.offset });
        json!({
            "letter": at.to_string(),
            "at": place(at),
            "source": place(&self.source()),
            "replayed": self.replayed,
            "time_ms": story.time_ms,
            "pipeline": story.pipeline,
            "stage": story.stage,
            "plugin": story.plugin,
            "plugin_version": story.plugin_version,
            "plugin_digest": story.plugin_digest,
            "failure": story.failure,
            "reason": story.reason,
            // As `produce` takes it.
            "record": {
                "partition": story.source.number,
                "timestamp": record::timestamp(row.timestamp),
                "key": record::datum(row.key),
                "value": record::datum(row.value),
                "headers": record::headers(row.headers.take(self.own)),
            },
        })
    }

    fn in_full(&self) -> String {
        let Letter { at, story, row, .. } = self;
        let Story { pipeline, stage, plugin, plugin_version, plugin_digest, failure, reason, .. } = story;
        let replayed = if self.replayed { "yes" } else { "no" };
        let mut lines = vec![
            ("letter", at.to_string()),
            ("record", self.source().to_string()),
            ("failed", utc(story.time_ms)),
            ("replayed", replayed.to_owned()),
            ("pipeline", one_line(pipeline)),
            ("stage", one_line(stage)),
            ("plugin", format!("{} {} sha256:{}", one_line(plugin), one_line(plugin_version), one_line(plugin_digest))),
            ("failure", one_line(failure)),
            ("reason", readable(Some(reason.as_bytes()))),
        ];
        let timestamp =
            record::timestamp(row.timestamp).as_i64().map_or("none".into(), |ms| format!("{} ({ms})", utc(ms)));
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
struct Lines {
    json: bool,
    rows: Vec<(i64, [String; COLUMNS.len()], String)>,
}

const COLUMNS: [&str; 5] = ["LETTER", "TIME", "STAGE", "FAILURE", "RECORD"];

impl Lines {
    fn add(&mut self, letter: &Letter<'_>) -> Result<(), Error> {
        if self.json {
            return write_out(|out| writeln!(out, "{}", letter.as_json()));
        }
        let story = &letter.story;
        let (stage, failure) = (one_line(&story.stage), one_line(&story.failure));
        let columns = [letter.at.to_string(), utc(story.time_ms), stage, failure, letter.source().to_string()];
        let reason = if letter.replayed { format!("(replayed) {}", story.reason) } else { story.reason.clone() };
        self.rows.push((story.time_ms, columns, one_line(&reason)));
        Ok(())
    }

    fn end(mut self) -> Result<(), Error> {
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
        anstream::println!("{TITLE}{}{TITLE:#}", cut(line(COLUMNS, "REASON")));
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

/// Writes to standard output; a reader who has enough of it is no failure.
fn write_out(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), Error> {
    match write(&mut std::io::stdout().lock()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Error::new(ErrorKind::Stopped, format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Bytes for people: text where it is text, else in hexadecimal.
fn readable(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".into() };
    let shown = |c: char| !c.is_control() || c == '\n' || c == '\t';
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(shown) => text.to_owned(),
        _ => format!("0x{}", hex::encode(bytes)),
    }
}

fn utc(ms: i64) -> String {
    let time = u64::try_from(ms).ok().and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    time.map_or_else(|| ms.to_string(), |time| humantime::format_rfc3339_millis(time).to_string())
}

fn failure(name: &str) -> Result<FailureKind, String> {
    let kind = FailureKind::ALL.into_iter().find(|kind| kind.name() == name);
    kind.ok_or_else(|| format!("expected one of {}", FailureKind::ALL.map(FailureKind::name).join(", ")))
}

/// A point in time, in milliseconds since the Unix epoch.
fn time(text: &str) -> Result<i64, String> {
    let since_epoch = |time: SystemTime| i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok();
    let ago = || since_epoch(SystemTime::now().checked_sub(humantime::parse_duration(text).ok()?)?);
    let at = || {
        let day = format!("{text}T00:00:00Z");
        let time = humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339_weak(&day));
        since_epoch(time.ok()?)
    };
    let time = text.parse().ok().or_else(at).or_else(ago);
    time.ok_or_else(|| "expected a time such as 2026-01-31T12:00:00Z or 1769860800000 (ms), or how long ago: 2h".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_how_long_ago() {
        assert_eq!(time("1769860800000"), Ok(1_769_860_800_000));
        assert_eq!(time("2026-01-31T12:00:00Z"), Ok(1_769_860_800_000));
        assert_eq!(time("2026-01-31"), Ok(1_769_817_600_000));
        let now = time("0s").unwrap();
        let hour_ago = time("1h").unwrap();
        assert!((3_600_000..3_700_000).contains(&(now - hour_ago)), "{now} {hour_ago}");
        assert!(time("yesterday").is_err());
    }

    #[test]
    fn bytes_are_shown_as_text_only_where_a_terminal_takes_no_harm() {
        assert_eq!(readable(Some(b"{\n}")), "{\n}");
        assert_eq!(readable(Some(b"\x1b[2J")), "0x1b5b324a");
        assert_eq!(readable(Some(b"\xff\x00")), "0xff00");
        assert_eq!((readable(None), readable(Some(b""))), ("null".into(), String::new()));
    }
}
