//! Runs simulated worlds: one seed, to look at it, or many, to find a bad one.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use sluicegate_sim::{Outcome, Unpatched, simulate};

const USAGE: &str = "usage: sluicegate-sim --seed N [--verbose]
       sluicegate-sim [--seeds COUNT] [--from N]";

fn main() -> ExitCode {
    match Arguments::read(std::env::args().skip(1)) {
        Ok(Arguments { seed: Some(seed), verbose, .. }) => one(seed, verbose),
        Ok(arguments) => many(arguments.from, arguments.seeds),
        Err(reason) => {
            eprintln!("{reason}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Arguments {
    seed: Option<u64>,
    verbose: bool,
    seeds: u64,
    from: u64,
}

impl Arguments {
    fn read(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Arguments { seed: None, verbose: false, seeds: 10_000, from: 0 };
        while let Some(name) = given.next() {
            let mut number = || {
                let value = given.next().ok_or_else(|| format!("{name} needs a number"))?;
                value.parse::<u64>().map_err(|_| format!("{name} needs a number, not '{value}'"))
            };
            match name.as_str() {
                "--seed" => arguments.seed = Some(number()?),
                "--seeds" => arguments.seeds = number()?,
                "--from" => arguments.from = number()?,
                "--verbose" => arguments.verbose = true,
                _ => return Err(format!("unknown argument '{name}'")),
            }
        }
        Ok(arguments)
    }
}

fn one(seed: u64, verbose: bool) -> ExitCode {
    let Outcome { report, lives, steps, .. } = simulate(seed, Box::new(Unpatched), verbose);
    print!("seed {seed}: {lives} workers, {steps} steps, {report}");
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(from: u64, seeds: u64) -> ExitCode {
    let (began, shows_progress) = (Instant::now(), std::io::stderr().is_terminal());
    let (mut failed, mut records, mut lives) = (Vec::new(), 0, 0);
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    for (done, seed) in (from..from.saturating_add(seeds)).enumerate() {
        match catch_unwind(AssertUnwindSafe(|| simulate(seed, Box::new(Unpatched), false))) {
            Ok(outcome) => {
                records += outcome.report.counts.records;
                lives += outcome.lives;
                outcome.faults.into_iter().for_each(|fault| *faults.entry(fault).or_default() += 1);
                if !outcome.report.is_clean() {
                    failed.push(seed);
                    println!("seed {seed} failed: {}", outcome.report);
                }
            }
            Err(_) => {
                failed.push(seed);
                println!("seed {seed} panicked");
            }
        }
        if shows_progress && done % 500 == 0 {
            eprint!("\r{done} of {seeds} seeds, {} failed ", failed.len());
        }
    }
    if shows_progress {
        eprint!("\r\x1b[K");
    }
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    for (fault, times) in &faults {
        println!("{times:>9} {fault}");
    }
    let (bad, a_minute) = (failed.len(), seeds as f64 / minutes);
    println!(
        "{seeds} seeds from {from}, {records} records, {lives} workers: {bad} failed; {a_minute:.0} seeds a minute"
    );
    if let Some(seed) = failed.first() {
        println!("replay the first: cargo run --release -p sluicegate-sim -- --seed {seed} --verbose");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
