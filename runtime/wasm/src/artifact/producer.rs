use wasmparser::{BinaryReader, ProducersSectionReader};

use super::Artifact;
use crate::words::clean;

/// One entry of the `producers` that tools leave in what they make, or the SDK that says so itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// `language`, `sdk` or `processed-by`.
    pub field: String,
    /// For example `Rust`.
    pub name: String,
    /// For example `2024`; may be empty.
    pub version: String,
}

/// The custom section in which an SDK writes its name and version, with a space between them.
pub(super) const SDK_SECTION: &str = "sluicegate-sdk";
/// Any more are ignored: each is compared with all before it, and no toolchain leaves as many.
const PRODUCERS_MAX: usize = 64;
/// What is kept of a producer's name or version, in bytes.
const PRODUCER_BYTES_MAX: usize = 256;

impl Artifact {
    pub(super) fn add_sdk(&mut self, section: &[u8]) {
        let said = String::from_utf8_lossy(section);
        let (name, version) = said.split_once(' ').unwrap_or((&said, ""));
        self.add_producer("sdk", name, version);
    }

    pub(super) fn add_producers(&mut self, section: &[u8]) -> wasmparser::Result<()> {
        for field in ProducersSectionReader::new(BinaryReader::new(section, 0))? {
            let field = field?;
            for value in field.values {
                let value = value?;
                self.add_producer(field.name, value.name, value.version);
            }
        }
        Ok(())
    }

    fn add_producer(&mut self, field: &str, name: &str, version: &str) {
        if self.producers.len() == PRODUCERS_MAX {
            return;
        }
        // A file can say anything here, and it is shown to people.
        let [field, name, version] = [field, name, version].map(|said| clean(said, PRODUCER_BYTES_MAX));
        let producer = Producer { field, name, version };
        if !self.producers.contains(&producer) {
            self.producers.push(producer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_are_limited_in_number_and_told_once() {
        let twice = |number: usize| format!("(processed-by \"tool\" \"{number}\")").repeat(2);
        let wat = format!(
            "(component (@producers {}) (instance $i)
                (export \"sluicegate:plugin/lifecycle@0.1.0\" (instance $i))
                (export \"sluicegate:plugin/transform@0.1.0\" (instance $i)))",
            (0..1000).map(twice).collect::<String>()
        );
        let producers = Artifact::read(&wat::parse_str(wat).unwrap()).unwrap().producers;
        let versions: Vec<_> = producers.into_iter().map(|producer| producer.version).collect();
        assert_eq!(versions, (0..PRODUCERS_MAX).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}
