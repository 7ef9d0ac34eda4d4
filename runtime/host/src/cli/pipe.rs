use std::path::PathBuf;

use clap::Args;

use crate::app::App;
use crate::config::{self, Pipeline, PluginConfig};
use crate::exit::Exit;
use crate::pipes;
use crate::registry::PluginRef;

/// What makes a filter of `run`.
#[derive(Args)]
pub(super) struct Pipe {
    /// Read records from standard input instead of the source: one a line, as JSON, the way 'produce' takes them.
    #[arg(long, requires = "stdout", conflicts_with = "admin")]
    stdin: bool,
    /// Write outputs to standard output instead of the sink, one a line, and dead letters to standard error.
    #[arg(long, requires = "stdin")]
    stdout: bool,
    /// Each line is a bare value, not JSON.
    #[arg(long, requires = "stdin")]
    raw: bool,
    /// Run this plugin alone, without a pipeline file: a .wasm file, or oci://registry/repository:tag.
    #[arg(long, requires = "stdin", conflicts_with = "pipelines")]
    plugin: Option<PluginRef>,
    /// The configuration of that plugin, a JSON object.
    #[arg(long, value_name = "JSON", requires = "plugin", value_parser = object)]
    config: Option<PluginConfig>,
}

fn object(json: &str) -> Result<PluginConfig, String> {
    serde_json::from_str(json).map_err(|error| format!("expected a JSON object: {error}"))
}

impl Pipe {
    /// Whether lines come in, and go out, by pipes.
    pub(super) fn is_asked_for(&self) -> bool {
        self.stdin
    }

    /// Runs the one pipeline, or the plugin alone, until standard input ends.
    pub(super) fn run(&self, pipelines: &[PathBuf]) -> Result<(), Exit> {
        let config = match (&self.plugin, pipelines) {
            (Some(plugin), _) => Pipeline::of_plugin(plugin.clone(), self.config.clone().unwrap_or_default()),
            (None, [pipeline]) => config::load(pipeline)?,
            (None, _) => {
                return Err(Exit::usage("--stdin is for one pipeline; here are several: which one is to read?"));
            }
        };
        pipes::run(&App::new()?.load(config)?, self.raw)
    }
}
