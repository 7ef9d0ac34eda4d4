//! What probes, scrapes and whoever reads the log see of a process that starts, stands still, and ends.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluicegate_tests::client::Client;
use sluicegate_tests::http;
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::process::Signal;
use sluicegate_tests::program::{Running, done, free_address, sluicegate};
use sluicegate_tests::stamp::{mischievous, version};
use sluicegate_tests::wait::eventually;

const WITHIN: Duration = Duration::from_secs(60);
const ENDED_WITHIN: Duration = Duration::from_secs(15);

/// To load plugins takes time, as where a registry does not answer; a process that was killed for it would never be ready.
#[test]
fn a_process_is_live_but_not_ready_while_it_loads_plugins() -> Result<()> {
    let registry = TcpListener::bind("127.0.0.1:0")?; // Nobody accepts: requests wait.
    let stage = format!("plugin: oci://{}/upper:1", registry.local_addr()?);
    for pipelines in [&["pipelines/p.yaml"][..], &["--config-dir", "pipelines"]] {
        let setup = Setup::new(&stage, "")?;
        let mut running = setup.start(pipelines)?;
        eventually(WITHIN, "/live", || {
            ensure!(running.is_running()?, "it ended: {}", running.stderr()?);
            Ok(http::get(setup.admin, "/live").is_ok_and(|answer| answer.status == 200).then_some(()))
        })?;
        let ready = http::get(setup.admin, "/ready")?;
        ensure!((ready.status, ready.body.as_str()) == (503, "starting\n"), "{ready:?}");
        // There is nothing to drain yet.
        running.signal(Signal::Term)?;
        let ended = running.wait(ENDED_WITHIN)?;
        ensure!(ended.code == Some(0), "{ended:?}");
    }
    Ok(())
}

