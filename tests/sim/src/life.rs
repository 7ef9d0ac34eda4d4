use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use sluicegate_core::{Delivery, ErrorKind, Meters, Stage, Stop, Worker};

use crate::broker::Status;
use crate::clock::SimClock;
use crate::group::Member;
use crate::sink::SimSink;
use crate::source::SimSource;
use crate::transaction::SimTransaction;
use crate::transform::SimTransform;
use crate::world::World;

/// One worker, as the world knows it. Shared by its seams.
#[derive(Debug)]
pub struct Seat {
    /// Which life of all in this world.
    pub(crate) number: usize,
    /// How many other workers are in the midst of a seam below this one.
    pub(crate) depth: usize,
    /// Its transactional id.
    pub(crate) slot: usize,
    pub(crate) producer: usize,
    pub(crate) member: Cell<Option<Member>>,
    /// Whether the group has thrown it out, and it has not noticed.
    pub(crate) lost: Cell<bool>,
    /// Whether anything that it does has an effect.
    pub(crate) alive: Cell<bool>,
    pub(crate) stop: Stop,
    /// Steps until it is asked to stop.
    steps_left: Cell<Option<usize>>,
}

impl Seat {
    /// For the trace: indented as deep as it is.
    pub(crate) fn name(&self) -> String {
        format!("{:>1$}", format!("w{}", self.number), 4 + 2 * self.depth)
    }

    /// One more step is taken.
    pub(crate) fn tick(&self) {
        let left = self.steps_left.get().map(|steps| steps.saturating_sub(1));
        self.steps_left.set(left);
        if left == Some(0) {
            self.stop.request();
        }
    }
}

/// A worker's life, from its start to its end, whatever that is. It is asked to stop after so many steps.
pub(crate) fn live(world: &Rc<World>, depth: usize, slot: usize, steps: Option<usize>) {
    let seat = Rc::new(take_seat(world, depth, slot, steps));
    world.say(&seat, || format!("starts as transactional id {slot}"));
    let ended = worker(world, &seat).run(&seat.stop);
    let alive = seat.alive.replace(false);
    world.say(&seat, || match (&ended, alive) {
        (_, false) => "is gone".into(),
        (Ok(_), true) => "has stopped".into(),
        (Err(error), true) => format!("ends: {error}"),
    });
    let state = &mut *world.state();
    // What is on the wire already may arrive all the same.
    let random = &mut state.random;
    state.broker.purge(seat.producer, |queued| random.below(queued as u64 + 1) as usize);
    let Err(error) = ended else { return };
    if alive && !seat.lost.get() {
        state.fault();
    }
    match error.kind {
        ErrorKind::Stopped if alive => state.mended.extend(state.stoppers.drain(..)),
        ErrorKind::Tripped if alive => state.tripped = true,
        _ => {}
    }
}

fn take_seat(world: &World, depth: usize, slot: usize, steps: Option<usize>) -> Seat {
    let state = &mut *world.state();
    state.lives += 1;
    let exactly_once = world.plan.settings.delivery == Delivery::ExactlyOnce;
    let (producer, orphan) = state.broker.produce(exactly_once.then_some(slot));
    if let Some(transaction) = orphan {
        state.end(&world.plan, transaction, Status::Aborted);
    }
    Seat {
        number: state.lives,
        depth,
        slot,
        producer,
        member: Cell::new(None),
        lost: Cell::new(false),
        alive: Cell::new(true),
        stop: Stop::default(),
        steps_left: Cell::new(steps),
    }
}

fn worker(world: &Rc<World>, seat: &Rc<Seat>) -> Worker {
    let plan = &world.plan;
    let stage = |(number, stage): (usize, &crate::plan::StagePlan)| {
        let transform = Box::new(SimTransform::new(Rc::clone(world), Rc::clone(seat), number));
        let made = Stage::new(&stage.name, transform, stage.policy, stage.limits, plan.named, stage.deadline);
        match stage.breaker {
            Some(most) if !world.state().tripped => made.with_breaker(most),
            _ => made,
        }
    };
    let source = Box::new(SimSource::new(Rc::clone(world), Rc::clone(seat)));
    let sink = Box::new(SimSink::new(Rc::clone(world), Rc::clone(seat)));
    let transaction = Box::new(SimTransaction::new(Rc::clone(world), Rc::clone(seat)));
    Worker::new(
        plan.settings.clone(),
        world.patch.source(source, world),
        plan.stages.iter().enumerate().map(stage).collect(),
        world.patch.sink(sink, world),
        world.patch.transaction(transaction, world, seat),
        Box::new(SimClock(Rc::clone(world))),
        Arc::new(Meters::new(plan.stages.iter().map(|stage| stage.name.as_str()))),
    )
}
