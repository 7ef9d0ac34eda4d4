use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::{ErrorKind, Failure, FailureKind, Outcomes, Transform};
use sluicegate_wasm::{Allow, Capability, Instance, InstanceLimits, InstanceSpec};

use crate::guests::{PATIENT, batch, hasty, instance, limits, plugin, spec, started};

const TOO_MUCH: &str =
    "returned more than limits.output-bytes-per-record, 4194304, and limits.outputs-per-record, 1000, can allow";

/// What comes of a record with this value that is alone in its batch.
fn failure(instance: &mut Instance, value: &str) -> Failure {
    let input = batch(&[value]);
    let mut outcomes = Outcomes::default();
    let limits = InstanceLimits::default().output;
    let result = instance.process(&input, &mut outcomes);
    let result = result.and_then(|()| std::mem::take(&mut outcomes).validate(&input, 2, &limits, true, 0));
    let failure = result.expect_err(value);
    instance.renew().unwrap();
    instance.process(&batch(&["fine again"]), &mut outcomes).unwrap();
    assert_eq!(outcomes.values.data, b"FINE AGAIN", "after {value}");
    failure
}

#[test]
fn every_way_to_fail_has_its_kind_and_its_reason() {
    let mut hostile = instance("hostile");
    for (value, kind, reason) in [
        ("trap", FailureKind::Trap, "aborted"),
        ("last-words", FailureKind::Trap, "aborted: these are my last words"),
        ("exit", FailureKind::Trap, "called exit"),
        ("deep", FailureKind::Trap, "the call stack is exhausted"),
        ("stack", FailureKind::Trap, "out of bounds memory access, or a stack that is exhausted"),
        ("malformed", FailureKind::Malformed, "keys: 2 entries for 1 outputs"),
        ("short", FailureKind::Malformed, "0 outcomes for 1 records"),
        ("million", FailureKind::TooMuchOutput, TOO_MUCH),
        ("large", FailureKind::TooMuchOutput, TOO_MUCH),
        ("reasons", FailureKind::TooMuchOutput, TOO_MUCH),
    ] {
        let failure = failure(&mut hostile, value);
        assert_eq!((failure.kind, failure.reason.as_str()), (kind, reason), "{value}");
    }
}

#[test]
fn a_panic_is_told_in_its_own_words() {
    for name in ["hostile", "single"] {
        let failure = failure(&mut instance(name), "panic");
        assert_eq!(failure.kind, FailureKind::Trap);
        assert!(failure.reason.starts_with("aborted: thread '"), "{failure}");
        assert!(failure.reason.contains("src/lib.rs:") && failure.reason.contains(": boom"), "{failure}");
        assert!(!failure.reason.contains('\n'), "{failure}");
    }
}

#[test]
fn memory_that_is_refused_is_named() {
    let failure = failure(&mut instance("hostile"), "grow");
    assert_eq!(failure.kind, FailureKind::Memory);
    assert!(failure.reason.starts_with("asked for 6"), "{failure}");
    assert!(failure.reason.contains("bytes of memory; limits.memory is 67108864"), "{failure}");
}

#[test]
fn a_record_a_call_fails_alike() {
    assert_eq!(failure(&mut instance("single"), "large").kind, FailureKind::TooMuchOutput);
}

#[test]
fn a_deadline_holds_within_twice_its_length() {
    let deadline = Duration::from_millis(200);
    for (guest, value) in [("hostile", "loop"), ("hostile", "sleep"), ("single", "loop")] {
        // Without a real clock a sleep is over at once.
        let allow = Allow::of([Capability::Clock]);
        let mut instance = started(guest, InstanceSpec { limits: limits(deadline), allow, ..spec("{}") });
        // A busy machine may be late at any one time; it is never early.
        let soonest = (0..10).map(|_| overrun(&mut instance, value, deadline)).find(|took| *took < deadline * 2);
        assert!(soonest.is_some(), "{value} always took too long");
    }
}

