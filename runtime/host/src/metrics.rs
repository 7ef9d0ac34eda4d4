//! The table of metric names, and their values at a scrape.

use std::sync::Arc;

use metrics::{Label, counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;
use sluicegate_core::{Conduct, FailureKind};

use crate::admin::Refusals;
use crate::app::{LoadedPipeline, Tryout};
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
const CANDIDATE_INFO: &str = "sluicegate_candidate_info";
const CANDIDATE_RECORDS: &str = "sluicegate_candidate_records_total";
const CANDIDATE_FAILURES: &str = "sluicegate_candidate_failures_total";
const CANDIDATE_OVERRUNS: &str = "sluicegate_candidate_overruns_total";
const CANDIDATE_SECONDS: &str = "sluicegate_candidate_record_seconds";
const CANDIDATE_DIFFERING: &str = "sluicegate_candidate_differing_total";
const FILES_REFUSED: &str = "sluicegate_files_refused";
const PAUSED: &str = "sluicegate_paused";
const WORKERS: &str = "sluicegate_workers";
const WORKERS_RUNNING: &str = "sluicegate_workers_running";
const WORKER_RESTARTS: &str = "sluicegate_worker_restarts_total";
const BREAKER_OPEN: &str = "sluicegate_breaker_open";
const LAST_COMMIT: &str = "sluicegate_last_commit_timestamp_seconds";
const ADMIN_REFUSED: &str = "sluicegate_admin_refused_total";

/// All metrics of all pipelines, in Prometheus' text format. Values are read when somebody asks; the data path only
/// adds to plain counters once a batch.
pub(crate) fn render(running: &[Arc<Running>], files: &Files, refusals: &Refusals) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    with_local_recorder(&recorder, || {
        describe();
        running.iter().for_each(|running| record(running));
        let refused = files.list().iter().filter(|(_, found)| found.refused.is_some()).count();
        gauge!(FILES_REFUSED).set(refused as f64);
        counter!(ADMIN_REFUSED).absolute(refusals.count());
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
    describe_gauge!(WORKERS, "Workers that are to stream");
    describe_gauge!(WORKERS_RUNNING, "Workers that stream");
    describe_counter!(WORKER_RESTARTS, "Workers that were started again, by the kind of error");
    describe_gauge!(BREAKER_OPEN, "1 while a worker waits because a stage's breaker tripped");
    describe_gauge!(
        LAST_COMMIT,
        "When a worker last committed, in seconds since the Unix epoch; none before the first time"
    );
    describe_counter!(SWAPS, "Exchanges of a plugin for another version, counted by each worker");
    describe_gauge!(SWAP_HELD_UP, "The longest that an exchange has held up a worker, in seconds");
    describe_counter!(CHANGES, "Changes at run time, by action and how they ended");
    describe_gauge!(CANDIDATE_INFO, "1 for a shadow or canary while it is tried out, by name, version and digest");
    describe_counter!(CANDIDATE_RECORDS, "Records given to a candidate, and to what runs beside it");
    describe_counter!(CANDIDATE_FAILURES, "Records that a candidate, or what runs beside it, failed on, by kind");
    describe_counter!(
        CANDIDATE_OVERRUNS,
        "Calls of a candidate, or of what runs beside it, that took longer than the deadline"
    );
    describe_gauge!(
        CANDIDATE_SECONDS,
        "The time of a call for each record of it, in seconds: the mean since the candidate began"
    );
    describe_counter!(CANDIDATE_DIFFERING, "Records of which a shadow made something else than what runs");
    describe_gauge!(FILES_REFUSED, "Files of the folder of pipelines that do not run as they are now");
    describe_counter!(ADMIN_REFUSED, "Requests that the admin endpoint refused because of who asked");
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
    if let Some(milliseconds) = meters.last_commit_ms() {
        gauge!(LAST_COMMIT, "pipeline" => pipeline.clone()).set(milliseconds as f64 / 1000.0);
    }
    record_workers(running);
    record_changes(&loaded);
    if let Some(tryout) = loaded.tryout().filter(|tryout| tryout.goes_on()) {
        record_tryout(&loaded, &tryout);
    }
    for stage in &loaded.stages {
        for (name, count) in stage.counters.read() {
            let labels = [("pipeline", pipeline.clone()), ("stage", stage.name.clone())];
            counter!(format!("plugin_{name}"), &labels).absolute(count);
        }
    }
}

fn record_workers(running: &Running) {
    let (pipeline, states) = (running.name().to_owned(), running.states());
    let streaming = states.iter().filter(|state| **state == WorkerState::Running).count();
    let is_open = states.iter().any(|state| matches!(state, WorkerState::Paused { .. }));
    gauge!(WORKERS, "pipeline" => pipeline.clone()).set(states.len() as f64);
    gauge!(WORKERS_RUNNING, "pipeline" => pipeline.clone()).set(streaming as f64);
    gauge!(BREAKER_OPEN, "pipeline" => pipeline.clone()).set(f64::from(u8::from(is_open)));
    for (kind, count) in running.restarts() {
        counter!(WORKER_RESTARTS, "pipeline" => pipeline.clone(), "kind" => kind).absolute(count);
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
            ("digest", version.digest.to_string()),
        ];
        gauge!(PLUGIN_INFO, &labels).set(1.0);
    }
}

/// A candidate, and what runs beside it, since it began. There are none of one that has ended.
fn record_tryout(pipeline: &LoadedPipeline, tryout: &Tryout) {
    let stage = &pipeline.stages[tryout.stage].name;
    let labels = |more: &[(&'static str, &str)]| {
        let all = [("pipeline", pipeline.config.name.as_str()), ("stage", stage), ("role", tryout.role_name())];
        all.iter().chain(more).map(|(key, value)| Label::new(*key, (*value).to_owned())).collect::<Vec<_>>()
    };
    let (description, digest) = (tryout.plugin.description(), tryout.digest.to_string());
    let plugin = [("name", &*description.name), ("version", &description.version), ("digest", &digest)];
    gauge!(CANDIDATE_INFO, labels(&plugin)).set(1.0);
    let report = tryout.findings.report();
    for (who, Conduct { records, failures, overruns, time }) in [("live", report.live), ("candidate", report.candidate)]
    {
        let labels = |more: &[_]| labels(&[&[("of", who)], more].concat());
        counter!(CANDIDATE_RECORDS, labels(&[])).absolute(records);
        counter!(CANDIDATE_OVERRUNS, labels(&[])).absolute(overruns);
        for kind in FailureKind::ALL {
            counter!(CANDIDATE_FAILURES, labels(&[("kind", kind.name())])).absolute(failures[kind as usize]);
        }
        if records > 0 {
            gauge!(CANDIDATE_SECONDS, labels(&[])).set(time.as_secs_f64() / records as f64);
        }
    }
    if !tryout.is_canary() {
        counter!(CANDIDATE_DIFFERING, labels(&[])).absolute(report.differing);
    }
}
