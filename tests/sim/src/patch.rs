use std::rc::Rc;

use sluicegate_core::{Sink, Source, Transaction};

use crate::life::Seat;
use crate::world::World;

/// Wraps the seams of every worker, to plant a mistake.
pub trait Patch {
    /// In place of the good source.
    fn source(&self, good: Box<dyn Source>, world: &Rc<World>) -> Box<dyn Source> {
        let _ = world;
        good
    }

    /// In place of the good sink.
    fn sink(&self, good: Box<dyn Sink>, world: &Rc<World>) -> Box<dyn Sink> {
        let _ = world;
        good
    }

    /// In place of the good transaction, of the worker in this seat.
    fn transaction(&self, good: Box<dyn Transaction>, world: &Rc<World>, seat: &Rc<Seat>) -> Box<dyn Transaction> {
        let _ = (world, seat);
        good
    }
}

/// No mistake.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpatched;

impl Patch for Unpatched {}
