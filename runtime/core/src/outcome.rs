use std::ops::Deref;

use crate::batch::{Batch, Headers, NO_TIMESTAMP};
use crate::column::{Column, INHERIT};
use crate::emission::{Emission, Emissions};
use crate::failure::{Failure, FailureKind};
use crate::limits::{OutputLimits, SinkLimits};

/// The outcome that drops a record: it emits no output.
pub const EMIT_NONE: i32 = 0;
/// The outcome that passes a record on as it came.
pub const PASS: i32 = -1;
/// The outcome that rejects a record with the next of the reasons.
pub const REJECT: i32 = -2;

/// What a plugin said of a batch, in the columns of `plugin.wit`. Not to be trusted: [`Outcomes::validate`] makes it so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// One an input record: n ≥ 0 emits the next n outputs, [`PASS`], or [`REJECT`].
    pub outcomes: Vec<i32>,
    /// One a rejected record.
    pub reasons: Vec<String>,
    /// Output index per output, -1 for the default; empty: all to the default.
    pub to: Vec<i32>,
    /// Per output; empty: all as in the input record.
    pub timestamps: Vec<i64>,
    /// Per output.
    pub keys: Column,
    /// Per output.
    pub values: Column,
    /// Per output; empty `counts`: all as in the input record.
    pub headers: Headers,
}

/// What a plugin said of a batch, and what can be read beside that batch without going out of bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Valid(Outcomes);

impl Outcomes {
    /// Checks everything that the host relies on: that reading these columns beside `input` cannot go out of bounds, that there
    /// are so many named `outputs`, and that no record makes anything that `limits` do not allow at `now_ms`, in milliseconds
    /// since the Unix epoch.
    ///
    /// # Errors
    /// [`FailureKind::Malformed`] or [`FailureKind::TooMuchOutput`], with what is wrong.
    pub fn validate(self, input: &Batch, outputs: usize, limits: &OutputLimits, now_ms: i64) -> Result<Valid, Failure> {
        let emitted = self.check_counts(input, limits)?;
        let malformed = |reason| Failure::new(FailureKind::Malformed, reason);
        self.check_shape(emitted, outputs).map_err(malformed)?;
        self.check_timestamps(&limits.sink, now_ms).map_err(malformed)?;
        let valid = Valid(self);
        if emitted > 0 {
            valid.check_bytes(input, limits)?;
        }
        Ok(valid)
    }

    /// The number of outputs, if `outcomes` and `reasons` make sense.
    fn check_counts(&self, input: &Batch, limits: &OutputLimits) -> Result<usize, Failure> {
        let malformed = |reason| Err(Failure::new(FailureKind::Malformed, reason));
        if self.outcomes.len() != input.len() {
            return malformed(format!("{} outcomes for {} records", self.outcomes.len(), input.len()));
        }
        let (mut emitted, mut rejected, mut most) = (0u64, 0usize, 0i32);
        for &outcome in &self.outcomes {
            // At most 2^31 records with 2^31 outputs each: the sum fits u64.
            emitted += outcome.max(0) as u64;
            rejected += usize::from(outcome == REJECT);
            most = most.max(outcome);
            if outcome < REJECT {
                return malformed(format!("unknown outcome {outcome}"));
            }
        }
        if most as u32 > limits.outputs_per_record {
            let limit = limits.outputs_per_record;
            let reason = format!("{most} outputs for one record; limits.outputs-per-record is {limit}");
            return Err(Failure::new(FailureKind::TooMuchOutput, reason));
        }
        if rejected != self.reasons.len() {
            return malformed(format!("{} reasons for {rejected} rejected records", self.reasons.len()));
        }
        Ok(emitted as usize)
    }

