use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use sluicegate_core::{OutputLimits, Transform};
use sluicegate_wasm::{
    Allow, Artifact, Ask, Engine, EngineSettings, Fixed, Instance, InstanceLimits, InstanceSpec, LoadOptions, Plugin,
};

use crate::app::App;
use crate::config::Limits;
use crate::dev::case_file::{self, CaseFile};
use crate::dev::{build, cases, repeat, scaffold};
use crate::exit::Exit;

#[derive(Args)]
pub(super) struct Inspect {
    /// The plugin's .wasm file.
    plugin: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Prints what a plugin is and needs. Nothing of it runs but `describe`, in the sandbox.
pub(super) fn inspect(options: &Inspect) -> Result<(), Exit> {
    let plugin = App::new()?.plugin(&options.plugin, &LoadOptions::default())?;
    if options.json {
        return super::print_json(&as_json(&plugin));
    }
    let (artifact, description) = (plugin.artifact(), plugin.description());
    println!("name        {}", description.name);
    println!("version     {}", description.version);
    println!("summary     {}", description.summary);
    println!("digest      sha256:{}", artifact.digest);
    println!("size        {}", bytesize::ByteSize(artifact.size as u64).display().iec());
    println!("interface   {}", artifact.interface.name());
    for producer in &artifact.producers {
        println!("{:<11} {} {}", producer.field, producer.name, producer.version);
    }
    println!("imports     {}", artifact.imports.join("\n            "));
    println!("exports     {}", artifact.exports.join("\n            "));
    println!("asks for    {}", asks(artifact));
    match &description.config_schema {
        None => println!("config      takes none"),
        Some(schema) => println!("config      {}", indented(schema)),
    }
    Ok(())
}

/// What the plugin gets only where it is allowed, in words.
fn asks(artifact: &Artifact) -> String {
    let asks = artifact.asks();
    if asks.is_empty() {
        return "nothing but logs and counters: it sees neither clocks nor random numbers".into();
    }
    let line = |Ask { interface, capability, otherwise }: &Ask| {
        let name = capability.name();
        format!("{name}: imports {interface}; gets {otherwise}, unless the stage says allow: [{name}]")
    };
    let mut lines: Vec<String> = asks.iter().map(line).collect();
    lines.push(
        "(languages import some for their own ends: 'sluicegate test --repeat' shows if outputs hang on it)".into(),
    );
    lines.join("\n            ")
}

/// The schema, laid out for people if it is JSON at all.
fn indented(schema: &str) -> String {
    let parsed = serde_json::from_str::<serde_json::Value>(schema);
    let text = parsed.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| schema.to_owned());
    text.replace('\n', "\n            ")
}

fn as_json(plugin: &Plugin) -> serde_json::Value {
    let (artifact, description) = (plugin.artifact(), plugin.description());
    let schema = description
        .config_schema
        .as_deref()
        .map(|schema| serde_json::from_str(schema).unwrap_or_else(|_| serde_json::Value::String(schema.to_owned())));
    let producers: Vec<_> = artifact
        .producers
        .iter()
        .map(|producer| json!({ "field": producer.field, "name": producer.name, "version": producer.version }))
        .collect();
    let ask = |Ask { interface, capability, otherwise }: &Ask| json!({ "capability": capability.name(), "interface": interface, "otherwise": otherwise });
    let asks: Vec<_> = artifact.asks().iter().map(ask).collect();
    json!({
        "name": description.name,
        "version": description.version,
        "summary": description.summary,
        "digest": format!("sha256:{}", artifact.digest),
        "size": artifact.size,
        "interface": artifact.interface.name(),
        "producers": producers,
        "imports": artifact.imports,
        "exports": artifact.exports,
        "asks": asks,
        "config-schema": schema,
    })
}

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
    /// The language: rust, go, python, c or cpp.
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
    let options = LoadOptions { file_size_max: file.limits.file_size.0, compile_time_max: file.limits.compile_time.0 };
    let plugin = app.plugin(path, &options)?;
    let spec = InstanceSpec {
        pipeline: "test".into(),
        stage: "test".into(),
        config: file.config_json(),
        outputs: file.outputs.clone(),
        limits: limits(&file.limits),
        allow: Allow { fixed, ..Allow::of(file.allow.iter().map(|capability| (*capability).into())) },
        counters: Arc::default(),
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
