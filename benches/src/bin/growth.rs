//! How sluicegate's cost grows with partitions, workers, stages, the size of records, pipelines, and plugins.
//!
//! ```text
//! cargo build --release --workspace --bins
//! cargo run --release -p sluicegate-benches --bin growth -- --plot growth.svg
//! ```
//!
//! One thing grows at a time; each point is a process of its own, at least once, and its outputs are verified.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use sluicegate_benches::boundary::start;
use sluicegate_benches::contender::{Delivery, Setup, named};
use sluicegate_benches::curve::{CPU, Curve, Point, plot};
use sluicegate_benches::ground::{Ground, PARTITIONS};
use sluicegate_benches::measure::{peak_memory_mib, standing, throughput};
use sluicegate_benches::workload::{self, Workload};
use sluicegate_tests::{build, plugins};
use sluicegate_wasm::{CompilerProgram, Engine, EngineSettings, LoadOptions, Plugin};

#[derive(Parser)]
struct Arguments {
    /// How many records a point takes, of 200 bytes; fewer where they are larger
    #[arg(long, default_value_t = 2_000_000)]
    records: u64,
    /// What grows; everything if it is not said
    #[arg(long, value_enum, value_delimiter = ',')]
    axis: Vec<Axis>,
    /// Writes all points to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draws the curves into this SVG file
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Loads so many plugins into this process, and says what that took: a point of its own
    #[arg(long, hide = true)]
    load: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Axis {
    Partitions,
    Workers,
    Stages,
    Bytes,
    Pipelines,
    Plugins,
}

impl Axis {
    fn title(self) -> &'static str {
        match self {
            Axis::Partitions => "partitions, one worker",
            Axis::Workers => "workers, two cores",
            Axis::Stages => "stages",
            Axis::Bytes => "bytes of a record",
            Axis::Pipelines => "pipelines in a process",
            Axis::Plugins => "plugins loaded, each another",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Axis::Plugins => "ms to compile and load one",
            _ => CPU,
        }
    }

    fn sizes(self) -> &'static [u64] {
        match self {
            Axis::Partitions => &[1, 4, 16, 64, 256],
            Axis::Workers => &[1, 2],
            Axis::Stages => &[1, 2, 4, 8],
            Axis::Bytes => &[10, 100, 1_000, 10_000, 100_000, 900_000],
            Axis::Pipelines => &[1, 10, 100],
            Axis::Plugins => &[1, 10, 100, 1000],
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(count) = arguments.load {
        println!("{}", serde_json::to_string(&load(count)?)?);
        return Ok(());
    }
    let axes = if arguments.axis.is_empty() { Axis::value_variants() } else { &arguments.axis };
    let ground = Ground::prepare()?;
    let mut curves = Vec::new();
    for axis in axes {
        let mut curve = Curve { axis: axis.title(), unit: axis.unit(), points: Vec::new() };
        for size in axis.sizes() {
            let point = match axis {
                Axis::Plugins => loaded(*size)?,
                _ => point(&ground, *axis, *size, arguments.records)?,
            };
            eprintln!("{}: {point:?}", curve.axis);
            curve.points.push(point);
        }
        println!("\n{curve}");
        curves.push(curve);
    }
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&curves)?)?;
    }
    arguments.plot.as_ref().map_or(Ok(()), |file| plot(&curves, file))
}

fn point(ground: &Ground, axis: Axis, size: u64, records: u64) -> Result<Point> {
    let mut setup = Setup::new(Delivery::AtLeastOnce);
    let (mut partitions, mut workload, mut records) = (PARTITIONS, &workload::ALL[0], records);
    let number = u32::try_from(size)?;
    match axis {
        Axis::Partitions => partitions = i32::try_from(size)?,
        Axis::Workers => setup.workers = number,
        Axis::Stages => setup.stages = number,
        Axis::Pipelines => (setup.pipelines, records) = (number, records / size),
        Axis::Bytes => {
            // One a point, for as long as the process lives.
            workload = Box::leak(Box::new(Workload::of_bytes(usize::try_from(size)?)));
            records = records.min(records * 1000 / size);
        }
        Axis::Plugins => {}
    }
    let before = if matches!(axis, Axis::Pipelines) { 1 } else { records };
    let input = ground.load(&format!("growth-{partitions}-{size}"), partitions, workload, before)?;
    let ours = named("sluicegate")?;
    let measured = match axis {
        Axis::Pipelines => standing(ground, ours, workload, &setup, &input, records)?,
        _ => throughput(ground, ours, workload, &setup, &input)?,
    };
    ground.delete(&input.topic)?;
    let cost = measured.cpu_us.context("too little CPU time to measure: take more records")?;
    Ok(Point { size, cost, memory_mib: measured.memory_mib })
}

/// The point of so many plugins, by another process.
fn loaded(count: u64) -> Result<Point> {
    let output = Command::new(std::env::current_exe()?).args(["--load", &count.to_string()]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Loads as many different plugins as asked, with an instance of each.
fn load(count: u64) -> Result<Point> {
    let component = std::fs::read(plugins::plugin("uppercase")?)?;
    let cache = tempfile::tempdir()?;
    let compiler =
        CompilerProgram { program: build::program()?, arguments: vec!["compile-plugin".into(), cache.path().into()] };
    let settings = EngineSettings { cache_dir: Some(cache.path().into()), compiler: Some(compiler) };
    let engine = Engine::new(&settings)?;
    let begin = Instant::now();
    let mut instances = Vec::new();
    for number in 0..count {
        let plugin = Plugin::load(&engine, different(&component, number), &LoadOptions::default())?;
        instances.push((start(&plugin, "{}")?, plugin));
    }
    let cost = begin.elapsed().as_secs_f64() / count as f64 * 1e3;
    Ok(Point { size: count, cost, memory_mib: peak_memory_mib(std::process::id())? })
}

/// The same plugin by another digest: with a custom section, which holds a number, at its end.
fn different(component: &[u8], number: u64) -> Vec<u8> {
    let mut section = b"\x06number".to_vec();
    section.extend(number.to_le_bytes());
    // Id 0, and a size below 128, which is its own LEB128.
    [component, &[0, section.len() as u8], &section].concat()
}
