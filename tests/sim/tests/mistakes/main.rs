//! The auditor bites: mistakes planted into the seams are caught, each within a thousand seeds.

mod sinks;
mod sources;
mod transactions;

use sluicegate_audit::Invariant;
use sluicegate_sim::{Patch, simulate};

const SEEDS: u64 = 1000;

/// Asserts that worlds with this mistake violate the invariant.
fn caught<P: Patch + Copy + 'static>(mistake: P, invariant: Invariant) {
    let bad = (0..SEEDS).find(|seed| simulate(*seed, Box::new(mistake), false).report.violates(invariant));
    let seed = bad.unwrap_or_else(|| panic!("no seed below {SEEDS} violates {invariant}"));
    println!("{invariant}: violated by seed {seed}");
}
