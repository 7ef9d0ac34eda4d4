//! One contender's run: through all records, from a third of its outputs to its last; or as records come, by the clock.

use std::fs::File;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use sluicegate_tests::client::Offsets;
use sluicegate_tests::process::{Process, cpu_seconds, peak_memory, tail};
use tempfile::TempDir;

use crate::contender::{Contender, Setup, Task, program};
use crate::ground::{Ground, Input, PARTITIONS, Places};
use crate::memory;
use crate::workload::{self, Workload};

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(600);
/// How often is looked: little beside the seconds that a run takes.
const LOOK: Duration = Duration::from_millis(20);
/// How long nothing more comes before a run counts as done.
const QUIET: Duration = Duration::from_secs(1);
/// Less CPU time than this, in seconds, is no measure: it comes in ticks of 10 ms, and a look may come 20 ms late.
const CPU_MIN: f64 = 0.5;

/// What a run took.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// User and system time of all of its threads, in microseconds a record; none where it was too little to measure.
    pub cpu_us: Option<f64>,
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

    /// How many outputs all pipelines together make of this input.
    fn expected(&self, input: &Input) -> u64 {
        input.expected.records * u64::from(self.setup.pipelines)
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

    /// Verifies the outputs, and measures by these marks from so many outputs on.
    fn judge(&self, process: u32, marks: &[Mark], input: &Input, from: u64) -> Result<Measured> {
        let topics = self.outputs();
        let places =
            topics.iter().map(|topics| self.ground.verify(topics, input.expected)).collect::<Result<Vec<_>>>()?;
        let per_output = input.records as f64 / input.expected.records as f64;
        let (cpu_us, rate) = between(marks, &places, from..=self.expected(input), per_output)?;
        Ok(Measured { cpu_us, rate, memory_mib: peak_memory_mib(process)? })
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
    let measure = || -> Result<Measured> {
        let marks = follow(running.id(), ground, &run.outputs(), run.expected(input))?;
        // Before that it starts, and a virtual machine compiles what is called often.
        run.judge(running.id(), &marks, input, run.expected(input) / 3)
    };
    let measured = measure().with_context(|| said(run.folder.path()));
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
    let running = run.start()?;
    let measure = || -> Result<Measured> {
        let ready = follow(running.id(), ground, &run.outputs(), run.expected(one))?.pop();
        let input = ground.add(one, workload, records)?;
        let marks = follow(running.id(), ground, &run.outputs(), run.expected(&input))?;
        let marks: Vec<Mark> = ready.into_iter().chain(marks).collect();
        run.judge(running.id(), &marks, &input, run.expected(one))
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

/// How far a run was when somebody looked.
struct Mark {
    at: Instant,
    cpu: f64,
    /// Where its topics ended, by pipeline.
    ends: Vec<Vec<Offsets>>,
}

/// Looks at a run until there are so many outputs, and no more for a while.
fn follow(process: u32, ground: &Ground, topics: &[Vec<String>], expected: u64) -> Result<Vec<Mark>> {
    let (mut marks, mut last) = (Vec::new(), (0, Instant::now()));
    let give_up = last.1 + LIMIT;
    while last.0 < expected || last.1.elapsed() < QUIET {
        ensure!(Instant::now() < give_up, "not done within {LIMIT:?}");
        let ends = topics.iter().map(|topics| ground.ends(topics)).collect::<Result<Vec<_>>>()?;
        let (cpu, at, offsets) =
            (cpu_seconds(process)?, Instant::now(), ends.iter().map(|ends| outputs(ends)).sum::<u64>());
        if offsets > last.0 {
            last = (offsets, at);
        }
        marks.push(Mark { at, cpu, ends });
        std::thread::sleep(LOOK);
    }
    Ok(marks)
}

/// How many offsets there are before these ends: more than outputs, where there are marks of transactions.
pub fn outputs(ends: &[Offsets]) -> u64 {
    ends.iter().flat_map(Offsets::values).sum::<i64>().cast_unsigned()
}

impl Mark {
    /// How many outputs there were, which are in these places.
    fn records(&self, places: &[Vec<Places>]) -> u64 {
        let topics = self.ends.iter().flatten().zip(places.iter().flatten());
        let before = |offsets: &[i64], end: i64| offsets.partition_point(|offset| *offset < end) as u64;
        topics.flat_map(|(ends, places)| places.iter().map(|(number, offsets)| before(offsets, ends[number]))).sum()
    }
}

/// CPU time in microseconds a record, and records a second, between the first mark with so many outputs and the first with so
/// many. Each output stands for so many records read.
///
/// # Errors
/// There is nothing between: all outputs were there when somebody first looked.
fn between(
    marks: &[Mark],
    places: &[Vec<Places>],
    outputs: RangeInclusive<u64>,
    per_output: f64,
) -> Result<(Option<f64>, f64)> {
    let first_with = |count| marks.iter().find(|mark| mark.records(places) >= count).context("a mark with all outputs");
    let (first, last) = (first_with(*outputs.start())?, first_with(*outputs.end())?);
    let made = last.records(places) - first.records(places);
    ensure!(made > 0, "all {} outputs came at once, too few to measure by: take more records", outputs.end());
    let (read, cpu) = (made as f64 * per_output, last.cpu - first.cpu);
    Ok(((cpu >= CPU_MIN).then_some(cpu / read * 1e6), read / (last.at - first.at).as_secs_f64()))
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

    /// Marks of a run of one partition, where every fourth offset is a mark of a transaction.
    #[test]
    fn what_was_made_between_two_marks_is_told_in_records() -> Result<()> {
        let start = Instant::now();
        let mark = |seconds, cpu, end| Mark {
            at: start + Duration::from_secs(seconds),
            cpu,
            ends: vec![vec![Offsets::from([(0, end)])]],
        };
        let places = [vec![Places::from([(0, (0..400).filter(|offset| offset % 4 != 3).collect())])]];
        let marks = [mark(0, 1.0, 100), mark(1, 1.4, 200), mark(2, 2.0, 300), mark(3, 2.0, 400)];
        assert_eq!(between(&marks, &places, 75..=225, 10.0)?, (Some(1.0 / 1500.0 * 1e6), 750.0));
        assert_eq!(between(&marks, &places, 75..=150, 10.0)?, (None, 750.0));
        let error = between(&marks, &places, 220..=225, 10.0).expect_err("nothing came").to_string();
        assert!(error.contains("take more records"), "{error}");
        Ok(())
    }
}
