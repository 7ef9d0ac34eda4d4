//! What workers are told while they run: new versions of a plugin, pauses, and what both leave undone.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_core::*;

/// One thing that happens when the source is asked for records.
enum Event {
    Records(u32, Vec<&'static str>),
    Tell(fn() -> Command),
}

#[derive(Default)]
struct World {
    script: VecDeque<Event>,
    held: BTreeSet<u32>,
    now: Duration,
    written: Vec<String>,
    committed: Vec<usize>,
    aborted: usize,
    next_offset: u64,
}

type Shared = Rc<RefCell<World>>;

struct Script(Shared, Arc<Commands>, u64, Arc<Stop>);

impl Source for Script {
    fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
        batch.clear();
        let world = &mut *self.0.borrow_mut();
        let free = world.script.iter().position(|event| match event {
            Event::Records(partition, _) => !world.held.contains(partition),
            Event::Tell(_) => true,
        });
        match free.and_then(|at| world.script.remove(at)) {
            Some(Event::Records(number, values)) => {
                batch.partition = Partition { topic: "in".into(), number };
                for value in values {
                    batch.push(world.next_offset, 7, None, Some(value.as_bytes()));
                    world.next_offset += 1;
                }
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

/// Puts its version behind each value; traps on `trap`, if it does not know better.
struct Stamp {
    identity: Identity,
    knows_traps: bool,
}

static RETIRED: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Stamp {
    fn boxed(version: &str, knows_traps: bool) -> Box<Stamp> {
        let identity = Identity { version: version.to_owned(), ..Identity::default() };
        Box::new(Stamp { identity, knows_traps })
    }
}

impl Transform for Stamp {
    fn process(&mut self, batch: &Batch, outcomes: &mut Outcomes) -> Result<(), Failure> {
        for row in batch.rows() {
            let value = std::str::from_utf8(row.value.unwrap_or_default()).unwrap();
            if value == "trap" && !self.knows_traps {
                return Err(Failure::new(FailureKind::Trap, "boom"));
            }
            outcomes.outcomes.push(1);
            outcomes.keys.lengths.push(INHERIT);
            outcomes.values.push(Some(format!("{value}.{}", self.identity.version).as_bytes()));
        }
        Ok(())
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
        let dead = if output.to == Destination::DeadLetter { "dead:" } else { "" };
        self.0.borrow_mut().written.push(format!("{dead}{value}"));
        Ok(())
    }

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
        world.committed.push(world.written.len());
        Ok(())
    }

    fn abort(&mut self) -> Result<(), Error> {
        self.0.borrow_mut().aborted += 1;
        Ok(())
    }
}

struct Now(Shared);

impl Clock for Now {
    fn now(&self) -> Duration {
        self.0.borrow().now
    }

    fn unix_ms(&self) -> i64 {
        0
    }
}

/// Runs the script with version "1" first, which has never been on trial.
fn run(first: &str, retries: u32, script: Vec<Event>) -> (Result<(), Error>, Shared, Arc<Meters>) {
    let shared = Shared::default();
    shared.borrow_mut().script.extend(script);
    let limits = OutputLimits { outputs_per_record: 10, bytes_per_record: 1 << 20, bytes_per_output: 1 << 20 };
    let policy = Policy::uniform(Rule { retries, backoff: Duration::from_secs(3600), then: Action::DeadLetter });
    let stage = Stage::new("s", Stamp::boxed(first, false), policy, limits, 0, Duration::from_secs(1)).with_breaker(3);
    let meters = Arc::new(Meters::new(["s"]));
    let settings = WorkerSettings {
        pipeline: "p".into(),
        delivery: Delivery::ExactlyOnce,
        commit: CommitEvery { interval: Duration::from_secs(3600), records: usize::MAX, bytes: usize::MAX },
        budget: 1 << 20,
        drain: Duration::from_secs(1),
    };
    let (commands, stop) = (Arc::new(Commands::default()), Arc::new(Stop::default()));
    let inbox = commands.join();
    let source = Script(Rc::clone(&shared), Arc::clone(&commands), inbox.number(), Arc::clone(&stop));
    let worker = Worker::new(
        settings,
        Box::new(source),
        vec![stage],
        Box::new(Wire(Rc::clone(&shared))),
        Box::new(Wire(Rc::clone(&shared))),
        Box::new(Now(Rc::clone(&shared))),
        Arc::clone(&meters),
    );
    let result = worker.with_inbox(inbox).run(&stop);
    assert_eq!(commands.wait(u64::MAX, Duration::ZERO), 0, "nobody waits for a worker that has ended");
    (result, shared, meters)
}

fn second() -> Command {
    Command::Replace(Replacement { stage: 0, transform: Stamp::boxed("2", true), version: 2, on_trial: true })
}

/// It fails on `trap`, as the first does.
fn second_and_bad() -> Command {
    Command::Replace(Replacement { stage: 0, transform: Stamp::boxed("bad", false), version: 2, on_trial: true })
}

#[test]
fn a_version_takes_over_between_two_batches() {
    let script = vec![Event::Records(0, vec!["a", "b"]), Event::Tell(second), Event::Records(0, vec!["c"])];
    let (result, world, meters) = run("first of two", 0, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["a.first of two", "b.first of two", "c.2"]);
    assert_eq!(world.borrow().committed, [3], "a swap is no reason to commit");
    assert_eq!(meters.swaps().0, 1);
    assert!(RETIRED.lock().unwrap().contains(&"first of two".to_owned()));
}

#[test]
fn what_waited_for_a_retry_begins_anew_with_the_new_version_and_at_once() {
    let script = vec![Event::Records(0, vec!["a", "trap", "b"]), Event::Tell(second), Event::Records(0, vec!["c"])];
    let (result, world, _) = run("1", 1, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["a.2", "trap.2", "b.2", "c.2"]);
    assert!(world.borrow().now < Duration::from_secs(60), "the retry was not waited for");
}

#[test]
fn the_breaker_counts_anew_for_a_new_version() {
    let traps = || Event::Records(0, vec!["trap", "trap"]);
    let script = vec![traps(), Event::Tell(second_and_bad), traps()];
    let (result, world, _) = run("1", 0, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["dead:trap"; 4]);
}

#[test]
fn a_version_on_trial_that_trips_the_breaker_leaves_no_dead_letter() {
    let script = vec![
        Event::Records(0, vec!["a"]),
        Event::Tell(second_and_bad),
        Event::Records(0, vec!["trap", "trap"]),
        Event::Records(0, vec!["trap"]),
    ];
    let (result, world, _) = run("1", 0, script);
    let error = result.unwrap_err();
    assert_eq!((error.kind, error.culprit), (ErrorKind::Tripped, Some(Culprit { stage: 0, version: 2 })));
    assert_eq!((world.borrow().committed.len(), world.borrow().aborted), (0, 1), "{:?}", world.borrow().written);
}

#[test]
fn a_pause_commits_and_runs_nothing_until_it_ends() {
    let script = vec![
        Event::Records(0, vec!["a"]),
        Event::Tell(|| Command::Pause),
        Event::Records(0, vec!["b"]),
        Event::Records(1, vec!["c"]),
        Event::Tell(second),
        Event::Tell(|| Command::Resume),
        Event::Records(0, vec!["d"]),
    ];
    let (result, world, _) = run("1", 0, script);
    result.unwrap();
    let world = world.borrow();
    assert_eq!(world.committed, [1, 4], "{:?}", world.written);
    let mut after = world.written[1..].to_vec();
    assert_eq!(world.written[0], "a.1");
    assert!(after.iter().position(|value| value == "b.2") < after.iter().position(|value| value == "d.2"));
    after.sort();
    assert_eq!(after, ["b.2", "c.2", "d.2"], "held meanwhile, and run by the version of then");
}

#[test]
fn a_stop_ends_a_pause_and_leaves_what_was_read_unacknowledged() {
    let script = vec![Event::Tell(|| Command::Pause), Event::Records(0, vec!["a"])];
    let (result, world, _) = run("1", 0, script);
    result.unwrap();
    assert_eq!((world.borrow().written.len(), world.borrow().committed.len()), (0, 0));
}

#[test]
fn all_workers_hear_of_it_at_the_same_moment() {
    let commands = Arc::new(Commands::default());
    let inboxes: Vec<Inbox> = (0..2).map(|_| commands.join()).collect();
    let told = AtomicUsize::new(0);
    let round = commands.send(inboxes.iter().map(|inbox| {
        told.fetch_add(1, Relaxed);
        (inbox.number(), Command::Pause)
    }));
    assert_eq!((round, told.load(Relaxed)), (1, 2));
    assert_eq!(commands.wait(round, Duration::ZERO), 2);
    let late = commands.join();
    assert_eq!(commands.wait(round, Duration::ZERO), 2, "who joins later was not told");
    drop(inboxes);
    assert_eq!(commands.wait(round, Duration::from_secs(60)), 0);
    assert_eq!(late.number(), 2);
}
