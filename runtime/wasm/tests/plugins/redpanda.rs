//! A transform by Redpanda's own SDK, and modules that only pretend to be one.

use std::time::Duration;

use sluicegate_core::{Batch, Failure, FailureKind, NO_TIMESTAMP, NULL, Outcomes, OutputLimits, SinkLimits, Transform};
use sluicegate_wasm::{
    Allow, Capability, Form, Instance, InstanceLimits, InstanceSpec, Interface, LoadOptions, Plugin,
};

use crate::guests::{PATIENT, batch, engine, limits, plugin_of, spec, started_of, transform};

const LIMITS: OutputLimits = OutputLimits {
    outputs_per_record: 9,
    bytes_per_record: 1 << 20,
    sink: SinkLimits { bytes: 1 << 20, ..SinkLimits::NONE },
};

fn started(spec: InstanceSpec) -> Instance {
    started_of(&plugin_of(transform()), spec)
}

/// What becomes of a batch, checked as a stage would.
fn outcomes(instance: &mut Instance, input: &Batch) -> Outcomes {
    let mut outcomes = Outcomes::default();
    instance.process(input, &mut outcomes).unwrap();
    outcomes.clone().validate(input, 2, &LIMITS, true, 0).unwrap();
    outcomes
}

/// What the transform writes for a record with this value.
fn answer(spec: InstanceSpec, value: &str) -> String {
    String::from_utf8(outcomes(&mut started(spec), &batch(&[value])).values.data).unwrap()
}

#[test]
fn it_says_what_it_is() {
    let plugin = plugin_of(transform());
    let artifact = plugin.artifact();
    assert_eq!((artifact.form, artifact.interface), (Form::Module, Interface::Redpanda));
    assert!(artifact.imports.iter().any(|import| import == "redpanda_transform.read_next_record"));
    // The name is the linker's, to which cargo may add a hash.
    assert!(plugin.description().name.starts_with("asked"), "{}", plugin.description().name);
    assert_eq!(*plugin.description().version, artifact.digest[..12]);
    assert!(plugin.description().config_schema.is_some());
}

#[test]
fn batches_come_and_go_as_if_they_were_calls() {
    let mut instance = started(spec("{}"));
    for _ in 0..3 {
        let mut input = batch(&["abc", "drop", "twice", "to audit", "to trades.clean", ""]);
        input.push(99, NO_TIMESTAMP, None, None);
        input.push_header(b"a", None);
        input.push_header(b"\xff", Some(b""));
        let outcomes = outcomes(&mut instance, &input);
        assert_eq!(outcomes.outcomes, [1, 0, 2, 1, 1, 1, 1]);
        assert_eq!(outcomes.to, [-1, -1, -1, 1, -1, -1, -1]);
        assert_eq!(outcomes.values.lengths, [3, 5, 6, 8, 15, 0, NULL]);
        assert_eq!(outcomes.values.data, b"abcfirstsecondto auditto trades.clean");
        assert_eq!(outcomes.keys.lengths, [3, 3, 3, 3, 3, 3, NULL]);
        assert_eq!(outcomes.headers.counts, [0, 0, 0, 0, 0, 0, 2]);
        assert_eq!((outcomes.headers.keys, outcomes.headers.values), (input.headers.keys, input.headers.values));
        assert!(outcomes.timestamps.is_empty(), "outputs have their record's");
    }
    let outcomes = outcomes(&mut instance, &batch(&["header"]));
    assert_eq!((outcomes.values.lengths, outcomes.headers.counts), (vec![NULL], vec![2]));
    assert_eq!((outcomes.headers.keys.data, outcomes.headers.values.lengths), (b"aa".to_vec(), vec![1, NULL]));
}

