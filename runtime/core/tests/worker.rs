//! The loop over fakes of its four seams: blame, policies, order, commits and drains, without IO.

mod fakes;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use fakes::{Event, World, records, run, run_by};
use sluicegate_core::*;

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
fn what_holds_no_records_after_a_batch_is_committed_with_it() {
    let world = Rc::new(World { batch_end: Some(9), ..World::default() });
    run(&world, Delivery::ExactlyOnce, Action::Stop, 1, vec![records(&["a", "b"])]).0.unwrap();
    assert_eq!(*world.committed.borrow(), ["in[0]=9 after 2"]);
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
fn what_waits_for_a_retry_is_behind() {
    let world = Rc::new(World { log_end: Some(40), ..World::default() });
    let events = vec![Event::Records(vec![(2, "a"), (3, "trap"), (4, "b")]), Event::Of(1, vec![(29, "c")])];
    run(&world, Delivery::ExactlyOnce, Action::Skip, 1, events).0.unwrap();
    assert_eq!(world.lags.borrow()[0], [38], "before anything is committed");
    assert_eq!(world.meters.borrow().as_ref().unwrap().lag().len(), 0, "and nothing is told of it any more");
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

/// Half of a batch may be to blame, and each of its records needs an instance of its own.
#[test]
fn so_does_a_plugin_that_is_slow_to_start_again() {
    let world = Rc::new(World { renewal_ms: 600, ..World::default() });
    let rule = Rule { retries: 0, backoff: Duration::ZERO, then: Action::Skip };
    let traps = (0..20).map(|offset| (offset, "trap")).chain([(20, "a")]).collect();
    let events = vec![Event::Records(traps), Event::Of(1, vec![(0, "d")])];
    run_by(&world, Delivery::ExactlyOnce, rule, 1, events).0.unwrap();
    assert_eq!(*world.written.borrow(), ["D@0.0", "A@20.0"]);
}

#[test]
fn a_plugin_is_given_no_more_at_once_than_it_takes() {
    for (rows_max, calls) in [(2, 3), (5, 1), (1, 5), (0, 5)] {
        let world = Rc::new(World { rows_max: Some(rows_max), ..World::default() });
        let events = vec![records(&["a", "b", "c", "d", "e"])];
        run(&world, Delivery::ExactlyOnce, Action::Stop, 1, events).0.unwrap();
        assert_eq!((world.calls.get(), world.written.borrow().len()), (calls, 5));
    }
}

#[test]
fn a_record_that_is_passed_on_and_too_large_for_the_sink_is_its_policys_matter() {
    let large: &'static str = format!("pass{}", "0".repeat(1 << 20)).leak();
    for stages in [1, 2] {
        let world = Rc::new(World::default());
        let (result, tally) =
            run(&world, Delivery::ExactlyOnce, Action::Skip, stages, vec![records(&["pass1", large, "pass2"])]);
        result.unwrap();
        assert_eq!(*world.written.borrow(), ["pass1@0.0", "pass2@2.0"]);
        assert_eq!((tally.skipped, world.committed.borrow().len()), (1, 1));
    }
}

/// One record of a device with a wrong clock is not to end the pipeline.
#[test]
fn a_record_whose_own_timestamp_the_sink_refuses_is_a_dead_letter_without_one() {
    let world = Rc::new(World { latest: Some(6), ..World::default() });
    let events = vec![records(&["pass", "a", "drop"])];
    run(&world, Delivery::ExactlyOnce, Action::DeadLetter, 1, events).0.unwrap();
    let written = world.written.borrow();
    assert!(written.iter().all(|line| line.contains("malformed an output's timestamp, 7, is later than 6")));
    assert!(written[0].starts_with("dead:pass@0") && written[1].starts_with("dead:a@1"), "{written:?}");
    assert_eq!(*world.timestamps.borrow(), [NO_TIMESTAMP; 2]);
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

/// Sixty records fail, and as the group takes no offsets they are run once more: the breaker is for a hundred in a row.
#[test]
fn a_record_that_is_run_again_counts_once_for_the_breaker() {
    let world = Rc::new(World { refusals: Cell::new(1), ..World::default() });
    let traps = (0..60).map(|offset| (offset, "trap")).collect();
    let events = vec![Event::Records(traps), Event::Revoke { lost: false }];
    let rule = Rule { retries: 0, backoff: Duration::ZERO, then: Action::Skip };
    let (result, tally) = run_by(&world, Delivery::ExactlyOnce, rule, 1, events);
    result.unwrap();
    assert_eq!((world.rewinds.get(), tally.skipped), (1, 120));
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

/// A record of more than half the budget.
fn large(offset: u64) -> Event {
    Event::Records(vec![(offset, format!("pass{}", "0".repeat(600 << 10)).leak())])
}

#[test]
fn a_group_does_not_wait_for_a_sink_that_does_not_answer() {
    for (lost, kind) in [(false, Some(ErrorKind::Retry)), (true, None)] {
        let world = Rc::new(World { acks_max: Some(0), ..World::default() });
        let events = vec![large(0), large(1), Event::Revoke { lost }];
        let (result, _) = run(&world, Delivery::AtLeastOnce, Action::Stop, 1, events);
        // It leaves once its drain is over, or at once where nothing is left to finish.
        assert_eq!(result.err().map(|error| error.kind), kind);
        assert!(world.now_ms.get() <= 200, "{} ms", world.now_ms.get());
        assert!(world.committed.borrow().is_empty());
    }
}

#[test]
fn acknowledgements_make_room_without_a_commit_each() {
    let world = Rc::new(World { acks_max: Some(1), ..World::default() });
    let (result, _) = run(&world, Delivery::AtLeastOnce, Action::Stop, 1, (0..10).map(large).collect());
    result.unwrap();
    assert_eq!(*world.committed.borrow(), ["in[0]=10 after 10"]);
}
