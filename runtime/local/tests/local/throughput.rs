//! Prints what the log does here; `cargo test --release -- --nocapture throughput` shows it.

use std::time::{Duration, Instant};

use sluicegate_core::{Batch, Polled, Positions, Source, Transaction};
use sluicegate_local::{LocalSink, NewRecord, Writer};

use crate::fidelity::pass_on;
use crate::support::{create, place, sink_settings, source};

const RECORDS: u64 = 200_000;
const COMMIT_RECORDS: usize = 10_000;

#[test]
fn throughput_of_writing_and_of_copying() {
    let place = place();
    create(&place.log, "in", 4);
    let mut writer = Writer::open(&place.log, "in").unwrap();
    let value = [7; 200];
    let start = Instant::now();
    for number in 0..RECORDS {
        let (key, value) = (number.to_le_bytes(), Some(&value[..]));
        writer.send(&NewRecord { key: Some(&key), value, ..NewRecord::default() }).unwrap();
    }
    writer.flush().unwrap();
    report("written", start.elapsed());

    let start = Instant::now();
    let mut source = source(&place.log, "in");
    let mut sink = LocalSink::open(&place.log, &sink_settings("out")).unwrap();
    let mut transaction = source.transaction(Some(&sink));
    let (mut batch, mut ends, mut open) = (Batch::default(), Positions::new(), 0);
    while source.poll(&mut batch, Duration::ZERO).unwrap() == Polled::Batch {
        pass_on(&batch, &mut sink);
        ends.insert(batch.partition.clone(), batch.offsets.last().unwrap() + 1);
        open += batch.len();
        if open >= COMMIT_RECORDS {
            transaction.commit(&ends).unwrap();
            open = 0;
        }
    }
    transaction.commit(&ends).unwrap();
    report("copied exactly once", start.elapsed());
    let copied: u64 = place.log.topics().unwrap()[1].partitions.iter().map(|partition| partition.end).sum();
    assert_eq!(copied, RECORDS);
}

fn report(what: &str, took: Duration) {
    println!("{:.0} records of 200 bytes a second {what}", RECORDS as f64 / took.as_secs_f64());
}
