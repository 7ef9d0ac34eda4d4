//! `sluicegate test`: runs case files against a plugin, without a broker.

use std::io::{self, Write};
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use sluicegate_core::Transform;

use super::case_file::CaseFile;
use super::diff::compare;
use super::reader;
use super::repeat::Repeat;
use crate::record::{Difference, Found};

/// What became of the cases.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// How many did as expected.
    pub passed: usize,
    /// How many did not; a file whose plugin does not start counts as one.
    pub failed: usize,
    /// How many did not, and expect from now on what they did.
    pub updated: usize,
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
    /// What came of the records when they came again, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
}

/// What became of a case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// What the case shows.
    pub name: String,
    /// Whether the plugin did as expected.
    pub passed: bool,
    /// Whether what it did instead is expected from now on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub updated: bool,
    /// What it did.
    #[serde(skip)]
    pub(super) found: Found,
    /// How it did not.
    #[serde(flatten)]
    pub difference: Option<Difference>,
}

/// Runs all cases. `load` starts the plugin of a file, once a file.
pub fn run_cases(files: &[CaseFile], load: &mut dyn FnMut(&CaseFile) -> anyhow::Result<Box<dyn Transform>>) -> Report {
    let mut report = Report::default();
    for file in files {
        let result = match load(file) {
            Ok(mut transform) => run_file(file, &mut *transform),
            Err(error) => {
                FileReport { file: file.file.clone(), error: Some(format!("{error:#}")), cases: vec![], repeat: None }
            }
        };
        let passed = result.cases.iter().filter(|case| case.passed).count();
        report.passed += passed;
        report.failed += result.cases.len() - passed + usize::from(result.error.is_some());
        report.files.push(result);
    }
    report
}

fn run_file(file: &CaseFile, transform: &mut dyn Transform) -> FileReport {
    let mut report = FileReport { file: file.file.clone(), error: None, cases: Vec::new(), repeat: None };
    for (index, case) in file.cases.iter().enumerate() {
        let found = run_case(file, index, transform);
        let name = file.case_name(index);
        let difference = compare(case, &found);
        let failed = matches!(found, Found::Fail(..));
        report.cases.push(CaseReport { name, passed: difference.is_none(), updated: false, found, difference });
        if failed && let Err(error) = transform.renew() {
            report.error = Some(format!("the plugin does not start again: {error}"));
            break;
        }
    }
    report
}

fn run_case(file: &CaseFile, index: usize, transform: &mut dyn Transform) -> Found {
    match reader::run(file, &reader::batch(file, index..index + 1), transform) {
        Ok(found) => found.into_iter().next().unwrap_or(Found::Drop),
        Err(failure) => Found::Fail(failure.kind, failure.reason),
    }
}

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();

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
        self.files.iter().try_for_each(|file| file.write(out))?;
        let style = if self.failed == 0 { GOOD } else { BAD };
        let updated = match self.updated {
            0 => String::new(),
            updated => format!(", {updated} updated"),
        };
        writeln!(out, "{style}{} passed{updated}, {} failed{style:#}", self.passed, self.failed)
    }
}

impl FileReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.file.display())?;
        for case in &self.cases {
            match &case.difference {
                None => writeln!(out, "  {GOOD}ok{GOOD:#}      {}", case.name)?,
                Some(difference) if case.updated => {
                    writeln!(out, "  {CHANGED}UPDATED{CHANGED:#} {}", case.name)?;
                    difference.write(out, "          ", "- expected before, + found, and expected now")?;
                }
                Some(difference) => {
                    writeln!(out, "  {BAD}FAILED{BAD:#}  {}", case.name)?;
                    difference.write(out, "          ", "- expected, + found")?;
                }
            }
        }
        if let Some(error) = &self.error {
            writeln!(out, "  {BAD}FAILED{BAD:#}  {error}")?;
        }
        self.repeat.iter().try_for_each(|repeat| write_repeat(repeat, out))
    }
}

fn write_repeat(repeat: &Repeat, out: &mut dyn Write) -> io::Result<()> {
    let Some(differs) = &repeat.differs else {
        let ways = repeat.ways;
        return writeln!(
            out,
            "  {GOOD}ok{GOOD:#}      repeatable: the records came in {ways} other ways to the same end"
        );
    };
    writeln!(out, "  {BAD}FAILED{BAD:#}  not repeatable: {}", differs.case)?;
    differs.difference.write(out, "          ", &differs.legend())?;
    writeln!(out, "          {}", differs.hint)
}
