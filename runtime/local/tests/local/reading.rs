use std::time::{Duration, Instant};

use sluicegate_core::{Batch, ErrorKind, Polled, Positions, Source, Transaction};
use sluicegate_local::{LocalSource, Reader, SourceSettings, Start};

use crate::support::{create, nameless, place, read_from, source, source_settings, write, write_numbers};

fn offsets_from(start: Start) -> Vec<u64> {
    let place = place();
    create(&place.log, "t", 1);
    for commit in 0..3 {
        write_numbers(&place.log, "t", 0, commit * 10..commit * 10 + 10);
    }
    read_from(&place.log, "t", 0, start).into_iter().map(|(offset, _)| offset).collect()
}

#[test]
fn reading_begins_where_it_is_told() {
    assert_eq!(offsets_from(Start::Earliest), (0..30).collect::<Vec<_>>());
    assert_eq!(offsets_from(Start::Latest), Vec::<u64>::new());
    // The records' timestamps are their numbers.
    assert_eq!(offsets_from(Start::Timestamp(13)), (13..30).collect::<Vec<_>>());
    assert_eq!(offsets_from(Start::Timestamp(30)), Vec::<u64>::new());
}

#[test]
fn the_groups_offset_counts_and_not_the_start() {
    let place = place();
    create(&place.log, "in", 1);
    write_numbers(&place.log, "in", 0, 0..10);
    let open = |start| LocalSource::open(&place.log, &SourceSettings { start, ..source_settings("in") }).unwrap();
    let mut batch = Batch::default();
    // The first start becomes the group's offset: what is written before a restart is not missed.
    assert_eq!(open(Start::Latest).poll(&mut batch, Duration::ZERO).unwrap(), Polled::Idle);
    write_numbers(&place.log, "in", 0, 10..12);
    let mut source = open(Start::Latest);
    assert_eq!(source.poll(&mut batch, Duration::ZERO).unwrap(), Polled::Batch);
    assert_eq!(batch.offsets, [10, 11]);
    source.transaction(None).commit(&Positions::from([(batch.partition.clone(), 11)])).unwrap();
    open(Start::Earliest).poll(&mut batch, Duration::ZERO).unwrap();
    assert_eq!(batch.offsets, [11]);
}

#[test]
fn workers_share_the_partitions() {
    let place = place();
    create(&place.log, "in", 5);
    (0..5).for_each(|partition| write_numbers(&place.log, "in", partition, 0..1));
    let numbers = |worker| -> Vec<u32> {
        let settings = SourceSettings { worker, workers: 2, ..source_settings("in") };
        let (mut source, mut batch) = (LocalSource::open(&place.log, &settings).unwrap(), Batch::default());
        let mut read =
            || source.poll(&mut batch, Duration::ZERO).map(|polled| (polled, batch.partition.number)).unwrap();
        std::iter::from_fn(|| Some(read()).filter(|(polled, _)| *polled == Polled::Batch)).map(|read| read.1).collect()
    };
    assert_eq!((numbers(0), numbers(1)), (vec![0, 2, 4], vec![1, 3]));
}

#[test]
fn partitions_take_turns() {
    let place = place();
    create(&place.log, "in", 3);
    (0..3).for_each(|partition| write_numbers(&place.log, "in", partition, 0..2000));
    let (mut source, mut batch) = (source(&place.log, "in"), Batch::default());
    let mut turns = Vec::new();
    while source.poll(&mut batch, Duration::ZERO).unwrap() == Polled::Batch {
        turns.push(batch.partition.number);
    }
    assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_commit_wakes_who_waits() {
    let place = place();
    create(&place.log, "in", 1);
    let mut reader = Reader::open(&place.log, "in", None, Start::Latest).unwrap();
    let start = Instant::now();
    let woken = std::thread::spawn(move || {
        let mut batch = Batch::default();
        reader.read(&mut batch, Duration::from_secs(60)).unwrap() && batch.values.data == b"now"
    });
    write(&place.log, "in", 0, &[nameless("now")]);
    assert!(woken.join().unwrap());
    assert!(start.elapsed() < Duration::from_secs(30), "waited for the end of the wait");
}

#[test]
fn what_does_not_exist_is_said_with_the_remedy() {
    let place = place();
    let Err(error) = LocalSource::open(&place.log, &source_settings("nowhere")) else { panic!("opened") };
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("sluicegate topics create nowhere"), "{error}");
    create(&place.log, "t", 2);
    let Err(error) = Reader::open(&place.log, "t", Some(2), Start::Earliest) else { panic!("opened") };
    assert!(error.message.contains("has 2 partitions"), "{error}");
    assert_eq!(place.log.create_topic("t", &Default::default()).unwrap_err().kind, ErrorKind::Config);
}
