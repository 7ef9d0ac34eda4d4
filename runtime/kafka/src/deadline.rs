//! Bounds for calls of librdkafka that have none, or do not keep to theirs (#4486, #5456, #5511).

use std::ops::Deref;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often `meanwhile` runs.
const TURN: Duration = Duration::from_millis(5);
/// How long closing a client may hold up its thread; what is not done by then goes on beside it.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// Runs `work` on a thread of its own for at most `limit`, and `meanwhile` on this one. None: it did not end in
/// time, or panicked; it is then left to itself.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
    mut meanwhile: impl FnMut(),
) -> Option<T> {
    let (sender, receiver) = sync_channel(1);
    let end = Instant::now() + limit;
    // A send fails only if nobody waits any more.
    let work = move || drop(sender.send(work()));
    thread::Builder::new().name("sluicegate-kafka-call".into()).spawn(work).ok()?;
    loop {
        match receiver.recv_timeout(TURN) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if Instant::now() >= end => return None,
            Err(RecvTimeoutError::Timeout) => meanwhile(),
        }
    }
}

/// A client whose destruction, which librdkafka may block for ever, holds up nobody longer than [`CLOSE_WAIT`].
pub(crate) struct Bounded<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Bounded<T> {
    pub(crate) fn new(client: T) -> Self {
        Bounded(Some(client))
    }
}

impl<T: Send + 'static> Deref for Bounded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("a client is taken only by drop")
    }
}

impl<T: Send + 'static> Drop for Bounded<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        if within(CLOSE_WAIT, move || drop(client), || {}).is_none() {
            tracing::warn!("a Kafka client did not close within {CLOSE_WAIT:?}; its threads end with the process");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_hangs_is_left_behind() {
        let mut turns = 0;
        assert_eq!(within(Duration::from_secs(60), || 7, || turns += 1), Some(7));
        let start = Instant::now();
        assert_eq!(within(Duration::from_millis(30), || thread::sleep(Duration::from_secs(5)), || turns += 1), None);
        assert!(start.elapsed() < Duration::from_secs(4));
        assert!(turns > 0);
    }
}
