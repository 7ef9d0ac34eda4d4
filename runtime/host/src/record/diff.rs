use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::found::Found;

/// How an outcome differs from the expected one, or from another; each as lines of text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What was expected, or was made of the record before.
    pub expected: String,
    /// What was made of it.
    pub found: String,
}

impl Difference {
    /// Between what was made of a record at two times; none if it is the same. The words of a failure may tell of the
    /// plugin's memory or of the time that it took, and are not compared.
    pub(crate) fn between(one: &Found, other: &Found) -> Option<Difference> {
        let same = match (one, other) {
            (Found::Fail(one, _), Found::Fail(other, _)) => one == other,
            (one, other) => one == other,
        };
        (!same).then(|| Difference { expected: one.describe(), found: other.describe() })
    }

    /// Writes both as a diff, each line after `indent`. `legend` says what - and + stand for.
    pub(crate) fn write(&self, out: &mut dyn Write, indent: &str, legend: &str) -> io::Result<()> {
        writeln!(out, "{indent}{legend}")?;
        for change in TextDiff::from_lines(&self.expected, &self.found).iter_all_changes() {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ('-', AnsiColor::Red.on_default()),
                ChangeTag::Insert => ('+', AnsiColor::Green.on_default()),
                ChangeTag::Equal => (' ', Style::new()),
            };
            writeln!(out, "{indent}{style}{sign} {}{style:#}", change.value().trim_end_matches('\n'))?;
        }
        Ok(())
    }
}
