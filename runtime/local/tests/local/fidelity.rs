use std::time::Duration;

use proptest::prelude::*;
use sluicegate_core::{Batch, Destination, NO_TIMESTAMP, Output, Polled, Positions, Sink, Source, Ticket, Transaction};
use sluicegate_local::{BatchLimits, LocalSink, LocalSource};

use crate::support::{Record, create, offsets, place, read, sink_settings, source_settings, write};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        6 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (1usize..200_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let name = prop_oneof![Just(b"same".to_vec()), prop::collection::vec(any::<u8>(), 0..5)];
    let headers = prop::collection::vec((name, prop::option::of(bytes())), 0..4);
    let timestamp = prop_oneof![Just(NO_TIMESTAMP), Just(-1), any::<i64>()];
    (timestamp, prop::option::of(bytes()), prop::option::of(bytes()), headers)
        .prop_map(|(timestamp, key, value, headers)| Record { timestamp, key, value, headers })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Written, read by a pipeline that passes everything on, and read again: byte for byte the same, in order,
    /// whatever the size of commits and batches.
    #[test]
    fn records_come_out_as_they_went_in(
        commits in prop::collection::vec(prop::collection::vec(record(), 1..30), 1..6),
        limits in (1usize..50, 1usize..300_000),
    ) {
        let place = place();
        create(&place.log, "in", 3);
        commits.iter().for_each(|records| write(&place.log, "in", 1, records));
        let expected: Vec<Record> = commits.concat();
        prop_assert_eq!(&read(&place.log, "in", 1), &expected);

        let batch = BatchLimits { records: limits.0, bytes: limits.1 };
        let mut source = LocalSource::open(&place.log, &sluicegate_local::SourceSettings { batch, ..source_settings("in") }).unwrap();
        let mut sink = LocalSink::open(&place.log, &sink_settings("out")).unwrap();
        let mut transaction = source.transaction(Some(&sink));
        let (mut batch, mut next) = (Batch::default(), 0);
        while source.poll(&mut batch, Duration::ZERO).unwrap() == Polled::Batch {
            prop_assert!(batch.len() <= limits.0 && (batch.bytes() <= limits.1 || batch.len() == 1));
            prop_assert_eq!(batch.offsets[0], next);
            next += batch.len() as u64;
            prop_assert_eq!(batch.log_end, Some(expected.len() as u64));
            transaction.begin().unwrap();
            pass_on(&batch, &mut sink);
            transaction.commit(&Positions::from([(batch.partition.clone(), next)])).unwrap();
        }
        prop_assert_eq!(&read(&place.log, "out", 1), &expected);
        prop_assert_eq!(offsets(&place.log, "group").values().max().copied(), Some(expected.len() as u64));
    }
}

pub(crate) fn pass_on(batch: &Batch, sink: &mut LocalSink) {
    for row in batch.rows() {
        let output = Output {
            to: Destination::Default,
            source: &batch.partition,
            offset: row.offset,
            index: 0,
            timestamp: row.timestamp,
            key: row.key,
            value: row.value,
            headers: row.headers,
            added: &[],
        };
        sink.write(&output, Ticket(0)).unwrap();
    }
}
