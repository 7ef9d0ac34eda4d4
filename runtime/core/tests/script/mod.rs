//! A worker over fakes that follow a script: records, and what the worker is told between them.
#![allow(dead_code)] // Each test file is a program of its own, and none uses all of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_core::*;

/// One thing that happens when the source is asked for records.
pub(crate) enum Event {
    /// Of a partition: values, which are their own keys.
    Records(u32, Vec<&'static str>),
    Tell(Box<dyn FnOnce() -> Command>),
}

#[derive(Default)]
pub(crate) struct World {
    script: VecDeque<Event>,
    held: BTreeSet<u32>,
    pub(crate) now: Duration,
    pub(crate) written: Vec<String>,
    pub(crate) committed: Vec<usize>,
    /// How many records were read when each commit was done.
    pub(crate) read: Vec<u64>,
    pub(crate) aborted: usize,
    /// Every commit fails so.
    refusal: Option<ErrorKind>,
    next_offset: u64,
}

pub(crate) type Shared = Rc<RefCell<World>>;

struct Script(Shared, Arc<Commands>, u64, Arc<Stop>);

impl World {
    /// The next that happens, but to partitions that are held.
    fn next(&mut self) -> Option<Event> {
        let free = self.script.iter().position(|event| match event {
            Event::Records(partition, _) => !self.held.contains(partition),
            Event::Tell(_) => true,
        });
        self.script.remove(free?)
    }

    fn fill(&mut self, batch: &mut Batch, number: u32, values: &[&str]) {
        batch.partition = Partition { topic: "in".into(), number };
        for value in values {
            batch.push(self.next_offset, 7, Some(value.as_bytes()), Some(value.as_bytes()));
            self.next_offset += 1;
        }
    }
}

impl Source for Script {
    fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
        batch.clear();
        let world = &mut *self.0.borrow_mut();
        match world.next() {
            Some(Event::Records(number, values)) => {
                world.fill(batch, number, &values);
                return Ok(Polled::Batch);
            }
            Some(Event::Tell(command)) => {
                self.1.send([(self.2, command())]);
            }
            None if world.held.is_empty() || world.now > Duration::from_secs(60) => self.3.request(),
            None => {}
        }
        world.now += wait;
        Ok(Polled::Idle)
    }

    fn attend(&mut self) -> Result<Polled, Error> {
        Ok(Polled::Idle)
    }

    fn ready(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        let world = &mut *self.0.borrow_mut();
        match world.next() {
            Some(Event::Records(number, values)) => {
                world.fill(batch, number, &values);
                return Ok(true);
            }
            Some(Event::Tell(command)) => drop(self.1.send([(self.2, command())])),
            None => {}
        }
        Ok(false)
    }

    fn release(&mut self) -> Result<Vec<Partition>, Error> {
        Ok(Vec::new())
    }

    fn rewind(&mut self, _: &Error) -> Result<(), Error> {
        Ok(())
    }

    fn hold(&mut self, partition: &Partition, held: bool) {
        let world = &mut *self.0.borrow_mut();
        if held {
            world.held.insert(partition.number)
        } else {
            world.held.remove(&partition.number)
        };
    }

    fn close(&mut self) {}
}

thread_local! {
    /// What slow plugins took of this test's time.
    static TAKEN: Cell<Duration> = Cell::default();
}

/// Puts its version behind each value; traps on `trap`, if it does not know better, and takes a second to fail on `hang`. Version
/// `slow` takes 600 ms a record.
pub(crate) struct Stamp {
    identity: Identity,
    knows_traps: bool,
}

pub(crate) static RETIRED: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Stamp {
    pub(crate) fn boxed(version: &str, knows_traps: bool) -> Box<Stamp> {
        let identity = Identity { version: version.to_owned(), digest: version.to_owned(), ..Identity::default() };
        Box::new(Stamp { identity, knows_traps })
    }
}

