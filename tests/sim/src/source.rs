use std::rc::Rc;
use std::time::Duration;

use sluicegate_core::{Batch, Error, NO_TIMESTAMP, Partition, Polled, Source};

use crate::event::Event;
use crate::faults::Step;
use crate::life::Seat;
use crate::state::State;
use crate::world::World;

/// A member of the simulated group.
pub(crate) struct SimSource {
    world: Rc<World>,
    seat: Rc<Seat>,
    assigned: Vec<Assigned>,
    /// The partitions that are being taken away.
    revoked: Vec<usize>,
}

/// A partition that this member has, as an index, and which of its records it reads next.
struct Assigned {
    input: usize,
    next: usize,
    held: bool,
}

impl SimSource {
    pub(crate) fn new(world: Rc<World>, seat: Rc<Seat>) -> Self {
        SimSource { world, seat, assigned: Vec::new(), revoked: Vec::new() }
    }

    /// Whether partitions are being taken away: all, from a member that the group has given up; some or all, by the
    /// seed's will, from any other.
    fn revoke(&mut self, state: &mut State) -> Option<Polled> {
        let lost = self.seat.member.get().is_some_and(|member| !state.group.has(member));
        if lost {
            self.revoked = self.assigned.iter().map(|assigned| assigned.input).collect();
            return Some(Polled::Revoked { lost: true });
        }
        if !self.revoked.is_empty() {
            return Some(Polled::Revoked { lost: false });
        }
        if self.assigned.is_empty() || !state.faults.rebalance(&mut state.random) {
            return None;
        }
        let all = state.random.chance(500);
        let taken = self.assigned.iter().map(|assigned| assigned.input);
        self.revoked = taken.filter(|_| all || state.random.chance(500)).collect();
        (!self.revoked.is_empty()).then_some(Polled::Revoked { lost: false })
    }

    /// Joins the group if need be, and takes over partitions that nobody has, from their committed offsets.
    fn take_over(&mut self, state: &mut State) {
        let member = self.seat.member.get().unwrap_or_else(|| state.group.join());
        self.seat.member.set(Some(member));
        for input in state.group.free() {
            if state.faults.are_over() || state.random.chance(800) {
                state.group.take(input, member);
                let next = self.world.plan.inputs[input].from(state.group.committed(input));
                self.assigned.push(Assigned { input, next, held: false });
            }
        }
    }

    /// Fills the batch with the next records of some partition that has any.
    fn read(&mut self, batch: &mut Batch, state: &mut State) -> bool {
        let plan = &self.world.plan;
        let ready = |assigned: &&mut Assigned| {
            let next = plan.inputs[assigned.input].records.get(assigned.next);
            !assigned.held && next.is_some_and(|record| record.at <= state.now)
        };
        let mut ready: Vec<&mut Assigned> = self.assigned.iter_mut().filter(ready).collect();
        if ready.is_empty() {
            return false;
        }
        let chosen = state.random.below(ready.len() as u64) as usize;
        let assigned = &mut *ready[chosen];
        let input = &plan.inputs[assigned.input];
        let records = state.random.between(1, plan.batch_records as u64) as usize;
        let there = input.records[assigned.next..].iter().take(records).take_while(|record| record.at <= state.now);
        batch.partition.clone_from(&input.partition);
        for record in there {
            let (offset, record) = (record.offset, &record.record);
            let timestamp = record.timestamp.unwrap_or(NO_TIMESTAMP);
            batch.push(offset, timestamp, record.key.as_deref(), record.value.as_deref());
            record.headers.iter().for_each(|(name, value)| batch.push_header(name, value.as_deref()));
            assigned.next += 1;
        }
        batch.end = input.records.get(assigned.next).map(|next| next.offset);
        batch.log_end = input.records.last().map(|last| last.offset + 1);
        true
    }

