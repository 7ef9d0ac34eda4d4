use std::rc::Rc;

use sluicegate_audit::Invariant;
use sluicegate_core::{Error, Positions, Transaction};
use sluicegate_sim::{Patch, Seat, World};

use crate::caught;

/// The group takes offsets from members that it has thrown out.
#[derive(Clone, Copy)]
struct ZombiesWelcome;

impl Patch for ZombiesWelcome {
    fn transaction(&self, good: Box<dyn Transaction>, world: &Rc<World>, seat: &Rc<Seat>) -> Box<dyn Transaction> {
        struct Bad(Box<dyn Transaction>, Rc<World>, Rc<Seat>);
        impl Transaction for Bad {
            fn begin(&mut self) -> Result<(), Error> {
                self.0.begin()
            }

            fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
                self.commit_while(positions, &mut || false)
            }

            fn commit_while(
                &mut self,
                positions: &Positions,
                meanwhile: &mut dyn FnMut() -> bool,
            ) -> Result<(), Error> {
                self.1.unfenced(&self.2, || self.0.commit_while(positions, meanwhile))
            }

            fn abort(&mut self) -> Result<(), Error> {
                self.0.abort()
            }
        }
        Box::new(Bad(good, Rc::clone(world), Rc::clone(seat)))
    }
}

#[test]
fn a_zombie_that_commits() {
    caught(ZombiesWelcome, Invariant::OffsetsForward);
    caught(ZombiesWelcome, Invariant::ExactlyOnce);
}

/// What is to be undone goes into the next transaction.
#[derive(Clone, Copy)]
struct NothingAborted;

impl Patch for NothingAborted {
    fn transaction(&self, good: Box<dyn Transaction>, _: &Rc<World>, _: &Rc<Seat>) -> Box<dyn Transaction> {
        struct Bad(Box<dyn Transaction>);
        impl Transaction for Bad {
            fn begin(&mut self) -> Result<(), Error> {
                self.0.begin()
            }

            fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
                self.commit_while(positions, &mut || false)
            }

            fn commit_while(
                &mut self,
                positions: &Positions,
                meanwhile: &mut dyn FnMut() -> bool,
            ) -> Result<(), Error> {
                self.0.commit_while(positions, meanwhile)
            }

            fn abort(&mut self) -> Result<(), Error> {
                Ok(())
            }
        }
        Box::new(Bad(good))
    }
}

#[test]
fn an_abort_that_undoes_nothing() {
    caught(NothingAborted, Invariant::ExactlyOnce);
}

/// Only every tenth commit is done.
#[derive(Clone, Copy)]
struct CommitsPutOff;

impl Patch for CommitsPutOff {
    fn transaction(&self, good: Box<dyn Transaction>, _: &Rc<World>, _: &Rc<Seat>) -> Box<dyn Transaction> {
        struct Bad {
            good: Box<dyn Transaction>,
            commits: usize,
            put_off: Positions,
        }
        impl Transaction for Bad {
            fn begin(&mut self) -> Result<(), Error> {
                self.good.begin()
            }

            fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
                self.commit_while(positions, &mut || false)
            }

            fn commit_while(
                &mut self,
                positions: &Positions,
                meanwhile: &mut dyn FnMut() -> bool,
            ) -> Result<(), Error> {
                self.put_off.extend(positions.clone());
                self.commits += 1;
                match self.commits.is_multiple_of(10) {
                    true => self.good.commit_while(&std::mem::take(&mut self.put_off), meanwhile),
                    false => Ok(()),
                }
            }

            fn abort(&mut self) -> Result<(), Error> {
                self.good.abort()
            }
        }
        Box::new(Bad { good, commits: 0, put_off: Positions::new() })
    }
}

#[test]
fn commits_put_off() {
    caught(CommitsPutOff, Invariant::RepeatsBounded);
}
