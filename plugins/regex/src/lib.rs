//! Matches, replaces and extracts by a regular expression: in the value, in a field of it, in a header or in the key.

mod template;

use std::borrow::Cow;

use conditions::{Fields, Found, NotJson, Subject, SubjectConfig, Unjudged, span};
use regex::bytes::{CaptureLocations, Regex};
use schemars::JsonSchema;
use serde::Deserialize;
use sluicegate_plugin::Buffer;
use sluicegate_plugin::prelude::*;
use template::Template;

/// A pattern, where it is looked for (at most one of `key`, `header` and `field`; else in the value), and what becomes of
/// what matches: at most one of `replace` and `extract`; with neither, the record goes on as it came.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The regular expression. It matches somewhere; `^…$` for as a whole.
    pattern: String,
    /// `true` to look in the record's key.
    #[serde(default)]
    key: bool,
    /// The name of the header to look in; the last one counts where there are several.
    header: Option<String>,
    /// The path of the JSON field to look in, as `client.name` or `legs.*.note`; with `*`, in every element.
    field: Option<String>,
    /// What stands in place of each match; `$1` and `$name` are what a group matched, `$$` is a dollar sign.
    replace: Option<String>,
    /// Where the groups of the first match go.
    extract: Option<Extract>,
    /// What becomes of a record that does not match. By default it is dropped; with `replace` it passes, and with
    /// `extract` it is rejected.
    no_match: Option<Unjudged>,
    /// What becomes of a record whose value is not JSON, where a field is asked for.
    #[serde(default = "Unjudged::reject")]
    invalid: Unjudged,
    /// What becomes of a tombstone where the pattern is looked for in the value or a field of it.
    #[serde(default = "Unjudged::pass")]
    tombstones: Unjudged,
}

/// Where the groups of a match go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Extract {
    /// The value becomes a JSON object of the named groups, as texts; a group that took no part is null.
    Value,
    /// Each named group becomes a header, after those that are there.
    Headers,
    /// The first group becomes the key.
    Key,
}

enum Action {
    Keep,
    Replace(Template),
    Extract(Extract),
}

struct Matcher {
    pattern: Regex,
    /// None is the value.
    subject: Option<Subject>,
    action: Action,
    /// The named groups, by number.
    names: Vec<(usize, String)>,
    no_match: Unjudged,
    invalid: Unjudged,
    tombstones: Unjudged,
    /// The text that matched, and where its groups lie in it; kept for their memory.
    text: Vec<u8>,
    groups: CaptureLocations,
}

impl Plugin for Matcher {
    type Config = Config;

    fn configure(config: Config, _: &Outputs) -> Result<Self, Error> {
        let pattern = Regex::new(&config.pattern)?;
        let names = pattern.capture_names().enumerate();
        let names = names.filter_map(|(group, name)| Some((group, name?.to_owned()))).collect::<Vec<_>>();
        let (action, no_match) = match (config.replace, config.extract) {
            (None, None) => (Action::Keep, Unjudged::Drop),
            (Some(text), None) => (Action::Replace(Template::new(&text, &pattern)?), Unjudged::Pass),
            (None, Some(Extract::Key)) if pattern.captures_len() == 1 => {
                return Err(Error::new("`extract: key` needs a group in the pattern, as `(…)`"));
            }
            (None, Some(to)) if to != Extract::Key && names.is_empty() => {
                return Err(Error::new("`extract` needs named groups in the pattern, as `(?<name>…)`"));
            }
            (None, Some(to)) => (Action::Extract(to), Unjudged::Reject),
            (Some(_), Some(_)) => return Err(Error::new("at most one of `replace` and `extract`")),
        };
        let is_elsewhere = config.key || config.header.is_some() || config.field.is_some();
        let subject = SubjectConfig { key: config.key, header: config.header, field: config.field };
        Ok(Matcher {
            groups: pattern.capture_locations(),
            subject: is_elsewhere.then(|| Subject::new(subject)).transpose()?,
            pattern,
            action,
            names,
            no_match: config.no_match.unwrap_or(no_match),
            invalid: config.invalid,
            tombstones: config.tombstones,
            text: Vec::new(),
        })
    }

