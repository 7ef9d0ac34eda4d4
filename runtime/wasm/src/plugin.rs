use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::artifact::{Artifact, ArtifactError};
use crate::bindings::common::exports::sluicegate::plugin::lifecycle;
use crate::compile::{Code, compile};
use crate::engine::{Engine, one_line};
use crate::failure::classify_start;
use crate::guest::{self, Broken, Guest};
use crate::host::Setting;
use crate::host::log::Labels;
use crate::instance::InstanceLimits;
use crate::redpanda;
use crate::words::clean;

/// No option raises the limit on a plugin's file above this, in bytes.
pub const FILE_BYTES_MAX: u64 = 128 << 20;
const NAME_BYTES_MAX: usize = 128;
const VERSION_BYTES_MAX: usize = 64;
const SUMMARY_BYTES_MAX: usize = 1 << 10;
const SCHEMA_BYTES_MAX: usize = 1 << 20;
/// `describe` runs under the usual limits, but interpreters may need more memory to start than a stage grants later.
const DESCRIBE_MEMORY_BYTES: usize = 256 << 20;

/// How to load a plugin.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The largest file to read, in bytes; [`FILE_BYTES_MAX`] at most.
    pub file_size_max: u64,
    /// How long compilation may take. Interpreted languages bring their interpreter, which takes seconds once; with a
    /// cache directory, once a machine.
    pub compile_time_max: Duration,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { file_size_max: 32 << 20, compile_time_max: Duration::from_secs(60) }
    }
}

/// What a plugin says of itself, with control characters escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does, in a line.
    pub summary: String,
    /// JSON Schema (2020-12) of its configuration, unparsed.
    pub config_schema: Option<String>,
}

/// Why a plugin cannot be loaded: one line each, with what is wrong and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read plugin {}: {reason}{}", path.display(), remedy(reason))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The file is larger than allowed.
    #[error(
        "the file has {size} bytes; the limit on a plugin's file is {max} (and never more than {FILE_BYTES_MAX}): build it without debug information, or raise limits.file-size"
    )]
    TooLarge {
        /// The file's size, in bytes.
        size: u64,
        /// The limit, in bytes.
        max: u64,
    },
    /// The bytes are not a plugin.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The compiler refuses the component.
    #[error("does not compile: {0}")]
    Compile(String),
    /// Compilation takes too long.
    #[error("compiling takes longer than {max:?}: make the plugin smaller, or raise limits.compile-time")]
    CompileTime {
        /// The limit.
        max: Duration,
    },
    /// Imports or exports have the right names and the wrong types.
    #[error(
        "does not fit plugin.wit: {0}: rebuild it against the version of the contract that its imports and exports name"
    )]
    Link(String),
    /// The functions of a transform for Redpanda have the right names and the wrong types, or are not there.
    #[error(
        "does not fit version 2 of Redpanda's ABI: {0}: build it with Redpanda's SDK, as a command for wasm32-wasip1"
    )]
    Redpanda(String),
    /// It cannot even say what it is.
    #[error("fails on describe: {0}")]
    Describe(String),
}

/// A plugin, checked, compiled and pre-linked: cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<Inner>,
}

struct Inner {
    artifact: Artifact,
    description: Description,
    linked: Linked,
    /// Whether an instance of it was ever ready to process records.
    ever_started: AtomicBool,
    /// Keeps the clock of deadlines going.
    _engine: Engine,
}

/// Everything that the instances of a plugin share.
pub(crate) enum Linked {
    Component(guest::Linked),
    Redpanda(redpanda::Linked),
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("artifact", &self.inner.artifact)
            .field("description", &self.inner.description)
            .finish()
    }
}

impl Plugin {
    /// Reads and loads a file; see [`Plugin::load`].
    ///
    /// # Errors
    /// As [`Plugin::load`], and where the file cannot be read.
    pub fn open(engine: &Engine, path: &Path, options: &LoadOptions) -> Result<Plugin, LoadError> {
        Plugin::load(engine, Plugin::read(path, options)?, options)
    }

    /// Reads a file, for [`Plugin::load`].
    ///
    /// # Errors
    /// It cannot be read, or is larger than allowed.
    pub fn read(path: &Path, options: &LoadOptions) -> Result<Vec<u8>, LoadError> {
        let fail = |reason| LoadError::Read { path: path.to_owned(), reason };
        let file = std::fs::File::open(path).map_err(fail)?;
        check_size(file.metadata().map_err(fail)?.len(), options)?;
        let mut bytes = Vec::new();
        // One byte more than allowed, if the file has grown meanwhile or is no plain file.
        file.take(file_size_max(options) + 1).read_to_end(&mut bytes).map_err(fail)?;
        check_size(bytes.len() as u64, options)?;
        Ok(bytes)
    }

