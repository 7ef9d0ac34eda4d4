//! Each invariant is violated once, and caught; a clean run is not.

use sluicegate_audit::{Auditor, Delivery, Expected, Fate, Invariant, Partition, Record, Report, Terms};

/// A pipeline `p` of one input partition `in[0]`, whose record at offset n becomes "n" in `out[0]`.
struct Run {
    auditor: Auditor,
    source: Partition,
    out: Partition,
    written: u64,
}

fn record(value: &str) -> Record {
    let headers = vec![(b"h".to_vec(), None), (b"h".to_vec(), Some(vec![]))];
    Record { key: Some(vec![]), value: Some(value.into()), headers, timestamp: Some(-1) }
}

fn expected(value: &str) -> Expected {
    Expected { topic: "out".into(), partition: Some(0), record: record(value) }
}

impl Run {
    fn new(delivery: Delivery, offsets: u64) -> Self {
        let terms = Terms { repeats_max: 3, memory_max: 100, ..Terms::new("p", delivery) };
        let (source, out) = (Partition::new("in", 0), Partition::new("out", 0));
        let mut run = Run { auditor: Auditor::new(terms), source, out, written: 0 };
        (0..offsets).for_each(|offset| run.input(offset, Fate::Produced(vec![expected(&offset.to_string())])));
        run
    }

    fn input(&mut self, offset: u64, fate: Fate) {
        self.auditor.input(&self.source, offset, fate);
    }

    /// These offsets have their output written.
    fn writes(&mut self, offsets: impl IntoIterator<Item = u64>) -> &mut Self {
        offsets.into_iter().for_each(|offset| self.write(&format!("p/in/0/{offset}/0"), &record(&offset.to_string())));
        self
    }

    fn write(&mut self, id: &str, record: &Record) {
        self.auditor.output(&self.out, self.written, id, record);
        self.written += 1;
    }

    fn commits(&mut self, offset: u64) -> &mut Self {
        self.auditor.committed(&self.source, offset);
        self
    }

    fn fault(&mut self) -> &mut Self {
        self.auditor.fault();
        self
    }
}

#[track_caller]
fn violates(run: Run, invariants: &[Invariant]) -> Report {
    let report = run.auditor.verdict();
    let violated: Vec<_> = Invariant::ALL.into_iter().filter(|invariant| report.violates(*invariant)).collect();
    assert_eq!(violated, invariants, "{report}");
    report
}

fn dead_letter(value: &str, reason: &str) -> Fate {
    let letter = Expected { topic: "dead".into(), ..expected(value) };
    Fate::DeadLetter { letter, story: vec![(b"reason".to_vec(), Some(reason.into()))] }
}

#[test]
fn wrong_blame_is_found() {
    let mut run = Run::new(Delivery::ExactlyOnce, 0);
    run.input(0, dead_letter("0", "trap"));
    let mut story = record("0");
    story.headers.push((b"reason".to_vec(), Some(b"memory".to_vec())));
    run.auditor.output(&Partition::new("dead", 0), 0, "p/in/0/0/0", &story);
    run.commits(1);
    violates(run, &[Invariant::Content]);
}

#[test]
fn a_clean_run_is_clean() {
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let mut run = Run::new(delivery, 4);
        run.input(6, Fate::Produced(vec![]));
        run.input(9, dead_letter("9", "trap"));
        run.writes(0..2).commits(2).fault().writes(2..4).commits(4);
        let mut story = record("9");
        story.headers.push((b"reason".to_vec(), Some(b"trap".to_vec())));
        run.auditor.output(&Partition::new("dead", 0), 0, "p/in/0/9/0", &story);
        run.commits(10);
        run.auditor.memory(100);
        run.auditor.read_again(&run.out.clone(), &[0, 1, 2, 3]);
        let report = violates(run, &[]);
        assert!(report.is_clean());
        assert_eq!((report.counts.records, report.counts.outputs, report.counts.faults), (6, 5, 1));
    }
}

#[test]
fn repeats_after_a_fault_are_fine_at_least_once() {
    let mut run = Run::new(Delivery::AtLeastOnce, 6);
    run.writes(0..5).commits(2).fault().writes(2..6).commits(6);
    assert_eq!(violates(run, &[]).counts.repeated, 3);
}

#[test]
fn i1_a_lost_output() {
    let mut run = Run::new(Delivery::AtLeastOnce, 3);
    run.writes([0, 2]).commits(3);
    let report = violates(run, &[Invariant::NothingLost, Invariant::OutputsFirst]);
    assert_eq!(report.counts.lost, 1);
    assert!(report.to_string().contains("1 of 1 outputs of in[0] offset 1 are missing"), "{report}");
}

#[test]
fn i2_an_output_twice() {
    let mut run = Run::new(Delivery::ExactlyOnce, 2);
    run.writes([0, 1]).fault().writes([1]).commits(2);
    assert_eq!(violates(run, &[Invariant::ExactlyOnce]).counts.repeated, 1);
}

