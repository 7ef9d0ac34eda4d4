use std::path::Path;
use std::time::{Duration, Instant};

use sluicegate_wasm::{Engine, EngineSettings, Interface, LoadOptions, Plugin};

use crate::guests::{bytes, engine, plugin};

fn refusal(bytes: Vec<u8>, options: &LoadOptions) -> String {
    Plugin::load(&engine(), bytes, options).expect_err("a refusal").to_string()
}

#[test]
fn a_plugin_says_what_it_is() {
    let hostile = plugin("hostile");
    let description = hostile.description();
    assert_eq!((description.name.as_str(), description.version.as_str()), ("hostile", "0.1.0"));
    assert_eq!(description.summary, "does\\nwhat records ask for");
    assert_eq!(description.config_schema, None);
    let artifact = hostile.artifact();
    assert_eq!(artifact.interface, Interface::BatchTransform);
    assert_eq!(artifact.size, bytes("hostile").len());
    assert!(artifact.imports.iter().any(|import| import == "sluicegate:plugin/log@0.1.0"));
    assert!(artifact.producers.iter().any(|producer| (&*producer.field, &*producer.name) == ("language", "Rust")));
    assert_eq!(plugin("single").artifact().interface, Interface::Transform);
    assert_eq!(plugin("single").description().config_schema.as_deref(), Some("{}"));
}

#[test]
fn what_a_plugin_asks_for_is_known() {
    let asked = |name| plugin(name).artifact().asks().iter().map(|ask| ask.interface).collect::<Vec<_>>();
    assert_eq!(asked("single"), [""; 0]);
    assert_eq!(asked("hostile"), ["wasi:clocks/monotonic-clock", "wasi:random/insecure-seed"]);
    let all = ["wall-clock", "monotonic-clock"].map(|name| format!("wasi:clocks/{name}"));
    let all = [&all[..], &["random", "insecure-seed"].map(|name| format!("wasi:random/{name}"))].concat();
    assert_eq!(asked("fickle"), all);
}

#[test]
fn the_network_is_refused_by_name() {
    let line = refusal(bytes("outward"), &LoadOptions::default());
    assert!(line.starts_with("imports wasi:sockets/"), "{line}");
    assert!(line.ends_with("which no plugin is given (plugins have no network): remove what needs it"), "{line}");
}

#[test]
fn limits_name_themselves() {
    let small = LoadOptions { file_size_max: 9, ..LoadOptions::default() };
    assert_eq!(
        refusal(b"0123456789".to_vec(), &small),
        "the file has 10 bytes; the limit on a plugin's file is 9 (and never more than 134217728): \
         build it without debug information, or raise limits.file-size"
    );
    let hurry = LoadOptions { compile_time_max: Duration::ZERO, ..LoadOptions::default() };
    assert_eq!(
        refusal(bytes("hostile"), &hurry),
        "compiling takes longer than 0ns: make the plugin smaller, or raise limits.compile-time"
    );
}

#[test]
fn files_are_read_up_to_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hostile.wasm");
    std::fs::write(&path, bytes("hostile")).unwrap();
    assert!(Plugin::open(&engine(), &path, &LoadOptions::default()).is_ok());
    let small = LoadOptions { file_size_max: 9, ..LoadOptions::default() };
    assert!(Plugin::open(&engine(), &path, &small).unwrap_err().to_string().starts_with("the file has"));
    let endless = Plugin::open(&engine(), Path::new("/dev/zero"), &small).unwrap_err().to_string();
    assert!(endless.starts_with("the file has 10 bytes"), "{endless}");
    let missing = Plugin::open(&engine(), &directory.path().join("no.wasm"), &small).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read plugin ") && missing.contains("no.wasm: "), "{missing}");
}

/// Names alone do not make a plugin.
#[test]
fn exports_of_the_wrong_type_are_refused() {
    let fake = wat::parse_str(
        "(component (instance $i)
            (export \"sluicegate:plugin/lifecycle@0.1.0\" (instance $i))
            (export \"sluicegate:plugin/batch-transform@0.1.0\" (instance $i)))",
    );
    let line = refusal(fake.unwrap(), &LoadOptions::default());
    assert!(line.starts_with("does not fit plugin.wit: ") && line.contains("describe"), "{line}");
    let invalid = wat::parse_str(
        "(component (core module (func (result i32))) (instance $i)
            (export \"sluicegate:plugin/lifecycle@0.1.0\" (instance $i))
            (export \"sluicegate:plugin/transform@0.1.0\" (instance $i)))",
    );
    let line = refusal(invalid.unwrap(), &LoadOptions::default());
    assert!(line.starts_with("does not compile: ") && !line.contains('\n'), "{line}");
}

#[test]
fn the_second_load_comes_from_the_cache() {
    let directory = tempfile::tempdir().unwrap();
    let settings = EngineSettings { cache_dir: Some(directory.path().join("compiled")), compiler: None };
    let load = || {
        let engine = Engine::new(&settings).unwrap();
        let start = Instant::now();
        Plugin::load(&engine, bytes("hostile"), &LoadOptions::default()).unwrap();
        start.elapsed()
    };
    let (cold, warm) = (load(), load());
    assert!(files(directory.path()) > 0, "nothing was cached");
    assert!(warm < cold, "warm {warm:?}, cold {cold:?}");
}

fn files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}