    fn process(&mut self, record: Record<'_>) -> Outcome {
        if matches!(self.subject, None | Some(Subject::Field(_))) && record.value().is_none() {
            return self.tombstones.outcome("a tombstone has no value to look in");
        }
        let outcome = match &self.action {
            Action::Keep => self.find(&record).map(|found| found.then_some(Outcome::Pass)),
            Action::Replace(template) => self.replace(template, record),
            Action::Extract(to) => self.extract(*to, record),
        };
        match outcome {
            Ok(Some(outcome)) => outcome,
            Ok(None) => self.no_match.outcome("the pattern does not match"),
            Err(not_json) => self.invalid.outcome(not_json),
        }
    }
}

impl Matcher {
    /// Whether the pattern matches. If so, the text and its groups are kept, if they are asked for.
    fn find(&mut self, record: &Record<'_>) -> Result<bool, NotJson> {
        let wants_groups = matches!(self.action, Action::Extract(_));
        let mut look = |text: &[u8]| {
            if !wants_groups {
                return self.pattern.is_match(text);
            }
            let matches = self.pattern.captures_read(&mut self.groups, text).is_some();
            if matches {
                self.text.clear();
                self.text.extend_from_slice(text);
            }
            matches
        };
        let Some(subject) = &self.subject else {
            return Ok(record.value().is_some_and(look));
        };
        let mut matches = false;
        subject.read(record, |found| matches = matches || text_of(&found).is_some_and(&mut look))?;
        Ok(matches)
    }

    /// The record with every match replaced; none if there is no match.
    fn replace(&self, template: &Template, record: Record<'_>) -> Result<Option<Outcome>, NotJson> {
        let replace = |text| template.replace_all(&self.pattern, text);
        Ok(match &self.subject {
            None => record.value().and_then(replace).map(|value| record.emit().value(&value).done()),
            Some(Subject::Key) => record.key().and_then(replace).map(|key| record.emit().key(Some(&key)).done()),
            Some(Subject::Header(name)) => {
                let value = record.header(name).and_then(|header| replace(header.value?));
                value.map(|value| with_last_header(record, name, &value))
            }
            Some(Subject::Field(fields)) => {
                let value = self.replace_fields(template, fields, record.value().unwrap_or_default())?;
                value.map(|value| record.emit().value(&value).done())
            }
        })
    }

    /// The value with its fields replaced by JSON strings where they match. The rest stays, byte for byte.
    fn replace_fields(&self, template: &Template, fields: &Fields, value: &[u8]) -> Result<Option<Vec<u8>>, NotJson> {
        let (mut new, mut copied) = (Vec::new(), 0);
        fields.visit(value, |raw| {
            let found = Found::json(raw);
            let replaced = text_of(&found).and_then(|text| template.replace_all(&self.pattern, text));
            if let Some(text) = replaced {
                let span = span(value, raw);
                new.extend_from_slice(&value[copied..span.start]);
                new.extend_from_slice(&json_string(&text));
                copied = span.end;
            }
        })?;
        if copied == 0 {
            return Ok(None);
        }
        new.extend_from_slice(&value[copied..]);
        Ok(Some(new))
    }

    /// The record with the groups of the first match where they are to go; none if there is no match.
    fn extract(&mut self, to: Extract, record: Record<'_>) -> Result<Option<Outcome>, NotJson> {
        if !self.find(&record)? {
            return Ok(None);
        }
        let mut output = record.emit();
        match to {
            Extract::Key => {
                output.key(self.group(1));
            }
            Extract::Headers => {
                for (group, name) in &self.names {
                    output.header(name, self.group(*group));
                }
            }
            Extract::Value => self.write_groups(&mut output.write_value()),
        }
        Ok(Some(output.done()))
    }

    /// What a group of the match at hand matched; none if it took no part.
    fn group(&self, group: usize) -> Option<&[u8]> {
        self.groups.get(group).map(|(start, end)| &self.text[start..end])
    }

