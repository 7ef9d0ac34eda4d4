//! Makes faults and prints what came of them. Exit code 1: a promise was broken.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Result, ensure};
use clap::Parser;
use sluicegate_faults::fault;
use sluicegate_faults::plan::{self, Planned};
use sluicegate_faults::report::{Table, json};
use sluicegate_faults::run::{Ground, Outcome, logs};
use sluicegate_faults::setting::{Delivery, Protocol};

/// Real faults on a real Kafka: each of them in each setting, unless told otherwise.
#[derive(Debug, Parser)]
struct Args {
    /// Each fault once, in a setting that the seed picks.
    #[arg(long)]
    short: bool,
    /// Decides what is left to chance; by default the clock does.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this fault; may be repeated.
    #[arg(long, value_parser = fault::ALL.iter().map(|fault| fault.name).collect::<Vec<_>>())]
    fault: Vec<String>,
    /// Only this promise.
    #[arg(long)]
    delivery: Option<Delivery>,
    /// Only so many workers.
    #[arg(long)]
    workers: Option<usize>,
    /// Only this protocol of the group.
    #[arg(long)]
    protocol: Option<Protocol>,
    /// All of it so many times, each time with another seed.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// A line of JSON for each run goes here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The logs of runs that failed go here; by default to the target folder.
    #[arg(long)]
    logs: Option<PathBuf>,
    /// Says what the faults do, and makes none.
    #[arg(long)]
    list: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.list {
        fault::ALL.iter().for_each(|fault| println!("{:20}  {}", fault.name, fault.what));
        return Ok(ExitCode::SUCCESS);
    }
    let seed = args.seed.unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs()));
    println!("seed {seed}");
    let planned = plan(&args, seed);
    ensure!(!planned.is_empty(), "no run is like that");
    let logs = match &args.logs {
        Some(folder) => folder.clone(),
        None => logs(seed)?,
    };
    let outcomes = make(&args, &planned, Ground::start(seed, &logs)?)?;
    print!("{}", Table(&outcomes));
    let failed = outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).count();
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{failed} runs failed; their logs: {}", logs.display());
    Ok(ExitCode::FAILURE)
}

fn plan(args: &Args, seed: u64) -> Vec<Planned> {
    let plan = if args.short { plan::sample } else { plan::matrix };
    let all = (0..args.rounds).flat_map(|round| plan(seed.wrapping_add(round)));
    all.filter(|planned| {
        (args.fault.is_empty() || args.fault.iter().any(|name| name == planned.fault.name))
            && args.delivery.is_none_or(|delivery| delivery == planned.setting.delivery)
            && args.workers.is_none_or(|workers| workers == planned.setting.workers)
            && args.protocol.is_none_or(|protocol| protocol == planned.setting.protocol)
    })
    .collect()
}

fn make(args: &Args, plan: &[Planned], mut ground: Ground) -> Result<Vec<Outcome>> {
    let mut lines = args.json.as_ref().map(File::create).transpose()?;
    let mut outcomes = Vec::new();
    for (index, planned) in plan.iter().enumerate() {
        progress(&format!("{} of {}: {planned}", index + 1, plan.len()));
        let outcome = ground.run(*planned)?;
        progress("");
        if let Some(lines) = &mut lines {
            writeln!(lines, "{}", json(&outcome))?;
        }
        print!("{outcome}");
        outcomes.push(outcome);
    }
    outcomes.sort_by_key(|outcome| fault::ALL.iter().position(|fault| fault.name == outcome.planned.fault.name));
    Ok(outcomes)
}

/// One line that stands for the one before it; for a person only.
fn progress(line: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // Whoever cannot be shown it does without.
        let _unseen = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
    }
}
