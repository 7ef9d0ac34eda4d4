//! The schema, and the page that shows every key, beside what is read.

use super::*;

#[test]
fn the_schema_accepts_the_example_and_refuses_mistakes() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let json = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
    for text in [EXAMPLE, SMALL] {
        let errors: Vec<String> = validator.iter_errors(&json(text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    for (from, to) in [("commit: {", "comit: {"), ("64MiB", "lots"), ("workers: 2", "workers: 0"), ("by-key", "random")]
    {
        assert!(!validator.is_valid(&json(&EXAMPLE.replacen(from, to, 1))), "{to}");
    }
    let text = schema.to_string();
    assert!(text.contains("Where records come from.") && !text.contains("\"default\":\"\""), "{text}");
}

/// docs/pipeline.md is what people copy from.
#[test]
fn the_page_of_the_file_has_every_key() {
    struct Operator;

    impl Surroundings for Operator {
        fn variable(&self, _: &str) -> Option<String> {
            Some("0123456789abcdef".into())
        }

        fn file(&self, _: &Path) -> io::Result<String> {
            Ok(crate::trust::SecretKey::generate().public().to_pem())
        }
    }

    /// The keys of all mappings that the schema knows.
    fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
        let members = |of: &str| schema[of].as_object().into_iter().flatten();
        found.extend(members("properties").map(|(key, _)| key.clone()));
        members("properties").chain(members("$defs")).for_each(|(_, inner)| keys(inner, found));
        let choices = ["oneOf", "anyOf"].into_iter().filter_map(|of| schema[of].as_array()).flatten();
        choices.for_each(|choice| keys(choice, found));
    }

    let page = include_str!("../../../../../docs/pipeline.md");
    let examples: Vec<&str> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in &examples {
        parse(example, Path::new("pipeline.yaml"), &Operator).unwrap_or_else(|error| panic!("{error}"));
    }
    let mut known = Vec::new();
    keys(&schema(), &mut known);
    let is_shown = |key: &&String| examples.iter().any(|example| example.contains(&format!("{key}:")));
    let missing: Vec<&String> = known.iter().filter(|key| !is_shown(key)).collect();
    // Kinds of failure, which a comment lists.
    assert!(known.len() > 60 && missing.iter().all(|key| page.contains(key.as_str())), "{missing:?}");
}
