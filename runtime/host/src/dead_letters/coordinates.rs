use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Value, json};
use sluicegate_core::{Partition, Story};

/// Where a record stands, written `topic/partition@offset`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coordinates {
    /// The topic and the number of the partition.
    pub partition: Partition,
    /// The offset.
    pub offset: u64,
}

impl Coordinates {
    /// Where a dead letter's record came from.
    pub(crate) fn of_source(story: &Story) -> Self {
        Coordinates { partition: story.source.clone(), offset: story.offset }
    }

    pub(crate) fn as_json(&self) -> Value {
        let Coordinates { partition: Partition { topic, number }, offset } = self;
        json!({ "topic": &**topic, "partition": number, "offset": offset })
    }
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Coordinates { partition: Partition { topic, number }, offset } = self;
        write!(f, "{topic}/{number}@{offset}")
    }
}

impl FromStr for Coordinates {
    type Err = String;

    /// Takes `topic[partition]@offset` too, which is how logs write it.
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (partition, offset) = text.rsplit_once('@')?;
            let bracketed = partition.strip_suffix(']').and_then(|partition| partition.rsplit_once('['));
            let (topic, number) = bracketed.or_else(|| partition.rsplit_once('/'))?;
            let number = number.parse().ok()?;
            let partition = Partition { topic: Arc::from(topic), number };
            (!topic.is_empty()).then_some(Coordinates { partition, offset: offset.parse().ok()? })
        };
        parse().ok_or_else(|| format!("'{text}' is no place of a record; expected TOPIC/PARTITION@OFFSET"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_read_back() {
        for text in ["dead/0@42", "a.b-c_D/17@18446744073709551615"] {
            assert_eq!(text.parse::<Coordinates>().unwrap().to_string(), text);
        }
        assert_eq!("dead[3]@42".parse::<Coordinates>().unwrap().to_string(), "dead/3@42");
        for text in ["", "dead", "dead/0", "dead@1", "/0@1", "dead/x@1", "dead/0@-1", "dead/0@", "0@1"] {
            assert!(text.parse::<Coordinates>().is_err(), "{text}");
        }
    }
}
