//! The path from columns to columns alone: a plugin, and batches to call it with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use sluicegate_core::{Batch, Outcomes, Transform as _};
use sluicegate_tests::plugins;
use sluicegate_wasm::{
    Allow, Engine, EngineSettings, Instance, InstanceLimits, InstanceSpec, LoadOptions, Plugin, Topics,
};

/// An interpreter takes its time.
const COMPILE_WITHIN: Duration = Duration::from_secs(600);

/// How many records a batch has.
pub const RECORDS: u64 = 512;

/// What is called.
pub struct Call {
    /// What it does with every record.
    pub name: &'static str,
    plugin: fn() -> Result<PathBuf>,
    config: &'static str,
    outcome: i32,
    value: fn(u64) -> String,
}

/// All records are passed on; all are rewritten; and what the ready-made plugins do.
pub const CALLS: [Call; 9] = [
    Call {
        name: "pass",
        plugin: || plugins::plugin("filter"),
        config: r#"{"keep":{"key":true,"exists":true}}"#,
        outcome: -1,
        value: trade,
    },
    Call { name: "rewrite", plugin: || plugins::plugin("uppercase"), config: "{}", outcome: 1, value: trade },
    Call {
        name: "regex",
        plugin: || plugins::plugin("regex"),
        config: r#"{"pattern":"^(..)(.*)$","field":"symbol","replace":"$2-$1"}"#,
        outcome: 1,
        value: trade,
    },
    Call {
        name: "jq",
        plugin: || plugins::plugin("jq"),
        config: r#"{"program":"{id, symbol: (.symbol | ascii_upcase)}"}"#,
        outcome: 1,
        value: trade,
    },
    Call {
        name: "csv-to-json",
        plugin: || plugins::plugin("csv-to-json"),
        config: r#"{"columns":["id","symbol","note"],"types":{"id":"number"}}"#,
        outcome: 1,
        value: row,
    },
    Call {
        name: "mask",
        plugin: || plugins::plugin("mask"),
        config: r#"{"fields":[{"path":"symbol","keep-last":2}]}"#,
        outcome: 1,
        value: trade,
    },
    Call {
        name: "mask-hash",
        plugin: || plugins::plugin("mask"),
        config: r#"{"salt":"pepper","fields":[{"path":"symbol","hash":true}]}"#,
        outcome: 1,
        value: trade,
    },
    Call {
        name: "enrich",
        plugin: || plugins::plugin("enrich"),
        config: r#"{"table":{"csv":"symbol,name\nacme,Acme"},"match":"symbol","field":"symbol"}"#,
        outcome: 1,
        value: trade,
    },
    // A transform for Redpanda, which cannot but write what it passes on.
    Call { name: "redpanda", plugin: plugins::transform, config: "{}", outcome: 1, value: trade },
];

impl Call {
    /// A live plugin, which was called once and did what it should.
    ///
    /// # Errors
    /// It cannot be built, does not start, or does something else.
    pub fn instance(&self) -> Result<Instance> {
        self.instance_on(&Engine::new(&EngineSettings::default())?)
    }

    /// The same on an engine that keeps what it compiles.
    ///
    /// # Errors
    /// It cannot be built, does not start, or does something else.
    pub fn instance_on(&self, engine: &Engine) -> Result<Instance> {
        let mut instance = start(&open(engine, &(self.plugin)()?)?, self.config)?;
        let mut outcomes = Outcomes::default();
        instance.process(&self.batch(), &mut outcomes).map_err(|failure| anyhow!("{failure}"))?;
        let as_expected = outcomes.outcomes.iter().all(|outcome| *outcome == self.outcome);
        ensure!(as_expected, "{}: {:?}", self.name, outcomes.outcomes);
        Ok(instance)
    }

    /// What it is called with: values of 200 bytes, keyed.
    pub fn batch(&self) -> Batch {
        batch_of(self.value)
    }
}

/// A plugin, compiled; an interpreter may take its time.
///
/// # Errors
/// The file is no plugin.
pub fn open(engine: &Engine, file: &Path) -> Result<Plugin> {
    let options = LoadOptions { compile_time_max: COMPILE_WITHIN, ..LoadOptions::default() };
    Ok(Plugin::open(engine, file, &options)?)
}

/// A live plugin with this configuration.
///
/// # Errors
/// It does not start.
pub fn start(plugin: &Plugin, config: &str) -> Result<Instance> {
    let spec = InstanceSpec {
        pipeline: "bench".into(),
        stage: "bench".into(),
        config: config.into(),
        outputs: Vec::new(),
        topics: Topics::default(),
        limits: InstanceLimits {
            // A plugin in Python keeps the bytes of its outputs until its instance is replaced, which nothing here does.
            memory_bytes: 1 << 30,
            deadline: Duration::from_secs(10),
            ..InstanceLimits::default()
        },
        allow: Allow::default(),
        counters: Arc::default(),
        log: Arc::default(),
        role: None,
    };
    Instance::new(plugin, &Arc::new(spec)).context("the plugin starts")
}

/// Trades of 200 bytes, keyed.
pub fn batch() -> Batch {
    batch_of(trade)
}

fn batch_of(value: fn(u64) -> String) -> Batch {
    let mut batch = Batch::default();
    for offset in 0..RECORDS {
        let (key, value) = (format!("key-{offset}"), value(offset));
        batch.push(offset, 1_700_000_000_000, Some(key.as_bytes()), Some(value.as_bytes()));
    }
    batch
}

/// A trade in JSON.
fn trade(offset: u64) -> String {
    format!(r#"{}"}}"#, filled(format!(r#"{{"id":{offset},"symbol":"acme","note":""#), 198))
}

/// A trade as a row of CSV.
fn row(offset: u64) -> String {
    filled(format!("{offset},acme,"), 200)
}

fn filled(mut text: String, bytes: usize) -> String {
    text.extend(std::iter::repeat_n('x', bytes.saturating_sub(text.len())));
    text
}
