//! What a plugin sees: its configuration, its records, its counters.

use std::fmt::Write as _;

use serde::Deserialize;
use sluicegate_plugin::schemars::{self, JsonSchema};
use sluicegate_plugin::testing::{Input, Outcome, counts, run, schema};
use sluicegate_plugin::{Error, NoConfig, Outcome as Said, Outputs, Plugin, Record, count, log};

/// Emits a line that shows everything a record has.
struct Shows {
    prefix: String,
    seen: u64,
}

/// How lines look.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// Stands before each line.
    line_prefix: String,
    #[serde(default)]
    nested: Vec<Nested>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nested {
    port: u16,
}

impl Plugin for Shows {
    type Config = Config;

    fn configure(config: Config, _: &Outputs) -> Result<Self, Error> {
        if let Some(nested) = config.nested.first() {
            return Err(Error::new(format_args!("port {} is taken", nested.port)));
        }
        "7".parse::<u64>()?;
        Ok(Shows { prefix: config.line_prefix, seen: 0 })
    }

    fn process(&mut self, record: Record<'_>) -> Said {
        self.seen += 1;
        count("seen", 1);
        log::debug!("record {} of this instance", self.seen);
        let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
        let (key, timestamp, last) = (record.key(), record.timestamp(), record.header("a").and_then(|a| a.value));
        let headers: Vec<_> = record.headers().map(|header| (header.key, header.value)).collect();
        let mut output = record.emit();
        let mut line = output.write_value();
        line.extend_from_slice(self.prefix.as_bytes());
        write!(line, "{} {topic} {partition} {offset} {key:?} {timestamp:?} {last:?} {headers:?}", self.seen).unwrap();
        drop(line);
        output.done()
    }
}

fn lines(outcomes: &[Outcome]) -> Vec<String> {
    let line = |outcome: &Outcome| match outcome {
        Outcome::Emit(outputs) => String::from_utf8(outputs[0].value.clone().unwrap()).unwrap(),
        other => panic!("{other:?}"),
    };
    outcomes.iter().map(line).collect()
}

#[test]
fn a_plugin_sees_the_record_as_it_is() {
    let inputs = [
        Input::new()
            .topic("t")
            .partition(3)
            .offset(70)
            .key("")
            .header("a", None)
            .header("a", Some(""))
            .header("b", None),
        Input::new().topic("t").partition(3).offset(72).timestamp(-1),
        Input::new().topic("t").partition(4).timestamp(i64::MAX).header("a", Some("x")).header("a", None),
    ];
    let outcomes = run::<Shows>(r#"{"line-prefix": "> "}"#, &[], inputs).unwrap();
    let [a, b] = [b"a", b"b"].map(|name| format!("{name:?}"));
    assert_eq!(
        lines(&outcomes),
        [
            format!("> 1 t 3 70 Some([]) None Some([]) [({a}, None), ({a}, Some([])), ({b}, None)]"),
            "> 2 t 3 72 None Some(-1) None []".to_owned(),
            format!("> 3 t 4 2 None Some({}) None [({a}, Some([120])), ({a}, None)]", i64::MAX),
        ]
    );
    assert_eq!(counts(), [("seen", 3)]);
    assert_eq!(counts(), []);
}

#[test]
fn time_and_chance_are_the_records_own() {
    /// Shows both.
    struct Draws;

    impl Plugin for Draws {
        type Config = NoConfig;

        fn configure(_: NoConfig, _: &Outputs) -> Result<Self, Error> {
            Ok(Draws)
        }

        fn process(&mut self, record: Record<'_>) -> Said {
            let (now, mut random) = (record.now(), record.random());
            assert_eq!(record.random().next_u64(), random.clone().next_u64());
            let drawn = [(); 2].map(|()| random.below(1000));
            record.emit().value(format!("{now} {drawn:?}").as_bytes()).done()
        }
    }

    let at = |offset| Input::new().topic("t").partition(3).offset(offset).timestamp(offset as i64 * 10);
    let draw = |inputs: Vec<Input>| lines(&run::<Draws>("{}", &[], inputs).unwrap());
    let all = draw((0..20).map(at).collect());
    let alone: Vec<_> = (0..20).flat_map(|offset| draw(vec![at(offset)])).collect();
    assert_eq!(all, alone);
    // As they will be for ever.
    assert_eq!(all[..2], ["0 [119, 999]", "10 [519, 612]"]);
    for elsewhere in [at(7).topic("u"), at(7).partition(4), at(8).timestamp(70)] {
        assert_ne!(draw(vec![elsewhere]), all[7..8]);
    }
    assert_eq!(draw(vec![Input::new()])[0].split(' ').next(), Some("0"));
}

#[test]
fn headers_are_found_however_many_records_did_not_ask() {
    /// Asks every third record only.
    struct Lazy;

    impl Plugin for Lazy {
        type Config = NoConfig;

        fn configure(_: NoConfig, _: &Outputs) -> Result<Self, Error> {
            Ok(Lazy)
        }

        fn process(&mut self, record: Record<'_>) -> Said {
            if !record.offset().is_multiple_of(3) {
                return Said::Pass;
            }
            let value = record.header("n").and_then(|header| header.value).unwrap_or_default();
            assert_eq!(record.headers().count() as u64, record.offset() + 1);
            record.emit().value(value).done()
        }
    }

    let inputs = (0..10).map(|number: u32| {
        let input = (0..number).fold(Input::new(), |input, _| input.header("other", None));
        input.header("n", Some(&"x".repeat(number as usize)))
    });
    let outcomes = run::<Lazy>("{}", &[], inputs).unwrap();
    let found: Vec<_> = outcomes.iter().filter(|outcome| **outcome != Outcome::Pass).cloned().collect();
    assert_eq!(lines(&found), ["", "xxx", "xxxxxx", "xxxxxxxxx"]);
}

#[test]
fn a_configuration_that_does_not_fit_says_where() {
    let refusal = |config| run::<Shows>(config, &[], []).unwrap_err();
    assert_eq!(refusal("{}"), "missing field `line-prefix`");
    assert_eq!(
        refusal(r#"{"line-prefix": "", "nested": [{"port": 1}, {"port": 70000}]}"#),
        "nested[1].port: invalid value: integer `70000`, expected u16"
    );
    assert_eq!(
        refusal(r#"{"line-prefix": "", "colour": 1}"#),
        "colour: unknown field `colour`, expected `line-prefix` or `nested`"
    );
    assert_eq!(refusal(r#"{"line-prefix": "", "nested": [{"port": 8080}]}"#), "port 8080 is taken");
}

#[test]
fn the_schema_shows_the_configuration() {
    let schema: serde_json::Value = serde_json::from_str(&schema::<Shows>()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], serde_json::json!(["line-prefix"]));
    assert_eq!(schema["properties"]["line-prefix"]["description"], "Stands before each line.");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
#[should_panic(expected = "an outcome that was made for another record")]
fn an_outcome_kept_for_another_record_is_caught() {
    struct Keeps(Option<Said>);

    impl Plugin for Keeps {
        type Config = NoConfig;

        fn configure(_: NoConfig, _: &Outputs) -> Result<Self, Error> {
            Ok(Keeps(None))
        }

        fn process(&mut self, record: Record<'_>) -> Said {
            match self.0.take() {
                Some(kept) => kept,
                None => {
                    self.0 = Some(record.emit().value(b"x").done());
                    Said::Pass
                }
            }
        }
    }

    let _ = run::<Keeps>("{}", &[], [Input::new(), Input::new()]);
}
