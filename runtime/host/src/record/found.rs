//! What was made of a record, and how a person is told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sluicegate_core::{FailureKind, Made, MadeOutput, NO_TIMESTAMP};

/// What was made of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Pass,
    Drop,
    Emit(Vec<FoundOutput>),
    Reject(String),
    Fail(FailureKind, String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundOutput {
    /// The name of the output; none for the default.
    pub(crate) to: Option<String>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Found {
    /// Of what a running stage has made, with outputs of these names.
    pub(crate) fn of(made: &Made, names: &[String]) -> Found {
        let output = |output: &MadeOutput| FoundOutput {
            to: output.to.and_then(|to| names.get(to as usize).cloned()),
            timestamp: Some(output.timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP),
            key: output.key.clone(),
            value: output.value.clone(),
            headers: output.headers.clone(),
        };
        match made {
            Made::Outputs(outputs) if outputs.is_empty() => Found::Drop,
            Made::Outputs(outputs) => Found::Emit(outputs.iter().map(output).collect()),
            Made::Failed(failure) if failure.kind == FailureKind::Rejected => Found::Reject(failure.reason.clone()),
            Made::Failed(failure) => Found::Fail(failure.kind, failure.reason.clone()),
        }
    }

    /// In lines of text.
    pub(crate) fn describe(&self) -> String {
        match self {
            Found::Pass => "pass\n".into(),
            Found::Drop => "drop\n".into(),
            Found::Reject(reason) => format!("reject: {reason}\n"),
            Found::Fail(kind, reason) => format!("fail: {} ({reason})\n", kind.name()),
            Found::Emit(outputs) => outputs.iter().enumerate().map(|(index, output)| output.describe(index)).collect(),
        }
    }
}

impl FoundOutput {
    fn describe(&self, index: usize) -> String {
        let headers = self.headers.iter().map(|(name, value)| (show_bytes(Some(name)), show_bytes(value.as_deref())));
        let (key, value) = (show_bytes(self.key.as_deref()), show_bytes(self.value.as_deref()));
        output_lines(index, self.to.as_deref(), self.timestamp, &key, &value, headers)
    }
}

/// Output number `index` of a record, in lines of text.
pub(crate) fn output_lines(
    index: usize,
    to: Option<&str>,
    timestamp: Option<i64>,
    key: &str,
    value: &str,
    headers: impl Iterator<Item = (String, String)>,
) -> String {
    let to = to.unwrap_or("the default output");
    let timestamp = timestamp.map_or("none".into(), |timestamp| timestamp.to_string());
    let mut text = format!("output {} to {to}\n  key: {key}\n  value: {value}\n", index + 1);
    headers.for_each(|(name, value)| text.push_str(&format!("  header {name}: {value}\n")));
    text.push_str(&format!("  timestamp: {timestamp}\n"));
    text
}

/// A key, a value or a header's, on one line.
pub(crate) fn show_bytes(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "null".into(),
        Some((_, Ok(text))) => show_text(text),
        Some((bytes, Err(_))) => format!("{{ base64: {} }}", STANDARD.encode(bytes)),
    }
}

pub(crate) fn show_text(text: &str) -> String {
    format!("{text:?}")
}
