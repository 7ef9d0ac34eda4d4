use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::time::Duration;

use sluicegate_core::{Error, ErrorKind, Positions};

use crate::event::Event;
use crate::faults::{Fault, Step};
use crate::life::{self, Seat};
use crate::patch::Patch;
use crate::plan::Plan;
use crate::state::State;

/// Everything outside the workers. It moves on only while a worker is in one of its seams.
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) patch: Box<dyn Patch>,
    state: RefCell<State>,
}

/// Far more than any world needs that comes to an end.
const STEPS_MAX: usize = 100_000;
/// How long a step takes at least.
const STEP: Duration = Duration::from_micros(10);

impl World {
    pub(crate) fn new(plan: Plan, patch: Box<dyn Patch>, state: State) -> Self {
        World { plan, patch, state: RefCell::new(state) }
    }

    /// To be given back before anything else of the world is called.
    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    pub(crate) fn into_state(self) -> State {
        self.state.into_inner()
    }

    pub(crate) fn now(&self) -> Duration {
        self.state().now
    }

    /// Lets this much time pass.
    pub(crate) fn pass(&self, time: Duration) {
        let state = &mut *self.state();
        state.advance(&self.plan, state.now + time);
    }

    /// A worker is at this step of its life: the world moves on, and may intervene.
    pub(crate) fn step(self: &Rc<Self>, seat: &Rc<Seat>, at: Step) -> Result<(), Error> {
        if !seat.alive.get() {
            return Err(gone());
        }
        self.pass(STEP);
        let fault = {
            let state = &mut *self.state();
            state.steps += 1;
            if state.steps == STEPS_MAX {
                state.observer.auditor.unfinished(&format!("no end after {STEPS_MAX} steps, the last of them {at:?}"));
            }
            if state.steps >= STEPS_MAX {
                seat.alive.set(false);
                return Err(gone());
            }
            // Once the world is calm, whoever lives must bring everything to its end, unless others wait for it to go.
            if seat.depth > 0 || !state.faults.are_over() {
                seat.tick();
            }
            state.faults.strike(at, &mut state.random)
        };
        seat.change(self);
        if let Some(fault) = fault {
            self.say(seat, || format!("{fault:?} at {at:?}"));
        }
        match fault {
            None => Ok(()),
            Some(Fault::Crash) => {
                self.crash(seat);
                Err(gone())
            }
            Some(Fault::Stall) => {
                self.stall(seat);
                Ok(())
            }
            Some(Fault::Jump(time)) => {
                self.pass(time);
                Ok(())
            }
            Some(Fault::Disconnect) => Err(Error::new(ErrorKind::Retry, "the connection was lost")),
        }
    }

    /// From now on nothing that the worker does has any effect. The group notices later.
    fn crash(&self, seat: &Seat) {
        seat.alive.set(false);
        let state = &mut *self.state();
        state.fault();
        if let Some(member) = seat.member.get() {
            state.events.plan(state.now + self.plan.session, Event::Expire(member));
        }
    }

    /// The worker sleeps, and the group gives it up; others live meanwhile.
    fn stall(self: &Rc<Self>, seat: &Seat) {
        self.pass(self.plan.session);
        if let Some(member) = seat.member.get() {
            let state = &mut *self.state();
            state.expire(member);
            state.fault();
            seat.lost.set(true);
        }
        self.others(seat);
    }

    /// Other workers of the group live, if the seed wants any, while this one is where it is.
    pub(crate) fn others(self: &Rc<Self>, seat: &Seat) {
        if seat.depth + 1 >= State::SLOTS {
            return;
        }
        let lives = self.state().random.below(3);
        for _ in 0..lives {
            let (slot, steps) = {
                let random = &mut self.state().random;
                // Now and then two processes have one transactional id.
                let slot = if random.chance(250) { seat.slot } else { seat.depth + 1 };
                (slot, random.between(5, 150) as usize)
            };
            life::live(self, seat.depth + 1, slot, Some(steps));
        }
    }

    /// Whether the worst is over.
    pub(crate) fn is_calm(&self) -> bool {
        self.state().faults.are_over()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state().is_done(&self.plan)
    }

    /// Whether the world has gone on for so long that it will not end.
    pub(crate) fn is_endless(&self) -> bool {
        self.state().steps >= STEPS_MAX
    }

    pub(crate) fn say(&self, seat: &Seat, what: impl FnOnce() -> String) {
        let state = self.state();
        state.trace.say(state.now, Some(seat), what);
    }

    pub(crate) fn offsets(&self, positions: &Positions) -> Vec<(usize, u64)> {
        positions.iter().map(|(partition, offset)| (self.plan.input(partition), *offset)).collect()
    }

    /// For patches: how often partitions were given up in good order so far.
    pub fn releases(&self) -> usize {
        self.state().releases
    }

    /// For patches: how often a write had to wait for room so far.
    pub fn full_waits(&self) -> usize {
        self.state().full_waits
    }

    /// For patches: these become the group's offsets, whoever says so.
    pub fn commit(&self, positions: &Positions) {
        let offsets = self.offsets(positions);
        self.state().commit(&self.plan, &offsets);
    }

    /// For patches: while `during` lasts, the group treats a member that it has thrown out as one of its own.
    pub fn unfenced<T>(&self, seat: &Seat, during: impl FnOnce() -> T) -> T {
        let member = seat.member.get().filter(|member| self.state().group.readmit(*member));
        let result = during();
        if let Some(member) = member {
            self.state().group.remove(member);
        }
        result
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Retry, "the worker is gone")
}
