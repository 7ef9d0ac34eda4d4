//! `sluicegate test`: runs case files against a plugin, without a broker.

use std::io::{self, Write};
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use sluicegate_core::{
    Batch, Entry, FailureKind, HeaderSlice, INHERIT, NO_TIMESTAMP, Outcomes, OutputLimits, PASS, Partition, REJECT,
    Transform,
};

use super::case_file::{CaseFile, RecordSpec};
use super::diff::{Difference, compare};

/// What became of the cases.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// How many did as expected.
    pub passed: usize,
    /// How many did not; a file whose plugin does not start counts as one.
    pub failed: usize,
    /// File by file.
    pub files: Vec<FileReport>,
}

/// What became of one file's cases.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// The file.
    pub file: PathBuf,
    /// Why its plugin does not start, or does not start again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Case by case.
    pub cases: Vec<CaseReport>,
}

/// What became of a case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// What the case shows.
    pub name: String,
    /// Whether the plugin did as expected.
    pub passed: bool,
    /// How it did not.
    #[serde(flatten)]
    pub difference: Option<Difference>,
}

/// What a plugin made of one record.
pub(super) enum Found {
    Pass,
    Drop,
    Emit(Vec<FoundOutput>),
    Reject(String),
    Fail(FailureKind, String),
}

pub(super) struct FoundOutput {
    pub(super) to: Option<String>,
    pub(super) timestamp: Option<i64>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Runs all cases. `load` starts the plugin of a file, once a file.
pub fn run_cases(files: &[CaseFile], load: &mut dyn FnMut(&CaseFile) -> anyhow::Result<Box<dyn Transform>>) -> Report {
    let mut report = Report::default();
    for file in files {
        let result = match load(file) {
            Ok(mut transform) => run_file(file, &mut *transform),
            Err(error) => FileReport { file: file.file.clone(), error: Some(format!("{error:#}")), cases: vec![] },
        };
        let passed = result.cases.iter().filter(|case| case.passed).count();
        report.passed += passed;
        report.failed += result.cases.len() - passed + usize::from(result.error.is_some());
        report.files.push(result);
    }
    report
}

fn run_file(file: &CaseFile, transform: &mut dyn Transform) -> FileReport {
    let mut report = FileReport { file: file.file.clone(), error: None, cases: Vec::new() };
    for (index, case) in file.cases.iter().enumerate() {
        let batch = batch(&case.record, index as u64);
        let found = run_case(file, &batch, transform);
        let name = case.name.clone().unwrap_or_else(|| format!("case {}", index + 1));
        let difference = compare(case, &found);
        report.cases.push(CaseReport { name, passed: difference.is_none(), difference });
        if let Found::Fail(..) = found
            && let Err(error) = transform.renew()
        {
            report.error = Some(format!("the plugin does not start again: {error}"));
            break;
        }
    }
    report
}

fn batch(record: &RecordSpec, index: u64) -> Batch {
    let topic = record.topic.as_deref().unwrap_or("test").into();
    let mut batch = Batch { partition: Partition { topic, number: record.partition }, ..Batch::default() };
    let timestamp = record.timestamp.unwrap_or(NO_TIMESTAMP);
    let (key, value) = (record.key.bytes(), record.value.bytes());
    batch.push(record.offset.unwrap_or(index), timestamp, key.as_deref(), value.as_deref());
    for (name, value) in &record.headers {
        batch.push_header(name.as_bytes(), value.bytes().as_deref());
    }
    batch
}

fn run_case(file: &CaseFile, batch: &Batch, transform: &mut dyn Transform) -> Found {
    let limits = OutputLimits {
        outputs_per_record: file.limits.outputs_per_record,
        bytes_per_record: file.limits.output_bytes_per_record.bytes(),
        bytes_per_output: usize::MAX, // A sink's limit, and there is no sink.
    };
    let mut outcomes = Outcomes::default();
    let answer =
        transform.process(batch, &mut outcomes).and_then(|()| outcomes.validate(batch, file.outputs.len(), &limits));
    match answer {
        Err(failure) => Found::Fail(failure.kind, failure.reason),
        Ok(()) => found(batch, &outcomes, &file.outputs),
    }
}

/// Reads the outcome of the only record; the columns have been validated.
fn found(batch: &Batch, outcomes: &Outcomes, names: &[String]) -> Found {
    let (Some(row), Some(outcome)) = (batch.rows().next(), outcomes.outcomes.first()) else { return Found::Drop };
    let count = match *outcome {
        PASS => return Found::Pass,
        REJECT => return Found::Reject(outcomes.reasons.first().cloned().unwrap_or_default()),
        count => usize::try_from(count).unwrap_or(0),
    };
    let owned = |entry: Option<Entry<'_>>, inherited: Option<&[u8]>| {
        entry.unwrap_or(Entry::Inherit).or(inherited).map(<[u8]>::to_vec)
    };
    let (mut keys, mut values) = (outcomes.keys.cursor(), outcomes.values.cursor());
    let (mut names_left, mut contents) = (outcomes.headers.keys.cursor(), outcomes.headers.values.cursor());
    let outputs = (0..count).map(|index| {
        let to = outcomes.to.get(index).and_then(|to| names.get(usize::try_from(*to).ok()?));
        let timestamp = outcomes.timestamps.get(index).copied().unwrap_or(row.timestamp);
        let headers = match outcomes.headers.counts.get(index) {
            None | Some(&INHERIT) => owned_headers(row.headers),
            Some(count) => (0..*count)
                .map(|_| (owned(names_left.next(), None).unwrap_or_default(), owned(contents.next(), None)))
                .collect(),
        };
        FoundOutput {
            to: to.cloned(),
            timestamp: Some(timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP),
            key: owned(keys.next(), row.key),
            value: owned(values.next(), row.value),
            headers,
        }
    });
    let outputs: Vec<FoundOutput> = outputs.collect();
    if outputs.is_empty() { Found::Drop } else { Found::Emit(outputs) }
}

fn owned_headers(headers: HeaderSlice<'_>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect()
}

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();

impl Report {
    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.failed > 0)
    }

    /// Writes the report for a person, with colours: hand it a stream of anstream, which drops them where there is no
    /// terminal.
    ///
    /// # Errors
    /// Whatever the stream says.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for file in &self.files {
            writeln!(out, "{}", file.file.display())?;
            for case in &file.cases {
                match &case.difference {
                    None => writeln!(out, "  {GOOD}ok{GOOD:#}      {}", case.name)?,
                    Some(difference) => {
                        writeln!(out, "  {BAD}FAILED{BAD:#}  {}", case.name)?;
                        difference.write(out, "          ")?;
                    }
                }
            }
            if let Some(error) = &file.error {
                writeln!(out, "  {BAD}FAILED{BAD:#}  {error}")?;
            }
        }
        let style = if self.failed == 0 { GOOD } else { BAD };
        writeln!(out, "{style}{} passed, {} failed{style:#}", self.passed, self.failed)
    }
}
