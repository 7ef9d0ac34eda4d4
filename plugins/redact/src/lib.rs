//! Masks JSON fields, and what matches regular expressions, in values.
//!
//! The value is edited as text: what is not masked stays as it was, byte for byte, with the order of fields and all
//! digits of numbers. A value in which nothing is masked passes, and never crosses back.

mod mask;

use conditions::{Fields, span};
use mask::{Broken, Mask, Patterns};
use schemars::JsonSchema;
use serde::Deserialize;
use sluicegate_plugin::Buffer;
use sluicegate_plugin::prelude::*;
use std::ops::Range;

/// What is masked: at least one field or pattern.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Config {
    /// Paths of JSON fields to mask, as `account`, `client.name` or `legs.*.account`; objects and lists as a whole.
    /// With fields, a value that is not JSON is refused.
    fields: Vec<String>,
    /// Regular expressions; what matches in the text of a value, JSON or not, is masked.
    patterns: Vec<String>,
    /// What stands in place of what is masked.
    mask: String,
}

impl Default for Config {
    fn default() -> Self {
        Config { fields: Vec::new(), patterns: Vec::new(), mask: "***".to_owned() }
    }
}

struct Redact {
    fields: Option<Fields>,
    patterns: Option<Patterns>,
    mask: Mask,
    /// Where the fields of the record at hand lie, and then what its patterns match; kept for its memory.
    spans: Vec<Range<usize>>,
    /// The value with its fields masked, before the patterns; kept for its memory.
    text: Vec<u8>,
}

impl Plugin for Redact {
    type Config = Config;

    fn configure(config: Config, _: &Outputs) -> Result<Self, Error> {
        if config.fields.is_empty() && config.patterns.is_empty() {
            return Err(Error::new("`fields` or `patterns` says what is masked: give at least one"));
        }
        let fields = Fields::new(config.fields.iter().map(String::as_str))?;
        Ok(Redact {
            fields: (!config.fields.is_empty()).then_some(fields),
            patterns: Patterns::new(&config.patterns)?,
            mask: Mask::new(&config.mask)?,
            spans: Vec::new(),
            text: Vec::new(),
        })
    }

    fn process(&mut self, record: Record<'_>) -> Outcome {
        let Some(value) = record.value() else { return Outcome::Pass };
        self.spans.clear();
        if let Some(fields) = &self.fields {
            let found = fields.visit(value, |field| self.spans.push(span(value, field)));
            if let Err(not_json) = found {
                return Outcome::reject(not_json);
            }
        }
        if self.spans.is_empty() && !self.patterns.as_ref().is_some_and(|patterns| patterns.match_any(value)) {
            return Outcome::Pass;
        }
        let mut output = record.emit();
        let written = self.write(value, &mut output.write_value());
        match written {
            Ok(0) => Outcome::Pass,
            Ok(masked) => {
                count("masked", masked);
                output.done()
            }
            Err(broken) => Outcome::reject(broken),
        }
    }
}

impl Redact {
    /// Writes the value with everything masked, and gives the number of masks.
    fn write(&mut self, value: &[u8], into: &mut Buffer<'_>) -> Result<u64, Broken> {
        let fields = self.spans.len() as u64;
        let Some(patterns) = &self.patterns else {
            self.mask.fields(value, &self.spans, into);
            return Ok(fields);
        };
        self.text.clear();
        self.mask.fields(value, &self.spans, &mut self.text);
        Ok(fields + patterns.mask(&self.text, &self.mask, self.fields.is_some(), &mut self.spans, into)?)
    }
}

sluicegate_plugin::export!(Redact);

#[cfg(test)]
mod tests {
    use super::Redact;
    use sluicegate_plugin::testing::{Input, Outcome, counts, run};

