use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use sluicegate_kafka::{ClientConfig, Topics as KafkaTopics};
use sluicegate_local::{Log, Retention, TopicSettings};

use crate::config::{self, Size, Time};
use crate::console::say;
use crate::exit::Exit;

/// Which topics a command is about: Kafka's, or an embedded log's.
#[derive(Args, Clone)]
pub(super) struct Place {
    /// Kafka's brokers, as host:port.
    #[arg(long, env = "SLUICEGATE_BROKERS", required_unless_present = "local", conflicts_with = "local")]
    brokers: Option<String>,
    /// The folder of an embedded log.
    #[arg(long)]
    local: Option<PathBuf>,
    /// A librdkafka property, such as security.protocol=SSL; may be repeated. In its value, ${NAME} is a variable of the
    /// environment, ${file:PATH} a file's text, and $$ a dollar sign. Passwords are best given so, in single quotes:
    /// everybody on a machine sees the arguments of its processes.
    #[arg(long = "property", short = 'X', value_name = "KEY=VALUE", conflicts_with = "local")]
    properties: Vec<String>,
}

/// [`Place`], made out.
pub(super) enum Backend {
    Kafka(ClientConfig),
    Local(Log),
}

impl Place {
    pub(super) fn open(&self) -> Result<Backend, Exit> {
        if let Some(path) = &self.local {
            // Beside a pipeline that may be running on it.
            return Ok(Backend::Local(Log::visit(path)?));
        }
        let properties = self.properties.iter().map(|text| property(text)).collect::<Result<_, Exit>>()?;
        Ok(Backend::Kafka(ClientConfig { brokers: self.brokers.clone().unwrap_or_default(), properties }))
    }
}

fn property(text: &str) -> Result<(String, String), Exit> {
    // The text is not shown: it may be a password.
    let expected = "--property: expected KEY=VALUE, such as security.protocol=SSL";
    let (key, value) = text.split_once('=').ok_or_else(|| Exit::usage(expected))?;
    let value = config::expand_text(value, Path::new(""), &config::Process);
    Ok((key.to_owned(), value.map_err(|error| Exit::usage(format!("--property {key}: {error}")))?))
}

#[derive(Args)]
pub(super) struct Topics {
    #[command(subcommand)]
    command: TopicsCommand,
}

#[derive(Subcommand)]
enum TopicsCommand {
    /// List topics and their partitions.
    List {
        #[command(flatten)]
        place: Place,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Create a topic.
    Create {
        /// Its name.
        topic: String,
        /// How many partitions.
        #[arg(long, default_value_t = 1)]
        partitions: u32,
        /// How many brokers keep each record; by default as the brokers are set. Kafka only.
        #[arg(long)]
        replication: Option<u32>,
        /// How long records are kept, such as 7d; by default as the brokers are set, or for ever in an embedded log.
        #[arg(long, value_name = "TIME")]
        retention: Option<Time>,
        /// How much of each partition is kept, such as 1GiB.
        #[arg(long, value_name = "SIZE")]
        retention_bytes: Option<Size>,
        #[command(flatten)]
        place: Place,
    },
    /// Delete a topic and all its records.
    Delete {
        /// Its name.
        topic: String,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn run(options: &Topics) -> Result<(), Exit> {
    match &options.command {
        TopicsCommand::List { place, json } => list(place, *json),
        TopicsCommand::Create { topic, partitions, replication, retention, retention_bytes, place } => {
            let (age, bytes) = (retention.map(|time| time.0), retention_bytes.map(|size| size.0));
            match place.open()? {
                Backend::Kafka(config) => {
                    let age = age.map(|age| ("retention.ms", age.as_millis().to_string()));
                    let bytes = bytes.map(|bytes| ("retention.bytes", bytes.to_string()));
                    let settings: Vec<_> =
                        age.iter().chain(&bytes).map(|(key, value)| (*key, value.as_str())).collect();
                    KafkaTopics::new(&config)?.create(topic, *partitions, *replication, &settings)?;
                }
                Backend::Local(log) => {
                    let retention = Retention { bytes, age };
                    log.create_topic(topic, &TopicSettings { partitions: *partitions, retention })?;
                }
            }
            say!("created {topic} with {partitions} partitions");
            Ok(())
        }
        TopicsCommand::Delete { topic, place } => {
            match place.open()? {
                Backend::Kafka(config) => KafkaTopics::new(&config)?.delete(topic)?,
                Backend::Local(log) => log.delete_topic(topic)?,
            }
            say!("deleted {topic}");
            Ok(())
        }
    }
}

fn list(place: &Place, as_json: bool) -> Result<(), Exit> {
    let topics: Vec<(String, usize)> = match place.open()? {
        Backend::Kafka(config) => {
            let topics = KafkaTopics::new(&config)?.list()?;
            topics.into_iter().map(|topic| (topic.name, topic.partitions.len())).collect()
        }
        Backend::Local(log) => log.topics()?.into_iter().map(|topic| (topic.name, topic.partitions.len())).collect(),
    };
    if as_json {
        let rows: Vec<_> =
            topics.iter().map(|(name, partitions)| json!({ "name": name, "partitions": partitions })).collect();
        return super::print_json(&rows);
    }
    let width = topics.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(5);
    say!("{:<width$}  PARTITIONS", "TOPIC");
    for (name, partitions) in topics {
        say!("{name:<width$}  {partitions}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_from_a_file_and_shown_by_no_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "hunter=2\n").unwrap();
        let (key, value) = property(&format!("sasl.password=${{file:{}}}", file.path().display())).unwrap();
        assert_eq!((key.as_str(), value.as_str()), ("sasl.password", "hunter=2"));
        assert_eq!(property("x=a=b$").unwrap().1, "a=b$");
        let refused = |text| property(text).unwrap_err().message;
        assert!(!refused("sasl.password:hunter2").contains("hunter2"));
        assert!(
            refused("sasl.password=${NO_SUCH_VARIABLE}").contains("sasl.password: the environment variable NO_SUCH")
        );
    }
}
