//! Plugins that are tried out beside a stage's own: what a shadow finds out, what a canary is given, and that neither harms.

mod script;

use std::sync::Arc;
use std::time::Duration;

use script::{Event, RETIRED, Stamp, run, run_stages, tell};
use sluicegate_core::*;

/// Tells the worker to try this version out.
fn try_out(version: &'static str, knows_traps: bool, role: Role, findings: &Arc<Findings>) -> Event {
    let findings = Arc::clone(findings);
    tell(move || Command::Try(Candidate { stage: 0, transform: Stamp::boxed(version, knows_traps), role, findings }))
}

/// Lets this version, which knows traps, take over in a stage.
fn replace(stage: usize, version: &'static str) -> Event {
    tell(move || {
        let transform = Stamp::boxed(version, true);
        Command::Replace(Replacement { stage, transform, version: 1, on_trial: false })
    })
}

/// The keys that fall to a canary of this share.
fn is_canarys(share: Share, key: &str) -> bool {
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    key.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, hash) % 10_000 < u64::from(share.points)
}

const HALF: Share = Share { points: 5000, of_keys: true };
const LETTERS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// What the stage `own` and the canary write for these records.
fn stamped(records: &[&str], own: &str, canary: &str) -> Vec<String> {
    let version = |key| if is_canarys(HALF, key) { canary } else { own };
    records.iter().map(|key| format!("{key}.{}", version(key))).collect()
}

#[test]
fn a_shadow_is_compared_and_its_outcomes_are_thrown_away() {
    let findings = Arc::new(Findings::default());
    let script = vec![
        try_out("2", true, Role::Shadow, &findings),
        Event::Records(0, vec!["a", "b"]),
        Event::Records(1, vec!["c"]),
    ];
    let (result, world, _) = run("1", 0, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["a.1", "b.1", "c.1"]);
    let report = findings.report();
    assert_eq!((report.live.records, report.candidate.records, report.differing, report.ended), (3, 3, 3, None));
    let Sample { offset: 1, live: Made::Outputs(live), candidate: Made::Outputs(candidate), .. } = &report.samples[1]
    else {
        panic!("{:?}", report.samples)
    };
    assert_eq!((live[0].value.as_deref(), candidate[0].value.as_deref()), (Some(&b"b.1"[..]), Some(&b"b.2"[..])));
    assert_eq!(live[0].key.as_deref(), Some(&b"b"[..]), "what is inherited is filled in");
}

#[test]
fn a_shadow_that_does_the_same_differs_in_nothing() {
    let findings = Arc::new(Findings::default());
    let script = vec![
        try_out("1", true, Role::Shadow, &findings),
        Event::Records(0, vec!["a", "trap", "b"]),
        Event::Records(0, vec!["c"]),
    ];
    let (result, world, _) = run("1", 0, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["a.1", "b.1", "dead:trap", "c.1"]);
    let report = findings.report();
    assert_eq!((report.differing, report.live.failed(), report.candidate.failed()), (1, 1, 0));
    assert!(matches!(&report.samples[0], Sample { offset: 1, live: Made::Failed(_), .. }), "{:?}", report.samples);
}

#[test]
fn a_shadow_that_fails_on_everything_is_dropped_with_its_reason_and_the_stream_flows_on() {
    let findings = Arc::new(Findings::default());
    let script = vec![
        replace(0, "1"),
        try_out("doomed shadow", false, Role::Shadow, &findings),
        Event::Records(0, vec!["a", "trap", "b"]),
        Event::Records(0, vec!["trap"; 5]),
        Event::Records(0, vec!["c"]),
    ];
    let (result, world, meters) = run("0", 0, script);
    result.unwrap();
    let mut expected = vec!["a.1", "trap.1", "b.1"];
    expected.extend([&["trap.1"; 5][..], &["c.1"]].concat());
    assert_eq!(world.borrow().written, expected);
    assert_eq!(meters.failures().map(|(_, _, count)| count).sum::<u64>(), 0, "its failures are its own");
    let report = findings.report();
    assert_eq!((report.candidate.records, report.candidate.failures[FailureKind::Trap as usize]), (3, 1));
    assert!(report.ended.as_ref().unwrap().contains("failed on 3 records in a row"), "{report:?}");
    assert!(RETIRED.lock().unwrap().contains(&"doomed shadow".to_owned()));
}

#[test]
fn a_canary_has_its_keys_and_the_order_stays() {
    let findings = Arc::new(Findings::default());
    let script = vec![
        try_out("2", true, Role::Canary(HALF), &findings),
        Event::Records(0, LETTERS.to_vec()),
        Event::Records(1, LETTERS[..5].to_vec()),
        tell(|| Command::Dismiss { stage: 0 }),
        Event::Records(0, LETTERS.to_vec()),
    ];
    let (result, world, _) = run("1", 0, script);
    result.unwrap();
    let parts = [stamped(&LETTERS, "1", "2"), stamped(&LETTERS[..5], "1", "2"), stamped(&LETTERS, "1", "1")];
    assert_eq!(world.borrow().written, parts.concat());
    let report = findings.report();
    let canarys = [&LETTERS[..], &LETTERS[..5]].concat().iter().filter(|key| is_canarys(HALF, key)).count() as u64;
    assert!(canarys > 2, "the test shows something");
    assert_eq!((report.candidate.records, report.live.records), (canarys, 17 - canarys));
}

