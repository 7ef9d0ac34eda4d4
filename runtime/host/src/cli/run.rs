use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::pipe::Pipe;
use crate::app::{App, LoadedPipeline};
use crate::config::{self, ConfigError};
use crate::console::say;
use crate::exit::Exit;
use crate::journal::{Broken, Journal};
use crate::record::LINES_HELP;
use crate::service::Service;

#[derive(Args)]
#[command(after_help = LINES_HELP)]
pub(super) struct Options {
    /// Pipeline files; all run in this process.
    #[arg(required_unless_present = "plugin")]
    pipelines: Vec<PathBuf>,
    #[command(flatten)]
    pipe: Pipe,
    /// Where the admin endpoint listens, whatever the files say.
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<SocketAddr>,
    /// Where changes made at run time are kept; by default in the user's folder for such things.
    #[arg(long, value_name = "FOLDER", env = "SLUICEGATE_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

impl Options {
    /// Whether it is a filter between pipes.
    pub(super) fn is_piped(&self) -> bool {
        self.pipe.is_asked_for()
    }
}

/// Runs pipelines until they are asked to stop, or one fails for good; between pipes, until standard input ends.
pub(super) fn run(options: &Options) -> Result<(), Exit> {
    if options.is_piped() {
        return options.pipe.run(&options.pipelines);
    }
    let app = Arc::new(App::new()?);
    let mut pipelines = load(&app, &options.pipelines)?;
    let listen = admin_address(options.admin, &pipelines)?;
    check_token(&pipelines)?;
    match state_folder(options) {
        Some(folder) => pipelines.iter_mut().try_for_each(|pipeline| go_on(&app, pipeline, &folder))?,
        None => {
            tracing::warn!("no folder is known for changes made at run time: a restart forgets them; give --state-dir")
        }
    }
    Service::start(&app, pipelines, listen)?.wait()?;
    tracing::info!("stopped: everything read is done and committed");
    Ok(())
}

fn state_folder(options: &Options) -> Option<PathBuf> {
    options.state_dir.clone().or_else(|| {
        let folders = directories::ProjectDirs::from("", "", "sluicegate")?;
        Some(folders.state_dir().unwrap_or_else(|| folders.data_local_dir()).to_owned())
    })
}

/// Goes on with what was changed at run time before.
fn go_on(app: &App, pipeline: &mut LoadedPipeline, folder: &Path) -> Result<(), Exit> {
    match Journal::open(folder, &pipeline.config.name) {
        Ok(journal) => pipeline.restore(app, journal),
        Err(Broken::Content(error)) => return Err(Exit::usage(error)),
        Err(Broken::Folder(error)) => tracing::warn!("{error}; a restart forgets changes made at run time"),
    }
    Ok(())
}

/// The endpoint is one, and so is its token.
fn check_token(pipelines: &[LoadedPipeline]) -> Result<(), Exit> {
    let mut tokens = pipelines.iter().filter_map(|loaded| loaded.config.admin.as_ref()).map(|admin| &admin.token);
    match tokens.next() {
        Some(first) if tokens.any(|token| token != first) => Err(Exit::usage(
            "the pipelines name different admin.token; one process has one admin endpoint: make them equal",
        )),
        _ => Ok(()),
    }
}

/// Loads all pipelines; a name must be unique in a process.
fn load(app: &App, files: &[PathBuf]) -> Result<Vec<LoadedPipeline>, Exit> {
    let mut names = BTreeSet::new();
    let mut loaded = Vec::new();
    for file in files {
        let pipeline = config::load(file)?;
        if !names.insert(pipeline.name.clone()) {
            let message = format!("there is another pipeline named '{}'; names are unique in a process", pipeline.name);
            return Err(ConfigError::of_file(file, message).into());
        }
        loaded.push(app.load(pipeline)?);
    }
    Ok(loaded)
}

/// The one address at which the process is looked at.
fn admin_address(given: Option<SocketAddr>, pipelines: &[LoadedPipeline]) -> Result<Option<SocketAddr>, Exit> {
    let named: BTreeSet<SocketAddr> =
        pipelines.iter().filter_map(|loaded| Some(loaded.config.admin.as_ref()?.listen)).collect();
    match (given, named.len()) {
        (Some(address), _) => Ok(Some(address)),
        (None, 0 | 1) => Ok(named.into_iter().next()),
        _ => Err(Exit::usage(format!(
            "the pipelines name different admin.listen addresses ({}); one process has one: make them equal, or give --admin",
            named.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// Checks pipelines and their plugins without connecting to anything.
pub(super) fn validate(files: &[PathBuf], json: bool) -> Result<(), Exit> {
    let app = App::new()?;
    let loaded = load(&app, files)?;
    if json {
        let pipelines: Vec<_> = loaded.iter().zip(files).map(|(loaded, file)| describe(loaded, file)).collect();
        return super::print_json(&pipelines);
    }
    for (loaded, file) in loaded.iter().zip(files) {
        let stages: Vec<String> = loaded.stages.iter().map(|stage| stage.name.clone()).collect();
        let (config, path) = (&loaded.config, file.display());
        let (from, to) = (config.source.topics().join(", "), config.sink.topic());
        say!("{path}: ok: {} ({from} → {} → {to})", config.name, stages.join(" → "));
    }
    Ok(())
}

fn describe(loaded: &LoadedPipeline, file: &std::path::Path) -> serde_json::Value {
    let stages: Vec<_> = loaded
        .stages
        .iter()
        .enumerate()
        .map(|(index, stage)| json!({ "name": stage.name, "digest": format!("sha256:{}", loaded.version(index).digest()) }))
        .collect();
    json!({ "file": file, "name": loaded.config.name, "ok": true, "stages": stages })
}
