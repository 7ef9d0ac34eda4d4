use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use sluicegate_core::{Command, Commands, Delivery, Ended, ErrorKind, Inbox, Meters, Seams, Stage, Stop, Worker};

use crate::broker::Status;
use crate::changes::Changes;
use crate::clock::SimClock;
use crate::group::Member;
use crate::seed::{Random, mix};
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
    commands: Arc<Commands>,
    /// The inbox of the worker that has the seams now.
    inbox: Cell<u64>,
    /// Steps from one handover to the next; none if there is none.
    handover_every: Option<usize>,
    steps: Cell<usize>,
    changes: Changes,
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
        self.steps.set(self.steps.get() + 1);
        if self.handover_every.is_some_and(|every| self.steps.get().is_multiple_of(every)) {
            self.commands.send([(self.inbox.get(), Command::HandOver)]);
        }
    }

    /// Whoever runs the worker may change it at this step.
    pub(crate) fn change(self: &Rc<Self>, world: &Rc<World>) {
        if let Some(command) = self.changes.after(self.steps.get(), world, self) {
            world.say(self, || format!("is told: {command:?}"));
            self.commands.send([(self.inbox.get(), command)]);
        }
    }

    fn enlist(&self) -> Inbox {
        let inbox = self.commands.join();
        self.inbox.set(inbox.number());
        if self.changes.is_paused() {
            self.commands.send([(self.inbox.get(), Command::Pause)]);
        }
        inbox
    }
}

/// A worker's life, from its start to its end, whatever that is. It is asked to stop after so many steps.
pub(crate) fn live(world: &Rc<World>, depth: usize, slot: usize, steps: Option<usize>) {
    let seat = Rc::new(take_seat(world, depth, slot, steps));
    world.say(&seat, || format!("starts as transactional id {slot}"));
    let mut handed_over = None;
    let ended = loop {
        match worker(world, &seat, handed_over.take()).run(&seat.stop) {
            Ok(Ended::HandedOver(seams)) => {
                world.say(&seat, || "hands over".into());
                handed_over = Some(seams);
            }
            ended => break ended,
        }
    };
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
        commands: Arc::default(),
        inbox: Cell::default(),
        handover_every: world.plan.handover_every,
        steps: Cell::new(0),
        changes: Changes::new(world.plan.changes_every, Random::new(mix(world.plan.salt ^ state.lives as u64))),
    }
}

/// A worker over seams of its own, or over those of the one before.
fn worker(world: &Rc<World>, seat: &Rc<Seat>, handed_over: Option<Seams>) -> Worker {
    let plan = &world.plan;
    let stage = |(number, stage): (usize, &crate::plan::StagePlan)| {
        let transform = Box::new(SimTransform::new(Rc::clone(world), Rc::clone(seat), number, None));
        let made = Stage::new(&stage.name, transform, stage.policy, stage.limits, plan.named, stage.deadline);
        match stage.breaker {
            Some(most) if !world.state().tripped => made.with_breaker(most),
            _ => made,
        }
    };
    let worker = Worker::new(
        plan.settings.clone(),
        handed_over.unwrap_or_else(|| connect(world, seat)),
        plan.stages.iter().enumerate().map(stage).collect(),
        Box::new(SimClock(Rc::clone(world))),
        Arc::new(Meters::new(plan.stages.iter().map(|stage| stage.name.as_str()))),
    );
    worker.with_inbox(seat.enlist())
}

fn connect(world: &Rc<World>, seat: &Rc<Seat>) -> Seams {
    let source = Box::new(SimSource::new(Rc::clone(world), Rc::clone(seat)));
    let sink = Box::new(SimSink::new(Rc::clone(world), Rc::clone(seat)));
    let transaction = Box::new(SimTransaction::new(Rc::clone(world), Rc::clone(seat)));
    let (source, sink) = (world.patch.source(source, world), world.patch.sink(sink, world));
    Seams::new(source, sink, world.patch.transaction(transaction, world, seat))
}
