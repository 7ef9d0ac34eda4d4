use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use clap::Args;
use sluicegate_core::{OutputLimits, SinkLimits, Transform};
use sluicegate_wasm::{Allow, Fixed, Instance, InstanceLimits, InstanceSpec, Topics};

use crate::app::App;
use crate::config::{ConfigError, Limits};
use crate::console::{complain, say, settled};
use crate::dev::case_file::{self, CaseFile, TOPIC};
use crate::dev::cases::{self, Report};
use crate::dev::{junit, repeat, update};
use crate::exit::Exit;
use crate::files::{self, Stamp, folders};
use crate::registry::PluginRef;
use crate::watch::notice::{News, Notice};

#[derive(Args)]
pub(super) struct Test {
    /// A case file, a folder of case files, or a project that has a folder `cases`.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The plugin to test, whatever the files say.
    #[arg(long)]
    plugin: Option<PathBuf>,
    /// Also check that the plugin is repeatable: run the same records in other batches, again in the same instance, in fresh
    /// instances, and with other fixed clocks and random numbers, and name the first record whose outcome differs.
    #[arg(long)]
    repeat: bool,
    /// Where a case expects something else, write into it what the plugin makes of its record; the rest of the file stays as
    /// it is. A plugin that crashes or does not start changes no case.
    #[arg(long)]
    update: bool,
    /// Run the cases again whenever they or the plugin's file are saved, until interrupted.
    #[arg(long)]
    watch: bool,
    /// Also write the result to this file, as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs cases; the exit code says whether all did as expected.
pub(super) fn run(options: &Test) -> Result<u8, Exit> {
    let app = App::new()?;
    if options.watch {
        return watch(options, &app);
    }
    let files: Vec<CaseFile> =
        case_file::find(&options.path)?.iter().map(|file| CaseFile::load(file)).collect::<Result<_, _>>()?;
    run_once(options, &app, &files)
}

fn run_once(options: &Test, app: &App, files: &[CaseFile]) -> Result<u8, Exit> {
    let mut load = |file: &CaseFile, fixed| {
        let path = file.plugin(options.plugin.as_deref())?;
        instance(app, &path, file, fixed).map_err(|exit| anyhow::anyhow!("{exit}"))
    };
    let mut report = cases::run_cases(files, &mut |file| load(file, Fixed::Usual));
    if options.repeat {
        repeat::run_repeats(files, &mut report, &mut load);
    }
    if options.update {
        update::update(files, &mut report);
    }
    if let Some(path) = &options.junit {
        let written = files::replace(path, junit::of(&report).as_bytes());
        written.map_err(|error| Exit::failed(format!("cannot write {}: {error}", path.display())))?;
    }
    tell(&report, options.json)?;
    Ok(report.exit_code())
}

fn tell(report: &Report, json: bool) -> Result<(), Exit> {
    if json {
        return super::print_json(report);
    }
    Ok(settled(report.write(&mut anstream::stdout()))?)
}

/// Runs the cases, and again whenever a file that counts is another one; until the process is ended.
fn watch(options: &Test, app: &App) -> Result<u8, Exit> {
    let (news, heard) = channel();
    let mut notice = Notice::new(news, heard);
    let mut seen = None;
    loop {
        // Before they run: what is saved meanwhile counts.
        let (files, now) = look(options);
        if seen.as_ref() != Some(&now) {
            let around = [options.path.clone(), options.path.join("cases")];
            notice.observe(&now.keys().flat_map(|path| folders(path)).chain(around).collect());
            seen = Some(now);
            if let Err(exit) = files.map_err(Exit::from).and_then(|files| run_once(options, app, &files)) {
                complain(format_args!("{exit}"));
            }
            if !options.json {
                say!("waiting for changes; Ctrl-C ends this\n");
            }
        }
        if notice.wait() == News::End {
            return Ok(0);
        }
    }
}

/// How files are; none that is not there.
type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// Case files, or what is wrong with one, and the stamps of all files that count: theirs and their plugins'.
fn look(options: &Test) -> (Result<Vec<CaseFile>, ConfigError>, Stamps) {
    let paths = match case_file::find(&options.path) {
        Ok(paths) => paths,
        Err(error) => return (Err(error), Stamps::new()),
    };
    let mut stamps: Stamps = paths.iter().map(|path| (path.clone(), Stamp::of(path))).collect();
    let files: Result<Vec<CaseFile>, ConfigError> = paths.iter().map(|path| CaseFile::load(path)).collect();
    for file in files.iter().flatten() {
        if let Ok(plugin) = file.plugin(options.plugin.as_deref()) {
            stamps.insert(plugin.clone(), Stamp::of(&plugin));
        }
    }
    (files, stamps)
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
        log: Arc::default(),
        role: None,
    };
    Ok(Box::new(Instance::new(&plugin, &Arc::new(spec))?))
}

fn limits(limits: &Limits) -> InstanceLimits {
    let output = OutputLimits {
        outputs_per_record: limits.outputs_per_record,
        bytes_per_record: limits.output_bytes_per_record.bytes(),
        sink: SinkLimits::NONE, // There is none.
    };
    InstanceLimits {
        memory_bytes: limits.memory.bytes(),
        deadline: limits.deadline.0,
        output,
        ..InstanceLimits::default()
    }
}
