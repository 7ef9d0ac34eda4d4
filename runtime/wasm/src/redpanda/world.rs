use std::collections::BTreeMap;

use serde_json::Value;

use crate::instance::{InstanceSpec, Topics};

const INPUT_TOPIC: &str = "REDPANDA_INPUT_TOPIC";

/// What a transform knows of the world outside: its arguments, its environment, and the topics that it may write to. No
/// `Debug`: there may be secrets in an environment.
pub(crate) struct World {
    pub(super) arguments: Vec<String>,
    /// Entries such as `NAME=value`, in the order of their names.
    pub(super) environment: Vec<String>,
    default_topic: Option<String>,
    outputs: Vec<String>,
}

impl World {
    /// The world of a stage. The environment is its configuration, and the variables that Redpanda sets. What a transform
    /// takes for a topic to write to is the name of an output, behind which a pipeline may put any topic.
    ///
    /// # Errors
    /// What the configuration has that cannot be in an environment.
    pub(crate) fn of(spec: &InstanceSpec, name: &str) -> Result<World, String> {
        let Topics { input, output } = &spec.topics;
        let mut variables = BTreeMap::new();
        variables.extend(input.clone().map(|topic| (INPUT_TOPIC.to_owned(), topic)));
        variables.extend(output.clone().map(|topic| (output_topic(0), topic)));
        variables.extend((1..).zip(&spec.outputs).map(|(number, name)| (output_topic(number), name.clone())));
        variables.extend(configured(&spec.config)?);
        Ok(World {
            arguments: vec![name.to_owned()],
            environment: variables.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            default_topic: variables.get(&output_topic(0)).cloned(),
            outputs: spec.outputs.clone(),
        })
    }

    /// The index of the output that a transform knows by this topic, -1 for the default one; none if there is no such output.
    pub(super) fn output(&self, topic: &str) -> Option<i32> {
        match self.outputs.iter().position(|name| name == topic) {
            Some(index) => i32::try_from(index).ok(),
            None => (self.default_topic.as_deref() == Some(topic)).then_some(-1),
        }
    }
}

fn output_topic(number: usize) -> String {
    format!("REDPANDA_OUTPUT_TOPIC_{number}")
}

fn configured(config: &str) -> Result<BTreeMap<String, String>, String> {
    let object: BTreeMap<String, Value> =
        serde_json::from_str(config).map_err(|error| format!("it is no JSON object: {error}"))?;
    let variable = |(name, value): (String, Value)| {
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            _ => return Err(format!("'{name}' is an environment variable: give it text, a number, or true or false")),
        };
        if name.is_empty() || name.contains(['=', '\0']) || text.contains('\0') {
            return Err(format!("'{name}' cannot be in an environment: no name has =, and nothing there a zero byte"));
        }
        Ok((name, text))
    };
    object.into_iter().map(variable).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::allow::Allow;
    use crate::instance::InstanceLimits;

    fn world(config: &str, topics: Topics) -> Result<World, String> {
        let spec = InstanceSpec {
            pipeline: "trades".into(),
            stage: "first".into(),
            config: config.into(),
            outputs: vec!["large".into(), "audit".into()],
            topics,
            limits: InstanceLimits::default(),
            allow: Allow::default(),
            counters: Arc::default(),
            log: Arc::default(),
            role: None,
        };
        World::of(&spec, "mask")
    }

    #[test]
    fn the_environment_is_redpandas_and_the_configuration() {
        let topics = Topics { input: Some("trades".into()), output: Some("trades.clean".into()) };
        let config = r#"{ "LIMIT": 3.5, "STRICT": true, "REDPANDA_INPUT_TOPIC": "mine" }"#;
        let world = world(config, topics).unwrap();
        let expected = [
            "LIMIT=3.5",
            "REDPANDA_INPUT_TOPIC=mine",
            "REDPANDA_OUTPUT_TOPIC_0=trades.clean",
            "REDPANDA_OUTPUT_TOPIC_1=large",
            "REDPANDA_OUTPUT_TOPIC_2=audit",
            "STRICT=true",
        ];
        assert_eq!(world.environment, expected);
        assert_eq!(world.arguments, ["mask"]);
        let outputs = ["trades.clean", "large", "audit", "trades"].map(|topic| world.output(topic));
        assert_eq!(outputs, [Some(-1), Some(0), Some(1), None]);
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let world = world("{}", Topics::default()).unwrap();
        assert_eq!(world.environment, ["REDPANDA_OUTPUT_TOPIC_1=large", "REDPANDA_OUTPUT_TOPIC_2=audit"]);
    }

    #[test]
    fn the_default_output_may_be_called_otherwise() {
        let topics = Topics { input: None, output: Some("trades.clean".into()) };
        let world = world(r#"{ "REDPANDA_OUTPUT_TOPIC_0": "clean" }"#, topics).unwrap();
        assert_eq!(["clean", "trades.clean"].map(|topic| world.output(topic)), [Some(-1), None]);
    }

    #[test]
    fn what_no_environment_can_hold_is_refused() {
        for (config, named) in
            [(r#"{ "a": [1] }"#, "'a'"), (r#"{ "b": null }"#, "'b'"), (r#"{ "c=d": "" }"#, "'c=d'"), ("[]", "JSON")]
        {
            let refusal = world(config, Topics::default()).err().expect(config);
            assert!(refusal.contains(named), "{refusal}");
        }
        assert!(world("{ \"e\": \"\\u0000\" }", Topics::default()).is_err());
    }
}
