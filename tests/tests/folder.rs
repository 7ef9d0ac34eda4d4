//! Pipelines that come, change and go as the files of a folder do, while the process runs.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluicegate_tests::http;
use sluicegate_tests::program::{Running, done, free_address, sluicegate};
use sluicegate_tests::stamp::version;
use sluicegate_tests::wait::eventually;

const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn pipelines_come_change_and_go_as_their_files_do() -> Result<()> {
    let setup = Setup::new()?;
    setup.write("a.yaml", &pipeline("a", "v1.wasm", "out", ""))?;
    setup.write("late.yaml", &pipeline("late", "late.wasm", "late.out", ""))?;
    setup.write("notes.txt", "no pipeline")?;
    let mut running = setup.spawn()?;
    setup.wait_for_live(&mut running)?;

    // What does not run keeps nothing else from running, and is said.
    let refused = setup.wait_for_refusal("late.yaml", "cannot read plugin")?;
    ensure!(refused["pipeline"].is_null(), "{refused}");
    ensure!(setup.becomes("out", "x")? == "000001:x");
    fs::write(setup.folder.path().join("late.wasm"), version(7)?)?;

    setup.write("b.yaml", &pipeline("b", "v2.wasm", "b.out", ""))?;
    setup.wait_for_pipelines(&["a", "b"])?;
    setup.run(&["consume", "b.out", "--local", "log", "--follow", "-n", "1"], "")?; // Of what was there before.
    ensure!(setup.becomes("b.out", "y")? == "000002:y");

    // Another stage; then what is no pipeline; then another sink, for which the workers have to be others.
    let two = pipeline("a", "v1.wasm", "out", "  - { name: second, plugin: ../v3.wasm }\n");
    setup.write("a.yaml", &two)?;
    setup.wait_for_stages("a", &["000001", "000003"])?;
    ensure!(setup.becomes("out", "z")? == "000003:000001:z");
    setup.write("a.yaml", "name: a\nsauce: none\n")?;
    let refused = setup.wait_for_refusal("a.yaml", "unknown key 'sauce'")?;
    ensure!(refused["pipeline"] == "a" && setup.becomes("out", "z")? == "000003:000001:z", "{refused}");
    let shown = setup.cli(&["status"])?;
    ensure!(shown.contains("a.yaml does not run as it is; pipeline a goes on as it was:"), "{shown}");
    setup.write("a.yaml", &pipeline("a", "v1.wasm", "out2", ""))?;
    setup.wait_for_stages("a", &["000001"])?;
    ensure!(setup.becomes("out2", "w")?.ends_with("000001:w"));

    // What was changed at run time stays, as the file has for the stage what it had.
    let fifth = setup.folder.path().join("v5.wasm");
    setup.cli(&["load", "a", "stamp", fifth.to_str().context("UTF-8")?])?;
    setup.write("a.yaml", &pipeline("a", "v1.wasm", "out2", "  - { name: second, plugin: ../v3.wasm }\n"))?;
    setup.wait_for_stages("a", &["000005", "000003"])?;
    let history = setup.cli(&["history", "a"])?;
    for words in ["configure by watcher", "unknown key 'sauce'", "restore stamp", "load stamp"] {
        ensure!(history.contains(words), "no {words:?} in {history}");
    }

    // A file of another name is the same pipeline; one more of its name is refused; and one that is gone has none.
    fs::rename(setup.config("a.yaml"), setup.config("z.yaml"))?;
    fs::remove_file(setup.config("b.yaml"))?;
    eventually(WITHIN, "the renamed file", || {
        Ok(setup.files()?.iter().any(|file| named(file, "z.yaml") && file["pipeline"] == "a").then_some(()))
    })?;
    setup.write("twin.yaml", &pipeline("a", "v1.wasm", "out", ""))?;
    setup.wait_for_refusal("twin.yaml", "another pipeline named 'a'")?;
    setup.wait_for_pipelines(&["a", "late"])?;
    ensure!(http::get(setup.admin, "/v1/pipelines/b")?.status == 404);
    ensure!(setup.becomes("out2", "v")? == "000003:000005:v");
    let metrics = http::get(setup.admin, "/metrics")?.body;
    ensure!(metrics.contains("sluicegate_files_refused 1"), "{metrics}");

    // One that takes the name of another file goes on, and the pipeline of that one ends.
    fs::rename(setup.config("z.yaml"), setup.config("late.yaml"))?;
    setup.wait_for_pipelines(&["a"])?;
    ensure!(setup.becomes("out2", "u")? == "000003:000005:u");

    running.end()
}

#[test]
fn an_empty_folder_is_waited_for_and_one_that_is_not_there_is_an_error() -> Result<()> {
    let setup = Setup::new()?;
    let running = setup.start()?;
    ensure!(setup.files()?.is_empty());
    setup.write("a.yaml", &pipeline("a", "v1.wasm", "out", "admin: { listen: '127.0.0.1:9' }\n"))?;
    setup.wait_for_refusal("a.yaml", "its 'admin' is not that with which the process was started")?;
    setup.write("a.yaml", &pipeline("a", "v1.wasm", "out", ""))?;
    setup.wait_for_pipelines(&["a"])?;
    running.end()?;
    let missing = sluicegate(["run", "--config-dir", "nowhere"])?.folder(setup.folder.path()).run()?;
    ensure!(missing.code == Some(2) && missing.stderr.contains("--config-dir nowhere: cannot read"), "{missing:?}");
    Ok(())
}

