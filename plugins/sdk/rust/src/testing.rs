//! Tests of a plugin without Wasm and without a runtime: `cargo test`.
//!
//! Records and outcomes go through the very columns that cross the boundary, and what comes back is checked as the
//! runtime checks it.
//!
//! ```
//! # mod plugin {
//! #     use sluicegate_plugin::prelude::*;
//! #     pub struct Shout;
//! #     impl Plugin for Shout {
//! #         type Config = NoConfig;
//! #         fn configure(_: NoConfig, _: &Outputs) -> Result<Self, Error> { Ok(Shout) }
//! #         fn process(&mut self, record: Record<'_>) -> Outcome {
//! #             let Some(value) = record.value() else { return Outcome::Pass };
//! #             record.emit().value(&value.to_ascii_uppercase()).done()
//! #         }
//! #     }
//! # }
//! # use plugin::Shout;
//! use sluicegate_plugin::testing::{Input, Outcome, run};
//!
//! let outcomes = run::<Shout>("{}", &[], [Input::new().key("k").value("hello"), Input::new()]).unwrap();
//! let Outcome::Emit(outputs) = &outcomes[0] else { panic!("emits") };
//! assert_eq!(outputs[0].value.as_deref(), Some(&b"HELLO"[..]));
//! assert_eq!(outputs[0].key.as_deref(), Some(&b"k"[..]));
//! assert_eq!(outcomes[1], Outcome::Pass);
//! ```

mod columns;

use crate::{Plugin, instance, metrics};

/// A header: its name, and its value or null.
pub type Header = (Vec<u8>, Option<Vec<u8>>);

/// A record to try a plugin with. It starts without key, headers and timestamp, as a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    topic: String,
    partition: u32,
    offset: Option<u64>,
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
}

impl Default for Input {
    fn default() -> Self {
        let topic = "test".to_owned();
        Input { topic, partition: 0, offset: None, timestamp: None, key: None, value: None, headers: Vec::new() }
    }
}

impl Input {
    /// A record of partition 0 of topic `test`.
    pub fn new() -> Self {
        Input::default()
    }

    /// Sets the topic.
    pub fn topic(self, topic: &str) -> Self {
        Input { topic: topic.to_owned(), ..self }
    }

    /// Sets the partition.
    pub fn partition(self, partition: u32) -> Self {
        Input { partition, ..self }
    }

    /// Sets the offset, which else is the record's number in the run.
    pub fn offset(self, offset: u64) -> Self {
        Input { offset: Some(offset), ..self }
    }

    /// Sets the timestamp, in milliseconds since the Unix epoch.
    pub fn timestamp(self, timestamp: i64) -> Self {
        Input { timestamp: Some(timestamp), ..self }
    }

    /// Sets the key.
    pub fn key(self, key: impl AsRef<[u8]>) -> Self {
        Input { key: Some(key.as_ref().to_vec()), ..self }
    }

    /// Sets the value.
    pub fn value(self, value: impl AsRef<[u8]>) -> Self {
        Input { value: Some(value.as_ref().to_vec()), ..self }
    }

    /// Adds a header; duplicates and nulls are allowed.
    pub fn header(mut self, key: &str, value: Option<&str>) -> Self {
        self.headers.push((key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec())));
        self
    }
}

/// What became of an [`Input`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is produced.
    Drop,
    /// It goes on as it came.
    Pass,
    /// These go on in its place.
    Emit(Vec<Output>),
    /// The plugin refuses it, for this reason.
    Reject(String),
}

/// A record that a plugin emitted, with all that it inherited filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The named output it takes; none is the default.
    pub to: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers, in order and with duplicates.
    pub headers: Vec<Header>,
}

/// Configures a plugin with JSON and the names of a pipeline's outputs, and runs records through it, in order.
///
/// # Errors
/// What `configure` says, as the runtime would show it.
///
/// # Panics
/// Where the plugin panics, or what it returns would be refused by the runtime.
pub fn run<P: Plugin>(
    config: &str,
    outputs: &[&str],
    inputs: impl IntoIterator<Item = Input>,
) -> Result<Vec<Outcome>, String> {
    let names: Vec<String> = outputs.iter().map(|name| (*name).to_owned()).collect();
    let mut plugin: P = instance::configure(config, names.clone())?;
    let inputs: Vec<Input> = inputs.into_iter().collect();
    let mut outcomes = Vec::with_capacity(inputs.len());
    // A batch is of one partition: a change of partition begins another, as it does in the runtime.
    for inputs in inputs.chunk_by(|a, b| (&a.topic, a.partition) == (&b.topic, b.partition)) {
        let batch = columns::batch(inputs, outcomes.len());
        let returned = instance::process(&mut plugin, &batch);
        outcomes.extend(columns::read(inputs, &names, &returned));
    }
    Ok(outcomes)
}

/// The JSON Schema of the plugin's configuration, as the runtime gets it.
pub fn schema<P: Plugin>() -> String {
    instance::schema::<P>()
}

/// What was counted on this thread since the last call, by name.
pub fn counts() -> Vec<(&'static str, u64)> {
    let mut counts = Vec::new();
    metrics::flush(|name, sum| counts.push((name, sum)));
    counts.sort_unstable();
    counts
}
