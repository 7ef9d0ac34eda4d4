use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sluicegate_core::{Candidate, Command, Error, Findings, Role, SinkLimits, Stage};
use sluicegate_wasm::{Instance, Plugin};

use super::LoadedPipeline;
use super::versions::TAKEN_UP_WITHIN;
use crate::config::Digest;
use crate::journal::Turn;

/// A plugin that is tried out beside a stage's own, or was.
#[derive(Debug)]
pub(crate) struct Tryout {
    pub(crate) stage: usize,
    pub(crate) plugin: Plugin,
    pub(crate) digest: Digest,
    pub(crate) role: Role,
    pub(crate) since: SystemTime,
    /// When a canary is judged for the last time.
    pub(crate) until: Option<(Instant, SystemTime)>,
    /// What its instances on all workers find out, and whether they go on.
    pub(crate) findings: Arc<Findings>,
    phase: Mutex<Phase>,
}

/// How far a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Another version has taken over in its stage: it ends once all workers have that.
    Superseded,
    /// Somebody has ended it, who notes that.
    Ended,
}

impl Tryout {
    /// A candidate that begins now; a canary ends after this time.
    pub(crate) fn new(stage: usize, plugin: Plugin, role: Role, time: Option<Duration>) -> Self {
        let since = SystemTime::now();
        let until = time.map(|time| (Instant::now() + time, since + time));
        let (digest, phase) = (Digest::of_plugin(&plugin), Mutex::new(Phase::Running));
        Tryout { stage, plugin, digest, role, since, until, findings: Arc::default(), phase }
    }

    pub(crate) fn role_name(&self) -> &'static str {
        name(self.role)
    }

    pub(crate) fn is_canary(&self) -> bool {
        self.role != Role::Shadow
    }

    pub(crate) fn goes_on(&self) -> bool {
        *self.phase() == Phase::Running && !self.findings.is_ended()
    }

    /// Ends it, for this reason if there is no earlier one. True for whoever ends it, who has to note that.
    pub(crate) fn end(&self, why: &str) -> bool {
        self.findings.end(why);
        std::mem::replace(&mut *self.phase(), Phase::Ended) != Phase::Ended
    }

    /// Another version has taken over in its stage.
    pub(super) fn supersede(&self) {
        let mut phase = self.phase();
        if *phase == Phase::Running {
            *phase = Phase::Superseded;
        }
    }

    pub(super) fn is_superseded(&self) -> bool {
        *self.phase() == Phase::Superseded
    }

    /// For a worker, with an instance of its own.
    fn candidate(&self, instance: Instance) -> Candidate {
        let (transform, findings) = (Box::new(instance), Arc::clone(&self.findings));
        Candidate { stage: self.stage, transform, role: self.role, findings }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(crate) fn tryout(&self) -> Option<Arc<Tryout>> {
        self.versions.roster().tryout.clone()
    }

    /// Puts a candidate beside a stage's plugin, on all workers. How many had not come to it in time, and will.
    ///
    /// # Errors
    /// The plugin does not start, or refuses its configuration.
    pub(crate) fn try_out(&self, _: &Turn<'_>, tryout: &Arc<Tryout>) -> Result<usize, Error> {
        let Tryout { stage, plugin, role, .. } = &**tryout;
        let make = |sink| self.instance(*stage, plugin, sink, Some(*role));
        let round = self.equip(make, |roster, ready| {
            roster.tryout = Some(Arc::clone(tryout));
            let begin = |(worker, instance)| (worker, Command::Try(tryout.candidate(instance)));
            self.versions.commands.send(ready.into_iter().map(begin))
        })?;
        Ok(self.versions.commands.wait(round, TAKEN_UP_WITHIN))
    }

    /// Has the workers give a candidate up. How many had not come to it in time, and will; none if it had ended.
    pub(crate) fn dismiss(&self, _: &Turn<'_>, tryout: &Tryout, why: &str) -> Option<usize> {
        let stage = tryout.stage;
        tryout.end(why).then(|| self.tell_all(|_| {}, || Command::Dismiss { stage }))
    }

    /// Gives a new worker the candidate that the others have. Where it does not start it is at its end, and the worker is not.
    pub(super) fn join_tryout(&self, tryout: &Tryout, stages: &mut [Stage], sink: SinkLimits) {
        match self.instance(tryout.stage, &tryout.plugin, sink, Some(tryout.role)) {
            Ok(instance) => stages[tryout.stage].try_out(tryout.candidate(instance)),
            Err(error) => tryout.findings.end(error.message),
        }
    }
}
