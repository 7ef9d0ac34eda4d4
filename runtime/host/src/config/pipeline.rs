//! A pipeline as its file describes it.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sluicegate_core::{Action, CommitEvery, FailureKind, Policy, Rule};

use super::admin::Admin;
use super::endpoint::{Sink, Source};
use super::error::nearest;
use super::origin::Origin;
use super::quantity::{Digest, Size, Time};
use super::secret::PluginConfig;
use super::trust::Trust;
use crate::registry::PluginRef;

/// A pipeline: records of a source go through the stages, one after the other, to a sink.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pipeline {
    /// The pipeline's name, in metrics, logs, dead letters and ids of outputs.
    pub name: String,
    /// Where records come from.
    pub source: Source,
    /// The plugins that each record goes through, in order; [] copies records as they are.
    pub stages: Vec<Stage>,
    /// Where outputs go.
    pub sink: Sink,
    /// Where records go that a stage failed on.
    pub dead_letter: Option<DeadLetter>,
    /// The promise.
    #[serde(default)]
    pub delivery: Delivery,
    /// When to commit.
    #[serde(default)]
    pub commit: Commit,
    /// How many records a plugin is called with at once, at most.
    #[serde(default)]
    pub batch: BatchLimits,
    /// How many threads; by default one a core.
    #[serde(default)]
    #[schemars(range(min = 1, max = 256))]
    pub workers: u32,
    /// Whether nothing was said of their number.
    #[serde(skip)]
    pub(crate) workers_by_cores: bool,
    /// Bytes in flight, per worker; the source is paused beyond it.
    #[serde(default = "budget")]
    pub budget: Size,
    /// The endpoint for status, metrics and commands; none without it.
    pub admin: Option<Admin>,
    /// Which plugins are loaded; all, unless said.
    pub trust: Option<Trust>,
}

impl Pipeline {
    /// Whether a worker of the other can go on as one of this: the same member of the same group, with the same producer.
    pub(crate) fn keeps_members_of(&self, other: &Pipeline) -> bool {
        let connections = |of: &Pipeline| (of.delivery, of.batch, of.workers, of.dead_letter.clone());
        self.name == other.name
            && self.source == other.source
            && self.sink == other.sink
            && connections(self) == connections(other)
    }
}

/// A plugin's place in a pipeline.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Stage {
    /// The stage's name, in metrics, logs and dead letters; by default the plugin's file name without .wasm, or the last part of its repository.
    #[serde(default)]
    pub name: String,
    /// Where the plugin is: a path, which starts at the configuration file, https://… (with 'digest:') or oci://….
    pub plugin: PluginRef,
    /// Refuses the plugin if its bytes are not these.
    pub digest: Option<Digest>,
    /// What to do when the plugin's file changes, or its tag in an OCI registry leads to another.
    #[serde(default)]
    pub reload: Reload,
    /// How often a tag in an OCI registry is looked up.
    #[serde(default = "reload_interval")]
    pub reload_interval: Time,
    /// Whether the plugin's OCI registry may be asked without TLS, though it is not on this machine.
    #[serde(default)]
    pub plain_http: bool,
    /// What the plugin is configured with; the plugin says what it takes.
    #[serde(default)]
    pub config: PluginConfig,
    /// What the plugin may use up.
    #[serde(default)]
    pub limits: Limits,
    /// What the plugin sees of the machine; nothing by default, so that the same record gives the same outputs again.
    #[serde(default)]
    pub allow: Vec<Capability>,
    /// What becomes of a record that the plugin fails on.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Where the stage stands in its file.
    #[serde(skip)]
    pub origin: Origin,
}

/// What to do when a plugin's file changes while its pipeline runs.
///
/// The changed file is what the next start would run in any case, whenever that comes: taken up at once it is checked
/// beside the version that runs, which stays or comes back if it is no good. Whoever wants neither pins the plugin by its
/// digest: a pinned one is never exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reload {
    /// The new version takes over, once it is compiled and configured; if it cannot be, the old one stays.
    #[default]
    Watch,
    /// Nothing before the next start.
    Off,
}

/// Something of the machine that a plugin sees only where it is allowed. Logs, counters and a seed need no permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// The machine's clocks, instead of clocks that stand.
    Clock,
    /// The machine's random numbers, instead of a byte that never changes.
    Random,
}

impl<'de> Deserialize<'de> for Capability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.as_str() {
            "clock" => Ok(Capability::Clock),
            "random" => Ok(Capability::Random),
            "log" | "metrics" | "seed" => Err(D::Error::custom(format!("'{name}' needs no permission; leave it out"))),
            _ => Err(D::Error::custom(format!("unknown capability '{name}'{}", nearest(&name, &["clock", "random"])))),
        }
    }
}

impl From<Capability> for sluicegate_wasm::Capability {
    fn from(capability: Capability) -> Self {
        match capability {
            Capability::Clock => sluicegate_wasm::Capability::Clock,
            Capability::Random => sluicegate_wasm::Capability::Random,
        }
    }
}

/// What a plugin may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Memory of one instance: 1MiB to 4GiB.
    pub memory: Size,
    /// Time of one call: 1ms to 60s.
    pub deadline: Time,
    /// Outputs made of one record.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub outputs_per_record: u32,
    /// Bytes of all outputs made of one record.
    pub output_bytes_per_record: Size,
    /// Size of the plugin's file: 128MiB at most.
    pub file_size: Size,
    /// Time of compiling it, once a machine: 1s to 10m.
    pub compile_time: Time,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: Size::mib(64),
            deadline: Time::ms(100),
            outputs_per_record: 1000,
            output_bytes_per_record: Size::mib(4),
            file_size: Size::mib(32),
            compile_time: Time::ms(60_000),
        }
    }
}