    fn redact(config: &str, value: &str) -> Result<String, Outcome> {
        let outcome = run::<Redact>(config, &[], [Input::new().value(value)]).unwrap().remove(0);
        let Outcome::Emit(outputs) = outcome else { return Err(outcome) };
        Ok(String::from_utf8(outputs[0].value.clone().unwrap()).unwrap())
    }

    #[test]
    fn cases() {
        cases::run::<Redact>();
    }

    #[test]
    fn what_is_not_masked_stays_byte_for_byte() {
        let value =
            r#"{ "z": 1.10000000000000000000001, "account":"12\"3" , "a": [1e2, "\u00e9"],"account" : {"x": 1} }"#;
        let masked = r#"{ "z": 1.10000000000000000000001, "account":"***" , "a": [1e2, "\u00e9"],"account" : "***" }"#;
        assert_eq!(redact(r#"{"fields": ["account"]}"#, value).unwrap(), masked);
    }

    #[test]
    fn a_mask_with_quotes_leaves_json() {
        let config = r#"{"fields": ["a"], "patterns": ["\\d+"], "mask": "\"\\"}"#;
        let masked = redact(config, r#"{"a": "x", "b": "n 12", "c": 34}"#).unwrap();
        assert_eq!(masked, r#"{"a": "\"\\", "b": "n \"\\", "c": "\"\\"}"#);
    }

    #[test]
    fn a_pattern_never_turns_json_into_something_else() {
        let config = r#"{"patterns": ["4\\d+|true|\"b\": "]}"#;
        assert_eq!(redact(config, r#"{"card":-41.5e1,"t":[true]}"#).unwrap(), r#"{"card":"***","t":["***"]}"#);
        assert_eq!(redact(config, "card 41, not JSON").unwrap(), "card ***, not JSON");
        assert!(matches!(redact(config, r#"{"b": 1}"#), Err(Outcome::Reject(reason)) if reason.contains("pattern")));
    }

    #[test]
    fn what_any_pattern_matches_is_masked() {
        let config = r#"{"patterns": ["\\b\\d{4}", "\\b\\d{16}\\b", "11 \\w+"]}"#;
        assert_eq!(redact(config, "card 4111111111111111").unwrap(), "card ***");
        assert_eq!(redact(config, "card 4111111111111111 visa, pin 1234").unwrap(), "card ***, pin ***");
        assert_eq!(redact(config, r#"{"card": 4111111111111111}"#).unwrap(), r#"{"card": "***"}"#);
        assert_eq!(redact(r#"{"patterns": ["a", "b"]}"#, "ab").unwrap(), "******");
    }

    #[test]
    fn a_match_that_ends_beyond_a_masked_number_is_not_left() {
        let config = r#"{"patterns": ["1|2, 3"]}"#;
        assert!(matches!(redact(config, "[12, 3]"), Err(Outcome::Reject(_))));
    }

    #[test]
    fn an_empty_match_masks_nothing() {
        assert_eq!(redact(r#"{"patterns": ["x*"]}"#, "axxb"), Ok("a***b".to_owned()));
        assert_eq!(redact(r#"{"patterns": ["x*"]}"#, "ab"), Err(Outcome::Pass));
    }

    #[test]
    fn what_was_masked_is_counted() {
        redact(r#"{"fields": ["a", "b"], "patterns": ["7"]}"#, r#"{"a": 1, "b": 2, "c": 77}"#).unwrap();
        assert_eq!(counts(), [("masked", 3)]);
    }

    #[test]
    fn a_configuration_that_masks_nothing_is_refused() {
        let refusal = |config| run::<Redact>(config, &[], []).unwrap_err();
        assert!(refusal("{}").contains("at least one"));
        assert!(refusal(r#"{"patterns": ["ok", "("]}"#).contains("unclosed group"));
        assert!(refusal(r#"{"field": ["a"]}"#).starts_with("field: unknown field `field`"));
        assert!(refusal(r#"{"fields": ["a."]}"#).contains("`a.` is not a path"));
    }
}
