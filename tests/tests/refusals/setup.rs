use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluicegate_tests::client::Client;
use sluicegate_tests::http::{self, Response};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::numbered::PARTITIONS;
use sluicegate_tests::program::{Output, Program, Running, free_address, sluicegate};
use sluicegate_tests::registry::Registry;
use sluicegate_tests::stamp::{digest, version};
use sluicegate_tests::wait::eventually;

pub(crate) const TOPIC: &str = "refusals";
/// The pipelines that read it, and how many stages each has.
pub(crate) const PIPELINES: [(&str, usize); 3] = [("open", 4), ("signed", 1), ("locked", 1)];
/// What `open/given` takes at most.
pub(crate) const FILE_SIZE_MAX: usize = 1 << 20;

const WITHIN: Duration = Duration::from_secs(60);

/// Three pipelines in one process that read the same records, and whoever writes and changes them. All their stages run
/// version 0.
pub(crate) struct Setup {
    pub(crate) registry: Registry,
    pub(crate) admin: SocketAddr,
    pub(crate) client: Client,
    pub(crate) writer: Client,
    /// Version 0.
    pub(crate) good: Vec<u8>,
    folder: tempfile::TempDir,
}

impl Setup {
    pub(crate) fn new() -> Result<Self> {
        let kafka = Kafka::shared()?;
        let (client, writer) = (Client::connect(kafka)?, Client::connect(kafka)?);
        client.create_topic(TOPIC, PARTITIONS, &[])?;
        for (pipeline, _) in PIPELINES {
            // What the outputs' timestamps say is when they came.
            let settings = [("message.timestamp.type", "LogAppendTime")];
            client.create_topic(&format!("{TOPIC}.{pipeline}"), PARTITIONS, &settings)?;
        }
        let (folder, registry) = (tempfile::tempdir()?, Registry::start()?);
        let setup = Setup { registry, admin: free_address()?, client, writer, good: version(0)?, folder };
        for name in ["stamp.wasm", "given.wasm"] {
            setup.write(name, &setup.good)?;
        }
        for name in ["ops", "intern", "stranger"] {
            setup.done(&["keygen", name])?;
        }
        setup.write("signed.wasm", &setup.signed("ops", 0)?)?;
        setup.push("stamp.wasm", "live")?;
        setup.lay_out(&kafka.bootstrap())?;
        Ok(setup)
    }

    fn lay_out(&self, brokers: &str) -> Result<()> {
        let (registry, digest) = (self.registry.address(), digest(&self.good));
        let pinned = self.push("stamp.wasm", "pinned")?;
        let open = format!(
            "[{{ name: given, plugin: given.wasm, limits: {{ file-size: 1MiB }} }},\n\
             {{ name: hasty, plugin: stamp.wasm, limits: {{ compile-time: 2s }} }},\n\
             {{ name: tag, plugin: 'oci://{registry}/stamp:live', reload-interval: 1s }},\n\
             {{ name: pinned, plugin: stamp.wasm, digest: '{digest}' }}]"
        );
        let keys = "{ key: '${file:ops.pub}' }, { key: '${file:intern.pub}', topics: [elsewhere] }";
        for (pipeline, stages, trust) in [
            ("open", open, String::new()),
            ("signed", "[{ name: stamp, plugin: signed.wasm }]".into(), format!("trust: {{ keys: [{keys}] }}\n")),
            ("locked", format!("[{{ name: stamp, plugin: '{pinned}' }}]"), "trust: { locked: true }\n".into()),
        ] {
            let yaml = format!(
                "name: {pipeline}\n\
                 source: {{ kafka: {{ brokers: '{brokers}', topics: [{TOPIC}], start: earliest }} }}\n\
                 stages: {stages}\n\
                 sink: {{ kafka: {{ topic: {TOPIC}.{pipeline}, partition: same }} }}\n\
                 delivery: exactly-once\nworkers: 1\n{trust}"
            );
            self.write(&format!("{pipeline}.yaml"), yaml.as_bytes())?;
        }
        Ok(())
    }

    pub(crate) fn start(&self) -> Result<Running> {
        // Has it in the cache of compiled plugins, for the stage that is in a hurry.
        self.done(&["inspect", "stamp.wasm"])?;
        let (files, admin) = (PIPELINES.map(|(name, _)| format!("{name}.yaml")), self.admin.to_string());
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let args = [&["run"], &files[..], &["--state-dir", "state", "--admin", &admin]].concat();
        let mut running = self.program(&args)?.spawn()?;
        running.wait_ready(self.admin, WITHIN)?;
        Ok(running)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(fs::write(self.file(name), bytes)?)
    }

