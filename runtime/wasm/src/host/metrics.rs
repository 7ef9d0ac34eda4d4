use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level;

use crate::bindings::common::sluicegate::plugin::metrics as contract;
use crate::host::State;
use crate::words::clean;

const NAMES_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;

/// The counters of one stage, shared by its instances on all workers. They outlive instances and only grow.
#[derive(Debug, Default)]
pub struct PluginCounters {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl PluginCounters {
    /// Name (without the prefix `plugin_`) and value of every counter, by name. Any thread, any time.
    pub fn read(&self) -> Vec<(String, u64)> {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.iter().map(|(name, counter)| (name.clone(), counter.load(Ordering::Relaxed))).collect()
    }

    fn counter(&self, name: &str) -> Result<Arc<AtomicU64>, &'static str> {
        let legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(legal) {
            return Err("a name has 1 to 64 of a-z, 0-9 and _");
        }
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get(name) {
            return Ok(Arc::clone(counter));
        }
        if counters.len() == NAMES_MAX {
            return Err("a plugin has 32 names");
        }
        Ok(Arc::clone(counters.entry(name.to_owned()).or_default()))
    }
}

/// One instance's way to the stage's counters: locks only for a name that it has not used before.
pub(crate) struct Counters {
    shared: Arc<PluginCounters>,
    known: HashMap<String, Arc<AtomicU64>>,
    warned: bool,
}

impl Counters {
    pub(crate) fn new(shared: Arc<PluginCounters>) -> Self {
        Counters { shared, known: HashMap::new(), warned: false }
    }

    fn add(&mut self, name: &str, by: u64) -> Result<(), &'static str> {
        if !self.known.contains_key(name) {
            self.known.insert(name.to_owned(), self.shared.counter(name)?);
        }
        self.known[name].fetch_add(by, Ordering::Relaxed);
        Ok(())
    }
}

impl contract::Host for State {
    fn count(&mut self, name: String, by: u64) {
        if let Err(why) = self.counters.add(&name, by)
            && !std::mem::replace(&mut self.counters.warned, true)
        {
            let name = clean(&name, NAME_BYTES_MAX);
            self.log.line(Level::WARN, &format!("counter '{name}' is not counted: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_limited_and_instances_share() {
        let shared = Arc::new(PluginCounters::default());
        let (mut one, mut two) = (Counters::new(Arc::clone(&shared)), Counters::new(Arc::clone(&shared)));
        for bad in ["", "A", "a-b", &"x".repeat(65)] {
            assert!(one.add(bad, 1).is_err(), "{bad}");
        }
        for i in 0..NAMES_MAX {
            one.add(&format!("n{i}"), 1).unwrap();
        }
        assert!(one.add("one_more", 1).is_err());
        two.add("n3", 4).unwrap();
        two.add("n3", 5).unwrap();
        assert!(shared.read().contains(&("n3".to_owned(), 10)));
        assert_eq!(shared.read().len(), NAMES_MAX);
    }
}
