//! The loop over fakes of its four seams: blame, policies, order, commits and drains, without IO.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::*;

/// What the fakes see and say; shared by all of them.
#[derive(Default)]
struct World {
    input: RefCell<VecDeque<Event>>,
    written: RefCell<Vec<String>>,
    committed: RefCell<Vec<String>>,
    aborts: Cell<usize>,
    released: Cell<usize>,
    closed: Cell<bool>,
    unacknowledged: RefCell<Vec<Ticket>>,
    now_ms: Cell<u64>,
    renewals: Cell<usize>,
    /// Values that the instance has kept since it was renewed.
    kept: Cell<usize>,
    calls: Cell<usize>,
    held: RefCell<BTreeSet<u32>>,
    /// What was given since the last commit.
    given: RefCell<Vec<Event>>,
    /// So many commits the group does not take now.
    refusals: Cell<usize>,
    rewinds: Cell<usize>,
}

#[derive(Clone)]
enum Event {
    /// Of partition 0.
    Records(Vec<(u64, &'static str)>),
    /// Of another.
    Of(u32, Vec<(u64, &'static str)>),
    Revoke {
        lost: bool,
    },
}

struct FakeSource(Rc<World>, Arc<Stop>);

impl Source for FakeSource {
    fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
        batch.clear();
        let held = self.0.held.borrow();
        let mut input = self.0.input.borrow_mut();
        let free = input.iter().position(|event| match event {
            Event::Records(_) => !held.contains(&0),
            Event::Of(number, _) => !held.contains(number),
            Event::Revoke { .. } => true,
        });
        let (number, records) = match free.and_then(|at| input.remove(at)) {
            None => {
                // Rounded up, as real waits are: time always goes on.
                self.0.now_ms.set(self.0.now_ms.get() + wait.as_millis() as u64 + 1);
                if held.is_empty() {
                    self.1.request();
                }
                return Ok(Polled::Idle);
            }
            Some(Event::Revoke { lost }) => return Ok(Polled::Revoked { lost }),
            Some(Event::Records(records)) => (0, records),
            Some(Event::Of(number, records)) => (number, records),
        };
        self.0.given.borrow_mut().push(Event::Of(number, records.clone()));
        batch.partition = Partition { topic: "in".into(), number };
        records.iter().for_each(|(offset, value)| batch.push(*offset, 7, Some(b"k"), Some(value.as_bytes())));
        Ok(Polled::Batch)
    }

    fn release(&mut self) -> Result<Vec<Partition>, Error> {
        self.0.released.set(self.0.released.get() + 1);
        self.0.held.borrow_mut().clear();
        Ok(vec![Partition { topic: "in".into(), number: 0 }])
    }

    fn rewind(&mut self, _: &Error) -> Result<(), Error> {
        self.0.rewinds.set(self.0.rewinds.get() + 1);
        self.0.held.borrow_mut().clear();
        let mut input = self.0.input.borrow_mut();
        self.0.given.borrow_mut().drain(..).rev().for_each(|event| input.push_front(event));
        Ok(())
    }

    fn hold(&mut self, partition: &Partition, held: bool) {
        if held {
            self.0.held.borrow_mut().insert(partition.number);
        } else {
            self.0.held.borrow_mut().remove(&partition.number);
        }
    }

    fn close(&mut self) {
        self.0.closed.set(true);
    }
}

/// So many values are more than an instance can keep.
const KEPT_MAX: usize = 3;

/// Upper-cases; `trap…` crashes, `keep…` is kept, `hoard…` is more than can be kept, `no…` is rejected, `drop…` is dropped, `two…` is doubled, `side…` is routed, `slow` takes 600 ms.
struct FakeTransform(Rc<World>, Identity);

impl Transform for FakeTransform {
    fn process(&mut self, batch: &Batch, outcomes: &mut Outcomes) -> Result<(), Failure> {
        self.0.calls.set(self.0.calls.get() + 1);
        for row in batch.rows() {
            let value = std::str::from_utf8(row.value.unwrap_or_default()).unwrap();
            let copies = match value.trim_end_matches(char::is_numeric) {
                "trap" => return Err(Failure::new(FailureKind::Trap, "boom")),
                "hoard" => return Err(Failure::new(FailureKind::Memory, "full")),
                "keep" if self.0.kept.get() == KEPT_MAX => return Err(Failure::new(FailureKind::Memory, "full")),
                "keep" => {
                    self.0.kept.set(self.0.kept.get() + 1);
                    1
                }
                "no" => {
                    outcomes.reasons.push(format!("not {value}"));
                    outcomes.outcomes.push(REJECT);
                    continue;
                }
                "pass" => {
                    outcomes.outcomes.push(PASS);
                    continue;
                }
                "drop" => 0,
                "slow" => {
                    self.0.now_ms.set(self.0.now_ms.get() + 600);
                    1
                }
                "two" => 2,
                _ => 1,
            };
            outcomes.outcomes.push(copies);
            for _ in 0..copies {
                outcomes.keys.lengths.push(INHERIT);
                outcomes.values.push(Some(value.to_uppercase().as_bytes()));
                outcomes.to.push(if value.starts_with("side") { 0 } else { -1 });
            }
        }
        Ok(())
    }

    fn renew(&mut self) -> Result<(), Error> {
        self.0.renewals.set(self.0.renewals.get() + 1);
        self.0.kept.set(0);
        Ok(())
    }

    fn identity(&self) -> &Identity {
        &self.1
    }
}

struct FakeSink(Rc<World>);

impl Sink for FakeSink {
    fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
        let value = String::from_utf8_lossy(output.value.unwrap_or_default()).into_owned();
        let line = match output.to {
            Destination::Default => format!("{value}@{}.{}", output.offset, output.index),
            Destination::Named(index) => format!("{index}:{value}@{}.{}", output.offset, output.index),
            Destination::Replayed => unreachable!("a worker replays nothing"),
            Destination::DeadLetter => {
                let said = |name| output.added.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
                format!(
                    "dead:{value}@{} {} {}",
                    output.offset,
                    said("sluicegate-failure").unwrap(),
                    said("sluicegate-reason").unwrap()
                )
            }
        };
        self.0.written.borrow_mut().push(line);
        self.0.unacknowledged.borrow_mut().push(ticket);
        Ok(())
    }

    fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
        // Acknowledges only when waited for, so that a commit without a wait would be seen.
        if wait > Duration::ZERO {
            self.0.unacknowledged.borrow_mut().drain(..).for_each(|ticket| progress.acknowledge(ticket, 1));
            self.0.now_ms.set(self.0.now_ms.get() + 1);
        }
        Ok(())
    }
}

struct FakeTransaction(Rc<World>);

impl Transaction for FakeTransaction {
    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
        if let Some(left) = self.0.refusals.get().checked_sub(1) {
            self.0.refusals.set(left);
            return Err(Error::new(ErrorKind::Rewind, "between two generations"));
        }
        self.0.given.borrow_mut().clear();
        let written = self.0.written.borrow().len();
        let ends: Vec<String> = positions.iter().map(|(partition, end)| format!("{partition}={end}")).collect();
        self.0.committed.borrow_mut().push(format!("{} after {written}", ends.join(",")));
        Ok(())
    }

