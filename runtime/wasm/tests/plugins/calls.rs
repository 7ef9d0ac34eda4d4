use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluicegate_core::{Batch, Headers, NO_TIMESTAMP, Outcomes, OutputLimits, PASS, REJECT, SinkLimits, Transform};
use sluicegate_wasm::{Instance, InstanceLimits, InstanceSpec};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::guests::{PATIENT, batch, hasty, instance, limits, plugin, spec};

const LIMITS: OutputLimits = OutputLimits {
    outputs_per_record: 9,
    bytes_per_record: 1 << 20,
    sink: SinkLimits { bytes: 1 << 20, ..SinkLimits::NONE },
};

#[test]
fn a_batch_in_one_call() {
    let mut hostile = instance("hostile");
    let input = batch(&["abc", "drop", "pass", "reject", ""]);
    let mut outcomes = Outcomes::default();
    for _ in 0..3 {
        hostile.process(&input, &mut outcomes).unwrap();
        let outcomes = std::mem::take(&mut outcomes).validate(&input, 2, &LIMITS, true, 0).unwrap();
        assert_eq!(outcomes.outcomes, [1, 0, PASS, REJECT, 1]);
        assert_eq!(outcomes.reasons, ["not\\nthis one"]);
        assert_eq!((&outcomes.values.data[..], &outcomes.values.lengths[..]), (&b"ABC"[..], &[3, 0][..]));
    }
    assert_eq!(hostile.identity().name, "hostile");
    assert_eq!(hostile.identity().digest.len(), 64);
}

#[test]
fn a_record_a_call() {
    let mut single = instance("single");
    let mut input = batch(&["abc", "drop", "pass", "reject", "route", "split"]);
    input.push(6, NO_TIMESTAMP, None, None);
    input.push_header(b"h", None);
    input.push_header(b"\xff", Some(b"v"));
    let mut outcomes = Outcomes::default();
    single.process(&input, &mut outcomes).unwrap();
    let outcomes = outcomes.validate(&input, 2, &LIMITS, true, 0).unwrap();
    assert_eq!(outcomes.outcomes, [1, 0, PASS, REJECT, 1, 2, 1]);
    assert_eq!(outcomes.reasons, ["trades[3]@3"]);
    assert_eq!(outcomes.to, [-1, 1, -1, 0, -1]);
    assert_eq!(outcomes.timestamps, [5, 5, 5, 5, NO_TIMESTAMP]);
    assert_eq!(outcomes.values.lengths, [3, 6, 3, 3, -1]);
    assert_eq!(outcomes.values.data, b"ABCroutedonetwo");
    assert_eq!(outcomes.keys.lengths, [3, 3, 3, 3, -1]);
    assert_eq!(outcomes.headers.counts, [0, 0, 0, 0, 2]);
    let Headers { keys, values, .. } = &outcomes.headers;
    assert_eq!((keys, values), (&input.headers.keys, &input.headers.values));
}

/// A record a call may take the deadline each time: so many records at once take a second together.
#[test]
fn a_plugin_that_is_called_for_each_record_gets_few_at_once() {
    for (deadline_ms, rows_max) in [(1, 1000), (100, 10), (400, 2), (60_000, 1)] {
        let deadline = Duration::from_millis(deadline_ms);
        assert_eq!(hasty("single", deadline).rows_max(), rows_max);
        assert_eq!(hasty("hostile", deadline).rows_max(), usize::MAX);
    }
}

#[test]
fn an_empty_batch_is_no_call_for_alarm() {
    let mut outcomes = Default::default();
    for name in ["hostile", "single"] {
        instance(name).process(&Batch::default(), &mut outcomes).unwrap();
        assert!(outcomes.outcomes.is_empty());
    }
}

#[test]
fn counters_belong_to_the_stage() {
    let spec = Arc::new(spec("{}"));
    let plugin = plugin("hostile");
    let mut outcomes = Default::default();
    for _ in 0..2 {
        let mut hostile = Instance::new(&plugin, &spec).unwrap();
        hostile.process(&batch(&["count", "count"]), &mut outcomes).unwrap();
    }
    assert_eq!(spec.counters.read(), [("seen".to_owned(), 8)]);
}

/// A plugin that says too much, on whatever way, is neither stopped nor heard in full.
#[test]
fn talking_is_limited_and_harmless() {
    let limits = InstanceLimits { log_lines_per_second: 10, ..limits(PATIENT) };
    let spec = Arc::new(InstanceSpec { limits, ..spec("{}") });
    let mut hostile = Instance::new(&plugin("hostile"), &spec).unwrap();
    let mut outcomes = Default::default();
    let lines = lines_of(|| hostile.process(&batch(&["talk", "random"]), &mut outcomes).unwrap());
    assert_eq!(outcomes.outcomes, [1, 1]);
    assert_eq!(lines.len(), 10, "{lines:?}");
    for field in
        ["INFO message=line 0", "pipeline=\"trades\"", "stage=\"first\"", "plugin=\"hostile\"", "partition=trades[3]"]
    {
        assert!(lines[0].contains(field), "{field} in {}", lines[0]);
    }
}

/// Else one that fails with each record would have no limit.
#[test]
fn a_plugin_gets_no_more_lines_for_being_started_anew() {
    let limits = InstanceLimits { log_lines_per_second: 10, ..limits(PATIENT) };
    let spec = Arc::new(InstanceSpec { limits, ..spec("{}") });
    let plugin = plugin("hostile");
    let start = Instant::now();
    let lines = lines_of(|| {
        for _ in 0..2 {
            let mut hostile = Instance::new(&plugin, &spec).unwrap();
            for _ in 0..2 {
                hostile.process(&batch(&["talk", "trap"]), &mut Outcomes::default()).unwrap_err();
                hostile.renew().unwrap();
            }
        }
    });
    // Each second may have a line more: that others were suppressed.
    let most = 11 * (1 + start.elapsed().as_secs() as usize);
    assert!((10..=most).contains(&lines.len()), "{} lines: {lines:?}", lines.len());
}

/// The lines that `run` logs, with their fields.
fn lines_of(run: impl FnOnce()) -> Vec<String> {
    let lines = Arc::default();
    tracing::subscriber::with_default(Lines(Arc::clone(&lines)), run);
    std::mem::take(&mut lines.lock().unwrap())
}

struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        of.target() == "plugin"
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}
