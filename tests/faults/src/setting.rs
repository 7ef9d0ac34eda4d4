//! Under what a fault strikes: the promise, the workers, the group's protocol.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use sluicegate_tests::languages::conformance;
use sluicegate_tests::plugins::plugin;

/// Records after which a worker commits.
pub const COMMIT_RECORDS: usize = 100;
/// The most records of a batch.
pub const BATCH_RECORDS: usize = 64;
/// The header that carries each output's id.
pub const ID: &str = "sluicegate-id";
/// Longer than a machine that runs a cluster beside a fault may leave a worker without a processor: no fault is about it. Half of
/// the shortest `transaction.timeout.ms` of a fault: more is refused.
const DEADLINE: &str = "2s";

/// The promise of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Delivery {
    /// Offsets follow acknowledged outputs.
    AtLeastOnce,
    /// Outputs and offsets are one transaction.
    ExactlyOnce,
}

/// How a group shares its partitions out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Protocol {
    /// The classic protocol, all partitions given up at each rebalance.
    Range,
    /// The classic protocol, only moving partitions given up.
    CooperativeSticky,
    /// The new protocol (KIP-848): the broker decides.
    Consumer,
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    /// The promise.
    pub delivery: Delivery,
    /// How many workers each process has.
    pub workers: usize,
    /// The group's protocol.
    pub protocol: Protocol,
}

/// What a fault needs of the pipeline file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Without a heartbeat for so long a member is taken for dead.
    pub session_ms: u64,
    /// A transaction that is open for so long is aborted.
    pub transaction_ms: u64,
    /// A further key of the source, with its value.
    pub source: &'static str,
}

impl Tuning {
    /// Short time-outs, so that a dead member is missed soon.
    pub const USUAL: Self = Self { session_ms: 3_000, transaction_ms: 10_000, source: "" };
    /// A transaction is aborted while its process is still taken for alive.
    pub const TRANSACTION_FIRST: Self = Self { session_ms: 20_000, transaction_ms: 4_000, ..Self::USUAL };
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AtLeastOnce => "at-least-once",
            Self::ExactlyOnce => "exactly-once",
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Range => "range",
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Consumer => "consumer",
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivery, workers, protocol } = self;
        write!(f, "{delivery}, {workers} workers, {protocol}")
    }
}

impl Setting {
    /// The pipeline file of a run: upper-cases values and then does what each record asks for, with many small commits. Each
    /// process names itself by the variable `FAULTS_PROCESS`.
    pub fn pipeline(&self, name: &str, brokers: &str, tuning: Tuning) -> Result<String> {
        let Self { delivery, workers, protocol } = self;
        let Tuning { session_ms, transaction_ms, source: further } = tuning;
        let protocol = match protocol {
            Protocol::Consumer => "group.protocol: consumer".to_owned(),
            classic => format!(
                "partition.assignment.strategy: {classic}, session.timeout.ms: {session_ms}, heartbeat.interval.ms: 500"
            ),
        };
        let transaction = match delivery {
            Delivery::ExactlyOnce => format!(", transaction.timeout.ms: {transaction_ms}"),
            Delivery::AtLeastOnce => String::new(),
        };
        let [uppercase, asked] = plugins()?;
        let (uppercase, asked) = (uppercase.display(), asked.display());
        let (source, output, aside, dead) = (source(name), output(name), aside(name), dead(name));
        Ok(format!(
            "
name: {name}
source:
  kafka:
    brokers: '{brokers}'
    topics: [{source}]
    start: earliest
    {further}
    properties: {{ client.id: '${{FAULTS_PROCESS}}', topic.metadata.refresh.interval.ms: 1000, {protocol} }}
stages:
  - plugin: {uppercase}
    limits: {{ deadline: {DEADLINE} }}
  - plugin: {asked}
    limits: {{ deadline: {DEADLINE} }}
sink:
  kafka:
    topic: {output}
    outputs: {{ aside: {aside} }}
    partition: same
    id-header: {ID}
    properties: {{ client.id: '${{FAULTS_PROCESS}}'{transaction} }}
dead-letter: {{ topic: {dead} }}
delivery: {delivery}
commit: {{ interval: 20ms, records: {COMMIT_RECORDS} }}
batch: {{ records: {BATCH_RECORDS}, bytes: 8KiB }}
workers: {workers}
"
        ))
    }
}

/// The source topic of the run of this name.
pub fn source(run: &str) -> String {
    format!("{run}.in")
}

/// The topic that most outputs of the run of this name go to.
pub fn output(run: &str) -> String {
    format!("{run}.out")
}

/// The topic that its plugin routes some to.
pub fn aside(run: &str) -> String {
    format!("{run}.aside")
}

/// The topic of its dead letters.
pub fn dead(run: &str) -> String {
    format!("{run}.dead")
}

/// All topics that it writes.
pub fn sinks(run: &str) -> [String; 3] {
    [output(run), aside(run), dead(run)]
}

/// The plugins that all runs have, in their order; built on the first call.
pub fn plugins() -> Result<[PathBuf; 2]> {
    Ok([plugin("uppercase")?, conformance("rust")?])
}
