//! One contender's run: through all records, from its first output to its last; or as records come, by the clock.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sluicegate_tests::process::{Process, cpu_seconds, peak_memory, tail};
use tempfile::TempDir;

use crate::contender::{Contender, Setup, Task, program};
use crate::ground::{Ground, Input, PARTITIONS};
use crate::memory;
use crate::workload::{self, Workload};

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(600);
/// How often is looked: little beside the seconds that a run takes.
const LOOK: Duration = Duration::from_millis(20);

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

/// A contender's run: its folder, and the topics that it writes, which are there before it starts.
pub struct Run<'a> {
    ground: &'a Ground,
    contender: &'a Contender,
    workload: &'static Workload,
    setup: &'a Setup,
    input: &'a Input,
    folder: TempDir,
    output: String,
}

impl<'a> Run<'a> {
    /// Makes folder and topics, and has memory in place.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn prepare(
        ground: &'a Ground,
        contender: &'a Contender,
        workload: &'static Workload,
        input: &'a Input,
        setup: &'a Setup,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let output = topic(contender.name, folder.path());
        let run = Run { ground, contender, workload, setup, input, folder, output };
        run.outputs().concat().iter().try_for_each(|topic| ground.create(topic, input.partitions))?;
        memory::touch_free()?;
        Ok(run)
    }

    /// The first topic that it writes.
    pub fn output(&self) -> &str {
        &self.output
    }

    /// Of each pipeline, all topics that it writes.
    fn outputs(&self) -> Vec<Vec<String>> {
        self.setup.outputs(&self.output).iter().map(|output| self.workload.topics(output)).collect()
    }

    /// Starts the process.
    ///
    /// # Errors
    /// What it needs is missing.
    pub fn start(&self) -> Result<Process> {
        let Run { ground, workload, setup, input, output, .. } = self;
        let (brokers, records, folder) = (ground.brokers(), input.records, self.folder.path());
        start(self.contender, &Task { workload, brokers, input: &input.topic, output, setup, records, folder })
    }

    /// Deletes the topics, once the process has ended.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn finish(self) -> Result<()> {
        self.outputs().concat().iter().try_for_each(|topic| self.ground.delete(topic))
    }

    fn verify(&self, input: &Input) -> Result<()> {
        self.outputs().iter().try_for_each(|topics| self.ground.verify(topics, input.expected))
    }
}

/// Runs a contender until its output is complete, and verifies that.
///
/// # Errors
/// It ended, took too long, or did something else than it should: what it said is in the error.
pub fn throughput(
    ground: &Ground,
    contender: &Contender,
    workload: &'static Workload,
    setup: &Setup,
    input: &Input,
) -> Result<Measured> {
    let run = Run::prepare(ground, contender, workload, input, setup)?;
    let running = run.start()?;
    let (process, outputs) = (running.id(), run.outputs());
    let first = until(process, ground, &outputs, 1);
    let measured = first.and_then(|first| follow(process, ground, &outputs, input, first));
    let measured = measured.with_context(|| said(run.folder.path()));
    let measured = measured.and_then(|measured| run.verify(input).map(|()| measured));
    drop(running);
    run.finish()?;
    measured.with_context(|| format!("{}: {} under {}", contender.name, workload.name, setup.delivery))
}

