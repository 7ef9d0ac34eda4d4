//! Running pipelines looked at and changed: by files that change, by commands, over HTTP, and over a restart.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::http;
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::program::{Output, Running, done, free_address, sluicegate};
use sluicegate_tests::record::Record;
use sluicegate_tests::stamp::{digest, mischievous, version};
use sluicegate_tests::wait::eventually;

const WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(10);
const TOKEN: &str = "0123456789abcdef0123";

#[test]
fn a_file_that_changes_is_taken_up_and_one_that_is_no_good_is_not() -> Result<()> {
    let setup = Setup::new("plugins/stamp.wasm", "", "")?;
    setup.put("stamp.wasm", &version(1)?)?;
    let running = setup.start()?;
    ensure!(setup.stamped("a")? == "000001:a");

    setup.put("new", &version(2)?)?;
    fs::rename(setup.file("new"), setup.file("stamp.wasm"))?; // As deployments do it: whole.
    setup.wait_for_version("000002")?;
    ensure!(setup.stamped("b")? == "000002:b");

    // Half of it, as if it were still on its way; then the rest.
    let third = version(3)?;
    setup.put("stamp.wasm", &third[..third.len() / 3])?;
    let refused = setup.wait_for_refusal("cut off")?;
    ensure!(refused["who"] == "watcher" && setup.stamped("c")? == "000002:c", "{refused}");
    setup.put("stamp.wasm", &third)?;
    setup.wait_for_version("000003")?;

    setup.put("stamp.wasm", &mischievous(4, "deny")?)?;
    setup.wait_for_refusal("wants another")?;
    let shown = done(setup.cli(&["status", "files"])?)?;
    ensure!(shown.contains("stamp 000003") && shown.contains("refused") && shown.contains("its file has"), "{shown}");
    fs::remove_file(setup.file("stamp.wasm"))?;
    setup.wait_for_refusal("cannot read plugin")?;

    // What was there before is there again, and runs: nothing to do. Touched, neither.
    setup.put("stamp.wasm", &third)?;
    setup.wait_until("all to be well", |status| status["stages"][0]["refused"].is_null())?;
    ensure!(setup.status()?["stages"][0]["file"].is_null(), "{}", setup.status()?);
    let before = setup.history()?.len();
    setup.put("stamp.wasm", &third)?;
    setup.put("new", &version(5)?)?;
    fs::rename(setup.file("new"), setup.file("stamp.wasm"))?;
    setup.wait_for_version("000005")?;
    // The version is there a moment before its entry.
    let history =
        eventually(WITHIN, "an entry", || Ok(Some(setup.history()?).filter(|history| history.len() > before)))?;
    ensure!(history.len() == before + 1, "{history:?}");
    ensure!(setup.stamped("d")? == "000005:d");
    running.end()
}

/// Kubernetes writes a new folder, and turns the link `..data` to it.
#[test]
fn a_flip_of_links_as_config_maps_do_it_is_taken_up() -> Result<()> {
    let setup = Setup::new("plugins/stamp.wasm", "", "")?;
    let folder = setup.folder.path().join("plugins");
    let lay_out = |number: usize| -> Result<()> {
        let real = format!("..2026_{number}");
        fs::create_dir(folder.join(&real))?;
        fs::write(folder.join(&real).join("stamp.wasm"), version(number)?)?;
        symlink(&real, folder.join("..data_tmp"))?;
        Ok(fs::rename(folder.join("..data_tmp"), folder.join("..data"))?)
    };
    lay_out(1)?;
    symlink("..data/stamp.wasm", folder.join("stamp.wasm"))?;
    let running = setup.start()?;
    for number in 2..5 {
        lay_out(number)?;
        fs::remove_dir_all(folder.join(format!("..2026_{}", number - 1)))?;
        setup.wait_for_version(&format!("{number:06}"))?;
    }
    ensure!(setup.stamped("a")? == "000004:a");
    running.end()
}

