//! What a worker does while it commits: it runs what is here already, and writes none of it before the commit is done.

mod script;

use std::time::Duration;

use script::{Event, Stamp, run_committing, run_every, run_refused, tell};
use sluicegate_core::*;

#[test]
fn what_is_run_during_a_commit_is_written_after_it_and_in_order() {
    let batch = |partition, value| Event::Records(partition, vec![value]);
    let script = vec![batch(0, "a"), batch(0, "b"), batch(1, "c"), batch(0, "d"), batch(1, "e")];
    let (result, world, meters) = run_committing(1, 0, script);
    result.unwrap();
    let world = world.borrow();
    assert_eq!(world.read[0], 3, "a batch of each partition while the first is committed");
    assert_eq!(world.committed, [1, 2, 3, 4, 5], "each with its own, and with nothing that was run meanwhile");
    let of = |values: &[&str]| -> Vec<String> {
        world.written.iter().filter(|value| values.contains(&value.as_str())).cloned().collect()
    };
    assert_eq!(of(&["a.1", "b.1", "d.1"]), ["a.1", "b.1", "d.1"]);
    assert_eq!(of(&["c.1", "e.1"]), ["c.1", "e.1"]);
    assert_eq!(meters.tally().records_in, 5);
}

/// Each commit reads a batch of every partition ahead, so that all of them wait for their turn all the time.
#[test]
fn no_partition_waits_for_the_end_of_anothers_backlog() {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    const BATCHES: usize = 12;
    let batches = (0..BATCHES).flat_map(|_| (0u32..).zip(NAMES));
    let script = batches.map(|(partition, name)| Event::Records(partition, vec![name])).collect();
    let (result, world, _) = run_committing(1, 0, script);
    result.unwrap();
    let world = world.borrow();
    assert_eq!(world.written.len(), NAMES.len() * BATCHES);
    let mut done = [0usize; NAMES.len()];
    for value in &world.written {
        let partition = NAMES.iter().position(|name| value.starts_with(name)).unwrap();
        done[partition] += 1;
        let (most, least) = (done.iter().max().unwrap(), done.iter().min().unwrap());
        assert!(most - least <= 2, "{done:?} batches are done");
    }
}

/// What waits has memory beside the budget, and more so where there are many partitions.
#[test]
fn no_more_waits_than_a_commit_has_time_to_run() {
    let batches = (0..60).map(|batch| Event::Records(batch % 20, vec!["a"])).collect();
    let (result, world, _) = run_committing(1, 0, batches);
    result.unwrap();
    let world = world.borrow();
    let waiting = world.read.iter().zip(&world.committed).map(|(read, done)| read - *done as u64);
    assert_eq!(waiting.max(), Some(8));
}

#[test]
fn where_nothing_waits_a_transaction_is_committed_sooner() {
    let batch = |value| Event::Records(0, vec![value]);
    let lull = || tell(|| Command::Resume);
    // Nothing comes for a moment, twice: for no time, and for as long as the worker waits before it commits.
    let script = || vec![batch("a"), batch("b"), lull(), lull(), batch("c"), lull(), batch("d")];
    let (result, world, _) = run_every(Duration::from_millis(100), script());
    result.unwrap();
    assert_eq!(world.borrow().committed, [2, 4], "with c, d came before its time");
    let (result, world, _) = run_every(Duration::from_secs(10), script());
    result.unwrap();
    assert_eq!(world.borrow().committed, [4], "a quarter of the interval has not passed");
}

#[test]
fn what_goes_wrong_meanwhile_is_told_once_the_commit_is_done() {
    let script = vec![Event::Records(0, vec!["a"]), Event::Records(0, vec!["trap", "trap", "trap", "trap"])];
    let (result, world, _) = run_committing(1, 0, script);
    let error = result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Tripped);
    let world = world.borrow();
    assert_eq!((world.written.join(","), &world.committed[..]), ("a.1".to_owned(), &[1][..]));
    assert_eq!((world.read[0], world.aborted), (5, 0), "it was run meanwhile, and nothing was open any more");
}

#[test]
fn of_two_errors_the_one_counts_that_cannot_go_on() {
    let script = || vec![Event::Records(0, vec!["a"]), Event::Records(0, vec!["trap", "trap", "trap", "trap"])];
    for (of_commit, counts) in [
        (ErrorKind::Rewind, ErrorKind::Tripped),
        (ErrorKind::Retry, ErrorKind::Tripped),
        (ErrorKind::Promise, ErrorKind::Promise),
        (ErrorKind::Config, ErrorKind::Config),
    ] {
        assert_eq!(run_refused(of_commit, script()).kind, counts);
    }
}

#[test]
fn what_was_run_meanwhile_begins_anew_with_a_version_that_came_meanwhile() {
    let second =
        || Command::Replace(Replacement { stage: 0, transform: Stamp::boxed("2", true), version: 2, on_trial: false });
    let batch = |partition, value| Event::Records(partition, vec![value]);
    let script = vec![batch(0, "a"), batch(0, "b"), tell(second), batch(1, "c")];
    let (result, world, _) = run_committing(1, 0, script);
    result.unwrap();
    let world = world.borrow();
    assert_eq!(world.read[0], 2, "it was run by the version before");
    assert_eq!(world.written, ["a.1", "b.2", "c.2"]);
}
