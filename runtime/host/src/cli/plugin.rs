use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use sluicegate_core::{OutputLimits, Transform};
use sluicegate_wasm::{Allow, Engine, EngineSettings, Fixed, Instance, InstanceLimits, InstanceSpec, Topics};

use crate::app::App;
use crate::config::Limits;
use crate::dev::case_file::{self, CaseFile, TOPIC};
use crate::dev::{build, cases, repeat, scaffold};
use crate::exit::Exit;
use crate::registry::PluginRef;

/// Compiles the plugin on standard input into a cache folder, for the process that started this one.
pub(super) fn compile(cache: PathBuf) -> u8 {
    let compile = || -> Result<(), Exit> {
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
    /// The plugin's name, and the new folder's.
    name: String,
    /// Where to make the folder.
    #[arg(long, default_value = ".")]
    parent: PathBuf,
    /// Use the SDK in this folder instead of the published one.
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
    println!("made {}; next:\n  cd {}\n  sluicegate build\n  sluicegate test", folder.display(), folder.display());
    Ok(())
}

#[derive(Args)]
pub(super) struct Build {
    /// The plugin's project; or a core module (.wasm), of which the component is made.
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
    println!("{built}");
    Ok(())
}

#[derive(Args)]
pub(super) struct Test {
    /// A case file, a folder of them, or a project with a folder `cases`.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The plugin to test, whatever the files say.
    #[arg(long)]
    plugin: Option<PathBuf>,
    /// Also check that the plugin is repeatable: run the same records in other batches, again in the same instance, in
    /// fresh instances, and with other fixed clocks and random numbers, and name the first record of which something
    /// else is made.
    #[arg(long)]
    repeat: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs cases; the exit code says whether all did as expected.
pub(super) fn test(options: &Test) -> Result<u8, Exit> {
    let files: Vec<CaseFile> =
        case_file::find(&options.path)?.iter().map(|file| CaseFile::load(file)).collect::<Result<_, _>>()?;
    let app = App::new()?;
    let mut load = |file: &CaseFile, fixed| {
        let path = file.plugin(options.plugin.as_deref())?;
        instance(&app, &path, file, fixed).map_err(|exit| anyhow::anyhow!("{exit}"))
    };
    let mut report = cases::run_cases(&files, &mut |file| load(file, Fixed::Usual));
    if options.repeat {
        repeat::run_repeats(&files, &mut report, &mut load);
    }
    if options.json {
        super::print_json(&report)?;
    } else {
        report.write(&mut anstream::stdout())?;
    }
    Ok(report.exit_code())
}

fn instance(app: &App, path: &Path, file: &CaseFile, fixed: Fixed) -> Result<Box<dyn Transform>, Exit> {
    let plugin = app.plugin(&PluginRef::File(path.to_owned()), &file.limits)?;
    let spec = InstanceSpec {
        pipeline: "test".into(),
        stage: "test".into(),
        config: file.config_json(),
        outputs: file.outputs.clone(),
        topics: Topics { input: Some(TOPIC.into()), output: None },
        limits: limits(&file.limits),
        allow: Allow { fixed, ..Allow::of(file.allow.iter().map(|capability| (*capability).into())) },
        counters: Arc::default(),
        role: None,
    };
    Ok(Box::new(Instance::new(&plugin, &Arc::new(spec))?))
}

fn limits(limits: &Limits) -> InstanceLimits {
    let output = OutputLimits {
        outputs_per_record: limits.outputs_per_record,
        bytes_per_record: limits.output_bytes_per_record.bytes(),
        bytes_per_output: usize::MAX, // A sink's limit, and there is no sink.
    };
    InstanceLimits {
        memory_bytes: limits.memory.bytes(),
        deadline: limits.deadline.0,
        output,
        ..InstanceLimits::default()
    }
}