impl Transform for Stamp {
    fn process(&mut self, batch: &Batch, outcomes: &mut Outcomes) -> Result<(), Failure> {
        if self.identity.version == "slow" {
            TAKEN.set(TAKEN.get() + Duration::from_millis(600) * batch.len() as u32);
        }
        for row in batch.rows() {
            let value = std::str::from_utf8(row.value.unwrap_or_default()).unwrap();
            if value == "trap" && !self.knows_traps {
                return Err(Failure::new(FailureKind::Trap, "boom"));
            }
            if value == "hang" {
                TAKEN.set(TAKEN.get() + Duration::from_secs(1));
                return Err(Failure::new(FailureKind::Deadline, "too slow"));
            }
            outcomes.outcomes.push(1);
            outcomes.keys.lengths.push(INHERIT);
            outcomes.values.push(Some(format!("{value}.{}", self.identity.version).as_bytes()));
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
        &self.identity
    }

    fn retire(self: Box<Self>) {
        RETIRED.lock().unwrap().push(self.identity.version);
    }
}

struct Wire(Shared);

impl Sink for Wire {
    fn write(&mut self, output: &Output<'_>, _: Ticket) -> Result<(), Error> {
        let value = String::from_utf8_lossy(output.value.unwrap_or_default()).into_owned();
        let line = match (output.to, output.added) {
            (Destination::DeadLetter, _) => format!("dead:{value}"),
            (_, [(_, plugins)]) => format!("{value} by {plugins}"),
            _ => value,
        };
        self.0.borrow_mut().written.push(line);
        Ok(())
    }

    fn send_now(&mut self) {}

    fn acknowledged(&mut self, _: &mut Progress, _: Duration) -> Result<(), Error> {
        Ok(())
    }
}

impl Transaction for Wire {
    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn commit(&mut self, _: &Positions) -> Result<(), Error> {
        let world = &mut *self.0.borrow_mut();
        if let Some(kind) = world.refusal {
            return Err(Error::new(kind, "refused"));
        }
        world.committed.push(world.written.len());
        world.read.push(world.next_offset);
        Ok(())
    }

    fn commit_while(&mut self, positions: &Positions, meanwhile: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        while meanwhile() {}
        self.commit(positions)
    }

    fn abort(&mut self) -> Result<(), Error> {
        self.0.borrow_mut().aborted += 1;
        Ok(())
    }
}

struct Now(Shared);

impl Clock for Now {
    fn now(&self) -> Duration {
        self.0.borrow().now + TAKEN.get()
    }

