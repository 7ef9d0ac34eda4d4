//! What a call costs: batches of 512 records of 200 bytes, from columns to columns, through the Rust SDK.
//!
//! `cargo bench -p sluicegate-benches`. Criterion's "elements" are records: its time an element is what README states.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluicegate_core::{Batch, Outcomes, Transform};
use sluicegate_tests::plugins;
use sluicegate_wasm::{Allow, Engine, EngineSettings, Instance, InstanceLimits, InstanceSpec, LoadOptions, Plugin};

const RECORDS: u64 = 512;

fn batch() -> Batch {
    let mut batch = Batch::default();
    for offset in 0..RECORDS {
        let mut value = format!(r#"{{"id":{offset},"symbol":"acme","note":""#);
        value.extend(std::iter::repeat_n('x', 198 - value.len()));
        value.push_str(r#""}"#);
        batch.push(offset, 1_700_000_000_000, Some(format!("key-{offset}").as_bytes()), Some(value.as_bytes()));
    }
    batch
}

fn instance(plugin: &str, config: &str) -> Instance {
    let engine = Engine::new(&EngineSettings::default()).expect("wasmtime runs here");
    let path = plugins::plugin(plugin).expect("the plugin builds");
    let plugin = Plugin::open(&engine, &path, &LoadOptions::default()).expect("the plugin loads");
    let spec = InstanceSpec {
        pipeline: "bench".into(),
        stage: "bench".into(),
        config: config.into(),
        outputs: Vec::new(),
        limits: InstanceLimits { deadline: Duration::from_secs(10), ..InstanceLimits::default() },
        allow: Allow::default(),
        counters: Arc::default(),
    };
    Instance::new(&plugin, &Arc::new(spec)).expect("the plugin starts")
}

fn call(criterion: &mut Criterion) {
    let batch = batch();
    let mut group = criterion.benchmark_group("call");
    group.throughput(Throughput::Elements(RECORDS));
    let all_pass = r#"{"keep":{"key":true,"exists":true}}"#;
    for (name, plugin, config) in [("pass", "filter", all_pass), ("rewrite", "uppercase", "{}")] {
        let mut instance = instance(plugin, config);
        let mut outcomes = Outcomes::default();
        instance.process(&batch, &mut outcomes).expect("a well-behaved plugin");
        let expected = if name == "pass" { -1 } else { 1 };
        assert!(outcomes.outcomes.iter().all(|outcome| *outcome == expected), "{name}: {:?}", outcomes.outcomes);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut outcomes = Outcomes::default();
                instance.process(&batch, &mut outcomes).expect("a well-behaved plugin");
                outcomes
            });
        });
    }
    group.finish();
}

criterion_group!(benches, call);
criterion_main!(benches);
