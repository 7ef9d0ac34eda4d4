//! How long a user waits: for the first output after a start, for what piled up while nobody ran, and for a plugin that
//! trapped; and what an idle process takes.
//!
//! ```text
//! cargo build --release --workspace --bins
//! cargo run --release -p sluicegate-benches --bin moments
//! ```
//!
//! The bare loop joins the same group in the same way: what sluicegate takes beyond it is the start of the program and of its
//! plugin, whose compilation is in the cache.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use sluicegate_benches::boundary::CALLS;
use sluicegate_benches::clients::{WAIT, consumer};
use sluicegate_benches::contender::{Contender, Delivery, Setup, named};
use sluicegate_benches::ground::{Ground, Input, PARTITIONS};
use sluicegate_benches::measure::{Run, outputs};
use sluicegate_benches::report::Spread;
use sluicegate_benches::workload;
use sluicegate_core::Transform as _;
use sluicegate_tests::process::cpu_seconds;

#[derive(Parser)]
struct Arguments {
    /// How often each moment is taken
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How many records piled up
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
}

/// How long an idle process is watched.
const IDLE: Duration = Duration::from_secs(10);
const RENEWALS: usize = 200;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    println!("a new instance of a plugin, as after a trap: {:.3} ms", Spread::of(renewals()?));
    let ground = Ground::prepare()?;
    let input = ground.load("moments", PARTITIONS, &workload::ALL[0], arguments.records)?;
    for name in ["bare", "sluicegate"] {
        let contender = named(name)?;
        let (mut first, mut all) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            let moments = start(&ground, contender, &input)?;
            first.push(moments.first.as_secs_f64() * 1e3);
            all.push(moments.all.as_secs_f64() * 1e3);
        }
        println!("{name}: from start to the first output {:.0} ms", Spread::of(first));
        println!("{name}: from start to the last of {} outputs {:.0} ms", input.records, Spread::of(all));
    }
    println!("sluicegate with nothing to do: {:.2} % of a core", idle(&ground)?);
    Ok(())
}

/// From the start of the process.
struct Moments {
    first: Duration,
    all: Duration,
}

fn start(ground: &Ground, contender: &Contender, input: &Input) -> Result<Moments> {
    let setup = Setup::new(Delivery::AtLeastOnce);
    let run = Run::prepare(ground, contender, &workload::ALL[0], input, &setup)?;
    let reader = consumer(&ground.brokers(), &format!("reader-{}", run.output())).create::<BaseConsumer>()?;
    reader.subscribe(&[run.output()])?;
    // A member of its group, before the clock starts.
    while reader.assignment()?.count() == 0 {
        reader.poll(Duration::from_millis(10)).transpose()?;
    }
    let start = Instant::now();
    let running = run.start()?;
    let (mut first, mut seen) = (None, 0);
    while seen < input.expected.records {
        ensure!(start.elapsed() < WAIT, "{seen} outputs within {WAIT:?}");
        if reader.poll(Duration::from_millis(10)).transpose()?.is_some() {
            first.get_or_insert_with(|| start.elapsed());
            seen += 1;
        }
    }
    let moments = Moments { first: first.context("an output")?, all: start.elapsed() };
    drop(running);
    run.finish().map(|()| moments)
}

/// The share of a core that a process takes that has done all there was.
fn idle(ground: &Ground) -> Result<f64> {
    let contender = named("sluicegate")?;
    let input = ground.load("idle", PARTITIONS, &workload::ALL[0], 1000)?;
    let setup = Setup::new(Delivery::ExactlyOnce);
    let run = Run::prepare(ground, contender, &workload::ALL[0], &input, &setup)?;
    let running = run.start()?;
    let begin = Instant::now();
    while outputs(&ground.ends(&[run.output().to_owned()])?) < input.records {
        ensure!(begin.elapsed() < WAIT, "no outputs within {WAIT:?}");
    }
    // Time itself is what is measured.
    let before = cpu_seconds(running.id())?;
    std::thread::sleep(IDLE);
    let taken = cpu_seconds(running.id())? - before;
    drop(running);
    run.finish()?;
    Ok(taken / IDLE.as_secs_f64() * 100.0)
}

fn renewals() -> Result<Vec<f64>> {
    let mut instance = CALLS.iter().find(|call| call.name == "rewrite").context("a call")?.instance()?;
    let mut took = Vec::new();
    for _ in 0..RENEWALS {
        let begin = Instant::now();
        instance.renew().map_err(|error| anyhow::anyhow!("{error}"))?;
        took.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}
