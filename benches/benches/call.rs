//! What a call costs: batches of 512 records of 200 bytes, from columns to columns, through the SDKs.
//!
//! `cargo bench -p sluicegate-benches`. Criterion's "elements" are records: its time an element is what README states.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluicegate_benches::boundary::{CALLS, RECORDS};
use sluicegate_core::{Outcomes, Transform as _};

fn call(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call");
    group.throughput(Throughput::Elements(RECORDS));
    for call in CALLS {
        let (mut instance, batch) = (call.instance().expect("the plugin starts"), call.batch());
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
