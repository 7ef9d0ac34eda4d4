//! Where to begin with partitions that the group gives to this member.

use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sluicegate_core::{Error, ErrorKind};

use crate::config::Start;
use crate::context::Consumer;
use crate::error::{failed, failed_call};

/// How long the brokers may take to say where the group is.
const LOOKUP: Duration = Duration::from_secs(30);

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
    let doing = format!("read the offsets of group '{group}'");
    let committed =
        consumer.committed_offsets(partitions.clone(), LOOKUP).map_err(|error| failed_call(&doing, &error))?;
    let fresh: Vec<(String, i32)> = committed
        .elements()
        .iter()
        .filter(|element| !matches!(element.offset(), Offset::Offset(_)))
        .map(|element| (element.topic().to_owned(), element.partition()))
        .collect();
    for element in committed.elements() {
        if let Err(error) = element.error() {
            return Err(failed_call(&doing, &error));
        }
    }
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
