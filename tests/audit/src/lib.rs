//! The auditor: judges from topics and offsets alone whether a pipeline kept its promise.
//!
//! It is told what a reader sees, in the order in which the reader sees it, and knows nothing of the program that
//! made it: first the inputs and what each of them must become ([`Auditor::input`]), then, as time goes by, outputs
//! ([`Auditor::output`]), committed offsets ([`Auditor::committed`]) and faults ([`Auditor::fault`]). Outputs are
//! compared as they come and not kept.
//!
//! ```
//! use sluicegate_audit::{Auditor, Delivery, Expected, Fate, Partition, Record, Terms};
//!
//! let (input, output) = (Partition::new("trades", 0), Partition::new("trades.clean", 0));
//! let record = Record { value: Some(b"42".to_vec()), ..Record::default() };
//! let expected = Expected { topic: "trades.clean".into(), partition: None, record: record.clone() };
//!
//! let mut auditor = Auditor::new(Terms::new("clean", Delivery::ExactlyOnce));
//! auditor.input(&input, 7, Fate::Produced(vec![expected]));
//! auditor.output(&output, 0, "clean/trades/0/7/0", &record);
//! auditor.committed(&input, 8);
//! assert!(auditor.verdict().is_clean());
//! ```

mod auditor;
mod input;
mod invariant;
mod order;
mod partition;
mod record;
mod report;

pub use auditor::{Auditor, Delivery, Terms};
pub use input::{Expected, Fate};
pub use invariant::{Invariant, Violation};
pub use partition::Partition;
pub use record::{Header, Id, Record};
pub use report::{Counts, Report};
