//! Core modules that are plugins in all but their wrapping.

use std::time::Instant;

use sluicegate_core::{Outcomes, Transform};
use sluicegate_wasm::{Engine, EngineSettings, Form, Interface, LoadOptions, Plugin, component_of};

use crate::guests::{batch, engine, module, plugin_of, spec, started_of};

/// The module without the section in which its bindings describe its world: as one that is written by hand.
fn undescribed(module: &[u8]) -> Vec<u8> {
    let mut kept = module[..8].to_vec();
    let mut rest = &module[8..];
    while !rest.is_empty() {
        let (length, start) = leb(&rest[1..]);
        let end = 1 + start + length;
        let name = &rest[1 + start..end];
        let named = |prefix: &str| rest[0] == 0 && name[leb(name).1..].starts_with(prefix.as_bytes());
        if !named("component-type") {
            kept.extend_from_slice(&rest[..end]);
        }
        rest = &rest[end..];
    }
    kept
}

/// A number, and how many bytes it takes.
fn leb(bytes: &[u8]) -> (usize, usize) {
    let last = bytes.iter().position(|byte| byte & 0x80 == 0).expect("an end");
    let number = bytes[..=last].iter().rev().fold(0, |number, byte| number << 7 | usize::from(byte & 0x7f));
    (number, last + 1)
}

#[test]
fn a_module_runs_as_its_component_does() {
    let single = module("single");
    let bare = undescribed(&single);
    assert!(bare.len() < single.len(), "its bindings describe it");
    for (bytes, name, interface) in [
        (single, "single", Interface::Transform),
        (bare, "single", Interface::Transform),
        (module("hostile"), "hostile", Interface::BatchTransform),
    ] {
        let size = bytes.len();
        let plugin = plugin_of(bytes);
        assert_eq!((plugin.description().name.as_str(), plugin.artifact().interface), (name, interface));
        assert_eq!((plugin.artifact().form, plugin.artifact().size), (Form::Module, size));
        let mut outcomes = Outcomes::default();
        started_of(&plugin, spec("{}")).process(&batch(&["abc", "drop"]), &mut outcomes).unwrap();
        assert_eq!((outcomes.outcomes, outcomes.values.data), (vec![1, 0], b"ABC".to_vec()));
    }
}

#[test]
fn a_module_says_what_it_imports_and_asks_for() {
    let artifact = plugin_of(module("hostile")).artifact().clone();
    assert!(artifact.imports.iter().any(|import| import == "sluicegate:plugin/log@0.1.0"), "{:?}", artifact.imports);
    assert!(
        artifact.imports.iter().any(|import| import == "wasi_snapshot_preview1.fd_write"),
        "{:?}",
        artifact.imports
    );
    // Whether its standard library asks for the clock too is the linker's to find out.
    let asked: Vec<_> = artifact.asks().iter().map(|ask| ask.interface).collect();
    assert!(asked.contains(&"wasi_snapshot_preview1.random_get"), "{asked:?}");
}

/// Else nothing that is compiled once would be found again.
#[test]
fn a_module_gives_the_same_component_again_and_is_found_in_the_cache() {
    let bytes = module("hostile");
    assert_eq!(component_of(&bytes).unwrap(), component_of(&bytes).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let settings = EngineSettings { cache_dir: Some(directory.path().join("compiled")), compiler: None };
    let load = || {
        let engine = Engine::new(&settings).unwrap();
        let start = Instant::now();
        Plugin::load(&engine, bytes.clone(), &LoadOptions::default()).unwrap();
        start.elapsed()
    };
    let (cold, warm) = (load(), load());
    assert!(warm < cold, "warm {warm:?}, cold {cold:?}");
}

#[test]
fn what_is_missing_in_a_module_is_named() {
    let refusal = |wat: &str| {
        let bytes = wat::parse_str(wat).unwrap();
        Plugin::load(&engine(), bytes, &LoadOptions::default()).expect_err("a refusal").to_string()
    };
    let export = |name: &str| format!("(func (export \"sluicegate:plugin/{name}\"))");
    let (describe, process) = (export("lifecycle@0.1.0#describe"), export("transform@0.1.0#process"));
    assert!(refusal("(module)").starts_with("a core WebAssembly module that neither exports"));
    assert!(refusal(&format!("(module {process})")).starts_with("exports no sluicegate:plugin/lifecycle@0.1.0"));
    let line = refusal(&format!("(module {describe} {process})"));
    assert!(line.starts_with("does not compile: the module does not implement a world of plugin.wit: "), "{line}");
    assert!(line.contains("describe") || line.contains("memory") || line.contains("process"), "{line}");
    let line = refusal(&format!("(module (import \"env\" \"f\" (func)) {describe} {process})"));
    assert!(line.starts_with("imports env.f, which no plugin is given"), "{line}");
}
