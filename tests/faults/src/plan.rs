//! Which faults are made, and in which settings.

use std::fmt;

use sluicegate_tests::random::Random;

use crate::fault::{ALL, Fault};
use crate::setting::{Delivery, Protocol, Setting};

const DELIVERIES: [Delivery; 2] = [Delivery::ExactlyOnce, Delivery::AtLeastOnce];
const WORKERS: [usize; 2] = [1, 3];
const PROTOCOLS: [Protocol; 3] = [Protocol::Range, Protocol::CooperativeSticky, Protocol::Consumer];

/// One run to come.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// The fault.
    pub fault: &'static Fault,
    /// Under what.
    pub setting: Setting,
    /// What decides all that is left to chance.
    pub seed: u64,
    /// The seed of the plan, from which that one comes.
    pub plan: u64,
}

impl fmt::Display for Planned {
    /// As the command line wants it, to have this run again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { delivery, workers, protocol } = self.setting;
        let (seed, fault) = (self.plan, self.fault.name);
        write!(f, "--seed {seed} --fault {fault} --delivery {delivery} --workers {workers} --protocol {protocol}")
    }
}

/// Every fault in every setting that it concerns. A run's seed depends on the plan's, the fault and the setting, and on
/// nothing else in the plan.
pub fn matrix(seed: u64) -> Vec<Planned> {
    let runs = ALL.iter().flat_map(|fault| settings().map(move |setting| (fault, setting)));
    let runs = runs.filter(|(fault, setting)| fault.concerns(*setting));
    let planned = |(fault, setting): (&'static Fault, Setting)| {
        let seed_of_run = mix(seed, &format!("{}, {setting}", fault.name));
        Planned { fault, setting, seed: seed_of_run, plan: seed }
    };
    runs.map(planned).collect()
}

/// Every fault once, in a setting that the seed picks: neighbours differ.
pub fn sample(seed: u64) -> Vec<Planned> {
    let matrix = matrix(seed);
    let pick = |(index, fault): (usize, &Fault)| {
        let cells: Vec<_> = matrix.iter().filter(|planned| planned.fault.name == fault.name).collect();
        // Five steps reach all of twelve cells, and all of six.
        *cells[(seed as usize % cells.len() + 5 * index) % cells.len()]
    };
    ALL.iter().enumerate().map(pick).collect()
}

fn settings() -> impl Iterator<Item = Setting> {
    let cells = DELIVERIES.into_iter().flat_map(|delivery| WORKERS.map(move |workers| (delivery, workers)));
    cells.flat_map(|(delivery, workers)| PROTOCOLS.map(move |protocol| Setting { delivery, workers, protocol }))
}

fn mix(seed: u64, cell: &str) -> u64 {
    cell.bytes().fold(seed, |seed, byte| Random::new(seed ^ u64::from(byte)).number())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_matrix_has_every_cell_once() {
        let matrix = matrix(7);
        let cells: BTreeSet<_> = matrix.iter().map(|planned| (planned.fault.name, planned.setting)).collect();
        let concerned = ALL.iter().map(|fault| if fault.only.is_some() { 6 } else { 12 });
        assert_eq!(matrix.len(), concerned.sum::<usize>());
        assert_eq!(cells.len(), matrix.len());
        assert_eq!(matrix.iter().map(|planned| planned.seed).collect::<BTreeSet<_>>().len(), matrix.len());
    }

    #[test]
    fn a_sample_has_every_fault_and_every_kind_of_setting() {
        for seed in 0..20 {
            let sample = sample(seed);
            assert_eq!(sample.len(), ALL.len());
            let settings: BTreeSet<_> = sample.iter().map(|planned| planned.setting).collect();
            assert!(settings.len() >= 10, "{settings:?}");
        }
    }
}