#[test]
fn a_pinned_plugin_and_one_that_is_not_watched_stay() -> Result<()> {
    let first = version(1)?;
    let second = "  - { name: second, plugin: plugins/stamp.wasm, reload: off }\n  \
                  - { name: third, plugin: plugins/stamp.wasm }\n";
    let setup = Setup::new("plugins/stamp.wasm", &format!("    digest: {}\n", digest(&first)), second)?;
    setup.put("stamp.wasm", &first)?;
    let running = setup.start()?;
    setup.put("stamp.wasm", &version(2)?)?;
    let third = |status: &Value| status["stages"][2]["version"] == "000002";
    setup.wait_until("the third stage to take it up", third)?;
    let status = setup.status()?;
    ensure!(status["stages"][0]["version"] == "000001" && status["stages"][1]["version"] == "000001", "{status}");
    running.end()
}

#[test]
fn what_was_changed_at_run_time_survives_a_restart_until_the_file_changes() -> Result<()> {
    let setup = Setup::new("plugins/stamp.wasm", "", "")?;
    setup.put("stamp.wasm", &version(1)?)?;
    let running = setup.start()?;
    let said = done(setup.load("stamp", &version(2)?)?)?;
    ensure!(said.contains("runs now, before it"), "{said}");
    let said = done(setup.load("stamp", &version(2)?)?)?;
    ensure!(said.contains("runs already"), "{said}");
    ensure!(setup.stamped("a")? == "000002:a");
    done(setup.cli(&["pause", "files", "--why", "an incident"])?)?;
    running.kill()?;

    let running = setup.start()?;
    ensure!(setup.status()?["paused"] == true, "{}", setup.status()?);
    done(setup.cli(&["resume", "files"])?)?;
    ensure!(setup.stamped("b")? == "000002:b");
    let shown = done(setup.cli(&["status"])?)?;
    ensure!(shown.contains("'sluicegate load files stamp --configured' runs that"), "{shown}");
    // Dropped by hand; there is a way back from that too, once.
    done(setup.cli(&["load", "files", "stamp", "--configured"])?)?;
    ensure!(setup.stamped("c")? == "000001:c");
    done(setup.cli(&["rollback", "files", "stamp", "--why", "it was better"])?)?;
    ensure!(setup.stamped("d")? == "000002:d");
    running.end()?;

    // While nothing runs the file changes: it wins.
    setup.put("stamp.wasm", &version(3)?)?;
    let running = setup.start()?;
    ensure!(setup.stamped("e")? == "000003:e");
    let history = done(setup.cli(&["history", "files"])?)?;
    for words in
        ["pause by 127.0.0.1", ": an incident", "restore stamp", "the stage's file has changed since, and wins"]
    {
        ensure!(history.contains(words), "no {words:?} in {history}");
    }
    let rolled = setup.cli(&["rollback", "files", "stamp"])?;
    ensure!(rolled.code == Some(1) && rolled.stderr.contains("no earlier version"), "{rolled:?}");
    running.end()
}

/// The state folder is the same, as that of the user's is. Only the embedded log, which is one process's, is another.
#[test]
fn what_one_process_keeps_is_safe_from_another_of_the_same_pipeline() -> Result<()> {
    let setup = Setup::new("plugins/stamp.wasm", "", "")?;
    setup.put("stamp.wasm", &version(1)?)?;
    let running = setup.start()?;
    done(setup.load("stamp", &version(2)?)?)?;
    done(setup.cli(&["pause", "files"])?)?;

    let yaml = fs::read_to_string(setup.folder.path().join("pipeline.yaml"))?;
    fs::write(setup.folder.path().join("other.yaml"), yaml.replace("path: log", "path: other"))?;
    setup.run(&["topics", "create", "in", "--local", "other"], "")?;
    let admin = free_address()?;
    let args = ["run", "other.yaml", "--state-dir", "state", "--admin", &admin.to_string()];
    let mut other = sluicegate(args)?.folder(setup.folder.path()).spawn()?;
    other.wait_ready(admin, WITHIN)?;
    let log = other.stderr()?;
    ensure!(log.contains("another process of this pipeline") && log.contains("its own --state-dir"), "{log}");
    let (third, url) = (setup.folder.path().join("third.wasm"), format!("http://{admin}"));
    fs::write(&third, version(3)?)?;
    done(sluicegate(["load", "files", "stamp", path(&third)?, "--admin", &url])?.run()?)?;
    other.end()?;
    running.end()?;

    let running = setup.start()?;
    let status = setup.status()?;
    ensure!(status["paused"] == true && status["stages"][0]["version"] == "000002", "{status}");
    running.end()
}

