//! Who takes part, and how each is started.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::ours;
use crate::peers::{connect, flink, python, streams};
use crate::workload::Workload;

/// A program that does the work of a workload from one topic to another.
pub struct Contender {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is called in the table.
    pub title: &'static str,
    /// What it can promise.
    pub deliveries: &'static [Delivery],
    /// Which workloads it knows.
    pub works: Works,
    /// The command that does the work, ready to run. What it needs is fetched or built first.
    pub command: fn(&Task<'_>) -> Result<Command>,
}

/// Which workloads a contender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Works {
    /// All of them.
    All,
    /// Those of one output and no headers.
    Plain,
    /// To upper-case values of any size.
    Uppercase,
}

impl Works {
    /// Whether this is one of them.
    pub fn on(self, workload: &Workload) -> bool {
        match self {
            Works::All => true,
            Works::Plain => workload.outputs.is_empty() && !workload.headers,
            Works::Uppercase => workload.plugin == "uppercase",
        }
    }
}

/// What a contender promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Delivery {
    /// Offsets are committed after the outputs.
    AtLeastOnce,
    /// Both are one transaction.
    ExactlyOnce,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Delivery::AtLeastOnce => "at-least-once",
            Delivery::ExactlyOnce => "exactly-once",
        })
    }
}

/// What a contender is to do.
pub struct Task<'a> {
    /// The work.
    pub workload: &'static Workload,
    /// The broker's address.
    pub brokers: String,
    /// The topic to read from its beginning.
    pub input: &'a str,
    /// The topic to write, or the first of several; its name is the group's too.
    pub output: &'a str,
    /// What is promised, and how.
    pub setup: &'a Setup,
    /// How many records there are; most contenders do not ask.
    pub records: u64,
    /// A folder of its own, in which it runs.
    pub folder: &'a Path,
}

/// How all contenders of a comparison are set.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What is promised.
    pub delivery: Delivery,
    /// How often offsets, or a transaction, are committed.
    pub commit: Duration,
    /// Whether all but sluicegate, which has no such settings, are set for latency instead of throughput.
    pub for_latency: bool,
    /// How many workers sluicegate has.
    pub workers: u32,
    /// How many stages sluicegate has, all of them the workload's.
    pub stages: u32,
    /// How many pipelines sluicegate has, each of which does all of the work, into topics of its own.
    pub pipelines: u32,
}

impl Setup {
    /// What each promise is compared by: a commit a second, or a transaction every 100 ms.
    pub fn new(delivery: Delivery) -> Self {
        let commit = match delivery {
            Delivery::AtLeastOnce => Duration::from_secs(1),
            Delivery::ExactlyOnce => Duration::from_millis(100),
        };
        Setup { delivery, commit, for_latency: false, workers: 1, stages: 1, pipelines: 1 }
    }

    /// How long producers gather a batch.
    pub fn linger(&self) -> Duration {
        Duration::from_millis(if self.for_latency { 1 } else { 10 })
    }

    /// The first topic of each pipeline, where that of the first pipeline has this name.
    pub fn outputs(&self, first: &str) -> Vec<String> {
        let others = (2..=self.pipelines).map(|number| format!("{first}-{number}"));
        std::iter::once(first.to_owned()).chain(others).collect()
    }
}

use Delivery::{AtLeastOnce, ExactlyOnce};

/// The contender of this name.
///
/// # Errors
/// None has it.
pub fn named(name: &str) -> Result<&'static Contender> {
    ALL.iter().find(|contender| contender.name == name).with_context(|| format!("{name} takes no part"))
}

/// The yardstick first: every ratio is to it.
pub const ALL: &[Contender] = &[
    Contender {
        name: "bare",
        title: "bare rdkafka poll loop, no plugin",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        works: Works::All,
        command: bare,
    },
    Contender {
        name: "bare-default",
        title: "the same, within librdkafka's default limits",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        works: Works::All,
        command: bare_default,
    },
    Contender {
        name: "batch",
        title: "bare librdkafka loop by batch, no plugin",
        deliveries: &[AtLeastOnce],
        works: Works::Plain,
        command: batch,
    },
    Contender {
        name: "sluicegate",
        title: "**sluicegate**, plugin in Rust",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        works: Works::All,
        command: ours::own,
    },
    Contender {
        name: "sluicegate-c",
        title: "sluicegate, plugin in C",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        works: Works::Uppercase,
        command: ours::c,
    },
    Contender {
        name: "sluicegate-go",
        title: "sluicegate, plugin in Go",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        works: Works::Uppercase,
        command: ours::go,
    },
    Contender {
        name: "sluicegate-js",
        title: "sluicegate, plugin in JavaScript",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        works: Works::Uppercase,
        command: ours::js,
    },
    Contender {
        name: "sluicegate-python",
        title: "sluicegate, plugin in Python",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        works: Works::Uppercase,
        command: ours::python,
    },
    Contender {
        name: "streams",
        title: "Kafka Streams",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        works: Works::Uppercase,
        command: streams::command,
    },
    Contender {
        name: "flink",
        title: "Apache Flink",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        works: Works::Uppercase,
        command: flink::command,
    },
    Contender {
        name: "connect",
        title: "Redpanda Connect, native mapping",
        deliveries: &[AtLeastOnce],
        works: Works::Uppercase,
        command: connect::native,
    },
    Contender {
        name: "connect-wasm",
        title: "Redpanda Connect, Wasm processor",
        deliveries: &[AtLeastOnce],
        works: Works::Uppercase,
        command: connect::wasm,
    },
    Contender {
        name: "python",
        title: "Python loop, confluent-kafka",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        works: Works::Uppercase,
        command: python::command,
    },
];

fn bare(task: &Task<'_>) -> Result<Command> {
    poll_loop("large", task)
}

fn bare_default(task: &Task<'_>) -> Result<Command> {
    poll_loop("default", task)
}

fn poll_loop(limits: &str, task: &Task<'_>) -> Result<Command> {
    let mut command = Command::new(program("bare")?);
    command.args([limits, &task.setup.delivery.to_string()]).args(loop_arguments(task));
    Ok(command)
}

fn batch(task: &Task<'_>) -> Result<Command> {
    let mut command = Command::new(program("batch")?);
    command.args(loop_arguments(task));
    Ok(command)
}

fn loop_arguments(task: &Task<'_>) -> [String; 7] {
    let Task { workload, brokers, input, output, setup, records, .. } = task;
    let [commit, linger] = [setup.commit, setup.linger()].map(|time| time.as_millis().to_string());
    [workload.name.into(), commit, linger, brokers.clone(), (*input).into(), (*output).into(), records.to_string()]
}

/// A program of `bin/`, which stands beside this one.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    ensure!(program.is_file(), "{} is missing: cargo build --release --workspace --bins", program.display());
    Ok(program)
}
