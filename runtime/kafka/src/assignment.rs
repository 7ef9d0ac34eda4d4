//! Where to begin with partitions that the group gives to this member.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluicegate_core::{Error, ErrorKind};

use crate::config::{OnMissingOffset, Start};
use crate::context::Consumer;
use crate::error::{failed, failed_call, kind, passes};

/// How long the brokers may take to say where the group is.
const LOOKUP: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// The same partitions, each with the offset to begin at: the group's, or else what `start` says. Asks the brokers.
///
/// The second list holds the starts that must not be decided anew if this member dies before its first commit: of
/// what comes "from now on" nothing may be lost.
///
/// # Errors
/// The brokers do not say.
pub(crate) fn resolve(
    consumer: &Consumer,
    group: &str,
    partitions: &TopicPartitionList,
    start: Start,
) -> Result<(TopicPartitionList, TopicPartitionList), Error> {
    let decided = TopicPartitionList::new();
    if partitions.count() == 0 {
        return Ok((partitions.clone(), decided));
    }
    let committed = committed(consumer, group, partitions)?;
    let fresh: Vec<(String, i32)> = committed
        .elements()
        .iter()
        .filter(|element| !matches!(element.offset(), Offset::Offset(_)))
        .map(|element| (element.topic().to_owned(), element.partition()))
        .collect();
    if fresh.is_empty() {
        return Ok((committed, decided));
    }
    let starts = match start {
        Start::Earliest => list(&fresh, Offset::Beginning)?,
        Start::Latest => ends(consumer, &fresh)?,
        Start::Timestamp(ms) => {
            let found = lookup(consumer, list(&fresh, Offset::Offset(ms))?)?;
            after_last(consumer, found)?
        }
    };
    let mut begin = committed;
    for element in starts.elements() {
        begin
            .set_partition_offset(element.topic(), element.partition(), element.offset())
            .map_err(|error| failed_call("set where to begin", &error))?;
    }
    Ok((begin, if start == Start::Earliest { decided } else { starts }))
}

/// The same partitions, each with the group's offset, if it has one.
///
/// # Errors
/// The brokers do not say.
pub(crate) fn committed(
    consumer: &Consumer,
    group: &str,
    partitions: &TopicPartitionList,
) -> Result<TopicPartitionList, Error> {
    let end = Instant::now() + LOOKUP;
    loop {
        let asked = consumer.committed_offsets(partitions.clone(), LOOKUP);
        let checked = asked.and_then(|offsets| {
            offsets.elements().iter().try_for_each(|element| element.error())?;
            Ok(offsets)
        });
        match checked {
            // A coordinator on the move, or a group that goes to its next generation just now.
            Err(error) if may_pass(&error) && Instant::now() < end => thread::sleep(PAUSE),
            checked => {
                return checked.map_err(|error| failed_call(&format!("read the offsets of group '{group}'"), &error));
            }
        }
    }
}

fn may_pass(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| passes(code) || kind(code) == ErrorKind::Rewind)
}

/// Some of these partitions cannot be read from where the group is: moves the group on, if that is what is to be done.
///
/// # Errors
/// It is not, or the brokers do not say.
pub(crate) fn skip_missing(
    consumer: &Consumer,
    group: &str,
    partitions: &TopicPartitionList,
    policy: OnMissingOffset,
) -> Result<(), Error> {
    let all: Vec<(String, i32)> =
        partitions.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
    let (starts, ends) = (lookup(consumer, list(&all, Offset::Beginning)?)?, ends(consumer, &all)?);
    let offset_in = |list: &TopicPartitionList, topic: &str, number: i32| {
        list.find_partition(topic, number).and_then(|element| element.offset().to_raw()).unwrap_or_default()
    };
    let mut moved = TopicPartitionList::new();
    for element in committed(consumer, group, partitions)?.elements() {
        let (topic, number) = (element.topic(), element.partition());
        let (start, end) = (offset_in(&starts, topic, number), offset_in(&ends, topic, number));
        let Offset::Offset(offset) = element.offset() else { continue };
        if (start..=end).contains(&offset) {
            continue;
        }
        let gone = format!(
            "offset {offset} of {topic}[{number}], where group '{group}' is, is gone: the log has {start} to {end}"
        );
        let to = match policy {
            OnMissingOffset::Earliest => start,
            OnMissingOffset::Latest => end,
            OnMissingOffset::Stop => {
                let remedy = "the topic's retention passed it, or the topic was made anew; `on-missing-offset: earliest` (or \
                              `latest`) of the source goes on from there";
                return Err(Error::new(ErrorKind::Config, format!("{gone}; {remedy}")));
            }
        };
        tracing::warn!("{gone}; going on from {to}, as on-missing-offset says");
        moved.add_partition_offset(topic, number, Offset::Offset(to)).map_err(|error| failed_call("go on", &error))?;
    }
    if moved.count() == 0 {
        return Ok(());
    }
    consumer.commit(&moved, CommitMode::Sync).map_err(|error| failed_call("move the group on", &error))
}

/// Makes decided starts the group's offsets. That it fails is no harm yet: the next member decides anew.
pub(crate) fn remember(consumer: &Consumer, decided: &TopicPartitionList) {
    if decided.count() > 0
        && let Err(error) = consumer.commit(decided, CommitMode::Sync)
    {
        tracing::warn!("where to begin could not be committed, and will be decided anew after a restart: {error}");
    }
}

fn list(partitions: &[(String, i32)], offset: Offset) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    for (topic, number) in partitions {
        let added = list.add_partition_offset(topic, *number, offset);
        added.map_err(|error| failed_call("set where to begin", &error))?;
    }
    Ok(list)
}

/// The end of each partition, as an offset.
fn ends(consumer: &Consumer, partitions: &[(String, i32)]) -> Result<TopicPartitionList, Error> {
    lookup(consumer, list(partitions, Offset::End)?)
}

/// Partitions that have no record of that time or later begin at their end.
fn after_last(consumer: &Consumer, mut found: TopicPartitionList) -> Result<TopicPartitionList, Error> {
    let elements = found.elements();
    let missing = elements.iter().filter(|element| !matches!(element.offset(), Offset::Offset(_)));
    let missing: Vec<(String, i32)> =
        missing.map(|element| (element.topic().to_owned(), element.partition())).collect();
    if missing.is_empty() {
        return Ok(found);
    }
    for element in ends(consumer, &missing)?.elements() {
        found
            .set_partition_offset(element.topic(), element.partition(), element.offset())
            .map_err(|error| failed_call("set where to begin", &error))?;
    }
    Ok(found)
}

/// Replaces times by offsets; the end counts as a time.
fn lookup(consumer: &Consumer, times: TopicPartitionList) -> Result<TopicPartitionList, Error> {
    let doing = "look up offsets by time";
    let found = consumer.offsets_for_times(times, LOOKUP).map_err(|error| failed_call(doing, &error))?;
    for element in found.elements() {
        if let Err(error) = element.error() {
            let place = format!("{}[{}]", element.topic(), element.partition());
            let error = error.rdkafka_error_code().map_or_else(
                || Error::new(ErrorKind::Retry, format!("cannot {doing}: {error}")),
                |code| failed(doing, code),
            );
            return Err(error.within(&place));
        }
    }
    Ok(found)
}
