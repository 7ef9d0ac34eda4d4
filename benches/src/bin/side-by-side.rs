//! Sluicegate beside a bare loop and what people use today: the same records, upper-cased from 4 partitions to 4.
//!
//! ```text
//! cargo build --release --workspace --bins
//! cargo run --release -p sluicegate-benches --bin side-by-side -- --records 5000000 --rounds 3
//! ```
//!
//! Each contender is a process of its own, one after the other on the same broker, round by round. What counts is its CPU
//! time a record between its first and its last output, which neighbours on the machine disturb less than its rate, and the
//! ratio to the bare loop of the same round. A run whose output is not what it should be fails.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use sluicegate_benches::contender::{ALL, Contender, Delivery};
use sluicegate_benches::ground::Ground;
use sluicegate_benches::measure::{latency, throughput};
use sluicegate_benches::report::{Comparison, Latencies, plot};

#[derive(Parser)]
struct Arguments {
    /// How many records; a JVM needs millions to be warm
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// How often each contender runs
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// These contenders and the bare loop: sluicegate, streams, connect, connect-wasm, python
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measures latency instead, with so many records a second
    #[arg(long, value_delimiter = ',')]
    latency: Vec<u32>,
    /// How long each run for latency takes, of which a third is to warm up
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Writes all runs to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draws CPU time a record into this SVG file
    #[arg(long)]
    plot: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    for name in &arguments.only {
        let names = ALL.iter().map(|contender| contender.name).collect::<Vec<_>>().join(", ");
        ensure!(ALL.iter().any(|contender| contender.name == name), "no contender '{name}'; there are {names}");
    }
    if arguments.latency.is_empty() { throughputs(&arguments) } else { latencies(&arguments) }
}

const DELIVERIES: [Delivery; 2] = [Delivery::AtLeastOnce, Delivery::ExactlyOnce];

fn throughputs(arguments: &Arguments) -> Result<()> {
    let ground = Ground::prepare(arguments.records)?;
    let mut comparisons = Vec::new();
    for delivery in DELIVERIES {
        let comparison = compare(&ground, delivery, arguments)?;
        println!("\n{comparison}");
        comparisons.push(comparison);
    }
    keep(arguments, &comparisons)?;
    arguments.plot.as_ref().map_or(Ok(()), |file| plot(&comparisons, file))
}

fn latencies(arguments: &Arguments) -> Result<()> {
    let ground = Ground::prepare(0)?;
    let mut all = Vec::new();
    for (delivery, rate) in
        DELIVERIES.into_iter().flat_map(|delivery| arguments.latency.iter().map(move |rate| (delivery, *rate)))
    {
        let contenders = contenders(delivery, arguments);
        let mut table = Latencies {
            delivery: delivery.to_string(),
            rate,
            contenders: contenders.iter().map(|contender| (contender.title, Vec::new())).collect(),
        };
        for round in 1..=arguments.rounds {
            for (contender, (_, runs)) in contenders.iter().zip(&mut table.contenders) {
                let measured = latency(&ground, contender, delivery, rate, arguments.seconds)?;
                eprintln!("{delivery}, {rate}/s, round {round}, {}: {measured:?}", contender.name);
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

/// Those that were asked for, and can promise this; the bare loop always.
fn contenders(delivery: Delivery, arguments: &Arguments) -> Vec<&'static Contender> {
    let takes_part = |contender: &&Contender| {
        let is_asked = arguments.only.is_empty() || arguments.only.iter().any(|name| name == contender.name);
        contender.deliveries.contains(&delivery) && (is_asked || contender.name == ALL[0].name)
    };
    ALL.iter().filter(takes_part).collect()
}

fn compare(ground: &Ground, delivery: Delivery, arguments: &Arguments) -> Result<Comparison> {
    let contenders = contenders(delivery, arguments);
    let titles = contenders.iter().map(|contender| contender.title);
    let mut comparison = Comparison::new(delivery, arguments.records, titles);
    for round in 1..=arguments.rounds {
        for (contender, runs) in contenders.iter().zip(&mut comparison.contenders) {
            let measured = throughput(ground, contender, delivery, arguments.records)?;
            eprintln!("{delivery}, round {round}, {}: {:.2} µs", contender.name, measured.cpu_us);
            runs.runs.push(measured);
        }
    }
    Ok(comparison)
}
