//! Keeps or drops records by a condition on key, headers and JSON fields. What is kept passes: its bytes never cross
//! back.

use conditions::{Condition, ConditionConfig, Unjudged};
use schemars::JsonSchema;
use serde::Deserialize;
use sluicegate_plugin::prelude::*;

/// Which records go on: exactly one of `keep` and `drop`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// Records of which this holds go on; all others are dropped.
    keep: Option<ConditionConfig>,
    /// Records of which this holds are dropped; all others go on.
    drop: Option<ConditionConfig>,
    /// What becomes of a record whose value is not JSON, where a field is asked for.
    #[serde(default = "Unjudged::reject")]
    invalid: Unjudged,
    /// What becomes of a tombstone where the condition asks for a field. It has none, but it deletes a key downstream.
    #[serde(default = "Unjudged::pass")]
    tombstones: Unjudged,
}

struct Filter {
    condition: Condition,
    keeps: bool,
    asks_fields: bool,
    invalid: Unjudged,
    tombstones: Unjudged,
}

impl Plugin for Filter {
    type Config = Config;

    fn configure(config: Config, _: &Outputs) -> Result<Self, Error> {
        let (condition, keeps) = match (config.keep, config.drop) {
            (Some(keep), None) => (Condition::new(keep)?, true),
            (None, Some(drop)) => (Condition::new(drop)?, false),
            _ => return Err(Error::new("exactly one of `keep` and `drop` says which records go on")),
        };
        let asks_fields = condition.asks_fields();
        Ok(Filter { condition, keeps, asks_fields, invalid: config.invalid, tombstones: config.tombstones })
    }

    fn process(&mut self, record: Record<'_>) -> Outcome {
        if self.asks_fields && record.value().is_none() {
            return self.tombstones.outcome("a tombstone has no fields");
        }
        match self.condition.holds(&record) {
            Ok(holds) if holds == self.keeps => Outcome::Pass,
            Ok(_) => Outcome::Drop,
            Err(not_json) => self.invalid.outcome(not_json),
        }
    }
}

sluicegate_plugin::export!(Filter);

#[cfg(test)]
mod tests {
    use super::Filter;
    use serde_json::json;
    use sluicegate_plugin::testing::{Input, Outcome, run};

    fn refusal(config: &str) -> String {
        run::<Filter>(config, &[], []).unwrap_err()
    }

    #[test]
    fn cases() {
        cases::run::<Filter>();
    }

    #[test]
    fn a_configuration_that_says_too_little_or_too_much_is_refused() {
        assert!(refusal("{}").contains("exactly one of `keep` and `drop`"));
        assert!(refusal(r#"{"keep": {"key": true}}"#).contains("needs one of `equals`"));
        assert!(refusal(r#"{"keep": {"equals": 1}}"#).contains("exactly one of `key: true`"));
        assert!(refusal(r#"{"keep": {"key": true, "field": "a", "equals": 1}}"#).contains("exactly one of"));
        assert!(refusal(r#"{"keep": {"all": [], "key": true}}"#).contains("not several at once"));
        assert!(refusal(r#"{"keep": {"any": []}}"#).contains("at least one condition"));
        assert!(refusal(r#"{"drop": {"field": "a", "matches": "("}}"#).contains("unclosed group"));
        assert!(refusal(r#"{"drop": {"field": "a", "equals": [1]}}"#).contains("[1] is not a string"));
        assert!(
            refusal(r#"{"keep": {"all": [{"field": "a", "equal": 1}]}}"#).starts_with("keep.all[0].equal: unknown")
        );
        assert!(refusal(r#"{"keep": {"key": true, "exists": false, "less": 1}}"#).contains("no other operator"));
    }

    #[test]
    fn the_schema_says_the_same_as_the_plugin() {
        let fits = |config| cases::fits_schema::<Filter>(&config);
        fits(json!({ "keep": { "any": [{ "not": { "key": true, "equals": null } }] }, "invalid": "drop" })).unwrap();
        fits(json!({ "keep": { "field": "a", "equal": 1 } })).unwrap_err();
        fits(json!({ "keep": { "field": "a", "equals": 1 }, "invalid": "skip" })).unwrap_err();
    }

    #[test]
    fn keys_need_not_be_text() {
        let config = r#"{"keep": {"key": true, "matches": "(?-u)^\\xff"}}"#;
        let outcomes = run::<Filter>(config, &[], [Input::new().key(b"\xff\x00"), Input::new().key("a"), Input::new()]);
        assert_eq!(outcomes.unwrap(), [Outcome::Pass, Outcome::Drop, Outcome::Drop]);
    }
}
