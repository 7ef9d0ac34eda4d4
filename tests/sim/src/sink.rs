use std::rc::Rc;
use std::time::Duration;

use sluicegate_audit::Record;
use sluicegate_core::{Delivery, Error, ErrorKind, NO_TIMESTAMP, Output, Progress, Sink, Ticket};

use crate::broker::Entry;
use crate::faults::Step;
use crate::life::Seat;
use crate::state::State;
use crate::world::World;

/// A simulated producer.
pub(crate) struct SimSink {
    world: Rc<World>,
    seat: Rc<Seat>,
}

impl SimSink {
    pub(crate) fn new(world: Rc<World>, seat: Rc<Seat>) -> Self {
        SimSink { world, seat }
    }

    /// Waits until the queues have room.
    fn make_room(&self, state: &mut State) -> Result<(), Error> {
        let give_up = state.now + self.world.plan.full_wait;
        let is_full = |state: &State| state.broker.queued(self.seat.producer) >= self.world.plan.queue_records;
        state.full_waits += usize::from(is_full(state));
        while is_full(state) {
            if state.now >= give_up {
                return Err(Error::new(ErrorKind::Retry, "the queue stayed full"));
            }
            state.advance(&self.world.plan, state.now + Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Sink for SimSink {
    fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
        self.world.step(&self.seat, Step::Write)?;
        let state = &mut *self.world.state();
        self.make_room(state)?;
        let plan = &self.world.plan;
        let entry = Entry {
            id: format!(
                "{}/{}/{}/{}/{}",
                plan.settings.pipeline, output.source.topic, output.source.number, output.offset, output.index
            ),
            record: record(output),
            transaction: state.broker.producers[self.seat.producer].transaction,
        };
        state.trace.say(state.now, Some(&self.seat), || format!("writes {} to {:?}", entry.id, output.to));
        state.write(plan, self.seat.producer, plan.place(output.to, output.source, output.key), entry, ticket);
        Ok(())
    }

    fn send_now(&mut self) {}

    fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
        self.world.step(&self.seat, Step::Acknowledged)?;
        let state = &mut *self.world.state();
        let (producer, plan) = (self.seat.producer, &self.world.plan);
        let give_up = state.now + wait;
        loop {
            if let Some(why) = state.broker.producers[producer].refused.take() {
                return Err(Error::new(ErrorKind::Retry, why));
            }
            let mut durable = 0;
            state.broker.acknowledgements(producer, state.now, |ticket| {
                durable += 1;
                if plan.settings.delivery == Delivery::AtLeastOnce {
                    progress.acknowledge(ticket, 1);
                }
            });
            if durable > 0 || state.now >= give_up || plan.settings.delivery == Delivery::ExactlyOnce {
                return Ok(());
            }
            state.advance(plan, give_up.min(state.now + Duration::from_millis(1)));
        }
    }
}

fn record(output: &Output<'_>) -> Record {
    let own = output.headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)));
    let added = output.added.iter().map(|(name, value)| (name.as_bytes().to_vec(), Some(value.as_bytes().to_vec())));
    Record {
        key: output.key.map(<[u8]>::to_vec),
        value: output.value.map(<[u8]>::to_vec),
        headers: own.chain(added).collect(),
        timestamp: (output.timestamp != NO_TIMESTAMP).then_some(output.timestamp),
    }
}
