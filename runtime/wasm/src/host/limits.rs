use wasmtime::ResourceLimiter;

/// Elements of all tables; function tables of the largest plugins have some 20,000.
const TABLE_ELEMENTS_MAX: usize = 200_000;
/// Core instances, memories and tables of one component; those of interpreters have a few dozen.
const INSTANCES_MAX: usize = 256;

/// Keeps a store within its memory, and remembers that it had to: a plugin that is refused memory mostly traps, and
/// the trap does not say why.
#[derive(Debug)]
pub(crate) struct Limits {
    memory_bytes_max: usize,
    memory_bytes: usize,
    table_elements: usize,
    /// By how much memory grew last: that is taken back if it fails to.
    growth_bytes: usize,
    /// Why the plugin was refused memory last, if it was since the last call began.
    pub(crate) refusal: Option<Refusal>,
}

/// Why a plugin does not get the memory that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// All its memories together would have more than the stage grants.
    #[error("asked for {bytes} bytes of memory; limits.memory is {max}")]
    Limit { bytes: usize, max: usize },
    /// One of its memories would be larger than it says it ever is.
    #[error("asked for {bytes} bytes in a memory whose own maximum is {max}")]
    OwnMaximum { bytes: usize, max: usize },
    /// The machine has no more.
    #[error("asked for {bytes} bytes of memory, which the machine does not have")]
    Machine { bytes: usize },
}

impl Limits {
    pub(crate) fn new(memory_bytes_max: usize) -> Self {
        Limits { memory_bytes_max, memory_bytes: 0, table_elements: 0, growth_bytes: 0, refusal: None }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        let total = self.memory_bytes.saturating_add(growth);
        if let Some(max) = maximum.filter(|max| desired > *max) {
            self.refusal = Some(Refusal::OwnMaximum { bytes: desired, max });
        } else if total > self.memory_bytes_max {
            self.refusal = Some(Refusal::Limit { bytes: total, max: self.memory_bytes_max });
        } else {
            (self.memory_bytes, self.growth_bytes) = (total, growth);
            return Ok(true);
        }
        Ok(false)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refusal = Some(Refusal::Machine { bytes: self.memory_bytes });
        self.memory_bytes -= std::mem::take(&mut self.growth_bytes);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS_MAX {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        INSTANCES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_memories_share_one_limit() {
        let mut limits = Limits::new(100);
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(0, 50, None).unwrap());
        assert_eq!(limits.refusal, Some(Refusal::Limit { bytes: 110, max: 100 }));
        assert!(limits.memory_growing(60, 100, None).unwrap());
    }

    #[test]
    fn what_a_memory_does_not_get_is_left_to_others() {
        let mut limits = Limits::new(100);
        for _ in 0..2 {
            assert!(!limits.memory_growing(0, 60, Some(50)).unwrap());
            assert_eq!(limits.refusal, Some(Refusal::OwnMaximum { bytes: 60, max: 50 }));
            assert!(limits.memory_growing(0, 80, None).unwrap());
            limits.memory_grow_failed(wasmtime::format_err!("no more")).unwrap();
            assert_eq!(limits.refusal, Some(Refusal::Machine { bytes: 80 }));
        }
        assert!(limits.memory_growing(0, 100, Some(100)).unwrap());
    }
}
