use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig as Properties;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use sluicegate_core::{Error, ErrorKind};

use crate::client::ClientConfig;
use crate::connect::{REACH_WAIT, partitions, reach};
use crate::context::{Consumer, ConsumerState};
use crate::deadline::Bounded;
use crate::error::{failed, failed_call};
use crate::limits::TopicLimits;
use crate::properties::is_of_connection;

/// How long the controller may take.
pub(crate) const ADMIN_WAIT: Duration = Duration::from_secs(15);

/// The number of replicas that stands for the brokers' `default.replication.factor`.
const AS_SET: i32 = -1;

/// The cluster's topics: to look at, create and delete. Every call blocks, for some seconds at most.
pub struct Topics {
    brokers: String,
    /// Asks for metadata; unlike a producer it does not create a topic by asking.
    reader: Bounded<Consumer>,
    admin: Bounded<AdminClient<ConsumerState>>,
}

/// What the cluster says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

/// What the cluster says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number.
    pub number: u32,
    /// The broker that leads it; below zero: none does.
    pub leader: i32,
    /// Brokers that have a copy.
    pub replicas: Vec<i32>,
    /// Those of them whose copy is complete.
    pub in_sync: Vec<i32>,
}

impl Topics {
    /// Makes the clients; nothing is asked yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: a bad property.
    pub fn new(config: &ClientConfig) -> Result<Self, Error> {
        Self::over(&config.configuration()?, &config.brokers)
    }

    pub(crate) fn over(properties: &Properties, brokers: &str) -> Result<Self, Error> {
        let failed = |error| failed_call("make a client", &error);
        let mut plain = Properties::new();
        for key in properties.config_map().into_keys().filter(|key| is_of_connection(key)) {
            // That map has a word in place of each password.
            plain.set(key, properties.get(key).unwrap_or_default());
        }
        let admin: AdminClient<_> = plain.create_with_context(ConsumerState::default()).map_err(failed)?;
        let reader: BaseConsumer<_> = plain.create_with_context(ConsumerState::default()).map_err(failed)?;
        Ok(Topics { brokers: brokers.to_owned(), reader: Bounded::new(reader), admin: Bounded::new(admin) })
    }

    /// Gives the clients up without waiting for that.
    pub(crate) fn leave(self) {
        self.reader.leave();
        self.admin.leave();
    }

    /// All topics but Kafka's own, by name.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`], or a refused login.
    pub fn list(&self) -> Result<Vec<TopicInfo>, Error> {
        let metadata = self.metadata(None)?;
        let mut topics: Vec<TopicInfo> =
            metadata.topics().iter().filter(|topic| !topic.name().starts_with("__")).map(describe).collect();
        topics.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(topics)
    }

    /// One topic.
    ///
    /// # Errors
    /// The same, or [`ErrorKind::Config`] if it is not there.
    pub fn describe(&self, topic: &str) -> Result<TopicInfo, Error> {
        let metadata = self.metadata(Some(topic))?;
        partitions(&metadata, topic)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        found.map(describe).ok_or_else(|| failed(&format!("use topic '{topic}'"), RDKafkaErrorCode::UnknownTopic))
    }

