use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::pipe::Pipe;
use crate::admin::Guard;
use crate::app::{App, LoadedPipeline};
use crate::config::{self, Admin, ConfigError, Pipeline};
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
    let configs = read(&options.pipelines)?;
    let mut admins: Vec<Admin> = configs.iter().filter_map(|config| config.admin.clone()).collect();
    check_equal(&admins, options.admin.is_some())?;
    if let Some(folder) = &options.config_dir {
        admins.extend(Folder::admin(folder)?);
    }
    let named = admins.into_iter().next();
    let folder = options.config_dir.as_ref().map(|path| Folder::new(path, state.clone(), named.clone()));
    let service = Service::open(&app, at_address(named, options.admin), folder)?;
    let load = |config: Pipeline| app.load_with(state.journal(&config.name)?, config);
    let pipelines = configs.into_iter().map(load).collect::<Result<Vec<_>, Exit>>()?;
    pipelines.iter().try_for_each(|pipeline| pipeline.restore(&app))?;
    match service.start(pipelines)?.wait()? {
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

/// Reads all files; a name must be unique in a process.
fn read(files: &[PathBuf]) -> Result<Vec<Pipeline>, Exit> {
    let mut names = BTreeSet::new();
    let mut configs = Vec::new();
    for file in files {
        let config = config::load(file)?;
        if !names.insert(config.name.clone()) {
            let message = format!("there is another pipeline named '{}'; names are unique in a process", config.name);
            return Err(ConfigError::of_file(file, message).into());
        }
        // Told before a plugin is compiled.
        Guard::of(config.admin.as_ref())?;
        configs.push(config);
    }
    Ok(configs)
}

/// Checks pipelines and their plugins without connecting to anything.
pub(super) fn validate(files: &[PathBuf], json: bool) -> Result<(), Exit> {
    let app = App::new()?;
    let load = |config| app.load_with(Arc::default(), config);
    let loaded: Vec<_> = read(files)?.into_iter().map(load).collect::<Result<_, Exit>>()?;
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
        .map(|(index, stage)| json!({ "name": stage.name, "digest": loaded.version(index).digest }))
        .collect();
    json!({ "file": file, "name": loaded.config.name, "ok": true, "stages": stages })
}
