//! `sluicegate test --update`: what was found becomes what is expected, in the case file itself.

use serde_json::Value;

use super::case_file::{CaseFile, Expect, OutputSpec, RecordSpec};
use super::case_text::{Begins, CaseText, Layout, Slot};
use super::cases::{CaseReport, FileReport, Report};
use super::diff::{compare, same};
use crate::config;
use crate::files;
use crate::record::{Datum, Found, FoundOutput};

/// A longer line is laid out over several.
const LINE_CHARS_MAX: usize = 120;

/// Writes what was found into the cases that expect something else, and notes in the report which these are. A file whose
/// plugin does not start stays as it is, and so does a case in which the plugin crashed, or overran a limit: who means
/// that writes it by hand.
pub fn update(files: &[CaseFile], report: &mut Report) {
    for (file, result) in files.iter().zip(&mut report.files) {
        let open = |case: &CaseReport| !case.passed && !matches!(case.found, Found::Fail(..));
        let cases: Vec<usize> = (0..result.cases.len()).filter(|index| open(&result.cases[*index])).collect();
        if result.error.is_some() || cases.is_empty() {
            continue;
        }
        match rewrite(file, result, &cases) {
            Ok(()) => {
                cases.iter().for_each(|index| result.cases[*index].updated = true);
                report.updated += cases.len();
                report.failed -= cases.len();
            }
            Err(error) => {
                result.error = Some(format!("the file is not updated: {error:#}"));
                report.failed += 1;
            }
        }
    }
}

fn rewrite(file: &CaseFile, result: &FileReport, cases: &[usize]) -> anyhow::Result<()> {
    let bytes = files::read(&file.file, config::FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes)?;
    // Some editors begin a file with this mark.
    let (mark, text) = text.split_at(if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 });
    let written = CaseText::of(text.to_owned(), &file.file)?;
    let by_hand = |index: usize| anyhow::anyhow!("write what '{}' expects by hand", file.case_name(index));
    let mut values = Vec::new();
    for index in cases.iter().copied() {
        let slot = written.expectation(index).ok_or_else(|| by_hand(index))?;
        let value = expectation(file, index, &result.cases[index].found, &slot).ok_or_else(|| by_hand(index))?;
        values.push((slot, value));
    }
    let text = written.replaced(values);
    check(file, result, cases, &text)?;
    Ok(files::replace(&file.file, format!("{mark}{text}").as_bytes())?)
}

/// Whether the new text says what was found, and nothing else that is new.
fn check(file: &CaseFile, result: &FileReport, cases: &[usize], text: &str) -> anyhow::Result<()> {
    let mut new: CaseFile = config::parse_other(text, &file.file)?;
    let mut expected = file.clone();
    for index in cases.iter().copied() {
        let case = new.cases.get(index).filter(|case| compare(case, &result.cases[index].found).is_none());
        let case = case.ok_or_else(|| anyhow::anyhow!("write what '{}' expects by hand", file.case_name(index)))?;
        expected.cases[index].expect = case.expect.clone();
    }
    new.file.clone_from(&file.file);
    if format!("{new:?}") != format!("{expected:?}") {
        anyhow::bail!("its layout is not understood, or it was saved meanwhile; write by hand, or try again");
    }
    Ok(())
}

/// What was found, as the file says it in this place; none if that is nothing to expect.
fn expectation(file: &CaseFile, index: usize, found: &Found, slot: &Slot) -> Option<String> {
    let case = &file.cases[index];
    let (expect, outputs) = match found {
        Found::Pass => ("pass".to_owned(), Vec::new()),
        Found::Drop => ("drop".to_owned(), Vec::new()),
        Found::Reject(reason) => (format!("{{ reject: {} }}", quoted(reason)), Vec::new()),
        Found::Emit(outputs) => {
            let before = match &case.expect {
                Expect::Emit(outputs) => outputs.as_slice(),
                _ => &[],
            };
            let output = |(at, found)| output(&case.record, before.get(at), found);
            let outputs: Vec<String> = outputs.iter().enumerate().map(output).collect();
            (format!("{{ emit: [{}] }}", outputs.join(", ")), outputs)
        }
        Found::Fail(..) => return None,
    };
    Some(match slot.layout {
        Layout::Block(indent, begins)
            if !outputs.is_empty() && (begins != Begins::Beside || is_long(indent, &expect)) =>
        {
            let (emit, item) = (" ".repeat(indent + 2), " ".repeat(indent + 4));
            let items: String = outputs.iter().map(|output| format!("\n{item}- {output}")).collect();
            format!("\n{emit}emit:{items}")
        }
        Layout::Block(indent, Begins::BelowComment) => format!("\n{}{}", " ".repeat(indent + 2), unwrapped(&expect)),
        Layout::Block(_, Begins::Below) => format!(" {expect}"),
        Layout::Block(_, Begins::Beside) | Layout::Flow => expect,
    })
}