    /// Writes the named groups as a JSON object.
    fn write_groups(&self, into: &mut Buffer<'_>) {
        into.push(b'{');
        for (index, (group, name)) in self.names.iter().enumerate() {
            if index > 0 {
                into.push(b',');
            }
            into.extend_from_slice(&json_string(name.as_bytes()));
            into.push(b':');
            match self.group(*group) {
                Some(text) => into.extend_from_slice(&json_string(text)),
                None => into.extend_from_slice(b"null"),
            }
        }
        into.push(b'}');
    }
}

/// What the pattern sees of it: text without quotes, numbers, true and false as they are written. Objects, lists and nulls
/// have no text.
fn text_of<'f>(found: &'f Found<'_>) -> Option<&'f [u8]> {
    match found {
        Found::Null | Found::Nested(_) => None,
        found => Some(found.as_bytes()),
    }
}

/// A JSON string of the text, with its quotes. Bytes that are no UTF-8 are replaced by U+FFFD.
fn json_string(text: &[u8]) -> Vec<u8> {
    let text: Cow<'_, str> = String::from_utf8_lossy(text);
    serde_json::to_vec(&text).expect("a text is JSON")
}

/// The record with another value for its last header of this name.
fn with_last_header(record: Record<'_>, name: &str, value: &[u8]) -> Outcome {
    let headers = record.headers();
    let last = headers.enumerate().filter(|(_, header)| header.key == name.as_bytes()).last().map(|(index, _)| index);
    let mut output = record.emit();
    output.clear_headers();
    for (index, header) in headers.enumerate() {
        output.header(header.key, if Some(index) == last { Some(value) } else { header.value });
    }
    output.done()
}

sluicegate_plugin::export!(Matcher);

#[cfg(test)]
mod tests {
    use super::Matcher;
    use sluicegate_plugin::testing::{Input, Outcome, run};

    fn refusal(config: &str) -> String {
        run::<Matcher>(config, &[], []).unwrap_err()
    }

    #[test]
    fn cases() {
        cases::run::<Matcher>();
    }

    #[test]
    fn a_configuration_that_does_not_fit_is_refused() {
        assert!(refusal(r#"{"pattern": "("}"#).contains("unclosed group"));
        assert!(refusal(r#"{"pattern": "a", "key": true, "field": "b"}"#).contains("exactly one of"));
        assert!(refusal(r#"{"pattern": "(a)", "replace": "b", "extract": "key"}"#).contains("at most one"));
        assert!(refusal(r#"{"pattern": "(a)", "extract": "value"}"#).contains("named groups"));
        assert!(refusal(r#"{"pattern": "a", "extract": "key"}"#).contains("needs a group"));
        let unknown = refusal(r#"{"pattern": "(?<user>a)", "replace": "$usr"}"#);
        assert_eq!(unknown, "`$usr` is no group of the pattern, which has `$1`, `$user`");
    }

    #[test]
    fn the_last_header_of_the_name_is_replaced() {
        let config = r#"{"pattern": "b", "header": "a", "replace": "c"}"#;
        let input = Input::new().header("a", Some("b")).header("x", None).header("a", Some("abba")).value("v");
        let outcomes = run::<Matcher>(config, &[], [input]).unwrap();
        let Outcome::Emit(outputs) = &outcomes[0] else { panic!("emits") };
        let header = |name: &str, value: Option<&str>| (name.into(), value.map(Into::into));
        assert_eq!(outputs[0].headers, [header("a", Some("b")), header("x", None), header("a", Some("acca"))]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_in_place() {
        let config = r#"{"pattern": "(?-u)\\xff+", "replace": "-"}"#;
        let outcomes = run::<Matcher>(config, &[], [Input::new().value(b"a\xff\xff\xfeb\xff")]).unwrap();
        let Outcome::Emit(outputs) = &outcomes[0] else { panic!("emits") };
        assert_eq!(outputs[0].value.as_deref(), Some(&b"a-\xfeb-"[..]));
    }
}