/// A proxy would see the token.
#[test]
fn the_admin_endpoint_is_asked_directly() -> Result<()> {
    let proxy = TcpListener::bind("127.0.0.1:0")?;
    proxy.set_nonblocking(true)?;
    let (admin, through) = (free_address()?.to_string(), format!("http://{}", proxy.local_addr()?));
    let status = sluicegate(["status", "--admin", &admin, "--token", "t"])?.env("ALL_PROXY", &through).run()?;
    ensure!(status.code == Some(1) && status.stderr.contains("Connection refused"), "{status:?}");
    assert_eq!(proxy.accept().map(drop).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    Ok(())
}

#[test]
fn a_process_that_runs_nothing_of_a_file_is_not_ready() -> Result<()> {
    let setup = Setup::new("plugin: ../stamp.wasm", "")?;
    let mut running = setup.start(&["--config-dir", "pipelines"])?;
    let mut answer = String::new();
    eventually(WITHIN, "/ready to name the file", || {
        answer = http::get(setup.admin, "/ready").map(|answer| format!("{answer:?}")).unwrap_or_default();
        Ok((answer.contains("503") && answer.contains("p.yaml is refused")).then_some(()))
    })
    .with_context(|| answer.clone())?;
    fs::write(setup.folder.path().join("stamp.wasm"), version(1)?)?;
    // Whole, as deployments do it: with another inode.
    setup.configure("plugin: ../stamp.wasm", "")?;
    running.wait_ready(setup.admin, WITHIN)?;
    // What runs already goes on, whatever its file becomes.
    setup.configure("plugin: ../other.wasm", "")?;
    eventually(WITHIN, "a refusal", || {
        let metrics = http::get(setup.admin, "/metrics")?.body;
        Ok(metrics.contains("sluicegate_files_refused 1").then_some(()))
    })?;
    running.wait_ready(setup.admin, WITHIN)?;
    end(running)
}

#[test]
fn a_breaker_that_is_open_and_restarts_are_seen() -> Result<()> {
    let setup = Setup::new("plugin: ../stamp.wasm, on-failure: { breaker: 3 }", "dead-letter: { topic: dead }\n")?;
    fs::write(setup.folder.path().join("stamp.wasm"), mischievous(1, "trap")?)?;
    let mut running = setup.start(&["pipelines/p.yaml"])?;
    running.wait_ready(setup.admin, WITHIN)?;
    let metric = |name: &str| setup.metric(name);
    let none = (metric("sluicegate_breaker_open{pipeline=\"p\"}")?, setup.restarts("tripped")?);
    ensure!(none == (Some(0.0), Some(0.0)), "{none:?}");
    ensure!(metric("sluicegate_workers{pipeline=\"p\"}")? == Some(1.0));
    setup.produce(5)?;
    eventually(WITHIN, "an open breaker", || {
        let seen = (metric("sluicegate_breaker_open{pipeline=\"p\"}")?, setup.restarts("tripped")?);
        Ok((seen.0 == Some(1.0) && seen.1 >= Some(1.0)).then_some(()))
    })?;
    ensure!(metric("sluicegate_workers_running{pipeline=\"p\"}")? == Some(0.0));
    let ready = http::get(setup.admin, "/ready")?;
    let why = "pipeline 'p': a worker waits, as a stage's breaker has tripped\n";
    ensure!((ready.status, ready.body.as_str()) == (503, why), "{ready:?}");
    // What tripped it was undone, and is read again by the next start: to say more would not be true.
    running.signal(Signal::Term)?;
    let ended = running.wait(ENDED_WITHIN)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(ended.stderr.contains("stopped: not everything read is committed"), "{ended:?}");
    ensure!(!ended.stderr.contains("everything read is done"), "{ended:?}");
    Ok(())
}

#[test]
fn the_last_commit_has_a_time_and_the_last_line_is_true() -> Result<()> {
    let setup = Setup::new("plugin: ../stamp.wasm", "")?;
    fs::write(setup.folder.path().join("stamp.wasm"), version(1)?)?;
    let mut running = setup.start(&["pipelines/p.yaml"])?;
    running.wait_ready(setup.admin, WITHIN)?;
    let last_commit = || setup.metric("sluicegate_last_commit_timestamp_seconds{pipeline=\"p\"}");
    ensure!(last_commit()?.is_none(), "nothing is committed yet");
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    setup.produce(1)?;
    let at = eventually(WITHIN, "a commit", last_commit)?;
    ensure!((before - 1.0..before + WITHIN.as_secs_f64() * 2.0).contains(&at), "{at}, begun at {before}");
    end(running)
}

/// Librdkafka tries on for as long as it takes, and so does the worker.
#[test]
fn a_process_whose_brokers_do_not_answer_is_not_ready_until_one_does() -> Result<()> {
    let mut kafka = Kafka::start()?;
    let client = Client::connect(&kafka)?;
    client.create_topic("in", 1, &[])?;
    client.create_topic("out", 1, &[])?;
    let (folder, admin, brokers) = (tempfile::tempdir()?, free_address()?, kafka.bootstrap());
    let yaml = format!(
        "name: p\n\
         source: {{ kafka: {{ brokers: '{brokers}', topics: [in] }} }}\n\
         stages: []\n\
         sink: {{ kafka: {{ topic: out }} }}\n\
         workers: 1\n"
    );
    fs::write(folder.path().join("p.yaml"), yaml)?;
    let args = ["run", "p.yaml", "--state-dir", "state", "--admin", &admin.to_string()];
    let mut running = sluicegate(args)?.folder(folder.path()).spawn()?;
    running.wait_ready(admin, WITHIN)?;
    kafka.kill()?;
    eventually(WITHIN * 2, "/ready to say so", || {
        let ready = http::get(admin, "/ready")?;
        let said = ready.body == "pipeline 'p': no broker has answered for 30 s\n";
        ensure!(said || ready.status == 200, "{ready:?}");
        Ok(said.then_some(()))
    })?;
    let status = done(sluicegate(["status", "--admin", &admin.to_string()])?.run()?)?;
    ensure!(status.contains("0 of 1 workers running") && status.contains("worker 0 unanswered: no broker"), "{status}");
    kafka.restart()?;
    running.wait_ready(admin, WITHIN)?;
    ensure!(!running.stderr()?.contains("starting again"), "the same worker goes on: {}", running.stderr()?);
    end(running)
}

/// The pipeline `p` of one worker on the embedded log, in a folder of pipelines.
struct Setup {
    folder: tempfile::TempDir,
    admin: SocketAddr,
}

impl Setup {
    fn new(stage: &str, rest: &str) -> Result<Self> {
        let setup = Setup { folder: tempfile::tempdir()?, admin: free_address()? };
        fs::create_dir(setup.folder.path().join("pipelines"))?;
        setup.configure(stage, rest)?;
        done(sluicegate(["topics", "create", "in", "--local", "log"])?.folder(setup.folder.path()).run()?)?;
        Ok(setup)
    }

    fn configure(&self, stage: &str, rest: &str) -> Result<()> {
        let yaml = format!(
            "name: p\n\
             source: {{ local: {{ path: ../log, topics: [in] }} }}\n\
             stages: [{{ name: s, {stage} }}]\n\
             sink: {{ local: {{ path: ../log, topic: out }} }}\n\
             workers: 1\n{rest}"
        );
        let folder = self.folder.path().join("pipelines");
        fs::write(folder.join(".new"), yaml)?;
        Ok(fs::rename(folder.join(".new"), folder.join("p.yaml"))?)
    }

    fn start(&self, pipelines: &[&str]) -> Result<Running> {
        let admin = self.admin.to_string();
        let args = [&["run", "--state-dir", "state", "--admin", &admin], pipelines].concat();
        sluicegate(args)?.folder(self.folder.path()).spawn()
    }

    fn produce(&self, records: usize) -> Result<()> {
        let lines = "{\"value\":\"x\"}\n".repeat(records);
        let program = sluicegate(["produce", "in", "--local", "log"])?.folder(self.folder.path());
        done(program.input(lines).run()?).map(drop)
    }

    fn metric(&self, name: &str) -> Result<Option<f64>> {
        let metrics = http::get(self.admin, "/metrics")?.body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.map(str::parse).transpose()?)
    }

    fn restarts(&self, kind: &str) -> Result<Option<f64>> {
        self.metric(&format!("sluicegate_worker_restarts_total{{pipeline=\"p\",kind=\"{kind}\"}}"))
    }
}

/// Ends it, which finishes all.
fn end(mut running: Running) -> Result<()> {
    running.signal(Signal::Term)?;
    let ended = running.wait(ENDED_WITHIN)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(ended.stderr.contains("stopped: everything read is done and committed"), "{ended:?}");
    Ok(())
}