/// What becomes of a record that a plugin fails on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OnFailure {
    /// How often the record is tried again. A rejection is the plugin's own answer and is never tried again.
    #[schemars(range(max = 1000))]
    pub retries: u32,
    /// The pause before the first retry; each later one is twice as long, a minute at most.
    pub backoff: Time,
    /// What follows; by default dead-letter where the pipeline has a dead-letter topic, else stop.
    pub then: Option<Then>,
    /// After this many records in a row that made the plugin fail (rejections do not count), the stage's breaker trips:
    /// nothing of them is passed over, and the pipeline pauses before it tries again.
    #[schemars(range(min = 1))]
    pub breaker: u32,
    /// Exceptions for single kinds of failure.
    pub kinds: Kinds,
}

impl Default for OnFailure {
    fn default() -> Self {
        OnFailure { retries: 0, backoff: Time::ms(100), then: None, breaker: 100, kinds: Kinds::default() }
    }
}

/// Exceptions for single kinds of failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kinds {
    /// The plugin refused the record.
    pub rejected: Option<Exception>,
    /// The plugin crashed.
    pub trap: Option<Exception>,
    /// The call took longer than the deadline.
    pub deadline: Option<Exception>,
    /// The plugin asked for more memory than it may use.
    pub memory: Option<Exception>,
    /// The plugin's answer contradicts itself.
    pub malformed: Option<Exception>,
    /// The plugin made more outputs or bytes of the record than it may.
    pub too_much_output: Option<Exception>,
}

impl Kinds {
    /// Each kind, and what is said of it.
    pub fn iter(&self) -> impl Iterator<Item = (FailureKind, &Exception)> {
        let all = [
            (FailureKind::Rejected, &self.rejected),
            (FailureKind::Trap, &self.trap),
            (FailureKind::Deadline, &self.deadline),
            (FailureKind::Memory, &self.memory),
            (FailureKind::Malformed, &self.malformed),
            (FailureKind::TooMuchOutput, &self.too_much_output),
        ];
        all.into_iter().filter_map(|(kind, exception)| Some((kind, exception.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Exception> {
        let Kinds { rejected, trap, deadline, memory, malformed, too_much_output } = self;
        [rejected, trap, deadline, memory, malformed, too_much_output].into_iter().flatten()
    }
}

/// Replaces what is said for all kinds; what is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Exception {
    /// How often the record is tried again.
    #[schemars(range(max = 1000))]
    pub retries: Option<u32>,
    /// The pause before the first retry.
    pub backoff: Option<Time>,
    /// What follows.
    pub then: Option<Then>,
}

/// What becomes of a record that failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// The record goes to the dead-letter topic, with its story in headers.
    DeadLetter,
    /// Nothing is produced, and the record counts as done.
    Skip,
    /// The pipeline stops before the record.
    Stop,
}

impl From<Then> for Action {
    fn from(then: Then) -> Self {
        match then {
            Then::DeadLetter => Action::DeadLetter,
            Then::Skip => Action::Skip,
            Then::Stop => Action::Stop,
        }
    }
}

impl OnFailure {
    /// The policy of the stage, in a pipeline that has a dead-letter topic or not.
    pub fn policy(&self, has_dead_letter: bool) -> Policy {
        let default = if has_dead_letter { Then::DeadLetter } else { Then::Stop };
        let then = self.then.unwrap_or(default);
        let rule = Rule { retries: self.retries, backoff: self.backoff.0, then: then.into() };
        self.kinds.iter().fold(Policy::uniform(rule), |policy, (kind, exception)| {
            let rule = Rule {
                retries: exception.retries.unwrap_or(rule.retries),
                backoff: exception.backoff.map_or(rule.backoff, |time| time.0),
                then: exception.then.map_or(rule.then, Action::from),
            };
            policy.with(kind, rule)
        })
    }
}

/// Where records go that a stage failed on: a topic of the sink.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeadLetter {
    /// The topic.
    pub topic: String,
}

/// The promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Outputs, dead letters and offsets are one transaction.
    #[default]
    ExactlyOnce,
    /// Offsets follow acknowledged outputs; repeats only after a fault.
    AtLeastOnce,
}

impl From<Delivery> for sluicegate_core::Delivery {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::ExactlyOnce => sluicegate_core::Delivery::ExactlyOnce,
            Delivery::AtLeastOnce => sluicegate_core::Delivery::AtLeastOnce,
        }
    }
}

/// When to commit: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Commit {
    /// After this time: 1ms to 30s.
    pub interval: Time,
    /// After this many records; any number without it.
    #[schemars(range(min = 1))]
    pub records: Option<u64>,
    /// After this many bytes; any number without it.
    pub bytes: Option<Size>,
}

impl Default for Commit {
    fn default() -> Self {
        Commit { interval: Time::ms(100), records: None, bytes: None }
    }
}

impl From<Commit> for CommitEvery {
    fn from(commit: Commit) -> Self {
        CommitEvery {
            interval: commit.interval.0,
            records: commit.records.map_or(usize::MAX, |records| Size(records).bytes()),
            bytes: commit.bytes.map_or(usize::MAX, Size::bytes),
        }
    }
}

/// How much a plugin is called with at once, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BatchLimits {
    /// Records.
    #[schemars(range(min = 1, max = 65536))]
    pub records: u32,
    /// Bytes of keys, values and headers.
    pub bytes: Size,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { records: 512, bytes: Size::mib(1) }
    }
}

pub(super) fn reload_interval() -> Time {
    Time::ms(60_000)
}

pub(super) fn budget() -> Size {
    Size::mib(64)
}
