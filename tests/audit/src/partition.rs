use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub number: u32,
}

impl Partition {
    /// This partition of this topic.
    pub fn new(topic: &str, number: u32) -> Self {
        Partition { topic: topic.into(), number }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.number)
    }
}

/// Something for each partition, found without owning the topic's name.
#[derive(Debug)]
pub(crate) struct Partitions<T>(BTreeMap<Arc<str>, BTreeMap<u32, T>>);

impl<T> Default for Partitions<T> {
    fn default() -> Self {
        Partitions(BTreeMap::new())
    }
}

impl<T> Partitions<T> {
    pub(crate) fn get_mut(&mut self, topic: &str, number: u32) -> Option<&mut T> {
        self.0.get_mut(topic)?.get_mut(&number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Partition, &T)> {
        self.0.iter().flat_map(|(topic, numbers)| {
            numbers.iter().map(|(number, each)| (Partition { topic: Arc::clone(topic), number: *number }, each))
        })
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut().flat_map(BTreeMap::values_mut)
    }
}

impl<T: Default> Partitions<T> {
    pub(crate) fn entry(&mut self, partition: &Partition) -> &mut T {
        if !self.0.contains_key(&partition.topic) {
            self.0.insert(Arc::clone(&partition.topic), BTreeMap::new());
        }
        self.0.entry(Arc::clone(&partition.topic)).or_default().entry(partition.number).or_default()
    }
}
