//! Whether the source's topics are still there, and brokers answer at all. Librdkafka tells of a missing topic under some of
//! the group's protocols only, and without its name; under the others a deleted topic looks like one without records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use sluicegate_core::{Error, ErrorKind};

use crate::connect::partitions;
use crate::context::Consumer;

/// How often brokers are asked, when nothing else gives reason to.
const EVERY: Duration = Duration::from_secs(10);
/// How soon again where one was missing: a broker that has just started may not know of it yet.
const AGAIN: Duration = Duration::from_secs(1);
/// How long they may take to answer.
const WAIT: Duration = Duration::from_secs(1);

/// As long as no broker answers, librdkafka tries on, and says nothing: after this time it is told.
const SILENT_AFTER: Duration = Duration::from_secs(30);

/// Whether no broker has answered for 30 s. Shared, and cheap to look at. Not known of a source whose topics are all patterns.
#[derive(Clone, Debug, Default)]
pub struct Silence(Arc<AtomicBool>);

impl Silence {
    /// Whether it is so now.
    pub fn is_now(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// The topics that must be there, and when to look.
pub(crate) struct Presence {
    topics: Vec<String>,
    next: Instant,
    was_missing: bool,
    /// When a broker answered last.
    answered: Instant,
    silence: Silence,
}

impl Presence {
    /// Of these topics, but for those that are patterns.
    pub(crate) fn new(topics: &[String]) -> Self {
        let topics = topics.iter().filter(|topic| !topic.starts_with('^')).cloned().collect();
        let now = Instant::now();
        Presence { topics, next: now + EVERY, was_missing: false, answered: now, silence: Silence::default() }
    }

    pub(crate) fn silence(&self) -> Silence {
        self.silence.clone()
    }

    /// There is reason to look.
    pub(crate) fn doubt(&mut self) {
        self.next = self.next.min(Instant::now() + if self.was_missing { AGAIN } else { Duration::ZERO });
    }

    /// Asks the brokers, if it is time to. A topic that is missing twice is gone.
    ///
    /// # Errors
    /// One is gone.
    pub(crate) fn check(&mut self, consumer: &Consumer) -> Result<(), Error> {
        if Instant::now() < self.next {
            return Ok(());
        }
        let missing = self.missing(consumer);
        self.next = Instant::now() + if missing.is_some() { AGAIN } else { EVERY };
        let was_missing = std::mem::replace(&mut self.was_missing, missing.is_some());
        missing.filter(|_| was_missing).map_or(Ok(()), |error| Err(error.within("source")))
    }

    /// The first that is missing. Whoever does not answer is asked another time.
    fn missing(&mut self, consumer: &Consumer) -> Option<Error> {
        for topic in &self.topics {
            let metadata = consumer.client().fetch_metadata(Some(topic), WAIT).ok();
            if metadata.is_some() {
                self.answered = Instant::now();
            }
            self.silence.0.store(self.answered.elapsed() >= SILENT_AFTER, Relaxed);
            let metadata = metadata?;
            if let Err(error) = partitions(&metadata, topic)
                && error.kind == ErrorKind::Config
            {
                return Some(error);
            }
        }
        None
    }
}