#[test]
fn changes_need_the_token_where_there_is_one() -> Result<()> {
    let setup = Setup::new("plugins/stamp.wasm", "", &format!("admin: {{ listen: '127.0.0.1:1', token: {TOKEN} }}\n"))?;
    setup.put("stamp.wasm", &version(1)?)?;
    let running = setup.start()?;
    let pause = |header: &str| http::send(setup.admin, "POST", "/v1/pipelines/files/pause", &[header], b"");
    ensure!(pause("Accept: */*")?.status == 401);
    ensure!(pause("Authorization: Bearer 0123456789abcdef012")?.status == 403);
    let (metrics, log) = (http::get(setup.admin, "/metrics")?.body, running.stderr()?);
    ensure!(metrics.contains("sluicegate_admin_refused_total 2"), "{metrics}");
    let said = "POST /v1/pipelines/files/pause refused (401): changes need the token";
    ensure!(log.contains(said) && log.contains("127.0.0.1"), "{log}");
    ensure!(setup.status()?["paused"] == false, "whoever looks needs no token");
    let named = http::send(setup.admin, "GET", "/v1/pipelines", &["Host: gate.example"], b"")?;
    ensure!(named.status == 200, "where there is a token, it may have any name: {named:?}");
    let refused = setup.cli(&["pause", "files"])?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("SLUICEGATE_ADMIN_TOKEN"), "{refused:?}");
    ensure!(pause(&format!("Authorization: Bearer {TOKEN}"))?.status == 200);
    ensure!(setup.status()?["paused"] == true);
    let resumed =
        sluicegate(["resume", "files", "--admin", &setup.url()])?.env("SLUICEGATE_ADMIN_TOKEN", TOKEN).run()?;
    done(resumed)?;
    ensure!(!running.stderr()?.contains(TOKEN), "the token is in the log");
    running.end()
}

#[test]
fn a_page_in_a_browser_changes_nothing_and_the_document_is_there() -> Result<()> {
    let setup = Setup::new("plugins/stamp.wasm", "", "")?;
    setup.put("stamp.wasm", &version(1)?)?;
    let running = setup.start()?;
    let answer = http::send(setup.admin, "POST", "/v1/pipelines/files/pause", &["Origin: http://evil.example"], b"")?;
    ensure!(answer.status == 403 && answer.body.contains("a page in a browser"), "{answer:?}");
    // Nor does one see anything that has had its own name lead here.
    for path in ["/v1/pipelines", "/v1/pipelines/files/history", "/v1/openapi.json"] {
        let answer = http::send(setup.admin, "GET", path, &["Host: evil.example"], b"")?;
        ensure!(answer.status == 403 && answer.body.contains("ask for localhost"), "{answer:?}");
    }
    ensure!(http::send(setup.admin, "GET", "/ready", &["Host: probe.example"], b"")?.status == 200);
    let document: Value = serde_json::from_str(&http::get(setup.admin, "/v1/openapi.json")?.body)?;
    // Each path and method of the document is one that the endpoint knows.
    for (path, methods) in document["paths"].as_object().context("paths")? {
        let path = path.replace("{pipeline}", "files").replace("{stage}", "stamp");
        for method in methods.as_object().context("methods")?.keys().filter(|key| *key != "parameters") {
            let answer = http::send(setup.admin, &method.to_uppercase(), &path, &[], b"")?;
            ensure!(![404, 405].contains(&answer.status), "{method} {path}: {answer:?}");
        }
    }
    let answer = http::get(setup.admin, "/v1/pipelines/other")?;
    ensure!(answer.status == 404 && answer.body.contains("those that do: files"), "{answer:?}");
    let nobody = sluicegate(["status", "--admin", "http://127.0.0.1:1"])?.run()?;
    ensure!(nobody.code == Some(1) && nobody.stderr.contains("admin.listen"), "{nobody:?}");
    running.end()
}

