use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::broker::TransactionId;
use crate::group::Member;

/// Something that will happen by itself.
#[derive(Debug)]
pub(crate) enum Event {
    /// The next output in a producer's queue for this output partition reaches the broker, if it is still this one.
    Arrive { producer: usize, place: usize, number: u64 },
    /// A producer has waited too long for the acknowledgement of an output.
    GiveUp { producer: usize },
    /// The group has not heard of a member for too long.
    Expire(Member),
    /// A transaction has been open for too long.
    TimeOut(TransactionId),
    /// Offsets that were sent before their sender broke down.
    LateOffsets { member: Member, offsets: Vec<(usize, u64)> },
    /// The end of a transaction that a producer sent before it broke down. It ends whatever that has open by then.
    LateEnd { producer: usize },
}

/// What will happen, by time, then in the order of its planning.
#[derive(Debug, Default)]
pub(crate) struct Events {
    heap: BinaryHeap<Reverse<Planned>>,
    planned: u64,
}

#[derive(Debug)]
struct Planned {
    key: (Duration, u64),
    event: Event,
}

impl Events {
    pub(crate) fn plan(&mut self, at: Duration, event: Event) {
        self.planned += 1;
        self.heap.push(Reverse(Planned { key: (at, self.planned), event }));
    }

    /// The next event, if it happens by this time.
    pub(crate) fn next(&mut self, by: Duration) -> Option<(Duration, Event)> {
        let due = self.heap.peek().is_some_and(|Reverse(planned)| planned.key.0 <= by);
        due.then(|| self.heap.pop()).flatten().map(|Reverse(planned)| (planned.key.0, planned.event))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}
