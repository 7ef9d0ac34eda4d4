use std::time::Duration;

use crate::failure::FailureKind;

/// What becomes of a record that failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The original record goes to the dead-letter topic with its story in headers.
    DeadLetter,
    /// Nothing is produced; the record counts as done. Only where the user says so.
    Skip,
    /// The pipeline stops before the record.
    Stop,
}

/// What to do about one kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How often the record is tried again, alone and in a new instance. A rejection is the plugin's considered
    /// answer and is not tried again.
    pub retries: u32,
    /// The pause before the first retry; each later one waits twice as long, a minute at most.
    pub backoff: Duration,
    /// What follows.
    pub then: Action,
}

/// A stage's rules, one for each kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: [Rule; FailureKind::ALL.len()],
}

const BACKOFF_MAX: Duration = Duration::from_secs(60);

impl Policy {
    /// The same rule for every kind of failure.
    pub fn uniform(rule: Rule) -> Self {
        Policy { rules: [rule; FailureKind::ALL.len()] }
    }

    /// Replaces the rule for one kind.
    #[must_use]
    pub fn with(mut self, kind: FailureKind, rule: Rule) -> Self {
        self.rules[kind as usize] = rule;
        self
    }

    /// What follows when retries are used up.
    pub fn action(&self, kind: FailureKind) -> Action {
        self.rules[kind as usize].then
    }

    /// How long to wait before retry number `retry` (from 0) of a record that failed so; none when there is none.
    pub fn retry(&self, kind: FailureKind, retry: u32) -> Option<Duration> {
        let rule = self.rules[kind as usize];
        if kind == FailureKind::Rejected || retry >= rule.retries {
            return None;
        }
        let factor = 1u32.checked_shl(retry).unwrap_or(u32::MAX);
        Some(rule.backoff.saturating_mul(factor).min(BACKOFF_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn retries_end_and_waits_grow_within_bounds(retries in 0u32..200, backoff_ms in 0u64..1_000_000, kind in 1usize..6) {
            let kind = FailureKind::ALL[kind];
            let rule = Rule { retries, backoff: Duration::from_millis(backoff_ms), then: Action::Stop };
            let policy = Policy::uniform(rule);
            let waits: Vec<_> = (0..).map_while(|retry| policy.retry(kind, retry)).collect();
            prop_assert_eq!(waits.len() as u32, retries);
            prop_assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(waits.iter().all(|wait| *wait <= BACKOFF_MAX));
        }

        #[test]
        fn a_rule_of_one_kind_leaves_the_others_alone(kind in 0usize..6, other in 0usize..6) {
            let base = Rule { retries: 1, backoff: Duration::ZERO, then: Action::Stop };
            let policy = Policy::uniform(base).with(FailureKind::ALL[kind], Rule { then: Action::Skip, ..base });
            let expected = if other == kind { Action::Skip } else { Action::Stop };
            prop_assert_eq!(policy.action(FailureKind::ALL[other]), expected);
        }

        #[test]
        fn a_rejection_is_final(retries in 0u32..10) {
            let rule = Rule { retries, backoff: Duration::ZERO, then: Action::Skip };
            prop_assert_eq!(Policy::uniform(rule).retry(FailureKind::Rejected, 0), None);
        }
    }
}
