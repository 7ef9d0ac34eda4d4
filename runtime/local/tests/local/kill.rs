//! Exactly once through `kill -9`: a child process runs the production loop, and is killed again and again.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::{
    Action, Batch, Clock, CommitEvery, Delivery, Error, Failure, INHERIT, Identity, Meters, Outcomes, OutputLimits,
    PASS, Policy, Positions, REJECT, Rule, Seams, SinkLimits, Stage, Stop, Transaction, Transform, Worker,
    WorkerSettings,
};
use sluicegate_local::{
    BatchLimits, IdHeader, LocalSink, LocalSource, LocalTransaction, Log, SinkSettings, SourceSettings,
};

use crate::support::{create, offsets, read, sink_settings, source_settings, write_numbers};

const COPY: &str = "SLUICEGATE_TEST_COPY_LOG";
const SEED: u64 = 0x5eed;
const KILLS: usize = 20;
const PARTITIONS: u32 = 4;
const RECORDS: u64 = 30_000;
const WORKERS: u32 = 2;

/// What the plugin below makes of a record: a dead letter of each 97th, a copy for the audit of each 10th.
fn is_rejected(number: u64) -> bool {
    number.is_multiple_of(97)
}

fn is_audited(number: u64) -> bool {
    !is_rejected(number) && number.is_multiple_of(10)
}

#[test]
fn each_record_is_done_exactly_once_whenever_the_process_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    create(&log, "in", PARTITIONS);
    (0..PARTITIONS).for_each(|partition| write_numbers(&log, "in", partition, 0..RECORDS));
    drop(log);

    let mut random = SEED;
    let mut interrupted = 0;
    for kill in 0..KILLS {
        let events = 1 + below(&mut random, 60);
        let last = run_child(directory.path(), Some(events));
        assert_ne!(last, "done", "kill {kill} of seed {SEED:#x} came too late");
        interrupted += usize::from(last == "committing");
    }
    let start = Instant::now();
    assert_eq!(run_child(directory.path(), None), "done");
    println!("{interrupted} of {KILLS} kills came while a commit was under way; the rest took {:?}", start.elapsed());
    audit(&Log::open(directory.path()).unwrap());
}

/// Runs the child until it has told so many events, kills it, and says what it told last; or until it ends by itself.
fn run_child(directory: &Path, events: Option<u64>) -> String {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::child_copies", "--exact", "--nocapture"])
        .env(COPY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut told = lines.filter(|line| matches!(&line[..], "begun" | "committing" | "committed" | "done"));
    let last = match events {
        Some(events) => told.nth(events as usize - 1),
        None => told.last(),
    };
    if events.is_some() {
        child.kill().unwrap();
    }
    child.wait().unwrap();
    last.unwrap_or_else(|| "done".to_owned())
}

/// Each input's outputs, exactly once and in the order of the inputs.
fn audit(log: &Log) {
    for partition in 0..PARTITIONS {
        for (topic, is_in) in [
            ("out", &(|number: u64| !is_rejected(number)) as &dyn Fn(u64) -> bool),
            ("audit", &is_audited),
            ("dead", &is_rejected),
        ] {
            let expected: Vec<u64> = (0..RECORDS).filter(|number| is_in(*number)).collect();
            let records = read(log, topic, partition);
            let got: Vec<u64> = records.iter().map(|record| record.text().parse().unwrap()).collect();
            let first = got.iter().zip(&expected).position(|(got, expected)| got != expected);
            assert_eq!(first, None, "{topic}[{partition}] is not what it should be from here on");
            assert_eq!(got.len(), expected.len(), "{topic}[{partition}]");
            for (number, record) in got.iter().zip(&records) {
                let index = u32::from(topic == "audit");
                let id = record.headers.last().and_then(|(_, value)| value.clone()).unwrap();
                assert_eq!(String::from_utf8(id).unwrap(), format!("copy/in/{partition}/{number}/{index}"));
            }
        }
    }
    let ends = offsets(log, "group");
    assert!(ends.len() == PARTITIONS as usize && ends.values().all(|next| *next == RECORDS));
}

/// splitmix64.
fn below(random: &mut u64, end: u64) -> u64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *random;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % end
}