#[test]
fn the_environment_is_the_configuration() {
    let variable = |name: &str| answer(spec(r#"{ "LIMIT": 7 }"#), &format!("variable {name}"));
    for (name, value) in [
        ("LIMIT", "7"),
        ("REDPANDA_INPUT_TOPIC", "trades"),
        ("REDPANDA_OUTPUT_TOPIC_0", "trades.clean"),
        ("REDPANDA_OUTPUT_TOPIC_2", "audit"),
    ] {
        assert_eq!(variable(name), value);
    }
    let error = Instance::new(&plugin_of(transform()), &spec(r#"{ "LIMIT": [7] }"#).into()).err().unwrap().to_string();
    assert!(error.contains("refuses its config: 'LIMIT' is an environment variable"), "{error}");
}

#[test]
fn there_is_nothing_else_of_the_machine() {
    let arguments = answer(spec("{}"), "arguments");
    assert!(arguments.starts_with("asked") && !arguments.contains(','), "its own name alone: {arguments}");
    let files = answer(spec("{}"), "files");
    assert!(files.starts_with("Err("), "{files}");
    // The batch's records are of 5 ms after the epoch, and the transform's clock is with them.
    assert_eq!(answer(spec("{}"), "time"), "5");
    assert_eq!(answer(spec("{}"), "wait"), "true");
    let allowed = InstanceSpec { allow: Allow::of([Capability::Clock]), ..spec("{}") };
    assert!(answer(allowed, "time").parse::<u64>().unwrap() > 1_700_000_000_000);
    assert_eq!(answer(spec("{}"), "say anything"), "said");
}

/// What comes of a record with this value that is alone in its batch; the next instance is as good as the first.
fn failure(instance: &mut Instance, value: &str) -> Failure {
    let input = batch(&[value]);
    let mut made = Outcomes::default();
    let limits = InstanceLimits::default().output;
    let result = instance.process(&input, &mut made).and_then(|()| made.validate(&input, 2, &limits, true, 0));
    let failure = result.expect_err(value);
    instance.renew().unwrap();
    assert_eq!(outcomes(instance, &batch(&["fine again"])).values.data, b"fine again", "after {value}");
    failure
}

#[test]
fn every_way_to_fail_has_its_kind_and_its_reason() {
    let mut instance = started(InstanceSpec { limits: limits(Duration::from_secs(2)), ..spec("{}") });
    for (value, kind, reason) in [
        ("error", FailureKind::Trap, "transforming record failed"),
        ("panic", FailureKind::Trap, "boom"),
        ("exit", FailureKind::Trap, "called exit"),
        ("loop", FailureKind::Deadline, "the call took longer than limits.deadline, 2s"),
        ("grow", FailureKind::Memory, "limits.memory is 67108864"),
        ("flood", FailureKind::TooMuchOutput, "limits.outputs-per-record, 1000"),
        ("large", FailureKind::TooMuchOutput, "limits.output-bytes-per-record"),
        ("to nowhere", FailureKind::Trap, "it writes to topic 'nowhere', of which the sink has no output"),
    ] {
        let failure = failure(&mut instance, value);
        assert_eq!(failure.kind, kind, "{value}: {failure}");
        assert!(failure.reason.contains(reason), "{value}: {failure}");
        assert!(!failure.reason.contains('\n'), "{failure}");
    }
    assert!(failure(&mut instance, "error").reason.contains("not this one"));
}

/// By the deadline; at a start, which sleeps a little longer here, by the time that a start has.
#[test]
fn a_wait_by_the_machines_clock_is_bounded() {
    let (allow, limits) = (Allow::of([Capability::Clock]), limits(Duration::from_millis(300)));
    let mut instance = started(InstanceSpec { limits, allow, ..spec(r#"{ "START": "nap" }"#) });
    assert_eq!(failure(&mut instance, "wait").kind, FailureKind::Deadline);
}

#[test]
fn one_that_does_not_start_says_why() {
    let plugin = plugin_of(transform());
    let refusal = |config: &str| Instance::new(&plugin, &spec(config).into()).err().expect(config).to_string();
    for (start, reason) in [("panic", "no start"), ("return", "it ended instead of asking for records")] {
        let line = refusal(&format!(r#"{{ "START": "{start}" }}"#));
        assert!(line.contains("does not start: ") && line.contains(reason), "{line}");
    }
    let hasty = InstanceSpec { limits: limits(Duration::from_millis(1)), ..spec(r#"{ "START": "loop" }"#) };
    let line = Instance::new(&plugin, &hasty.into()).err().unwrap().to_string();
    assert!(line.contains("does not start: deadline"), "{line}");
}

/// A module that imports all of the ABI, with `body` as its `_start`.
fn pretender(body: &str) -> Vec<u8> {
    let wat = format!(
        r#"(module
            (import "redpanda_transform" "check_abi_version_2" (func $check))
            (import "redpanda_transform" "read_batch_header"
                (func $batch (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (import "redpanda_transform" "read_next_record" (func $next (param i32 i32 i32 i32 i32) (result i32)))
            (import "redpanda_transform" "write_record" (func $write (param i32 i32) (result i32)))
            (import "redpanda_schema_registry" "check_abi_version_0" (func $schemas))
            (memory (export "memory") 1)
            (func $ask (result i32) (call $batch
                (i32.const 0) (i32.const 8) (i32.const 16) (i32.const 24) (i32.const 32)
                (i32.const 40) (i32.const 48) (i32.const 56) (i32.const 64) (i32.const 72)))
            (func $read (param $room i32) (result i32) (call $next
                (i32.const 80) (i32.const 88) (i32.const 96) (i32.const 1024) (local.get $room)))
            (func (export "_start") {body}))"#
    );
    wat::parse_str(wat).unwrap()
}

fn pretended(body: &str) -> Failure {
    let mut instance = started_of(&plugin_of(pretender(body)), spec("{}"));
    let mut outcomes = Outcomes::default();
    instance.process(&batch(&["a", "b"]), &mut outcomes).expect_err(body)
}

#[test]
fn a_batch_that_is_not_read_to_its_end_is_not_lost() {
    let failure = pretended("(loop (drop (call $ask)) (drop (call $read (i32.const 4096))) (br 0))");
    assert!(failure.reason.contains("before it had read the last 1 records"), "{failure}");
}

#[test]
fn addresses_that_lie_end_the_call() {
    for body in [
        "(drop (call $ask)) (drop (call $next
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 65530) (i32.const 4096)))",
        "(drop (call $ask)) (drop (call $write (i32.const -8) (i32.const 16)))",
        "(drop (call $batch (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))",
    ] {
        let failure = pretended(body);
        assert_eq!(failure.kind, FailureKind::Trap, "{failure}");
        assert!(failure.reason.starts_with("out of bounds memory access"), "{failure}");
    }
}

/// Each answer is a trap where it is another than expected.
#[test]
fn what_cannot_be_done_is_answered_by_a_number() {
    let expect = |call: &str, answer: i32| format!("(if (i32.ne {call} (i32.const {answer})) (then unreachable))");
    let (write, read) = ("(call $write (i32.const 2048) (i32.const 3))", "(call $read (i32.const 4096))");
    // A key longer than what is there; then null, null and no headers.
    let [broken, record] =
        ["0x000108", "0x000101"].map(|bytes| format!("(i32.store (i32.const 2048) (i32.const {bytes}))"));
    let body = [
        expect(write, -1),
        expect(read, -1),
        expect("(call $ask)", 7),
        expect(write, -1),
        expect("(call $read (i32.const 6))", -2),
        expect(read, 7),
        broken,
        expect(write, -2),
        record,
        expect(write, 3),
        expect(read, 7),
        expect(read, -1),
        "(drop (call $ask))".to_owned(),
    ];
    let mut instance = started_of(&plugin_of(pretender(&body.concat())), spec("{}"));
    let outcomes = outcomes(&mut instance, &batch(&["a", "b"]));
    assert_eq!((outcomes.outcomes, outcomes.values.lengths), (vec![1, 0], vec![NULL]));
}

#[test]
fn the_schema_registry_is_refused_by_name() {
    let plugin = plugin_of(pretender("(call $schemas)"));
    let line = Instance::new(&plugin, &spec("{}").into()).err().unwrap().to_string();
    assert!(
        line.contains("does not start: ") && line.contains("schema registry, which is not supported yet"),
        "{line}"
    );
}

#[test]
fn modules_that_are_no_transforms_are_told_why() {
    let refusal = |wat: &str| {
        let bytes = wat::parse_str(wat).unwrap();
        Plugin::load(&engine(), bytes, &LoadOptions::default()).expect_err("a refusal").to_string()
    };
    let abi = |version: u32| format!("(import \"redpanda_transform\" \"check_abi_version_{version}\" (func))");
    let old = refusal(&format!("(module {} (func (export \"_start\")))", abi(1)));
    assert!(old.contains("only version 2 of Redpanda's ABI"), "{old}");
    let library = refusal(&format!("(module {} (memory (export \"memory\") 1))", abi(2)));
    assert!(library.contains("it exports no function _start"), "{library}");
    let blind = refusal(&format!("(module {} (func (export \"_start\")))", abi(2)));
    assert!(blind.contains("it exports no memory"), "{blind}");
    let other = format!("(module {} (import \"env\" \"f\" (func)) (func (export \"_start\")))", abi(2));
    assert!(refusal(&other).starts_with("imports env.f, which no plugin is given"), "{}", refusal(&other));
    let wrong = "(module (import \"redpanda_transform\" \"check_abi_version_2\" (func (param i32)))
        (memory (export \"memory\") 1) (func (export \"_start\")))";
    assert!(refusal(wrong).starts_with("does not fit version 2 of Redpanda's ABI: "), "{}", refusal(wrong));
}

/// Where there is no limit but the memory's, `PATIENT` is long enough.
#[test]
fn many_batches_leave_nothing_behind() {
    let mut instance = started(InstanceSpec { limits: limits(PATIENT), ..spec("{}") });
    let values: Vec<String> = (0..512).map(|index| format!("value {index} {}", "x".repeat(1000))).collect();
    let input = batch(&values.iter().map(String::as_str).collect::<Vec<_>>());
    for _ in 0..200 {
        assert_eq!(outcomes(&mut instance, &input).outcomes.len(), 512);
    }
}