#[test]
fn whoever_connects_and_says_nothing_keeps_nobody_out() -> Result<()> {
    let setup = Setup::new("plugins/stamp.wasm", "", "")?;
    setup.put("stamp.wasm", &version(1)?)?;
    let running = setup.start()?;
    let silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(setup.admin)).collect::<Result<_, _>>()?;
    ensure!(http::get(setup.admin, "/ready")?.status == 200);
    let mut oldest = silent.first().context("a connection")?;
    oldest.set_read_timeout(Some(DRAINED_WITHIN))?;
    ensure!(oldest.read(&mut [0])? == 0, "it was answered");
    running.end()
}

#[test]
fn a_pause_commits_keeps_the_partitions_and_ends() -> Result<()> {
    let (client, brokers) = (Client::shared()?, Kafka::shared()?.bootstrap());
    for topic in ["paused", "paused.out", "witness.out"] {
        client.create_topic(topic, 2, &[])?;
    }
    let folder = tempfile::tempdir()?;
    let yaml = format!(
        "name: paused\n\
         source: {{ kafka: {{ brokers: '{brokers}', topics: [paused], start: earliest }} }}\n\
         stages: []\n\
         sink: {{ kafka: {{ topic: paused.out, partition: same }} }}\n\
         workers: 2\n"
    );
    fs::write(folder.path().join("pipeline.yaml"), &yaml)?;
    let admin = free_address()?;
    let args = ["run", "pipeline.yaml", "--state-dir", "state", "--admin", &admin.to_string()];
    let mut running = sluicegate(args)?.folder(folder.path()).spawn()?;
    running.wait_ready(admin, WITHIN)?;
    let produce = |value: &str| {
        client.produce("paused", &[Record::new("k", value).in_partition(0), Record::new("k", value).in_partition(1)])
    };
    produce("before")?;
    client.wait_until_consumed("paused", "paused", WITHIN)?;
    let members =
        eventually(WITHIN, "members", || Ok(Some(client.members("paused")?).filter(|members| *members == 2)))?;
    let ask = |action: &str| -> Result<Value> {
        let answer = http::send(admin, "POST", &format!("/v1/pipelines/paused/{action}"), &[], b"")?;
        Ok(serde_json::from_str(&answer.body)?)
    };
    let paused = ask("pause")?;
    ensure!(paused["changed"] == true && paused["behind"] == 0, "{paused}");
    ensure!(ask("pause")?["changed"] == false);
    produce("meanwhile")?;
    // Whoever is not paused has read them.
    let witness = Pipeline::new(&yaml.replace("name: paused", "name: witness").replace("paused.out", "witness.out"))?;
    let witness = witness.run()?;
    client.wait_until_consumed("witness", "paused", WITHIN)?;
    witness.end()?;
    let url = format!("http://{admin}");
    let shown = done(sluicegate(["status", "--admin", &url])?.run()?)?;
    ensure!(shown.contains("2 of 2 workers running, paused by request"), "{shown}");
    ensure!(client.members("paused")? == members, "they left the group");
    ensure!(client.consume("paused.out", Isolation::ReadCommitted)?.len() == 2);
    ensure!(client.lag("paused", "paused")?.values().all(|lag| *lag == 1), "{:?}", client.lag("paused", "paused")?);
    ask("resume")?;
    client.wait_until_consumed("paused", "paused", WITHIN)?;
    ensure!(client.consume("paused.out", Isolation::ReadCommitted)?.len() == 4);
    running.end()
}