    fn abort(&mut self) -> Result<(), Error> {
        self.0.aborts.set(self.0.aborts.get() + 1);
        Ok(())
    }
}

struct FakeClock(Rc<World>);

impl Clock for FakeClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now_ms.get())
    }

    fn unix_ms(&self) -> i64 {
        0
    }
}

fn run(
    world: &Rc<World>,
    delivery: Delivery,
    then: Action,
    stages: usize,
    events: Vec<Event>,
) -> (Result<(), Error>, Tally) {
    run_by(world, delivery, Rule { retries: 1, backoff: Duration::from_millis(5), then }, stages, events)
}

fn run_by(
    world: &Rc<World>,
    delivery: Delivery,
    rule: Rule,
    stages: usize,
    events: Vec<Event>,
) -> (Result<(), Error>, Tally) {
    world.input.borrow_mut().extend(events);
    let limits = OutputLimits { outputs_per_record: 10, bytes_per_record: 1 << 20, bytes_per_output: 1 << 20 };
    let stage = |number: usize| {
        let transform = Box::new(FakeTransform(Rc::clone(world), Identity::default()));
        let policy = Policy::uniform(rule);
        Stage::new(format!("s{number}"), transform, policy, limits, 1, Duration::from_secs(1)).with_breaker(100)
    };
    let names: Vec<String> = (0..stages).map(|number| format!("s{number}")).collect();
    let meters = Arc::new(Meters::new(names.iter().map(String::as_str)));
    let settings = WorkerSettings {
        pipeline: "p".into(),
        delivery,
        commit: CommitEvery { interval: Duration::from_secs(3600), records: usize::MAX, bytes: usize::MAX },
        budget: 1 << 20,
        drain: Duration::from_millis(100),
    };
    let stop = Arc::new(Stop::default());
    let worker = Worker::new(
        settings,
        Box::new(FakeSource(Rc::clone(world), Arc::clone(&stop))),
        (0..stages).map(stage).collect(),
        Box::new(FakeSink(Rc::clone(world))),
        Box::new(FakeTransaction(Rc::clone(world))),
        Box::new(FakeClock(Rc::clone(world))),
        Arc::clone(&meters),
    );
    let result = worker.run(&stop).map(drop);
    assert!(world.closed.get(), "the group is always left");
    (result, meters.tally())
}

