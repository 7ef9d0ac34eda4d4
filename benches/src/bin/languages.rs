//! What a plugin costs in each language: its size, the time it takes to build, to compile and to start, the memory of an
//! instance, and the time of a record.
//!
//! ```text
//! cargo run --release -p sluicegate-benches --bin languages
//! ```
//!
//! The plugins are those of `benches/languages`, one source a language, written with its SDK: they pass records of 200 bytes
//! on, write them in capitals, or parse them as JSON and change a field. Times of records are CPU time in batches of 512, the
//! median of all rounds; what plugins made is verified.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser;
use sluicegate_benches::boundary::{RECORDS, batch, open, start};
use sluicegate_benches::language::{LANGUAGES, Language, Task};
use sluicegate_core::{Batch, Outcomes, Transform as _};
use sluicegate_tests::process::kernel_size;
use sluicegate_wasm::{Engine, EngineSettings, Instance, Plugin};

#[derive(Parser)]
struct Arguments {
    /// These languages: rust, c, go, python, js
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often each is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

/// How long a round takes, at least.
const ROUND: Duration = Duration::from_millis(200);
/// So many instances live side by side where their memory is measured,
const INSTANCES: usize = 8;
/// after so many batches each.
const BATCHES: usize = 20;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    for name in &arguments.only {
        ensure!(LANGUAGES.iter().any(|language| language.name == name), "no language '{name}'");
    }
    let folder = tempfile::tempdir()?;
    let mut rows = vec![Row { title: "native Rust", plugin: None, tasks: measure_native(arguments.rounds)? }];
    let asked =
        |language: &&Language| arguments.only.is_empty() || arguments.only.iter().any(|name| name == language.name);
    for language in LANGUAGES.iter().filter(asked) {
        let row = measure(language, folder.path(), arguments.rounds).with_context(|| language.title)?;
        eprintln!("{row}");
        rows.push(row);
    }
    println!("\n{HEAD}");
    rows.iter().for_each(|row| println!("{row}"));
    Ok(())
}

const HEAD: &str = "\
| | size | build, s | compile, s | first record, ms | memory, MiB | pass, ns | rewrite, ns | JSON, ns |
|---|---|---|---|---|---|---|---|---|";

/// A line of the table.
struct Row {
    title: &'static str,
    /// What native code has not.
    plugin: Option<Costs>,
    /// CPU nanoseconds a record, in the order of [`Task::ALL`].
    tasks: [f64; 3],
}

/// What a plugin costs before and beside its records.
struct Costs {
    bytes: u64,
    build: Duration,
    compile: Duration,
    first: Duration,
    memory_mib: f64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [pass, rewrite, json] = self.tasks;
        let before = match &self.plugin {
            None => "| | | | |".to_owned(),
            Some(costs) => {
                let size = bytes(costs.bytes);
                let (build, compile) = (costs.build.as_secs_f64(), costs.compile.as_secs_f64());
                let first = costs.first.as_secs_f64() * 1e3;
                format!("{size} | {build:.1} | {compile:.2} | {first:.2} | {:.1}", costs.memory_mib)
            }
        };
        write!(f, "| {} | {before} | {pass:.0} | {rewrite:.0} | {json:.0} |", self.title)
    }
}

fn bytes(size: u64) -> String {
    let kib = size as f64 / 1024.0;
    if kib < 1024.0 { format!("{kib:.0} KiB") } else { format!("{:.1} MiB", kib / 1024.0) }
}

fn measure(language: &Language, folder: &Path, rounds: usize) -> Result<Row> {
    let built = language.build(folder)?;
    let began = Instant::now();
    let plugin = open(&Engine::new(&EngineSettings::default())?, &built.file)?;
    let compile = began.elapsed();
    let costs = Costs {
        bytes: built.bytes,
        build: built.took,
        compile,
        first: first_record(&plugin, rounds)?,
        memory_mib: memory_mib(&plugin)?,
    };
    let mut tasks = [0.0; 3];
    for (cost, task) in tasks.iter_mut().zip(Task::ALL) {
        let mut instance = start(&plugin, &task.config())?;
        *cost = nanoseconds(task, rounds, |batch, outcomes| process(&mut instance, batch, outcomes))?;
    }
    Ok(Row { title: language.title, plugin: Some(costs), tasks })
}

fn measure_native(rounds: usize) -> Result<[f64; 3]> {
    let mut tasks = [0.0; 3];
    for (cost, task) in tasks.iter_mut().zip(Task::ALL) {
        *cost = nanoseconds(task, rounds, |batch, outcomes| {
            task.natively(batch, outcomes);
            Ok(())
        })?;
    }
    Ok(tasks)
}

fn process(instance: &mut Instance, batch: &Batch, outcomes: &mut Outcomes) -> Result<()> {
    instance.process(batch, outcomes).map_err(|failure| anyhow!("{failure}"))
}

/// From a compiled plugin to what it made of one record: the median.
fn first_record(plugin: &Plugin, rounds: usize) -> Result<Duration> {
    let mut one = Batch::default();
    batch().slice(0..1, &mut one);
    let mut took = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        let mut instance = start(plugin, &Task::Rewrite.config())?;
        let mut outcomes = Outcomes::default();
        process(&mut instance, &one, &mut outcomes)?;
        took.push(began.elapsed());
        Task::Rewrite.verify(&one, &outcomes)?;
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

/// What one more instance takes of memory that is its own, once it has worked.
fn memory_mib(plugin: &Plugin) -> Result<f64> {
    let batch = batch();
    let mut instances = Vec::new();
    let before = resident_kib()?;
    for _ in 0..INSTANCES {
        let mut instance = start(plugin, &Task::Json.config())?;
        for _ in 0..BATCHES {
            process(&mut instance, &batch, &mut Outcomes::default())?;
        }
        instances.push(instance);
    }
    Ok((resident_kib()? - before) / 1024.0 / INSTANCES as f64)
}

/// The median CPU time of a record.
fn nanoseconds(task: Task, rounds: usize, mut process: impl FnMut(&Batch, &mut Outcomes) -> Result<()>) -> Result<f64> {
    let batch = batch();
    let mut outcomes = Outcomes::default();
    process(&batch, &mut outcomes)?;
    task.verify(&batch, &outcomes)?;
    let mut measured = Vec::new();
    for _ in 0..=rounds {
        let (began, cpu_before, mut records) = (Instant::now(), cpu()?, 0);
        while began.elapsed() < ROUND {
            process(&batch, &mut Outcomes::default())?;
            records += RECORDS;
        }
        measured.push((cpu()? - cpu_before).as_nanos() as f64 / records as f64);
    }
    // The first round is to warm up.
    let measured = &mut measured[1..];
    measured.sort_unstable_by(f64::total_cmp);
    Ok(measured[measured.len() / 2])
}

/// The CPU time of this thread so far.
fn cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = stat.split(' ').next().context("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Memory of this process's own.
fn resident_kib() -> Result<f64> {
    Ok(kernel_size("/proc/self/status", "RssAnon")? as f64 / 1024.0)
}
