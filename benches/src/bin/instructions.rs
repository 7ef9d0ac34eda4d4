//! Calls a plugin so many times, for valgrind to count what that takes: `tests/instructions.rs` runs it.
//!
//! ```text
//! instructions <call> <batches> <compile cache>
//! ```

use anyhow::{Context as _, Result, anyhow, bail};
use sluicegate_benches::boundary::{CALLS, batch};
use sluicegate_core::{Outcomes, Transform as _};
use sluicegate_wasm::{Engine, EngineSettings};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, batches, cache] = &arguments[..] else { bail!("usage: instructions <call> <batches> <compile cache>") };
    let call = CALLS.iter().find(|call| call.name == name).with_context(|| format!("no call '{name}'"))?;
    let engine = Engine::new(&EngineSettings { cache_dir: Some(cache.into()), compiler: None })?;
    let mut instance = call.instance_on(&engine)?;
    let (batch, mut outcomes) = (batch(), Outcomes::default());
    for _ in 0..batches.parse::<u64>()? {
        instance.process(&batch, &mut outcomes).map_err(|failure| anyhow!("{failure}"))?;
    }
    Ok(())
}
