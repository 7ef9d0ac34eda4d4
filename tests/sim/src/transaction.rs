use std::rc::Rc;

use sluicegate_core::{Error, ErrorKind, Positions, Transaction};

use crate::broker::{Identity, Status, TransactionId};
use crate::event::Event;
use crate::faults::Step;
use crate::life::Seat;
use crate::plan::ms;
use crate::state::State;
use crate::world::World;

/// Commits to the simulated group, with the outputs where that is the promise.
pub(crate) struct SimTransaction {
    world: Rc<World>,
    seat: Rc<Seat>,
}

type Offsets = Vec<(usize, u64)>;

impl SimTransaction {
    pub(crate) fn new(world: Rc<World>, seat: Rc<Seat>) -> Self {
        SimTransaction { world, seat }
    }

    fn open(&self) -> Option<TransactionId> {
        self.world.state().broker.producers[self.seat.producer].transaction
    }

    fn identity(&self) -> Option<Identity> {
        self.world.state().broker.producers[self.seat.producer].identity
    }

    /// A step before a request. If it fails, the request may have been sent all the same, and come late.
    fn step(&self, at: Step, late: impl FnOnce() -> Event) -> Result<(), Error> {
        let result = self.world.step(&self.seat, at);
        if result.is_err() {
            let state = &mut *self.world.state();
            if state.random.chance(500) {
                let after = ms(state.random.below(2 * self.world.plan.session.as_millis() as u64));
                state.events.plan(state.now + after, late());
            }
        }
        result
    }

    fn commit_offsets(&self, offsets: Offsets) -> Result<(), Error> {
        let member = self.seat.member.get().ok_or_else(|| refused("no member of the group commits"))?;
        self.step(Step::Offsets, || Event::LateOffsets { member, offsets: offsets.clone() })?;
        let state = &mut *self.world.state();
        if !state.group.has(member) {
            return Err(unsettled("the group does not know the member"));
        }
        if state.faults.unsettled() {
            return Err(unsettled("the group is between two generations"));
        }
        state.commit(&self.world.plan, &offsets);
        Ok(())
    }

    fn commit_transaction(
        &self,
        transaction: TransactionId,
        offsets: Offsets,
        meanwhile: &mut dyn FnMut() -> bool,
    ) -> Result<(), Error> {
        let mut wait = || while self.world.state().random.chance(500) && meanwhile() {};
        self.world.step(&self.seat, Step::Commit)?;
        wait();
        self.flush(&mut self.world.state())?;
        wait();
        self.world.step(&self.seat, Step::Offsets)?;
        self.send_offsets(&mut self.world.state(), transaction, &offsets)?;
        wait();
        self.step(Step::End, || Event::LateEnd { producer: self.seat.producer })?;
        let state = &mut *self.world.state();
        if !state.broker.may_end(transaction) {
            return Err(refused("the producer is fenced"));
        }
        state.end(&self.world.plan, transaction, Status::Committed);
        state.broker.producers[self.seat.producer].transaction = None;
        Ok(())
    }

    /// Waits until everything written is durable.
    fn flush(&self, state: &mut State) -> Result<(), Error> {
        state.advance(&self.world.plan, state.broker.flushed(self.seat.producer));
        match state.broker.producers[self.seat.producer].refused.take() {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Retry, why)),
        }
    }

    fn send_offsets(&self, state: &mut State, transaction: TransactionId, offsets: &Offsets) -> Result<(), Error> {
        let member = self.seat.member.get().filter(|member| state.group.has(*member));
        if member.is_none() {
            return Err(unsettled("the group does not know the member"));
        }
        if state.faults.unsettled() {
            return Err(unsettled("the group is between two generations"));
        }
        if !state.broker.may_end(transaction) {
            return Err(refused("the producer is fenced"));
        }
        state.broker.add_offsets(transaction, offsets);
        state.group.await_transaction(transaction, offsets);
        Ok(())
    }
}

impl Transaction for SimTransaction {
    fn begin(&mut self) -> Result<(), Error> {
        self.world.step(&self.seat, Step::Begin)?;
        let Some(identity) = self.identity().filter(|_| self.open().is_none()) else { return Ok(()) };
        let state = &mut *self.world.state();
        if state.broker.is_fenced(identity) {
            return Err(refused("the producer is fenced"));
        }
        let transaction = state.broker.begin(self.seat.producer, identity);
        state.events.plan(state.now + self.world.plan.transaction_timeout, Event::TimeOut(transaction));
        Ok(())
    }

    fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
        self.commit_while(positions, &mut || false)
    }

    fn commit_while(&mut self, positions: &Positions, meanwhile: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        let offsets = self.world.offsets(positions);
        match (self.identity(), self.open()) {
            (None, _) => self.commit_offsets(offsets)?,
            (Some(_), Some(transaction)) => self.commit_transaction(transaction, offsets, meanwhile)?,
            (Some(_), None) => return Err(Error::new(ErrorKind::Stopped, "a commit without a transaction")),
        }
        self.world.step(&self.seat, Step::Answer)
    }

    fn abort(&mut self) -> Result<(), Error> {
        self.world.step(&self.seat, Step::Abort)?;
        let Some(transaction) = self.open() else { return Ok(()) };
        let state = &mut *self.world.state();
        state.broker.purge(self.seat.producer, |_| 0);
        state.broker.producers[self.seat.producer].transaction = None;
        if !state.broker.may_end(transaction) {
            return Err(refused("the producer is fenced"));
        }
        state.end(&self.world.plan, transaction, Status::Aborted);
        Ok(())
    }
}

/// The group takes no offsets from this member now.
fn unsettled(why: &str) -> Error {
    Error::new(ErrorKind::Rewind, why)
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Retry, why)
}