fn records(values: &[&'static str]) -> Event {
    Event::Records((0..).zip(values).map(|(offset, value)| (offset, *value)).collect())
}

#[test]
fn outputs_come_first_and_offsets_last_in_both_deliveries() {
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let world = Rc::new(World::default());
        let (result, tally) =
            run(&world, delivery, Action::Stop, 1, vec![records(&["a", "two", "drop", "pass", "side"])]);
        result.unwrap();
        assert_eq!(*world.written.borrow(), ["A@0.0", "TWO@1.0", "TWO@1.1", "pass@3.0", "0:SIDE@4.0"]);
        assert_eq!(*world.committed.borrow(), ["in[0]=5 after 5"]);
        assert_eq!((tally.records_in, tally.outputs, world.aborts.get()), (5, 5, 0));
    }
}

#[test]
fn only_the_culprits_are_dead_letters() {
    let world = Rc::new(World::default());
    let batch = ["a1", "a2", "trap1", "a3", "no4", "a5", "trap6"];
    let (result, tally) = run(&world, Delivery::ExactlyOnce, Action::DeadLetter, 1, vec![records(&batch)]);
    result.unwrap();
    let expected = [
        "A1@0.0",
        "A2@1.0",
        "A3@3.0",
        "A5@5.0",
        "dead:trap1@2 trap boom",
        "dead:no4@4 rejected not no4",
        "dead:trap6@6 trap boom",
    ];
    assert_eq!(*world.written.borrow(), expected);
    assert_eq!((tally.outputs, tally.dead_letters, tally.skipped), (4, 3, 0));
    // Each culprit was tried once more, alone, after half of its backoff or more (the last wait finds nothing); each
    // failed call cost one instance.
    assert!((5..=64).contains(&world.now_ms.get()), "{} ms", world.now_ms.get());
    assert!(world.renewals.get() >= 4 && world.renewals.get() < world.calls.get());
}

#[test]
fn blame_is_found_in_logarithmic_time() {
    let world = Rc::new(World::default());
    let mut batch = vec!["a"; 512];
    batch[300] = "trap";
    let (result, _) = run(&world, Delivery::ExactlyOnce, Action::Skip, 1, vec![records(&batch)]);
    result.unwrap();
    assert_eq!(world.written.borrow().len(), 511);
    // Ten failed calls down the halves, one retry, and the good halves.
    assert_eq!(world.renewals.get(), 11);
    assert!(world.calls.get() <= 21, "{} calls", world.calls.get());
}

#[test]
fn a_record_is_not_to_blame_for_what_an_instance_has_kept_of_others() {
    let world = Rc::new(World::default());
    let names = ["keep1", "keep2", "keep3", "keep4", "keep5", "hoard6", "keep7"];
    let events = (0..).zip(names).map(|record| Event::Records(vec![record])).collect();
    let rule = Rule { retries: 0, backoff: Duration::ZERO, then: Action::DeadLetter };
    let (result, tally) = run_by(&world, Delivery::ExactlyOnce, rule, 1, events);
    result.unwrap();
    let expected =
        ["KEEP1@0.0", "KEEP2@1.0", "KEEP3@2.0", "KEEP4@3.0", "KEEP5@4.0", "dead:hoard6@5 memory full", "KEEP7@6.0"];
    assert_eq!(*world.written.borrow(), expected);
    assert_eq!((tally.outputs, tally.dead_letters), (6, 1));
}

#[test]
fn stop_commits_what_came_before_and_nothing_of_the_batch() {
    let world = Rc::new(World::default());
    let events = vec![records(&["a", "b"]), Event::Records(vec![(2, "c"), (3, "no")])];
    let (result, _) = run(&world, Delivery::AtLeastOnce, Action::Stop, 1, events);
    let error = result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Stopped);
    assert!(error.message.contains("stage 's0' failed on in[0] offset 3 (rejected: not no)"), "{error}");
    assert_eq!(*world.written.borrow(), ["A@0.0", "B@1.0"]);
    assert_eq!(*world.committed.borrow(), ["in[0]=2 after 2"]);
}

#[test]
fn a_record_is_whole_across_stages() {
    let world = Rc::new(World::default());
    // Doubled by both stages; what a stage routes aside leaves there; upper-case names mean nothing to stage two.
    let (result, tally) =
        run(&world, Delivery::ExactlyOnce, Action::DeadLetter, 2, vec![records(&["two", "side", "pass", "x"])]);
    result.unwrap();
    assert_eq!(*world.written.borrow(), ["TWO@0.0", "TWO@0.1", "0:SIDE@1.0", "pass@2.0", "X@3.0"]);
    assert_eq!(tally.outputs, 5);
}

