//! A pipeline without a file.

use std::path::PathBuf;

use super::endpoint::{LocalSink, LocalSource, OnMissingOffset, Outputs, Partitioning, Sink, Source};
use super::id_header::IdHeader;
use super::origin::Origin;
use super::pipeline::{
    BatchLimits, Commit, DeadLetter, Delivery, Limits, OnFailure, Pipeline, Reload, Stage, budget, reload_interval,
};
use super::quantity::Start;
use super::secret::PluginConfig;
use crate::registry::PluginRef;

impl Pipeline {
    /// One plugin alone, for whoever brings a source and a sink. What it fails on becomes a dead letter.
    pub(crate) fn of_plugin(plugin: PluginRef, config: PluginConfig) -> Self {
        let stage = Stage {
            name: plugin.stem(),
            plugin,
            digest: None,
            reload: Reload::Off,
            reload_interval: reload_interval(),
            plain_http: false,
            config,
            limits: Limits::default(),
            allow: Vec::new(),
            on_failure: OnFailure::default(),
            origin: Origin::default(),
        };
        let source = LocalSource {
            path: PathBuf::new(),
            topics: vec!["stdin".into()],
            group: stage.name.clone(),
            start: Start::default(),
            on_missing_offset: OnMissingOffset::default(),
        };
        let sink = LocalSink {
            path: PathBuf::new(),
            topic: "stdout".into(),
            partition: Partitioning::default(),
            outputs: Outputs::default(),
            id_header: IdHeader::Off,
            plugin_header: false,
        };
        Pipeline {
            name: stage.name.clone(),
            source: Source::Local(source),
            stages: vec![stage],
            sink: Sink::Local(sink),
            dead_letter: Some(DeadLetter { topic: "stderr".into() }),
            delivery: Delivery::AtLeastOnce,
            commit: Commit::default(),
            batch: BatchLimits::default(),
            workers: 1,
            workers_by_cores: false,
            budget: budget(),
            admin: None,
            trust: None,
        }
    }
}
