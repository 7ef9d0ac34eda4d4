use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::{
    Batch, Error, ErrorKind, Failure, FailureKind, Identity, Outcomes, OutputLimits, SinkLimits, TURN_MAX, Transform,
};

use crate::allow::Allow;
use crate::artifact::Interface;
use crate::failure::{classify, classify_start};
use crate::guest::{self, Broken, START_TIME_MIN};
use crate::host::log::{Labels, LogWindow};
use crate::host::metrics::PluginCounters;
use crate::host::{Setting, seed};
use crate::plugin::{Linked, Plugin};
use crate::redpanda;
use crate::words::clean;

/// How much of what `configure` says against a configuration is told, in bytes.
const OBJECTION_BYTES_MAX: usize = 4 << 10;

/// The bounds on one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceLimits {
    /// `limits.memory`: all linear memories together, in bytes.
    pub memory_bytes: usize,
    /// `limits.deadline`: bounds each call. Starting an instance and configuring it get a second each, or this if it
    /// is longer. Kept to a grain of 10 ms: a call has at least this and at most some 20 ms more.
    pub deadline: Duration,
    /// What one record may become. Bounds what is lifted; the exact check is the stage's.
    pub output: OutputLimits,
    /// Lines in the log, of all instances that share a [`LogWindow`]; more are counted, not written.
    pub log_lines_per_second: u32,
}

impl InstanceLimits {
    /// How long starting an instance may take, and configuring it.
    pub(crate) fn start_time(&self) -> Duration {
        self.deadline.max(START_TIME_MIN)
    }
}

impl Default for InstanceLimits {
    fn default() -> Self {
        InstanceLimits {
            memory_bytes: 64 << 20,
            deadline: Duration::from_millis(100),
            output: OutputLimits {
                outputs_per_record: 1000,
                bytes_per_record: 4 << 20,
                sink: SinkLimits { bytes: 1 << 20, ..SinkLimits::NONE },
            },
            log_lines_per_second: 100,
        }
    }
}

/// A plugin's place in a pipeline: what its instances on all workers have in common.
#[derive(Clone, Debug)]
pub struct InstanceSpec {
    /// The pipeline's name, for the log and the seed.
    pub pipeline: String,
    /// The stage's name, for the log and the seed.
    pub stage: String,
    /// The stage's configuration, a JSON object.
    pub config: String,
    /// The names of the pipeline's outputs, in the order of their indices.
    pub outputs: Vec<String>,
    /// The topics that have no name of their own in a pipeline.
    pub topics: Topics,
    /// The bounds on each instance.
    pub limits: InstanceLimits,
    /// What each instance sees of time and chance.
    pub allow: Allow,
    /// The stage's counters.
    pub counters: Arc<PluginCounters>,
    /// What the stage's lines in the log are limited by.
    pub log: Arc<LogWindow>,
    /// Its role beside the stage's own plugin, for the log; none: it is the stage's own.
    pub role: Option<&'static str>,
}

/// The topics that plugins made for other systems ask for by name. Ours see a record's topic in the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    /// Where records come from, if that is one topic.
    pub input: Option<String>,
    /// Where the default output goes, if that is known.
    pub output: Option<String>,
}

/// One live plugin; belongs to one worker's thread.
pub struct Instance {
    plugin: Plugin,
    spec: Arc<InstanceSpec>,
    labels: Arc<Labels>,
    seed: u64,
    identity: Identity,
    /// None after a failure, until renewed.
    guest: Option<Live>,
}

/// What runs.
enum Live {
    Component(guest::Guest),
    Redpanda(redpanda::Guest),
}

impl Live {
    fn process(self, batch: &Batch, limits: &InstanceLimits) -> Result<(Live, Outcomes), Broken> {
        match self {
            Live::Component(guest) => {
                guest.process(batch, limits).map(|(guest, outcomes)| (Live::Component(guest), outcomes))
            }
            Live::Redpanda(guest) => {
                guest.process(batch, limits).map(|(guest, outcomes)| (Live::Redpanda(guest), outcomes))
            }
        }
    }
}

impl Instance {
    /// Starts and configures an instance. Takes well under a millisecond for a compiled language. Must not be called
    /// from a tokio task: a plugin that waits would block there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: the plugin objects to its configuration, or does not survive it. [`ErrorKind::Retry`]: it is
    /// not ready in time, and has been before.
    pub fn new(plugin: &Plugin, spec: &Arc<InstanceSpec>) -> Result<Instance, Error> {
        let description = plugin.description();
        let labels = Labels {
            pipeline: spec.pipeline.clone(),
            stage: spec.stage.clone(),
            plugin: description.name.clone(),
            version: description.version.clone(),
            role: spec.role,
        };
        let identity = Identity {
            name: description.name.clone(),
            version: description.version.clone(),
            digest: plugin.artifact().digest.clone(),
        };
        let mut instance = Instance {
            plugin: plugin.clone(),
            spec: Arc::clone(spec),
            labels: Arc::new(labels),
            seed: seed::of_stage(&spec.pipeline, &spec.stage),
            identity,
            guest: None,
        };
        instance.renew()?;
        Ok(instance)
    }

