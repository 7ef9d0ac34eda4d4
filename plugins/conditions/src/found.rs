use std::borrow::Cow;
use std::cmp::Ordering;

use serde::Deserialize;

/// What a subject was found to be, borrowed from the record.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'a> {
    /// A null key or header, or JSON's `null`.
    Null,
    /// JSON's `true` or `false`.
    Bool(bool),
    /// A JSON number, as it was written.
    Number(&'a str),
    /// A JSON string, without its escapes.
    Text(Cow<'a, str>),
    /// The bytes of a key or a header, which may be text, and a number as text.
    Bytes(&'a [u8]),
    /// A JSON object or list.
    Nested(&'a str),
}

/// A JSON string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Unescaped<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Found<'a> {
    /// From a piece of valid JSON text.
    pub fn json(raw: &'a str) -> Self {
        match raw.as_bytes().first() {
            Some(b'n') => Found::Null,
            Some(b't') => Found::Bool(true),
            Some(b'f') => Found::Bool(false),
            Some(b'{' | b'[') => Found::Nested(raw),
            Some(b'"') => match serde_json::from_str(raw) {
                Ok(Unescaped(text)) => Found::Text(text),
                // A lone surrogate: JSON, but no text. It equals nothing that can be written in a configuration.
                Err(_) => Found::Nested(raw),
            },
            _ => Found::Number(raw),
        }
    }

    /// From a key or a header's value.
    pub fn bytes(bytes: Option<&'a [u8]>) -> Self {
        bytes.map_or(Found::Null, Found::Bytes)
    }

    /// The bytes that a regex sees: text without quotes, anything else as it was written.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Found::Null => b"null",
            Found::Bool(true) => b"true",
            Found::Bool(false) => b"false",
            Found::Number(raw) | Found::Nested(raw) => raw.as_bytes(),
            Found::Text(text) => text.as_bytes(),
            Found::Bytes(bytes) => bytes,
        }
    }

    /// The number it is: one of JSON, or a key or header that reads as one. A JSON string is no number.
    pub fn number(&self) -> Option<Number> {
        match self {
            Found::Number(raw) => Number::parse(raw),
            Found::Bytes(bytes) => Number::parse(std::str::from_utf8(bytes).ok()?),
            _ => None,
        }
    }
}

/// A number to compare with: exact for integers, so that large ids are told apart, else a double.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// An integer of at most 127 bits.
    Integer(i128),
    /// Any other.
    Double(f64),
}

impl Number {
    /// From decimal text; none if it is not a number, or one that is not finite.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(integer) = text.parse() {
            return Some(Number::Integer(integer));
        }
        text.parse().ok().filter(|double: &f64| double.is_finite()).map(Number::Double)
    }

    fn as_double(self) -> f64 {
        match self {
            Number::Integer(integer) => integer as f64,
            Number::Double(double) => double,
        }
    }

    /// Less, equal or greater.
    pub fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => a.cmp(&b),
            // Zero has two signs, and either equals the other.
            (a, b) => a.as_double().partial_cmp(&b.as_double()).unwrap_or(Ordering::Equal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_text_is_told_apart_by_its_first_byte() {
        assert_eq!(Found::json("null"), Found::Null);
        assert_eq!(Found::json("true"), Found::Bool(true));
        assert_eq!(Found::json("-1.5e3"), Found::Number("-1.5e3"));
        assert_eq!(Found::json(r#""a""#), Found::Text(Cow::Borrowed("a")));
        assert_eq!(Found::json(r#""\u0061\n""#), Found::Text(Cow::Borrowed("a\n")));
        assert_eq!(Found::json("[1]"), Found::Nested("[1]"));
    }

    #[test]
    fn numbers_compare_by_what_they_are() {
        let compare = |a, b| Number::parse(a).unwrap().compare(Number::parse(b).unwrap());
        assert_eq!(compare("9007199254740993", "9007199254740992"), Ordering::Greater);
        assert_eq!(compare("10", "10.0"), Ordering::Equal);
        assert_eq!(compare("1e3", "999.5"), Ordering::Greater);
        assert_eq!(compare("-2", "-1"), Ordering::Less);
        assert_eq!(compare("-0.0", "0"), Ordering::Equal);
        assert_eq!(compare("0.0", "-0.0"), Ordering::Equal);
        assert!(Number::parse("NaN").is_none() && Number::parse("x").is_none() && Number::parse("").is_none());
    }
}