#[test]
fn what_a_canary_fails_on_is_run_by_what_is_live_and_makes_no_dead_letter() {
    let findings = Arc::new(Findings::default());
    let all = Share { points: 10_000, of_keys: true };
    let script = vec![
        replace(0, "1"),
        try_out("2", false, Role::Canary(all), &findings),
        Event::Records(0, vec!["a", "trap", "b", "trap", "c"]),
    ];
    let (result, world, meters) = run("0", 5, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["a.2", "trap.1", "b.2", "trap.1", "c.2"]);
    assert!(world.borrow().now < Duration::from_secs(60), "a canary is not tried again");
    assert_eq!(meters.failures().map(|(_, _, count)| count).sum::<u64>(), 0);
    let report = findings.report();
    assert_eq!((report.candidate.records, report.candidate.failed(), report.live.records), (5, 2, 0));
}

#[test]
fn what_both_fail_on_is_nobodys_failure() {
    let findings = Arc::new(Findings::default());
    let all = Share { points: 10_000, of_keys: false };
    let script = vec![try_out("2", false, Role::Canary(all), &findings), Event::Records(0, vec!["a", "trap", "b"])];
    let (result, world, _) = run("1", 0, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["a.2", "b.2", "dead:trap"]);
    assert_eq!((findings.report().candidate.failed(), findings.report().live.failed()), (0, 0));
}

/// Halving makes many slow calls of one such record, with a canary as without.
#[test]
fn what_both_hang_on_ends_no_candidate() {
    let all = Share { points: 10_000, of_keys: true };
    for role in [Role::Shadow, Role::Canary(all)] {
        let findings = Arc::new(Findings::default());
        let batches = (0..2).map(|_| Event::Records(0, vec!["a", "b", "c", "hang", "d"]));
        let script = [try_out("2", false, role, &findings)].into_iter().chain(batches).collect();
        run("1", 0, script).0.unwrap();
        let report = findings.report();
        assert_eq!((report.ended, report.candidate.records), (None, 10), "{role:?}");
        assert!(role == Role::Shadow || report.candidate.overruns + report.live.overruns == 0, "{role:?}");
    }
}

#[test]
fn a_canary_that_fails_on_everything_ends_within_its_batch_and_loses_nothing() {
    let findings = Arc::new(Findings::default());
    let all = Share { points: 10_000, of_keys: true };
    let script = vec![
        replace(0, "1"),
        try_out("2", false, Role::Canary(all), &findings),
        Event::Records(0, vec!["a", "trap", "trap", "trap", "trap"]),
        Event::Records(0, vec!["b"]),
    ];
    let (result, world, _) = run("0", 0, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["a.1", "trap.1", "trap.1", "trap.1", "trap.1", "b.1"]);
    assert!(findings.report().ended.unwrap().contains("3 records in a row"));
}

#[test]
fn a_slow_candidate_is_dropped_before_it_holds_a_worker_up_for_long() {
    for role in [Role::Shadow, Role::Canary(Share { points: 10_000, of_keys: true })] {
        let findings = Arc::new(Findings::default());
        // By the first batch it is known how slow it is; after that its calls are short.
        let script = vec![
            try_out("slow", true, role, &findings),
            Event::Records(0, vec!["a"]),
            Event::Records(0, LETTERS.to_vec()),
            Event::Records(0, vec!["b"]),
        ];
        let (result, world, _) = run("1", 0, script);
        result.unwrap();
        let first = if role == Role::Shadow { "a.1" } else { "a.slow" };
        let mut expected = vec![first.to_owned()];
        expected.extend(LETTERS.iter().map(|key| format!("{key}.1")));
        expected.push("b.1".to_owned());
        assert_eq!(world.borrow().written, expected, "{role:?}");
        let ended = findings.report().ended.unwrap();
        assert!(ended.contains("too slow: the candidate took 5.4s for 9 of a batch's 12 records"), "{ended}");
    }
}

#[test]
fn another_version_ends_what_is_tried_out_beside_the_one_before() {
    let findings = Arc::new(Findings::default());
    let script = vec![
        try_out("2", true, Role::Canary(Share { points: 10_000, of_keys: true }), &findings),
        Event::Records(0, vec!["a"]),
        replace(0, "3"),
        Event::Records(0, vec!["b"]),
    ];
    let (result, world, _) = run("1", 0, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["a.2", "b.3"]);
}

#[test]
fn outputs_say_which_plugins_made_them() {
    let findings = Arc::new(Findings::default());
    let script = vec![
        Event::Records(0, vec!["a"]),
        try_out("canary", true, Role::Canary(HALF), &findings),
        Event::Records(0, LETTERS.to_vec()),
        replace(1, "4"),
        Event::Records(0, vec!["m"]),
    ];
    let (result, world, _) = run_stages(&["1", "3"], 0, script, Worker::with_plugin_header);
    result.unwrap();
    let written = |key: &str, second: &str| {
        let first = if is_canarys(HALF, key) { "canary" } else { "1" };
        format!("{key}.{first}.{second} by {first},{second}")
    };
    let mut expected = vec!["a.1.3 by 1,3".to_owned()];
    expected.extend(LETTERS.iter().map(|key| written(key, "3")));
    expected.push(written("m", "4"));
    assert_eq!(world.borrow().written, expected);
}