/// As where a machine starts before its brokers do, or topics are made later than pipelines.
#[test]
fn a_pipeline_that_found_no_topic_is_tried_again() -> Result<()> {
    let setup = Setup::new()?;
    let running = setup.start()?;
    setup.write("a.yaml", &pipeline("a", "v1.wasm", "out", "").replace("[in]", "[later]"))?;
    setup.wait_for_refusal("a.yaml", "topic 'later'")?;
    ensure!(http::get(setup.admin, "/metrics")?.body.contains("sluicegate_files_refused 1"));
    setup.run(&["topics", "create", "later", "--local", "log"], "")?;
    setup.run(&["produce", "later", "--local", "log"], "{\"value\":\"x\"}\n")?;
    let is_taken_up = |file: &Value| named(file, "a.yaml") && file["refused"].is_null();
    eventually(WITHIN, "another try", || Ok(setup.files()?.iter().any(is_taken_up).then_some(())))?;
    let out = setup.run(&["consume", "out", "--local", "log", "--follow", "-n", "1"], "")?;
    ensure!(out.contains("000001:x"), "{out}");
    running.end()
}

/// A pipeline from the embedded log's topic `in` with the stage `stamp`, and what else is said.
fn pipeline(name: &str, plugin: &str, sink: &str, rest: &str) -> String {
    let (stages, rest) = if rest.starts_with("  -") { (rest, "") } else { ("", rest) };
    format!(
        "name: {name}\n\
         source: {{ local: {{ path: ../log, topics: [in], group: {name} }} }}\n\
         stages:\n  - {{ name: stamp, plugin: ../{plugin} }}\n{stages}\
         sink: {{ local: {{ path: ../log, topic: {sink} }} }}\n{rest}"
    )
}

fn named(file: &Value, name: &str) -> bool {
    file["file"].as_str().is_some_and(|path| path.ends_with(name))
}

/// A folder with plugins, an embedded log, and a folder of pipelines in it.
struct Setup {
    folder: tempfile::TempDir,
    admin: SocketAddr,
}

impl Setup {
    fn new() -> Result<Self> {
        let setup = Setup { folder: tempfile::tempdir()?, admin: free_address()? };
        fs::create_dir(setup.config(""))?;
        for number in [1, 2, 3, 5] {
            fs::write(setup.folder.path().join(format!("v{number}.wasm")), version(number)?)?;
        }
        setup.run(&["topics", "create", "in", "--local", "log"], "")?;
        Ok(setup)
    }

    fn config(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("pipelines").join(name)
    }

    /// As deployments do it: whole.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.config(".new"), text)?;
        Ok(fs::rename(self.config(".new"), self.config(name))?)
    }

    fn start(&self) -> Result<Running> {
        let mut running = self.spawn()?;
        running.wait_ready(self.admin, WITHIN)?;
        Ok(running)
    }

    fn spawn(&self) -> Result<Running> {
        let admin = self.admin.to_string();
        let args = ["run", "--config-dir", "pipelines", "--state-dir", "state", "--admin", &admin];
        sluicegate(args)?.folder(self.folder.path()).spawn()
    }

    fn wait_for_live(&self, running: &mut Running) -> Result<()> {
        eventually(WITHIN, "/live", || {
            ensure!(running.is_running()?, "it ended: {}", running.stderr()?);
            Ok(http::get(self.admin, "/live").is_ok_and(|answer| answer.status == 200).then_some(()))
        })
    }

    fn run(&self, args: &[&str], input: &str) -> Result<String> {
        done(sluicegate(args)?.folder(self.folder.path()).input(input).run()?)
    }

    fn cli(&self, args: &[&str]) -> Result<String> {
        let admin = format!("http://{}", self.admin);
        done(sluicegate(args.iter().copied().chain(["--admin", &admin]))?.run()?)
    }

    /// What of a topic a value becomes that is written now.
    fn becomes(&self, topic: &str, value: &str) -> Result<String> {
        let before = self.run(&["consume", topic, "--local", "log"], "").unwrap_or_default().lines().count();
        self.run(&["produce", "in", "--local", "log"], &format!("{}\n", json!({ "value": value })))?;
        let count = (before + 1).to_string();
        let seen = self.run(&["consume", topic, "--local", "log", "--follow", "-n", &count], "")?;
        let last: Value = serde_json::from_str(seen.lines().last().context("a line")?)?;
        Ok(last["value"].as_str().context("text")?.to_owned())
    }

    fn files(&self) -> Result<Vec<Value>> {
        Ok(serde_json::from_str(&http::get(self.admin, "/v1/files")?.body)?)
    }

    fn wait_for_refusal(&self, name: &str, words: &str) -> Result<Value> {
        eventually(WITHIN, words, || {
            let of_file = self.files()?.into_iter().find(|file| named(file, name));
            Ok(of_file.filter(|file| file["refused"].as_str().is_some_and(|reason| reason.contains(words))))
        })
    }

    fn wait_for_pipelines(&self, names: &[&str]) -> Result<()> {
        eventually(WITHIN, "the pipelines", || {
            let all: Vec<Value> = serde_json::from_str(&http::get(self.admin, "/v1/pipelines")?.body)?;
            let mut running: Vec<&str> =
                all.iter().filter(|one| one["ready"] == true).filter_map(|one| one["name"].as_str()).collect();
            running.sort_unstable();
            Ok((running == names).then_some(()))
        })
    }

    fn wait_for_stages(&self, name: &str, versions: &[&str]) -> Result<()> {
        eventually(WITHIN, "the stages", || {
            let status: Value = serde_json::from_str(&http::get(self.admin, &format!("/v1/pipelines/{name}"))?.body)?;
            let stages = status["stages"].as_array().into_iter().flatten();
            Ok((status["ready"] == true
                && stages.map(|stage| stage["version"].as_str()).eq(versions.iter().map(|version| Some(*version))))
            .then_some(()))
        })
    }
}
