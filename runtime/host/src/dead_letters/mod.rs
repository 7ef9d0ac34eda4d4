//! The dead letters of a pipeline: found, shown, and replayed.
//!
//! ```text
//! LetterReader → Index (which are still to be replayed) → LetterSource → Worker (the stages) → LetterSink
//!                                                                              ↘ LetterTransaction: outputs and marks
//! ```
//!
//! The dead-letter topic is its own journal. A replay runs the original records through the stages once more, and writes,
//! in the transaction of their outputs, a mark for each letter: a record in the letter's own partition whose header
//! [`sluicegate_core::REPLAYED`] holds the letter's offset. A letter with a mark is never replayed again; one that
//! failed again gets none, and stays. An offset of a group could not tell this, as filters leave letters out. All
//! replays of a pipeline share one transactional id, and connect before they look for marks: so whatever an earlier one
//! wrote is either there to be read or will never be.

mod coordinates;
mod filter;
mod index;
mod json;
mod ledger;
mod replay;
mod report;
mod source;
mod writing;

use sluicegate_core::{Batch, Error};

pub use coordinates::Coordinates;
pub use filter::Filter;
pub(crate) use index::{Index, visit};
pub(crate) use json::as_json;
pub(crate) use replay::{Replay, Replayed, for_replay};
pub(crate) use report::{Report, one_line};

/// Reads a dead-letter topic from its beginning to the end it had when it was opened.
pub(crate) trait LetterReader {
    /// Replaces `batch` by the next records of one partition. False: none came for a moment.
    ///
    /// # Errors
    /// The topic cannot be read.
    fn read(&mut self, batch: &mut Batch) -> Result<bool, Error>;

    /// Whether all is read.
    fn is_done(&self) -> bool;
}
