//! The whole pipeline beside the bare loop, on a real Kafka, round by round on the same machine:
//!
//! ```text
//! cargo run --release -p sluicegate-benches --bin pipeline [-- --records 1000000 --rounds 3]
//! ```
//!
//! Each contender is a process of its own that upper-cases 200-byte JSON values from 4 partitions to 4 partitions.
//! What counts is its CPU time a record between its first and its last output, which neighbours on the machine disturb
//! less than its rate; and the ratio to the bare loop of the same round. A run whose output is not complete fails.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::{build, plugins};

const PARTITIONS: i32 = 4;
const INPUT: &str = "bench";
const LIMIT: Duration = Duration::from_secs(300);
/// The kernel's clock tick, in which `/proc` counts CPU time: 100 a second on Linux, whatever the architecture.
const TICKS: f64 = 100.0;

struct Bench {
    kafka: Kafka,
    client: Client,
    bare: PathBuf,
    sluicegate: PathBuf,
    plugin: PathBuf,
    folder: tempfile::TempDir,
    records: u64,
}

struct Measured {
    cpu_us: f64,
    rate: f64,
    memory_mib: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Delivery {
    AtLeastOnce,
    ExactlyOnce,
}

impl Delivery {
    fn name(self) -> &'static str {
        match self {
            Delivery::AtLeastOnce => "at-least-once",
            Delivery::ExactlyOnce => "exactly-once",
        }
    }
}

