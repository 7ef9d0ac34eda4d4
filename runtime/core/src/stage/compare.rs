use crate::batch::{Batch, Row};
use crate::emission::Emission;
use crate::failure::{Failure, FailureKind};
use crate::findings::{Made, MadeOutput, Sample};

use super::result::Part;

/// How much of what one side made of a record is kept: so many bytes, outputs and headers.
const BYTES_MAX: usize = 32 << 10;
const OUTPUTS_MAX: usize = 32;
const HEADERS_MAX: usize = 64;

/// Compares what two plugins made of the same records, as a reader of the outputs would see it. Returns how many differ, and the
/// first of them, `wanted` at most.
pub(super) fn compare(input: &Batch, live: &Part, shadow: &Part, wanted: usize) -> (u64, Vec<Sample>) {
    let (of_live, of_shadow) = (emissions(input, live), emissions(input, shadow));
    let mut live = Reader { emissions: &of_live, failed: &live.failed };
    let mut shadow = Reader { emissions: &of_shadow, failed: &shadow.failed };
    let (mut differing, mut samples) = (0, Vec::new());
    for (row, record) in input.rows().enumerate() {
        let (one, other) = (live.take(row), shadow.take(row));
        if one.is_like(&other) {
            continue;
        }
        differing += 1;
        if samples.len() < wanted {
            samples.push(sample(input, &record, &one, &other));
        }
    }
    (differing, samples)
}

fn emissions<'a>(input: &'a Batch, part: &'a Part) -> Vec<(usize, Emission<'a>)> {
    let mut all = Vec::with_capacity(input.len());
    // Nothing fails in the closure, and so neither does the visit.
    let _ = part.visit(input, |row, emission| {
        all.push((row, emission));
        Ok(())
    });
    all
}

/// Reads what was made of one row after the other.
struct Reader<'a> {
    emissions: &'a [(usize, Emission<'a>)],
    failed: &'a [(usize, Failure)],
}

impl<'a> Reader<'a> {
    fn take(&mut self, row: usize) -> Seen<'a> {
        if let Some(((at, failure), rest)) = self.failed.split_first()
            && *at == row
        {
            self.failed = rest;
            return Seen::Failed(failure);
        }
        let count = self.emissions.iter().take_while(|(at, _)| *at == row).count();
        let (own, rest) = self.emissions.split_at(count);
        self.emissions = rest;
        Seen::Outputs(own)
    }
}

/// What was made of one row.
enum Seen<'a> {
    Outputs(&'a [(usize, Emission<'a>)]),
    Failed(&'a Failure),
}

impl Seen<'_> {
    /// The reason of a failure may tell of the plugin's memory or its time, and is not compared; that of a rejection is the
    /// plugin's answer, and is.
    fn is_like(&self, other: &Seen<'_>) -> bool {
        match (self, other) {
            (Seen::Failed(one), Seen::Failed(other)) if one.kind == FailureKind::Rejected => one == other,
            (Seen::Failed(one), Seen::Failed(other)) => one.kind == other.kind,
            (Seen::Outputs(one), Seen::Outputs(other)) => {
                one.len() == other.len() && one.iter().zip(*other).all(|((_, one), (_, other))| one.is_like(other))
            }
            _ => false,
        }
    }
}

fn sample(input: &Batch, record: &Row<'_>, live: &Seen<'_>, candidate: &Seen<'_>) -> Sample {
    let mut is_cut = false;
    let mut keep = |seen: &Seen<'_>| {
        let mut keeper = Keeper { left: BYTES_MAX, is_cut: false };
        let made = keeper.made(seen);
        is_cut |= keeper.is_cut;
        made
    };
    let (live, candidate) = (keep(live), keep(candidate));
    let mut keeper = Keeper { left: BYTES_MAX, is_cut };
    let key = keeper.bytes(record.key);
    Sample { partition: input.partition.clone(), offset: record.offset, key, live, candidate, is_cut: keeper.is_cut }
}

/// Copies, within bounds.
struct Keeper {
    left: usize,
    is_cut: bool,
}

impl Keeper {
    fn made(&mut self, seen: &Seen<'_>) -> Made {
        match seen {
            Seen::Failed(failure) => {
                let reason = self.bytes(Some(failure.reason.as_bytes())).unwrap_or_default();
                Made::Failed(Failure::new(failure.kind, String::from_utf8_lossy(&reason)))
            }
            Seen::Outputs(outputs) => {
                self.is_cut |= outputs.len() > OUTPUTS_MAX;
                Made::Outputs(outputs.iter().take(OUTPUTS_MAX).map(|(_, emission)| self.output(emission)).collect())
            }
        }
    }

