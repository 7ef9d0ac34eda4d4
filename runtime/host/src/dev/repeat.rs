//! `sluicegate test --repeat`: whether a plugin makes the same of the same records, however they come.

use std::ops::Range;

use serde::Serialize;
use sluicegate_core::Transform;
use sluicegate_wasm::{Capability, Fixed};

use super::case_file::CaseFile;
use super::cases::Report;
use super::reader;
use crate::record::{Difference, Found};

/// What each record is compared with: nothing was before it, and nothing is beside it.
const ALONE: &str = "alone in a fresh instance";
/// Further ways to cut the records into batches, drawn from a fixed seed.
const DRAWN_CUTS: u64 = 5;

/// What became of a file's records when they came again.
#[derive(Clone, Debug, Serialize)]
pub struct Repeat {
    /// In how many ways they came.
    pub ways: usize,
    /// The first record of which something else was made; none if the plugin is repeatable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differs: Option<Deviation>,
}

/// A record of which a plugin made something else than before.
#[derive(Clone, Debug, Serialize)]
pub struct Deviation {
    /// The case that the record is of.
    pub case: String,
    /// How the record came when that was made of it.
    pub way: String,
    /// What is the likely cause, and the remedy.
    pub hint: &'static str,
    /// What was made of the record when it came alone to a fresh instance, and what was made of it now.
    #[serde(flatten)]
    pub difference: Difference,
}

impl Deviation {
    /// What the signs of the difference stand for.
    pub(super) fn legend(&self) -> String {
        format!("- {ALONE}, + {}", self.way)
    }
}

/// One way in which the records of a file come.
struct Way {
    name: String,
    /// The lengths of the batches. None: each record is alone in a fresh instance.
    batches: Option<Vec<usize>>,
    world: Fixed,
}

/// Starts the plugin of a file; where it gets no real clock or random numbers, in either of the two fixed worlds.
pub type Load<'a> = dyn FnMut(&CaseFile, Fixed) -> anyhow::Result<Box<dyn Transform>> + 'a;

/// Runs the records of all files in many ways, and adds to the report what came of it.
pub fn run_repeats(files: &[CaseFile], report: &mut Report, load: &mut Load<'_>) {
    for (file, result) in files.iter().zip(&mut report.files).filter(|(_, result)| result.error.is_none()) {
        match repeat(file, load) {
            Ok(repeat) => {
                report.failed += usize::from(repeat.differs.is_some());
                result.repeat = Some(repeat);
            }
            Err(error) => {
                report.failed += 1;
                result.error = Some(format!("{error:#}"));
            }
        }
    }
}

fn repeat(file: &CaseFile, load: &mut Load<'_>) -> anyhow::Result<Repeat> {
    let usual = Way { name: ALONE.into(), batches: None, world: Fixed::Usual };
    let expected = records(file, &usual, &mut *load(file, Fixed::Usual)?)?;
    let ways = ways(file);
    for way in &ways {
        let mut transform = load(file, way.world)?;
        transform.renew()?;
        for round in ["", ", the second time in one instance"] {
            let found = records(file, way, &mut *transform)?;
            if let Some(differs) = first_difference(file, way, round, &expected, &found) {
                return Ok(Repeat { ways: ways.len(), differs: Some(differs) });
            }
        }
    }
    Ok(Repeat { ways: ways.len(), differs: None })
}

fn first_difference(file: &CaseFile, way: &Way, round: &str, expected: &[Found], found: &[Found]) -> Option<Deviation> {
    let pairs = expected.iter().zip(found).enumerate();
    let (index, difference) =
        pairs.filter_map(|(index, (one, other))| Some((index, Difference::between(one, other)?))).next()?;
    let hint = match way.world {
        Fixed::Usual => {
            "it remembers other records, looks at its batch, or goes by the order of a hash map made for the record: \
             what becomes of a record must hang on that record alone"
        }
        Fixed::Other => {
            "it looks at a clock or at random numbers: use the record's own, or let stage and cases say allow: [clock, random]"
        }
    };
    let round = if way.batches.is_some() { round } else { "" };
    Some(Deviation { case: file.case_name(index), way: format!("{}{round}", way.name), hint, difference })
}

