//! Free memory, which is not the same to whoever gets it.

use anyhow::Result;
use sluicegate_tests::process::kernel_size;

/// So much is touched before a run: its outputs in the page cache, and what the contender takes itself.
const TOUCHED: u64 = 3 << 30;

/// Touches free memory, so that the next to get some finds it in place.
///
/// The host of a virtual machine takes back what is free for a while. Who touches that first waits until it is there again: 9 to
/// 12 µs for each 4 KiB where 1.3 are usual (on the machine of `README.md`), which is half a microsecond for each record of 200
/// bytes that the broker writes, and as much for what a contender takes. So contenders would be told apart by who ran before.
///
/// # Errors
/// The kernel does not say how much is free.
pub fn touch_free() -> Result<()> {
    // Not more than half: the page cache, with the input in it, should stay.
    let bytes = TOUCHED.min(kernel_size("/proc/meminfo", "MemFree")? / 2);
    drop(std::hint::black_box(vec![1_u8; usize::try_from(bytes)?]));
    Ok(())
}
