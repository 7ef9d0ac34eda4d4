//! Checks a stage's configuration against the JSON Schema that its plugin gives. Plugins may be hostile, and a schema of a few
//! lines can ask for more time, memory or stack than there is: what it asks for is counted first.

use jsonschema::PatternOptions;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};
use sluicegate_wasm::clean;

use super::plugins::refuse;
use crate::config::{ConfigError, Stage};
use crate::registry::PluginRef;

/// So many schemas within a schema may be looked at, each as often as something leads to it.
const VISITS_MAX: usize = 100_000;
/// And so many more for each byte of a configuration, which is nobody's but the user's.
const VISITS_PER_BYTE: usize = 16;
/// So deep they may lie in each other, with what `$ref` leads to.
const DEPTH_MAX: u32 = 128;
/// So often a pattern's match may be tried another way.
const BACKTRACKS_MAX: usize = 10_000;
/// A schema's own words may be as long as the schema.
const WORDS_BYTES_MAX: usize = 1024;

/// Checks a stage's configuration against what its plugin says it takes.
pub(super) fn check_config(schema: &str, stage: &Stage, from: Option<&PluginRef>) -> Result<(), ConfigError> {
    let broken = |why: String| {
        let why = clean(&why, WORDS_BYTES_MAX);
        refuse(stage, &["plugin"], format!("the plugin's config-schema {why}; its author has to mend it"))
    };
    let schema = serde_json::from_str(schema).map_err(|error| broken(format!("is no JSON: {error}")))?;
    let config = Value::Object(stage.config.object().clone());
    check_cost(&schema, &config).map_err(broken)?;
    let patterns = PatternOptions::fancy_regex().backtrack_limit(BACKTRACKS_MAX);
    let validator = jsonschema::options().with_pattern_options(patterns).build(&schema);
    let validator = validator.map_err(|error| broken(format!("is no JSON Schema: {error}")))?;
    let Err(error) = validator.validate(&config) else {
        return Ok(());
    };
    let pointer = error.instance_path().as_str().to_owned();
    let mut path: Vec<String> = vec!["config".into()];
    path.extend(pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")));
    let key = path.join(".");
    if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        path.extend(unexpected.first().cloned());
    }
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    // The value itself may be a secret: masked.
    let why = clean(&error.masked().to_string(), WORDS_BYTES_MAX);
    let message = format!("stage '{}': {key} does not fit the plugin: {why}", stage.name);
    let plugin = from.map_or_else(|| "<plugin>".to_owned(), PluginRef::to_string);
    Err(stage.origin.error(&path, message).with_hint(format!("'sluicegate inspect {plugin}' shows what it takes")))
}

/// Whether a schema can be compiled, and the configuration be checked against it, at a bounded cost.
///
/// # Errors
/// What is wrong with the schema.
fn check_cost(schema: &Value, config: &Value) -> Result<(), String> {
    let visits_max = VISITS_MAX + VISITS_PER_BYTE * config.to_string().len();
    // Compiled is all of it, and checked is what the configuration leads to.
    [None, Some(config)].into_iter().try_for_each(|instance| {
        let mut walk = Walk { root: schema, followed: vec![schema], depth: 0, visits_left: visits_max };
        walk.visit(schema, instance)
    })
}

/// A walk through a schema and all that it leads to, as often as it leads there.
struct Walk<'a> {
    root: &'a Value,
    /// What `$ref` led to on the way here.
    followed: Vec<&'a Value>,
    depth: u32,
    visits_left: usize,
}

impl<'a> Walk<'a> {
    /// Visits a schema, or a list of some, for this instance; for none in particular without.
    fn visit(&mut self, schema: &'a Value, instance: Option<&Value>) -> Result<(), String> {
        if self.depth == DEPTH_MAX || self.visits_left == 0 {
            return Err("costs too much to check: it nests too deep, or refers to itself too often".into());
        }
        (self.depth, self.visits_left) = (self.depth + 1, self.visits_left - 1);
        match schema {
            Value::Array(schemas) => schemas.iter().try_for_each(|schema| self.visit(schema, instance))?,
            Value::Object(keywords) => self.visit_keywords(schema, keywords, instance)?,
            _ => {}
        }
        self.depth -= 1;
        Ok(())
    }

    fn visit_keywords(
        &mut self,
        schema: &'a Value,
        keywords: &'a Map<String, Value>,
        instance: Option<&Value>,
    ) -> Result<(), String> {
        let renames = ["$id", "id"].iter().any(|keyword| keywords.get(*keyword).is_some_and(Value::is_string));
        if renames && !std::ptr::eq(schema, self.root) {
            return Err("has an 'id' below its root: refer by '#/…'".into());
        }
        // To know what nothing else has looked at, these look at all the others once more.
        let looks_again = ["unevaluatedProperties", "unevaluatedItems"].iter().any(|it| keywords.contains_key(*it));
        let times = if looks_again { 3 } else { 1 };
        (0..times).try_for_each(|_| {
            keywords.iter().try_for_each(|(keyword, value)| self.visit_keyword(keyword, value, instance))
        })
    }

