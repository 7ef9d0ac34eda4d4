//! What a call costs: batches of 512 records of 200 bytes, from columns to columns, through the Rust SDK.
//!
//! `cargo bench -p sluicegate-benches`. Criterion's "elements" are records: its time an element is what README states.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluicegate_benches::boundary::{CALLS, RECORDS, batch};
use sluicegate_core::{Outcomes, Transform as _};

fn call(criterion: &mut Criterion) {
    let batch = batch();
    let mut group = criterion.benchmark_group("call");
    group.throughput(Throughput::Elements(RECORDS));
    for call in CALLS {
        let mut instance = call.instance().expect("the plugin starts");
        group.bench_function(call.name, |bencher| {
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