    /// Checks, compiles and links a plugin, and asks it once what it is. Takes 50 ms, or some ten seconds for a large
    /// interpreter that is not in the cache: not for a worker's thread, nor for a tokio task.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(engine: &Engine, bytes: Vec<u8>, options: &LoadOptions) -> Result<Plugin, LoadError> {
        check_size(bytes.len() as u64, options)?;
        let artifact = Artifact::read(&bytes)?;
        let (linked, description) = match compile(engine, &artifact, bytes, options.compile_time_max)? {
            Code::Component(component) => {
                let linked = guest::Linked::new(engine, &component, artifact.interface);
                let linked = linked.map_err(|error| LoadError::Link(one_line(&error)))?;
                let description = describe(&linked, &artifact)?;
                (Linked::Component(linked), description)
            }
            Code::Module(module) => {
                let linked = redpanda::Linked::new(engine, &module);
                let linked = linked.map_err(|error| LoadError::Redpanda(one_line(&error)))?;
                (Linked::Redpanda(linked), check_description(redpanda::describe(&module, &artifact))?)
            }
        };
        let (ever_started, engine) = (AtomicBool::new(false), engine.clone());
        Ok(Plugin { inner: Arc::new(Inner { artifact, description, linked, ever_started, _engine: engine }) })
    }

    /// What the plugin says of itself.
    pub fn description(&self) -> &Description {
        &self.inner.description
    }

    /// What its file says: digest, size, interface, imports, exports, producers.
    pub fn artifact(&self) -> &Artifact {
        &self.inner.artifact
    }

    pub(crate) fn linked(&self) -> &Linked {
        &self.inner.linked
    }

    /// Whether an instance of it was ever ready to process records, on whichever thread.
    pub(crate) fn ever_started(&self) -> bool {
        self.inner.ever_started.load(Relaxed)
    }

    pub(crate) fn note_start(&self) {
        self.inner.ever_started.store(true, Relaxed);
    }
}

fn remedy(reason: &std::io::Error) -> &'static str {
    match reason.kind() {
        std::io::ErrorKind::NotFound => "; build it first, e.g. with `sluicegate build`, or mend the path",
        _ => "",
    }
}

fn file_size_max(options: &LoadOptions) -> u64 {
    options.file_size_max.min(FILE_BYTES_MAX)
}

fn check_size(size: u64, options: &LoadOptions) -> Result<(), LoadError> {
    let max = file_size_max(options);
    if size > max { Err(LoadError::TooLarge { size, max }) } else { Ok(()) }
}

/// Runs `describe` in an instance that is thrown away.
fn describe(linked: &guest::Linked, artifact: &Artifact) -> Result<Description, LoadError> {
    let limits = InstanceLimits { memory_bytes: DESCRIBE_MEMORY_BYTES, ..InstanceLimits::default() };
    let labels = Labels { plugin: artifact.digest[..12].to_owned(), ..Labels::default() };
    let fail =
        |Broken { error, mut state }| LoadError::Describe(classify_start(&error, &mut state, &limits).to_string());
    let mut guest =
        Guest::start(linked, &limits, Setting { labels: Arc::new(labels), ..Setting::default() }).map_err(fail)?;
    match guest.describe() {
        Ok(description) => check_description(description),
        Err(error) => Err(fail(guest.break_with(error))),
    }
}

fn check_description(said: lifecycle::Description) -> Result<Description, LoadError> {
    let lifecycle::Description { name, version, summary, config_schema } = said;
    if name.trim().is_empty() {
        return Err(LoadError::Describe("it has no name".into()));
    }
    if config_schema.as_ref().is_some_and(|schema| schema.len() > SCHEMA_BYTES_MAX) {
        return Err(LoadError::Describe(format!("its config-schema has more than {SCHEMA_BYTES_MAX} bytes")));
    }
    Ok(Description {
        name: clean(&name, NAME_BYTES_MAX),
        version: clean(&version, VERSION_BYTES_MAX),
        summary: clean(&summary, SUMMARY_BYTES_MAX),
        config_schema,
    })
}
