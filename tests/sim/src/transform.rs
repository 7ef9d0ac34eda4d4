use std::rc::Rc;

use sluicegate_audit::Record;
use sluicegate_core::{
    Action, Batch, Column, Error, Failure, FailureKind, INHERIT, Identity, NO_TIMESTAMP, Outcomes, PASS, REJECT, Role,
    Row, Transform,
};

use crate::faults::Step;
use crate::life::Seat;
use crate::plan::StagePlan;
use crate::plugin::{Emission, Saying, fingerprint, say};
use crate::world::World;

/// Of a hundred records, those that a candidate fails on each time.
const CANDIDATES_FAILING: u64 = 15;

/// A simulated plugin in its stage.
pub(crate) struct SimTransform {
    world: Rc<World>,
    seat: Rc<Seat>,
    stage: usize,
    /// What a candidate is there for; none for the stage's own plugin.
    role: Option<Role>,
    identity: Identity,
}

impl SimTransform {
    pub(crate) fn new(world: Rc<World>, seat: Rc<Seat>, stage: usize, role: Option<Role>) -> Self {
        SimTransform { world, seat, stage, role, identity: Identity::default() }
    }

    fn plan(&self) -> &StagePlan {
        &self.world.plan.stages[self.stage]
    }

    /// Fails though nothing is wrong with any record. One that is alone, and will do, is not failed more often than its
    /// policy bears, however often it is tried: what must become of it stays decided.
    fn stumbles(&self, batch: &Batch) -> bool {
        let state = &mut *self.world.state();
        if !state.faults.stumble(&mut state.random) {
            return false;
        }
        if self.role.is_some() {
            return true;
        }
        let mut rows = batch.rows();
        let (Some(first), None) = (rows.next(), rows.next()) else { return true };
        let record = owned(&first);
        let print = fingerprint(self.world.plan.salt, self.stage, &record);
        if let Saying::Fail(_) = say(print, &record, self.plan().failing, self.world.plan.named) {
            return false;
        }
        let stumbles = state.stumbles.entry((self.stage, print)).or_default();
        let stumble = *stumbles < self.plan().retries;
        *stumbles += u32::from(stumble);
        stumble
    }

    /// What the plugin says of the record, unless it was mended. A shadow says anything. A canary says what the stage's own plugin
    /// would, or fails.
    fn say(&self, record: &Record) -> Saying {
        let named = self.world.plan.named;
        if let Some(role) = self.role {
            let print = fingerprint(!self.world.plan.salt, self.stage, record);
            let saying = say(print, record, CANDIDATES_FAILING, named);
            if role == Role::Shadow || matches!(saying, Saying::Fail(_)) {
                return saying;
            }
        }
        let print = fingerprint(self.world.plan.salt, self.stage, record);
        let saying = say(print, record, self.plan().failing, named);
        if let Saying::Fail(kind) = saying
            && self.role.is_none()
            && self.plan().policy.action(kind) == Action::Stop
        {
            let state = &mut *self.world.state();
            if state.mended.contains(&(self.stage, print)) {
                return Saying::Pass;
            }
            state.stoppers.push((self.stage, print));
        }
        saying
    }
}

impl Transform for SimTransform {
    fn process(&mut self, batch: &Batch, outcomes: &mut Outcomes) -> Result<(), Failure> {
        let crashed = |error: Error| Failure::new(FailureKind::Trap, error.message);
        self.world.step(&self.seat, Step::Process).map_err(crashed)?;
        if self.stumbles(batch) {
            return Err(Failure::new(FailureKind::Trap, "stumbled"));
        }
        let mut malformed = false;
        for row in batch.rows() {
            self.world.pass(self.plan().cost);
            let record = owned(&row);
            match self.say(&record) {
                Saying::Pass => outcomes.outcomes.push(PASS),
                Saying::Emit(emissions) => emit(outcomes, &row, &emissions),
                Saying::Fail(FailureKind::Rejected) => {
                    outcomes.outcomes.push(REJECT);
                    outcomes.reasons.push("rejected".into());
                }
                Saying::Fail(FailureKind::Malformed) => malformed = true,
                Saying::Fail(FailureKind::TooMuchOutput) => {
                    let many = (0..=self.plan().limits.outputs_per_record)
                        .map(|_| Emission { to: None, record: record.clone() });
                    emit(outcomes, &row, &many.collect::<Vec<_>>());
                }
                Saying::Fail(kind) => {
                    if kind == FailureKind::Deadline {
                        self.world.pass(self.plan().deadline);
                    }
                    return Err(Failure::new(kind, "it always fails"));
                }
            }
        }
        if malformed {
            outcomes.outcomes.push(i32::MIN);
        }
        Ok(())
    }

    fn rows_max(&self) -> usize {
        usize::MAX
    }

    fn renew(&mut self) -> Result<(), Error> {
        // Instantiation and configuration are the plugin's code too.
        self.world.pass(self.plan().deadline / 4);
        self.world.step(&self.seat, Step::Renew)
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn retire(self: Box<Self>) {}
}

fn owned(row: &Row<'_>) -> Record {
    Record {
        key: row.key.map(<[u8]>::to_vec),
        value: row.value.map(<[u8]>::to_vec),
        headers: row.headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect(),
        timestamp: (row.timestamp != NO_TIMESTAMP).then_some(row.timestamp),
    }
}

/// Writes outputs into columns, inheriting what is as in the input.
fn emit(outcomes: &mut Outcomes, row: &Row<'_>, emissions: &[Emission]) {
    let inherit = |column: &mut Column, own: Option<&[u8]>, inherited: Option<&[u8]>| {
        if own == inherited { column.lengths.push(INHERIT) } else { column.push(own) }
    };
    outcomes.outcomes.push(emissions.len() as i32);
    for Emission { to, record } in emissions {
        outcomes.to.push(to.map_or(-1, |to| to as i32));
        outcomes.timestamps.push(record.timestamp.unwrap_or(NO_TIMESTAMP));
        inherit(&mut outcomes.keys, record.key.as_deref(), row.key);
        inherit(&mut outcomes.values, record.value.as_deref(), row.value);
        let headers = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
        if headers.clone().eq(row.headers) {
            outcomes.headers.counts.push(INHERIT);
            continue;
        }
        outcomes.headers.counts.push(record.headers.len() as i32);
        for (name, value) in headers {
            outcomes.headers.keys.push(Some(name));
            outcomes.headers.values.push(value);
        }
    }
}
