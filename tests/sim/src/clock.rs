use std::rc::Rc;
use std::time::Duration;

use sluicegate_core::Clock;

use crate::world::World;

/// The world's time.
pub(crate) struct SimClock(pub(crate) Rc<World>);

impl Clock for SimClock {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn unix_ms(&self) -> i64 {
        self.0.now().as_millis() as i64
    }
}