    fn unix_ms(&self) -> i64 {
        0
    }
}

/// Tells the worker what this makes, once it is made there.
pub(crate) fn tell(command: impl FnOnce() -> Command + 'static) -> Event {
    Event::Tell(Box::new(command))
}

/// Runs the script with one stage, which has this version first; it has never been on trial.
pub(crate) fn run(first: &str, retries: u32, script: Vec<Event>) -> (Result<(), Error>, Shared, Arc<Meters>) {
    run_stages(&[first], retries, script, |worker| worker)
}

/// The same, with a commit after each so many records.
pub(crate) fn run_committing(
    records: usize,
    retries: u32,
    script: Vec<Event>,
) -> (Result<(), Error>, Shared, Arc<Meters>) {
    run_settings(CommitEvery { records, ..NEVER }, &["1"], retries, script, |worker| worker)
}

/// The same, where every commit fails with this kind of error.
pub(crate) fn run_refused(kind: ErrorKind, script: Vec<Event>) -> Error {
    let shared = Shared::default();
    shared.borrow_mut().refusal = Some(kind);
    let commit = CommitEvery { records: 1, ..NEVER };
    run_shared(shared, commit, &["1"], 0, script, |worker| worker).0.unwrap_err()
}

/// The same, where there is none before a worker's end.
pub(crate) fn run_refused_at_its_end(kind: ErrorKind, script: Vec<Event>) -> (Result<(), Error>, Shared) {
    let shared = Shared::default();
    shared.borrow_mut().refusal = Some(kind);
    let (result, shared, _) = run_shared(shared, NEVER, &["1"], 0, script, |worker| worker);
    (result, shared)
}

/// The same, with a commit at this interval.
pub(crate) fn run_every(interval: Duration, script: Vec<Event>) -> (Result<(), Error>, Shared, Arc<Meters>) {
    run_settings(CommitEvery { interval, ..NEVER }, &["1"], 0, script, |worker| worker)
}

/// Not before the end.
const NEVER: CommitEvery = CommitEvery { interval: Duration::from_secs(3600), records: usize::MAX, bytes: usize::MAX };

/// The same with these stages, and a worker that is made as `made` says; once it is told to hand over, one goes on whose
/// stages are all of version `heir`.
pub(crate) fn run_stages(
    stages: &[&str],
    retries: u32,
    script: Vec<Event>,
    made: impl FnOnce(Worker) -> Worker,
) -> (Result<(), Error>, Shared, Arc<Meters>) {
    run_settings(NEVER, stages, retries, script, made)
}

fn run_settings(
    commit: CommitEvery,
    stages: &[&str],
    retries: u32,
    script: Vec<Event>,
    made: impl FnOnce(Worker) -> Worker,
) -> (Result<(), Error>, Shared, Arc<Meters>) {
    run_shared(Shared::default(), commit, stages, retries, script, made)
}

fn run_shared(
    shared: Shared,
    commit: CommitEvery,
    stages: &[&str],
    retries: u32,
    script: Vec<Event>,
    made: impl FnOnce(Worker) -> Worker,
) -> (Result<(), Error>, Shared, Arc<Meters>) {
    shared.borrow_mut().script.extend(script);
    let limits = OutputLimits {
        outputs_per_record: 10,
        bytes_per_record: 1 << 20,
        sink: SinkLimits { bytes: 1 << 20, ..SinkLimits::NONE },
    };
    let policy = Policy::uniform(Rule { retries, backoff: Duration::from_secs(3600), then: Action::DeadLetter });
    let of_stages = |versions: &[&str], know_traps: bool| -> Vec<Stage> {
        let transforms = versions.iter().map(|version| Stamp::boxed(version, know_traps));
        let stage = |transform| Stage::new("s", transform, policy, limits, 0, Duration::from_secs(1)).with_breaker(3);
        transforms.map(|transform| stage(transform)).collect()
    };
    let meters = Arc::new(Meters::new(stages.iter().map(|_| "s")));
    let settings = WorkerSettings {
        pipeline: "p".into(),
        delivery: Delivery::ExactlyOnce,
        commit,
        budget: 1 << 20,
        drain: Duration::from_secs(1),
    };
    let (commands, stop) = (Arc::new(Commands::default()), Arc::new(Stop::default()));
    let inbox = commands.join();
    let source = Script(Rc::clone(&shared), Arc::clone(&commands), inbox.number(), Arc::clone(&stop));
    let now = || Box::new(Now(Rc::clone(&shared)));
    let wire = || Box::new(Wire(Rc::clone(&shared)));
    let first = of_stages(stages, false);
    let seams = Seams::new(Box::new(source), wire(), wire());
    let worker = Worker::new(settings.clone(), seams, first, now(), Arc::clone(&meters));
    let result = match made(worker.with_inbox(inbox)).run(&stop) {
        Ok(Ended::HandedOver(seams)) => {
            let heir = of_stages(&vec!["heir"; stages.len()], true);
            Worker::new(settings, seams, heir, now(), Arc::clone(&meters)).run(&stop)
        }
        ended => ended,
    };
    let result = result.map(drop);
    assert_eq!(commands.wait(u64::MAX, Duration::ZERO), 0, "nobody waits for a worker that has ended");
    (result, shared, meters)
}
