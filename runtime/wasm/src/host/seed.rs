use sha2::{Digest, Sha256};

use crate::bindings::common::sluicegate::plugin::seed as contract;
use crate::host::State;

/// JavaScript's numbers are whole up to here.
const BITS: u32 = 53;

/// The seed of a stage, the same on every machine and for ever: a restart, a retry and a replay draw the same numbers.
pub(crate) fn of_stage(pipeline: &str, stage: &str) -> u64 {
    let digest = Sha256::new().chain_update(pipeline).chain_update([0]).chain_update(stage).finalize();
    u64::from_le_bytes(std::array::from_fn(|index| digest[index])) & ((1 << BITS) - 1)
}

impl contract::Host for State {
    fn stage(&mut self) -> u64 {
        self.seed
    }
}

#[cfg(test)]
mod tests {
    use super::of_stage;

    /// Else what plugins draw would change with a release.
    #[test]
    fn seeds_stay_what_they_are() {
        // The Rust SDK's own tests draw with the seed of stage `test` in pipeline `test`, as `sluicegate test` does.
        assert_eq!(of_stage("test", "test"), 0x0019_4182_447c_1357);
        assert_ne!(of_stage("a", "bc"), of_stage("ab", "c"));
    }
}