    fn check_shape(&self, emitted: usize, outputs: usize) -> Result<(), String> {
        let optional = |what: &str, len: usize| match len {
            0 => Ok(()),
            len if len == emitted => Ok(()),
            len => Err(format!("{what}: {len} entries for {emitted} outputs")),
        };
        let required = |what: &str, len: usize| match len {
            len if len == emitted => Ok(()),
            len => Err(format!("{what}: {len} entries for {emitted} outputs")),
        };
        required("keys", self.keys.len())?;
        required("values", self.values.len())?;
        optional("to", self.to.len())?;
        optional("timestamps", self.timestamps.len())?;
        optional("headers.counts", self.headers.counts.len())?;
        if let Some(bad) = self.to.iter().find(|to| **to < -1 || **to >= 0 && **to as usize >= outputs) {
            return Err(format!("to: output {bad} of {outputs}"));
        }
        self.keys.validate("keys", true)?;
        self.values.validate("values", true)?;
        let mut headers = 0u64;
        for &count in &self.headers.counts {
            if count < 0 && count != INHERIT {
                return Err(format!("headers.counts: a count of {count}"));
            }
            headers += count.max(0) as u64;
        }
        for (what, column) in [("headers.keys", &self.headers.keys), ("headers.values", &self.headers.values)] {
            if column.len() as u64 != headers {
                return Err(format!("{what}: {} entries for {headers} headers", column.len()));
            }
        }
        if self.headers.keys.lengths.iter().any(|length| *length < 0) {
            return Err("headers.keys: a header without a name".into());
        }
        self.headers.keys.validate("headers.keys", false)?;
        self.headers.values.validate("headers.values", false)
    }

    /// The sink would refuse such an output, and end the pipeline.
    fn check_timestamps(&self, limits: &SinkLimits, now_ms: i64) -> Result<(), String> {
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        for &timestamp in &self.timestamps {
            least = least.min(if timestamp == NO_TIMESTAMP { i64::MAX } else { timestamp });
            most = most.max(timestamp);
        }
        let (earliest, latest) = limits.timestamps(now_ms);
        if most > latest {
            return Err(format!("timestamps: {most} is later than {latest}, the latest that the sink takes now"));
        }
        if least < earliest {
            return Err(format!(
                "timestamps: {least} is earlier than {earliest}, the earliest that the sink takes now"
            ));
        }
        Ok(())
    }
}

impl Valid {
    fn check_bytes(&self, input: &Batch, limits: &OutputLimits) -> Result<(), Failure> {
        let own = self.keys.data.len() + self.values.data.len() + self.headers.cost();
        let most = limits.bytes_per_record.min(limits.sink.bytes);
        let single = self.outcomes.iter().all(|outcome| *outcome <= 1);
        if single && own + input.cost() <= most {
            return Ok(()); // The whole batch, inherited bytes included, fits what one record may make.
        }
        let mut emissions = self.emissions();
        for (row, &outcome) in input.rows().zip(&self.outcomes) {
            let mut total = 0usize;
            for _ in 0..outcome.max(0) {
                let emission = emissions.next(&row);
                let bytes = emission.bytes();
                total = total.saturating_add(bytes);
                if bytes > limits.sink.bytes || total > limits.bytes_per_record {
                    return Err(too_many_bytes(bytes, total, limits));
                }
            }
        }
        Ok(())
    }

    /// Checks that the sink takes what is passed on. Only of the last stage: after any other it may yet become smaller.
    ///
    /// # Errors
    /// [`FailureKind::TooMuchOutput`].
    pub(crate) fn check_passed(&self, input: &Batch, limits: &OutputLimits) -> Result<(), Failure> {
        if input.cost() <= limits.sink.bytes {
            return Ok(());
        }
        let passed = input.rows().zip(&self.outcomes).filter(|(_, outcome)| **outcome == PASS);
        let largest = passed.map(|(row, _)| Emission::pass(&row).bytes()).max().unwrap_or(0);
        if largest > limits.sink.bytes { Err(too_many_bytes(largest, largest, limits)) } else { Ok(()) }
    }

    /// Whether every record goes on as it came.
    pub(crate) fn passes_all(&self) -> bool {
        self.outcomes.iter().all(|outcome| *outcome == PASS)
    }

    /// Reads the outputs in order.
    pub(crate) fn emissions(&self) -> Emissions<'_> {
        Emissions::of(self)
    }

    /// The reasons of what was rejected, in order; none are left here.
    pub(crate) fn take_reasons(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0.reasons)
    }
}

impl Deref for Valid {
    type Target = Outcomes;

    fn deref(&self) -> &Outcomes {
        &self.0
    }
}

