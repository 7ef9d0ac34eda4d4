//! Makes of each value what a jq program makes of it: each output of the program is an output record, and no output drops
//! the record.

mod language;
mod program;

use conditions::Unjudged;
use jaq_json::write::{Pp, write};
use jaq_json::{Num, Val, read};
use program::Program;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sluicegate_plugin::prelude::*;

/// The program, and what becomes of what it cannot be asked about.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The jq program. Its input is the value; `$key`, `$headers`, `$topic`, `$partition`, `$offset` and `$timestamp` are
    /// the record's.
    program: String,
    /// A second program, whose input is an output of the first, and whose one output is that record's key. By default
    /// outputs have the key of their record.
    key: Option<String>,
    /// What becomes of a record whose value is not JSON.
    #[serde(default = "Unjudged::reject")]
    invalid: Unjudged,
    /// What becomes of a tombstone.
    #[serde(default = "Unjudged::pass")]
    tombstones: Unjudged,
}

/// How deep values may nest: jaq reads, runs and writes by recursion.
const DEPTH_MAX: usize = 128;

struct Jq {
    program: Program,
    key: Option<Program>,
    invalid: Unjudged,
    tombstones: Unjudged,
    /// Compact JSON.
    style: Pp,
}

impl Plugin for Jq {
    type Config = Config;

    fn configure(config: Config, _: &Outputs) -> Result<Self, Error> {
        Ok(Jq {
            program: Program::new("program", &config.program)?,
            key: config.key.map(|key| Program::new("key", &key)).transpose()?,
            invalid: config.invalid,
            tombstones: config.tombstones,
            style: Pp::default(),
        })
    }

    fn process(&mut self, record: Record<'_>) -> Outcome {
        let Some(value) = record.value() else { return self.tombstones.outcome("a tombstone has no value") };
        let input = match parse(value) {
            Ok(input) => input,
            Err(not_json) => return self.invalid.outcome(not_json),
        };
        let about = self.program.about(&record);
        let key_about = self.key.as_ref().map(|program| program.about(&record));
        let mut split = record.split();
        let ran = self.program.run(about, input, |value| {
            let mut output = split.add();
            if let (Some(program), Some(about)) = (&self.key, &key_about) {
                output.key(program.one(about.clone(), value.clone())?.as_deref());
            }
            check(&value)?;
            write(&mut output.write_value(), &self.style, 0, &value).map_err(|error| error.to_string())
        });
        match ran {
            Ok(()) => split.done(),
            Err(reason) => Outcome::Reject(reason),
        }
    }
}

/// A value as the program sees it, with the digits of its numbers.
fn parse(value: &[u8]) -> Result<Val, String> {
    // jaq reads more than JSON, such as NaN and comments, and nests as deep as the stack allows.
    serde_json::from_slice::<IgnoredAny>(value).map_err(|error| format!("the value is not JSON: {error}"))?;
    if depth(value) > DEPTH_MAX {
        return Err(format!("the value has more than {DEPTH_MAX} objects and lists in one another"));
    }
    read::parse_single(value).map_err(|error| format!("the value is not JSON: {error}"))
}

/// How deep objects and lists lie in one another, in what is JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0, 0);
    let (mut within_string, mut bytes) = (false, json.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => within_string = !within_string,
            b'\\' => drop(bytes.next()),
            b'{' | b'[' if !within_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !within_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// Refuses what jaq knows and JSON does not.
fn check(value: &Val) -> Result<(), String> {
    let refuse = |what| Err(format!("an output of the program is not JSON: {what} is in it"));
    match value {
        Val::Null | Val::Bool(_) => Ok(()),
        Val::Num(Num::Float(number)) if !number.is_finite() => refuse("a number that is not finite"),
        Val::Num(_) => Ok(()),
        Val::BStr(_) => refuse("a string of bytes"),
        Val::TStr(text) if str::from_utf8(text).is_err() => refuse("a string that is not UTF-8"),
        Val::TStr(_) => Ok(()),
        Val::Arr(elements) => elements.iter().try_for_each(check),
        Val::Obj(members) => members.iter().try_for_each(|(name, value)| match name {
            Val::TStr(_) => check(name).and_then(|()| check(value)),
            _ => refuse("a name that is no string"),
        }),
    }
}

sluicegate_plugin::export!(Jq);

#[cfg(test)]
mod tests {
    use super::Jq;
    use sluicegate_plugin::testing::{Input, Outcome, run};

    fn refusal(program: &str) -> String {
        run::<Jq>(&serde_json::json!({ "program": program }).to_string(), &[], []).unwrap_err()
    }

    fn outcome(program: &str, input: Input) -> Outcome {
        run::<Jq>(&serde_json::json!({ "program": program }).to_string(), &[], [input]).unwrap().remove(0)
    }

    fn values(program: &str, value: &str) -> Vec<String> {
        let Outcome::Emit(outputs) = outcome(program, Input::new().value(value)) else { panic!("emits") };
        outputs.into_iter().map(|output| String::from_utf8(output.value.unwrap()).unwrap()).collect()
    }

    #[test]
    fn cases() {
        cases::run::<Jq>();
    }

    #[test]
    fn a_program_that_does_not_read_is_refused_by_its_place() {
        assert_eq!(refusal(".a | | .b"), "program, line 1, column 6: expected term, found `|`");
        assert_eq!(refusal(".a |\n  map("), "program, line 2, column 7: expected closing parenthesis, found the end");
        assert_eq!(refusal(".a |"), "program, line 1, column 5: expected term, found the end");
        assert_eq!(refusal("\"é\" | nope(1)"), "program, line 1, column 7: there is no filter `nope/1`");
        assert_eq!(refusal("$who"), "program, line 1, column 1: there is no variable `$who`");
        assert!(refusal(r#"include "a"; ."#).contains("module loading not supported"));
        assert!(refusal("input").contains("there is no filter `input/0`"));
        let key = run::<Jq>(r#"{"program": ".", "key": ".["}"#, &[], []).unwrap_err();
        assert_eq!(key, "key, line 1, column 3: expected closing bracket, found the end");
    }

    #[test]
    fn digits_of_numbers_stay() {
        assert_eq!(
            values(".", "[1.10000000000000000000001, 9007199254740993]"),
            ["[1.10000000000000000000001,9007199254740993]"]
        );
    }

    #[test]
    fn a_long_error_is_cut() {
        let value = format!("[\"{}\"]", "ü".repeat(10_000));
        let Outcome::Reject(reason) = outcome(".a", Input::new().value(value)) else { panic!("rejects") };
        assert!(reason.starts_with("cannot index [\"üü") && reason.len() < 1_000, "{reason}");
    }

    #[test]
    fn deep_values_are_refused_and_not_run_into() {
        let deep = |depth: usize| format!("{}\"[[\\\"[[\"{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(values(".", &deep(128)), [deep(128)]);
        for depth in [129, 100_000] {
            let Outcome::Reject(reason) = outcome(".", Input::new().value(deep(depth))) else { panic!("rejects") };
            assert!(reason.contains("more than 128 objects and lists"), "{reason}");
        }
    }
}
