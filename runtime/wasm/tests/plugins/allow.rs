//! A plugin without permission lives in a world that stands still; with it, in ours.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sluicegate_core::{Outcomes, Transform};
use sluicegate_wasm::{Allow, Capability, Fixed, InstanceSpec};

use crate::guests::{batch, limits, spec, started};

/// What the guest `fickle` makes of these records, in a fresh instance and a batch.
fn answers(allow: Allow, values: &[&str]) -> Vec<String> {
    answers_in(InstanceSpec { allow, ..spec("{}") }, values)
}

fn answers_in(spec: InstanceSpec, values: &[&str]) -> Vec<String> {
    let mut outcomes = Outcomes::default();
    started("fickle", spec).process(&batch(values), &mut outcomes).unwrap();
    let mut at = 0;
    let lengths = outcomes.values.lengths.iter().map(|length| usize::try_from(*length).unwrap());
    let answer = |length| {
        at += length;
        String::from_utf8(outcomes.values.data[at - length..at].to_vec()).unwrap()
    };
    lengths.map(answer).collect()
}

fn allowing(capability: Capability) -> Allow {
    Allow::of([capability])
}

fn other() -> Allow {
    Allow { fixed: Fixed::Other, ..Allow::default() }
}

#[test]
fn clocks_are_fixed_unless_they_are_allowed() {
    let fixed = answers(Allow::default(), &["time", "elapsed", "elapsed"]);
    assert_eq!(fixed, ["946684800", "1µs", "1µs"]);
    assert_eq!(answers(allowing(Capability::Random), &["time"]), fixed[..1]);
    assert_eq!(answers(other(), &["time"]), ["2000000000"]);

    let real: u64 = answers(allowing(Capability::Clock), &["time"])[0].parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(real.abs_diff(now) < 60, "{real}, {now}");
    let looks = answers(allowing(Capability::Clock), &["elapsed"; 64]);
    assert!(looks.iter().any(|look| *look != looks[0]), "{looks:?}");
}

/// However long it asked for, and however it waits: the clock moves on by itself.
#[test]
fn a_sleep_on_a_fixed_clock_is_over_at_once() {
    let deadline = std::time::Duration::from_secs(2);
    let start = Instant::now();
    let hasty = InstanceSpec { limits: limits(deadline), ..spec("{}") };
    assert_eq!(answers_in(hasty, &["sleep", "sleep"]), ["rested", "rested"]);
    assert!(start.elapsed() < std::time::Duration::from_secs(120));
}

#[test]
fn random_numbers_are_fixed_unless_they_are_allowed() {
    let fixed = answers(Allow::default(), &["random", "random"]);
    assert_eq!(fixed, ["[2a, 2a, 2a, 2a, 2a, 2a, 2a, 2a]"; 2]);
    assert_eq!(answers(allowing(Capability::Clock), &["random"]), fixed[..1]);
    assert_ne!(answers(other(), &["random"]), fixed[..1]);

    let real = answers(allowing(Capability::Random), &["random", "random"]);
    assert!(real[0] != real[1] && real[0] != fixed[0], "{real:?}");
}

#[test]
fn a_hash_map_made_once_has_one_order() {
    let fixed = answers(Allow::default(), &["table", "table"]);
    assert_eq!(fixed[0], fixed[1]);
    assert_eq!(answers(Allow::default(), &["table"]), fixed[..1]);
    assert_eq!(answers(other(), &["table"]), fixed[..1]);
    // One order in 16! is the same by chance.
    assert_ne!(answers(allowing(Capability::Random), &["table"]), answers(allowing(Capability::Random), &["table"]));
}

/// Rust gives each further map another seed, so that a map a record has the order of what came before.
#[test]
fn a_hash_map_a_record_has_another_order_each() {
    let orders = answers(Allow::default(), &["map", "map"]);
    assert_ne!(orders[0], orders[1]);
    assert_eq!(answers(Allow::default(), &["map", "map"]), orders);
}

#[test]
fn a_stage_has_a_seed_of_its_own() {
    let seed = |pipeline: &str, stage: &str| {
        let spec = InstanceSpec { pipeline: pipeline.into(), stage: stage.into(), ..spec("{}") };
        answers_in(spec, &["seed", "seed"])
    };
    // What the Rust SDK's tests draw with.
    assert_eq!(seed("test", "test"), ["194182447c1357"; 2]);
    assert_ne!(seed("test", "other"), seed("other", "other"));
    assert_ne!(seed("test", "test"), seed("test", "other"));
}
