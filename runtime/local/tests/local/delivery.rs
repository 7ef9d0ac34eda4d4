use std::time::Duration;

use sluicegate_core::{
    Batch, Destination, ErrorKind, HeaderSlice, Output, Partition, Polled, Positions, Progress, Sink, Source, Ticket,
    Transaction,
};
use sluicegate_local::{IdHeader, LocalSink, PartitionBy, SinkSettings};

use crate::support::{
    Record, create, nameless, offsets, place, read, sink_settings, source, texts, write, write_numbers,
};

fn partition(number: u32) -> Partition {
    Partition { topic: "in".into(), number }
}

fn output<'a>(source: &'a Partition, value: &'a str) -> Output<'a> {
    Output {
        to: Destination::Default,
        source,
        offset: 7,
        index: 2,
        timestamp: 1,
        key: None,
        value: Some(value.as_bytes()),
        headers: HeaderSlice::default(),
        added: &[],
    }
}

#[test]
fn outputs_and_offsets_appear_together_or_not_at_all() {
    let place = place();
    create(&place.log, "in", 1);
    write_numbers(&place.log, "in", 0, 0..3);
    let source = source(&place.log, "in");
    let mut sink = LocalSink::open(&place.log, &sink_settings("out")).unwrap();
    let mut transaction = source.transaction(Some(&sink));
    let at = partition(0);

    transaction.begin().unwrap();
    sink.write(&output(&at, "given up"), Ticket(0)).unwrap();
    transaction.abort().unwrap();
    transaction.begin().unwrap();
    sink.write(&output(&at, "kept"), Ticket(1)).unwrap();
    let mut progress = Progress::default();
    sink.acknowledged(&mut progress, Duration::from_secs(1)).unwrap();
    assert!(texts(&place.log, "out", 0).is_empty(), "written before the commit");
    transaction.commit(&Positions::from([(at.clone(), 1)])).unwrap();
    assert_eq!(texts(&place.log, "out", 0), ["kept"]);
    assert_eq!(offsets(&place.log, "group"), Positions::from([(at, 1)]));
}

#[test]
fn a_worker_that_was_replaced_commits_nothing() {
    let place = place();
    create(&place.log, "in", 1);
    write_numbers(&place.log, "in", 0, 0..3);
    let first = source(&place.log, "in");
    let mut sink = LocalSink::open(&place.log, &sink_settings("out")).unwrap();
    let mut transaction = first.transaction(Some(&sink));
    sink.write(&output(&partition(0), "late"), Ticket(0)).unwrap();
    let second = source(&place.log, "in");
    let error = transaction.commit(&Positions::from([(partition(0), 3)])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Promise);
    assert!(texts(&place.log, "out", 0).is_empty());
    second.transaction(None).commit(&Positions::from([(partition(0), 2)])).unwrap();
    assert_eq!(offsets(&place.log, "group"), Positions::from([(partition(0), 2)]));
}

#[test]
fn without_a_transaction_outputs_are_acknowledged_when_durable() {
    let place = place();
    let mut sink = LocalSink::open(&place.log, &sink_settings("out")).unwrap();
    let mut progress = Progress::default();
    let at = partition(2);
    for end in 1..=3 {
        let ticket = progress.begin(at.clone(), end, 1, 10, Duration::ZERO);
        sink.write(&output(&at, "a"), ticket).unwrap();
        sink.write(&output(&at, "b"), ticket).unwrap();
        progress.written(ticket, 2);
    }
    assert!(progress.reached().is_empty());
    sink.acknowledged(&mut progress, Duration::from_millis(1)).unwrap();
    assert_eq!(progress.reached(), &Positions::from([(at, 3)]));
    assert_eq!(texts(&place.log, "out", 2), ["a", "b", "a", "b", "a", "b"]);
}