    /// Replaces the file of the stage `open/given` as a whole, or removes it.
    pub(crate) fn replace_file(&self, bytes: Option<&[u8]>) -> Result<()> {
        let Some(bytes) = bytes else { return Ok(fs::remove_file(self.file("given.wasm"))?) };
        self.write("new", bytes)?;
        Ok(fs::rename(self.file("new"), self.file("given.wasm"))?)
    }

    /// Lets the tag of the stage `open/tag` lead to this, or to nothing.
    pub(crate) fn move_tag(&self, manifest: Option<&Value>) -> Result<()> {
        match manifest {
            Some(manifest) => self.registry.tag("stamp", "live", manifest),
            None => {
                let live = self.push("stamp.wasm", "live")?;
                self.registry.delete("stamp", live.rsplit_once('@').context("a digest")?.1)
            }
        }
    }

    /// Pushes a file under a tag. Gives the reference that pins it.
    pub(crate) fn push(&self, file: &str, tag: &str) -> Result<String> {
        let to = format!("oci://{}/stamp:{tag}", self.registry.address());
        let pushed: Value = serde_json::from_str(&self.done(&["push", file, &to, "--json"])?)?;
        Ok(pushed["reference"].as_str().context("a reference")?.to_owned())
    }

    /// A version that is signed by this key.
    pub(crate) fn signed(&self, key: &str, number: usize) -> Result<Vec<u8>> {
        self.write("plain.wasm", &version(number)?)?;
        self.done(&["sign", "plain.wasm", "--key", &format!("{key}.key")])?;
        Ok(fs::read(self.file("plain.wasm"))?)
    }

    fn program(&self, args: &[&str]) -> Result<Program> {
        let program = sluicegate(args)?.folder(self.folder.path());
        Ok(program.env("XDG_CACHE_HOME", self.file("cache")).env("DOCKER_CONFIG", self.file("docker")))
    }

    fn done(&self, args: &[&str]) -> Result<String> {
        let output = self.program(args)?.run()?;
        ensure!(output.code == Some(0), "{args:?}: {output:?}");
        Ok(output.stdout)
    }

    /// Has a command speak to the process that runs the pipelines.
    pub(crate) fn cli(&self, args: &[&str]) -> Result<Output> {
        let admin = format!("http://{}", self.admin);
        self.program(&[args, &["--admin", &admin]].concat())?.run()
    }

    pub(crate) fn put(&self, stage: &str, bytes: &[u8]) -> Result<Response> {
        let (pipeline, stage) = stage.split_once('/').context("a stage")?;
        let path = format!("/v1/pipelines/{pipeline}/stages/{stage}/plugin");
        http::send(self.admin, "PUT", &path, &["Content-Type: application/wasm"], bytes)
    }

    pub(crate) fn history(&self, pipeline: &str) -> Result<Vec<Value>> {
        let path = format!("/v1/pipelines/{pipeline}/history");
        Ok(serde_json::from_str(&http::get(self.admin, &path)?.body)?)
    }

    /// A stage as the status shows it.
    pub(crate) fn stage(&self, stage: &str) -> Result<Value> {
        let (pipeline, name) = stage.split_once('/').context("a stage")?;
        let status: Value = serde_json::from_str(&http::get(self.admin, &format!("/v1/pipelines/{pipeline}"))?.body)?;
        let found = status["stages"].as_array().into_iter().flatten().find(|stage| stage["name"] == name).cloned();
        found.with_context(|| status.to_string())
    }

    pub(crate) fn wait_for(&self, stage: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let waited = eventually(WITHIN, what, || Ok(Some(self.stage(stage)?).filter(&is)));
        waited.with_context(|| self.stage(stage).unwrap_or_default().to_string())
    }

    /// By stage, what runs there, since when, and after what.
    pub(crate) fn versions(&self) -> Result<BTreeMap<String, [Value; 3]>> {
        let all: Value = serde_json::from_str(&http::get(self.admin, "/v1/pipelines")?.body)?;
        let mut versions = BTreeMap::new();
        for pipeline in all.as_array().context("pipelines")? {
            for stage in pipeline["stages"].as_array().context("stages")? {
                let runs = ["digest", "since", "before"].map(|key| stage[key].clone());
                versions.insert(format!("{}/{}", pipeline["name"], stage["name"]), runs);
            }
        }
        Ok(versions)
    }
}
