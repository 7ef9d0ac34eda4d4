use std::sync::Arc;

use crate::batch::Batch;
use crate::commands::{Candidate, Role};
use crate::error::Error;
use crate::findings::{Conduct, Findings};
use crate::seams::{Clock, Transform};

use super::Terms;
use super::compare::compare;
use super::live::Live;
use super::result::{Part, Split, StageResult};

/// A candidate at work beside the live plugin. Whatever goes wrong with it ends it, and nothing else.
pub(super) struct Trying {
    live: Live,
    role: Role,
    findings: Arc<Findings>,
    /// What a canary is given of a batch.
    given: Batch,
    /// What a shadow makes of it.
    shadow: Part,
}

impl Trying {
    pub(super) fn new(candidate: Candidate) -> Self {
        let Candidate { transform, role, findings, .. } = candidate;
        Trying { live: Live::candidate(transform), role, findings, given: Batch::default(), shadow: Part::default() }
    }

    pub(super) fn is_canary(&self) -> bool {
        matches!(self.role, Role::Canary(_))
    }

    pub(super) fn transform(&self) -> &dyn Transform {
        self.live.transform()
    }

    pub(super) fn start_over(&mut self) {
        self.live.start_over();
    }

    pub(super) fn retire(self: Box<Self>) {
        self.live.retire();
    }

    /// Before the live plugin: a canary runs its share of the batch. False: it has ended, and has no share.
    #[cold]
    pub(super) fn go_first(
        &mut self,
        terms: &Terms,
        input: &Batch,
        result: &mut StageResult,
        clock: &dyn Clock,
    ) -> bool {
        if self.findings.is_ended() {
            return false;
        }
        let Role::Canary(share) = self.role else { return true };
        result.split.draw(&share, input);
        if !result.is_split() {
            return true;
        }
        if let Err(error) = self.run_share(terms, input, &mut result.split, clock) {
            result.split.clear();
            self.findings.end(error.message);
            return false;
        }
        result.split.hand_back(input);
        true
    }

    fn run_share(&mut self, terms: &Terms, input: &Batch, split: &mut Split, clock: &dyn Clock) -> Result<(), Error> {
        let given = if split.given.len() == input.len() {
            input
        } else {
            input.pick(&split.given, &mut self.given);
            &self.given
        };
        self.live.plan(given.len(), &mut split.canary);
        self.live.run(terms, given, &mut split.canary, clock).map(drop)
    }

    /// After the live plugin: a shadow runs the batch too and is compared; of a canary it is counted how it did. False: it has
    /// ended.
    #[cold]
    pub(super) fn go_last(&mut self, terms: &Terms, input: &Batch, result: &StageResult, clock: &dyn Clock) -> bool {
        if self.findings.is_ended() {
            return false;
        }
        if self.is_canary() {
            let (live, canary) = conducts(input.len(), result);
            self.findings.add(&live, &canary);
            let Split { given, canary, .. } = &result.split;
            if canary.failed.iter().any(|(place, _)| result.failure_of(given[*place]).is_some()) {
                self.live.forgive();
            }
            return true;
        }
        self.shadow.clear();
        self.live.plan(input.len(), &mut self.shadow);
        if let Err(error) = self.live.run(terms, input, &mut self.shadow, clock) {
            self.findings.end(error.message);
            return false;
        }
        if self.shadow.failed.iter().any(|(row, _)| result.failure_of(*row).is_some()) {
            self.live.forgive();
        }
        let records = input.len() as u64;
        self.findings.add(&conduct(records, &result.live), &conduct(records, &self.shadow));
        if !result.live.is_like(&self.shadow) {
            let (differing, samples) = compare(input, &result.live, &self.shadow, self.findings.samples_wanted());
            self.findings.add_differing(differing, samples);
        }
        true
    }
}

fn conduct(records: u64, part: &Part) -> Conduct {
    let mut conduct = Conduct { records, overruns: part.overruns, time: part.took, ..Conduct::default() };
    part.failed.iter().for_each(|(_, failure)| conduct.failures[failure.kind as usize] += 1);
    conduct
}

/// How each did with its share. A record that both failed on, in whatever way, is itself to blame: it is nobody's failure.
fn conducts(records: usize, result: &StageResult) -> (Conduct, Conduct) {
    let Split { given, canary, .. } = &result.split;
    let mut of_live = conduct((records - given.len()) as u64, &result.live);
    let mut of_canary = conduct(given.len() as u64, canary);
    for (place, failure) in &canary.failed {
        if let Some(of_both) = result.failure_of(given[*place]) {
            of_live.forget(of_both.kind);
            of_canary.forget(failure.kind);
        }
    }
    (of_live, of_canary)
}
