use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets the worker's thread sleep until librdkafka has something for it. Raised from librdkafka's threads.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    raised: AtomicBool,
    lock: Mutex<()>,
    bell: Condvar,
}

impl Wake {
    /// There is something to look at. Cheap, and never blocks for long.
    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, SeqCst) {
            // Taking the lock orders this after a waiter's last look at the flag.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.bell.notify_one();
        }
    }

    /// To be called before looking, so that what comes meanwhile raises it again.
    pub(crate) fn lower(&self) {
        self.raised.store(false, SeqCst);
    }

    /// Sleeps until it is raised, or for `time`.
    pub(crate) fn wait(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.raised.load(SeqCst) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            guard = self.bell.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_wait_ends_when_raised_and_when_time_is_up() {
        let wake = Arc::new(Wake::default());
        let start = Instant::now();
        wake.wait(Duration::from_millis(5));
        assert!(start.elapsed() >= Duration::from_millis(5));
        let other = Arc::clone(&wake);
        let thread = std::thread::spawn(move || other.raise());
        wake.wait(Duration::from_secs(60));
        thread.join().unwrap();
        assert!(start.elapsed() < Duration::from_secs(30));
        wake.lower();
        let start = Instant::now();
        wake.wait(Duration::from_millis(5));
        assert!(start.elapsed() >= Duration::from_millis(5));
    }
}
