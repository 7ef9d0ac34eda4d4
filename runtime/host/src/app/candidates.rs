use std::sync::Arc;
use std::time::{Instant, SystemTime};

use sluicegate_core::{Candidate, Command, Error, Findings, Role, Stage};
use sluicegate_wasm::Plugin;

use super::LoadedPipeline;
use super::versions::TAKEN_UP_WITHIN;
use crate::journal::Turn;

/// A plugin that is tried out beside a stage's own, or was.
#[derive(Clone, Debug)]
pub(crate) struct Tryout {
    pub(crate) stage: usize,
    pub(crate) plugin: Plugin,
    pub(crate) role: Role,
    pub(crate) since: SystemTime,
    /// When a canary is judged for the last time.
    pub(crate) until: Option<(Instant, SystemTime)>,
    /// What its instances on all workers find out.
    pub(crate) findings: Arc<Findings>,
    /// Whether another version has taken over in its stage.
    pub(crate) is_over: bool,
    /// Whether its end is in the journal.
    pub(crate) is_closed: bool,
}

impl Tryout {
    pub(crate) fn digest(&self) -> &str {
        &self.plugin.artifact().digest
    }

    pub(crate) fn role_name(&self) -> &'static str {
        name(self.role)
    }

    pub(crate) fn is_canary(&self) -> bool {
        self.role != Role::Shadow
    }

    pub(crate) fn goes_on(&self) -> bool {
        !self.is_over && !self.findings.is_ended()
    }
}

/// What a role is called.
pub(super) fn name(role: Role) -> &'static str {
    match role {
        Role::Shadow => "shadow",
        Role::Canary(_) => "canary",
    }
}

/// Trying plugins out, one at a time a pipeline.
impl LoadedPipeline {
    /// The candidate in one of the stages, or the last that was there.
    pub(crate) fn tryout(&self) -> Option<Tryout> {
        self.versions.roster().tryout.clone()
    }

    /// Puts a candidate beside a stage's plugin, on all workers. How many had not come to it in time, and will.
    ///
    /// # Errors
    /// The plugin does not start, or refuses its configuration.
    pub(crate) fn try_out(&self, _: &Turn<'_>, tryout: &Tryout) -> Result<usize, Error> {
        let Tryout { stage, plugin, role, findings, .. } = tryout;
        let make = |bytes_per_output| self.instance(*stage, plugin, bytes_per_output, Some(*role));
        let round = self.equip(make, |roster, ready| {
            roster.tryout = Some(tryout.clone());
            let commands = ready.into_iter().map(|(worker, instance)| {
                let (transform, findings) = (Box::new(instance), Arc::clone(findings));
                (worker, Command::Try(Candidate { stage: *stage, transform, role: *role, findings }))
            });
            self.versions.commands.send(commands)
        })?;
        Ok(self.versions.commands.wait(round, TAKEN_UP_WITHIN))
    }

    /// Has the workers give a candidate up, if it goes on. How many had not come to it in time, and will.
    pub(crate) fn dismiss(&self, _: &Turn<'_>, tryout: &Tryout, reason: &str) -> usize {
        tryout.findings.end(reason);
        let round = {
            let roster = self.versions.roster();
            let command = || Command::Dismiss { stage: tryout.stage };
            self.versions.commands.send(roster.workers.keys().map(|number| (*number, command())))
        };
        self.versions.commands.wait(round, TAKEN_UP_WITHIN)
    }

    /// Whoever closes a candidate notes its end: true for one alone.
    pub(crate) fn close(&self, _: &Turn<'_>, tryout: &Tryout) -> bool {
        let mut roster = self.versions.roster();
        let own = roster.tryout.as_mut().filter(|own| Arc::ptr_eq(&own.findings, &tryout.findings));
        own.is_some_and(|own| !std::mem::replace(&mut own.is_closed, true))
    }

    /// Gives a new worker the candidate that the others have. Where it does not start it is at its end, and the worker is not.
    pub(super) fn join_tryout(&self, tryout: &Tryout, stages: &mut [Stage], bytes_per_output: usize) {
        let Tryout { stage, plugin, role, findings, .. } = tryout;
        match self.instance(*stage, plugin, bytes_per_output, Some(*role)) {
            Ok(instance) => {
                let (transform, findings) = (Box::new(instance), Arc::clone(findings));
                stages[*stage].try_out(Candidate { stage: *stage, transform, role: *role, findings });
            }
            Err(error) => findings.end(error.message),
        }
    }
}
