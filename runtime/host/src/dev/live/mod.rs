//! `sluicegate dev`: a pipeline that follows what is saved, and shows what becomes of every record.
//!
//! ```text
//! Sources (saved) → build → change, as of any running pipeline → Service
//!                                                    Scene (beside source and sink) → Display
//! ```

mod display;
mod project;
mod scene;
mod sources;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use anstyle::{AnsiColor, Style};
use clap::Args;
use sluicegate_core::Stop;
use sluicegate_local::TopicSettings;

use crate::app::{App, LoadedPipeline};
use crate::change::Asker;
use crate::config::{Pipeline, Reload, Source, Then};
use crate::console::say;
use crate::exit::Exit;
use crate::service::{Service, stop_on_signals};
use crate::supervisor::Running;
use crate::watch::notice::News;
use display::Display;
use scene::Cast;
use sources::Sources;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const TITLE: Style = Style::new().bold();

#[derive(Args)]
pub(crate) struct Options {
    /// The pipeline's file. Plugins whose project is the folder of their .wasm file are built whenever you save.
    pipeline: PathBuf,
    /// The project of a stage's plugin, where that is another folder: what it builds becomes the stage's .wasm file. May be
    /// repeated.
    #[arg(long = "source", value_name = "STAGE=FOLDER", value_parser = source)]
    sources: Vec<(String, PathBuf)>,
    /// Show at most this many records per second.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
}

fn source(text: &str) -> Result<(String, PathBuf), String> {
    let (stage, folder) = text.split_once('=').ok_or("expected STAGE=FOLDER")?;
    Ok((stage.to_owned(), folder.into()))
}

/// Runs the pipeline, and again whenever its file has changed, or what ended it may be mended; until it is interrupted.
pub(crate) fn run(options: &Options) -> Result<(), Exit> {
    let over = Arc::new(Stop::default());
    let (news, heard) = channel();
    let signals = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (asked, told) = (Arc::clone(&over), news.clone());
    stop_on_signals(&signals, move || {
        asked.request();
        // Whoever waits for a change.
        let _ = told.send(News::End);
    })?;
    let mut sources = Sources::new(&options.pipeline, &options.sources, news.clone(), heard);
    let studio = Studio { app: Arc::new(App::new()?), display: Arc::new(Display::new(options.rate)), over, news };
    while !studio.over.requested() {
        sources = match studio.play(sources) {
            Played::Over(ended) => return ended,
            Played::Again(sources) => sources,
            Played::Failed(sources, exit) => {
                say!("{BAD}error{BAD:#}: {exit}\n{TITLE}waiting for a change{TITLE:#}; Ctrl-C ends this");
                if sources.wait() == News::End {
                    return Ok(());
                }
                sources
            }
        };
    }
    Ok(())
}

/// Where the pipeline is played.
struct Studio {
    app: Arc<App>,
    display: Arc<Display>,
    /// Whether the user has seen enough.
    over: Arc<Stop>,
    news: Sender<News>,
}

/// How a play ended.
enum Played {
    /// For good.
    Over(Result<(), Exit>),
    /// Because the pipeline's file is another one.
    Again(Sources),
    /// By what may be mended.
    Failed(Sources, Exit),
}

impl Studio {
    fn play(&self, mut sources: Sources) -> Played {
        let (service, running) = match self.start(&mut sources) {
            Ok(started) => started,
            Err(exit) => return self.failed(sources, exit),
        };
        let (stop, ended) = (service.stopper(), Arc::new(Stop::default()));
        let (app, noted) = (Arc::clone(&self.app), Arc::clone(&ended));
        let follow = move || {
            let again = follow(&mut sources, &app, &running, &noted);
            if again {
                stop();
            }
            (sources, again)
        };
        let follower = match std::thread::Builder::new().name("sources".into()).spawn(follow) {
            Ok(follower) => follower,
            Err(error) => return Played::Over(Err(error.into())),
        };
        let result = service.wait().map(drop);
        self.display.end();
        if self.over.requested() {
            // It may be in the midst of a build, for which nobody waits any more.
            return Played::Over(result);
        }
        ended.request();
        let _ = self.news.send(News::Changed);
        match (follower.join(), result) {
            (Err(_), _) => Played::Over(Err(Exit::failed("what follows the sources crashed; please report it"))),
            (Ok((sources, _)), Err(exit)) => self.failed(sources, exit),
            (Ok((sources, true)), Ok(())) => Played::Again(sources),
            (Ok((_, false)), Ok(())) => Played::Over(Ok(())),
        }
    }

