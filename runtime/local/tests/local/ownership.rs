use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use std::time::{Duration, Instant};

use sluicegate_core::{Batch, ErrorKind, Polled, Source};
use sluicegate_local::{BatchLimits, LocalSource, Log, SourceSettings};

use crate::support::{create, place, read, source, source_settings, write_numbers};

const HOLD: &str = "SLUICEGATE_TEST_HOLD_LOG";

/// The child of the test below; by itself it does nothing.
#[test]
fn child_holds_a_log() {
    if let Some(directory) = std::env::var_os(HOLD) {
        let _log = Log::open(directory).unwrap();
        println!("\nholding");
        // Until the parent kills it, or ends.
        let _ = std::io::stdin().read_line(&mut String::new());
    }
}

#[test]
fn another_process_is_kept_out_until_the_owner_ends() {
    let directory = tempfile::tempdir().unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["ownership::child_holds_a_log", "--exact", "--nocapture"])
        .env(HOLD, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "holding"));

    let error = Log::open(directory.path()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    for part in [directory.path().to_str().unwrap(), &owner.id().to_string(), "stop that process", "`produce`"] {
        assert!(error.message.contains(part), "{error}");
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    Log::open(directory.path()).unwrap();
}

#[test]
fn a_visitor_reads_and_writes_beside_the_owner() {
    let place = place();
    create(&place.log, "t", 1);
    let visitor = Log::visit(place.log.directory()).unwrap();
    let mut source = source(&place.log, "t");
    let mut batch = Batch::default();
    // Written by one, seen by the other, whichever it is; offsets have no gap.
    for round in 0..5 {
        write_numbers(&visitor, "t", 0, 0..3);
        write_numbers(&place.log, "t", 0, 3..5);
        let mut offsets = Vec::new();
        while offsets.len() < 5 {
            assert_eq!(source.poll(&mut batch, Duration::from_secs(10)).unwrap(), Polled::Batch);
            offsets.extend_from_slice(&batch.offsets);
        }
        assert_eq!(offsets, (round * 5..round * 5 + 5).collect::<Vec<_>>());
        assert_eq!(read(&visitor, "t", 0).len() as u64, round * 5 + 5);
    }
    // Topics too: made here, found there.
    create(&visitor, "new", 2);
    assert_eq!(read(&place.log, "new", 1), []);
    let error = LocalSource::open(&visitor, &source_settings("t")).err().unwrap();
    assert!(error.message.contains("visitor"), "{error}");
    // What the owner reads is deleted by the visitor: said, not waited for.
    visitor.delete_topic("t").unwrap();
    let gone = std::iter::repeat_with(|| source.poll(&mut batch, Duration::from_millis(100))).find_map(Result::err);
    assert!(gone.unwrap().message.contains("'t' was deleted"));
}

#[test]
fn what_a_visitor_writes_is_read_though_there_is_always_more_to_read() {
    let place = place();
    create(&place.log, "t", 2);
    let visitor = Log::visit(place.log.directory()).unwrap();
    let batch = BatchLimits { records: 1, ..BatchLimits::default() };
    let mut source = LocalSource::open(&place.log, &SourceSettings { batch, ..source_settings("t") }).unwrap();
    write_numbers(&visitor, "t", 1, 0..1);
    let (mut batch, patience) = (Batch::default(), Instant::now());
    while batch.partition.number == 0 {
        assert!(patience.elapsed() < Duration::from_secs(60), "not in a minute");
        write_numbers(&place.log, "t", 0, 0..2);
        assert_eq!(source.poll(&mut batch, Duration::ZERO).unwrap(), Polled::Batch);
    }
}

#[test]
fn one_process_may_open_a_log_as_often_as_it_likes() {
    let place = place();
    create(&place.log, "t", 1);
    let again = Log::open(place.log.directory().join("..").join("data")).unwrap();
    write_numbers(&again, "t", 0, 0..3);
    assert_eq!(read(&place.log, "t", 0).len(), 3);
    assert!(again == place.log);
}

#[test]
fn what_was_written_is_there_when_it_is_opened_anew() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    create(&log, "t", 1);
    write_numbers(&log, "t", 0, 0..3);
    drop(log);
    assert_eq!(read(&Log::open(directory.path()).unwrap(), "t", 0).len(), 3);
}

#[test]
fn a_damaged_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log.db");
    std::fs::write(&file, "x".repeat(10_000)).unwrap();
    let error = Log::open(directory.path()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains(file.to_str().unwrap()) && error.message.contains("damaged"), "{error}");
}
