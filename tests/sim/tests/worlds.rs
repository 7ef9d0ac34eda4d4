//! The promise holds in every world that these seeds make.

use std::collections::BTreeMap;

use sluicegate_sim::{Outcome, Unpatched, simulate};

fn run(seed: u64) -> Outcome {
    simulate(seed, Box::new(Unpatched), false)
}

fn assert_clean(seed: u64, Outcome { report, .. }: &Outcome, what: &str) {
    assert!(
        report.is_clean(),
        "seed {seed} {what}\n{report}replay: cargo run --release -p sluicegate-sim -- --seed {seed} --verbose"
    );
}

#[test]
fn the_promise_holds_and_every_fault_has_struck() {
    let mut faults: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 10_000..15_000 {
        let outcome = run(seed);
        assert_clean(seed, &outcome, "broke the promise");
        outcome.faults.into_iter().for_each(|fault| *faults.entry(fault).or_default() += 1);
    }
    let steps = [
        "Poll",
        "Release",
        "Rewind",
        "Process",
        "Renew",
        "Begin",
        "Write",
        "Acknowledged",
        "Commit",
        "Offsets",
        "End",
        "Answer",
        "Abort",
    ];
    let at_steps =
        steps.iter().flat_map(|step| ["crash", "stall", "jump", "disconnect"].map(|kind| format!("{kind} at {step}")));
    let others = ["rebalance", "unsettled group", "refused output", "lost acknowledgement", "outage"];
    let changes = ["pause", "swap", "shadow", "canary", "dismissal"];
    let expected = at_steps
        .chain(others.into_iter().chain(changes).map(String::from))
        .filter(|fault| fault != "disconnect at Process");
    let never: Vec<String> = expected.filter(|fault| !faults.contains_key(fault)).collect();
    assert!(never.is_empty(), "never struck: {never:?}; struck: {faults:?}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..50 {
        let [first, second] = [run(seed), run(seed)];
        assert_eq!((first.steps, first.lives, first.faults), (second.steps, second.lives, second.faults));
        assert_eq!(first.report.counts, second.report.counts);
    }
}
