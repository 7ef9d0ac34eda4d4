//! The table of metric names, and their values at a scrape.

use std::sync::Arc;

use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::app::LoadedPipeline;
use crate::supervisor::{Running, WorkerState};
use crate::watch::Files;

const RECORDS_IN: &str = "sluicegate_records_in_total";
const BYTES_IN: &str = "sluicegate_bytes_in_total";
const OUTPUTS: &str = "sluicegate_outputs_total";
const DEAD_LETTERS: &str = "sluicegate_dead_letters_total";
const SKIPPED: &str = "sluicegate_skipped_total";
const FAILURES: &str = "sluicegate_failures_total";
const COMMITS: &str = "sluicegate_commits_total";
const LAG: &str = "sluicegate_lag_records";
const SWAPS: &str = "sluicegate_swaps_total";
const SWAP_HELD_UP: &str = "sluicegate_swap_seconds_max";
const CHANGES: &str = "sluicegate_changes_total";
const PLUGIN_INFO: &str = "sluicegate_plugin_info";
const FILES_REFUSED: &str = "sluicegate_files_refused";
const PAUSED: &str = "sluicegate_paused";
const WORKERS_RUNNING: &str = "sluicegate_workers_running";

/// All metrics of all pipelines, in Prometheus' text format. Values are read when somebody asks; the data path only
/// adds to plain counters once a batch.
pub(crate) fn render(running: &[Arc<Running>], files: &Files) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    with_local_recorder(&recorder, || {
        describe();
        running.iter().for_each(|running| record(running));
        let refused = files.list().iter().filter(|(_, found)| found.refused.is_some()).count();
        gauge!(FILES_REFUSED).set(refused as f64);
    });
    handle.render()
}

fn describe() {
    describe_counter!(RECORDS_IN, "Records read from the source");
    describe_counter!(BYTES_IN, "Bytes of keys, values and headers read from the source");
    describe_counter!(OUTPUTS, "Outputs handed to the sink, dead letters not counted");
    describe_counter!(DEAD_LETTERS, "Records for which a dead letter was produced");
    describe_counter!(SKIPPED, "Failed records skipped by a policy");
    describe_counter!(FAILURES, "Records that failed for good, by stage and kind");
    describe_counter!(COMMITS, "Commits of offsets or transactions");
    describe_gauge!(LAG, "Records between the last one read and the end of the partition");
    describe_gauge!(PLUGIN_INFO, "1 for the plugin of each stage, by name, version and digest");
    describe_gauge!(WORKERS_RUNNING, "Workers that stream");
    describe_counter!(SWAPS, "Exchanges of a plugin for another version, counted by each worker");
    describe_gauge!(SWAP_HELD_UP, "The longest that an exchange has held up a worker, in seconds");
    describe_counter!(CHANGES, "Changes at run time, by action and how they ended");
    describe_gauge!(FILES_REFUSED, "Files of the folder of pipelines that do not run as they are now");
    describe_gauge!(PAUSED, "1 while the pipeline is paused by request");
}

fn record(running: &Running) {
    let (pipeline, loaded) = (running.name().to_owned(), running.pipeline());
    let meters = &loaded.meters;
    let tally = meters.tally();
    let absolute = |name: &'static str, value: u64| counter!(name, "pipeline" => pipeline.clone()).absolute(value);
    absolute(RECORDS_IN, tally.records_in);
    absolute(BYTES_IN, tally.bytes_in);
    absolute(OUTPUTS, tally.outputs);
    absolute(DEAD_LETTERS, tally.dead_letters);
    absolute(SKIPPED, tally.skipped);
    absolute(COMMITS, meters.commits());
    for (stage, kind, count) in meters.failures() {
        let labels = [("pipeline", pipeline.clone()), ("stage", stage.to_owned()), ("kind", kind.name().to_owned())];
        counter!(FAILURES, &labels).absolute(count);
    }
    for (partition, lag) in meters.lag() {
        let labels = [
            ("pipeline", pipeline.clone()),
            ("topic", partition.topic.to_string()),
            ("partition", partition.number.to_string()),
        ];
        gauge!(LAG, &labels).set(lag as f64);
    }
    let streaming = running.states().iter().filter(|state| **state == WorkerState::Running).count();
    gauge!(WORKERS_RUNNING, "pipeline" => pipeline.clone()).set(streaming as f64);
    record_changes(&loaded);
    for stage in &loaded.stages {
        for (name, count) in stage.counters.read() {
            let labels = [("pipeline", pipeline.clone()), ("stage", stage.name.clone())];
            counter!(format!("plugin_{name}"), &labels).absolute(count);
        }
    }
}

fn record_changes(pipeline: &LoadedPipeline) {
    let name = pipeline.config.name.clone();
    let (swaps, longest) = pipeline.meters.swaps();
    counter!(SWAPS, "pipeline" => name.clone()).absolute(swaps);
    gauge!(SWAP_HELD_UP, "pipeline" => name.clone()).set(longest.as_secs_f64());
    gauge!(PAUSED, "pipeline" => name.clone()).set(f64::from(u8::from(pipeline.is_paused())));
    for ((action, ended), count) in pipeline.journal.counts() {
        let labels = [("pipeline", name.clone()), ("action", action.name().into()), ("ended", ended.name().into())];
        counter!(CHANGES, &labels).absolute(count);
    }
    for (index, stage) in pipeline.stages.iter().enumerate() {
        let version = pipeline.version(index);
        let description = version.plugin.description();
        let labels = [
            ("pipeline", name.clone()),
            ("stage", stage.name.clone()),
            ("name", description.name.clone()),
            ("version", description.version.clone()),
            ("digest", format!("sha256:{}", version.digest())),
        ];
        gauge!(PLUGIN_INFO, &labels).set(1.0);
    }
}
