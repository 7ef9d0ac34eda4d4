//! The path from columns to columns alone: a plugin, and batches to call it with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use sluicegate_core::{Batch, Outcomes, Transform as _};
use sluicegate_tests::plugins;
use sluicegate_wasm::{
    Allow, Engine, EngineSettings, Instance, InstanceLimits, InstanceSpec, LoadOptions, Plugin, Topics,
};

/// How many records a batch has.
pub const RECORDS: u64 = 512;

/// What is called.
pub struct Call {
    /// What it does with every record.
    pub name: &'static str,
    plugin: fn() -> Result<PathBuf>,
    config: &'static str,
    outcome: i32,
}

/// All records are passed on; all are rewritten; and all are copied by a transform for Redpanda, as it cannot but write
/// what it passes on.
pub const CALLS: [Call; 3] = [
    Call {
        name: "pass",
        plugin: || plugins::plugin("filter"),
        config: r#"{"keep":{"key":true,"exists":true}}"#,
        outcome: -1,
    },
    Call { name: "rewrite", plugin: || plugins::plugin("uppercase"), config: "{}", outcome: 1 },
    Call { name: "redpanda", plugin: plugins::transform, config: "{}", outcome: 1 },
];

impl Call {
    /// A live plugin, which was called once and did what it should.
    ///
    /// # Errors
    /// It cannot be built, does not start, or does something else.
    pub fn instance(&self) -> Result<Instance> {
        let engine = Engine::new(&EngineSettings::default())?;
        let plugin = Plugin::open(&engine, &(self.plugin)()?, &LoadOptions::default())?;
        let spec = InstanceSpec {
            pipeline: "bench".into(),
            stage: "bench".into(),
            config: self.config.into(),
            outputs: Vec::new(),
            topics: Topics::default(),
            limits: InstanceLimits { deadline: Duration::from_secs(10), ..InstanceLimits::default() },
            allow: Allow::default(),
            counters: Arc::default(),
        };
        let mut instance = Instance::new(&plugin, &Arc::new(spec)).context("the plugin starts")?;
        let mut outcomes = Outcomes::default();
        instance.process(&batch(), &mut outcomes).map_err(|failure| anyhow!("{failure}"))?;
        let as_expected = outcomes.outcomes.iter().all(|outcome| *outcome == self.outcome);
        ensure!(as_expected, "{}: {:?}", self.name, outcomes.outcomes);
        Ok(instance)
    }
}

/// Trades of 200 bytes, keyed.
pub fn batch() -> Batch {
    let mut batch = Batch::default();
    for offset in 0..RECORDS {
        let mut value = format!(r#"{{"id":{offset},"symbol":"acme","note":""#);
        value.extend(std::iter::repeat_n('x', 198usize.saturating_sub(value.len())));
        value.push_str(r#""}"#);
        batch.push(offset, 1_700_000_000_000, Some(format!("key-{offset}").as_bytes()), Some(value.as_bytes()));
    }
    batch
}
