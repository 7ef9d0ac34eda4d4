//! One contender's run: through all records, from its first output to its last; or as records come, by the clock.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

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
    let running = Running::start(ground, contender, INPUT, &output, delivery, records, folder.path())?;
    let measured = running.follow(ground, &output, records).with_context(|| running_log(folder.path()));
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
    let running = Running::start(ground, contender, &input, &output, delivery, u64::MAX, folder.path())?;
    let mut probe = Command::new(program("probe")?);
    probe.args([&ground.brokers(), &input, &output, &rate.to_string(), &seconds.to_string()]);
    let probed = probe.output()?;
    let log = running_log(folder.path());
    drop(running);
    ground.delete(&input)?;
    ground.delete(&output)?;
    let said = String::from_utf8_lossy(&probed.stderr);
    ensure!(probed.status.success(), "{} under {delivery}: {said}\n{log}", contender.name);
    Ok(serde_json::from_slice(&probed.stdout)?)
}

/// A topic that no other run has.
fn topic(name: &str, folder: &Path) -> String {
    format!("{name}-{}", folder.file_name().unwrap_or_default().display()).replace(".tmp", "").to_lowercase()
}

/// A contender's process; killed when dropped.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts it in a folder of its own.
    ///
    /// # Errors
    /// It, or what it needs, cannot be had.
    pub fn start(
        ground: &Ground,
        contender: &Contender,
        input: &str,
        output: &str,
        delivery: Delivery,
        records: u64,
        folder: &Path,
    ) -> Result<Self> {
        let task = Task { brokers: ground.brokers(), input, output, delivery, records, folder };
        let mut command = (contender.command)(&task)?;
        let log = File::create(folder.join("log"))?;
        let child = command.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Running { child })
    }

    fn follow(&self, ground: &Ground, output: &str, records: u64) -> Result<Measured> {
        let give_up = Instant::now() + LIMIT;
        let mut first: Option<(Instant, f64, u64)> = None;
        while Instant::now() < give_up {
            let count = ground.offsets(output)?;
            let cpu = cpu_seconds(self.child.id())?;
            match first {
                None if count > 0 => first = Some((Instant::now(), cpu, count)),
                Some((start, cpu_before, before)) if count >= records => {
                    let (took, counted) = (start.elapsed().as_secs_f64(), (count - before) as f64);
                    return Ok(Measured {
                        cpu_us: (cpu - cpu_before) / counted * 1e6,
                        rate: counted / took,
                        memory_mib: peak_memory_mib(self.child.id())?,
                    });
                }
                _ => {}
            }
            std::thread::sleep(LOOK);
        }
        bail!("not done within {LIMIT:?}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either way it has to go, for the next one's sake.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it said, for an error.
fn running_log(folder: &Path) -> String {
    sluicegate_tests::process::tail(&folder.join("log"))
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