fn too_many_bytes(bytes: usize, total: usize, limits: &OutputLimits) -> Failure {
    let reason = if bytes > limits.sink.bytes {
        format!("an output of {bytes} bytes; the sink takes {} in one record", limits.sink.bytes)
    } else {
        let limit = limits.bytes_per_record;
        format!("at least {total} bytes for one record; limits.output-bytes-per-record is {limit}")
    };
    Failure::new(FailureKind::TooMuchOutput, reason)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_MS: i64 = 1_000_000;
    const LIMITS: OutputLimits = OutputLimits {
        outputs_per_record: 3,
        bytes_per_record: 64,
        sink: SinkLimits { bytes: 48, before_ms: 1000, after_ms: 10 },
    };

    /// These outcomes, of as many records.
    pub(crate) fn valid(outcomes: Outcomes) -> Valid {
        let limits =
            OutputLimits { outputs_per_record: u32::MAX, bytes_per_record: usize::MAX, sink: SinkLimits::NONE };
        let input = input(outcomes.outcomes.len());
        outcomes.validate(&input, 2, &limits, NOW_MS).expect("valid outcomes")
    }

    fn input(records: usize) -> Batch {
        let mut batch = Batch::default();
        for offset in 0..records as u64 {
            batch.push(offset, 0, Some(b"key"), Some(b"value"));
        }
        batch
    }

    fn kind(outcomes: &Outcomes, input: &Batch) -> Option<FailureKind> {
        outcomes.clone().validate(input, 2, &LIMITS, NOW_MS).err().map(|failure| failure.kind)
    }

    #[test]
    fn limits_count_inherited_bytes_too() {
        let mut batch = Batch::default();
        batch.push(0, 0, None, Some(&[7; 40]));
        let inherit = |n: i32| Outcomes {
            outcomes: vec![n],
            keys: Column { data: vec![], lengths: vec![INHERIT; n as usize] },
            values: Column { data: vec![], lengths: vec![INHERIT; n as usize] },
            ..Outcomes::default()
        };
        assert_eq!(kind(&inherit(1), &batch), None);
        assert_eq!(kind(&inherit(2), &batch), Some(FailureKind::TooMuchOutput));
        assert_eq!(kind(&inherit(4), &batch), Some(FailureKind::TooMuchOutput));
    }

    #[test]
    fn timestamps_that_the_sink_refuses_are_malformed() {
        let of = |timestamps: &[i64], limits: &OutputLimits, now_ms: i64| {
            let inherited = Column { data: vec![], lengths: vec![INHERIT; timestamps.len()] };
            let outcomes = Outcomes {
                outcomes: vec![1; timestamps.len()],
                timestamps: timestamps.to_vec(),
                keys: inherited.clone(),
                values: inherited,
                ..Outcomes::default()
            };
            let result = outcomes.validate(&input(timestamps.len()), 2, limits, now_ms);
            result.map(drop).map_err(|failure| (failure.kind, failure.reason))
        };
        assert_eq!(of(&[NOW_MS - 1000, NO_TIMESTAMP, NOW_MS + 10], &LIMITS, NOW_MS), Ok(()));
        assert_eq!(of(&[NO_TIMESTAMP], &LIMITS, NOW_MS), Ok(()));
        for (bad, word) in [(NOW_MS + 11, "later"), (NOW_MS - 1001, "earlier"), (i64::MAX, "later"), (-1, "earlier")] {
            let (kind, reason) = of(&[NOW_MS, bad], &LIMITS, NOW_MS).unwrap_err();
            assert!(
                kind == FailureKind::Malformed && reason.contains(word) && reason.contains(&bad.to_string()),
                "{reason}"
            );
        }
        let any = OutputLimits { sink: SinkLimits::NONE, ..LIMITS };
        for now_ms in [0, i64::MAX, i64::MIN] {
            assert_eq!(of(&[i64::MAX, i64::MIN + 1, NO_TIMESTAMP], &any, now_ms), Ok(()));
        }
    }

    #[test]
    fn what_is_passed_on_has_to_fit_the_sink() {
        let mut batch = Batch::default();
        for length in [20, 60, 20] {
            batch.push(0, 0, None, Some(&[7; 60][..length]));
        }
        let check = |outcomes: [i32; 3]| {
            let reasons = vec![String::new(); outcomes.iter().filter(|outcome| **outcome == REJECT).count()];
            let outcomes = valid(Outcomes { outcomes: outcomes.to_vec(), reasons, ..Outcomes::default() });
            outcomes.check_passed(&batch, &LIMITS).err().map(|failure| failure.kind)
        };
        assert_eq!(check([PASS, PASS, PASS]), Some(FailureKind::TooMuchOutput));
        assert_eq!(check([PASS, EMIT_NONE, PASS]), None);
        assert_eq!(check([PASS, REJECT, PASS]), None);
    }

    #[test]
    fn headers_count_without_any_bytes() {
        let empty = |headers: usize| {
            let lengths = Column { data: vec![], lengths: vec![0; headers] };
            Headers { counts: vec![headers as i32], keys: lengths.clone(), values: lengths }
        };
        let emit = |headers| Outcomes {
            outcomes: vec![1],
            keys: Column { data: vec![], lengths: vec![INHERIT] },
            values: Column { data: vec![], lengths: vec![INHERIT] },
            headers,
            ..Outcomes::default()
        };
        let mut batch = Batch::default();
        batch.push(0, 0, None, None);
        assert_eq!(kind(&emit(empty(4)), &batch), None);
        assert_eq!(kind(&emit(empty(5)), &batch), Some(FailureKind::TooMuchOutput));
        batch.headers = empty(5);
        assert_eq!(kind(&emit(empty(1)), &batch), None);
        assert_eq!(kind(&emit(Headers::default()), &batch), Some(FailureKind::TooMuchOutput), "inherited ones too");
    }

    #[test]
    fn contradictions_are_malformed() {
        let good = Outcomes { outcomes: vec![PASS, REJECT], reasons: vec!["no".into()], ..Outcomes::default() };
        assert_eq!(kind(&good, &input(2)), None);
        for bad in [
            Outcomes { outcomes: vec![PASS], ..good.clone() },
            Outcomes { reasons: vec![], ..good.clone() },
            Outcomes { outcomes: vec![PASS, -3], ..good.clone() },
            Outcomes { outcomes: vec![1, REJECT], ..good.clone() },
            Outcomes { timestamps: vec![1], ..good.clone() },
            Outcomes { to: vec![0], ..good.clone() },
        ] {
            assert_eq!(kind(&bad, &input(2)), Some(FailureKind::Malformed), "{bad:?}");
        }
    }

    fn lengths() -> impl Strategy<Value = Vec<i32>> {
        prop::collection::vec(prop_oneof![Just(-3), Just(INHERIT), Just(-1), 0..9i32, Just(i32::MAX)], 0..4)
    }

    fn column() -> impl Strategy<Value = Column> {
        (prop::collection::vec(any::<u8>(), 0..9), lengths()).prop_map(|(data, lengths)| Column { data, lengths })
    }

    proptest! {
        /// Whatever a plugin returns is either refused or can be read to its end without a panic.
        #[test]
        fn hostile_columns_never_escape(
            outcomes in prop::collection::vec(-3..4i32, 2), to in prop::collection::vec(-2..4i32, 0..4),
            keys in column(), values in column(), counts in lengths(), names in column(), contents in column(),
        ) {
            let batch = input(2);
            let headers = Headers { counts, keys: names, values: contents };
            let rejected = outcomes.iter().filter(|outcome| **outcome == REJECT).count();
            let reasons = vec![String::new(); rejected];
            let hostile = Outcomes { outcomes, reasons, to, timestamps: vec![], keys, values, headers };
            if let Ok(valid) = hostile.validate(&batch, 2, &LIMITS, NOW_MS) {
                let mut emissions = valid.emissions();
                for (row, outcome) in batch.rows().zip(&valid.outcomes) {
                    for _ in 0..(*outcome).max(0) {
                        let emission = emissions.next(&row);
                        prop_assert!(emission.bytes() <= LIMITS.sink.bytes);
                        prop_assert!(emission.to.is_none_or(|to| to < 2));
                        prop_assert_eq!(emission.headers.count(), emission.headers.count());
                    }
                }
            }
        }
    }
}