fn main() -> anyhow::Result<()> {
    let option = |name: &str, default: u64| -> anyhow::Result<u64> {
        let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
        arguments.next().map_or(Ok(default), |value| value.parse().with_context(|| format!("{name} takes a number")))
    };
    let (records, rounds) = (option("--records", 1_000_000)?, option("--rounds", 3)?);
    let bench = Bench::set_up(records)?;
    for delivery in [Delivery::AtLeastOnce, Delivery::ExactlyOnce] {
        let mut table = String::new();
        let (mut ratios, mut bares, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=rounds {
            let bare = bench.run_bare(delivery, round)?;
            let our = bench.run_sluicegate(delivery, round)?;
            ratios.push(our.cpu_us / bare.cpu_us);
            bares.push(bare);
            ours.push(our);
        }
        writeln!(table, "\n{}: {records} records of 200 B, {rounds} rounds", delivery.name())?;
        writeln!(
            table,
            "| contender | CPU µs/record (median, least–most) | records/s | peak memory MiB (median, least–most) |\n|---|---|---|---|"
        )?;
        row(&mut table, "bare rdkafka poll loop, no plugin", &bares)?;
        row(&mut table, "sluicegate, uppercase plugin", &ours)?;
        let ratio = spread(ratios.iter().copied());
        writeln!(table, "ratio of CPU time, within each round: {:.2} ({:.2}–{:.2})", ratio.1, ratio.0, ratio.2)?;
        print!("{table}");
    }
    Ok(())
}

fn row(table: &mut String, name: &str, runs: &[Measured]) -> anyhow::Result<()> {
    let cpu = spread(runs.iter().map(|run| run.cpu_us));
    let (rate, memory) = (spread(runs.iter().map(|run| run.rate)), spread(runs.iter().map(|run| run.memory_mib)));
    let (cpu, rate) = (format!("{:.2} ({:.2}–{:.2})", cpu.1, cpu.0, cpu.2), rate.1);
    let memory = format!("{:.0} ({:.0}–{:.0})", memory.1, memory.0, memory.2);
    writeln!(table, "| {name} | {cpu} | {rate:.0} | {memory} |")?;
    Ok(())
}

/// Least, median and most.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}

impl Bench {
    fn set_up(records: u64) -> anyhow::Result<Self> {
        let kafka = Kafka::start()?;
        let client = Client::connect(&kafka)?;
        let bare = std::env::current_exe()?.with_file_name("bare");
        if !bare.is_file() {
            bail!("{} is missing: cargo build --release -p sluicegate-benches --bins", bare.display());
        }
        client.create_topic(INPUT, PARTITIONS, &[("retention.ms", "-1")])?;
        let loaded = Command::new(&bare).args(["load", &kafka.bootstrap(), INPUT, &records.to_string()]).status()?;
        ensure!(loaded.success(), "loading failed");
        Ok(Bench {
            kafka,
            client,
            bare,
            sluicegate: build::program()?,
            plugin: plugins::plugin("uppercase")?,
            folder: tempfile::tempdir()?,
            records,
        })
    }

    fn run_bare(&self, delivery: Delivery, round: u64) -> anyhow::Result<Measured> {
        let output = format!("bare-{}-{round}", delivery.name());
        let mut command = Command::new(&self.bare);
        command.args([delivery.name(), &self.kafka.bootstrap(), INPUT, &output, &self.records.to_string()]);
        self.measure(command, &output)
    }

    fn run_sluicegate(&self, delivery: Delivery, round: u64) -> anyhow::Result<Measured> {
        let output = format!("ours-{}-{round}", delivery.name());
        let file = self.folder.path().join(format!("{output}.yaml"));
        std::fs::write(&file, self.pipeline(delivery, &output))?;
        let mut command = Command::new(&self.sluicegate);
        command.arg("run").arg(&file);
        self.measure(command, &output)
    }

    fn pipeline(&self, delivery: Delivery, output: &str) -> String {
        let (brokers, delivery, plugin) = (self.kafka.bootstrap(), delivery.name(), self.plugin.display());
        format!(
            "name: {output}\n\
             source: {{ kafka: {{ brokers: '{brokers}', topics: [{INPUT}] }} }}\n\
             stages: [{{ name: uppercase, plugin: '{plugin}' }}]\n\
             sink: {{ kafka: {{ topic: {output}, id-header: false }} }}\n\
             delivery: {delivery}\n\
             workers: 1\n"
        )
    }

    /// Runs the contender until its output is complete.
    fn measure(&self, mut command: Command, output: &str) -> anyhow::Result<Measured> {
        self.client.create_topic(output, PARTITIONS, &[("retention.ms", "-1")])?;
        let log = std::fs::File::create(self.folder.path().join(format!("{output}.log")))?;
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn()?;
        let measured = self.follow(&mut child, output).with_context(|| {
            let log = std::fs::read_to_string(self.folder.path().join(format!("{output}.log"))).unwrap_or_default();
            format!("{output}: {log}")
        });
        // Either way it has to go, for the next one's sake.
        let _ = child.kill();
        child.wait()?;
        measured
    }

    fn follow(&self, child: &mut Child, output: &str) -> anyhow::Result<Measured> {
        let give_up = Instant::now() + LIMIT;
        let mut first: Option<(Instant, f64, u64)> = None;
        while Instant::now() < give_up {
            let count = self.count(output, Isolation::ReadUncommitted)?;
            let cpu = cpu_seconds(child.id())?;
            match first {
                None if count > 0 => first = Some((Instant::now(), cpu, count)),
                Some((start, cpu_before, before)) if count >= self.records => {
                    let (took, records) = (start.elapsed().as_secs_f64(), (count - before) as f64);
                    let memory_mib = peak_memory_mib(child.id())?;
                    self.verify(output)?;
                    return Ok(Measured {
                        cpu_us: (cpu - cpu_before) / records * 1e6,
                        rate: records / took,
                        memory_mib,
                    });
                }
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("not done within {LIMIT:?}")
    }

    /// The number of offsets in the topic: records, and under exactly-once the markers of transactions.
    fn count(&self, topic: &str, isolation: Isolation) -> anyhow::Result<u64> {
        Ok(self.client.end_offsets(topic, isolation)?.values().map(|end| end.cast_unsigned()).sum())
    }

    /// Every value arrived once, upper-cased: compared as a count and a sum over all ids.
    fn verify(&self, output: &str) -> anyhow::Result<()> {
        let give_up = Instant::now() + LIMIT;
        loop {
            let seen = self.client.consume(output, Isolation::ReadCommitted)?;
            if (seen.len() as u64) < self.records && Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(100)); // The last transaction is still open.
                continue;
            }
            ensure!(seen.len() as u64 == self.records, "{} records of {}", seen.len(), self.records);
            let mut ids = 0u64;
            for record in &seen {
                let value = std::str::from_utf8(record.value.as_deref().context("a value")?)?;
                ensure!(value.len() == 200 && value.contains("\"SYMBOL\":\"ACME\""), "not upper-cased: {value}");
                let id = value.strip_prefix("{\"ID\":").and_then(|rest| rest.split(',').next()).context("an id")?;
                ids += id.parse::<u64>()?;
            }
            ensure!(ids == self.records * (self.records - 1) / 2, "some records are missing, others repeated");
            return Ok(());
        }
    }
}

/// User and system time of all of the process's threads so far.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("/proc/…/stat")?.1.split_whitespace().collect();
    ensure!(fields.first() != Some(&"Z"), "the process has ended");
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / TICKS)
}

fn peak_memory_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
