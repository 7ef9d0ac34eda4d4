//! From the tree to typed values, by serde, with errors that name the place and speak to the person who wrote the file.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::error::{ConfigError, Place, Text, nearest};
use super::tree::{Key, Kind, Node, Plain};

/// Turns the tree into a `T`.
///
/// # Errors
/// The first key or value that does not fit.
pub(crate) fn decode<T: DeserializeOwned>(source: &Text, root: &Node) -> Result<T, ConfigError> {
    T::deserialize(Value { node: root, owner: None }).map_err(|error| {
        let place = error.place.unwrap_or(root.place);
        source.error(Some(place), error.cause.to_string())
    })
}

#[derive(Debug)]
struct DecodeError {
    place: Option<Place>,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    UnknownKey { found: String, known: &'static [&'static str] },
    UnknownChoice { found: String, known: &'static [&'static str] },
    MissingKey { key: &'static str, within: Option<String> },
    Mismatch { expected: String, found: String },
    Unfit { expected: String, words: String },
    Other(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::UnknownKey { found, known } => write!(f, "unknown key '{found}'{}", nearest(found, known)),
            Cause::UnknownChoice { found, known } => {
                write!(f, "unknown value {found}{}", nearest(found.trim_matches('\''), known))
            }
            Cause::MissingKey { key, within: Some(within) } => write!(f, "'{within}' needs the key '{key}'"),
            Cause::MissingKey { key, within: None } => write!(f, "the key '{key}' is missing"),
            Cause::Mismatch { expected, found } => write!(f, "expected {expected}, found {found}"),
            Cause::Unfit { words, .. } | Cause::Other(words) => f.write_str(words),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for DecodeError {}

impl From<Cause> for DecodeError {
    fn from(cause: Cause) -> Self {
        DecodeError { place: None, cause }
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Cause::Other(message.to_string()).into()
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        // What was found is filled in from the tree, which knows how it was written.
        Cause::Mismatch { expected: in_plain_words(&expected.to_string()), found: String::new() }.into()
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        match found {
            de::Unexpected::Other(words) => {
                Cause::Unfit { expected: expected.to_string(), words: words.to_owned() }.into()
            }
            found => Self::invalid_type(found, expected),
        }
    }

    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(de::Unexpected::Seq, expected)
    }

    fn unknown_field(found: &str, known: &'static [&'static str]) -> Self {
        Cause::UnknownKey { found: found.to_owned(), known }.into()
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Cause::UnknownChoice { found: found.to_owned(), known }.into()
    }

    fn missing_field(key: &'static str) -> Self {
        Cause::MissingKey { key, within: None }.into()
    }
}

/// Serde's names of types, for readers who do not write Rust.
fn in_plain_words(expected: &str) -> String {
    let plain = match expected {
        "a string" | "string" | "str" => "text",
        "a boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        "i32" | "i64" => "an integer",
        "a sequence" => "a list",
        "a tuple of size 2" => "a list of 2",
        "a map" => "a mapping of keys to values",
        other if other.starts_with("struct ") => "a mapping of keys to values",
        other => other,
    };
    plain.to_owned()
}

/// A node on its way into a type; `owner` is the key under which it stands.
#[derive(Clone, Copy)]
struct Value<'a> {
    node: &'a Node,
    owner: Option<&'a Key>,
}

impl<'a> Value<'a> {
    /// Fills in what only the tree knows about an error.
    fn placed<T>(self, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        result.map_err(|mut error| {
            if error.place.is_some() {
                return error;
            }
            let mut place = self.node.place;
            match &mut error.cause {
                Cause::Mismatch { found, .. } => *found = self.node.describe(),
                Cause::UnknownChoice { found, .. } => *found = self.node.describe(),
                Cause::MissingKey { within, .. } => {
                    *within = self.owner.map(|key| key.name.clone());
                    place = self.owner.map_or(place, |key| key.place);
                }
                // An error in words of its own, as these two are, could quote the value.
                Cause::Unfit { expected, .. } if self.node.is_expanded() => {
                    let expected = std::mem::take(expected);
                    error.cause = Cause::Mismatch { expected, found: self.node.describe() };
                }
                Cause::Other(_) if self.node.is_expanded() => {
                    error.cause = Cause::Other(format!("the value of {} does not fit here", self.node.describe()));
                }
                Cause::Other(_) | Cause::Unfit { .. } | Cause::UnknownKey { .. } => {}
            }
            error.place = Some(place);
            error
        })
    }

    fn visit_map<V: Visitor<'a>>(self, entries: &'a [(Key, Node)], visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_map(Entries { entries, value: None })
    }

    /// The text of a scalar, whatever YAML sees in it.
    fn text(self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Plain { text, .. } | Kind::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Numbers are also taken from a quoted `"${WORKERS}"`, which flow style cannot do without.
    fn number<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let value = match &self.node.kind {
            Kind::Plain { value, .. } => Some(*value),
            Kind::Text { text, .. } if self.node.unexpanded.is_some() => Plain::of(text),
            _ => None,
        };
        self.placed(match value {
            Some(value) => visit_plain(value, visitor),
            None => Err(de::Error::invalid_type(de::Unexpected::Unit, &visitor)),
        })
    }
}

