//! What workers are told while they run: new versions of a plugin, pauses, and what both leave undone.

mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use script::{Event, RETIRED, Stamp, run, run_refused_at_its_end, tell};
use sluicegate_core::*;

fn second() -> Command {
    Command::Replace(Replacement { stage: 0, transform: Stamp::boxed("2", true), version: 2, on_trial: true })
}

/// It fails on `trap`, as the first does.
fn second_and_bad() -> Command {
    Command::Replace(Replacement { stage: 0, transform: Stamp::boxed("bad", false), version: 2, on_trial: true })
}

#[test]
fn a_version_takes_over_between_two_batches() {
    let script = vec![Event::Records(0, vec!["a", "b"]), tell(second), Event::Records(0, vec!["c"])];
    let (result, world, meters) = run("first of two", 0, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["a.first of two", "b.first of two", "c.2"]);
    assert_eq!(world.borrow().committed, [3], "a swap is no reason to commit");
    assert_eq!(meters.swaps().0, 1);
    assert!(RETIRED.lock().unwrap().contains(&"first of two".to_owned()));
}

#[test]
fn what_waited_for_a_retry_begins_anew_with_the_new_version_and_at_once() {
    let script = vec![Event::Records(0, vec!["a", "trap", "b"]), tell(second), Event::Records(0, vec!["c"])];
    let (result, world, _) = run("1", 1, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["a.2", "trap.2", "b.2", "c.2"]);
    assert!(world.borrow().now < Duration::from_secs(60), "the retry was not waited for");
}

#[test]
fn the_breaker_counts_anew_for_a_new_version() {
    let traps = || Event::Records(0, vec!["trap", "trap"]);
    let script = vec![traps(), tell(second_and_bad), traps()];
    let (result, world, _) = run("1", 0, script);
    result.unwrap();
    assert_eq!(world.borrow().written, ["dead:trap"; 4]);
}

#[test]
fn a_version_on_trial_that_trips_the_breaker_leaves_no_dead_letter() {
    let script = vec![
        Event::Records(0, vec!["a"]),
        tell(second_and_bad),
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
        tell(|| Command::Pause),
        Event::Records(0, vec!["b"]),
        Event::Records(1, vec!["c"]),
        tell(second),
        tell(|| Command::Resume),
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
    let script = vec![tell(|| Command::Pause), Event::Records(0, vec!["a"])];
    let (result, world, _) = run("1", 0, script);
    result.unwrap();
    assert_eq!((world.borrow().written.len(), world.borrow().committed.len()), (0, 0));
}

#[test]
fn another_worker_goes_on_over_the_same_seams_with_what_waited() {
    let script = vec![
        Event::Records(0, vec!["a"]),
        Event::Records(1, vec!["trap", "b"]),
        tell(|| Command::HandOver),
        Event::Records(0, vec!["c"]),
    ];
    let (result, world, _) = run("1", 1, script);
    result.unwrap();
    let world = world.borrow();
    assert_eq!(world.written[..1], ["a.1"]);
    assert_eq!(world.committed[0], 1, "what was in flight is committed before another goes on");
    let mut heirs = world.written[1..].to_vec();
    heirs.sort();
    assert_eq!(heirs, ["b.heir", "c.heir", "trap.heir"], "nothing that was read is lost, and nothing is done twice");
    assert_eq!(world.aborted, 0);
}

/// Or else one change of the group would cause another.
#[test]
fn a_group_between_two_generations_does_not_end_a_handover() {
    let script = vec![Event::Records(0, vec!["a"]), tell(|| Command::HandOver), Event::Records(1, vec!["b"])];
    let (result, world) = run_refused_at_its_end(ErrorKind::Rewind, script);
    result.unwrap();
    assert_eq!((world.borrow().aborted, world.borrow().committed.len()), (1, 0));
}

#[test]
fn what_is_read_while_it_hands_over_is_the_next_ones() {
    let script = vec![Event::Records(0, vec!["a"]), tell(|| Command::Pause), Event::Records(0, vec!["b"])];
    let hand_over = [tell(|| Command::HandOver), Event::Records(1, vec!["c"])];
    let (result, world, _) = run("1", 0, script.into_iter().chain(hand_over).collect());
    result.unwrap();
    let mut written = world.borrow().written.clone();
    written.sort();
    assert_eq!(written, ["a.1", "b.heir", "c.heir"]);
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
