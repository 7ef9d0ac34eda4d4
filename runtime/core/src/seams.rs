//! The four seams of the data path, and the clock. All are called on the worker's own thread, never concurrently. No method has a
//! default body, as whoever wraps a seam would lose it in silence.

use std::time::Duration;

use crate::batch::{Batch, Partition};
use crate::error::Error;
use crate::failure::Failure;
use crate::outcome::Outcomes;
use crate::output::Output;
use crate::progress::{Positions, Progress, Ticket};

/// What [`Source::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// The batch holds at least one record, or only says how far the group goes on ([`Batch::end`]).
    Batch,
    /// Nothing came within the wait; the batch is empty.
    Idle,
    /// Partitions are being taken away. The worker finishes what is in flight (or gives it up, if they are `lost`
    /// already), then calls [`Source::release`]; until then the source gives no further batch.
    Revoked {
        /// Somebody else may own the partitions already: nothing of them may be committed.
        lost: bool,
    },
}

/// Where records come from: one member of a group.
pub trait Source {
    /// Replaces `batch` by the next consecutive records of one partition, waiting at most `wait` for the first.
    /// Called once per turn of the loop; must not block longer than `wait` by more than a network round trip.
    ///
    /// # Errors
    /// The worker ends; a new one starts from the committed offsets.
    fn poll(&mut self, batch: &mut Batch, wait: Duration) -> Result<Polled, Error>;

    /// As [`Source::poll`], but reads nothing and does not wait. Called in its place while there is no room for more,
    /// so that the group does not wait as long as the sink does.
    ///
    /// # Errors
    /// As of [`Source::poll`].
    fn attend(&mut self) -> Result<Polled, Error>;

    /// Replaces `batch` by the next consecutive records of one partition, if there are any here already, and says whether there
    /// are. Called during a commit: nothing that the group asks is answered meanwhile. A source may always say no.
    ///
    /// # Errors
    /// As of [`Source::poll`].
    fn ready(&mut self, batch: &mut Batch) -> Result<bool, Error>;

    /// Gives up the partitions that [`Polled::Revoked`] announced, and says which. That any of them was held is forgotten.
    ///
    /// # Errors
    /// The worker ends.
    fn release(&mut self) -> Result<Vec<Partition>, Error>;

    /// Goes back to the committed offsets of all partitions that this member has and keeps: what was given since is given
    /// again, and no partition is held any more. A revocation that waits for its answer goes on waiting. Called only while
    /// nothing is in flight; `why` is the [`ErrorKind::Rewind`](crate::ErrorKind::Rewind), for the log.
    ///
    /// # Errors
    /// The worker ends; a new one starts from the committed offsets.
    fn rewind(&mut self, why: &Error) -> Result<(), Error>;

    /// While `held`, gives no batch of this partition; the others flow on, and the membership of the group is kept. A
    /// partition that is not this member's is ignored.
    fn hold(&mut self, partition: &Partition, held: bool);

    /// Leaves the group, so that others take over at once. Called last, once; nothing is polled afterwards.
    /// Must return within seconds whatever the broker does.
    fn close(&mut self);
}

/// How logs and dead letters name the plugin behind a [`Transform`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The plugin's own name.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// The SHA-256 of the plugin's bytes, in hexadecimal.
    pub digest: String,
}

/// One live plugin.
pub trait Transform {
    /// Fills `outcomes`, which is empty, with what the plugin says of each record of `batch`. Nobody trusts it yet: the stage
    /// validates it.
    ///
    /// # Errors
    /// The call as a whole failed and says nothing about which record is to blame. The instance is dead: only
    /// [`Transform::renew`] may follow.
    fn process(&mut self, batch: &Batch, outcomes: &mut Outcomes) -> Result<(), Failure>;

    /// The most records to give it at once; it gets one even if this is none. A plugin that is called for each record may take
    /// the deadline each time: with this many, it stays within [`TURN_MAX`](crate::TURN_MAX).
    fn rows_max(&self) -> usize;

    /// Throws the instance away, with all that it remembered, and makes a new one.
    ///
    /// # Errors
    /// The plugin cannot start (any more); the worker ends.
    fn renew(&mut self) -> Result<(), Error>;

    /// Which plugin this is.
    fn identity(&self) -> &Identity;

    /// Called last, between two batches, where another version takes over. Whatever takes time to give up is given up on some
    /// other thread.
    fn retire(self: Box<Self>);
}

/// Where outputs go.
pub trait Sink {
    /// Hands over one output, copying what it needs. Blocks, within bounds, while the sink is full.
    ///
    /// # Errors
    /// The worker ends, and nothing in flight is acknowledged.
    fn write(&mut self, output: &Output<'_>, ticket: Ticket) -> Result<(), Error>;

    /// Nothing more comes for the moment: sends outputs that wait for others to join them, unless it has just done so. Blocks
    /// for a millisecond or so.
    fn send_now(&mut self);

    /// Reports to `progress` the outputs that are durable since the last call, waiting at most `wait` for some.
    /// A sink whose outputs become durable by [`Transaction::commit`] has nothing to report.
    ///
    /// # Errors
    /// An output was refused; the worker ends.
    fn acknowledged(&mut self, progress: &mut Progress, wait: Duration) -> Result<(), Error>;
}

/// What makes outputs and offsets one, or, at least once, just the offsets.
pub trait Transaction {
    /// Called before the first output after a commit.
    ///
    /// # Errors
    /// The worker ends.
    fn begin(&mut self) -> Result<(), Error>;

    /// Makes `positions` the group's offsets, together with all outputs since `begin`. Returns once it is durable.
    ///
    /// # Errors
    /// [`ErrorKind::Rewind`](crate::ErrorKind::Rewind): it took no effect. Others: that is not known; the worker ends, and
    /// the next starts from what the group says.
    fn commit(&mut self, positions: &Positions) -> Result<(), Error>;

    /// As [`Transaction::commit`]. While it only waits, it keeps calling `meanwhile`: at once after `true` (there is more to do),
    /// after a short pause after `false`. `meanwhile` never writes to the sink.
    ///
    /// # Errors
    /// As of [`Transaction::commit`].
    fn commit_while(&mut self, positions: &Positions, meanwhile: &mut dyn FnMut() -> bool) -> Result<(), Error>;

    /// Undoes all outputs since `begin` where that can be done.
    ///
    /// # Errors
    /// The worker ends; a successor fences what is left.
    fn abort(&mut self) -> Result<(), Error>;
}

/// Time, so that a simulation can bend it.
pub trait Clock {
    /// Time since some fixed point; never goes back. Asked a few times a batch, never a record.
    fn now(&self) -> Duration;
    /// Milliseconds since the Unix epoch, for dead letters and for the timestamps that a sink takes. Asked as seldom.
    fn unix_ms(&self) -> i64;
}
