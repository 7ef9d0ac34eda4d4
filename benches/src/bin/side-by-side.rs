//! Sluicegate beside a bare loop and what people use today: the same records, the same work, from 4 partitions to 4.
//!
//! ```text
//! cargo build --release --workspace --bins
//! cargo run --release -p sluicegate-benches --bin side-by-side -- --records 5000000 --rounds 3
//! ```
//!
//! Each contender is a process of its own, one after the other on the same broker, round by round. What counts is its CPU
//! time a record from a third of its outputs to the last, which neighbours on the machine disturb less than its rate, and the
//! ratio to the bare loop of the same round. A run whose output is not what it should be fails.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use sluicegate_benches::contender::{ALL, Contender, Delivery, Setup};
use sluicegate_benches::ground::{Ground, Input, PARTITIONS};
use sluicegate_benches::measure::{latency, throughput};
use sluicegate_benches::report::{Comparison, Latencies, plot};
use sluicegate_benches::workload::{self, Workload};

/// A broker that has just started takes seconds for what it does in milliseconds once its virtual machine has compiled it, and compiling
/// takes the processor from whoever runs. What it compiles for large batches it compiles anew for small ones: so both of [`WARM_BY`]
/// run so often, under each promise in turn, before anything counts.
const WARM_RUNS: usize = 6;
/// One that writes large batches, and one that writes small ones.
const WARM_BY: [&str; 2] = ["bare", "sluicegate"];

#[derive(Parser)]
struct Arguments {
    /// How many records; a JVM needs millions to be warm
    #[arg(long, default_value_t = 3_000_000)]
    records: u64,
    /// How often each contender runs
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// What is to be done, or `all`
    #[arg(long, value_delimiter = ',', default_value = "uppercase")]
    workload: Vec<String>,
    /// These contenders and the bare loop: bare-default, batch, sluicegate, sluicegate-c, sluicegate-go, sluicegate-js, sluicegate-python,
    /// streams, flink, connect, connect-wasm, python
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// This promise alone
    #[arg(long, value_enum)]
    delivery: Option<Delivery>,
    /// How often is committed, in ms; 1000 at least once and 100 exactly once if it is not said
    #[arg(long, value_delimiter = ',')]
    commit_ms: Vec<u64>,
    /// Measures latency instead, with so many records a second, and with contenders set for it
    #[arg(long, value_delimiter = ',')]
    latency: Vec<u32>,
    /// How long each run for latency takes, of which a third is to warm up
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Writes all runs to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draws CPU time per record into this SVG file
    #[arg(long)]
    plot: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    for name in &arguments.only {
        let names = ALL.iter().map(|contender| contender.name).collect::<Vec<_>>().join(", ");
        ensure!(ALL.iter().any(|contender| contender.name == name), "no contender '{name}'; there are {names}");
    }
    let ground = Ground::prepare()?;
    if arguments.latency.is_empty() { throughputs(&arguments, &ground) } else { latencies(&arguments, &ground) }
}

impl Arguments {
    fn workloads(&self) -> Result<Vec<&'static Workload>> {
        if self.workload == ["all"] {
            return Ok(workload::ALL.iter().collect());
        }
        self.workload.iter().map(|name| Workload::find(name)).collect()
    }

    fn setups(&self) -> Vec<Setup> {
        let deliveries = [Delivery::AtLeastOnce, Delivery::ExactlyOnce].into_iter();
        let asked = deliveries.filter(|delivery| self.delivery.is_none_or(|only| only == *delivery));
        let intervals = |setup: Setup| match &self.commit_ms[..] {
            [] => vec![setup],
            all => all.iter().map(|ms| Setup { commit: Duration::from_millis(*ms), ..setup.clone() }).collect(),
        };
        let for_latency = !self.latency.is_empty();
        asked.map(|delivery| Setup { for_latency, ..Setup::new(delivery) }).flat_map(intervals).collect()
    }

    /// Those that were asked for, can promise this and know the work; the bare loop always.
    fn contenders(&self, delivery: Delivery, workload: &Workload) -> Vec<&'static Contender> {
        let takes_part = |contender: &&Contender| {
            let is_asked = self.only.is_empty() || self.only.iter().any(|name| name == contender.name);
            let can = contender.deliveries.contains(&delivery) && contender.works.on(workload);
            can && (is_asked || contender.name == ALL[0].name)
        };
        ALL.iter().filter(takes_part).collect()
    }
}

