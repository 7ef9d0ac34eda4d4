//! Plugins that change while records flow: nothing is lost, repeated or out of order, and versions only go forward.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::http::{self, Response};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::numbered::{Fed, PARTITIONS, feed, index, judge};
use sluicegate_tests::program::{Running, free_address, sluicegate};
use sluicegate_tests::record::Record;
use sluicegate_tests::stamp::{mischievous, take_apart, version};
use sluicegate_tests::wait::eventually;

const WORKERS: usize = 2;
const READY_WITHIN: Duration = Duration::from_secs(60);
/// `on-failure.breaker`, where a pipeline does not say otherwise.
const BREAKER: usize = 100;
const DONE_WITHIN: Duration = Duration::from_secs(120);
/// Less than the pause of ten seconds after a breaker tripped.
const WOKEN_WITHIN: Duration = Duration::from_secs(7);
/// A swap holds a worker up for less than a millisecond. This is what it may take in seconds where more threads run than there are
/// cores, and one is taken off its own meanwhile for a few slices of the scheduler.
const HELD_UP_MAX: f64 = 0.05;
/// So many swaps are judged by that: work that does not belong in a swap shows in the first ones, and of hundreds one may be off its
/// core for much longer.
const SWAPS_TIMED: usize = 10;
const RECORDS_PER_SECOND: usize = 50_000;
const SWAPS: usize = 200;
const CONFIGS: usize = 20;
const SWAP_EVERY: Duration = Duration::from_millis(150);

