use std::time::Duration;

use sluicegate_core::{Batch, Source};
use sluicegate_local::{Retention, Start, TopicSettings};

use crate::support::{create, nameless, place, read_from, source, write, write_numbers};

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

#[test]
fn a_group_that_retention_has_passed_goes_on_with_the_oldest_left() {
    let place = place();
    create(&place.log, "t", 1);
    write_numbers(&place.log, "t", 0, 0..100);
    let mut source = source(&place.log, "t");
    write_numbers(&place.log, "t", 0, 100..200);
    place.log.set_retention("t", Retention { bytes: Some(1), age: None }).unwrap();
    let mut batch = Batch::default();
    source.poll(&mut batch, Duration::ZERO).unwrap();
    assert_eq!(batch.offsets, (100..200).collect::<Vec<_>>());
}

#[test]
fn records_go_when_they_are_too_old() {
    let place = place();
    create(&place.log, "t", 1);
    write(&place.log, "t", 0, &[nameless("a"), nameless("b")]);
    place.log.set_retention("t", Retention { bytes: None, age: Some(Duration::from_secs(3600)) }).unwrap();
    assert_eq!(read_from(&place.log, "t", 0, Start::Earliest).len(), 2, "a timestamp of long ago says nothing");
    let written = std::time::Instant::now();
    while written.elapsed() < Duration::from_millis(3) {
        std::thread::yield_now();
    }
    place.log.set_retention("t", Retention { bytes: None, age: Some(Duration::from_millis(1)) }).unwrap();
    let partition = place.log.topics().unwrap()[0].partitions[0];
    assert_eq!((partition.start, partition.end, partition.bytes), (2, 2, 0));
    assert!(read_from(&place.log, "t", 0, Start::Earliest).is_empty());
    place.log.set_retention("t", Retention::default()).unwrap();
    write(&place.log, "t", 0, &[nameless("c")]);
    assert_eq!(read_from(&place.log, "t", 0, Start::Earliest)[0].0, 2, "offsets go on");
}
