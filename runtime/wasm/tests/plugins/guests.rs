use std::path::PathBuf;
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
    let built = BUILT.get_or_init(|| {
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("guests");
        // Asked at run time: checkouts may share a target folder.
        let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo");
        let manifest = PathBuf::from(package).join("../../tests/guests/Cargo.toml");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--release", "--target", "wasm32-wasip2", "--manifest-path"]).arg(manifest);
        let status = cargo.arg("--target-dir").arg(&target).env_remove("RUSTFLAGS").status().expect("cargo runs");
        assert!(status.success(), "tests/guests does not build");
        target.join("wasm32-wasip2/release")
    });
    std::fs::read(built.join(format!("{name}.wasm"))).expect("a guest of that name")
}

pub(crate) fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&EngineSettings::default()).expect("an engine")).clone()
}

pub(crate) fn plugin(name: &str) -> Plugin {
    Plugin::load(&engine(), bytes(name), &LoadOptions::default()).expect("a plugin")
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
    }
}

pub(crate) fn instance(name: &str) -> Instance {
    hasty(name, PATIENT)
}

pub(crate) fn hasty(name: &str, deadline: Duration) -> Instance {
    started(name, InstanceSpec { limits: limits(deadline), ..spec("{}") })
}

pub(crate) fn started(name: &str, spec: InstanceSpec) -> Instance {
    Instance::new(&plugin(name), &Arc::new(spec)).expect("an instance")
}

pub(crate) fn batch(values: &[&str]) -> Batch {
    let mut batch = Batch { partition: Partition { topic: "trades".into(), number: 3 }, ..Batch::default() };
    for (offset, value) in values.iter().enumerate() {
        batch.push(offset as u64, 5, Some(b"key"), Some(value.as_bytes()));
    }
    batch
}