    fn output(&mut self, emission: &Emission<'_>) -> MadeOutput {
        let (key, value) = (self.bytes(emission.key), self.bytes(emission.value));
        let mut headers = Vec::new();
        for (name, content) in emission.headers {
            if headers.len() == HEADERS_MAX {
                self.is_cut = true;
                break;
            }
            headers.push((self.bytes(Some(name)).unwrap_or_default(), self.bytes(content)));
        }
        MadeOutput { to: emission.to, timestamp: emission.timestamp, key, value, headers }
    }

    fn bytes(&mut self, bytes: Option<&[u8]>) -> Option<Vec<u8>> {
        let bytes = bytes?;
        let kept = &bytes[..bytes.len().min(self.left)];
        self.is_cut |= kept.len() < bytes.len();
        self.left -= kept.len();
        Some(kept.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::INHERIT;
    use crate::outcome::tests::valid;
    use crate::outcome::{Outcomes, PASS, REJECT};

    fn input(records: u64) -> Batch {
        let mut batch = Batch::default();
        for offset in 0..records {
            batch.push(offset, 7, Some(b"k"), Some(b"same"));
            batch.push_header(b"h", Some(b"1"));
        }
        batch
    }

    /// One outcome for all rows.
    fn says(records: usize, outcome: i32, value: Option<&[u8]>) -> Part {
        let mut outcomes = Outcomes { outcomes: vec![outcome; records], ..Outcomes::default() };
        for _ in 0..records as i32 * outcome.max(0) {
            outcomes.keys.lengths.push(INHERIT);
            outcomes.values.push(value);
        }
        if outcome == REJECT {
            let word = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
            outcomes.reasons = vec![word; records];
        }
        let mut part = Part::default();
        part.add(0..records, valid(outcomes));
        part
    }

    fn failed(kind: FailureKind, reason: &str) -> Part {
        let mut part = Part::default();
        part.failed.push((0, Failure::new(kind, reason)));
        part
    }

    #[test]
    fn what_readers_would_see_is_compared() {
        let same = |one: &Part, other: &Part| compare(&input(1), one, other, 9).0 == 0;
        assert!(same(&says(1, PASS, None), &says(1, 1, Some(b"same"))), "the record itself is the record passed on");
        assert!(!same(&says(1, PASS, None), &says(1, 1, Some(b"other"))));
        assert!(!same(&says(1, 1, Some(b"")), &says(1, 1, None)), "a tombstone is not an empty value");
        assert!(!same(&says(1, 1, Some(b"same")), &says(1, 2, Some(b"same"))));
        assert!(!same(&says(1, 0, None), &says(1, PASS, None)));
        assert!(!same(&says(1, REJECT, Some(b"a")), &says(1, REJECT, Some(b"b"))));
        assert!(same(&failed(FailureKind::Trap, "at 1"), &failed(FailureKind::Trap, "at 2")));
        assert!(!same(&failed(FailureKind::Trap, "at 1"), &failed(FailureKind::Memory, "at 1")));
        assert!(!same(&failed(FailureKind::Trap, "at 1"), &says(1, 0, None)));
    }

    #[test]
    fn samples_are_the_first_and_bounded() {
        let long = vec![b'x'; BYTES_MAX + 1];
        let (differing, samples) = compare(&input(5), &says(5, PASS, None), &says(5, 2, Some(&long)), 2);
        assert_eq!((differing, samples.len()), (5, 2));
        let Sample { offset: 1, candidate: Made::Outputs(outputs), is_cut: true, .. } = &samples[1] else {
            panic!("{:?}", samples[1].offset)
        };
        let kept: usize = outputs.iter().map(|output| output.value.as_ref().map_or(0, Vec::len)).sum();
        assert!(kept <= BYTES_MAX && outputs.len() == 2, "{kept}");
    }

    #[test]
    fn rows_that_failed_do_not_shift_the_others() {
        let mut holed = says(1, 1, Some(b"a"));
        holed.failed.push((1, Failure::new(FailureKind::Trap, "boom")));
        holed.add(2..3, valid(Outcomes { outcomes: vec![PASS], ..Outcomes::default() }));
        let (differing, samples) = compare(&input(3), &holed, &says(3, PASS, None), 9);
        assert_eq!(samples.iter().map(|sample| sample.offset).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(differing, 2);
    }
}