#[test]
fn outputs_go_where_the_settings_say() {
    let place = place();
    create(&place.log, "narrow", 2);
    let settings = SinkSettings {
        outputs: vec!["audit".into(), "out".into()],
        dead_letter: Some("dead".into()),
        id_header: Some(IdHeader { name: "id".into(), pipeline: "pipe".into() }),
        ..sink_settings("out")
    };
    let mut sink = LocalSink::open(&place.log, &settings).unwrap();
    let at = partition(3);
    let added = [("why", "because".to_owned())];
    for (to, value) in [(Destination::Named(0), "a"), (Destination::Named(1), "1"), (Destination::Default, "2")] {
        sink.write(&Output { to, ..output(&at, value) }, Ticket(0)).unwrap();
    }
    sink.write(&Output { to: Destination::DeadLetter, added: &added, ..output(&at, "d") }, Ticket(0)).unwrap();
    sink.acknowledged(&mut Progress::default(), Duration::from_millis(1)).unwrap();
    assert_eq!(texts(&place.log, "audit", 3), ["a"]);
    assert_eq!(texts(&place.log, "out", 3), ["1", "2"]);
    let id = (b"id".to_vec(), Some(b"pipe/in/3/7/2".to_vec()));
    assert_eq!(read(&place.log, "dead", 3)[0].headers, [(b"why".to_vec(), Some(b"because".to_vec())), id]);

    let mut sink = LocalSink::open(&place.log, &sink_settings("narrow")).unwrap();
    let error = sink.write(&output(&at, "x"), Ticket(0)).unwrap_err();
    assert!(error.message.contains("'narrow' has 2 partitions") && error.message.contains("in[3]"), "{error}");
}

#[test]
fn keys_choose_partitions_and_records_without_go_round() {
    let place = place();
    let mut sink =
        LocalSink::open(&place.log, &SinkSettings { partition: PartitionBy::Key, ..sink_settings("out") }).unwrap();
    let at = partition(0);
    for batch in 0..4 {
        for value in ["x", "y"] {
            sink.write(&output(&at, &format!("{value}{batch}")), Ticket(batch)).unwrap();
        }
    }
    // murmur2("foobar") = -790332482; without its sign, modulo 4: 2.
    sink.write(&Output { key: Some(b"foobar"), ..output(&at, "keyed") }, Ticket(4)).unwrap();
    sink.acknowledged(&mut Progress::default(), Duration::from_millis(1)).unwrap();
    assert_eq!(texts(&place.log, "out", 1), ["x1", "y1"]);
    assert_eq!(texts(&place.log, "out", 2), ["x2", "y2", "keyed"]);
}

#[test]
fn a_deleted_topic_ends_its_reader_and_its_writer() {
    let place = place();
    create(&place.log, "in", 1);
    write(&place.log, "in", 0, &[nameless("a")]);
    let mut source = source(&place.log, "in");
    let mut sink = LocalSink::open(&place.log, &sink_settings("out")).unwrap();
    sink.write(&output(&partition(0), "x"), Ticket(0)).unwrap();
    place.log.delete_topic("in").unwrap();
    place.log.delete_topic("out").unwrap();
    let error = source.poll(&mut Batch::default(), Duration::ZERO).unwrap_err();
    assert!(error.kind == ErrorKind::Config && error.message.contains("deleted"), "{error}");
    let error = sink.acknowledged(&mut Progress::default(), Duration::from_millis(1)).unwrap_err();
    assert!(error.kind == ErrorKind::Config && error.message.contains("'out' was deleted"), "{error}");
    let error = source.transaction(None).commit(&Positions::from([(partition(0), 1)])).unwrap_err();
    assert!(error.kind == ErrorKind::Config && error.message.contains("'in' was deleted"), "{error}");
    create(&place.log, "in", 1);
    assert_eq!(read(&place.log, "in", 0), Vec::<Record>::new());
    assert!(offsets(&place.log, "group").is_empty());
}

#[test]
fn nothing_is_polled_twice_and_an_idle_poll_ends() {
    let place = place();
    create(&place.log, "in", 2);
    write_numbers(&place.log, "in", 1, 0..5);
    let (mut source, mut batch) = (source(&place.log, "in"), Batch::default());
    assert_eq!(source.poll(&mut batch, Duration::ZERO).unwrap(), Polled::Batch);
    assert_eq!((batch.len(), batch.partition.clone()), (5, partition(1)));
    assert_eq!(source.poll(&mut batch, Duration::from_millis(5)).unwrap(), Polled::Idle);
    assert!(batch.is_empty());
}
