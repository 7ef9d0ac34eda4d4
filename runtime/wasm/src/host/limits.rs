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
    /// How many bytes the plugin would have had, if it was refused any since the last call began.
    pub(crate) refused_bytes: Option<usize>,
}

impl Limits {
    pub(crate) fn new(memory_bytes_max: usize) -> Self {
        Limits { memory_bytes_max, memory_bytes: 0, table_elements: 0, refused_bytes: None }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            self.refused_bytes = Some(total);
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        // Beyond the memory's own maximum, or the machine has no more.
        self.refused_bytes.get_or_insert(self.memory_bytes);
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
        assert_eq!(limits.refused_bytes, Some(110));
        assert!(limits.memory_growing(60, 100, None).unwrap());
    }
}
