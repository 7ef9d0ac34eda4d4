//! What a plugin may call, and what a store remembers between calls.

pub(crate) mod clock;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod seed;
pub(crate) mod stderr;
pub(crate) mod wasi;

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::Partition;
use wasmtime::component::{HasSelf, Linker};

use crate::allow::Allow;
use crate::bindings::common::sluicegate::plugin as contract;
use crate::instance::InstanceLimits;
use limits::Limits;
use log::{Labels, LogWindow, Logger};
use metrics::{Counters, PluginCounters};
use wasi::Shell;

/// What an instance has of its own, beside its limits.
#[derive(Default)]
pub(crate) struct Setting {
    pub(crate) labels: Arc<Labels>,
    pub(crate) log: Arc<LogWindow>,
    pub(crate) counters: Arc<PluginCounters>,
    pub(crate) allow: Allow,
    pub(crate) seed: u64,
}

/// The data of one store.
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) log: Logger,
    pub(crate) counters: Counters,
    pub(crate) shell: Shell,
    /// See [`seed::of_stage`].
    pub(crate) seed: u64,
}

impl State {
    pub(crate) fn new(limits: &InstanceLimits, setting: Setting) -> Self {
        State {
            limits: Limits::new(limits.memory_bytes),
            log: Logger::new(setting.labels, setting.log, limits.log_lines_per_second),
            counters: Counters::new(setting.counters),
            shell: Shell::new(limits.start_time(), setting.allow),
            seed: setting.seed,
        }
    }

    /// Begins a call: its log lines belong to this partition, it waits no longer than its deadline, and what went wrong
    /// before no longer explains anything.
    pub(crate) fn begin(&mut self, partition: &Partition, deadline: Duration) {
        self.log.begin(partition);
        self.shell.wait_max = deadline;
        self.limits.refusal = None;
    }

    /// Writes into the log what the plugin wrote to standard error.
    pub(crate) fn log_stderr(&mut self) {
        if let Some(line) = self.shell.stderr.take() {
            self.log.line(tracing::Level::WARN, &line);
        }
    }
}

/// Links everything that [`crate::Artifact::read`] lets through.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    contract::log::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    contract::metrics::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    contract::seed::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    clock::link(linker)?;
    wasi::link(linker)
}
