//! A pipeline's file: `text → tree (with places) → ${…} expanded → typed → defaults filled in → checked`.
//!
//! Every error of every step is a [`ConfigError`] with a place. Nothing is looked at but the file itself and what its
//! `${…}` name.

mod admin;
mod alone;
mod check;
mod decode;
mod defaults;
mod endpoint;
mod error;
mod expand;
mod id_header;
mod origin;
mod pipeline;
mod quantity;
mod secret;
#[cfg(test)]
mod tests;
mod topics;
mod tree;
mod trust;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use admin::{Admin, AdminTls};
pub use endpoint::{
    KafkaSink, KafkaSource, LocalSink, LocalSource, OnMissingOffset, Outputs, Partitioning, Sink, Source,
};
pub use error::{ConfigError, Place};
pub(crate) use expand::expand_text;
pub use expand::{Process, Surroundings};
pub use id_header::IdHeader;
pub use origin::Origin;
pub use pipeline::{
    BatchLimits, Capability, Commit, DeadLetter, Delivery, Exception, Kinds, Limits, OnFailure, Pipeline, Reload,
    Stage, Then,
};
pub use quantity::{Digest, Size, Start, Time};
pub(crate) use quantity::{address, parsed, unix_ms};
pub use secret::{PluginConfig, Properties, Secret, is_secret_name};
pub use trust::{Trust, TrustedKey};

use crate::files;
use error::Text;
use tree::Node;

/// The longest file that is read.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads, expands and checks the pipeline in this file.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn load(file: &Path) -> Result<Pipeline, ConfigError> {
    parse(&read(file)?, file, &Process)
}

/// Expands and checks the pipeline in this text. `file` gives its name and the folder at which relative paths start.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str, file: &Path, surroundings: &dyn Surroundings) -> Result<Pipeline, ConfigError> {
    let source = Arc::new(Text::of(text, file));
    let folder = folder_of(file);
    let root = tree(&source, &folder, surroundings)?;
    let mut pipeline: Pipeline = decode::decode(&source, &root)?;
    defaults::fill_in(&mut pipeline, &root, &source);
    check::check(&pipeline, &check::Checked { source: &source, root: &root })?;
    defaults::resolve_paths(&mut pipeline, &folder);
    Ok(pipeline)
}

/// The JSON Schema of a pipeline's file.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Pipeline).to_value();
    forget_computed_defaults(&mut schema);
    schema
}

/// Reads any other YAML file that a person writes, with the same errors; `${…}` stays as it is.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn load_other<T: DeserializeOwned>(file: &Path) -> Result<T, ConfigError> {
    parse_other(&read(file)?, file)
}

/// As [`load_other`], of a text.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse_other<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, ConfigError> {
    let source = Text::of(text, file);
    decode::decode(&source, &checked_tree(&source)?)
}

/// Where keys and values stand in a YAML file.
pub(crate) struct Places(Node);

impl Places {
    /// Reads the file's text.
    ///
    /// # Errors
    /// It is no YAML.
    pub(crate) fn read(text: &str, file: &Path) -> Result<Places, ConfigError> {
        checked_tree(&Text::of(text, file)).map(Places)
    }

    /// The place of the key that this path leads to.
    pub(crate) fn of_key(&self, path: &[&str]) -> Option<Place> {
        self.0.get(path).map(|_| self.0.place_of(path))
    }

    /// The place where the value begins that this path leads to.
    pub(crate) fn of_value(&self, path: &[&str]) -> Option<Place> {
        self.0.get(path).map(|node| node.place)
    }
}

/// The folder at which relative paths in this file start.
pub fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn read(file: &Path) -> Result<String, ConfigError> {
    let bytes = read_bounded(file).map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => {
                let folder = std::path::absolute(folder_of(file)).unwrap_or_else(|_| folder_of(file));
                format!("no such file (looked in {})", folder.display())
            }
            _ => format!("cannot read it: {error}"),
        };
        ConfigError::of_file(file, message)
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError::of_file(file, format!("line {line} is not UTF-8 text; save the file as UTF-8"))
    })
}

/// Reads a file that must not be longer than [`FILE_BYTES_MAX`].
fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    files::read(file, FILE_BYTES_MAX).map_err(|error| match error.kind() {
        kind @ io::ErrorKind::FileTooLarge => {
            io::Error::new(kind, format!("it is longer than {}", Size(FILE_BYTES_MAX)))
        }
        _ => error,
    })
}

impl Text {
    fn of(text: &str, file: &Path) -> Self {
        // Some editors begin a file with this mark; YAML allows it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Text { file: file.display().to_string(), text: text.to_owned() }
    }
}

fn checked_tree(source: &Text) -> Result<Node, ConfigError> {
    let is_empty = source.text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if is_empty {
        return Err(source.error(None, "the file is empty"));
    }
    Node::parse(source)
}

fn tree(source: &Text, folder: &Path, surroundings: &dyn Surroundings) -> Result<Node, ConfigError> {
    let mut root = checked_tree(source)?;
    expand::expand(&mut root, source, folder, surroundings)?;
    Ok(root)
}

/// Removes the defaults that stand for "depends on other keys", which [`defaults::fill_in`] replaces.
fn forget_computed_defaults(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let below_least = |default: &Value| default.as_u64() < map.get("minimum").and_then(Value::as_u64);
            if map
                .get("default")
                .is_some_and(|value| value.is_null() || value == "" || value.is_number() && below_least(value))
            {
                map.remove("default");
            }
            map.values_mut().for_each(forget_computed_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_computed_defaults),
        _ => {}
    }
}
