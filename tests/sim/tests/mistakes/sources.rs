use std::rc::Rc;
use std::time::Duration;

use sluicegate_audit::Invariant;
use sluicegate_core::{Batch, Error, Partition, Polled, Positions, Source};
use sluicegate_sim::{Patch, World};

use crate::caught;

/// Offsets are committed as soon as records are read.
#[derive(Clone, Copy)]
struct CommitBeforeWrite;

impl Patch for CommitBeforeWrite {
    fn source(&self, good: Box<dyn Source>, world: &Rc<World>) -> Box<dyn Source> {
        struct Bad(Box<dyn Source>, Rc<World>);
        impl Bad {
            fn commit(&self, batch: &Batch) {
                if let Some(last) = batch.offsets.last() {
                    self.1.commit(&Positions::from([(batch.partition.clone(), last + 1)]));
                }
            }
        }
        impl Source for Bad {
            fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
                let polled = self.0.poll(batch, wait)?;
                self.commit(batch);
                Ok(polled)
            }

            fn attend(&mut self) -> Result<Polled, Error> {
                self.0.attend()
            }

            fn ready(&mut self, batch: &mut Batch) -> Result<bool, Error> {
                let is_ready = self.0.ready(batch)?;
                self.commit(batch);
                Ok(is_ready)
            }

            fn release(&mut self) -> Result<Vec<Partition>, Error> {
                self.0.release()
            }

            fn rewind(&mut self, why: &Error) -> Result<(), Error> {
                self.0.rewind(why)
            }

            fn hold(&mut self, partition: &Partition, held: bool) {
                self.0.hold(partition, held);
            }

            fn close(&mut self) {
                self.0.close();
            }
        }
        Box::new(Bad(good, Rc::clone(world)))
    }
}

#[test]
fn a_commit_before_the_write() {
    caught(CommitBeforeWrite, Invariant::OutputsFirst);
    caught(CommitBeforeWrite, Invariant::NothingLost);
}

/// What was undone because the group took no offsets is not read again.
#[derive(Clone, Copy)]
struct NothingReadAgain;

impl Patch for NothingReadAgain {
    fn source(&self, good: Box<dyn Source>, _: &Rc<World>) -> Box<dyn Source> {
        struct Bad(Box<dyn Source>);
        impl Source for Bad {
            fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
                self.0.poll(batch, wait)
            }

            fn attend(&mut self) -> Result<Polled, Error> {
                self.0.attend()
            }

            fn ready(&mut self, batch: &mut Batch) -> Result<bool, Error> {
                self.0.ready(batch)
            }

            fn release(&mut self) -> Result<Vec<Partition>, Error> {
                self.0.release()
            }

            fn rewind(&mut self, _: &Error) -> Result<(), Error> {
                Ok(())
            }

            fn hold(&mut self, partition: &Partition, held: bool) {
                self.0.hold(partition, held);
            }

            fn close(&mut self) {
                self.0.close();
            }
        }
        Box::new(Bad(good))
    }
}

#[test]
fn a_rewind_that_goes_nowhere() {
    caught(NothingReadAgain, Invariant::NothingLost);
}
