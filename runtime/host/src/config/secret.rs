//! What must not show in logs, errors and `Debug`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::{Map, Value};

const HIDDEN: &str = "<hidden>";

/// Whether a key of this name is likely to hold a secret.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["password", "passwd", "passphrase", "secret", "token", "credential", "jaas"];
    // `key` alone is a record's key; `api-key` and `ssl.key.pem` are something else.
    let is_key = name != "key" && name.split(['.', '-', '_']).any(|part| part == "key" || part == "apikey");
    is_key || words.iter().any(|word| name.contains(word))
}

/// Whether a line of YAML gives a key that is likely to hold a secret.
pub(super) fn mentions_secret(line: &str) -> bool {
    let before = line.match_indices(':').filter_map(|(at, _)| line.get(..at));
    let last_word = |text: &str| {
        text.rsplit([' ', '{', ',', '"', '\'', '\t']).find(|word| !word.is_empty()).is_some_and(is_secret_name)
    };
    before.into_iter().any(last_word)
}

/// A text that nobody is to see: neither `Debug` nor anything else shows it.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Properties of a client library. `Debug` hides the values that came from the environment or a file, and those whose
/// names speak of secrets.
#[derive(Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Properties {
    #[schemars(with = "BTreeMap<String, Scalar>")]
    values: BTreeMap<String, String>,
    #[schemars(skip)]
    expanded: BTreeSet<String>,
}

/// For the schema: properties are text to the library, and YAML's numbers and booleans are as good.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum Scalar {
    Text(String),
    Number(f64),
    Bool(bool),
}

impl Properties {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All of them, as a client library takes them.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.values.clone()
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Marks the value of this name as a secret.
    pub(super) fn hide(&mut self, name: &str) {
        self.expanded.insert(name.to_owned());
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Properties { values: BTreeMap::deserialize(deserializer)?, expanded: BTreeSet::new() })
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.values.iter().map(|(name, value)| {
            let hidden = is_secret_name(name) || self.expanded.contains(name);
            (name, if hidden { HIDDEN } else { value })
        });
        f.debug_map().entries(shown).finish()
    }
}

/// The configuration of a plugin: a JSON object. `Debug` hides all of it where some of it came from the environment or
/// a file, and otherwise the values whose names speak of secrets.
#[derive(Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PluginConfig {
    value: Map<String, Value>,
    #[serde(skip)]
    expanded: bool,
}

impl PluginConfig {
    /// The JSON that the plugin is configured with.
    pub fn to_json(&self) -> String {
        Value::Object(self.value.clone()).to_string()
    }

    /// The JSON object.
    pub fn object(&self) -> &Map<String, Value> {
        &self.value
    }

    /// Marks the whole as a secret.
    pub(super) fn hide(&mut self) {
        self.expanded = true;
    }
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.expanded {
            return f.write_str(HIDDEN);
        }
        let mut shown = Value::Object(self.value.clone());
        redact(&mut shown);
        write!(f, "{shown}")
    }
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(name, value)| match is_secret_name(name) {
            true => *value = HIDDEN.into(),
            false => redact(value),
        }),
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}