/// All ways, the plainest first.
fn ways(file: &CaseFile) -> Vec<Way> {
    let records = file.cases.len();
    let halves = [records / 2, records - records / 2];
    let drawn = (0..DRAWN_CUTS).map(|seed| drawn_lengths(records, seed));
    let mut cuts: Vec<Vec<usize>> = Vec::new();
    for lengths in [vec![1; records], vec![records], halves.to_vec()].into_iter().chain(drawn) {
        if !cuts.contains(&lengths) && !lengths.contains(&0) {
            cuts.push(lengths);
        }
    }
    let named = |lengths: Vec<usize>| Way { name: cut_name(&lengths), batches: Some(lengths), world: Fixed::Usual };
    let again = Way { name: "in another fresh instance".into(), batches: None, world: Fixed::Usual };
    let mut ways: Vec<Way> = [again].into_iter().chain(cuts.into_iter().map(named)).collect();
    let real = |capability| file.allow.iter().any(|allowed| sluicegate_wasm::Capability::from(*allowed) == capability);
    if !real(Capability::Clock) && !real(Capability::Random) {
        let name = "with another fixed clock and other fixed random numbers".into();
        ways.push(Way { name, batches: None, world: Fixed::Other });
    }
    ways
}

/// Lengths of batches that add up to `records`. SplitMix64's output function is all the chance that is needed.
fn drawn_lengths(records: usize, seed: u64) -> Vec<usize> {
    let ends_here = |record: usize| {
        let mut bits = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ record as u64;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)).is_multiple_of(2)
    };
    let mut ends: Vec<usize> = (1..records).filter(|record| ends_here(*record)).collect();
    ends.push(records);
    let starts = [0].into_iter().chain(ends.iter().copied());
    ends.iter().zip(starts).map(|(end, start)| end - start).collect()
}

fn cut_name(lengths: &[usize]) -> String {
    match lengths {
        [records] => format!("in one batch of {records}"),
        lengths if lengths.iter().all(|length| *length == 1) => "one record a call".into(),
        lengths => {
            let lengths: Vec<String> = lengths.iter().map(usize::to_string).collect();
            format!("in batches of {}", lengths.join(", "))
        }
    }
}

/// What became of each record when they came in this way.
fn records(file: &CaseFile, way: &Way, transform: &mut dyn Transform) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    let alone = vec![1; file.cases.len()];
    for length in way.batches.as_ref().unwrap_or(&alone) {
        if way.batches.is_none() {
            transform.renew()?;
        }
        let cases = found.len()..found.len() + length;
        // A batch is of one partition, so that a change of partition cuts it too.
        for cases in by_partition(file, cases) {
            run(file, cases, transform, &mut found)?;
        }
    }
    Ok(found)
}

fn by_partition(file: &CaseFile, cases: Range<usize>) -> Vec<Range<usize>> {
    let of = |case: usize| reader::partition(&file.cases[case].record);
    let mut runs: Vec<Range<usize>> = Vec::new();
    for case in cases {
        match runs.last_mut() {
            Some(run) if of(run.start) == of(case) => run.end = case + 1,
            _ => runs.push(case..case + 1),
        }
    }
    runs
}