/// The child of the test above; by itself it does nothing.
#[test]
fn child_copies() {
    let Some(directory) = std::env::var_os(COPY) else {
        return;
    };
    println!();
    let log = Log::open(directory).unwrap();
    let (stop, meters) = (Stop::default(), Arc::new(Meters::new(["copy"])));
    std::thread::scope(|scope| {
        for number in 0..WORKERS {
            let (log, stop, meters) = (&log, &stop, meters.clone());
            scope.spawn(move || drop(worker(log, number, meters).run(stop).unwrap()));
        }
        let is_done =
            || offsets(&log, "group").values().filter(|next| **next == RECORDS).count() == PARTITIONS as usize;
        while !is_done() {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.request();
    });
    tell("done");
}

fn worker(log: &Log, number: u32, meters: Arc<Meters>) -> Worker {
    let batch = BatchLimits { records: 100, bytes: 1 << 20 };
    let source = SourceSettings { worker: number, workers: WORKERS, batch, ..source_settings("in") };
    let source = LocalSource::open(log, &source).unwrap();
    let sink = SinkSettings {
        outputs: vec!["audit".into()],
        dead_letter: Some("dead".into()),
        id_header: Some(IdHeader { name: "id".into(), pipeline: "copy".into() }),
        ..sink_settings("out")
    };
    let sink = LocalSink::open(log, &sink).unwrap();
    let transaction = Telling(source.transaction(Some(&sink)));
    let policy = Policy::uniform(Rule { retries: 0, backoff: Duration::ZERO, then: Action::DeadLetter });
    let limits = OutputLimits {
        outputs_per_record: 2,
        bytes_per_record: 1 << 20,
        sink: SinkLimits { bytes: 1 << 20, ..SinkLimits::NONE },
    };
    let stage = Stage::new("copy", Box::new(Copies::default()), policy, limits, 1, Duration::from_secs(1));
    let settings = WorkerSettings {
        pipeline: "copy".into(),
        delivery: Delivery::ExactlyOnce,
        commit: CommitEvery { interval: Duration::from_millis(20), records: 200, bytes: 1 << 20 },
        budget: 1 << 20,
        drain: Duration::from_secs(5),
    };
    let seams = Seams::new(Box::new(source), Box::new(sink), Box::new(transaction));
    Worker::new(settings, seams, vec![stage], Box::new(Wall(Instant::now())), meters)
}

fn tell(event: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{event}").and_then(|()| out.flush()).unwrap();
}

/// Tells the parent how far a transaction is.
struct Telling(LocalTransaction);

impl Transaction for Telling {
    fn begin(&mut self) -> Result<(), Error> {
        self.0.begin()?;
        tell("begun");
        Ok(())
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
        self.commit_while(positions, &mut || false)
    }

    fn commit_while(&mut self, positions: &Positions, meanwhile: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        tell("committing");
        self.0.commit_while(positions, meanwhile)?;
        tell("committed");
        Ok(())
    }

    fn abort(&mut self) -> Result<(), Error> {
        self.0.abort()
    }
}

#[derive(Default)]
struct Copies(Identity);

impl Transform for Copies {
    fn process(&mut self, batch: &Batch, outcomes: &mut Outcomes) -> Result<(), Failure> {
        for row in batch.rows() {
            let number: u64 = std::str::from_utf8(row.value.unwrap()).unwrap().parse().unwrap();
            if is_rejected(number) {
                outcomes.outcomes.push(REJECT);
                outcomes.reasons.push("refused".into());
            } else if is_audited(number) {
                outcomes.outcomes.push(2);
                outcomes.to.extend([-1, 0]);
                outcomes.keys.lengths.extend([INHERIT; 2]);
                outcomes.values.lengths.extend([INHERIT; 2]);
            } else {
                outcomes.outcomes.push(PASS);
            }
        }
        Ok(())
    }

    fn rows_max(&self) -> usize {
        usize::MAX
    }

    fn renew(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn identity(&self) -> &Identity {
        &self.0
    }

    fn retire(self: Box<Self>) {}
}

struct Wall(Instant);

impl Clock for Wall {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn unix_ms(&self) -> i64 {
        0
    }
}
