use crate::progress::{Progress, Ticket};

/// How many outputs of which batches are durable, or will be, until that is reported: what a sink keeps in mind.
///
/// Neighbours of one batch are one entry. For the sink's thread.
#[derive(Debug, Default)]
pub struct Acks(Vec<(Ticket, u64)>);

impl Acks {
    /// One more output of this batch.
    #[inline]
    pub fn add(&mut self, ticket: Ticket) {
        match self.0.last_mut() {
            Some((last, outputs)) if *last == ticket => *outputs += 1,
            _ => self.0.push((ticket, 1)),
        }
    }

    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Reports all as durable, and forgets them.
    pub fn report(&mut self, progress: &mut Progress) {
        self.0.drain(..).for_each(|(ticket, outputs)| progress.acknowledge(ticket, outputs));
    }
}
