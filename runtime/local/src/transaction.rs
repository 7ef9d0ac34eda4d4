use std::cell::RefCell;
use std::rc::Rc;

use sluicegate_core::{Error, Positions, Transaction};

use crate::error::{Fault, config};
use crate::offsets;
use crate::sink::{LocalSink, Outbox};
use crate::source::Membership;

/// Commits a [`crate::LocalSource`]'s offsets, in one SQLite transaction with the outputs of a [`LocalSink`] if it was
/// made with one. For the thread that opened the source.
///
/// Only [`Transaction::commit`] touches the database, and not for long, so workers commit in turn.
pub struct LocalTransaction {
    membership: Rc<Membership>,
    outbox: Option<Rc<RefCell<Outbox>>>,
}

impl LocalTransaction {
    pub(crate) fn new(membership: Rc<Membership>, sink: Option<&LocalSink>) -> Self {
        let outbox = sink.map(LocalSink::outbox);
        if let Some(outbox) = &outbox {
            outbox.borrow_mut().is_transactional = true;
        }
        LocalTransaction { membership, outbox }
    }

    fn forget(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.borrow_mut().clear();
        }
    }
}

impl Transaction for LocalTransaction {
    fn begin(&mut self) -> Result<(), Error> {
        if self.outbox.as_ref().is_some_and(|outbox| !outbox.borrow().buffer.is_empty()) {
            return Err(Error::new(
                sluicegate_core::ErrorKind::Stopped,
                "a transaction began with outputs of the last one in its buffer; please report it",
            ));
        }
        Ok(())
    }

    /// Durable, outputs and offsets together, when it returns; if it fails, neither is there.
    ///
    /// `Promise` if another worker of the group has taken one of the partitions over, `Retry` if the disk is full.
    fn commit(&mut self, positions: &Positions) -> Result<(), Error> {
        let Membership { log, group, member, partitions } = &*self.membership;
        log.write("commit", |turn| -> Result<(), Fault> {
            if let Some(outbox) = &self.outbox {
                outbox.borrow_mut().buffer.append(turn)?;
            }
            for (partition, next) in positions {
                let id =
                    partitions.get(partition).ok_or_else(|| config(format!("{partition} is not this worker's")))?;
                offsets::commit(turn, group, *member, (partition, *id), *next)?;
            }
            Ok(())
        })?;
        self.forget();
        log.sweep_if_due();
        Ok(())
    }

    fn commit_while(&mut self, positions: &Positions, _: &mut dyn FnMut() -> bool) -> Result<(), Error> {
        self.commit(positions)
    }

    /// Forgets the outputs: nothing of them has reached the database.
    fn abort(&mut self) -> Result<(), Error> {
        self.forget();
        Ok(())
    }
}
