//! The format of case files: records, and what a plugin is to make of them.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Map, Value};
use sluicegate_core::FailureKind;

use crate::config::{self, Capability, ConfigError, Limits};
pub use crate::record::Datum;

/// The topic of records that do not name one.
pub const TOPIC: &str = "test";

/// Cases of one plugin under one configuration. They run in order in one instance, which is replaced after a failure.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CaseFile {
    /// The file itself.
    #[serde(skip)]
    pub file: PathBuf,
    plugin: Option<PathBuf>,
    /// The plugin's configuration.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// The names of outputs, in the order in which the plugin numbers them.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// What the plugin may use up.
    #[serde(default)]
    pub limits: Limits,
    /// What the plugin sees of the machine, as a stage's `allow`.
    #[serde(default)]
    pub allow: Vec<Capability>,
    /// The cases, at least one.
    #[serde(deserialize_with = "some")]
    pub cases: Vec<Case>,
}

/// A record, and what the plugin is to make of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case shows.
    pub name: Option<String>,
    /// The record.
    #[serde(default)]
    pub record: RecordSpec,
    /// What the plugin is to make of it.
    pub expect: Expect,
}

/// A record as a file gives it; all of it may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordSpec {
    /// Null by default.
    pub key: Datum,
    /// Null by default: a tombstone.
    pub value: Datum,
    /// Pairs of name and value, in order.
    pub headers: Vec<(String, Datum)>,
    /// Milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// [`TOPIC`] by default.
    pub topic: Option<String>,
    /// 0 by default.
    pub partition: u32,
    /// The number of the case in its file by default.
    pub offset: Option<u64>,
}

/// What a plugin is to make of a record.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// The record goes on as it came.
    Pass,
    /// Nothing goes on.
    Drop,
    /// These go on in its place.
    Emit(Vec<OutputSpec>),
    /// The plugin refuses the record, and its reason contains this text.
    Reject(String),
    /// The call fails.
    Fail(FailSpec),
}

/// An output; what is left out is as in the record, and goes to the default output.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSpec {
    /// The name of the output.
    pub to: Option<String>,
    /// The key.
    #[serde(deserialize_with = "said")]
    pub key: Option<Datum>,
    /// The value.
    #[serde(deserialize_with = "said")]
    pub value: Option<Datum>,
    /// All headers.
    pub headers: Option<Vec<(String, Datum)>>,
    /// Null is none.
    #[serde(deserialize_with = "said")]
    pub timestamp: Option<Option<i64>>,
}

/// The ways to fail that a case can expect.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailSpec {
    /// The plugin crashes.
    Trap,
    /// The call takes longer than `limits.deadline`.
    Deadline,
    /// The plugin asks for more than `limits.memory`.
    Memory,
    /// The answer contradicts itself.
    Malformed,
    /// The answer is larger than the limits allow.
    TooMuchOutput,
}

impl FailSpec {
    pub(super) fn kind(self) -> FailureKind {
        match self {
            FailSpec::Trap => FailureKind::Trap,
            FailSpec::Deadline => FailureKind::Deadline,
            FailSpec::Memory => FailureKind::Memory,
            FailSpec::Malformed => FailureKind::Malformed,
            FailSpec::TooMuchOutput => FailureKind::TooMuchOutput,
        }
    }
}

fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Case>, D::Error> {
    let cases = Vec::deserialize(deserializer)?;
    if cases.is_empty() {
        return Err(D::Error::custom("there are no cases: nothing would be tested"));
    }
    Ok(cases)
}

/// Tells a null that is said from a key that is left out.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl CaseFile {
    /// Reads a case file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn load(file: &Path) -> Result<CaseFile, ConfigError> {
        Ok(CaseFile { file: file.to_owned(), ..config::load_other(file)? })
    }

    /// The name of a case, or its number.
    pub(super) fn case_name(&self, index: usize) -> String {
        self.cases[index].name.clone().unwrap_or_else(|| format!("case {}", index + 1))
    }

    /// The plugin's configuration as the JSON object that it is given.
    pub fn config_json(&self) -> String {
        Value::Object(self.config.clone()).to_string()
    }

    /// The plugin under test: the one given, else the one that the file names, else the only `.wasm` in the project's
    /// folder, where `sluicegate build` puts it.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn plugin(&self, given: Option<&Path>) -> Result<PathBuf, ConfigError> {
        let folder = config::folder_of(&self.file);
        if let Some(plugin) = given {
            return Ok(plugin.to_owned());
        }
        if let Some(plugin) = &self.plugin {
            return Ok(folder.join(plugin));
        }
        let project = match folder.file_name() {
            Some(name) if name == "cases" => config::folder_of(&folder),
            _ => folder,
        };
        let mut plugins = with_extension(&project, &["wasm"]);
        let shown = project.display();
        match (plugins.pop(), plugins.is_empty()) {
            (Some(plugin), true) => Ok(plugin),
            (None, _) => Err(ConfigError::of_file(&self.file, format!("there is no plugin to test in {shown}"))
                .with_hint("run 'sluicegate build' first, or name one by 'plugin:' or --plugin")),
            _ => Err(ConfigError::of_file(&self.file, format!("there are several plugins in {shown}"))
                .with_hint("name one by 'plugin:' or --plugin")),
        }
    }
}

/// The case files at `path`: the file itself, or all of a folder, or of its folder `cases`.
///
/// # Errors
/// There is none.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !path.exists() {
        return Err(ConfigError::of_file(path, "no such file or folder"));
    }
    let cases = path.join("cases");
    let folder = if cases.is_dir() { cases } else { path.to_owned() };
    let files = with_extension(&folder, &["yaml", "yml"]);
    match files.is_empty() {
        true => Err(ConfigError::of_file(&folder, "there are no case files (*.yaml)")),
        false => Ok(files),
    }
}

fn with_extension(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension)))
        .collect();
    files.sort();
    files
}