fn visit_plain<'a, V: Visitor<'a>>(value: Plain, visitor: V) -> Result<V::Value, DecodeError> {
    match value {
        Plain::Bool(value) => visitor.visit_bool(value),
        Plain::Unsigned(value) => visitor.visit_u64(value),
        Plain::Signed(value) => visitor.visit_i64(value),
        Plain::Float(value) => visitor.visit_f64(value),
    }
}

macro_rules! as_number {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.number(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.placed(match &self.node.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Plain { value, .. } => visit_plain(*value, visitor),
            Kind::Text { text, .. } => visitor.visit_borrowed_str(text),
            Kind::List(items) => visit_all(items, visitor),
            Kind::Mapping(entries) => self.visit_map(entries, visitor),
        })
    }

    as_number!(
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    );

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.placed(match self.text() {
            Some(text) => visitor.visit_borrowed_str(text),
            None => Err(de::Error::invalid_type(de::Unexpected::Unit, &visitor)),
        })
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.placed(match &self.node.kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.placed(match &self.node.kind {
            Kind::List(items) => visit_all(items, visitor),
            // A key whose entries are all commented out.
            Kind::Null => visit_all(&[], visitor),
            _ => Err(de::Error::invalid_type(de::Unexpected::Unit, &visitor)),
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.placed(match &self.node.kind {
            Kind::Mapping(entries) => self.visit_map(entries, visitor),
            Kind::Null => self.visit_map(&[], visitor),
            _ => Err(de::Error::invalid_type(de::Unexpected::Unit, &visitor)),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        self.placed(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let mismatch = || Cause::Mismatch { expected: format!("one of {}", known.join(", ")), found: String::new() };
        self.placed(match &self.node.kind {
            Kind::Plain { text, .. } | Kind::Text { text, .. } => {
                let name = IntoDeserializer::<DecodeError>::into_deserializer(text.as_str());
                visitor.visit_enum(name).map_err(|error| match error.cause {
                    Cause::Mismatch { .. } => {
                        Cause::Other(format!("'{text}' alone is not enough: what it needs stands below '{text}:'"))
                            .into()
                    }
                    _ => error,
                })
            }
            Kind::Mapping(entries) => match entries.as_slice() {
                [(key, node)] => visitor.visit_enum(Choice { key, node }),
                [] => Err(mismatch().into()),
                // A key that is none of them is the likelier slip than two of them.
                entries => match entries.iter().find(|(key, _)| !known.contains(&key.name.as_str())) {
                    Some((key, _)) => Err(unknown_key(key, known)),
                    None => Err(Cause::Other(format!("there can be only one of {} here", known.join(", "))).into()),
                },
            },
            _ => Err(mismatch().into()),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

fn unknown_key(key: &Key, known: &'static [&'static str]) -> DecodeError {
    DecodeError { place: Some(key.place), cause: Cause::UnknownKey { found: key.name.clone(), known } }
}

/// A visitor that wants a pair stops after two: what follows would be lost in silence.
fn visit_all<'a, V: Visitor<'a>>(items: &'a [Node], visitor: V) -> Result<V::Value, DecodeError> {
    let mut rest = Items { items: items.iter() };
    let value = visitor.visit_seq(&mut rest)?;
    match rest.items.len() {
        0 => Ok(value),
        left => {
            Err(Cause::Mismatch { expected: format!("a list of {}", items.len() - left), found: String::new() }.into())
        }
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        let Some(node) = self.items.next() else { return Ok(None) };
        let value = Value { node, owner: None };
        value.placed(seed.deserialize(value)).map(Some)
    }
}

struct Entries<'a> {
    entries: &'a [(Key, Node)],
    value: Option<(&'a Key, &'a Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DecodeError> {
        let Some(((key, node), rest)) = self.entries.split_first() else { return Ok(None) };
        self.entries = rest;
        self.value = Some((key, node));
        let name = de::value::BorrowedStrDeserializer::new(&key.name);
        let name_error = |error: DecodeError| DecodeError { place: Some(key.place), ..error };
        seed.deserialize(name).map(Some).map_err(name_error)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        let (key, node) = self.value.take().ok_or_else(|| Cause::Other("a value before its key".into()))?;
        let value = Value { node, owner: Some(key) };
        value.placed(seed.deserialize(value))
    }
}

/// A mapping of one entry whose key says which of several shapes follows.
struct Choice<'a> {
    key: &'a Key,
    node: &'a Node,
}

impl<'de> de::EnumAccess<'de> for Choice<'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), DecodeError> {
        let name = de::value::BorrowedStrDeserializer::new(&self.key.name);
        let variant = seed.deserialize(name).map_err(|error: DecodeError| match error.cause {
            Cause::UnknownChoice { known, .. } => unknown_key(self.key, known),
            _ => error,
        })?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Choice<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        let place = Some(self.key.place);
        Err(DecodeError { place, cause: Cause::Other(format!("'{}' takes nothing below it", self.key.name)) })
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, DecodeError> {
        let value = Value { node: self.node, owner: Some(self.key) };
        value.placed(seed.deserialize(value))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        Value { node: self.node, owner: Some(self.key) }.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, DecodeError> {
        Value { node: self.node, owner: Some(self.key) }.deserialize_map(visitor)
    }
}
