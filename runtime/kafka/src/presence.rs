//! Whether brokers answer, and whether the source's topics are still there, and still the same. Librdkafka tells of a deleted
//! topic under some of the group's protocols only, and without its name; under the others it looks like one without records.
//! Of one that was made anew it says nothing, and reads on from the old offset if the new log reaches that far.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::metadata::{Metadata, MetadataBroker};
use sluicegate_core::{Error, ErrorKind};

use crate::connect::partitions;
use crate::context::Consumer;
use crate::native::{TopicId, topic_ids};

/// How often brokers are asked, when nothing else gives reason to.
const EVERY: Duration = Duration::from_secs(10);
/// How soon again where one was missing: a broker that has just started may not know of it yet.
const AGAIN: Duration = Duration::from_secs(1);
/// How long they may take to answer.
const WAIT: Duration = Duration::from_secs(1);

/// As long as no broker answers, librdkafka tries on, and says nothing: after this time it is told.
const SILENT_AFTER: Duration = Duration::from_secs(30);

/// Whether no broker has answered for 30 s. Shared, and cheap to look at.
#[derive(Clone, Debug, Default)]
pub struct Silence(Arc<AtomicBool>);

impl Silence {
    /// Whether it is so now.
    pub fn is_now(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// The topics that are read, and when to look for them.
pub(crate) struct Presence {
    topics: Vec<Topic>,
    /// One of the expressions that find topics, if there are any.
    expression: Option<String>,
    contact: Contact,
    next: Instant,
    was_missing: bool,
}

/// Who answers, and since when nobody does.
struct Contact {
    /// One that has just answered, so that there is a connection to it.
    broker: Option<i32>,
    answered: Instant,
    silence: Silence,
}

struct Topic {
    name: String,
    /// Whether the source names it; one that an expression found may go.
    is_named: bool,
    /// As the brokers told it first; none until then.
    id: Option<TopicId>,
}

impl Presence {
    /// Of these topics; of those that expressions find once they are [watched](Presence::watch).
    pub(crate) fn new(topics: &[String]) -> Self {
        let expression = topics.iter().find(|topic| topic.starts_with('^')).cloned();
        let named = topics.iter().filter(|topic| !topic.starts_with('^'));
        let topics = named.map(|topic| Topic { name: topic.clone(), is_named: true, id: None }).collect();
        let now = Instant::now();
        let contact = Contact { broker: None, answered: now, silence: Silence::default() };
        Presence { topics, expression, contact, next: now, was_missing: false }
    }

    pub(crate) fn silence(&self) -> Silence {
        self.contact.silence.clone()
    }

    /// From now on this topic must stay the same, too.
    pub(crate) fn watch(&mut self, name: &str) {
        if !self.topics.iter().any(|topic| topic.name == name) {
            self.topics.push(Topic { name: name.to_owned(), is_named: false, id: None });
            self.doubt();
        }
    }

    /// There is reason to look.
    pub(crate) fn doubt(&mut self) {
        self.next = self.next.min(Instant::now() + if self.was_missing { AGAIN } else { Duration::ZERO });
    }

    /// Asks the brokers, if it is time to. A topic that is missing twice is gone; one that was deleted and made anew is
    /// returned, each time until it is [accepted](Presence::accept).
    ///
    /// # Errors
    /// One is gone.
    pub(crate) fn check(&mut self, consumer: &Consumer) -> Result<Option<String>, Error> {
        if Instant::now() < self.next {
            return Ok(None);
        }
        let missing = self.missing(consumer);
        let was_missing = std::mem::replace(&mut self.was_missing, missing.is_some());
        if let Some(error) = missing {
            self.next = Instant::now() + AGAIN;
            return if was_missing { Err(error.within("source")) } else { Ok(None) };
        }
        let remade = self.remade(consumer);
        self.next = Instant::now() + if remade.is_some() { AGAIN } else { EVERY };
        Ok(remade)
    }

    /// A topic whose id is not what it was, if the brokers tell of one.
    pub(crate) fn remade(&mut self, consumer: &Consumer) -> Option<String> {
        let broker = self.contact.broker?;
        let names: Vec<&str> = self.topics.iter().map(|topic| topic.name.as_str()).collect();
        let (found, mut remade) = (topic_ids(consumer, broker, &names, WAIT), None);
        for (topic, found) in self.topics.iter_mut().zip(found) {
            if topic.id.is_some() && found.is_some() && topic.id != found {
                remade = Some(topic.name.clone());
            }
            topic.id = topic.id.or(found);
        }
        remade
    }

    /// The topic of this name is now whatever the brokers say next.
    pub(crate) fn accept(&mut self, name: &str) {
        self.topics.iter_mut().filter(|topic| topic.name == name).for_each(|topic| topic.id = None);
    }

    /// The first that is missing. Whoever does not answer is asked another time.
    fn missing(&mut self, consumer: &Consumer) -> Option<Error> {
        if self.topics.is_empty() {
            // No topic has such a name, and brokers say so.
            self.contact.ask(consumer, self.expression.as_deref()?);
        }
        for (index, Topic { name, is_named, .. }) in self.topics.iter().enumerate() {
            // Of those that an expression found, one is enough to know whether brokers answer.
            if !is_named && index > 0 {
                continue;
            }
            let metadata = self.contact.ask(consumer, name)?;
            if *is_named
                && let Err(error) = partitions(&metadata, name)
                && error.kind == ErrorKind::Config
            {
                return Some(error);
            }
        }
        None
    }
}

impl Contact {
    /// What a broker says of a topic; none: nobody answers.
    fn ask(&mut self, consumer: &Consumer, topic: &str) -> Option<Metadata> {
        let metadata = consumer.client().fetch_metadata(Some(topic), WAIT).ok();
        if metadata.is_some() {
            self.answered = Instant::now();
        }
        self.silence.0.store(self.answered.elapsed() >= SILENT_AFTER, Relaxed);
        self.broker = metadata.as_ref().and_then(|metadata| {
            // Below zero: the address that was configured, whose broker is not known yet.
            let asked = Some(metadata.orig_broker_id()).filter(|id| *id >= 0);
            asked.or_else(|| metadata.brokers().first().map(MetadataBroker::id))
        });
        metadata
    }
}