#[test]
fn a_revoke_finishes_and_a_loss_gives_up() {
    let world = Rc::new(World::default());
    let events = vec![
        records(&["a"]),
        Event::Revoke { lost: false },
        Event::Records(vec![(1, "b")]),
        Event::Revoke { lost: true },
    ];
    let (result, _) = run(&world, Delivery::ExactlyOnce, Action::Stop, 1, events);
    result.unwrap();
    assert_eq!(*world.committed.borrow(), ["in[0]=1 after 1"]);
    assert_eq!((world.aborts.get(), world.released.get()), (1, 2));
}

#[test]
fn a_pause_before_a_retry_holds_up_its_own_partition_alone() {
    let world = Rc::new(World::default());
    let events =
        vec![records(&["a", "trap", "b"]), Event::Records(vec![(3, "c")]), Event::Of(1, vec![(0, "d"), (1, "e")])];
    let (result, tally) = run(&world, Delivery::ExactlyOnce, Action::Skip, 1, events);
    result.unwrap();
    assert_eq!(*world.written.borrow(), ["D@0.0", "E@1.0", "A@0.0", "B@2.0", "C@3.0"]);
    assert_eq!(*world.committed.borrow(), ["in[0]=4,in[1]=2 after 5"]);
    assert_eq!(tally.skipped, 1);
}

#[test]
fn what_waits_for_a_retry_goes_with_its_partition() {
    let world = Rc::new(World::default());
    let events = vec![records(&["a", "trap"]), Event::Revoke { lost: false }];
    run(&world, Delivery::ExactlyOnce, Action::Skip, 1, events).0.unwrap();
    assert_eq!((world.written.borrow().len(), world.committed.borrow().len()), (0, 0));
}

/// Or else its transaction would be open for too long, and the group would take it for dead.
#[test]
fn a_slow_plugin_leaves_turns_to_the_group_and_to_other_partitions() {
    let world = Rc::new(World::default());
    let slow = (1..=16).map(|offset| (offset, "slow")).collect();
    let events = vec![records(&["slow"]), Event::Records(slow), Event::Of(1, vec![(0, "d")])];
    let (result, tally) = run(&world, Delivery::ExactlyOnce, Action::Stop, 1, events);
    result.unwrap();
    assert_eq!(world.written.borrow()[..3], ["SLOW@0.0", "D@0.0", "SLOW@1.0"]);
    assert_eq!(*world.committed.borrow(), ["in[0]=17,in[1]=1 after 18"]);
    assert_eq!(tally.records_in, 18);
}

#[test]
fn a_broken_plugin_trips_the_breaker_and_nothing_of_its_batch_is_written() {
    let world = Rc::new(World::default());
    let traps = (1..=150).map(|offset| (offset, "trap")).collect();
    let (result, _) =
        run(&world, Delivery::ExactlyOnce, Action::DeadLetter, 1, vec![records(&["a"]), Event::Records(traps)]);
    let error = result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Tripped);
    assert!(error.message.contains("stage 's0': the breaker tripped"), "{error}");
    assert_eq!(*world.written.borrow(), ["A@0.0"]);
    assert_eq!(*world.committed.borrow(), ["in[0]=1 after 1"]);
}

#[test]
fn a_group_between_two_generations_makes_the_worker_go_back_and_not_end() {
    let revoke = || Event::Revoke { lost: false };
    let parked = Event::Of(1, vec![(0, "trap")]);
    let world = Rc::new(World { refusals: Cell::new(2), ..World::default() });
    let events = vec![records(&["a", "b"]), parked, revoke(), revoke(), revoke()];
    let (result, _) = run(&world, Delivery::ExactlyOnce, Action::Skip, 1, events);
    result.unwrap();
    assert_eq!((world.rewinds.get(), world.aborts.get()), (2, 2));
    assert_eq!(*world.written.borrow(), ["A@0.0", "B@1.0"].repeat(3), "each time in a transaction of its own");
    assert_eq!(world.committed.borrow()[0], "in[0]=2 after 6");
}

#[test]
fn a_worker_that_goes_back_again_and_again_is_to_be_replaced() {
    let world = Rc::new(World { refusals: Cell::new(usize::MAX), ..World::default() });
    let revokes = std::iter::repeat_n(Event::Revoke { lost: false }, 50);
    let events = std::iter::once(records(&["a"])).chain(revokes).collect();
    let (result, _) = run(&world, Delivery::AtLeastOnce, Action::Stop, 1, events);
    assert_eq!(result.unwrap_err().kind, ErrorKind::Rewind);
    assert_eq!(world.rewinds.get(), 5);
}