    fn visit_keyword(&mut self, keyword: &str, value: &'a Value, instance: Option<&Value>) -> Result<(), String> {
        match (keyword, value) {
            ("$ref", Value::String(reference)) => self.follow(reference, instance),
            ("$dynamicRef" | "$recursiveRef", _) => Err(format!("has '{keyword}': refer by '$ref'")),
            ("allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else", _) => self.visit(value, instance),
            ("dependentSchemas" | "dependencies", Value::Object(schemas)) => {
                schemas.values().try_for_each(|schema| self.visit(schema, instance))
            }
            ("properties", Value::Object(schemas)) => {
                schemas.iter().try_for_each(|(name, schema)| match instance.map(|instance| instance.get(name)) {
                    Some(None) => Ok(()),
                    member => self.visit(schema, member.flatten()),
                })
            }
            ("patternProperties", Value::Object(schemas)) => {
                schemas.values().try_for_each(|schema| self.visit_within(schema, instance))
            }
            (
                "additionalProperties"
                | "unevaluatedProperties"
                | "propertyNames"
                | "items"
                | "prefixItems"
                | "additionalItems"
                | "unevaluatedItems"
                | "contains",
                _,
            ) => self.visit_within(value, instance),
            _ => Ok(()),
        }
    }

    /// Visits a schema for each member of the instance.
    fn visit_within(&mut self, schema: &'a Value, instance: Option<&Value>) -> Result<(), String> {
        match instance {
            None => self.visit(schema, None),
            Some(Value::Object(members)) => members.values().try_for_each(|member| self.visit(schema, Some(member))),
            Some(Value::Array(members)) => members.iter().try_for_each(|member| self.visit(schema, Some(member))),
            Some(_) => Ok(()),
        }
    }

    fn follow(&mut self, reference: &str, instance: Option<&Value>) -> Result<(), String> {
        let pointer = reference.strip_prefix('#').filter(|pointer| !pointer.contains('%'));
        let Some(target) = pointer.and_then(|pointer| self.root.pointer(pointer)) else {
            return Err(format!("refers to '{reference}', which is nowhere in it: refer by '#/…'"));
        };
        // It is compiled once. What is checked may come here again, deeper within the configuration.
        if instance.is_none() && self.followed.iter().any(|followed| std::ptr::eq(*followed, target)) {
            return Ok(());
        }
        self.followed.push(target);
        self.visit(target, instance)?;
        self.followed.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `count` definitions, each of which is made of the next, and the last of `last`.
    fn chain(count: usize, link: impl Fn(Value) -> Value, last: Value) -> Value {
        let mut definitions = Map::from_iter([(format!("a{count}"), last)]);
        definitions
            .extend((0..count).map(|n| (format!("a{n}"), link(json!({ "$ref": format!("#/$defs/a{}", n + 1) })))));
        json!({ "$ref": "#/$defs/a0", "$defs": definitions })
    }

    #[test]
    fn what_real_schemas_do_is_taken() {
        let config =
            json!({ "rule": { "all": [{ "not": { "field": "a" } }, { "field": "b" }] }, "limits": { "a/b": 1 } });
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "https://example.com/schema",
            "properties": {
                "rule": { "$ref": "#/$defs/rule" },
                "limits": { "additionalProperties": { "$ref": "#/$defs/a~1b" } },
                "id": { "type": "string" },
            },
            "$defs": {
                "rule": { "oneOf": [
                    { "required": ["all"], "properties": { "all": { "items": { "$ref": "#/$defs/rule" } } } },
                    { "required": ["not"], "properties": { "not": { "$ref": "#/$defs/rule" } } },
                    { "required": ["field"], "properties": { "field": { "type": "string" } } },
                ] },
                "a/b": { "type": "integer" },
            },
        });
        assert_eq!(check_cost(&schema, &config), Ok(()));
        assert!(jsonschema::is_valid(&schema, &config));
        assert_eq!(check_cost(&json!(true), &config), Ok(()));
        let table = json!({ "rule": { "all": vec![json!({ "field": "a" }); 100_000] } });
        assert_eq!(check_cost(&schema, &table), Ok(()), "whatever the user writes");
    }

    #[test]
    fn what_costs_too_much_is_refused() {
        let same = |schema: Value| schema;
        let twice = |schema: Value| json!({ "anyOf": [schema, schema] });
        let again = |schema: Value| json!({ "not": schema, "unevaluatedProperties": false });
        let many = json!({ "additionalProperties": { "allOf": vec![json!({ "$ref": "#" }); 1000] } });
        let endless = json!({ "allOf": [{ "$ref": "#" }] });
        let costly = [
            chain(30_000, same, json!({})),
            chain(40, twice, json!(false)),
            chain(40, again, json!({})),
            many,
            endless,
        ];
        for schema in costly {
            let refused = check_cost(&schema, &json!({ "a": { "b": { "c": { "d": 1 } } } }));
            assert!(refused.as_ref().is_err_and(|why| why.contains("costs too much")), "{refused:?}");
        }
        let definitions = &chain(30_000, same, json!({}))["$defs"];
        let unused = json!({ "properties": { "none": { "$ref": "#/$defs/a0" } }, "$defs": definitions });
        assert!(check_cost(&unused, &json!({})).is_err(), "it would be compiled all the same");
    }

    #[test]
    fn the_most_that_is_taken_can_be_checked() {
        let same = |schema: Value| schema;
        let twice = |schema: Value| json!({ "anyOf": [schema, schema] });
        let again = |schema: Value| json!({ "not": schema, "unevaluatedProperties": false });
        let config = json!({ "a": 1 });
        for schema in [chain(120, same, json!(false)), chain(13, twice, json!(false)), chain(9, again, json!({}))] {
            assert_eq!(check_cost(&schema, &config), Ok(()));
            assert!(jsonschema::validator_for(&schema).unwrap().validate(&config).is_err());
        }
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for schema in [
            json!({ "$ref": "#name" }),
            json!({ "$ref": "https://example.com/schema" }),
            json!({ "$ref": "#/$defs/none" }),
            json!({ "$dynamicRef": "#" }),
            json!({ "items": { "$id": "other" } }),
        ] {
            assert!(check_cost(&schema, &json!({})).is_err_and(|why| why.contains("refer")), "{schema}");
        }
    }
}
