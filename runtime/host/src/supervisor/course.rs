//! How far the workers of a process are.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lock;

/// How long workers may take to end after a signal; those that hang on a broker then end with the process.
pub(super) const STOP_MAX: Duration = Duration::from_secs(9);
/// How often a worker that pauses looks whether its plugin was replaced.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How far the workers are. Wakes those that pause before a restart, and whoever waits for their end.
#[derive(Default)]
pub(super) struct Course {
    at: Mutex<At>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct At {
    /// When all were asked to end.
    stopping: Option<Instant>,
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

    /// Has those that wait look again.
    pub(super) fn wake(&self) {
        self.change(|_| {});
    }

    /// All were asked to end.
    pub(super) fn stop(&self) {
        self.change(|at| at.stopping = at.stopping.or_else(|| Some(Instant::now())));
    }

    pub(super) fn is_stopping(&self) -> bool {
        lock(&self.at).stopping.is_some()
    }

    /// Whether a worker ended without having committed all that it had read.
    pub(super) fn is_cut(&self) -> bool {
        lock(&self.at).is_cut
    }

    /// Waits until it is so, or until time is up, and says whether it is so. Looks whenever something changes here and, as
    /// plugins change elsewhere, every now and then.
    pub(super) fn wait_until(&self, is_so: impl Fn() -> bool, within: Duration) -> bool {
        let (since, mut at) = (Instant::now(), lock(&self.at));
        while !is_so() {
            let left = within.saturating_sub(since.elapsed()).min(LOOK_EVERY);
            if left.is_zero() {
                return false;
            }
            at = self.changed.wait_timeout(at, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_changes_elsewhere_is_seen_too() {
        let asked = Cell::new(0);
        let is_so = || asked.replace(asked.get() + 1) == 2;
        assert!(Course::default().wait_until(is_so, Duration::from_secs(3600)), "nobody has woken it");
        assert!(!Course::default().wait_until(|| false, Duration::from_millis(1)));
    }
}
