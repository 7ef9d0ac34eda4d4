//! The auditor bites: mistakes planted into the seams are caught, each within a thousand seeds.

use std::rc::Rc;
use std::time::Duration;

use sluicegate_audit::Invariant;
use sluicegate_core::{
    Batch, Destination, Error, NO_TIMESTAMP, Output, Partition, Polled, Positions, Progress, Sink, Source, Ticket,
    Transaction,
};
use sluicegate_sim::{Patch, Seat, World, simulate};

const SEEDS: u64 = 1000;

/// Asserts that worlds with this mistake violate the invariant.
fn caught<P: Patch + Copy + 'static>(mistake: P, invariant: Invariant) {
    let bad = (0..SEEDS).find(|seed| simulate(*seed, Box::new(mistake), false).report.violates(invariant));
    let seed = bad.unwrap_or_else(|| panic!("no seed below {SEEDS} violates {invariant}"));
    println!("{invariant}: violated by seed {seed}");
}

/// Offsets are committed as soon as records are read.
#[derive(Clone, Copy)]
struct CommitBeforeWrite;

impl Patch for CommitBeforeWrite {
    fn source(&self, good: Box<dyn Source>, world: &Rc<World>) -> Box<dyn Source> {
        struct Bad(Box<dyn Source>, Rc<World>);
        impl Source for Bad {
            fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error> {
                let polled = self.0.poll(batch, wait)?;
                if let Some(last) = batch.offsets.last() {
                    self.1.commit(&Positions::from([(batch.partition.clone(), last + 1)]));
                }
                Ok(polled)
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
                self.1.unfenced(&self.2, || self.0.commit(positions))
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
                self.0.commit(positions)
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
                self.put_off.extend(positions.clone());
                self.commits += 1;
                match self.commits.is_multiple_of(10) {
                    true => self.good.commit(&std::mem::take(&mut self.put_off)),
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
