//! Records as lines of JSON: what `produce` and `run --stdin` read, and `consume` and `run --stdout` write.

mod diff;
mod found;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sluicegate_core::NO_TIMESTAMP;

pub(crate) use diff::Difference;
pub(crate) use found::{Found, FoundOutput, output_lines, show_bytes, show_text};

/// What each line is, for whoever writes one.
pub(crate) const LINES_HELP: &str = r#"A line of JSON is a record: {"key": "k", "value": {"qty": 3}, "headers": [["trace", "a"], ["none", null]], "timestamp": 1769860800000, "partition": 0}
All keys are optional. A string is text, null is no value (a tombstone), {"base64": "…"} is bytes, anything else is its compact JSON."#;

/// A record that is read.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    #[serde(default)]
    pub(crate) key: Datum,
    #[serde(default)]
    pub(crate) value: Datum,
    #[serde(default)]
    pub(crate) headers: Vec<(String, Datum)>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) partition: Option<u32>,
    /// Where `consume` found it.
    pub(crate) offset: Option<u64>,
}

impl Line {
    /// Reads a line without its line end: JSON or, with `raw`, a bare value. None for a blank line.
    ///
    /// # Errors
    /// It is no record.
    pub(crate) fn read(text: &[u8], raw: bool) -> Result<Option<Line>, String> {
        if text.trim_ascii().is_empty() {
            return Ok(None);
        }
        if raw {
            return Ok(Some(Line { value: Datum::Bytes(text.to_owned()), ..Line::default() }));
        }
        serde_json::from_slice(text).map(Some).map_err(|error| {
            // The parser sees this one line; which it is, only the caller knows.
            let error = error.to_string().replace(" at line 1 column ", " at column ");
            format!("{error}; see --help, or give --raw")
        })
    }
}

/// A key or value as a file writes it: text; null; `{ base64: … }`; or anything else, which stands for its compact JSON
/// and is compared as JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Datum {
    /// No value, which is not an empty one.
    #[default]
    Null,
    /// These bytes.
    Bytes(Vec<u8>),
    /// This JSON.
    Json(Value),
}

impl Datum {
    /// The bytes that the plugin gets.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Datum::Null => None,
            Datum::Bytes(bytes) => Some(bytes.clone()),
            Datum::Json(value) => Some(value.to_string().into_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for Datum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Null => Datum::Null,
            Value::String(text) => Datum::Bytes(text.into_bytes()),
            Value::Object(map) if map.len() == 1 && map.contains_key("base64") => {
                let bytes = map["base64"].as_str().and_then(|text| STANDARD.decode(text.trim()).ok());
                Datum::Bytes(bytes.ok_or_else(|| D::Error::custom("expected { base64: … } with legal base64"))?)
            }
            value => Datum::Json(value),
        })
    }
}

/// A record that is written.
#[derive(Serialize)]
#[serde(bound = "")]
pub(crate) struct Shown<'a, H: Iterator<Item = Header<'a>> + Clone> {
    /// The named output that it goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<u64>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Bytes<'a>,
    pub(crate) value: Bytes<'a>,
    pub(crate) headers: Headers<H>,
}

/// A header's name and value.
pub(crate) type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// A key or value: text where it is text.
pub(crate) struct Bytes<'a>(pub(crate) Option<&'a [u8]>);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
            None => serializer.serialize_none(),
            Some((_, Ok(text))) => serializer.serialize_str(text),
            Some((bytes, Err(_))) => {
                let encoded = Base64Display::new(bytes, &STANDARD).to_string();
                serializer.collect_map([("base64", encoded)])
            }
        }
    }
}

/// Headers, as pairs of name and value.
pub(crate) struct Headers<H>(pub(crate) H);

impl<'a, H: Iterator<Item = Header<'a>> + Clone> Serialize for Headers<H> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone().map(|(name, value)| (String::from_utf8_lossy(name), Bytes(value))))
    }
}

/// Milliseconds since the Unix epoch, if there are any.
pub(crate) fn timestamp(timestamp: i64) -> Option<i64> {
    (timestamp != NO_TIMESTAMP).then_some(timestamp)
}

/// Bytes for people: as text if that does a terminal no harm, else in hexadecimal.
pub(crate) fn readable(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".into() };
    let shown = |c: char| !c.is_control() || c == '\n' || c == '\t';
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(shown) => text.to_owned(),
        _ => format!("0x{}", hex::encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let headers: [Header<'_>; 3] = [(b"h", None), (b"h", Some(b"")), (b"raw", Some(b"\xc3("))];
        let shown = Shown {
            to: None,
            partition: Some(3),
            offset: Some(1 << 40),
            timestamp: Some(-1),
            key: Bytes(Some(b"")),
            value: Bytes(Some(b"\xff\0")),
            headers: Headers(headers.into_iter()),
        };
        let line = Line::read(&serde_json::to_vec(&shown).unwrap(), false).unwrap().unwrap();
        assert_eq!((line.partition, line.offset, line.timestamp), (Some(3), Some(1 << 40), Some(-1)));
        assert_eq!((line.key.bytes(), line.value.bytes()), (Some(Vec::new()), Some(vec![255, 0])));
        let read: Vec<_> = line.headers.iter().map(|(name, value)| (name.as_str(), value.bytes())).collect();
        assert_eq!(read, [("h", None), ("h", Some(Vec::new())), ("raw", Some(b"\xc3(".to_vec()))]);
    }

    #[test]
    fn lines_are_strict_unless_they_are_raw() {
        assert!(Line::read(b" \t", false).unwrap().is_none());
        assert!(Line::read(br#"{"vlaue": 1}"#, false).unwrap_err().contains("unknown field `vlaue`"));
        assert!(Line::read(b"buy", false).unwrap_err().starts_with("expected value at column 1;"));
        assert!(Line::read(br#"{"to": "large"}"#, false).is_err(), "what goes to a named output is no input");
        let raw = Line::read(b"{\xff", true).unwrap().unwrap();
        assert_eq!(raw.value.bytes(), Some(b"{\xff".to_vec()));
    }

    #[test]
    fn bytes_are_shown_as_text_only_where_a_terminal_takes_no_harm() {
        assert_eq!(readable(Some(b"{\n}")), "{\n}");
        assert_eq!(readable(Some(b"\x1b[2J")), "0x1b5b324a");
        assert_eq!(readable(Some(b"\xff\x00")), "0xff00");
        assert_eq!((readable(None), readable(Some(b""))), ("null".into(), String::new()));
    }
}