fn throughputs(arguments: &Arguments, ground: &Ground) -> Result<()> {
    let mut comparisons = Vec::new();
    for (number, workload) in arguments.workloads()?.into_iter().enumerate() {
        let input = ground.load(workload.name, PARTITIONS, workload, arguments.records)?;
        if number == 0 {
            warm(ground, workload, &input)?;
        }
        for setup in arguments.setups() {
            let comparison = compare(ground, workload, &setup, &input, arguments)?;
            println!("\n{comparison}");
            comparisons.push(comparison);
        }
        ground.delete(&input.topic)?;
    }
    keep(arguments, &comparisons)?;
    arguments.plot.as_ref().map_or(Ok(()), |file| plot(&comparisons, file))
}

fn warm(ground: &Ground, workload: &'static Workload, input: &Input) -> Result<()> {
    let deliveries = [Delivery::AtLeastOnce, Delivery::ExactlyOnce].into_iter().cycle();
    for delivery in deliveries.take(WARM_RUNS) {
        for contender in ALL.iter().filter(|contender| WARM_BY.contains(&contender.name)) {
            throughput(ground, contender, workload, &Setup::new(delivery), input)?;
        }
    }
    Ok(())
}

fn compare(
    ground: &Ground,
    workload: &'static Workload,
    setup: &Setup,
    input: &Input,
    arguments: &Arguments,
) -> Result<Comparison> {
    let contenders = arguments.contenders(setup.delivery, workload);
    let titles = contenders.iter().map(|contender| contender.title);
    let mut comparison = Comparison::new(setup, workload, input.records, titles);
    for round in 1..=arguments.rounds {
        for (contender, runs) in contenders.iter().zip(&mut comparison.contenders) {
            let measured = throughput(ground, contender, workload, setup, input)?;
            let Setup { delivery, .. } = setup;
            let cpu_us = measured.cpu_us.unwrap_or(f64::NAN);
            eprintln!("{}, {delivery}, round {round}, {}: {cpu_us:.2} µs", workload.name, contender.name);
            runs.runs.push(measured);
        }
    }
    Ok(comparison)
}

fn latencies(arguments: &Arguments, ground: &Ground) -> Result<()> {
    // As slow as the schedule is, once is enough.
    latency(ground, &ALL[0], &Setup::new(Delivery::ExactlyOnce), 20_000, arguments.seconds)?;
    let mut all = Vec::new();
    let setups = arguments.setups().into_iter();
    for (setup, rate) in setups.flat_map(|setup| arguments.latency.iter().map(move |rate| (setup.clone(), *rate))) {
        let contenders = arguments.contenders(setup.delivery, &workload::ALL[0]);
        let mut table = Latencies {
            delivery: format!("{}, committed every {:?}", setup.delivery, setup.commit),
            rate,
            contenders: contenders.iter().map(|contender| (contender.title, Vec::new())).collect(),
        };
        for round in 1..=arguments.rounds {
            for (contender, (_, runs)) in contenders.iter().zip(&mut table.contenders) {
                let measured = latency(ground, contender, &setup, rate, arguments.seconds)?;
                eprintln!("{}, {rate}/s, round {round}, {}: {measured:?}", setup.delivery, contender.name);
                runs.push(measured);
            }
        }
        println!("\n{table}");
        all.push(table);
    }
    keep(arguments, &all)
}

fn keep(arguments: &Arguments, all: &impl serde::Serialize) -> Result<()> {
    arguments.json.as_ref().map_or(Ok(()), |file| Ok(std::fs::write(file, serde_json::to_string_pretty(all)?)?))
}
