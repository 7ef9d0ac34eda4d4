//! Sends records to named outputs by their key, a header or a JSON field. The first rule that holds decides.

use conditions::{NotJson, Subject, SubjectConfig, Test, TestConfig, Unjudged};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Number, Value};
use sluicegate_plugin::Destination;
use sluicegate_plugin::prelude::*;

/// Where records go, by exactly one of `key`, `header` and `field`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// `true` to route by the record's key.
    #[serde(default)]
    key: bool,
    /// The name of the header to route by; the last one counts where there are several.
    header: Option<String>,
    /// The path of the JSON field to route by, as `client.name` or `legs.*.price`; with `*`, any element may pass.
    field: Option<String>,
    /// Tried in order; the first that holds decides.
    rules: Vec<RuleConfig>,
    /// What becomes of a record of which no rule holds.
    #[serde(default)]
    otherwise: Otherwise,
    /// What becomes of a record whose value is not JSON, where a field is asked for.
    #[serde(default = "Unjudged::reject")]
    invalid: Unjudged,
}

/// Operators, of which all have to hold, and the output that the record takes then.
// The operators stand here and in `TestConfig`: serde cannot refuse unknown keys in a struct that flattens another.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RuleConfig {
    /// The name of an output, as the pipeline's sink has it under `outputs`.
    to: String,
    /// Is this: a string, a number, true, false or null.
    #[serde(default, deserialize_with = "conditions::present")]
    equals: Option<Value>,
    /// Is one of these.
    one_of: Option<Vec<Value>>,
    /// Matches this regular expression somewhere; `^…$` for as a whole.
    matches: Option<String>,
    /// Is there (true), or is not (false). A JSON null is there; a null key is not.
    exists: Option<bool>,
    /// Is a number less than this.
    less: Option<Number>,
    /// Is a number greater than this.
    greater: Option<Number>,
}

/// What becomes of a record of which no rule holds.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Otherwise {
    /// It takes the pipeline's default output.
    #[default]
    Default,
    /// Nothing is produced.
    Drop,
}

struct Route {
    subject: Subject,
    rules: Vec<(Test, Destination)>,
    otherwise: Otherwise,
    invalid: Unjudged,
}

impl Plugin for Route {
    type Config = Config;

    fn configure(config: Config, outputs: &Outputs) -> Result<Self, Error> {
        let subject = Subject::new(SubjectConfig { key: config.key, header: config.header, field: config.field })?;
        if config.rules.is_empty() {
            return Err(Error::new("`rules` needs at least one rule"));
        }
        let rules = config.rules.into_iter().map(|rule| {
            let to = outputs.named(&rule.to)?;
            Ok((Test::new(rule.into_test())?, to))
        });
        let rules = rules.collect::<Result<_, Error>>()?;
        Ok(Route { subject, rules, otherwise: config.otherwise, invalid: config.invalid })
    }

    fn process(&mut self, record: Record<'_>) -> Outcome {
        match (self.destination(&record), self.otherwise) {
            (Ok(Some(to)), _) => record.emit().to(to).done(),
            (Ok(None), Otherwise::Default) => Outcome::Pass,
            (Ok(None), Otherwise::Drop) => Outcome::Drop,
            (Err(not_json), _) => self.invalid.outcome(not_json),
        }
    }
}

impl Route {
    /// The destination of the first rule that holds. The value is read once, however many rules there are.
    fn destination(&self, record: &Record<'_>) -> Result<Option<Destination>, NotJson> {
        let (mut nothing, mut first) = (true, self.rules.len());
        self.subject.read(record, |found| {
            nothing = false;
            first = self.rules[..first].iter().position(|(test, _)| test.holds(&found)).unwrap_or(first);
        })?;
        if nothing {
            first = self.rules.iter().position(|(test, _)| test.holds_of_nothing()).unwrap_or(first);
        }
        Ok(self.rules.get(first).map(|(_, to)| *to))
    }
}

impl RuleConfig {
    fn into_test(self) -> TestConfig {
        TestConfig {
            equals: self.equals,
            one_of: self.one_of,
            matches: self.matches,
            exists: self.exists,
            less: self.less,
            greater: self.greater,
        }
    }
}

sluicegate_plugin::export!(Route);

#[cfg(test)]
mod tests {
    use super::Route;
    use sluicegate_plugin::testing::{Input, Outcome, run};

    fn refusal(config: &str) -> String {
        run::<Route>(config, &["large", "audit"], []).unwrap_err()
    }

    #[test]
    fn cases() {
        cases::run::<Route>();
    }

    #[test]
    fn a_configuration_that_does_not_fit_is_refused() {
        let unknown = refusal(r#"{"field": "a", "rules": [{"equals": 1, "to": "larg"}]}"#);
        assert_eq!(unknown, "no output is named `larg`: the pipeline has `large`, `audit`");
        assert!(refusal(r#"{"rules": [{"equals": 1, "to": "large"}]}"#).contains("exactly one of"));
        assert!(refusal(r#"{"key": true, "rules": []}"#).contains("at least one rule"));
        assert!(refusal(r#"{"key": true, "rules": [{"to": "large"}]}"#).contains("needs one of"));
        let typo = refusal(r#"{"key": true, "rules": [{"equal": 1, "to": "large"}]}"#);
        assert!(typo.starts_with("rules[0].equal: unknown field `equal`, expected one of"), "{typo}");
    }

    #[test]
    fn routing_keeps_the_record_as_it_is() {
        let input = Input::new().key(b"\xff").value("x").header("h", None).header("h", Some("")).timestamp(-5);
        let outcomes =
            run::<Route>(r#"{"key": true, "rules": [{"exists": true, "to": "audit"}]}"#, &["audit"], [input]);
        let outcomes = outcomes.unwrap();
        let Outcome::Emit(outputs) = &outcomes[0] else { panic!("emits") };
        assert_eq!((outputs[0].to.as_deref(), outputs[0].timestamp), (Some("audit"), Some(-5)));
        assert_eq!((outputs[0].key.as_deref(), outputs[0].value.as_deref()), (Some(&b"\xff"[..]), Some(&b"x"[..])));
        assert_eq!(outputs[0].headers, [(b"h".to_vec(), None), (b"h".to_vec(), Some(vec![]))]);
    }
}
