//! Conditions on a record, shared by the ready-made plugins.
//!
//! A [`Condition`] is a tree of `all`, `any` and `not` over tests; a test reads a [`Subject`] (the key, a header, a field
//! of a JSON value) and applies the operators of a [`Test`] to what it finds. [`Fields`] finds fields in JSON text
//! without building a document.

mod condition;
mod fields;
mod found;
mod subject;
mod test;

pub use condition::{Condition, ConditionConfig};
pub use fields::{Fields, NotJson, span};
pub use found::Found;
pub use subject::{Subject, SubjectConfig};
pub use test::{Test, TestConfig, present};

use schemars::JsonSchema;
use serde::Deserialize;
use sluicegate_plugin::Outcome;

/// What becomes of a record that a condition cannot judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unjudged {
    /// The stage's failure policy decides.
    Reject,
    /// Nothing is produced.
    Drop,
    /// It goes on as it came.
    Pass,
}

impl Unjudged {
    /// What is said where a configuration says nothing, of what cannot be read.
    pub fn reject() -> Self {
        Unjudged::Reject
    }

    /// What is said where a configuration says nothing, of what has nothing to read.
    pub fn pass() -> Self {
        Unjudged::Pass
    }

    /// The outcome; the reason is for a refusal.
    pub fn outcome(self, reason: impl std::fmt::Display) -> Outcome {
        match self {
            Unjudged::Reject => Outcome::reject(reason),
            Unjudged::Drop => Outcome::Drop,
            Unjudged::Pass => Outcome::Pass,
        }
    }
}
