use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::*;
use sluicegate_wasm::{InstanceSpec, Plugin};

use crate::guests::{batch, limits, plugin, plugin_of, spec, started_of, transform};

/// Gives one batch, then asks for a stop.
struct Once(Option<Batch>, Arc<Stop>);

impl Source for Once {
    fn poll(&mut self, into: &mut Batch, _: Duration) -> Result<Polled, Error> {
        match self.0.take() {
            Some(batch) => {
                *into = batch;
                Ok(Polled::Batch)
            }
            None => {
                self.1.request();
                into.clear();
                Ok(Polled::Idle)
            }
        }
    }

    fn attend(&mut self) -> Result<Polled, Error> {
        Ok(Polled::Idle)
    }

    fn ready(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        Ok(false)
    }

    fn hold(&mut self, _: &Partition, _: bool) {}

    fn release(&mut self) -> Result<Vec<Partition>, Error> {
        Ok(Vec::new())
    }

    fn rewind(&mut self, why: &Error) -> Result<(), Error> {
        Err(why.clone())
    }

    fn close(&mut self) {}
}

/// Destination and value of every output, in order.
type Written = Vec<(Destination, String)>;

struct Collect(Rc<RefCell<Written>>);

impl Sink for Collect {
    fn write(&mut self, output: &Output<'_>, _: Ticket) -> Result<(), Error> {
        let value = String::from_utf8_lossy(output.value.unwrap_or_default()).into_owned();
        self.0.borrow_mut().push((output.to, value));
        Ok(())
    }

    fn send_now(&mut self) {}

    fn acknowledged(&mut self, _: &mut Progress, _: Duration) -> Result<(), Error> {
        Ok(())
    }
}

struct Nothing;

impl Transaction for Nothing {
    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn commit(&mut self, _: &Positions) -> Result<(), Error> {
        Ok(())
    }

    fn commit_while(&mut self, positions: &Positions, _: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        self.commit(positions)
    }

    fn abort(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

struct Real(Instant);

impl Clock for Real {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn unix_ms(&self) -> i64 {
        0
    }
}

/// Runs the values through one stage of the guest in core's own loop; what comes out, and what failed how often.
fn run(guest: &Plugin, values: &[&str]) -> (Written, Vec<(FailureKind, u64)>) {
    let limits = limits(Duration::from_millis(300));
    let instance = started_of(guest, InstanceSpec { limits, ..spec("{}") });
    let rule = Rule { retries: 0, backoff: Duration::ZERO, then: Action::DeadLetter };
    let stage = Stage::new("first", Box::new(instance), Policy::uniform(rule), limits.output, 2, limits.deadline);
    let (stop, meters) = (Arc::new(Stop::default()), Arc::new(Meters::new(["first"])));
    let written = Rc::new(RefCell::new(Written::new()));
    let settings = WorkerSettings {
        pipeline: "trades".into(),
        delivery: Delivery::ExactlyOnce,
        commit: CommitEvery { interval: Duration::ZERO, records: 1, bytes: 1 },
        budget: 64 << 20,
        drain: Duration::from_secs(1),
    };
    let source = Box::new(Once(Some(batch(values)), Arc::clone(&stop)));
    let seams = Seams::new(source, Box::new(Collect(Rc::clone(&written))), Box::new(Nothing));
    let clock = Box::new(Real(Instant::now()));
    Worker::new(settings, seams, vec![stage], clock, Arc::clone(&meters)).run(&stop).unwrap();
    let failures = meters.failures().filter(|(_, _, count)| *count > 0).map(|(_, kind, count)| (kind, count)).collect();
    (written.take(), failures)
}

#[test]
fn culprits_are_found_and_the_others_outcomes_stand() {
    let names: Vec<String> = (0..64).map(|i| format!("value {i}")).collect();
    let mut values: Vec<&str> = names.iter().map(String::as_str).collect();
    let bad = ["trap", "loop", "grow", "stack", "malformed", "million", "large", "reject"];
    for (i, value) in bad.iter().enumerate() {
        values[i * 8 + i % 3] = value;
    }
    let (written, mut failures) = run(&plugin("hostile"), &values);
    let expected: Vec<_> = values
        .iter()
        .map(|value| match bad.contains(value) {
            true => (Destination::DeadLetter, (*value).to_owned()),
            false => (Destination::Default, value.to_uppercase()),
        })
        .collect();
    let sorted = |mut list: Written| {
        list.sort_by_key(|(to, value)| (*to == Destination::DeadLetter, value.clone()));
        list
    };
    assert_eq!(sorted(written), sorted(expected));
    failures.sort();
    let kinds: Vec<_> = failures.iter().map(|(kind, count)| (kind.name(), *count)).collect();
    assert_eq!(
        kinds,
        [("rejected", 1), ("trap", 2), ("deadline", 1), ("memory", 1), ("malformed", 1), ("too-much-output", 2)]
    );
}

#[test]
fn a_record_a_call_finds_culprits_too() {
    let (written, failures) = run(&plugin("single"), &["a", "panic", "b", "split", "route", "drop", "pass"]);
    let named = |index, value: &str| (Destination::Named(index), value.to_owned());
    let default = |value: &str| (Destination::Default, value.to_owned());
    let mut ordinary = written.clone();
    ordinary.retain(|(to, _)| *to != Destination::DeadLetter);
    assert_eq!(
        ordinary,
        [default("A"), default("B"), default("one"), named(0, "two"), named(1, "routed"), default("pass")]
    );
    assert_eq!((written.len(), failures), (7, vec![(FailureKind::Trap, 1)]));
}

/// A transform that asks for its records is no exception.
#[test]
fn a_transform_for_redpanda_fails_on_no_record_but_the_culprits() {
    let names: Vec<String> = (0..64).map(|i| format!("value {i}")).collect();
    let mut values: Vec<&str> = names.iter().map(String::as_str).collect();
    let bad = ["error", "panic", "exit", "loop", "grow", "flood", "to nowhere"];
    for (i, value) in bad.iter().enumerate() {
        values[i * 9 + i % 3] = value;
    }
    (values[1], values[2], values[3]) = ("drop", "to audit", "twice");
    let (written, failures) = run(&plugin_of(transform()), &values);
    let (dead, made): (Written, Written) = written.into_iter().partition(|(to, _)| *to == Destination::DeadLetter);
    let mut dead: Vec<_> = dead.iter().map(|(_, value)| value.as_str()).collect();
    dead.sort();
    let mut culprits = bad;
    culprits.sort();
    assert_eq!(dead, culprits);
    let default = |value: &str| (Destination::Default, value.to_owned());
    let audit = (Destination::Named(1), "to audit".to_owned());
    assert_eq!(made[..4], [audit, default("first"), default("second"), default("value 4")]);
    assert_eq!(made.len(), 64 - bad.len() - 3 + 3);
    let mut kinds: Vec<_> = failures.iter().map(|(kind, count)| (kind.name(), *count)).collect();
    kinds.sort();
    assert_eq!(kinds, [("deadline", 1), ("memory", 1), ("too-much-output", 1), ("trap", 4)]);
}