/// Runs a batch as a stage does: one that fails is halved, in a fresh instance each, until its record is alone.
fn run(
    file: &CaseFile,
    cases: Range<usize>,
    transform: &mut dyn Transform,
    into: &mut Vec<Found>,
) -> anyhow::Result<()> {
    let failure = match reader::run(file, &reader::batch(file, cases.clone()), transform) {
        Ok(found) => {
            into.extend(found);
            return Ok(());
        }
        Err(failure) => failure,
    };
    transform.renew()?;
    if cases.len() == 1 {
        into.push(Found::Fail(failure.kind, failure.reason));
        return Ok(());
    }
    let middle = cases.start + cases.len() / 2;
    run(file, cases.start..middle, transform, into)?;
    run(file, middle..cases.end, transform, into)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sluicegate_core::{Batch, Error, Failure, FailureKind, Identity, Outcomes, REJECT};

    use super::*;
    use crate::config;

    /// Rejects each record with a reason that its key asks for.
    struct Moody {
        identity: Identity,
        world: Fixed,
        seen: usize,
    }

    impl Transform for Moody {
        fn process(&mut self, batch: &Batch, outcomes: &mut Outcomes) -> Result<(), Failure> {
            for row in batch.rows() {
                self.seen += 1;
                outcomes.outcomes.push(REJECT);
                outcomes.reasons.push(match row.key {
                    Some(b"count") => format!("number {}", self.seen),
                    Some(b"batch") => format!("of {}", batch.len()),
                    Some(b"world") => format!("{:?}", self.world),
                    Some(b"trap") => return Err(Failure::new(FailureKind::Trap, format!("after {}", self.seen))),
                    _ => "steady".into(),
                });
            }
            Ok(())
        }

        fn rows_max(&self) -> usize {
            usize::MAX
        }

        fn renew(&mut self) -> Result<(), Error> {
            self.seen = 0;
            Ok(())
        }

        fn identity(&self) -> &Identity {
            &self.identity
        }

        fn retire(self: Box<Self>) {}
    }

    /// What is told of cases with these keys.
    fn told(head: &str, keys: &[&str]) -> Option<Deviation> {
        let cases = keys.iter().map(|key| format!("  - {{ record: {{ key: {key} }}, expect: pass }}\n"));
        let text = format!("{head}cases:\n{}", cases.collect::<String>());
        let file: CaseFile = config::parse_other(&text, Path::new("x.yaml")).unwrap_or_else(|error| panic!("{error}"));
        let mut load = |_: &CaseFile, world| -> anyhow::Result<Box<dyn Transform>> {
            Ok(Box::new(Moody { identity: Identity::default(), world, seen: 0 }))
        };
        repeat(&file, &mut load).unwrap().differs
    }

    #[test]
    fn what_hangs_on_the_record_alone_is_repeatable() {
        assert!(told("", &["a", "b", "c"]).is_none());
        // One that fails is found by halving, and its failure is its own.
        assert!(told("", &["a", "trap", "b", "c", "trap"]).is_none());
    }

    #[test]
    fn what_was_before_is_found_out() {
        let differs = told("", &["a", "b", "count", "c"]).unwrap();
        assert_eq!((differs.case.as_str(), differs.way.as_str()), ("case 3", "one record a call"));
        assert_eq!(differs.legend(), "- alone in a fresh instance, + one record a call");
        assert_eq!(differs.difference.expected, "reject: number 1\n");
        assert_eq!(differs.difference.found, "reject: number 3\n");
        let differs = told("", &["count"]).unwrap();
        assert_eq!(differs.way, "in one batch of 1, the second time in one instance");
    }

    #[test]
    fn what_is_beside_is_found_out() {
        let differs = told("", &["a", "batch"]).unwrap();
        assert_eq!((differs.case.as_str(), differs.way.as_str()), ("case 2", "in one batch of 2"));
    }

    #[test]
    fn what_looks_around_is_found_out_unless_it_may() {
        let differs = told("", &["a", "world"]).unwrap();
        assert_eq!(differs.case, "case 2");
        assert!(differs.way.ends_with("with another fixed clock and other fixed random numbers"), "{}", differs.way);
        assert!(told("allow: [clock]\n", &["a", "world"]).is_none());
    }

    #[test]
    fn every_cut_has_every_record() {
        for records in 1..40 {
            for seed in 0..DRAWN_CUTS {
                let lengths = drawn_lengths(records, seed);
                assert_eq!(lengths.iter().sum::<usize>(), records);
                assert!(!lengths.contains(&0), "{lengths:?}");
            }
        }
        assert_ne!(drawn_lengths(20, 0), drawn_lengths(20, 1));
    }

    #[test]
    fn cuts_are_told_in_words() {
        assert_eq!(cut_name(&[4]), "in one batch of 4");
        assert_eq!(cut_name(&[1, 1]), "one record a call");
        assert_eq!(cut_name(&[1, 2]), "in batches of 1, 2");
    }
}