fn is_long(indent: usize, expect: &str) -> bool {
    indent + "expect: ".len() + expect.chars().count() > LINE_CHARS_MAX
}

/// `{ reject: "…" }` on a line of its own needs no braces.
fn unwrapped(expect: &str) -> &str {
    expect.strip_prefix("{ ").and_then(|expect| expect.strip_suffix(" }")).unwrap_or(expect)
}

/// An output, as far as it is not as the record. It is written as JSON where it was before, or where the record is.
fn output(record: &RecordSpec, before: Option<&OutputSpec>, found: &FoundOutput) -> String {
    let was = |of: fn(&OutputSpec) -> Option<&Datum>| before.and_then(of);
    let mut parts = Vec::new();
    parts.extend(found.to.as_ref().map(|to| format!("to: {}", name(to))));
    if !same(&record.key, found.key.as_deref()) {
        let like = [was(|output| output.key.as_ref()), Some(&record.key)];
        parts.push(format!("key: {}", datum(found.key.as_deref(), &like)));
    }
    if !same(&record.value, found.value.as_deref()) {
        let like = [was(|output| output.value.as_ref()), Some(&record.value)];
        parts.push(format!("value: {}", datum(found.value.as_deref(), &like)));
    }
    let as_record =
        record.headers.len() == found.headers.len()
            && record.headers.iter().zip(&found.headers).all(|((name, value), (found_name, found))| {
                name.as_bytes() == found_name && same(value, found.as_deref())
            });
    if !as_record {
        let header = |(name, value): &(Vec<u8>, Option<Vec<u8>>)| {
            format!("[{}, {}]", quoted(&String::from_utf8_lossy(name)), datum(value.as_deref(), &[]))
        };
        let headers: Vec<String> = found.headers.iter().map(header).collect();
        parts.push(format!("headers: [{}]", headers.join(", ")));
    }
    if record.timestamp != found.timestamp {
        let timestamp = found.timestamp.map_or("null".into(), |timestamp| timestamp.to_string());
        parts.push(format!("timestamp: {timestamp}"));
    }
    if parts.is_empty() { "{}".into() } else { format!("{{ {} }}", parts.join(", ")) }
}

fn datum(bytes: Option<&[u8]>, like: &[Option<&Datum>]) -> String {
    use base64::Engine as _;
    let Some(bytes) = bytes else { return "null".into() };
    let as_json = like.iter().flatten().any(|like| matches!(like, Datum::Json(_)));
    match (std::str::from_utf8(bytes), serde_json::from_slice::<Value>(bytes)) {
        (Ok(_), Ok(json @ (Value::Array(_) | Value::Object(_)))) if as_json => flow(&json),
        (Ok(text), _) => quoted(text),
        (Err(_), _) => format!("{{ base64: {} }}", base64::engine::general_purpose::STANDARD.encode(bytes)),
    }
}

