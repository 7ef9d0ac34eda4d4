//! Pipelines from the embedded log to itself, through the program. Nothing of it needs a broker.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluicegate_tests::program::{Output, Running, done, free_address, sluicegate};
use sluicegate_tests::wait::eventually;
use tempfile::TempDir;

const BAD: i32 = 2;
const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(60);
const RECORDS: usize = 20_000;

#[test]
fn at_least_once_goes_through_one_log_and_commits() -> Result<()> {
    let place = Place::new("", "data", "delivery: at-least-once\n")?;
    place.create(&["in", "--partitions", "3"])?;
    place.produce(RECORDS)?;
    let running = place.start()?;
    eventually(DONE_WITHIN, "all outputs", || Ok((place.consume("out")?.len() >= RECORDS).then_some(())))?;
    running.end()?;
    // Where everything was committed, nothing is done again.
    let running = place.start()?;
    place.produce(1)?;
    eventually(DONE_WITHIN, "one more output", || Ok((place.consume("out")?.len() > RECORDS).then_some(())))?;
    running.end()?;
    let outputs = place.consume("out")?;
    let ids: BTreeSet<&str> = outputs.iter().filter_map(|output| output["headers"][0][1].as_str()).collect();
    ensure!(outputs.len() == RECORDS + 1 && ids.len() == outputs.len(), "{} of {}", ids.len(), outputs.len());
    Ok(())
}

#[test]
fn exactly_once_is_refused_where_one_path_leads_to_two_logs() -> Result<()> {
    let place = Place::new("", "x/../data", "")?;
    place.create(&["in"])?;
    // So that 'x/..' is not the folder of the file.
    fs::create_dir_all(place.path().join("elsewhere/x"))?;
    symlink("elsewhere/x", place.path().join("x"))?;
    let refused = place.run(&["run", "pipeline.yaml"])?;
    ensure!(refused.code == Some(BAD), "{refused:?}");
    ensure!(refused.stderr.contains("exactly-once needs source and sink in one log"), "{refused:?}");
    place.write("", "x/../data", "delivery: at-least-once\n")?;
    let running = place.start()?;
    running.end()
}

#[test]
fn what_retention_took_before_it_was_read_is_not_passed_over_in_silence() -> Result<()> {
    let place = Place::new("", "data", "")?;
    place.create(&["in", "--retention-bytes", "1"])?;
    // The group begins here, and misses what comes next.
    let running = place.start()?;
    running.end()?;
    place.produce(10)?;
    place.produce(10)?;
    let refused = place.run(&["run", "pipeline.yaml"])?;
    ensure!(refused.code == Some(BAD), "{refused:?}");
    for words in ["offset 0 of in[0]", "group 'p'", "is gone: the log has 10 to 20", "on-missing-offset: earliest"] {
        ensure!(refused.stderr.contains(words), "no {words:?} in {}", refused.stderr);
    }
    ensure!(place.consume("out")?.is_empty(), "records went on");

    place.write(", on-missing-offset: earliest", "data", "")?;
    let running = place.start()?;
    eventually(DONE_WITHIN, "what is left", || Ok((place.consume("out")?.len() == 10).then_some(())))?;
    ensure!(running.stderr()?.contains("going on from 10, as on-missing-offset says"), "{}", running.stderr()?);
    running.end()
}

/// A folder with a log in `data`, and a pipeline that copies its topic `in` to `out`.
struct Place(TempDir);

impl Place {
    fn new(source: &str, sink_path: &str, more: &str) -> Result<Self> {
        let place = Place(tempfile::tempdir()?);
        place.write(source, sink_path, more)?;
        Ok(place)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes the pipeline's file: more keys of its source, the path of its sink, and more keys of its own.
    fn write(&self, source: &str, sink_path: &str, more: &str) -> Result<()> {
        let text = format!(
            "name: p\n\
             source: {{ local: {{ path: data, topics: [in]{source} }} }}\n\
             stages: []\n\
             sink: {{ local: {{ path: {sink_path}, topic: out }} }}\n{more}"
        );
        Ok(fs::write(self.path().join("pipeline.yaml"), text)?)
    }

    fn run(&self, args: &[&str]) -> Result<Output> {
        sluicegate(args)?.folder(self.path()).run()
    }

    fn create(&self, topic: &[&str]) -> Result<()> {
        done(self.run(&[&["topics", "create", "--local", "data"], topic].concat())?).map(drop)
    }

    /// Writes so many records to `in`.
    fn produce(&self, count: usize) -> Result<()> {
        let args = ["produce", "in", "--local", "data", "--raw"];
        let lines: String = (0..count).map(|number| format!("value {number}\n")).collect();
        done(sluicegate(args)?.folder(self.path()).input(lines).run()?).map(drop)
    }

    /// What the topic holds; nothing while there is no such topic.
    fn consume(&self, topic: &str) -> Result<Vec<Value>> {
        let read = self.run(&["consume", topic, "--local", "data"])?;
        if read.code == Some(BAD) && read.stderr.contains("there is no topic") {
            return Ok(Vec::new());
        }
        done(read)?.lines().map(|line| serde_json::from_str(line).context("a record")).collect()
    }

    /// Runs the pipeline until it is ready.
    fn start(&self) -> Result<Running> {
        let admin = free_address()?;
        let program = sluicegate(["run", "pipeline.yaml", "--admin", &admin.to_string()])?;
        let mut running = program.folder(self.path()).spawn()?;
        running.wait_ready(admin, READY_WITHIN)?;
        Ok(running)
    }
}
