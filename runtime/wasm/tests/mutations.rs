//! Plugins with a few bytes changed: whatever comes of it, loading one neither panics nor takes much memory. A process of
//! its own, so that its memory is that of nothing else.

use proptest::prelude::*;
use proptest::sample::Index;
use sluicegate_wasm::{Engine, EngineSettings, LoadError, LoadOptions, Plugin, component_of};

/// A plugin that describes itself and drops what it is given.
const MODULE: &str = r#"(module
    (import "sluicegate:plugin/log@0.1.0" "log" (func (param i32 i32 i32)))
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (table 1 funcref)
    (elem (i32.const 0) func $realloc)
    (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
        (global.set $next (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    (func (export "sluicegate:plugin/lifecycle@0.1.0#describe") (result i32) (i32.const 8))
    (func (export "sluicegate:plugin/lifecycle@0.1.0#configure") (param i32 i32 i32 i32) (result i32) (i32.const 64))
    (func (export "sluicegate:plugin/batch-transform@0.1.0#process") (param i32) (result i32) (i32.const 128))
    ;; Name, version and summary, each by its address and length; no schema.
    (data (i32.const 8) "\00\02\00\00\07\00\00\00\07\02\00\00\03\00\00\00\00\00\00\00\00\00\00\00")
    (data (i32.const 512) "mutated1.0"))"#;

/// What all of them together may add to the process's memory, in KiB.
const GROWTH_MAX: u64 = 128 << 10;

#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    /// Copies some bytes over others.
    Copy(Index, Index, usize),
    Cut(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = || prop_oneof![any::<u8>(), Just(0), Just(0x7f), Just(0xff)];
    prop_oneof![
        8 => (any::<Index>(), byte()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        2 => (any::<Index>(), byte()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        2 => any::<Index>().prop_map(Mutation::Remove),
        2 => (any::<Index>(), any::<Index>(), 1..64usize).prop_map(|(from, to, size)| Mutation::Copy(from, to, size)),
        1 => any::<Index>().prop_map(Mutation::Cut),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let len = bytes.len().max(1);
    bytes.resize(len, 0);
    match mutation {
        Mutation::Set(at, byte) => bytes[at.index(len)] = *byte,
        Mutation::Insert(at, byte) => bytes.insert(at.index(len), *byte),
        Mutation::Remove(at) => drop(bytes.remove(at.index(len))),
        Mutation::Copy(from, to, size) => {
            let (from, to) = (from.index(len), to.index(len));
            let size = (*size).min(len - from.max(to));
            bytes.copy_within(from..from + size, to);
        }
        Mutation::Cut(at) => bytes.truncate(at.index(len)),
    }
}

/// The most memory that this process has had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_plugin_with_a_few_bytes_changed_loads_or_is_refused() {
    let engine = Engine::new(&EngineSettings::default()).unwrap();
    let load = |bytes: Vec<u8>| Plugin::load(&engine, bytes, &LoadOptions::default());
    let module = wat::parse_str(MODULE).unwrap();
    let component = component_of(&module).unwrap();
    for whole in [&module, &component] {
        assert_eq!(load(whole.clone()).unwrap().description().name, "mutated");
    }
    let before = peak();
    let config = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    let changes = (any::<bool>(), prop::collection::vec(mutation(), 1..6));
    let tried = proptest::test_runner::TestRunner::new(config).run(&changes, |(wrapped, mutations)| {
        let mut bytes = if wrapped { component.clone() } else { module.clone() };
        mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
        // The compiler has a thread of its own, whose panic is an error here.
        let crashed = matches!(load(bytes), Err(LoadError::Compile(why)) if why.contains("crashed"));
        prop_assert!(!crashed);
        // Linux counts it in batches, so that it may seem to have gone down.
        prop_assert!(peak().saturating_sub(before) < GROWTH_MAX);
        Ok(())
    });
    tried.unwrap();
}