    /// Creates a topic and waits until its partitions have leaders. Without `replication`, it has as many replicas as the
    /// brokers are set to give it.
    ///
    /// # Errors
    /// It exists, or the brokers refuse.
    pub fn create(
        &self,
        topic: &str,
        partitions: u32,
        replication: Option<u32>,
        settings: &[(&str, &str)],
    ) -> Result<(), Error> {
        let doing = format!("create topic '{topic}'");
        let replication = TopicReplication::Fixed(replication.map_or(AS_SET, u32::cast_signed));
        let mut new = NewTopic::new(topic, partitions.cast_signed(), replication);
        for (key, value) in settings {
            new = new.set(key, value);
        }
        self.metadata(None)?; // Says better than a time-out why nobody answers.
        let results = self.wait(&doing, self.admin.create_topics([&new], &options(ADMIN_WAIT)))?;
        outcome(&doing, results)?;
        let end = Instant::now() + ADMIN_WAIT;
        while Instant::now() < end {
            let ready = self.describe(topic).is_ok_and(|info| {
                info.partitions.len() == partitions as usize && info.partitions.iter().all(|part| part.leader >= 0)
            });
            if ready {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Error::new(ErrorKind::Retry, format!("topic '{topic}' has no leaders after {ADMIN_WAIT:?}")))
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// It is not there, or the brokers refuse.
    pub fn delete(&self, topic: &str) -> Result<(), Error> {
        let doing = format!("delete topic '{topic}'");
        self.metadata(None)?;
        let results = self.wait(&doing, self.admin.delete_topics(&[topic], &options(ADMIN_WAIT)))?;
        outcome(&doing, results)
    }

    /// The number of partitions that the topic has.
    pub(crate) fn partitions(&self, topic: &str) -> Result<usize, Error> {
        partitions(&self.metadata(Some(topic))?, topic)
    }

    /// What all of the topics take; none: the brokers do not tell, or not within this time.
    pub(crate) fn limits(&self, topics: &[&str], within: Duration) -> Option<TopicLimits> {
        let resources: Vec<ResourceSpecifier<'_>> =
            topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let described =
            self.wait("read the settings of topics", self.admin.describe_configs(&resources, &options(within)));
        let limits = described.ok().and_then(|topics| {
            topics.iter().map(|topic| topic.as_ref().ok().and_then(TopicLimits::of)).collect::<Option<Vec<_>>>()
        });
        if limits.is_none() {
            tracing::info!(
                "max.message.bytes of the topics {topics:?}, and how far from now timestamps may lie there, cannot be \
                 read; the default is taken for the one, and no limit for the other"
            );
        }
        limits?.into_iter().reduce(TopicLimits::and)
    }

    pub(crate) fn cluster_id(&self) -> Option<String> {
        self.reader.client().fetch_cluster_id(REACH_WAIT)
    }

    fn metadata(&self, topic: Option<&str>) -> Result<Metadata, Error> {
        let serve = || drop(self.reader.poll(Duration::ZERO));
        reach(&self.brokers, self.reader.client(), &self.reader.context().faults, topic, serve)
    }

    fn wait<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, rdkafka::error::KafkaError>>,
    ) -> Result<T, Error> {
        let result = block_on(call, ADMIN_WAIT * 2);
        let result = result.ok_or_else(|| Error::new(ErrorKind::Retry, format!("cannot {doing}: no answer")))?;
        result.map_err(|error| failed_call(doing, &error))
    }
}

fn options(within: Duration) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(within)).operation_timeout(Some(within))
}

fn outcome(doing: &str, results: Vec<rdkafka::admin::TopicResult>) -> Result<(), Error> {
    match results.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        // Said without the usual remedy, which is for those who want to use the topic.
        Some(Err((_, code @ (RDKafkaErrorCode::TopicAlreadyExists | RDKafkaErrorCode::UnknownTopicOrPartition)))) => {
            Err(Error::new(ErrorKind::Config, format!("cannot {doing}: {code}")))
        }
        Some(Err((_, code))) => Err(failed(doing, code)),
        None => Err(Error::new(ErrorKind::Retry, format!("cannot {doing}: no answer"))),
    }
}

fn describe(topic: &rdkafka::metadata::MetadataTopic) -> TopicInfo {
    let mut partitions: Vec<PartitionInfo> = topic
        .partitions()
        .iter()
        .map(|partition| PartitionInfo {
            number: partition.id().unsigned_abs(),
            leader: partition.leader(),
            replicas: partition.replicas().to_vec(),
            in_sync: partition.isr().to_vec(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.number);
    TopicInfo { name: topic.name().to_owned(), partitions }
}

/// Wakes the thread that waits in [`block_on`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future of rust-rdkafka's, which another thread completes, on this one. None: not done within `limit`.
fn block_on<T>(future: impl Future<Output = T>, limit: Duration) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let end = Instant::now() + limit;
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(result);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}
