//! Fakes of the four seams, and a worker over them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::*;

/// What the fakes see and say; shared by all of them.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) input: RefCell<VecDeque<Event>>,
    pub(crate) written: RefCell<Vec<String>>,
    /// The timestamp of each.
    pub(crate) timestamps: RefCell<Vec<i64>>,
    /// The latest timestamp that the sink takes, where there is one. Now is 0, and records have 7.
    pub(crate) latest: Option<u64>,
    pub(crate) committed: RefCell<Vec<String>>,
    pub(crate) aborts: Cell<usize>,
    pub(crate) released: Cell<usize>,
    pub(crate) closed: Cell<bool>,
    pub(crate) unacknowledged: RefCell<Vec<Ticket>>,
    /// The most outputs that are acknowledged at once, where not all are.
    pub(crate) acks_max: Option<usize>,
    pub(crate) now_ms: Cell<u64>,
    pub(crate) renewals: Cell<usize>,
    /// How long each takes.
    pub(crate) renewal_ms: u64,
    /// Values that the instance has kept since it was renewed.
    pub(crate) kept: Cell<usize>,
    pub(crate) calls: Cell<usize>,
    /// What the plugin takes in a call, where it does not take all.
    pub(crate) rows_max: Option<usize>,
    pub(crate) held: RefCell<BTreeSet<u32>>,
    /// What was given since the last commit.
    pub(crate) given: RefCell<Vec<Event>>,
    /// So many commits the group does not take now.
    pub(crate) refusals: Cell<usize>,
    pub(crate) rewinds: Cell<usize>,
    /// Where the group goes on after each batch, where that is beyond its last record.
    pub(crate) batch_end: Option<u64>,
    /// The end of the log, where the source tells it.
    pub(crate) log_end: Option<u64>,
    pub(crate) meters: RefCell<Option<Arc<Meters>>>,
    /// What the meters say of the lag each time that nothing comes.
    pub(crate) lags: RefCell<Vec<Vec<u64>>>,
}

#[derive(Clone)]
pub(crate) enum Event {
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
                let lag = self.0.meters.borrow().as_ref().map(|meters| meters.lag());
                self.0.lags.borrow_mut().extend(lag.map(|lag| lag.into_values().collect()));
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
        (batch.end, batch.log_end) = (self.0.batch_end, self.0.log_end);
        records.iter().for_each(|(offset, value)| batch.push(*offset, 7, Some(b"k"), Some(value.as_bytes())));
        Ok(Polled::Batch)
    }

    fn attend(&mut self) -> Result<Polled, Error> {
        let mut input = self.0.input.borrow_mut();
        let Some(Event::Revoke { lost }) = input.front() else { return Ok(Polled::Idle) };
        let revoked = Polled::Revoked { lost: *lost };
        input.pop_front();
        Ok(revoked)
    }

    fn ready(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        Ok(false)
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

    fn rows_max(&self) -> usize {
        self.0.rows_max.unwrap_or(usize::MAX)
    }

    fn renew(&mut self) -> Result<(), Error> {
        self.0.renewals.set(self.0.renewals.get() + 1);
        self.0.now_ms.set(self.0.now_ms.get() + self.0.renewal_ms);
        self.0.kept.set(0);
        Ok(())
    }

    fn identity(&self) -> &Identity {
        &self.1
    }

    fn retire(self: Box<Self>) {}
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
        self.0.timestamps.borrow_mut().push(output.timestamp);
        self.0.unacknowledged.borrow_mut().push(ticket);
        Ok(())
    }

    fn send_now(&mut self) {}

    fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
        // Acknowledges only when waited for, so that a commit without a wait would be seen.
        if wait > Duration::ZERO {
            let mut waiting = self.0.unacknowledged.borrow_mut();
            let acks = self.0.acks_max.unwrap_or(usize::MAX).min(waiting.len());
            waiting.drain(..acks).for_each(|ticket| progress.acknowledge(ticket, 1));
            assert!(self.0.now_ms.get() < 60_000, "the worker waits for ever");
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

    fn commit_while(&mut self, positions: &Positions, _: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        self.commit(positions)
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

pub(crate) fn run(
    world: &Rc<World>,
    delivery: Delivery,
    then: Action,
    stages: usize,
    events: Vec<Event>,
) -> (Result<(), Error>, Tally) {
    run_by(world, delivery, Rule { retries: 1, backoff: Duration::from_millis(5), then }, stages, events)
}

pub(crate) fn run_by(
    world: &Rc<World>,
    delivery: Delivery,
    rule: Rule,
    stages: usize,
    events: Vec<Event>,
) -> (Result<(), Error>, Tally) {
    world.input.borrow_mut().extend(events);
    let limits = OutputLimits {
        outputs_per_record: 10,
        bytes_per_record: 1 << 20,
        sink: SinkLimits { bytes: 1 << 20, after_ms: world.latest.unwrap_or(u64::MAX), ..SinkLimits::NONE },
    };
    let stage = |number: usize| {
        let transform = Box::new(FakeTransform(Rc::clone(world), Identity::default()));
        let policy = Policy::uniform(rule);
        Stage::new(format!("s{number}"), transform, policy, limits, 1, Duration::from_secs(1)).with_breaker(100)
    };
    let names: Vec<String> = (0..stages).map(|number| format!("s{number}")).collect();
    let meters = Arc::new(Meters::new(names.iter().map(String::as_str)));
    world.meters.replace(Some(Arc::clone(&meters)));
    let settings = WorkerSettings {
        pipeline: "p".into(),
        delivery,
        commit: CommitEvery { interval: Duration::from_secs(3600), records: usize::MAX, bytes: usize::MAX },
        budget: 1 << 20,
        drain: Duration::from_millis(100),
    };
    let stop = Arc::new(Stop::default());
    let seams = Seams::new(
        Box::new(FakeSource(Rc::clone(world), Arc::clone(&stop))),
        Box::new(FakeSink(Rc::clone(world))),
        Box::new(FakeTransaction(Rc::clone(world))),
    );
    let (stages, clock) = ((0..stages).map(stage).collect(), Box::new(FakeClock(Rc::clone(world))));
    let worker = Worker::new(settings, seams, stages, clock, Arc::clone(&meters));
    let result = worker.run(&stop).map(drop);
    assert!(world.closed.get(), "the group is always left");
    (result, meters.tally())
}

pub(crate) fn records(values: &[&'static str]) -> Event {
    Event::Records((0..).zip(values).map(|(offset, value)| (offset, *value)).collect())
}
