//! Bounds for calls of librdkafka that have none, or do not keep to theirs (#4486, #5456, #5511).

use std::ops::Deref;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaResult;
use sluicegate_core::{Error, ErrorKind, Stop};

use crate::context::Consumer;
use crate::error::failed_call;
use crate::native::SharedConsumer;

/// How often `meanwhile` runs where it has no more to do at once.
const TURN: Duration = Duration::from_millis(5);
/// How long closing a client may hold up its thread; what is not done by then goes on beside it.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// How long a worker's calls may take: each as its own limit says, and all together, once the worker is asked to stop,
/// no longer than its drain.
#[derive(Clone, Debug)]
pub struct Patience {
    stop: Arc<Stop>,
    drain: Duration,
    /// The end of the drain, once somebody noticed that it began.
    end: Arc<OnceLock<Instant>>,
}

impl Patience {
    /// Of a worker that is asked to stop in this way, and drains for so long.
    pub fn new(stop: &Arc<Stop>, drain: Duration) -> Self {
        Patience { stop: Arc::clone(stop), drain, end: Arc::default() }
    }

    /// Whether a call that may last until `limit` has lasted long enough.
    pub(crate) fn is_over(&self, limit: Instant) -> bool {
        let now = Instant::now();
        now >= limit || self.stop.requested() && now >= *self.end.get_or_init(|| now + self.drain)
    }
}

/// Runs `work` on a thread of its own for at most `limit`, and `meanwhile` on this one. None: it did not end in
/// time, or panicked; it is then left to itself.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
    mut meanwhile: impl FnMut(),
) -> Option<T> {
    let end = Instant::now() + limit;
    until(
        || Instant::now() >= end,
        work,
        || {
            meanwhile();
            false
        },
    )
}

/// The same, until time is up; `meanwhile` says whether it has more to do at once.
pub(crate) fn until<T: Send + 'static>(
    is_over: impl Fn() -> bool,
    work: impl FnOnce() -> T + Send + 'static,
    mut meanwhile: impl FnMut() -> bool,
) -> Option<T> {
    let (sender, receiver) = sync_channel(1);
    // A send fails only if nobody waits any more.
    let work = move || drop(sender.send(work()));
    thread::Builder::new().name("sluicegate-kafka-call".into()).spawn(work).ok()?;
    let mut busy = false;
    loop {
        match receiver.recv_timeout(if busy { Duration::ZERO } else { TURN }) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if is_over() => return None,
            Err(RecvTimeoutError::Timeout) => busy = meanwhile(),
        }
    }
}

/// A consumer whose calls that wait for brokers last no longer than its worker's patience.
pub(crate) struct PatientConsumer {
    consumer: SharedConsumer,
    patience: Patience,
}

impl PatientConsumer {
    pub(crate) fn new(consumer: &SharedConsumer, patience: &Patience) -> Self {
        PatientConsumer { consumer: Arc::clone(consumer), patience: patience.clone() }
    }

    /// Waits for a call, which has a thread of its own, for at most `limit`. `doing` as of [`failed_call`].
    ///
    /// # Errors
    /// It failed, or took too long.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        doing: &str,
        limit: Duration,
        call: impl FnOnce(&Consumer) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (consumer, end) = (Arc::clone(&self.consumer), Instant::now() + limit);
        match until(|| self.patience.is_over(end), move || call(&consumer), || false) {
            Some(result) => result.map_err(|error| failed_call(doing, &error)),
            None => Err(Error::new(ErrorKind::Retry, format!("cannot {doing} in time"))),
        }
    }
}

impl Deref for PatientConsumer {
    type Target = SharedConsumer;

    fn deref(&self) -> &SharedConsumer {
        &self.consumer
    }
}

/// A client whose destruction, which librdkafka may block for ever, holds up nobody longer than [`CLOSE_WAIT`].
pub(crate) struct Bounded<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Bounded<T> {
    pub(crate) fn new(client: T) -> Self {
        Bounded(Some(client))
    }

    /// Gives up a client that nothing depends on any more, on a thread of its own: nobody waits for it.
    pub(crate) fn leave(mut self) {
        let client = self.0.take();
        // Without a thread it is dropped right here.
        let _ = thread::Builder::new().name("sluicegate-kafka-drop".into()).spawn(move || drop(client));
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
        let Some(client) = self.0.take() else { return };
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

    #[test]
    fn all_calls_share_what_is_left_of_a_drain() {
        let (stop, hour) = (Arc::new(Stop::default()), Duration::from_secs(3600));
        let (none, some) = (Patience::new(&stop, Duration::ZERO), Patience::new(&stop, hour));
        let later = Instant::now() + hour;
        assert!(!none.is_over(later) && none.is_over(Instant::now()));
        stop.request();
        assert!(none.is_over(later) && !some.is_over(later));
        assert_eq!(until(|| none.is_over(later), || thread::sleep(Duration::from_secs(5)), || false), None);
    }
}