#[test]
fn i3_repeats_without_a_fault_or_beyond_its_reach() {
    let mut run = Run::new(Delivery::AtLeastOnce, 3);
    run.writes([0, 1, 1, 2]).commits(3);
    // It does not follow what came before it either.
    violates(run, &[Invariant::RepeatsBounded, Invariant::InOrder]);

    let mut run = Run::new(Delivery::AtLeastOnce, 6);
    run.writes(0..5).commits(1).fault().writes(1..6).commits(6);
    let report = violates(run, &[Invariant::RepeatsBounded]);
    assert!(report.to_string().contains("outputs of in[0] offset 4 were repeated 1 times"), "{report}");

    let mut run = Run::new(Delivery::AtLeastOnce, 4);
    run.writes(0..3).fault().commits(3).fault().writes(0..3).writes(0..4).commits(4);
    violates(run, &[Invariant::RepeatsBounded]);
}

#[test]
fn i4_outputs_that_change_places() {
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let mut run = Run::new(delivery, 3);
        run.writes([0, 2, 1]).commits(3);
        assert_eq!(violates(run, &[Invariant::InOrder]).counts.out_of_order, 1);
    }
}

#[test]
fn i4_repeats_that_do_not_go_on_in_order() {
    let mut run = Run::new(Delivery::AtLeastOnce, 4);
    run.writes(0..3).fault().writes([0, 2, 1, 3]).commits(4);
    let report = violates(run, &[Invariant::InOrder]);
    assert!(report.to_string().contains("does not follow what came before it"), "{report}");
}

#[test]
fn i5_an_offset_before_its_outputs() {
    let mut run = Run::new(Delivery::ExactlyOnce, 2);
    run.writes([0]).commits(2).writes([1]);
    let report = violates(run, &[Invariant::OutputsFirst]);
    assert!(report.to_string().contains("offset 2 of in[0] was committed before output 0 of offset 1"), "{report}");
}

#[test]
fn i6_an_offset_that_goes_back() {
    let mut run = Run::new(Delivery::ExactlyOnce, 2);
    run.writes(0..2).commits(2).commits(1).commits(2);
    violates(run, &[Invariant::OffsetsForward]);
}

#[test]
fn i7_an_output_that_was_undone() {
    let mut run = Run::new(Delivery::ExactlyOnce, 2);
    run.writes(0..2).commits(2);
    run.auditor.read_again(&run.out.clone(), &[0, 5]);
    let report = violates(run, &[Invariant::NothingUndone]);
    assert!(report.to_string().contains("out[0] offset 1"), "{report}");
}

#[test]
fn i8_a_record_in_part() {
    let mut run = Run::new(Delivery::ExactlyOnce, 0);
    run.input(0, Fate::Produced(vec![expected("0"), expected("0")]));
    run.writes([0]);
    violates(run, &[Invariant::AllOrNone, Invariant::NoLag]);
}

#[test]
fn i9_records_that_are_never_done() {
    let mut run = Run::new(Delivery::ExactlyOnce, 2);
    run.writes([0]).commits(1);
    violates(run, &[Invariant::NoLag]);

    let mut run = Run::new(Delivery::ExactlyOnce, 0);
    run.auditor.unfinished("the worker did not stop within a minute");
    violates(run, &[Invariant::NoLag]);
}

#[test]
fn i10_a_record_that_is_not_as_it_should_be() {
    let good = record("0");
    let bad = [
        Record { key: None, ..good.clone() },
        Record { value: None, ..good.clone() },
        Record { headers: good.headers[..1].to_vec(), ..good.clone() },
        Record { headers: vec![good.headers[1].clone(), good.headers[0].clone()], ..good.clone() },
        Record { headers: good.headers.iter().chain(&good.headers).cloned().collect(), ..good.clone() },
        Record { timestamp: None, ..good.clone() },
    ];
    for changed in bad {
        let mut run = Run::new(Delivery::ExactlyOnce, 1);
        run.write("p/in/0/0/0", &changed);
        run.commits(1);
        violates(run, &[Invariant::Content]);
    }
}

#[test]
fn i10_an_output_that_does_not_belong() {
    for id in ["p/in/0/0/1", "p/in/0/7/0", "p/in/1/0/0", "other/in/0/0/0", "what"] {
        let mut run = Run::new(Delivery::ExactlyOnce, 1);
        run.writes([0]).write(id, &record("0"));
        run.commits(1);
        violates(run, &[Invariant::Content]);
    }
    let mut run = Run::new(Delivery::ExactlyOnce, 1);
    run.auditor.output(&Partition::new("out", 1), 0, "p/in/0/0/0", &record("0"));
    run.commits(1);
    assert!(violates(run, &[Invariant::Content]).to_string().contains("partition 1 instead of 0"));
}

#[test]
fn i11_memory_beyond_its_bound() {
    let mut run = Run::new(Delivery::ExactlyOnce, 0);
    run.auditor.memory(101);
    violates(run, &[Invariant::Memory]);
}

#[test]
fn many_violations_are_counted_and_few_are_told() {
    let mut run = Run::new(Delivery::ExactlyOnce, 500);
    run.commits(500);
    let report = violates(run, &[Invariant::NothingLost, Invariant::OutputsFirst]);
    assert_eq!((report.counts.lost, report.violations().len()), (500, 20));
    assert!(report.to_string().contains("I1 nothing lost: 490 more"), "{report}");
}
