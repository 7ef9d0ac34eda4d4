//! What whoever runs the pipeline does to it meanwhile: pauses it, exchanges its plugins, tries others out beside them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use send_wrapper::SendWrapper;
use sluicegate_core::{
    Batch, Candidate, Command, Error, Failure, Findings, Identity, Outcomes, Replacement, Role, Share, Transform,
};

use crate::life::Seat;
use crate::seed::Random;
use crate::transform::SimTransform;
use crate::world::World;

/// The changes to one worker. They follow from the seed, but by a stream of their own, so that worlds without any stay as they
/// were before there were such.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Steps from one to the next; none in most worlds.
    every: Option<usize>,
    random: RefCell<Random>,
    paused: Cell<bool>,
}

impl Changes {
    pub(crate) fn new(every: Option<usize>, random: Random) -> Self {
        Changes { every, random: RefCell::new(random), paused: Cell::new(false) }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// What a worker is told after so many steps, if anything. Once the world is calm, only to go on.
    pub(crate) fn after(&self, steps: usize, world: &Rc<World>, seat: &Rc<Seat>) -> Option<Command> {
        let every = self.every?;
        if seat.depth == 0 && world.is_calm() {
            return self.paused.replace(false).then_some(Command::Resume);
        }
        if !steps.is_multiple_of(every) {
            return None;
        }
        let random = &mut *self.random.borrow_mut();
        if self.paused.get() && random.chance(500) {
            self.paused.set(false);
            return Some(Command::Resume);
        }
        let stages = world.plan.stages.len() as u64;
        let change = random.below(5);
        if change == 0 || stages == 0 {
            world.state().faults.note("pause");
            self.paused.set(true);
            return Some(Command::Pause);
        }
        let stage = random.below(stages) as usize;
        let plugin = |role| {
            let transform = SimTransform::new(Rc::clone(world), Rc::clone(seat), stage, role);
            Box::new(OnThisThread(SendWrapper::new(transform)))
        };
        let role = match change {
            1 => {
                world.state().faults.note("dismissal");
                return Some(Command::Dismiss { stage });
            }
            2 => {
                world.state().faults.note("swap");
                let (version, on_trial) = (random.below(3), random.chance(500));
                return Some(Command::Replace(Replacement { stage, transform: plugin(None), version, on_trial }));
            }
            3 => Role::Shadow,
            _ => Role::Canary(Share { points: random.pick(&[1_000, 5_000, 10_000]), of_keys: random.chance(500) }),
        };
        world.state().faults.note(if role == Role::Shadow { "shadow" } else { "canary" });
        let findings = Findings::default().into();
        Some(Command::Try(Candidate { stage, transform: plugin(Some(role)), role, findings }))
    }
}

/// A command may go to another thread. In this world there is none.
struct OnThisThread(SendWrapper<SimTransform>);

impl Transform for OnThisThread {
    fn process(&mut self, batch: &Batch, outcomes: &mut Outcomes) -> Result<(), Failure> {
        self.0.process(batch, outcomes)
    }

    fn rows_max(&self) -> usize {
        self.0.rows_max()
    }

    fn renew(&mut self) -> Result<(), Error> {
        self.0.renew()
    }

    fn identity(&self) -> &Identity {
        self.0.identity()
    }

    fn retire(self: Box<Self>) {
        Box::new(self.0.take()).retire();
    }
}
