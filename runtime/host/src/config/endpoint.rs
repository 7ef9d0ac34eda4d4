//! Where records come from and go to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::id_header::IdHeader;
use super::quantity::Start;
use super::secret::Properties;

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Topics of Kafka, or of anything that speaks its protocol.
    Kafka(KafkaSource),
    /// Topics of the embedded log: nothing to install, one machine.
    Local(LocalSource),
}

/// Topics of Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KafkaSource {
    /// Host and port of one or more brokers, from which the others are found.
    #[serde(deserialize_with = "joined")]
    #[schemars(with = "OneOrMany")]
    pub brokers: String,
    /// One topic or several; one that begins with ^ is a regular expression.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub topics: Vec<String>,
    /// The consumer group; by default the pipeline's name.
    #[serde(default)]
    pub group: String,
    /// Where to begin a partition of which the group has no offset yet.
    #[serde(default)]
    pub start: Start,
    /// What to do where the group's offset of a partition is gone: retention passed it, or the topic was made anew.
    #[serde(default)]
    pub on_missing_offset: OnMissingOffset,
    /// Further librdkafka properties, except those that would break the promise. group.instance.id gets the worker's
    /// number appended where there are several.
    #[serde(default)]
    pub properties: Properties,
}

/// Topics of the embedded log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LocalSource {
    /// The folder that holds the log; a relative one starts at the configuration file.
    pub path: PathBuf,
    /// One topic or several.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub topics: Vec<String>,
    /// The consumer group; by default the pipeline's name.
    #[serde(default)]
    pub group: String,
    /// Where to begin a partition of which the group has no offset yet.
    #[serde(default)]
    pub start: Start,
    /// What to do where the group's offset of a partition is gone: the topic's retention passed it.
    #[serde(default)]
    pub on_missing_offset: OnMissingOffset,
}

/// Where outputs go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sink {
    /// Topics of Kafka, or of anything that speaks its protocol.
    Kafka(KafkaSink),
    /// Topics of the embedded log: nothing to install, one machine.
    Local(LocalSink),
}

/// Topics of Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KafkaSink {
    /// Host and port of one or more brokers; by default the source's.
    #[serde(default, deserialize_with = "joined")]
    #[schemars(with = "OneOrMany")]
    pub brokers: String,
    /// The default output.
    pub topic: String,
    /// How a partition is chosen.
    #[serde(default)]
    pub partition: Partitioning,
    /// Topics of the outputs that plugins choose by name.
    #[serde(default)]
    pub outputs: Outputs,
    /// The header that carries each output's stable id, which is the same whatever crashes: true (sluicegate-id), a name
    /// for it, or false for none. By default true under at-least-once, false under exactly-once.
    #[serde(default)]
    pub id_header: IdHeader,
    /// Whether each output says which plugins made it, in the header sluicegate-plugin-digest: the SHA-256 of each stage's
    /// plugin, in order, with commas between.
    #[serde(default)]
    pub plugin_header: bool,
    /// Further librdkafka properties, except those that would break the promise.
    #[serde(default)]
    pub properties: Properties,
}

/// Topics of the embedded log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LocalSink {
    /// The folder that holds the log; a relative one starts at the configuration file.
    pub path: PathBuf,
    /// The default output.
    pub topic: String,
    /// How a partition is chosen.
    #[serde(default)]
    pub partition: Partitioning,
    /// Topics of the outputs that plugins choose by name.
    #[serde(default)]
    pub outputs: Outputs,
    /// The header that carries each output's stable id, which is the same whatever crashes: true (sluicegate-id), a name
    /// for it, or false for none. By default true under at-least-once, false under exactly-once.
    #[serde(default)]
    pub id_header: IdHeader,
    /// Whether each output says which plugins made it, in the header sluicegate-plugin-digest: the SHA-256 of each stage's
    /// plugin, in order, with commas between.
    #[serde(default)]
    pub plugin_header: bool,
}

/// How a partition is chosen for an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Partitioning {
    /// By the key's murmur2 hash, as Java clients do.
    #[default]
    ByKey,
    /// The number of the partition that the record came from.
    Same,
}

/// What to do where the group's offset of a partition is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnMissingOffset {
    /// Stop, and say what is left: records may be lost.
    #[default]
    Stop,
    /// Go on with the oldest record that is left, and log a warning.
    Earliest,
    /// Go on with what comes from now on, and log a warning.
    Latest,
}

impl Source {
    /// The key of this kind of source.
    pub fn kind(&self) -> &'static str {
        match self {
            Source::Kafka(_) => "kafka",
            Source::Local(_) => "local",
        }
    }

    /// The topics, or regular expressions that begin with ^.
    pub fn topics(&self) -> &[String] {
        match self {
            Source::Kafka(kafka) => &kafka.topics,
            Source::Local(local) => &local.topics,
        }
    }

    /// The consumer group.
    pub fn group(&self) -> &str {
        match self {
            Source::Kafka(kafka) => &kafka.group,
            Source::Local(local) => &local.group,
        }
    }
}

impl Sink {
    /// The key of this kind of sink.
    pub fn kind(&self) -> &'static str {
        match self {
            Sink::Kafka(_) => "kafka",
            Sink::Local(_) => "local",
        }
    }

    /// The topic of the default output.
    pub fn topic(&self) -> &str {
        match self {
            Sink::Kafka(kafka) => &kafka.topic,
            Sink::Local(local) => &local.topic,
        }
    }

    /// The named outputs, in the order in which plugins number them.
    pub fn outputs(&self) -> &Outputs {
        match self {
            Sink::Kafka(kafka) => &kafka.outputs,
            Sink::Local(local) => &local.outputs,
        }
    }

    /// The header that carries each output's stable id.
    pub fn id_header(&self) -> Option<&str> {
        match self {
            Sink::Kafka(kafka) => kafka.id_header.name(),
            Sink::Local(local) => local.id_header.name(),
        }
    }

    /// Whether outputs say which plugins made them.
    pub fn plugin_header(&self) -> bool {
        match self {
            Sink::Kafka(kafka) => kafka.plugin_header,
            Sink::Local(local) => local.plugin_header,
        }
    }
}

/// Named outputs and their topics, in the order of the file: plugins refer to them by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs(Vec<(String, String)>);

impl Outputs {
    /// Names and topics, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, topic)| (name.as_str(), topic.as_str()))
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Outputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Outputs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names to topics")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outputs, A::Error> {
                let mut outputs = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    outputs.push(entry);
                }
                Ok(Outputs(outputs))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

impl serde::Serialize for Outputs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl JsonSchema for Outputs {
    fn schema_name() -> Cow<'static, str> {
        "Outputs".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, String>::json_schema(generator)
    }
}

/// For the schema: one of a thing without brackets, or a list.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum OneOrMany {
    One(String),
    Many(#[schemars(length(min = 1))] Vec<String>),
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name or a list of names")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<Vec<String>, E> {
            Ok(vec![name.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = seq.next_element()? {
                names.push(name);
            }
            Ok(names)
        }
    }

    deserializer.deserialize_any(Names)
}

fn joined<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let brokers = one_or_many(deserializer)?.join(",");
    Ok(brokers.split(',').map(str::trim).collect::<Vec<_>>().join(","))
}