/// JSON as a person writes it between braces.
fn flow(json: &Value) -> String {
    match json {
        Value::Object(map) if map.is_empty() => "{}".into(),
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{}: {}", name(key), flow(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// A key or name, with quotes only where it could be read as something else.
fn name(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let word =
        ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain && !word { text.to_owned() } else { quoted(text) }
}

/// JSON's way to write a text is YAML's too.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluicegate_core::FailureKind;

    /// What becomes of a case file when this is found in its cases.
    fn updated(text: &str, found: Vec<Found>) -> (String, Report) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        std::fs::write(&path, text).unwrap();
        let file = CaseFile::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let case = |(index, found): (usize, Found)| {
            let difference = compare(&file.cases[index], &found);
            CaseReport { name: file.case_name(index), passed: difference.is_none(), updated: false, found, difference }
        };
        let cases: Vec<CaseReport> = found.into_iter().enumerate().map(case).collect();
        let failed = cases.iter().filter(|case| !case.passed).count();
        let result = FileReport { file: path.clone(), error: None, cases, repeat: None };
        let mut report = Report { passed: 0, failed, updated: 0, files: vec![result] };
        update(&[file], &mut report);
        (std::fs::read_to_string(&path).unwrap(), report)
    }

    fn out(value: &str) -> FoundOutput {
        FoundOutput {
            to: None,
            timestamp: None,
            key: Some(b"k".to_vec()),
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_expected_changes() {
        let text = "# Cases of a shouting plugin.\ncases:\n  - name: a   # the first\n    record: { key: k, value: a }\n    expect: pass  # so far\n\
                    \n  - { record: { key: k, value: { b: 1 } }, expect: { emit: [{ value: { b: 2 } }] } }   # last\n";
        let other =
            FoundOutput { to: Some("large".into()), key: None, ..out("{\"b\": [true, \"x: y\"], \"null\": null}") };
        let (new, report) =
            updated(text, vec![Found::Emit(vec![out("A \"b\"\n")]), Found::Emit(vec![other, out("x")])]);
        let expected = "# Cases of a shouting plugin.\ncases:\n  - name: a   # the first\n    record: { key: k, value: a }\n    \
                        expect: { emit: [{ value: \"A \\\"b\\\"\\n\" }] }  # so far\n\
                        \n  - { record: { key: k, value: { b: 1 } }, expect: { emit: [{ to: large, key: null, value: { b: \
                        [true, \"x: y\"], \"null\": null } }, { value: \"x\" }] } }   # last\n";
        assert_eq!(new, expected);
        assert_eq!((report.updated, report.failed, report.exit_code()), (2, 0, 0));
    }

    #[test]
    fn a_block_stays_one() {
        let text = "cases:\n  - expect:\n      emit:\n        - value: a\n    record: { key: k }\n  - expect: # why\n      reject: no\n";
        let raw =
            FoundOutput { value: Some(vec![255]), headers: vec![(b"h".to_vec(), None)], timestamp: Some(5), ..out("") };
        let (new, _) = updated(text, vec![Found::Emit(vec![raw, out("b")]), Found::Reject("it is: bad".into())]);
        let expected = "cases:\n  - expect:\n      emit:\n        - { value: { base64: /w== }, headers: [[\"h\", null]], timestamp: 5 }\n\
                        \x20       - { value: \"b\" }\n    record: { key: k }\n  - expect: # why\n      reject: \"it is: bad\"\n";
        assert_eq!(new, expected);
    }

    #[test]
    fn a_long_line_is_laid_out() {
        let (new, _) = updated(
            "cases:\n  - record: { key: k }\n    expect: pass\n",
            vec![Found::Emit(vec![out(&"x".repeat(120))])],
        );
        assert_eq!(
            new,
            format!(
                "cases:\n  - record: {{ key: k }}\n    expect:\n      emit:\n        - {{ value: \"{}\" }}\n",
                "x".repeat(120)
            )
        );
    }

    #[test]
    fn a_crash_is_not_what_is_expected() {
        let text = "cases: [{ expect: pass }, { expect: pass }]\n";
        let trap = || Found::Fail(FailureKind::Trap, "unreachable".into());
        let (new, report) = updated(text, vec![trap(), Found::Drop]);
        assert_eq!(new, "cases: [{ expect: pass }, { expect: drop }]\n");
        assert_eq!((report.updated, report.failed, report.exit_code()), (1, 1, 1));
    }

    #[test]
    fn what_is_not_understood_stays_as_it_is() {
        let text = "cases:\n  - { expect: &same pass }\n  - { expect: *same }\n";
        let (new, report) = updated(text, vec![Found::Drop, Found::Pass]);
        assert_eq!(new, text);
        assert!(report.failed > 0 && report.files[0].error.as_ref().unwrap().starts_with("the file is not updated: "));
    }
}
