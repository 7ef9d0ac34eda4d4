//! What a case expects beside what the plugin made, for a person to read.

use serde_json::Value;

use super::case_file::{Case, Expect, OutputSpec, RecordSpec};
use crate::record::{Datum, Difference, Found, FoundOutput, output_lines, show_bytes, show_text};

/// The difference between what the case expects and what was found; none if they agree.
pub(super) fn compare(case: &Case, found: &Found) -> Option<Difference> {
    let (agrees, expected, found_text) = match (&case.expect, found) {
        (Expect::Emit(expected), Found::Emit(found)) => return compare_outputs(&case.record, expected, found),
        // An empty list and a drop are one outcome.
        (Expect::Emit(expected), Found::Drop) if expected.is_empty() => return None,
        (expect, found) => (agrees(expect, found), describe_expected(&case.record, expect), found.describe()),
    };
    (!agrees).then_some(Difference { expected, found: found_text })
}

fn agrees(expect: &Expect, found: &Found) -> bool {
    match (expect, found) {
        (Expect::Pass, Found::Pass) | (Expect::Drop, Found::Drop) => true,
        (Expect::Reject(part), Found::Reject(reason)) => reason.contains(part),
        (Expect::Fail(expected), Found::Fail(kind, _)) => expected.kind() == *kind,
        _ => false,
    }
}

fn describe_expected(record: &RecordSpec, expect: &Expect) -> String {
    match expect {
        Expect::Pass => "pass\n".into(),
        Expect::Drop => "drop\n".into(),
        Expect::Reject(part) => format!("reject: …{part}…\n"),
        Expect::Fail(kind) => format!("fail: {}\n", kind.kind().name()),
        Expect::Emit(outputs) => {
            outputs.iter().enumerate().map(|(index, output)| Wanted::of(record, output).describe(index)).collect()
        }
    }
}

fn compare_outputs(record: &RecordSpec, expected: &[OutputSpec], found: &[FoundOutput]) -> Option<Difference> {
    let wanted: Vec<Wanted<'_>> = expected.iter().map(|output| Wanted::of(record, output)).collect();
    let agrees = wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| wanted.agrees(found));
    let found_text = || found.iter().enumerate().map(|(index, output)| describe(index, output, wanted.get(index)));
    (!agrees).then(|| Difference {
        expected: wanted.iter().enumerate().map(|(index, wanted)| wanted.describe(index)).collect(),
        found: found_text().collect(),
    })
}

/// An expected output with what it inherits filled in.
struct Wanted<'a> {
    to: Option<&'a str>,
    timestamp: Option<i64>,
    key: &'a Datum,
    value: &'a Datum,
    headers: &'a [(String, Datum)],
}

impl<'a> Wanted<'a> {
    fn of(record: &'a RecordSpec, output: &'a OutputSpec) -> Self {
        Wanted {
            to: output.to.as_deref(),
            timestamp: output.timestamp.unwrap_or(record.timestamp),
            key: output.key.as_ref().unwrap_or(&record.key),
            value: output.value.as_ref().unwrap_or(&record.value),
            headers: output.headers.as_deref().unwrap_or(&record.headers),
        }
    }

    fn agrees(&self, found: &FoundOutput) -> bool {
        let headers = self.headers.len() == found.headers.len()
            && self.headers.iter().zip(&found.headers).all(|((name, wanted), (found_name, found))| {
                name.as_bytes() == found_name && same(wanted, found.as_deref())
            });
        self.to == found.to.as_deref()
            && self.timestamp == found.timestamp
            && same(self.key, found.key.as_deref())
            && same(self.value, found.value.as_deref())
            && headers
    }

    fn describe(&self, index: usize) -> String {
        let headers = self.headers.iter().map(|(name, value)| (show_text(name), show_datum(value)));
        output_lines(index, self.to, self.timestamp, &show_datum(self.key), &show_datum(self.value), headers)
    }
}

/// Describes what was found in the way in which the expected is described, so that only what differs shows as such.
fn describe(index: usize, found: &FoundOutput, wanted: Option<&Wanted<'_>>) -> String {
    let show = |wanted: Option<&Datum>, found: Option<&[u8]>| match wanted {
        Some(wanted) if same(wanted, found) => show_datum(wanted),
        Some(Datum::Json(_)) => found
            .and_then(|found| serde_json::from_slice(found).ok())
            .map_or_else(|| show_bytes(found), |json| show_json(&json)),
        _ => show_bytes(found),
    };
    let headers = found.headers.iter().enumerate().map(|(at, (name, value))| {
        let wanted = wanted.and_then(|wanted| wanted.headers.get(at)).map(|(_, wanted)| wanted);
        (show_bytes(Some(name)), show(wanted, value.as_deref()))
    });
    let key = show(wanted.map(|wanted| wanted.key), found.key.as_deref());
    let value = show(wanted.map(|wanted| wanted.value), found.value.as_deref());
    output_lines(index, found.to.as_deref(), found.timestamp, &key, &value, headers)
}

/// Whether these bytes are what is wanted: JSON as JSON, all else byte for byte.
pub(super) fn same(wanted: &Datum, found: Option<&[u8]>) -> bool {
    match (wanted, found) {
        (Datum::Null, found) => found.is_none(),
        (Datum::Bytes(wanted), found) => found == Some(wanted),
        (Datum::Json(wanted), Some(found)) => serde_json::from_slice::<Value>(found).is_ok_and(|json| json == *wanted),
        (Datum::Json(_), None) => false,
    }
}

fn show_datum(datum: &Datum) -> String {
    match datum {
        Datum::Null => show_bytes(None),
        Datum::Bytes(bytes) => show_bytes(Some(bytes)),
        Datum::Json(value) => show_json(value),
    }
}

fn show_json(value: &Value) -> String {
    let pretty = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
    pretty.replace('\n', "\n  ")
}