/// The same of records that come once all pipelines run, which each have had one: what they take to start is left out, however many
/// they are.
///
/// # Errors
/// As of [`throughput`].
pub fn standing(
    ground: &Ground,
    contender: &Contender,
    workload: &'static Workload,
    setup: &Setup,
    one: &Input,
    records: u64,
) -> Result<Measured> {
    let run = Run::prepare(ground, contender, workload, one, setup)?;
    let (running, outputs) = (run.start()?, run.outputs());
    let measure = || -> Result<Measured> {
        let ready = until(running.id(), ground, &outputs, outputs.len() as u64)?;
        let input = ground.add(one, workload, records)?;
        let measured = follow(running.id(), ground, &outputs, &input, ready)?;
        run.verify(&input).map(|()| measured)
    };
    let measured = measure().with_context(|| said(run.folder.path()));
    drop(running);
    run.finish()?;
    measured.with_context(|| format!("{} of {}", setup.pipelines, contender.name))
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
pub fn latency(ground: &Ground, contender: &Contender, setup: &Setup, rate: u32, seconds: u32) -> Result<Latency> {
    let folder = tempfile::tempdir()?;
    let (input, output) = (topic("in", folder.path()), topic(contender.name, folder.path()));
    ground.create(&input, PARTITIONS)?;
    ground.create(&output, PARTITIONS)?;
    let (brokers, records, folder) = (ground.brokers(), u64::MAX, folder.path());
    let workload = &workload::ALL[0];
    let task = Task { workload, brokers, input: &input, output: &output, setup, records, folder };
    memory::touch_free()?;
    let running = start(contender, &task)?;
    let mut probe = Command::new(program("probe")?);
    probe.args([&task.brokers, &input, &output, &rate.to_string(), &seconds.to_string()]);
    let probed = probe.output()?;
    let log = said(folder);
    drop(running);
    ground.delete(&input)?;
    ground.delete(&output)?;
    let why = String::from_utf8_lossy(&probed.stderr);
    ensure!(probed.status.success(), "{} under {}: {why}\n{log}", contender.name, setup.delivery);
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

/// Waits for the outputs of all records, and measures from a mark on.
fn follow(process: u32, ground: &Ground, outputs: &[Vec<String>], input: &Input, first: Mark) -> Result<Measured> {
    let last = until(process, ground, outputs, input.expected.records * outputs.len() as u64)?;
    let per_output = input.records as f64 / input.expected.records as f64;
    let (cpu_us, rate) = first.to(&last, per_output)?;
    Ok(Measured { cpu_us, rate, memory_mib: peak_memory_mib(process)? })
}

/// How far a run was.
struct Mark {
    at: Instant,
    cpu: f64,
    count: u64,
}

impl Mark {
    /// CPU time in microseconds a record, and records a second, from this mark to a later one, where each output stands for so many
    /// records read.
    ///
    /// # Errors
    /// There is nothing between the marks: all outputs were there when somebody first looked.
    fn to(&self, last: &Mark, per_output: f64) -> Result<(f64, f64)> {
        let outputs = last.count.saturating_sub(self.count);
        ensure!(outputs > 0, "all {} outputs came at once, too few to measure by: take more records", last.count);
        let read = outputs as f64 * per_output;
        Ok(((last.cpu - self.cpu) / read * 1e6, read / (last.at - self.at).as_secs_f64()))
    }
}

/// Waits until there are so many outputs.
fn until(process: u32, ground: &Ground, outputs: &[Vec<String>], expected: u64) -> Result<Mark> {
    let (give_up, topics) = (Instant::now() + LIMIT, outputs.concat());
    while Instant::now() < give_up {
        let (count, cpu) = (ground.offsets(&topics)?, cpu_seconds(process)?);
        if count >= expected {
            return Ok(Mark { at: Instant::now(), cpu, count });
        }
        std::thread::sleep(LOOK);
    }
    bail!("not done within {LIMIT:?}")
}

/// What it said, for an error.
fn said(folder: &Path) -> String {
    tail(&folder.join("log"))
}

/// The most memory of a process that was resident at once, in MiB.
///
/// # Errors
/// There is no such process.
pub fn peak_memory_mib(process: u32) -> Result<f64> {
    Ok(peak_memory(process)? as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_at_once_is_no_measure() -> Result<()> {
        let start = Instant::now();
        let mark = |seconds, cpu, count| Mark { at: start + Duration::from_secs(seconds), cpu, count };
        let first = mark(0, 1.0, 100);
        assert_eq!(first.to(&mark(2, 2.0, 200), 10.0)?, (1000.0, 500.0));
        let error = first.to(&mark(0, 1.0, 100), 10.0).expect_err("nothing came").to_string();
        assert!(error.contains("take more records"), "{error}");
        Ok(())
    }
}
