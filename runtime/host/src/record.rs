//! Records as JSON, the way `produce` reads them: text where it is text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluicegate_core::NO_TIMESTAMP;

/// A key or value.
pub(crate) fn datum(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => Value::String(text.to_owned()),
        Some((bytes, Err(_))) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// Headers, as pairs of name and value.
pub(crate) fn headers<'a>(headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Value {
    headers.map(|(name, value)| json!([String::from_utf8_lossy(name), datum(value)])).collect()
}

/// Milliseconds since the Unix epoch, or null.
pub(crate) fn timestamp(timestamp: i64) -> Value {
    (timestamp != NO_TIMESTAMP).then_some(timestamp).into()
}
