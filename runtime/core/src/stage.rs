mod candidate;
mod compare;
mod live;
mod result;

use std::time::Duration;

use crate::batch::Batch;
use crate::commands::{Candidate, Replacement};
use crate::error::Error;
use crate::limits::OutputLimits;
use crate::policy::Policy;
use crate::seams::{Clock, Transform};

use candidate::Trying;
use live::Live;
pub use live::TURN_MAX;
pub(crate) use result::StageResult;

/// A plugin's place in a pipeline: one live instance with its limits and its policy and, at times, a candidate beside it.
pub struct Stage {
    terms: Terms,
    live: Live,
    version: u64,
    on_trial: bool,
    /// Boxed, as there is none in nearly all stages.
    candidate: Option<Box<Trying>>,
}

/// How far a batch came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// To the end.
    Done,
    /// The plugin is slow: first the worker attends to whatever else it has to do.
    Yield,
    /// A record that failed is to be tried again after this pause.
    RetryAfter(Duration),
}

/// What a stage asks of whichever plugin is in it.
struct Terms {
    name: String,
    policy: Policy,
    limits: OutputLimits,
    /// The number of named outputs that results may be routed to.
    outputs: usize,
    deadline: Duration,
    /// Whether its default output is the sink's, and not the next stage's.
    feeds_sink: bool,
    /// A plugin that fails on so many records in a row is broken.
    breaker: Option<u32>,
}

impl Stage {
    /// A stage of this name. `deadline` is the one the transform enforces for each call.
    pub fn new(
        name: impl Into<String>,
        transform: Box<dyn Transform>,
        policy: Policy,
        limits: OutputLimits,
        outputs: usize,
        deadline: Duration,
    ) -> Self {
        let terms = Terms { name: name.into(), policy, limits, outputs, deadline, feeds_sink: false, breaker: None };
        Stage { terms, live: Live::new(transform), version: 0, on_trial: false, candidate: None }
    }

    /// The same stage, whose errors name this version. `on_trial`: an earlier version stands ready; if this one ends the
    /// worker, that one takes over and runs again whatever is uncommitted and can be undone.
    #[must_use]
    pub fn with_version(mut self, version: u64, on_trial: bool) -> Self {
        (self.version, self.on_trial) = (version, on_trial);
        self
    }

    /// The same stage with a breaker: it stops the worker once the plugin has failed on this many records in a row. A
    /// rejection is an answer, not a failure.
    #[must_use]
    pub fn with_breaker(mut self, failures: u32) -> Self {
        self.terms.breaker = Some(failures);
        self
    }

    /// No stage comes after it.
    pub(crate) fn feed_sink(&mut self) {
        self.terms.feeds_sink = true;
    }

    /// Lets another version of the plugin take over, between two batches. What was learned of the one before is forgotten,
    /// and a candidate beside it is given up.
    pub(crate) fn replace(&mut self, by: Replacement) {
        (self.version, self.on_trial) = (by.version, by.on_trial);
        std::mem::replace(&mut self.live, Live::new(by.transform)).retire();
        self.dismiss();
    }

    /// Puts a candidate beside the plugin, between two batches. It replaces one that is there.
    pub fn try_out(&mut self, candidate: Candidate) {
        self.dismiss();
        self.candidate = Some(Box::new(Trying::new(candidate)));
    }

    /// Gives up the candidate, if there is one.
    pub(crate) fn dismiss(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            candidate.retire();
        }
    }

    /// See [`Chain::start_over`](crate::chain::Chain::start_over).
    pub(crate) fn start_over(&mut self) {
        self.live.start_over();
        self.candidate.iter_mut().for_each(|candidate| candidate.start_over());
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn is_on_trial(&self) -> bool {
        self.on_trial
    }

    pub(crate) fn name(&self) -> &str {
        &self.terms.name
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.terms.policy
    }

    pub(crate) fn limits(&self) -> &OutputLimits {
        &self.terms.limits
    }

    pub(crate) fn transform(&self) -> &dyn Transform {
        self.live.transform()
    }

    /// The canary, if there is one.
    pub(crate) fn canary(&self) -> Option<&dyn Transform> {
        self.candidate.as_ref().filter(|candidate| candidate.is_canary()).map(|candidate| candidate.transform())
    }

    /// Starts a batch: empties `result`, then lets a canary run its share.
    pub(crate) fn begin(&mut self, input: &Batch, result: &mut StageResult, clock: &dyn Clock) {
        result.clear();
        if let Some(candidate) = &mut self.candidate
            && !candidate.go_first(&self.terms, input, result, clock)
        {
            self.dismiss();
        }
        let (input, part) = result.of_live(input);
        self.live.plan(input.len(), part);
    }

    /// Runs what is left of the batch through the plugin. Whatever the plugin does, each record ends either with its
    /// outputs in the result or among its failures.
    ///
    /// A failed call does not say which record is to blame: the instance is thrown away, and each half of the batch is run in a
    /// fresh one, until the record is alone. A record that found no memory left fails for good only in an instance that has
    /// processed nothing else. Unless the batch ran to the end, the next call goes on where this one stopped.
    ///
    /// # Errors
    /// The plugin cannot be started again, or its breaker tripped.
    pub(crate) fn run(&mut self, input: &Batch, result: &mut StageResult, clock: &dyn Clock) -> Result<Ran, Error> {
        let (of_live, part) = result.of_live(input);
        let ran = self.live.run(&self.terms, of_live, part, clock)?;
        if ran == Ran::Done {
            result.finish();
            if let Some(candidate) = &mut self.candidate
                && !candidate.go_last(&self.terms, input, result, clock)
            {
                self.dismiss();
            }
        }
        Ok(ran)
    }
}
