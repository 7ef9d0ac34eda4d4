//! How far the workers of a process are.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lock;

/// How long workers may take to end after a signal; those that hang on a broker then end with the process.
pub(super) const STOP_MAX: Duration = Duration::from_secs(9);

/// How far the workers are. Wakes those that pause before a restart, and whoever waits for their end.
#[derive(Default)]
pub(super) struct Course {
    at: Mutex<At>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct At {
    /// When all were asked to end.
    pub(super) stopping: Option<Instant>,
    /// Whether more pipelines may come: then the end of all workers is not the end.
    pub(super) more_may_come: bool,
    /// Threads that have not ended.
    pub(super) threads: usize,
    /// Whether a worker ended without having committed all that it had read.
    pub(super) is_cut: bool,
}

impl Course {
    pub(super) fn change(&self, change: impl FnOnce(&mut At)) {
        change(&mut lock(&self.at));
        self.changed.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        lock(&self.at).stopping.is_some()
    }

    /// Whether a worker ended without having committed all that it had read.
    pub(super) fn is_cut(&self) -> bool {
        lock(&self.at).is_cut
    }

    /// Waits until it is so, checking whenever something has changed, or until time is up. Whether it is so.
    pub(super) fn wait_until(&self, is_so: impl Fn() -> bool, within: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(lock(&self.at), within, |_| !is_so());
        waited.is_ok_and(|(_, time)| !time.timed_out())
    }

    /// Waits until all threads have ended, or took too long after they were asked to. Returns how many go on.
    pub(super) fn wait(&self) -> usize {
        let mut at = lock(&self.at);
        while at.threads > 0 || at.more_may_come && at.stopping.is_none() {
            let Some(since) = at.stopping else {
                at = self.changed.wait(at).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = STOP_MAX.saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            at = self.changed.wait_timeout(at, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        at.threads
    }
}
