use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::pipe::Pipe;
use crate::admin::Guard;
use crate::app::{App, LoadedPipeline};
use crate::config::{self, Admin, ConfigError};
use crate::console::say;
use crate::exit::Exit;
use crate::record::LINES_HELP;
use crate::service::Service;
use crate::state::StateFolder;
use crate::supervisor::Ending;
use crate::watch::Folder;

#[derive(Args)]
#[command(after_help = LINES_HELP)]
pub(super) struct Options {
    /// Pipeline files; all run in this process.
    #[arg(required_unless_present_any = ["plugin", "config_dir"])]
    pipelines: Vec<PathBuf>,
    /// A folder of pipeline files: each *.yaml or *.yml is a pipeline that starts, changes and ends with its file.
    #[arg(long, value_name = "FOLDER")]
    config_dir: Option<PathBuf>,
    #[command(flatten)]
    pipe: Pipe,
    /// Where the admin endpoint listens, whatever the files say.
    #[arg(long, value_name = "HOST:PORT", value_parser = config::address)]
    admin: Option<SocketAddr>,
    /// The folder that keeps changes made at run time; by default the user's own for such things.
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
    let (app, state) = (Arc::new(App::new()?), StateFolder::new(options.state_dir.as_deref()));
    let pipelines = load(&app, &options.pipelines)?;
    let mut admins: Vec<Admin> = pipelines.iter().filter_map(|loaded| loaded.config.admin.clone()).collect();
    check_equal(&admins, options.admin.is_some())?;
    if let Some(folder) = &options.config_dir {
        admins.extend(Folder::admin(folder)?);
    }
    let named = admins.into_iter().next();
    let folder = options.config_dir.as_ref().map(|path| Folder::new(path, state.clone(), named.clone()));
    let pipelines: Vec<_> = pipelines.into_iter().map(|loaded| state.go_on(&app, loaded)).collect::<Result<_, _>>()?;
    match Service::start(&app, pipelines, folder, at_address(named, options.admin))?.wait()? {
        Ending::Drained => tracing::info!("stopped: everything read is done and committed"),
        Ending::Cut => {
            tracing::warn!(
                "stopped: not everything read is committed; the next start goes on from the committed offsets"
            )
        }
    }
    Ok(())
}

/// The endpoint is one, whatever number of files name it.
fn check_equal(admins: &[Admin], is_address_given: bool) -> Result<(), Exit> {
    let Some((first, others)) = admins.split_first() else { return Ok(()) };
    let differs = |is_same: fn(&Admin, &Admin) -> bool| others.iter().any(|other| !is_same(first, other));
    let (key, or) = if differs(|a, b| a.listen == b.listen) && !is_address_given {
        ("listen", ", or give --admin")
    } else if differs(|a, b| a.token == b.token) {
        ("token", "")
    } else if differs(|a, b| a.tls == b.tls) {
        ("tls", "")
    } else {
        return Ok(());
    };
    Err(Exit::usage(format!(
        "the pipelines name different admin.{key}; one process has one admin endpoint: make them equal{or}"
    )))
}

/// What the files name, at the address given where there is one.
fn at_address(named: Option<Admin>, given: Option<SocketAddr>) -> Option<Admin> {
    match (named, given) {
        (Some(named), Some(listen)) => Some(Admin { listen, ..named }),
        (None, Some(listen)) => Some(Admin::at(listen)),
        (named, None) => named,
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
        // Told before a plugin is compiled.
        Guard::of(pipeline.admin.as_ref())?;
        loaded.push(app.load(pipeline)?);
    }
    Ok(loaded)
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
