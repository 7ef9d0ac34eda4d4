//! A YAML file as a tree that remembers where each key and value stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::error::{ConfigError, Place, Text};

/// A value and its place.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    /// What the file says, where `${…}` in it has been replaced: errors and logs show this, never the value.
    pub(crate) unexpanded: Option<String>,
}

/// What a value is.
#[derive(Clone)]
pub(crate) enum Kind {
    Null,
    /// `text` is as written, for whoever wants a name where YAML sees a number.
    Plain {
        text: String,
        value: Plain,
    },
    /// Quoted, or a block, or plain and nothing but text.
    Text {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

/// What YAML sees in a scalar without quotes.
#[derive(Clone, Copy)]
pub(crate) enum Plain {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

/// A key and its place.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// The names and list indices that lead to a value.
pub(crate) type Path<'a> = &'a [&'a str];

impl Node {
    /// Reads YAML.
    ///
    /// # Errors
    /// What is no YAML, or says the same key twice.
    pub(crate) fn parse(source: &Text) -> Result<Node, ConfigError> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            with_snippet: false,
            reject_unsupported_tags: true,
        };
        let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(&source.text, options)
            .map_err(|error| yaml_error(source, error.without_snippet()))?;
        Ok(raw.node(&source.text))
    }

    /// The value at `path`, if it is there.
    pub(crate) fn get(&self, path: Path<'_>) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match &node.kind {
            Kind::Mapping(entries) => entries.iter().find(|(key, _)| key.name == *step).map(|(_, value)| value),
            Kind::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The place of the key at `path`; of the nearest one above where the file does not say it.
    pub(crate) fn place_of(&self, path: Path<'_>) -> Place {
        let Some((last, above)) = path.split_last() else { return self.place };
        let found = self.get(above).and_then(|node| match &node.kind {
            Kind::Mapping(entries) => entries.iter().find(|(key, _)| key.name == *last).map(|(key, _)| key.place),
            Kind::List(items) => items.get(last.parse::<usize>().ok()?).map(|item| item.place),
            _ => None,
        });
        found.unwrap_or_else(|| self.place_of(above))
    }

    /// Whether `${…}` was replaced in it or anywhere below.
    pub(crate) fn is_expanded(&self) -> bool {
        self.unexpanded.is_some()
            || match &self.kind {
                Kind::List(items) => items.iter().any(Node::is_expanded),
                Kind::Mapping(entries) => entries.iter().any(|(_, value)| value.is_expanded()),
                _ => false,
            }
    }

    /// What stands there, in a few words, as the file has it.
    pub(crate) fn describe(&self) -> String {
        match (&self.kind, &self.unexpanded) {
            (Kind::Plain { text, .. } | Kind::Text { text, .. }, unexpanded) => {
                let text = unexpanded.as_ref().unwrap_or(text);
                let more = text.chars().nth(60).map_or("", |_| "…");
                format!("'{}{more}'", text.chars().take(60).collect::<String>().escape_debug())
            }
            (Kind::Null, _) => "nothing".into(),
            (Kind::List(_), _) => "a list".into(),
            (Kind::Mapping(_), _) => "a mapping".into(),
        }
    }
}

impl Plain {
    /// What YAML sees in this text; none where it is nothing but text.
    pub(crate) fn of(text: &str) -> Option<Plain> {
        match text {
            "true" => Some(Plain::Bool(true)),
            "false" => Some(Plain::Bool(false)),
            // Rust would also read `inf` and `nan`.
            text if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => None,
            text => {
                let float = || text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Plain::Float);
                let signed = || text.parse().ok().map(Plain::Signed);
                text.parse().ok().map(Plain::Unsigned).or_else(signed).or_else(float)
            }
        }
    }
}

fn yaml_error(source: &Text, error: &serde_saphyr::Error) -> ConfigError {
    let place = error.location().map(place);
    let message = match error {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate key '{key}'"),
        serde_saphyr::Error::MultipleDocuments { .. } => "one file holds one document; this is a second one".into(),
        serde_saphyr::Error::Eof { .. } => "the file is empty".into(),
        error => return syntax_error(source, place, &error.to_string()),
    };
    source.error(place, message)
}

fn syntax_error(source: &Text, place: Option<Place>, message: &str) -> ConfigError {
    // The library ends its messages with the place, which ours begin with.
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    let error = source.error(place, message);
    let line = place.and_then(|place| source.line(place)).unwrap_or_default();
    if line.contains("${") {
        error.with_hint("between [ ] or { }, a value with ${…} needs quotes: \"${NAME}\"")
    } else if message.contains("placement of ':'") {
        error.with_hint("a quote, '[' or '{' may have been left open in a line above")
    } else {
        error
    }
}

fn place(location: Location) -> Place {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Place { line: narrow(location.line()), column: narrow(location.column()), length: narrow(location.span().len()) }
}

/// What serde-saphyr hands over, before the source text is at hand.
enum Raw {
    Null,
    Plain(Plain),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Mapping(Vec<(Spanned<String>, Spanned<Raw>)>),
}

trait IntoNode {
    fn node(self, source: &str) -> Node;
}

impl IntoNode for Spanned<Raw> {
    fn node(self, source: &str) -> Node {
        let span = self.defined.span();
        let start = span.byte_offset().unwrap_or(0) as usize;
        let end = start.saturating_add(span.byte_len().unwrap_or(0) as usize);
        let written = source.get(start..end).unwrap_or("").trim();
        let kind = match self.value {
            Raw::Null => Kind::Null,
            Raw::Plain(value) => Kind::Plain { text: written.to_owned(), value },
            Raw::Text(text) => Kind::Text { quoted: written != text, text },
            Raw::List(items) => Kind::List(items.into_iter().map(|item| item.node(source)).collect()),
            Raw::Mapping(entries) => Kind::Mapping(
                entries
                    .into_iter()
                    .map(|(key, value)| (Key { name: key.value, place: place(key.referenced) }, value.node(source)))
                    .collect(),
            ),
        };
        Node { place: place(self.referenced), kind, unexpanded: None }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(Plain::Bool(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(Plain::Unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(u64::try_from(value).map_or(Plain::Signed(value), Plain::Unsigned)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(Plain::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Mapping(entries))
    }
}
