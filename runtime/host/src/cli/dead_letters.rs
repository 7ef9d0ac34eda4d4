use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde_json::json;
use sluicegate_core::{Error, ErrorKind, FailureKind, Stop, Story};

use super::letter::{Letter, Lines};
use crate::app::App;
use crate::config::{self, Pipeline, unix_ms};
use crate::console::{say, write_out};
use crate::dead_letters::{Coordinates, Filter, Index, Replay, Replayed, Report, for_replay, visit};
use crate::exit::Exit;
use crate::registry::PluginRef;
use crate::service::stop_on_signals;

#[derive(Args)]
pub(super) struct DeadLetters {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Subcommand)]
enum DeadLettersCommand {
    /// List the dead letters that have not been replayed yet.
    List(List),
    /// Show one dead letter in full.
    Show(Show),
    /// Run the records of dead letters through the pipeline again. Their outputs go to its sink, exactly once however often
    /// this is run or killed; a record that fails again stays a dead letter.
    Replay(ReplayOptions),
}

#[derive(Args)]
struct Which {
    /// The pipeline's file, which says where its dead letters are.
    pipeline: PathBuf,
    /// Only those that failed in this way: rejected, trap, deadline, memory, malformed, too-much-output; may be repeated.
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
    /// At most this many, the oldest of each partition first.
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
    /// Also those that have been replayed.
    #[arg(long)]
    all: bool,
}

#[derive(Args)]
struct Show {
    /// The pipeline's file.
    pipeline: PathBuf,
    /// The dead letter, as `list` names it, or its record: TOPIC/PARTITION@OFFSET.
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
    /// Run this plugin in place of the stage's; --stage says which stage where there are several.
    #[arg(long, value_name = "PLUGIN.WASM")]
    with: Option<PluginRef>,
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
fn mend(config: &mut Pipeline, stage: Option<&str>, plugin: PluginRef) -> Result<(), Exit> {
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
        say!("{line}");
        return;
    }
    let did = if options.dry_run { "would be replayed" } else { "replayed" };
    say!("{replayed} of {open} dead letters {did}, {outputs} outputs; {failed} failed again and stay");
    if interrupted {
        say!("interrupted: the others are as they were");
    }
}

fn failure(name: &str) -> Result<FailureKind, String> {
    let kind = FailureKind::ALL.into_iter().find(|kind| kind.name() == name);
    kind.ok_or_else(|| format!("expected one of {}", FailureKind::ALL.map(FailureKind::name).join(", ")))
}

/// A point in time, in milliseconds since the Unix epoch.
fn time(text: &str) -> Result<i64, String> {
    let ago = || unix_ms(SystemTime::now().checked_sub(humantime::parse_duration(text).ok()?)?);
    let at = || {
        let day = format!("{text}T00:00:00Z");
        let time = humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339_weak(&day));
        unix_ms(time.ok()?)
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
}
