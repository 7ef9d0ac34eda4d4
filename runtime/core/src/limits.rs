use std::ops::RangeInclusive;

/// The bounds on what a plugin may make of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// `limits.outputs-per-record`
    pub outputs_per_record: u32,
    /// `limits.output-bytes-per-record`: keys, values and headers of all outputs, inherited ones included. Each header counts
    /// ten bytes extra.
    pub bytes_per_record: usize,
    /// The sink's own bounds: on all that goes there, which is what is sent to a named output and, of the last stage, whatever
    /// it passes on or emits.
    pub sink: SinkLimits,
}

/// What a sink takes in one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkLimits {
    /// The most bytes of key, value and headers, counted as [`OutputLimits::bytes_per_record`] is.
    pub bytes: usize,
    /// How long before now a timestamp may lie, in milliseconds.
    pub before_ms: u64,
    /// How long after now.
    pub after_ms: u64,
}

impl SinkLimits {
    /// Takes everything.
    pub const NONE: SinkLimits = SinkLimits { bytes: usize::MAX, before_ms: u64::MAX, after_ms: u64::MAX };

    /// The timestamps that it takes at `now_ms`, beside [`NO_TIMESTAMP`](crate::NO_TIMESTAMP).
    pub(crate) fn timestamps(&self, now_ms: i64) -> RangeInclusive<i64> {
        now_ms.saturating_sub_unsigned(self.before_ms)..=now_ms.saturating_add_unsigned(self.after_ms)
    }
}
