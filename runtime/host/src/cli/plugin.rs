use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use rustix::process::{Resource, Rlimit, setrlimit};
use sluicegate_wasm::{Engine, EngineSettings};

use crate::console::say;
use crate::dev::{build, scaffold};
use crate::exit::Exit;

/// What the compiler may take, in bytes. The largest files that are read need 3 GiB; small ones can ask for any amount.
const MEMORY_MAX: u64 = 4 << 30;

/// Compiles the plugin on standard input into a cache folder, for the process that started this one.
pub(super) fn compile(cache: PathBuf) -> u8 {
    let compile = || -> Result<(), Exit> {
        // Fails only where a stricter limit is set.
        let _ = setrlimit(Resource::Data, Rlimit { current: Some(MEMORY_MAX), maximum: Some(MEMORY_MAX) });
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        let engine = Engine::new(&EngineSettings { cache_dir: Some(cache), compiler: None })?;
        sluicegate_wasm::compile_into_cache(&engine, &bytes).map_err(Exit::usage)
    };
    match compile() {
        Ok(()) => 0,
        Err(exit) => {
            eprint!("{exit}");
            exit.code
        }
    }
}

#[derive(Args)]
pub(super) struct New {
    /// The language: rust, go, python, js, ts, c or cpp.
    language: String,
    /// The name of the plugin and of its new folder.
    name: String,
    /// Where to make the folder.
    #[arg(long, default_value = ".")]
    parent: PathBuf,
    /// The SDK's folder in a checkout; needed until the SDKs are published.
    #[arg(long)]
    sdk: Option<PathBuf>,
}

/// Makes a plugin project.
pub(super) fn new(options: &New) -> Result<(), Exit> {
    let project = scaffold::NewProject {
        language: &options.language,
        name: &options.name,
        parent: &options.parent,
        sdk: options.sdk.as_deref(),
    };
    let folder = scaffold::create(project).map_err(|error| Exit::usage(format!("{error:#}")))?;
    say!("made {}; next:\n  cd {}\n  sluicegate build\n  sluicegate test", folder.display(), folder.display());
    Ok(())
}

#[derive(Args)]
pub(super) struct Build {
    /// The plugin's project, or a core module (.wasm) to make a component of.
    #[arg(default_value = ".")]
    project: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Builds a plugin.
pub(super) fn build(options: &Build) -> Result<(), Exit> {
    let built = build::build(&options.project)?;
    if options.json {
        return super::print_json(&built);
    }
    say!("{built}");
    Ok(())
}