    fn start(&self) -> Result<Live, Error> {
        let live = match self.plugin.linked() {
            Linked::Component(linked) => self.start_component(linked),
            Linked::Redpanda(linked) => self.start_redpanda(linked),
        }?;
        self.plugin.note_start();
        Ok(live)
    }

    fn start_component(&self, linked: &guest::Linked) -> Result<Live, Error> {
        let InstanceSpec { config, outputs, limits, .. } = &*self.spec;
        let mut guest = guest::Guest::start(linked, limits, self.setting()).map_err(|why| self.no_start(why))?;
        let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
        match guest.configure(config, &names) {
            Ok(Ok(())) => Ok(Live::Component(guest)),
            Ok(Err(objection)) => Err(self.refusal(&objection)),
            Err(error) => Err(self.failed_start("fails on its config", guest.break_with(error))),
        }
    }

    fn start_redpanda(&self, linked: &redpanda::Linked) -> Result<Live, Error> {
        let world = redpanda::World::of(&self.spec, &self.identity.name).map_err(|why| self.refusal(&why))?;
        let guest = redpanda::Guest::start(linked, &self.spec.limits, self.setting(), world);
        guest.map(Live::Redpanda).map_err(|why| self.no_start(why))
    }

    fn setting(&self) -> Setting {
        Setting {
            labels: Arc::clone(&self.labels),
            log: Arc::clone(&self.spec.log),
            counters: Arc::clone(&self.spec.counters),
            allow: self.spec.allow,
            seed: self.seed,
        }
    }

    fn refusal(&self, objection: &str) -> Error {
        self.error(ErrorKind::Config, "refuses its config", &clean(objection, OBJECTION_BYTES_MAX))
    }

    fn no_start(&self, broken: Broken) -> Error {
        self.failed_start("does not start", broken)
    }

    fn failed_start(&self, how: &str, Broken { error, mut state }: Broken) -> Error {
        let failure = classify_start(&error, &mut state, &self.spec.limits);
        let kind = match failure.kind {
            // What was done in time before is late now because the machine is busy.
            FailureKind::Deadline if self.plugin.ever_started() => ErrorKind::Retry,
            _ => ErrorKind::Config,
        };
        self.error(kind, how, &failure.to_string())
    }

    fn error(&self, kind: ErrorKind, how: &str, why: &str) -> Error {
        let Identity { name, version, .. } = &self.identity;
        Error::new(kind, format!("plugin {name} {version} {how}: {why}"))
    }
}

impl Transform for Instance {
    fn process(&mut self, batch: &Batch, outcomes: &mut Outcomes) -> Result<(), Failure> {
        let Some(guest) = self.guest.take() else {
            return Err(Failure::new(FailureKind::Trap, "the instance has failed before and was not renewed"));
        };
        match guest.process(batch, &self.spec.limits) {
            Ok((guest, lifted)) => {
                *outcomes = lifted;
                self.guest = Some(guest);
                Ok(())
            }
            Err(Broken { error, mut state }) => Err(classify(&error, &mut state, &self.spec.limits)),
        }
    }

    /// Where each record is a call of its own, and may take the deadline, as many as may go into a turn.
    fn rows_max(&self) -> usize {
        match self.plugin.artifact().interface {
            Interface::Transform => {
                let calls = TURN_MAX.as_nanos() / self.spec.limits.deadline.as_nanos().max(1);
                usize::try_from(calls).unwrap_or(usize::MAX).max(1)
            }
            Interface::BatchTransform | Interface::Redpanda => usize::MAX,
        }
    }

    fn renew(&mut self) -> Result<(), Error> {
        // The old one's memory first: two at a time would be twice the limit.
        self.guest = None;
        self.guest = Some(self.start()?);
        Ok(())
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Giving a guest's memory back to the operating system takes longer than starting another.
    fn retire(self: Box<Self>) {
        let drop_it = move || drop(self);
        if let Err(error) = std::thread::Builder::new().name("retire".into()).spawn(drop_it) {
            tracing::debug!("no thread to give up an instance on: {error}; it was given up here");
        }
    }
}
