use crate::batch::NO_TIMESTAMP;
use crate::emission::Emission;
use crate::failure::{Failure, FailureKind};

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

/// The timestamps that a sink takes, beside none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timestamps {
    earliest: i64,
    latest: i64,
}

impl Timestamps {
    /// Whether this is one of them.
    #[inline]
    pub(crate) fn take(self, time: i64) -> bool {
        time == NO_TIMESTAMP || (self.earliest <= time) & (time <= self.latest)
    }
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

    /// The timestamps that it takes at `now_ms`.
    pub(crate) fn timestamps(&self, now_ms: i64) -> Timestamps {
        Timestamps {
            earliest: now_ms.saturating_sub_unsigned(self.before_ms),
            latest: now_ms.saturating_add_unsigned(self.after_ms),
        }
    }

    /// Checks that it takes this output, and would not end the pipeline by refusing it; `timestamps` are those that it takes.
    pub(crate) fn check(&self, output: &Emission<'_>, timestamps: Timestamps) -> Result<(), Failure> {
        let (bytes, most, time) = (output.bytes(), self.bytes, output.timestamp);
        if bytes > most {
            let reason = format!("an output of {bytes} bytes; the sink takes {most} in one record");
            return Err(Failure::new(FailureKind::TooMuchOutput, reason));
        }
        if timestamps.take(time) {
            return Ok(());
        }
        let Timestamps { earliest, latest } = timestamps;
        let reason = if time > latest {
            format!("an output's timestamp, {time}, is later than {latest}, the latest that the sink takes now")
        } else {
            format!("an output's timestamp, {time}, is earlier than {earliest}, the earliest that the sink takes now")
        };
        Err(Failure::new(FailureKind::Malformed, reason))
    }
}
