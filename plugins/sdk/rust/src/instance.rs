use crate::bindings::exports::sluicegate::plugin::batch_transform::{Batch, Outcomes};
use crate::bindings::exports::sluicegate::plugin::lifecycle::Description;
use crate::columns::Writer;
use crate::record::{Inputs, Record};
use crate::{Outcome, Outputs, Plugin};

/// Compiles only for a plugin; gives the clear error where a type is none.
pub fn assert_plugin<P: Plugin>() {}

/// What the plugin says of itself.
pub fn describe<P: Plugin>(name: &str, version: &str, summary: &str) -> Description {
    Description {
        name: name.to_owned(),
        version: version.to_owned(),
        summary: summary.to_owned(),
        config_schema: Some(schema::<P>()),
    }
}

/// The JSON Schema (2020-12) of the plugin's configuration.
pub(crate) fn schema<P: Plugin>() -> String {
    schemars::schema_for!(P::Config).as_value().to_string()
}

/// A new instance, from the stage's configuration as JSON and the names of the pipeline's outputs.
pub fn configure<P: Plugin>(config: &str, outputs: Vec<String>) -> Result<P, String> {
    let config = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(config))
        .map_err(|error| explain(&error))?;
    P::configure(config, &Outputs::new(outputs)).map_err(|error| error.to_string())
}

/// The place in the configuration, and serde's words without its line and column: the person who reads this wrote YAML,
/// and has never seen the JSON that those refer to.
fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let (place, what) = (error.path().to_string(), error.inner().to_string());
    let what = what.split(" at line ").next().unwrap_or_default();
    if place == "." { what.to_owned() } else { format!("{place}: {what}") }
}

/// One batch: every record through [`Plugin::process`], and what came of it in columns.
pub fn process<P: Plugin>(plugin: &mut P, batch: &Batch) -> Outcomes {
    let inputs = Inputs::new(batch);
    let mut writer = Writer::new(batch);
    for row in inputs.rows() {
        let before = writer.outputs();
        let outcome = plugin.process(Record::new(row, &mut writer));
        if !matches!(outcome, Outcome::Emit(_)) {
            writer.take_back(before);
        }
        match outcome {
            Outcome::Drop => writer.close_emitted(before),
            Outcome::Pass => writer.close_passed(),
            Outcome::Reject(reason) => writer.close_rejected(reason),
            Outcome::Emit(emitted) => {
                assert!(emitted.is_of(before, writer.outputs()), "an outcome that was made for another record");
                writer.close_emitted(before);
            }
        }
    }
    flush_counts();
    writer.finish()
}

#[cfg(target_family = "wasm")]
fn flush_counts() {
    crate::metrics::flush(crate::bindings::sluicegate::plugin::metrics::count);
}

/// Tests have no runtime: counts stay where [`crate::testing::counts`] finds them.
#[cfg(not(target_family = "wasm"))]
fn flush_counts() {}

/// Makes a panic show its own words: the runtime takes the last line of level error as the reason of a trap, and the
/// trap itself says nothing but `unreachable`.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let what = panic.payload_as_str().unwrap_or("a panic without words");
        match panic.location() {
            Some(place) => crate::log::error!("panicked at {place}: {what}"),
            None => crate::log::error!("panicked: {what}"),
        }
    }));
}
