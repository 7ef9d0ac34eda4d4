use std::cmp::Ordering;

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Number, Value};
use sluicegate_plugin::Error;

use crate::found::{self, Found};

/// The operators of a test; where there are several, all have to hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TestConfig {
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

/// Tells `equals: null` from no `equals`, which serde takes for the same.
///
/// # Errors
/// Those of the value.
pub fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

/// Operators, ready to apply.
#[derive(Debug)]
pub struct Test {
    operators: Vec<Operator>,
    exists: Option<bool>,
}

#[derive(Debug)]
enum Operator {
    OneOf(Vec<Scalar>),
    Matches(Regex),
    Is(Ordering, found::Number),
}

#[derive(Debug)]
enum Scalar {
    Null,
    Bool(bool),
    Number(found::Number),
    Text(String),
}

impl Test {
    /// Compiles the operators.
    ///
    /// # Errors
    /// If there is none, if they contradict each other, or a regular expression is none.
    pub fn new(config: TestConfig) -> Result<Self, Error> {
        let mut operators = Vec::new();
        if let Some(value) = &config.equals {
            operators.push(Operator::OneOf(vec![Scalar::new(value)?]));
        }
        if let Some(values) = &config.one_of {
            operators.push(Operator::OneOf(values.iter().map(Scalar::new).collect::<Result<_, _>>()?));
        }
        if let Some(pattern) = &config.matches {
            operators.push(Operator::Matches(Regex::new(pattern)?));
        }
        let bounds = [(Ordering::Less, config.less), (Ordering::Greater, config.greater)];
        for (is, bound) in bounds {
            if let Some(bound) = bound {
                operators.push(Operator::Is(is, number(&bound)?));
            }
        }
        match (operators.is_empty(), config.exists) {
            (true, None) => {
                Err(Error::new("a test needs one of `equals`, `one-of`, `matches`, `exists`, `less`, `greater`"))
            }
            (false, Some(false)) => Err(Error::new("`exists: false` allows no other operator beside it")),
            (_, exists) => Ok(Test { operators, exists }),
        }
    }

    /// Whether all operators hold of something that is there.
    pub fn holds(&self, found: &Found<'_>) -> bool {
        self.exists != Some(false) && self.operators.iter().all(|operator| operator.holds(found))
    }

    /// Whether it holds where nothing was found.
    pub fn holds_of_nothing(&self) -> bool {
        self.exists == Some(false)
    }
}

fn number(value: &Number) -> Result<found::Number, Error> {
    let number = found::Number::parse(&value.to_string());
    number.ok_or_else(|| Error::new(format_args!("{value} is too large a number")))
}

impl Operator {
    fn holds(&self, found: &Found<'_>) -> bool {
        match self {
            Operator::OneOf(scalars) => scalars.iter().any(|scalar| scalar.equals(found)),
            Operator::Matches(regex) => *found != Found::Null && regex.is_match(found.as_bytes()),
            Operator::Is(is, than) => found.number().is_some_and(|number| number.compare(*than) == *is),
        }
    }
}

impl Scalar {
    fn new(value: &Value) -> Result<Self, Error> {
        match value {
            Value::Null => Ok(Scalar::Null),
            Value::Bool(value) => Ok(Scalar::Bool(*value)),
            Value::String(text) => Ok(Scalar::Text(text.clone())),
            Value::Number(value) => Ok(Scalar::Number(number(value)?)),
            nested => Err(Error::new(format_args!("{nested} is not a string, number, true, false or null"))),
        }
    }

    fn equals(&self, found: &Found<'_>) -> bool {
        match (self, found) {
            (Scalar::Null, found) => *found == Found::Null,
            (Scalar::Number(number), found) => found.number().is_some_and(|it| it.compare(*number).is_eq()),
            (Scalar::Bool(value), Found::Bool(it)) => it == value,
            // A key or a header has no types of its own: it is true if it says so.
            (Scalar::Bool(value), Found::Bytes(it)) => *it == if *value { &b"true"[..] } else { b"false" },
            (Scalar::Text(text), Found::Text(it)) => it == text,
            (Scalar::Text(text), Found::Bytes(it)) => *it == text.as_bytes(),
            _ => false,
        }
    }
}
