//! The same plugin in each language: made by `sluicegate new`, with the source of `benches/languages`, and built by
//! `sluicegate build`, as its author would.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use sluicegate_core::{Batch, Outcomes, PASS};
use sluicegate_tests::build::project;
use sluicegate_tests::languages::{build, once_for, sdk};
use sluicegate_tests::program::sluicegate;

/// A language that plugins are written in.
pub struct Language {
    /// What `sluicegate new` calls it.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// Where the plugin is in its project.
    source: &'static str,
    /// A line that changes nothing.
    comment: &'static str,
}

/// All that have an SDK.
pub const LANGUAGES: [Language; 5] = [
    Language { name: "rust", title: "Rust", source: "src/lib.rs", comment: "//" },
    Language { name: "c", title: "C", source: "plugin.c", comment: "//" },
    Language { name: "go", title: "Go", source: "plugin.go", comment: "//" },
    Language { name: "python", title: "Python", source: "plugin.py", comment: "#" },
    Language { name: "js", title: "JavaScript", source: "plugin.js", comment: "//" },
];

/// A plugin that was built.
pub struct Built {
    /// The component.
    pub file: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// How long `sluicegate build` takes after a change, with all that it fetches already there.
    pub took: Duration,
}

impl Language {
    /// Makes the project in a new folder of `parent`, and builds it twice.
    ///
    /// # Errors
    /// A tool of the language is missing, or the plugin does not build.
    pub fn build(&self, parent: &Path) -> Result<Built> {
        let folder = self.make(parent)?;
        build(&folder)?;
        let file = folder.join(self.component_name());
        let mut source = OpenOptions::new().append(true).open(folder.join(self.source))?;
        writeln!(source, "{} changed", self.comment)?;
        let began = Instant::now();
        build(&folder)?;
        let took = began.elapsed();
        Ok(Built { bytes: file.metadata()?.len(), file, took })
    }

    /// The component, built if the cache has none of these sources.
    ///
    /// # Errors
    /// As of [`Language::build`].
    pub fn component(&self) -> Result<PathBuf> {
        let name = self.component_name();
        let built = once_for("bench", self.name, &self.sources(), |made| {
            let parent = tempfile::tempdir()?;
            let folder = self.make(parent.path())?;
            build(&folder)?;
            Ok(fs::copy(folder.join(&name), made.join(&name)).map(drop)?)
        })?;
        Ok(built.join(name))
    }

    fn component_name(&self) -> String {
        format!("bench-{}.wasm", self.name)
    }

    fn sources(&self) -> PathBuf {
        project().join("benches/languages").join(self.name)
    }

    fn make(&self, parent: &Path) -> Result<PathBuf> {
        let (name, sdk) = (format!("bench-{}", self.name), sdk(self.name));
        let new = ["new".as_ref(), self.name.as_ref(), name.as_ref(), "--sdk".as_ref(), sdk.as_os_str()];
        let made = sluicegate(new)?.folder(parent).run()?;
        ensure!(made.code == Some(0), "{made:?}");
        let folder = parent.join(name);
        let source = self.sources().join(self.source);
        fs::copy(&source, folder.join(self.source)).with_context(|| source.display().to_string())?;
        if self.name == "rust" {
            let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
            let needs = manifest.replace("[dependencies]\n", "[dependencies]\nserde_json = \"1\"\n");
            fs::write(folder.join("Cargo.toml"), needs)?;
        }
        Ok(folder)
    }
}

/// What the plugin does with every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Passes it on.
    Pass,
    /// Writes the value in capitals.
    Rewrite,
    /// Parses the value, changes a field, and writes it.
    Json,
}

impl Task {
    /// All of them.
    pub const ALL: [Task; 3] = [Task::Pass, Task::Rewrite, Task::Json];

    /// The plugin's configuration for it.
    pub fn config(self) -> String {
        format!("{{\"task\":\"{}\"}}", format!("{self:?}").to_lowercase())
    }

    /// Whether this was done to all records of the batch.
    ///
    /// # Errors
    /// What was done instead.
    pub fn verify(self, batch: &Batch, outcomes: &Outcomes) -> Result<()> {
        let outcome = if self == Task::Pass { PASS } else { 1 };
        ensure!(outcomes.outcomes.iter().all(|each| *each == outcome), "{self:?}: {:?}", outcomes.outcomes);
        ensure!(outcomes.outcomes.len() == batch.len(), "{self:?}: {} outcomes", outcomes.outcomes.len());
        if self == Task::Pass {
            return Ok(());
        }
        let mut written = outcomes.values.cursor();
        for row in batch.rows() {
            let before = row.value.context("a value")?;
            let after = written.next().context("a value")?.or(None).context("a value")?;
            ensure!(self.is_done(before, after)?, "{self:?}: {}", String::from_utf8_lossy(after));
        }
        Ok(())
    }

    fn is_done(self, before: &[u8], after: &[u8]) -> Result<bool> {
        if self == Task::Rewrite {
            return Ok(after == before.to_ascii_uppercase());
        }
        let mut expected: Value = serde_json::from_slice(before)?;
        expected["symbol"] = "ACME".into();
        let found: Value = serde_json::from_slice(after).map_err(|error| anyhow!("{error}"))?;
        Ok(found == expected)
    }

    /// The same in the host's own code, without a plugin.
    pub fn natively(self, batch: &Batch, outcomes: &mut Outcomes) {
        for row in batch.rows() {
            let value = row.value.unwrap_or_default();
            match self {
                Task::Pass => outcomes.outcomes.push(PASS),
                Task::Rewrite => emit(outcomes, &value.to_ascii_uppercase()),
                Task::Json => {
                    let mut json: Value = serde_json::from_slice(value).unwrap_or_default();
                    json["symbol"] = "ACME".into();
                    emit(outcomes, json.to_string().as_bytes());
                }
            }
        }
    }
}

fn emit(outcomes: &mut Outcomes, value: &[u8]) {
    outcomes.outcomes.push(1);
    outcomes.keys.lengths.push(sluicegate_core::INHERIT);
    outcomes.values.push(Some(value));
}
