use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sluicegate_core::{Batch, Partition};
use sluicegate_wasm::{
    Allow, Engine, EngineSettings, Instance, InstanceLimits, InstanceSpec, LoadOptions, Plugin, PluginCounters, Topics,
};

/// The bytes of a guest of `tests/guests`, all of which are built once.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    read(BUILT.get_or_init(|| build("guests", "wasm32-wasip2", &[])), name)
}

/// The bytes of such a guest as a core module for WASI preview 1, which describes its world in a section of its own.
pub(crate) fn module(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    read(BUILT.get_or_init(|| build("guests", "wasm32-wasip1", &["-p", "single", "-p", "hostile"])), name)
}

/// The bytes of the transform by Redpanda's SDK.
pub(crate) fn transform() -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    read(BUILT.get_or_init(|| build("transforms", "wasm32-wasip1", &[])), "asked")
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(format!("{name}.wasm"))).expect("a guest of that name")
}

/// Builds a workspace of `tests/`. Gives the folder of what it made.
fn build(workspace: &str, target: &str, packages: &[&str]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name(workspace);
    // Asked at run time: checkouts may share a target folder.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo");
    let manifest = PathBuf::from(package).join("../../tests").join(workspace).join("Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--target", target]).args(packages).arg("--manifest-path").arg(manifest);
    let status = cargo.arg("--target-dir").arg(&folder).env_remove("RUSTFLAGS").status().expect("cargo runs");
    assert!(status.success(), "tests/{workspace} does not build");
    folder.join(target).join("release")
}

pub(crate) fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&EngineSettings::default()).expect("an engine")).clone()
}

pub(crate) fn plugin(name: &str) -> Plugin {
    plugin_of(bytes(name))
}

pub(crate) fn plugin_of(bytes: Vec<u8>) -> Plugin {
    Plugin::load(&engine(), bytes, &LoadOptions::default()).expect("a plugin")
}

/// Longer than any stall of a busy machine: for calls that are not to fail for time.
pub(crate) const PATIENT: Duration = Duration::from_secs(30);

pub(crate) fn limits(deadline: Duration) -> InstanceLimits {
    InstanceLimits { deadline, ..InstanceLimits::default() }
}

pub(crate) fn spec(config: &str) -> InstanceSpec {
    InstanceSpec {
        pipeline: "trades".into(),
        stage: "first".into(),
        config: config.into(),
        outputs: vec!["large".into(), "audit".into()],
        topics: Topics { input: Some("trades".into()), output: Some("trades.clean".into()) },
        limits: limits(PATIENT),
        allow: Allow::default(),
        counters: Arc::new(PluginCounters::default()),
        log: Arc::default(),
        role: None,
    }
}

pub(crate) fn instance(name: &str) -> Instance {
    hasty(name, PATIENT)
}

pub(crate) fn hasty(name: &str, deadline: Duration) -> Instance {
    started(name, InstanceSpec { limits: limits(deadline), ..spec("{}") })
}

pub(crate) fn started(name: &str, spec: InstanceSpec) -> Instance {
    started_of(&plugin(name), spec)
}

pub(crate) fn started_of(plugin: &Plugin, spec: InstanceSpec) -> Instance {
    Instance::new(plugin, &Arc::new(spec)).expect("an instance")
}

pub(crate) fn batch(values: &[&str]) -> Batch {
    let mut batch = Batch { partition: Partition { topic: "trades".into(), number: 3 }, ..Batch::default() };
    for (offset, value) in values.iter().enumerate() {
        batch.push(offset as u64, 5, Some(b"key"), Some(value.as_bytes()));
    }
    batch
}
