use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Number, Value};
use sluicegate_plugin::{Error, Record};

use crate::fields::NotJson;
use crate::subject::{Subject, SubjectConfig};
use crate::test::{Test, TestConfig, present};

/// A condition: either one of `all`, `any` and `not`, or a test of one of `key`, `header` and `field` by operators, of
/// which all have to hold.
// The operators stand here and in `TestConfig`: serde cannot refuse unknown keys in a struct that flattens another.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ConditionConfig {
    /// Every one of these holds.
    pub all: Option<Vec<ConditionConfig>>,
    /// At least one of these holds.
    pub any: Option<Vec<ConditionConfig>>,
    /// This does not hold.
    pub not: Option<Box<ConditionConfig>>,
    /// `true` to test the record's key.
    pub key: bool,
    /// The name of a header to test; the last one counts where there are several.
    pub header: Option<String>,
    /// The path of a JSON field to test, as `client.name` or `legs.*.price`; with `*`, any element may pass.
    pub field: Option<String>,
    /// Is this: a string, a number, true, false or null.
    #[serde(deserialize_with = "present")]
    pub equals: Option<Value>,
    /// Is one of these.
    pub one_of: Option<Vec<Value>>,
    /// Matches this regular expression somewhere; `^…$` for as a whole.
    pub matches: Option<String>,
    /// Is there (true), or is not (false). A JSON null is there; a null key is not.
    pub exists: Option<bool>,
    /// Is a number less than this.
    pub less: Option<Number>,
    /// Is a number greater than this.
    pub greater: Option<Number>,
}

/// A condition, ready to be asked.
#[derive(Debug)]
pub enum Condition {
    /// Every one holds.
    All(Vec<Condition>),
    /// At least one holds.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// The subject passes the test.
    Test(Subject, Test),
}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    /// If it is not exactly one thing, or a part of it is wrong.
    pub fn new(config: ConditionConfig) -> Result<Self, Error> {
        let is_test = config.is_test();
        match (config.all, config.any, config.not) {
            (None, None, None) => {
                let subject = SubjectConfig { key: config.key, header: config.header, field: config.field };
                let test = TestConfig {
                    equals: config.equals,
                    one_of: config.one_of,
                    matches: config.matches,
                    exists: config.exists,
                    less: config.less,
                    greater: config.greater,
                };
                Ok(Condition::Test(Subject::new(subject)?, Test::new(test)?))
            }
            (Some(all), None, None) if !is_test => Ok(Condition::All(list(all)?)),
            (None, Some(any), None) if !is_test => Ok(Condition::Any(list(any)?)),
            (None, None, Some(not)) if !is_test => Ok(Condition::Not(Box::new(Condition::new(*not)?))),
            _ => Err(Error::new("a condition is one of `all`, `any`, `not` or a test, and not several at once")),
        }
    }

    /// Whether it holds of the record. Stops as soon as that is known: later parts are not read then.
    ///
    /// # Errors
    /// If a field is asked for, and the value is not JSON.
    pub fn holds(&self, record: &Record<'_>) -> Result<bool, NotJson> {
        match self {
            Condition::All(conditions) => {
                for condition in conditions {
                    if !condition.holds(record)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Condition::Any(conditions) => {
                for condition in conditions {
                    if condition.holds(record)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Condition::Not(condition) => Ok(!condition.holds(record)?),
            Condition::Test(subject, test) => {
                let (mut nothing, mut holds) = (true, false);
                subject.read(record, |found| {
                    nothing = false;
                    holds = holds || test.holds(&found);
                })?;
                Ok(if nothing { test.holds_of_nothing() } else { holds })
            }
        }
    }

    /// Whether any part of it asks for a field.
    pub fn asks_fields(&self) -> bool {
        match self {
            Condition::All(conditions) | Condition::Any(conditions) => conditions.iter().any(Condition::asks_fields),
            Condition::Not(condition) => condition.asks_fields(),
            Condition::Test(subject, _) => matches!(subject, Subject::Field(_)),
        }
    }
}

impl ConditionConfig {
    /// Whether any key of a test is given.
    fn is_test(&self) -> bool {
        self.key
            || self.header.is_some()
            || self.field.is_some()
            || self.equals.is_some()
            || self.one_of.is_some()
            || self.matches.is_some()
            || self.exists.is_some()
            || self.less.is_some()
            || self.greater.is_some()
    }
}

fn list(configs: Vec<ConditionConfig>) -> Result<Vec<Condition>, Error> {
    if configs.is_empty() {
        return Err(Error::new("`all` and `any` need at least one condition"));
    }
    configs.into_iter().map(Condition::new).collect()
}