    /// What was read and is not committed is what a worker has to keep.
    fn measure(&self, state: &mut State) {
        let kept = self.assigned.iter().map(|assigned| {
            let input = &self.world.plan.inputs[assigned.input];
            let committed = input.from(state.group.committed(assigned.input)).min(assigned.next);
            input.records[committed..assigned.next].iter().map(|record| record.bytes() as u64).sum::<u64>()
        });
        let kept = kept.sum();
        state.observer.auditor.memory(kept);
    }
}

impl Source for SimSource {
    fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
        batch.clear();
        let polled = self.attend()?;
        if polled != Polled::Idle {
            return Ok(polled);
        }
        let world = Rc::clone(&self.world);
        let state = &mut *world.state();
        self.take_over(state);
        if !self.read(batch, state) {
            state.advance(&world.plan, state.now + wait);
            if !self.read(batch, state) {
                return Ok(Polled::Idle);
            }
        }
        self.measure(state);
        state.trace.say(state.now, Some(&self.seat), || format!("reads {} {:?}", batch.partition, batch.offsets));
        Ok(Polled::Batch)
    }

    fn attend(&mut self) -> Result<Polled, Error> {
        let world = Rc::clone(&self.world);
        world.step(&self.seat, Step::Poll)?;
        let state = &mut *world.state();
        if state.faults.are_over() && state.is_done(&world.plan) {
            self.seat.stop.request();
        }
        let Some(revoked) = self.revoke(state) else { return Ok(Polled::Idle) };
        state.trace.say(state.now, Some(&self.seat), || format!("{revoked:?}: {:?}", self.revoked));
        Ok(revoked)
    }

    fn ready(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        let world = Rc::clone(&self.world);
        let state = &mut *world.state();
        if !self.read(batch, state) {
            return Ok(false);
        }
        self.measure(state);
        state.trace.say(state.now, Some(&self.seat), || format!("reads ahead {} {:?}", batch.partition, batch.offsets));
        Ok(true)
    }

    fn release(&mut self) -> Result<Vec<Partition>, Error> {
        let world = Rc::clone(&self.world);
        world.step(&self.seat, Step::Release)?;
        let revoked = std::mem::take(&mut self.revoked);
        self.assigned.retain(|assigned| !revoked.contains(&assigned.input));
        let gone = revoked.iter().map(|input| world.plan.inputs[*input].partition.clone()).collect();
        let Some(member) = self.seat.member.get() else { return Ok(gone) };
        {
            let state = &mut *world.state();
            if !state.group.has(member) {
                // Whatever is left is lost as well, as the next poll will say.
                if self.assigned.is_empty() {
                    self.seat.member.set(None);
                    self.seat.lost.set(false);
                }
                return Ok(gone);
            }
            revoked.iter().for_each(|input| state.group.release(*input, member));
            state.releases += 1;
        }
        world.others(&self.seat);
        Ok(gone)
    }

    fn rewind(&mut self, why: &Error) -> Result<(), Error> {
        self.world.step(&self.seat, Step::Rewind)?;
        self.world.say(&self.seat, || format!("goes back: {why}"));
        let state = &mut *self.world.state();
        state.fault();
        for assigned in &mut self.assigned {
            assigned.next = self.world.plan.inputs[assigned.input].from(state.group.committed(assigned.input));
            assigned.held = false;
        }
        Ok(())
    }

    fn hold(&mut self, partition: &Partition, held: bool) {
        let input = self.world.plan.input(partition);
        self.world.say(&self.seat, || format!("{} {partition}", if held { "holds" } else { "lets go" }));
        self.assigned.iter_mut().filter(|assigned| assigned.input == input).for_each(|assigned| assigned.held = held);
    }

    fn close(&mut self) {
        let Some(member) = self.seat.member.get().filter(|_| self.seat.alive.get()) else { return };
        let state = &mut *self.world.state();
        // Now and then the farewell does not get through.
        if state.faults.are_over() || state.random.chance(750) {
            state.group.remove(member);
        } else {
            state.events.plan(state.now + self.world.plan.session, Event::Expire(member));
        }
    }
}
