//! One contender's run: through all records, from its first output to its last; or as records come, by the clock.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sluicegate_tests::process::{Process, tail};

use crate::contender::{Contender, Delivery, Task, program};
use crate::ground::{Ground, INPUT};

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(600);
/// How often is looked: little beside the seconds that a run takes.
const LOOK: Duration = Duration::from_millis(20);
/// The kernel's clock tick, in which `/proc` counts CPU time: 100 a second on Linux, whatever the architecture.
const TICKS: f64 = 100.0;

/// What a run took.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// User and system time of all of its threads, in microseconds a record.
    pub cpu_us: f64,
    /// Records a second.
    pub rate: f64,
    /// The most memory that was resident at once, in MiB.
    pub memory_mib: f64,
}

/// Runs a contender until its output is complete, and verifies that.
///
/// # Errors
/// It ended, took too long, or did something else than it should: what it said is in the error.
pub fn throughput(ground: &Ground, contender: &Contender, delivery: Delivery, records: u64) -> Result<Measured> {
    let folder = tempfile::tempdir()?;
    let output = topic(contender.name, folder.path());
    ground.create(&output)?;
    let task =
        Task { brokers: ground.brokers(), input: INPUT, output: &output, delivery, records, folder: folder.path() };
    let running = start(contender, &task)?;
    let measured = follow(running.id(), ground, &task).with_context(|| said(folder.path()));
    let measured = measured.and_then(|measured| ground.verify(&output).map(|()| measured));
    drop(running);
    ground.delete(&output)?;
    measured.with_context(|| format!("{} under {delivery}", contender.name))
}

/// How long records took, in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: f64,
    /// Of a hundred, one took longer.
    pub p99: f64,
    /// Of a thousand, one took longer.
    pub p999: f64,
}

/// Has records come at a rate for so many seconds, and takes the time that each takes through the contender.
///
/// # Errors
/// Not all came out, or the contender ended.
pub fn latency(ground: &Ground, contender: &Contender, delivery: Delivery, rate: u32, seconds: u32) -> Result<Latency> {
    let folder = tempfile::tempdir()?;
    let (input, output) = (topic("in", folder.path()), topic(contender.name, folder.path()));
    ground.create(&input)?;
    ground.create(&output)?;
    let (brokers, records, folder) = (ground.brokers(), u64::MAX, folder.path());
    let task = Task { brokers, input: &input, output: &output, delivery, records, folder };
    let running = start(contender, &task)?;
    let mut probe = Command::new(program("probe")?);
    probe.args([&task.brokers, &input, &output, &rate.to_string(), &seconds.to_string()]);
    let probed = probe.output()?;
    let log = said(folder);
    drop(running);
    ground.delete(&input)?;
    ground.delete(&output)?;
    let why = String::from_utf8_lossy(&probed.stderr);
    ensure!(probed.status.success(), "{} under {delivery}: {why}\n{log}", contender.name);
    Ok(serde_json::from_slice(&probed.stdout)?)
}

/// A topic that no other run has.
fn topic(name: &str, folder: &Path) -> String {
    format!("{name}-{}", folder.file_name().unwrap_or_default().display()).replace(".tmp", "").to_lowercase()
}

/// Starts a contender in the folder of its task, into a log there.
fn start(contender: &Contender, task: &Task<'_>) -> Result<Process> {
    let mut command = (contender.command)(task)?;
    let log = File::create(task.folder.join("log"))?;
    command.current_dir(task.folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Process::spawn(&mut command, task.folder)
}

fn follow(process: u32, ground: &Ground, task: &Task<'_>) -> Result<Measured> {
    let give_up = Instant::now() + LIMIT;
    let mut first: Option<(Instant, f64, u64)> = None;
    while Instant::now() < give_up {
        let count = ground.offsets(task.output)?;
        let cpu = cpu_seconds(process)?;
        match first {
            None if count > 0 => first = Some((Instant::now(), cpu, count)),
            Some((start, cpu_before, before)) if count >= task.records => {
                let (took, counted) = (start.elapsed().as_secs_f64(), (count - before) as f64);
                return Ok(Measured {
                    cpu_us: (cpu - cpu_before) / counted * 1e6,
                    rate: counted / took,
                    memory_mib: peak_memory_mib(process)?,
                });
            }
            _ => {}
        }
        std::thread::sleep(LOOK);
    }
    bail!("not done within {LIMIT:?}")
}

/// What it said, for an error.
fn said(folder: &Path) -> String {
    tail(&folder.join("log"))
}

/// User and system time of all of the process's threads so far.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("/proc/…/stat")?.1.split_whitespace().collect();
    ensure!(fields.first() != Some(&"Z"), "the process has ended");
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / TICKS)
}

fn peak_memory_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
