//! Sluicegate beside what people use today: the same work, on the same broker, in turn, each output verified.
//!
//! [`ground`] is the broker with its input, [`contender`] says who takes part, [`peers`] gets those that are not ours,
//! [`measure`] runs one of them, [`report`] compares. `side-by-side` is the command.
//! [`boundary`] is the path from columns to columns alone.

pub mod boundary;
pub mod contender;
pub mod ground;
pub mod measure;
pub mod peers;
pub mod report;
