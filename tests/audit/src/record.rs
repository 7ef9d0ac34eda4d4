/// A header's name and value; a null value is not an empty one.
pub type Header = (Vec<u8>, Option<Vec<u8>>);

/// What a record says, wherever it lies. The header that carries an output's id is not part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The key; null is not empty.
    pub key: Option<Vec<u8>>,
    /// The value; null, a tombstone, is not empty.
    pub value: Option<Vec<u8>>,
    /// In order, with duplicates.
    pub headers: Vec<Header>,
    /// Milliseconds since the Unix epoch, where there is one.
    pub timestamp: Option<i64>,
}

impl Record {
    /// In what `self`, which is there, differs from `expected`; where it is to tell a story, further headers follow, with these
    /// among them.
    pub(crate) fn difference(&self, expected: &Record, story: Option<&[Header]>) -> Option<String> {
        let (headers, told) = match story {
            Some(_) => self.headers.split_at(expected.headers.len().min(self.headers.len())),
            None => (&self.headers[..], &[][..]),
        };
        let untold = story.and_then(|story| story.iter().find(|header| !told.contains(header)));
        if self.key != expected.key {
            Some(format!("key {} instead of {}", shown(&self.key), shown(&expected.key)))
        } else if self.value != expected.value {
            Some(format!("value {} instead of {}", shown(&self.value), shown(&expected.value)))
        } else if headers != expected.headers {
            Some(format!("headers {} instead of {}", listed(headers), listed(&expected.headers)))
        } else if self.timestamp != expected.timestamp {
            Some(format!("timestamp {:?} instead of {:?}", self.timestamp, expected.timestamp))
        } else {
            untold.map(|header| format!("{} where {} is to be", listed(told), listed(std::slice::from_ref(header))))
        }
    }
}

/// Bytes for a person: short, and null is not empty.
fn shown(bytes: &Option<Vec<u8>>) -> String {
    const BYTES_MAX: usize = 40;
    match bytes {
        None => "null".into(),
        Some(bytes) if bytes.len() > BYTES_MAX => {
            format!("\"{}…\" ({} bytes)", bytes[..BYTES_MAX].escape_ascii(), bytes.len())
        }
        Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
    }
}

fn listed(headers: &[Header]) -> String {
    let each = headers.iter().map(|(name, value)| format!("{}={}", name.escape_ascii(), shown(value)));
    format!("[{}]", each.collect::<Vec<_>>().join(", "))
}

/// An output's stable id: the pipeline, the record that caused it, and its number among that record's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The topic of the record that caused it.
    pub topic: &'a str,
    /// That record's partition.
    pub partition: u32,
    /// That record's offset.
    pub offset: u64,
    /// The output's number among that record's, from 0.
    pub index: u32,
}

impl<'a> Id<'a> {
    /// Reads `pipeline/topic/partition/offset/index`; no topic has a `/` in its name, a pipeline may.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.rsplitn(5, '/');
        let index = parts.next()?.parse().ok()?;
        let offset = parts.next()?.parse().ok()?;
        let partition = parts.next()?.parse().ok()?;
        let topic = parts.next()?;
        Some(Id { pipeline: parts.next()?, topic, partition, offset, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_the_right() {
        let id = Id::parse("a/b/trades/3/41/2").unwrap();
        assert_eq!((id.pipeline, id.topic, id.partition, id.offset, id.index), ("a/b", "trades", 3, 41, 2));
        for bad in ["", "trades/3/41/2", "p/trades/3/41/x", "p/trades/-1/41/2"] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }
}
