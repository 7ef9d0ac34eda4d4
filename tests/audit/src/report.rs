use std::fmt;

use crate::invariant::{Invariant, Violation};

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What a table prints.
    pub counts: Counts,
    violations: Vec<Violation>,
    totals: [u64; Invariant::ALL.len()],
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Input records.
    pub records: u64,
    /// Outputs seen, repeated ones included.
    pub outputs: u64,
    /// Outputs missing of records below the committed offset.
    pub lost: u64,
    /// Outputs seen that had been seen before.
    pub repeated: u64,
    /// Outputs that came before one that should have come earlier.
    pub out_of_order: u64,
    /// Faults told.
    pub faults: u64,
}

impl Report {
    /// So many violations of one invariant are described; the others are only counted.
    const DESCRIBED_MAX: u64 = 10;

    pub(crate) fn add(&mut self, invariant: Invariant, what: impl FnOnce() -> String) {
        let total = &mut self.totals[invariant as usize];
        *total += 1;
        if *total <= Self::DESCRIBED_MAX {
            self.violations.push(Violation { invariant, what: what() });
        }
    }

    /// Whether every invariant held.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Whether this invariant was violated.
    pub fn violates(&self, invariant: Invariant) -> bool {
        self.totals[invariant as usize] > 0
    }

    /// The first violations of each invariant, as they were found.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { records, outputs, lost, repeated, out_of_order, faults } = self.counts;
        writeln!(
            f,
            "{records} records, {outputs} outputs, {faults} faults: {lost} lost, {repeated} repeated, {out_of_order} \
             out of order"
        )?;
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        for invariant in Invariant::ALL {
            let more = self.totals[invariant as usize].saturating_sub(Self::DESCRIBED_MAX);
            if more > 0 {
                writeln!(f, "{invariant}: {more} more")?;
            }
        }
        Ok(())
    }
}