/// How long the call of this value took until its deadline ended it.
fn overrun(instance: &mut Instance, value: &str, deadline: Duration) -> Duration {
    let start = Instant::now();
    let failure = instance.process(&batch(&[value]), &mut Outcomes::default()).unwrap_err();
    let took = start.elapsed();
    assert_eq!(failure.to_string(), "deadline: the call took longer than limits.deadline, 200ms");
    assert!(took >= deadline, "{value} was stopped after {took:?}");
    instance.renew().unwrap();
    took
}

/// Else a worker's second batch would inherit what its first has used up.
#[test]
fn each_call_has_a_deadline_of_its_own() {
    let deadline = Duration::from_millis(500);
    let mut hostile = hasty("hostile", deadline);
    for _ in 0..4 {
        hostile.process(&batch(&["fine"]), &mut Outcomes::default()).unwrap();
        std::thread::sleep(deadline / 3);
    }
}

#[test]
fn a_failed_instance_stays_failed_until_it_is_renewed() {
    let mut hostile = instance("hostile");
    let mut outcomes = Outcomes::default();
    hostile.process(&batch(&["trap"]), &mut outcomes).unwrap_err();
    let failure = hostile.process(&batch(&["fine"]), &mut outcomes).unwrap_err();
    assert_eq!(failure.reason, "the instance has failed before and was not renewed");
}

#[test]
fn configuration_that_does_not_work_is_an_error_of_the_configuration() {
    let plugin = plugin("hostile");
    let limits = limits(Duration::from_secs(2));
    for (config, message) in [
        ("\"refuse\"", "plugin hostile 0.1.0 refuses its config: no\\nway with [\"large\", \"audit\"]"),
        ("\"panic\"", "plugin hostile 0.1.0 fails on its config: trap: aborted: thread '"),
        ("\"loop\"", "plugin hostile 0.1.0 fails on its config: deadline: the call took longer than"),
        ("\"greedy\"", "plugin hostile 0.1.0 fails on its config: memory: asked for"),
    ] {
        let error = Instance::new(&plugin, &Arc::new(InstanceSpec { limits, ..spec(config) })).err().expect(config);
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.starts_with(message), "{error}");
    }
}

/// Else a machine that stalls while an instance is renewed would stop a pipeline for good.
#[test]
fn a_start_that_is_late_is_tried_again_where_an_earlier_one_was_not() {
    let plugin = plugin("hostile");
    let start = |spec: InstanceSpec| Instance::new(&plugin, &Arc::new(spec)).map(drop);
    let late = || start(InstanceSpec { limits: limits(Duration::from_millis(50)), ..spec("\"loop\"") }).unwrap_err();
    assert_eq!(late().kind, ErrorKind::Config);
    start(spec("{}")).unwrap();
    let late = late();
    assert_eq!(late.kind, ErrorKind::Retry, "{late}");
    assert!(late.message.contains("fails on its config: deadline: not done after 1s"), "{late}");
    assert_eq!(start(spec("\"panic\"")).unwrap_err().kind, ErrorKind::Config);
}

/// A start has more time than a call, for its waits too.
#[test]
fn a_plugin_may_wait_longer_before_its_first_batch() {
    let limits = limits(Duration::from_millis(50));
    let spec = InstanceSpec { limits, allow: Allow::of([Capability::Clock]), ..spec("\"nap\"") };
    let failure = started("hostile", spec).process(&batch(&["sleep"]), &mut Outcomes::default()).unwrap_err();
    assert_eq!(failure.to_string(), "deadline: the call took longer than limits.deadline, 50ms");
}

#[test]
fn a_plugin_that_does_not_fit_its_memory_does_not_start() {
    let limits = InstanceLimits { memory_bytes: 64 << 10, ..limits(PATIENT) };
    let spec = Arc::new(InstanceSpec { limits, ..spec("{}") });
    let error = Instance::new(&plugin("hostile"), &spec).err().unwrap();
    assert!(error.message.contains("does not start: memory: asked for"), "{error}");
    assert!(error.message.contains("limits.memory is 65536"), "{error}");
}
