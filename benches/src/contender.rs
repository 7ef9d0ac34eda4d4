//! Who takes part, and how each is started.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use sluicegate_tests::{build, plugins};

use crate::peers::{connect, python, streams};

/// A program that upper-cases the values of one topic into another.
pub struct Contender {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is called in the table.
    pub title: &'static str,
    /// What it can promise.
    pub deliveries: &'static [Delivery],
    /// The command that does the work, ready to run. What it needs is fetched or built first.
    pub command: fn(&Task<'_>) -> Result<Command>,
}

/// What a contender promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The broker's address.
    pub brokers: String,
    /// The topic to read from its beginning.
    pub input: &'a str,
    /// The topic to write; its name is the group's too.
    pub output: &'a str,
    /// What is promised.
    pub delivery: Delivery,
    /// How many records there are; most contenders do not ask.
    pub records: u64,
    /// A folder of its own, in which it runs.
    pub folder: &'a Path,
}

use Delivery::{AtLeastOnce, ExactlyOnce};

/// The yardstick first: every ratio is to it.
pub const ALL: &[Contender] = &[
    Contender {
        name: "bare",
        title: "bare rdkafka poll loop, no plugin",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        command: bare,
    },
    Contender {
        name: "sluicegate",
        title: "**sluicegate**, plugin in Rust",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        command: sluicegate,
    },
    Contender {
        name: "streams",
        title: "Kafka Streams",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        command: streams::command,
    },
    Contender {
        name: "connect",
        title: "Redpanda Connect, native mapping",
        deliveries: &[AtLeastOnce],
        command: connect::native,
    },
    Contender {
        name: "connect-wasm",
        title: "Redpanda Connect, Wasm processor",
        deliveries: &[AtLeastOnce],
        command: connect::wasm,
    },
    Contender {
        name: "python",
        title: "Python loop, confluent-kafka",
        deliveries: &[AtLeastOnce, ExactlyOnce],
        command: python::command,
    },
];

fn bare(task: &Task<'_>) -> Result<Command> {
    let Task { brokers, input, output, delivery, records, .. } = task;
    let mut command = Command::new(program("bare")?);
    command.args([&delivery.to_string(), brokers, *input, *output, &records.to_string()]);
    Ok(command)
}

/// A program of `bin/`, which stands beside this one.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    ensure!(program.is_file(), "{} is missing: cargo build --release --workspace --bins", program.display());
    Ok(program)
}

fn sluicegate(task: &Task<'_>) -> Result<Command> {
    let Task { brokers, input, output, delivery, folder, .. } = task;
    let plugin = plugins::plugin("uppercase")?;
    let file = folder.join("pipeline.yaml");
    let pipeline = format!(
        "name: {output}\n\
         source: {{ kafka: {{ brokers: '{brokers}', topics: [{input}] }} }}\n\
         stages: [{{ name: uppercase, plugin: '{}' }}]\n\
         sink: {{ kafka: {{ topic: {output}, id-header: false }} }}\n\
         delivery: {delivery}\n\
         workers: 1\n",
        plugin.display()
    );
    std::fs::write(&file, pipeline)?;
    let mut command = Command::new(build::program()?);
    command.arg("run").arg(&file);
    Ok(command)
}
