use std::time::Duration;

use sluicegate_core::{Batch, ErrorKind, Partition, Polled, Positions, Source, Transaction};
use sluicegate_local::{LocalSource, Log, OnMissingOffset, Retention, SourceSettings, Start, TopicSettings};

use crate::support::{Place, nameless, place, read_from, source, source_settings, write, write_numbers};

#[test]
fn the_oldest_batches_go_when_a_partition_is_too_large() {
    let place = place();
    let retention = Retention { bytes: Some(50_000), age: None };
    place.log.create_topic("t", &TopicSettings { partitions: 2, retention }).unwrap();
    for commit in 0..100 {
        write_numbers(&place.log, "t", 0, commit * 100..commit * 100 + 100);
    }
    let partition = place.log.topics().unwrap()[0].partitions[0];
    assert!((50_000..60_000).contains(&partition.bytes), "{partition:?}");
    assert_eq!(partition.end, 10_000);
    let kept = read_from(&place.log, "t", 0, Start::Earliest);
    let offsets: Vec<_> = kept.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (partition.start..10_000).collect::<Vec<_>>());
    assert!(kept.iter().all(|(offset, record)| record.text() == offset.to_string()));
}

/// A topic of which the group has read 50 records, and retention has taken 100 of 200.
fn passed_over() -> Place {
    let place = place();
    let retention = Retention { bytes: Some(1), age: None };
    place.log.create_topic("t", &TopicSettings { partitions: 1, retention }).unwrap();
    write_numbers(&place.log, "t", 0, 0..100);
    source(&place.log, "t").transaction(None).commit(&Positions::from([(partition(), 50)])).unwrap();
    write_numbers(&place.log, "t", 0, 100..200);
    place
}

fn partition() -> Partition {
    Partition { topic: "t".into(), number: 0 }
}

fn open(place: &Place, on_missing_offset: OnMissingOffset) -> LocalSource {
    LocalSource::open(&place.log, &SourceSettings { on_missing_offset, ..source_settings("t") }).unwrap()
}

#[test]
fn a_group_that_retention_has_passed_stops_and_says_what_is_left() {
    let place = passed_over();
    let error = open(&place, OnMissingOffset::Stop).poll(&mut Batch::default(), Duration::ZERO).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    let expected = "offset 50 of t[0], where group 'group' is, is gone: the log has 100 to 200; the topic's retention passed it; \
                    `on-missing-offset: earliest` (or `latest`) of the source goes on from there";
    assert_eq!(error.message, expected);
}

#[test]
fn a_group_that_retention_has_passed_goes_on_where_it_is_told() {
    let place = passed_over();
    let mut batch = Batch::default();
    open(&place, OnMissingOffset::Earliest).poll(&mut batch, Duration::ZERO).unwrap();
    assert_eq!(batch.offsets, (100..200).collect::<Vec<_>>());

    let mut latest = open(&place, OnMissingOffset::Latest);
    assert_eq!(latest.poll(&mut batch, Duration::ZERO).unwrap(), Polled::Idle);
    // What was in flight is committed after it moved on, and takes nothing back: the next start misses none.
    latest.transaction(None).commit(&Positions::from([(partition(), 60)])).unwrap();
    write_numbers(&place.log, "t", 0, 200..210);
    open(&place, OnMissingOffset::Stop).poll(&mut batch, Duration::ZERO).unwrap();
    assert_eq!(batch.offsets, (200..210).collect::<Vec<_>>());
}

#[test]
fn a_pipeline_that_retention_overtakes_while_it_runs_does_not_go_on_in_silence() {
    let place = place();
    let retention = Retention { bytes: Some(1), age: None };
    place.log.create_topic("t", &TopicSettings { partitions: 1, retention }).unwrap();
    write_numbers(&place.log, "t", 0, 0..100);
    let (mut source, mut batch) = (source(&place.log, "t"), Batch::default());
    source.poll(&mut batch, Duration::ZERO).unwrap();
    assert_eq!(batch.len(), 100);
    (1..3).for_each(|commit| write_numbers(&place.log, "t", 0, commit * 100..commit * 100 + 100));
    let error = source.poll(&mut batch, Duration::ZERO).unwrap_err();
    assert!(error.message.starts_with("offset 100 of t[0]") && error.message.contains("200 to 300"), "{error}");
}

#[test]
fn records_go_when_they_are_too_old() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    for (topic, age) in [("hour", Duration::from_secs(3600)), ("moment", Duration::from_millis(1))] {
        let retention = Retention { bytes: None, age: Some(age) };
        log.create_topic(topic, &TopicSettings { partitions: 1, retention }).unwrap();
        write(&log, topic, 0, &[nameless("a"), nameless("b")]);
    }
    let written = std::time::Instant::now();
    while written.elapsed() < Duration::from_millis(3) {
        std::thread::yield_now();
    }
    drop(log);
    let log = Log::open(directory.path()).unwrap();
    assert_eq!(read_from(&log, "hour", 0, Start::Earliest).len(), 2, "a timestamp of long ago says nothing");
    let partition = log.topics().unwrap()[1].partitions[0];
    assert_eq!((partition.start, partition.end, partition.bytes), (2, 2, 0));
    assert!(read_from(&log, "moment", 0, Start::Earliest).is_empty());
    write(&log, "moment", 0, &[nameless("c")]);
    assert_eq!(read_from(&log, "moment", 0, Start::Earliest)[0].0, 2, "offsets go on");
}