    /// What no change of a file mends ends it.
    fn failed(&self, sources: Sources, exit: Exit) -> Played {
        match exit.is_unreachable() || self.over.requested() {
            true => Played::Over(Err(exit)),
            false => Played::Failed(sources, exit),
        }
    }

    /// Builds what is to be built, and starts the pipeline.
    fn start(&self, sources: &mut Sources) -> Result<(Service, Arc<Running>), Exit> {
        let mut config = sources.read_pipeline()?;
        for project in sources.changed_projects() {
            project.build();
        }
        make_topics(&self.app, &config)?;
        let cast = Arc::new(Cast::of(&config));
        to_be_shown(&mut config);
        let admin = config.admin.clone();
        let mut loaded: LoadedPipeline = self.app.load(config)?;
        let display = Arc::clone(&self.display);
        loaded.onlooker = Some(Box::new(move |seams| scene::look_on(seams, Arc::clone(&cast), Arc::clone(&display))));
        introduce(&loaded.config, sources);
        let service = Service::open(&self.app, admin, None)?.start(vec![loaded])?;
        let running = Arc::clone(&service.running()[0]);
        Ok((service, running))
    }
}

/// An embedded log is the user's own: what the pipeline reads is there.
fn make_topics(app: &App, config: &Pipeline) -> Result<(), Exit> {
    if let Source::Local(local) = &config.source {
        let log = app.log(&local.path)?;
        for topic in &local.topics {
            log.ensure_topic(topic, &TopicSettings::default())?;
        }
    }
    Ok(())
}

/// The pipeline as it is shown: by one worker, so that records are told in their order; with changed plugins taken up by us,
/// who tell of it; and skipped records come by as dead letters do, which go no further.
fn to_be_shown(config: &mut Pipeline) {
    (config.workers, config.workers_by_cores) = (1, false);
    for stage in &mut config.stages {
        if stage.plugin.file().is_some() {
            stage.reload = Reload::Off;
        }
        let on_failure = &mut stage.on_failure;
        let all = std::iter::once(&mut on_failure.then).chain(on_failure.kinds.iter_mut().map(|kind| &mut kind.then));
        all.filter(|then| **then == Some(Then::Skip)).for_each(|then| *then = Some(Then::DeadLetter));
    }
}

fn introduce(config: &Pipeline, sources: &Sources) {
    let stages: Vec<&str> = config.stages.iter().map(|stage| stage.name.as_str()).collect();
    let (from, to) = (config.source.topics().join(", "), config.sink.topic());
    say!("{TITLE}{}{TITLE:#}: {from} → {} → {to}", config.name, stages.join(" → "));
    for stage in &config.stages {
        match sources.project_of(&stage.name) {
            Some(project) => say!("  {}: built from {} whenever you save", stage.name, project.folder().display()),
            None => say!("  {}: {}", stage.name, stage.plugin),
        }
    }
    if let (Source::Local(local), [topic, ..]) = (&config.source, config.source.topics()) {
        say!("  records: sluicegate produce {topic} --local {}", local.path.display());
    }
}

/// Follows what is saved, until it is over or the pipeline ended. Whether the pipeline is to be started anew.
fn follow(sources: &mut Sources, app: &App, running: &Running, ended: &Stop) -> bool {
    while sources.notice().wait() == News::Changed && !ended.requested() {
        if sources.is_pipeline_changed() {
            say!("{TITLE}the pipeline's file has changed{TITLE:#}: starting anew");
            return true;
        }
        let built: Vec<String> = sources
            .changed_projects()
            .filter_map(|project| project.build().then(|| project.stages().to_vec()))
            .flatten()
            .collect();
        let replaced = sources.changed_plugins();
        built.iter().chain(&replaced).for_each(|stage| take_up(app, running, stage));
        sources.observe();
    }
    false
}

/// Has the stage's file taken up, the way of every change.
fn take_up(app: &App, running: &Running, stage: &str) {
    let asker = Asker { who: "dev".into(), why: Some("it was saved".into()) };
    match running.pipeline().reset_plugin(app, stage, &asker) {
        Ok(changed) => {
            let digest = changed.digest.map(|digest| digest.to_string()).unwrap_or_default();
            let now = if changed.changed { "runs now" } else { "runs already" };
            say!("{GOOD}{stage}: {digest} {now}{GOOD:#}");
        }
        Err(refusal) => say!("{BAD}{stage}: refused{BAD:#}: {}; the version before runs on", refusal.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_stage_and_its_folder() {
        assert_eq!(source("shout=../a=b"), Ok(("shout".to_owned(), PathBuf::from("../a=b"))));
        assert!(source("shout").is_err());
    }
}
