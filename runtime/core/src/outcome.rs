use std::ops::Deref;

use crate::batch::{Batch, Headers};
use crate::column::{Column, INHERIT};
use crate::emission::{Emission, Emissions};
use crate::failure::{Failure, FailureKind};
use crate::limits::{OutputLimits, Timestamps};

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
    /// since the Unix epoch. `feeds_sink`: what goes on from here, or is passed on, goes to the sink and not to another stage,
    /// after which it may be smaller.
    ///
    /// # Errors
    /// [`FailureKind::Malformed`] or [`FailureKind::TooMuchOutput`], with what is wrong.
    pub fn validate(
        self,
        input: &Batch,
        outputs: usize,
        limits: &OutputLimits,
        feeds_sink: bool,
        now_ms: i64,
    ) -> Result<Valid, Failure> {
        let emitted = self.check_counts(input, limits)?;
        self.check_shape(emitted, outputs).map_err(|reason| Failure::new(FailureKind::Malformed, reason))?;
        let valid = Valid(self);
        let timestamps = limits.sink.timestamps(now_ms);
        if (emitted > 0 || feeds_sink) && !valid.fits_as_a_whole(input, limits, timestamps) {
            valid.check_each(input, limits, feeds_sink, timestamps)?;
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
}

impl Valid {
    /// Whether the batch with all outputs, inherited bytes included, would be allowed as those of one record. Nearly always it is.
    fn fits_as_a_whole(&self, input: &Batch, limits: &OutputLimits, timestamps: Timestamps) -> bool {
        // All are looked at, even after one that does not fit: that can be done several at once.
        let fit = |column: &[i64]| column.iter().fold(true, |fit, time| fit & timestamps.take(*time));
        let bytes = input.cost() + self.keys.data.len() + self.values.data.len() + self.headers.cost();
        bytes <= limits.bytes_per_record.min(limits.sink.bytes)
            && self.outcomes.iter().all(|outcome| *outcome <= 1)
            && fit(&input.timestamps)
            && fit(&self.timestamps)
    }

    fn check_each(
        &self,
        input: &Batch,
        limits: &OutputLimits,
        feeds_sink: bool,
        timestamps: Timestamps,
    ) -> Result<(), Failure> {
        let check = |emission: &Emission<'_>| match feeds_sink || emission.to.is_some() {
            true => limits.sink.check(emission, timestamps),
            false => Ok(()),
        };
        let mut emissions = self.emissions();
        for (row, &outcome) in input.rows().zip(&self.outcomes) {
            if outcome == PASS {
                check(&Emission::pass(&row))?;
            }
            let mut total = 0usize;
            for _ in 0..outcome.max(0) {
                let emission = emissions.next(&row);
                check(&emission)?;
                total = total.saturating_add(emission.bytes());
                if total > limits.bytes_per_record {
                    let limit = limits.bytes_per_record;
                    let reason =
                        format!("at least {total} bytes for one record; limits.output-bytes-per-record is {limit}");
                    return Err(Failure::new(FailureKind::TooMuchOutput, reason));
                }
            }
        }
        Ok(())
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::batch::NO_TIMESTAMP;
    use crate::limits::SinkLimits;
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
        outcomes.validate(&input, 2, &limits, true, NOW_MS).expect("valid outcomes")
    }

    fn input(records: usize) -> Batch {
        let mut batch = Batch::default();
        for offset in 0..records as u64 {
            batch.push(offset, NOW_MS, Some(b"key"), Some(b"value"));
        }
        batch
    }

    fn kind(outcomes: &Outcomes, input: &Batch) -> Option<FailureKind> {
        outcomes.clone().validate(input, 2, &LIMITS, true, NOW_MS).err().map(|failure| failure.kind)
    }

    #[test]
    fn limits_count_inherited_bytes_too() {
        let mut batch = Batch::default();
        batch.push(0, NOW_MS, None, Some(&[7; 40]));
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

    /// What is wrong with records of these timestamps, whose outcomes are these.
    fn refusal(
        times: &[i64],
        outcomes: Outcomes,
        feeds_sink: bool,
        limits: &OutputLimits,
        now_ms: i64,
    ) -> Option<Failure> {
        let mut batch = input(times.len());
        batch.timestamps = times.to_vec();
        outcomes.validate(&batch, 2, limits, feeds_sink, now_ms).err()
    }

    fn inheriting(outputs: usize) -> Outcomes {
        let inherited = Column { data: vec![], lengths: vec![INHERIT; outputs] };
        Outcomes { outcomes: vec![1; outputs], keys: inherited.clone(), values: inherited, ..Outcomes::default() }
    }

    #[test]
    fn timestamps_that_the_sink_refuses_are_malformed_wherever_they_come_from() {
        let pass = |records: usize| Outcomes { outcomes: vec![PASS; records], ..Outcomes::default() };
        let ways = |times: &[i64], feeds_sink: bool, limits: &OutputLimits, now_ms: i64| {
            let set = Outcomes { timestamps: times.to_vec(), ..inheriting(times.len()) };
            let routed = Outcomes { to: vec![1; times.len()], ..inheriting(times.len()) };
            let own = vec![now_ms; times.len()];
            [(&*own, set), (times, inheriting(times.len())), (times, pass(times.len())), (times, routed)]
                .map(|(records, outcomes)| refusal(records, outcomes, feeds_sink, limits, now_ms))
        };
        let fine = [NOW_MS - 1000, NO_TIMESTAMP, NOW_MS + 10];
        assert_eq!(ways(&fine, true, &LIMITS, NOW_MS), [const { None }; 4]);
        for (bad, word) in [(NOW_MS + 11, "later"), (NOW_MS - 1001, "earlier"), (i64::MAX, "later"), (-1, "earlier")] {
            for refused in ways(&[NOW_MS, bad], true, &LIMITS, NOW_MS) {
                let Failure { kind, reason } = refused.expect("a refusal");
                let told = reason.contains(word) && reason.contains(&bad.to_string());
                assert!(kind == FailureKind::Malformed && told, "{reason}");
            }
            // Another stage may set another, but for what leaves the pipeline here.
            let early = ways(&[NOW_MS, bad], false, &LIMITS, NOW_MS).map(|refused| refused.is_some());
            assert_eq!(early, [false, false, false, true]);
        }
        let any = OutputLimits { sink: SinkLimits::NONE, ..LIMITS };
        for now_ms in [0, i64::MAX, i64::MIN + 1] {
            assert_eq!(ways(&[i64::MAX, i64::MIN + 1, NO_TIMESTAMP], true, &any, now_ms), [const { None }; 4]);
        }
    }

    #[test]
    fn what_goes_to_the_sink_has_to_fit_it() {
        let mut batch = Batch::default();
        for length in [20, 60, 20] {
            batch.push(0, NOW_MS, None, Some(&[7; 60][..length]));
        }
        let limits = OutputLimits { sink: SinkLimits { bytes: 48, ..SinkLimits::NONE }, ..LIMITS };
        let check = |outcomes: Outcomes, feeds_sink| {
            outcomes.validate(&batch, 2, &limits, feeds_sink, NOW_MS).err().map(|failure| failure.kind)
        };
        let only = |outcomes: [i32; 3]| {
            let reasons = vec![String::new(); outcomes.iter().filter(|outcome| **outcome == REJECT).count()];
            Outcomes { outcomes: outcomes.to_vec(), reasons, ..Outcomes::default() }
        };
        let too_much = Some(FailureKind::TooMuchOutput);
        assert_eq!(check(only([PASS, PASS, PASS]), true), too_much);
        assert_eq!(check(only([PASS, PASS, PASS]), false), None);
        assert_eq!(check(only([PASS, EMIT_NONE, PASS]), true), None);
        assert_eq!(check(only([PASS, REJECT, PASS]), true), None);
        assert_eq!((check(inheriting(3), true), check(inheriting(3), false)), (too_much, None));
        let routed = Outcomes { to: vec![-1, 1, -1], ..inheriting(3) };
        assert_eq!(check(routed, false), too_much);
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
        batch.push(0, NOW_MS, None, None);
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
            if let Ok(valid) = hostile.validate(&batch, 2, &LIMITS, true, NOW_MS) {
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