/// The pipeline `files` on the embedded log, with the stage `stamp`, in a folder of its own.
struct Setup {
    folder: tempfile::TempDir,
    admin: SocketAddr,
}

impl Setup {
    fn new(plugin: &str, stage: &str, extra: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (stages, rest) = if extra.starts_with("  -") { (extra, "") } else { ("", extra) };
        let yaml = format!(
            "name: files\n\
             source: {{ local: {{ path: log, topics: [in] }} }}\n\
             stages:\n  - plugin: {plugin}\n{stage}{stages}\
             sink: {{ local: {{ path: log, topic: out }} }}\n{rest}"
        );
        fs::write(folder.path().join("pipeline.yaml"), yaml)?;
        fs::create_dir(folder.path().join("plugins"))?;
        let setup = Setup { folder, admin: free_address()? };
        setup.run(&["topics", "create", "in", "--local", "log"], "")?;
        Ok(setup)
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("plugins").join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(fs::write(self.file(name), bytes)?)
    }

    fn start(&self) -> Result<Running> {
        let args = ["run", "pipeline.yaml", "--state-dir", "state", "--admin", &self.admin.to_string()];
        let mut running = sluicegate(args)?.folder(self.folder.path()).spawn()?;
        running.wait_ready(self.admin, WITHIN)?;
        Ok(running)
    }

    fn run(&self, args: &[&str], input: &str) -> Result<String> {
        done(sluicegate(args)?.folder(self.folder.path()).input(input).run()?)
    }

    fn url(&self) -> String {
        format!("http://{}", self.admin)
    }

    fn cli(&self, args: &[&str]) -> Result<Output> {
        sluicegate(args.iter().copied().chain(["--admin", &self.url()]))?.run()
    }

    fn load(&self, stage: &str, bytes: &[u8]) -> Result<Output> {
        let file = self.folder.path().join("given.wasm");
        fs::write(&file, bytes)?;
        self.cli(&["load", "files", stage, path(&file)?])
    }

    /// What becomes of a record now.
    fn stamped(&self, value: &str) -> Result<String> {
        let before = self.run(&["consume", "out", "--local", "log"], "").unwrap_or_default().lines().count();
        self.run(&["produce", "in", "--local", "log"], &format!("{}\n", json!({ "value": value })))?;
        let count = (before + 1).to_string();
        let seen = self.run(&["consume", "out", "--local", "log", "--follow", "-n", &count], "")?;
        let last: Value = serde_json::from_str(seen.lines().last().context("a line")?)?;
        Ok(last["value"].as_str().context("text")?.to_owned())
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&http::get(self.admin, "/v1/pipelines/files")?.body)?)
    }

    fn history(&self) -> Result<Vec<Value>> {
        Ok(serde_json::from_str(&http::get(self.admin, "/v1/pipelines/files/history")?.body)?)
    }

    fn wait_until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut status = Value::Null;
        let waited = eventually(WITHIN, what, || {
            status = self.status()?;
            Ok(is(&status).then_some(()))
        });
        waited.with_context(|| status.to_string())?;
        Ok(status)
    }

    fn wait_for_version(&self, version: &str) -> Result<Value> {
        self.wait_until(version, |status| status["stages"][0]["version"] == version)
    }

    fn wait_for_refusal(&self, words: &str) -> Result<Value> {
        let refused = |status: &Value| status["stages"][0]["refused"]["reason"].as_str().map(str::to_owned);
        let status = self.wait_until(words, |status| refused(status).is_some_and(|reason| reason.contains(words)))?;
        Ok(status["stages"][0]["refused"].clone())
    }
}

fn path(file: &Path) -> Result<&str> {
    file.to_str().context("UTF-8")
}