#[test]
fn two_hundred_swaps_under_load_lose_repeat_and_reorder_nothing() -> Result<()> {
    let versions: Vec<Vec<u8>> = (1..=SWAPS).map(version).collect::<Result<_>>()?;
    compile(&versions)?;
    let pipeline = Setup::new("swaps", "")?;
    let running = pipeline.start(&version(0)?)?;
    let quiet = Instant::now();
    let without = pipeline.feed(|| {
        eventually(DONE_WITHIN, "as long as the swaps take", || {
            Ok((quiet.elapsed() > SWAP_EVERY * SWAPS as u32).then_some(()))
        })
    })?;
    let mut held_up = 0.0;
    let with = pipeline.feed(|| {
        for (index, bytes) in versions.iter().enumerate() {
            let due = Instant::now() + SWAP_EVERY;
            let answer = pipeline.load(bytes)?;
            ensure!(answer.status == 200, "swap {index}: {answer:?}");
            let answer: Value = serde_json::from_str(&answer.body)?;
            ensure!(answer["changed"] == true && answer["behind"] == 0, "{answer}");
            if index + 1 == SWAPS_TIMED {
                held_up = pipeline.held_up_max()?;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    })?;
    pipeline.client.wait_until_consumed(&pipeline.name, &pipeline.name, DONE_WITHIN)?;
    let outputs = pipeline.outputs()?;
    let total = without.written + with.written;
    let until = without.written;
    let parts = [("without swaps", without, 0..until), ("with 200 swaps", with, until..total)];
    for (what, Fed { written, took, .. }, part) in parts {
        let (rate, gap) = (written as f64 / took.as_secs_f64(), longest_gap(&outputs, &part)?);
        println!("{what}: {written} records in {took:.1?} ({rate:.0} a second), longest gap between outputs {gap:?}");
    }
    judge(&outputs, total, &BTreeSet::new())?;
    let seen: BTreeSet<usize> = outputs.iter().map(|output| Ok(take_apart(output)?.0)).collect::<Result<_>>()?;
    let seen = seen.len();
    println!("{seen} of {} versions stamped an output", SWAPS + 1);
    ensure!(seen > SWAPS / 2, "only {seen} versions had anything to do");

    let metrics = http::get(pipeline.admin, "/metrics")?.body;
    let exchanges = metric(&metrics, "sluicegate_swaps_total")?;
    ensure!(exchanges == (SWAPS * WORKERS) as f64, "{exchanges} exchanges");
    println!("a swap held a worker up for {:.0} µs at most", pipeline.held_up_max()? * 1e6);
    ensure!(held_up > 0.0 && held_up < HELD_UP_MAX, "one of {SWAPS_TIMED} swaps held a worker up for {held_up} s");
    running.end()
}

/// Twenty configurations, each with another plugin, are taken up from the folder that the process follows.
#[test]
fn a_changed_configuration_is_taken_up_by_the_same_members_and_loses_repeats_and_reorders_nothing() -> Result<()> {
    let pipeline = Setup::new("configs", "")?;
    let running = pipeline.start_with(&version(0)?, &["--config-dir", "."])?;
    let members = || pipeline.client.member_ids(&pipeline.name);
    let before = eventually(READY_WITHIN, "members", || Ok(Some(members()?).filter(|ids| ids.len() == WORKERS)))?;
    let Fed { written, .. } = pipeline.feed(|| {
        for number in 1..=CONFIGS {
            let plugin = format!("stamp-{number}.wasm");
            fs::write(pipeline.folder.path().join(&plugin), version(number)?)?;
            let commit = format!("commit: {{ interval: {}ms }}\n", 50 * (1 + number % 3));
            pipeline.configure(&format!("name: stage-{}, plugin: {plugin}", number % 2), &commit)?;
            // By all workers: one that still drains when the configuration after comes goes on with that at once.
            eventually(DONE_WITHIN, "the configuration", || {
                Ok((handed_over(&running)? == number * WORKERS).then_some(()))
            })?;
            let version = &pipeline.status()?["stages"][0]["version"];
            ensure!(version == format!("{number:06}").as_str(), "{version} after configuration {number}");
        }
        Ok(())
    })?;
    pipeline.client.wait_until_consumed(&pipeline.name, &pipeline.name, DONE_WITHIN)?;
    judge(&pipeline.outputs()?, written, &BTreeSet::new())?;
    ensure!(members()? == before, "the group has other members: {:?}, before {before:?}", members()?);
    ensure!(handed_over(&running)? == CONFIGS * WORKERS, "more handovers than configurations");
    let history = pipeline.history()?;
    let configured = history.iter().filter(|entry| entry["action"] == "configure" && entry["ended"] == "done").count();
    ensure!(configured == CONFIGS, "{history:?}");
    running.end()
}

/// What the bad version made of records is undone with its transaction; what it committed before its breaker tripped are
/// dead letters, fewer than the breaker counts for each worker. Nothing is lost.
#[test]
fn a_version_that_fails_on_everything_goes_back_by_itself_and_loses_no_record() -> Result<()> {
    for (name, extra) in [("breaker", "dead-letter: { topic: breaker.dead }\n"), ("stopper", "")] {
        let pipeline = Setup::new(name, extra)?;
        pipeline.client.create_topic(&format!("{name}.dead"), PARTITIONS, &[])?;
        let running = pipeline.start(&version(1)?)?;
        let bad = mischievous(2, "trap")?;
        let Fed { written, .. } = pipeline.feed(|| {
            let answer = pipeline.load(&bad)?;
            ensure!(answer.status == 200, "{answer:?}");
            eventually(DONE_WITHIN, "the version before", || {
                let history = pipeline.history()?;
                Ok(history.iter().any(|entry| entry["action"] == "rollback" && entry["ended"] == "done").then_some(()))
            })
        })?;
        pipeline.client.wait_until_consumed(name, name, DONE_WITHIN)?;
        let outputs = pipeline.outputs()?;
        ensure!(outputs.iter().all(|output| take_apart(output).is_ok_and(|(version, _)| version == 1)), "{name}");
        let dead = pipeline.client.consume(&format!("{name}.dead"), Isolation::ReadCommitted)?;
        println!("{name}: {written} records, {} dead letters", dead.len());
        ensure!(dead.len() < WORKERS * BREAKER, "{} dead letters", dead.len());
        let dead = dead.iter().map(|letter| index(letter.value.as_deref().context("a value")?));
        judge(&outputs, written, &dead.collect::<Result<_>>()?)?;
        let history = pipeline.history()?;
        let rollback = history.iter().find(|entry| entry["action"] == "rollback").context("a rollback")?;
        let why = rollback["why"].as_str().context("why")?;
        ensure!(rollback["who"] == "sluicegate" && why.contains("crashes on every record"), "{rollback}");
        ensure!(pipeline.status()?["stages"][0]["version"] == "000001", "{}", pipeline.status()?);
        let metrics = http::get(pipeline.admin, "/metrics")?.body;
        ensure!(metrics.contains(r#"action="rollback",ended="done"} 1"#), "{metrics}");
        running.end()?;
    }
    Ok(())
}

/// What is loaded then runs at once, and not after the pause of ten seconds.
#[test]
fn a_mended_plugin_wakes_a_worker_that_its_breaker_has_stopped() -> Result<()> {
    let pipeline = Setup::new("tripped", "dead-letter: { topic: tripped.dead }\n")?;
    pipeline.client.create_topic("tripped.dead", PARTITIONS, &[])?;
    let mended = version(2)?;
    compile(std::slice::from_ref(&mended))?;
    let running = pipeline.start(&mischievous(1, "trap")?)?;
    let records: Vec<_> = (0..2 * BREAKER).map(|n| Record::new("k", &n.to_string()).in_partition(0)).collect();
    pipeline.client.produce("tripped", &records)?;
    let is_any = |state: &str| -> Result<bool> {
        let status = pipeline.status()?;
        Ok(status["workers"].as_array().context("workers")?.iter().any(|worker| worker["state"] == state))
    };
    eventually(DONE_WITHIN, "the breaker", || Ok(is_any("paused")?.then_some(())))?;
    let tripped = Instant::now();
    let answer = pipeline.load(&mended)?;
    ensure!(answer.status == 200, "{answer:?}");
    let left = WOKEN_WITHIN.saturating_sub(tripped.elapsed());
    eventually(left, "the worker", || Ok((!is_any("paused")?).then_some(())))?;
    pipeline.client.wait_until_consumed("tripped", "tripped", DONE_WITHIN)?;
    ensure!(pipeline.outputs()?.iter().all(|output| take_apart(output).is_ok_and(|(version, _)| version == 2)));
    running.end()
}

/// A pipeline from Kafka to Kafka with one stage, `stamp`, and whoever writes, reads and changes it.
struct Setup {
    name: String,
    folder: tempfile::TempDir,
    admin: SocketAddr,
    client: Client,
    writer: Client,
}

impl Setup {
    fn new(name: &str, extra: &str) -> Result<Self> {
        let kafka = Kafka::shared()?;
        let (client, writer) = (Client::connect(kafka)?, Client::connect(kafka)?);
        client.create_topic(name, PARTITIONS, &[])?;
        // What the outputs' timestamps say is when they came.
        client.create_topic(&format!("{name}.out"), PARTITIONS, &[("message.timestamp.type", "LogAppendTime")])?;
        let folder = tempfile::tempdir()?;
        let setup = Setup { name: name.to_owned(), folder, admin: free_address()?, client, writer };
        setup.configure("plugin: stamp.wasm", extra)?;
        Ok(setup)
    }

    /// Writes the pipeline's file, as deployments do it: whole.
    fn configure(&self, stage: &str, extra: &str) -> Result<()> {
        let (name, brokers) = (&self.name, Kafka::shared()?.bootstrap());
        let yaml = format!(
            "name: {name}\n\
             source: {{ kafka: {{ brokers: '{brokers}', topics: [{name}], start: earliest }} }}\n\
             stages: [{{ {stage} }}]\n\
             sink: {{ kafka: {{ topic: {name}.out, partition: same }} }}\n{extra}\
             delivery: exactly-once\nworkers: {WORKERS}\n"
        );
        fs::write(self.folder.path().join(".new"), yaml)?;
        Ok(fs::rename(self.folder.path().join(".new"), self.folder.path().join("pipeline.yaml"))?)
    }

    fn start(&self, first: &[u8]) -> Result<Running> {
        self.start_with(first, &["pipeline.yaml"])
    }

    fn start_with(&self, first: &[u8], pipelines: &[&str]) -> Result<Running> {
        fs::write(self.folder.path().join("stamp.wasm"), first)?;
        let admin = self.admin.to_string();
        let args = [&["run", "--state-dir", "state", "--admin", &admin], pipelines].concat();
        let mut running = sluicegate(args)?.folder(self.folder.path()).spawn()?;
        running.wait_ready(self.admin, READY_WITHIN)?;
        Ok(running)
    }

    fn feed<T>(&self, during: impl FnOnce() -> Result<T>) -> Result<Fed<T>> {
        feed(&self.writer, &self.name, RECORDS_PER_SECOND, during)
    }

    fn outputs(&self) -> Result<Vec<Record>> {
        self.client.consume(&format!("{}.out", self.name), Isolation::ReadCommitted)
    }

    fn load(&self, bytes: &[u8]) -> Result<Response> {
        self.ask("PUT", "stages/stamp/plugin?by=test&why=a+swap", bytes)
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Response> {
        let path = format!("/v1/pipelines/{}/{path}", self.name);
        http::send(self.admin, method, &path, &["Content-Type: application/wasm"], body)
    }

    /// The longest that a swap has held up a worker so far, in seconds.
    fn held_up_max(&self) -> Result<f64> {
        metric(&http::get(self.admin, "/metrics")?.body, "sluicegate_swap_seconds_max")
    }

    fn history(&self) -> Result<Vec<Value>> {
        Ok(serde_json::from_str(&self.ask("GET", "history", &[])?.body)?)
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&http::get(self.admin, &format!("/v1/pipelines/{}", self.name))?.body)?)
    }
}

/// The longest time in which no output came of these records.
fn longest_gap(outputs: &[Record], part: &Range<usize>) -> Result<Duration> {
    let mut times = Vec::new();
    for output in outputs {
        if part.contains(&index(take_apart(output)?.1)?) {
            times.push(output.timestamp);
        }
    }
    times.sort_unstable();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    Ok(Duration::from_millis(longest as u64))
}

/// Has them in the cache of compiled plugins, as a plugin is that was rolled out elsewhere before: what is timed is the
/// exchange, on a machine that has other work to do.
fn compile(versions: &[Vec<u8>]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let start = Instant::now();
    let file = folder.path().join("stamp.wasm");
    for bytes in versions {
        fs::write(&file, bytes)?;
        let inspected = sluicegate(["inspect".as_ref(), file.as_os_str()])?.run()?;
        ensure!(inspected.code == Some(0), "{inspected:?}");
    }
    println!("{} versions compiled in {:.1?}", versions.len(), start.elapsed());
    Ok(())
}

/// How often a worker went on with another configuration.
fn handed_over(running: &Running) -> Result<usize> {
    Ok(running.stderr()?.matches("goes on with the changed configuration").count())
}

fn metric(metrics: &str, name: &str) -> Result<f64> {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{")));
    let value = line.and_then(|line| line.rsplit_once(' ')).with_context(|| format!("no {name} in {metrics}"))?.1;
    Ok(value.parse()?)
}
