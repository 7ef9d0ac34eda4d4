use std::rc::Rc;
use std::time::Duration;

use sluicegate_audit::Invariant;
use sluicegate_core::{Batch, Destination, Error, NO_TIMESTAMP, Output, Partition, Progress, Sink, Ticket};
use sluicegate_sim::{Patch, World};

use crate::caught;

/// A sink that tells the worker of outputs which the good one never got, or has not made durable.
struct Liar {
    good: Box<dyn Sink>,
    durable: Vec<Ticket>,
}

impl Liar {
    fn new(good: Box<dyn Sink>) -> Self {
        Liar { good, durable: Vec::new() }
    }

    fn lie(&mut self, progress: &mut Progress) {
        self.durable.drain(..).for_each(|ticket| progress.acknowledge(ticket, 1));
    }
}

/// Outputs count as durable once they are handed over.
#[derive(Clone, Copy)]
struct AcknowledgedBeforeDurable;

impl Patch for AcknowledgedBeforeDurable {
    fn sink(&self, good: Box<dyn Sink>, _: &Rc<World>) -> Box<dyn Sink> {
        struct Bad(Liar);
        impl Sink for Bad {
            fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
                self.0.durable.push(ticket);
                self.0.good.write(output, ticket)
            }

            fn send_now(&mut self) {
                self.0.good.send_now();
            }

            fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
                self.0.lie(progress);
                self.0.good.acknowledged(&mut Progress::default(), wait)
            }
        }
        Box::new(Bad(Liar::new(good)))
    }
}

#[test]
fn an_acknowledgement_before_durability() {
    caught(AcknowledgedBeforeDurable, Invariant::OutputsFirst);
}

/// What a full sink has no room for is gone.
#[derive(Clone, Copy)]
struct LostWhenFull;

impl Patch for LostWhenFull {
    fn sink(&self, good: Box<dyn Sink>, _: &Rc<World>) -> Box<dyn Sink> {
        struct Bad(Liar);
        impl Sink for Bad {
            fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
                match self.0.good.write(output, ticket) {
                    Err(error) if error.message.contains("full") => {
                        self.0.durable.push(ticket);
                        Ok(())
                    }
                    result => result,
                }
            }

            fn send_now(&mut self) {
                self.0.good.send_now();
            }

            fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
                self.0.lie(progress);
                self.0.good.acknowledged(progress, wait)
            }
        }
        Box::new(Bad(Liar::new(good)))
    }
}

#[test]
fn an_output_lost_on_a_full_sink() {
    caught(LostWhenFull, Invariant::NothingLost);
}

/// After a write that had to be tried again, the next output is overtaken by its successor.
#[derive(Clone, Copy)]
struct OvertakenAfterRetry;

impl Patch for OvertakenAfterRetry {
    fn sink(&self, good: Box<dyn Sink>, world: &Rc<World>) -> Box<dyn Sink> {
        struct Bad {
            good: Box<dyn Sink>,
            world: Rc<World>,
            waits: usize,
            kept: Option<Kept>,
        }
        impl Sink for Bad {
            fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
                if let Some(kept) = self.kept.take() {
                    self.good.write(output, ticket)?;
                    return kept.write(&mut *self.good);
                }
                if std::mem::replace(&mut self.waits, self.world.full_waits()) != self.waits {
                    self.kept = Some(Kept::new(output, ticket));
                    return Ok(());
                }
                self.good.write(output, ticket)
            }

            fn send_now(&mut self) {
                self.good.send_now();
            }

            fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
                if let Some(kept) = self.kept.take() {
                    kept.write(&mut *self.good)?;
                }
                self.good.acknowledged(progress, wait)
            }
        }
        Box::new(Bad { good, world: Rc::clone(world), waits: world.full_waits(), kept: None })
    }
}

/// An output, kept for later.
struct Kept {
    to: Destination,
    row: Batch,
    index: u32,
    added: Vec<(&'static str, String)>,
    ticket: Ticket,
}

impl Kept {
    fn new(output: &Output<'_>, ticket: Ticket) -> Self {
        let mut row = Batch { partition: output.source.clone(), ..Batch::default() };
        row.push(output.offset, output.timestamp, output.key, output.value);
        output.headers.for_each(|(name, value)| row.push_header(name, value));
        Kept { to: output.to, row, index: output.index, added: output.added.to_vec(), ticket }
    }

    fn write(&self, sink: &mut dyn Sink) -> Result<(), Error> {
        let source: &Partition = &self.row.partition;
        self.row.rows().try_for_each(|row| {
            let (offset, timestamp) = (row.offset, row.timestamp);
            let (key, value, headers) = (row.key, row.value, row.headers);
            let (to, index, added) = (self.to, self.index, &self.added[..]);
            sink.write(&Output { to, source, offset, index, timestamp, key, value, headers, added }, self.ticket)
        })
    }
}

#[test]
fn an_output_overtaken_after_a_retry() {
    caught(OvertakenAfterRetry, Invariant::InOrder);
}

/// Of the first record with several outputs after a rebalance, only the first is written.
#[derive(Clone, Copy)]
struct ForgottenAfterRebalance;

impl Patch for ForgottenAfterRebalance {
    fn sink(&self, good: Box<dyn Sink>, world: &Rc<World>) -> Box<dyn Sink> {
        struct Bad {
            liar: Liar,
            world: Rc<World>,
            releases: usize,
        }
        impl Sink for Bad {
            fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
                if output.index > 0 && std::mem::replace(&mut self.releases, self.world.releases()) != self.releases {
                    self.liar.durable.push(ticket);
                    return Ok(());
                }
                self.liar.good.write(output, ticket)
            }

            fn send_now(&mut self) {
                self.liar.good.send_now();
            }

            fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
                self.liar.lie(progress);
                self.liar.good.acknowledged(progress, wait)
            }
        }
        Box::new(Bad { liar: Liar::new(good), world: Rc::clone(world), releases: world.releases() })
    }
}

#[test]
fn an_output_forgotten_after_a_rebalance() {
    caught(ForgottenAfterRebalance, Invariant::AllOrNone);
}

/// A sink that changes each output a little.
#[derive(Clone, Copy)]
struct Changed(for<'a> fn(Output<'a>) -> Output<'a>);

impl Patch for Changed {
    fn sink(&self, good: Box<dyn Sink>, _: &Rc<World>) -> Box<dyn Sink> {
        struct Bad(Box<dyn Sink>, for<'a> fn(Output<'a>) -> Output<'a>);
        impl Sink for Bad {
            fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error> {
                self.0.write(&self.1(*output), ticket)
            }

            fn send_now(&mut self) {
                self.0.send_now();
            }

            fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error> {
                self.0.acknowledged(progress, wait)
            }
        }
        Box::new(Bad(good, self.0))
    }
}

#[test]
fn records_changed_on_their_way() {
    let tombstone_filled = Changed(|output| Output { value: output.value.or(Some(b"")), ..output });
    let empty_key_nulled = Changed(|output| Output { key: output.key.filter(|key| !key.is_empty()), ..output });
    let first_header_lost = Changed(|mut output| {
        output.headers.next();
        output
    });
    let timestamp_lost = Changed(|output| Output { timestamp: NO_TIMESTAMP, ..output });
    for mistake in [tombstone_filled, empty_key_nulled, first_header_lost, timestamp_lost] {
        caught(mistake, Invariant::Content);
    }
}
