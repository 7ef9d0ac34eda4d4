//! Does to every record what its configuration says: the same in each language, for `benches/src/bin/languages.rs`.

use sluicegate_plugin::prelude::*;
use sluicegate_plugin::{schemars, serde};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "sluicegate_plugin::serde")]
#[schemars(crate = "sluicegate_plugin::schemars")]
struct Config {
    task: Task,
}

#[derive(Clone, Copy, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "sluicegate_plugin::serde", rename_all = "kebab-case")]
#[schemars(crate = "sluicegate_plugin::schemars")]
enum Task {
    Pass,
    Rewrite,
    Json,
}

struct Bench {
    task: Task,
}

impl Plugin for Bench {
    type Config = Config;

    fn configure(config: Config, _: &Outputs) -> Result<Self, Error> {
        Ok(Bench { task: config.task })
    }

    fn process(&mut self, record: Record<'_>) -> Outcome {
        let Some(value) = record.value() else { return Outcome::Pass };
        match self.task {
            Task::Pass => Outcome::Pass,
            Task::Rewrite => {
                let mut output = record.emit();
                output.write_value().extend(value.iter().map(u8::to_ascii_uppercase));
                output.done()
            }
            Task::Json => {
                let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(value) else {
                    return Outcome::reject("the value is not JSON");
                };
                json["symbol"] = "ACME".into();
                let mut output = record.emit();
                match serde_json::to_writer(output.write_value(), &json) {
                    Ok(()) => output.done(),
                    Err(error) => Outcome::reject(error),
                }
            }
        }
    }
}

sluicegate_plugin::export!(Bench);
