//! Where to begin with partitions that the group gives to this member.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use sluicegate_core::{Error, ErrorKind, Partition};

use crate::config::{OnMissingOffset, Start};
use crate::deadline::PatientConsumer;
use crate::error::{failed, failed_call, kind, passes};

/// How long the brokers may take to say where the group is, or to move it.
const LOOKUP: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Where to begin with partitions of which the group has no offset, or one that is gone.
pub(crate) struct Starts {
    start: Start,
    on_missing_offset: OnMissingOffset,
    /// How many partitions each topic had before this member joined.
    known: BTreeMap<String, usize>,
    /// Topics that were deleted and made anew since.
    remade: BTreeSet<String>,
}

impl Starts {
    pub(crate) fn new(start: Start, on_missing_offset: OnMissingOffset, known: BTreeMap<String, usize>) -> Self {
        Starts { start, on_missing_offset, known, remade: BTreeSet::new() }
    }

    /// Where to begin with a partition of which the group has no offset.
    fn of(&self, topic: &str, number: i32) -> Start {
        if self.remade.contains(topic) {
            return if self.on_missing_offset == OnMissingOffset::Latest { Start::Latest } else { Start::Earliest };
        }
        let known = self.known.get(topic).copied().unwrap_or(0);
        let is_added = usize::try_from(number).is_ok_and(|number| number >= known);
        // All that is in one that was added since came "from now on".
        if is_added && self.start == Start::Latest { Start::Earliest } else { self.start }
    }

    /// Some of these partitions cannot be read from where the group is: moves the group on, if that is what is to be done. The
    /// list has the offset of what this member would have read next, where it has read; the group counts as being there
    /// where it has no offset, as those of a topic that was deleted go with it. The log of one may have been `cut` off,
    /// and reach further again by now.
    ///
    /// # Errors
    /// It is not, or the brokers do not say.
    pub(crate) fn skip_missing(
        &self,
        consumer: &PatientConsumer,
        group: &str,
        partitions: &TopicPartitionList,
        cut: Option<(&Partition, i64)>,
    ) -> Result<(), Error> {
        let all = places(partitions.elements().iter());
        let (starts, ends) = (lookup(consumer, list(&all, Offset::Beginning)?)?, ends(consumer, &all)?);
        let (committed, mut moved) = (committed(consumer, group, partitions)?, TopicPartitionList::new());
        for (topic, number) in &all {
            let offset_in = |list| offset_of(list, topic, *number);
            let Some(offset) = offset_in(&committed).or_else(|| offset_in(partitions)) else { continue };
            let (start, end) = (offset_in(&starts).unwrap_or_default(), offset_in(&ends).unwrap_or_default());
            let is_cut = |of: &Partition| *of.topic == **topic && of.number.cast_signed() == *number;
            let cut_at = cut.filter(|(of, _)| is_cut(of)).map(|(_, at)| at);
            if (start..=cut_at.unwrap_or(end)).contains(&offset) {
                continue;
            }
            let what = format!(
                "offset {offset} of {topic}[{number}], where group '{group}' is, is gone: the log has {start} to {end}"
            );
            let cause = match cut_at {
                None => "the topic's retention passed it, or the topic was made anew",
                Some(_) => {
                    "the log was cut off before it by an unclean election of a leader, and goes on with other records"
                }
            };
            self.refuse_to_jump(&format!("{what}; {cause}"))?;
            let earliest = cut_at.map_or(start, |at| at.max(start));
            let to = if self.on_missing_offset == OnMissingOffset::Latest { end } else { earliest };
            tracing::warn!("{what}; going on from {to}, as on-missing-offset says");
            moved.add_partition(topic, *number);
            set(&mut moved, topic, *number, Offset::Offset(to))?;
        }
        move_on(consumer, moved)
    }

    /// The topic was made anew, which `what` says: moves the group to where it is to go on with these partitions of it, if
    /// that is what is to be done, and remembers it for those that come.
    ///
    /// # Errors
    /// It is not, or the brokers do not say.
    pub(crate) fn begin_anew(
        &mut self,
        consumer: &PatientConsumer,
        topic: &str,
        partitions: &TopicPartitionList,
        what: &str,
    ) -> Result<(), Error> {
        self.refuse_to_jump(what)?;
        self.remade.insert(topic.to_owned());
        let to = if self.on_missing_offset == OnMissingOffset::Latest { Offset::End } else { Offset::Beginning };
        let moved = lookup(consumer, list(&places(partitions.elements().iter()), to)?)?;
        tracing::warn!("{what}; going on from its {to:?}, as on-missing-offset says");
        move_on(consumer, moved)
    }

    fn refuse_to_jump(&self, what: &str) -> Result<(), Error> {
        if self.on_missing_offset != OnMissingOffset::Stop {
            return Ok(());
        }
        let remedy = "`on-missing-offset: earliest` (or `latest`) of the source goes on with what is there";
        Err(Error::new(ErrorKind::Config, format!("{what}; {remedy}")))
    }
}

/// The same partitions, each with the offset to begin at: the group's, or else what `starts` says. Asks the brokers.
///
/// The second list holds the starts that must not be decided anew if this member dies before its first commit: of
/// what comes "from now on" nothing may be lost.
///
/// # Errors
/// The brokers do not say.
pub(crate) fn resolve(
    consumer: &PatientConsumer,
    group: &str,
    partitions: &TopicPartitionList,
    starts: &Starts,
) -> Result<(TopicPartitionList, TopicPartitionList), Error> {
    let mut decided = TopicPartitionList::new();
    if partitions.count() == 0 {
        return Ok((partitions.clone(), decided));
    }
    let mut begin = committed(consumer, group, partitions)?;
    let fresh = places(begin.elements().iter().filter(|element| !matches!(element.offset(), Offset::Offset(_))));
    let mut times = TopicPartitionList::new();
    for (topic, number) in fresh {
        let time = match starts.of(&topic, number) {
            // Need not be decided: it stays the same.
            Start::Earliest if starts.start == Start::Earliest => {
                set(&mut begin, &topic, number, Offset::Beginning)?;
                continue;
            }
            Start::Earliest => Offset::Beginning,
            Start::Latest => Offset::End,
            Start::Timestamp(ms) => Offset::Offset(ms),
        };
        times.add_partition(&topic, number);
        set(&mut times, &topic, number, time)?;
    }
    if times.count() > 0 {
        decided = after_last(consumer, lookup(consumer, times)?)?;
    }
    for element in decided.elements() {
        set(&mut begin, element.topic(), element.partition(), element.offset())?;
    }
    Ok((begin, decided))
}

/// The same partitions, each with the group's offset, if it has one.
///
/// # Errors
/// The brokers do not say.
pub(crate) fn committed(
    consumer: &PatientConsumer,
    group: &str,
    partitions: &TopicPartitionList,
) -> Result<TopicPartitionList, Error> {
    let (partitions, end) = (partitions.clone(), Instant::now() + LOOKUP);
    consumer.call(&format!("read the offsets of group '{group}'"), LOOKUP, move |consumer| {
        loop {
            let asked = consumer.committed_offsets(partitions.clone(), LOOKUP);
            let checked = asked.and_then(|offsets| {
                offsets.elements().iter().try_for_each(|element| element.error())?;
                Ok(offsets)
            });
            match checked {
                // A coordinator on the move, or a group that goes to its next generation just now.
                Err(error) if may_pass(&error) && Instant::now() < end => thread::sleep(PAUSE),
                checked => return checked,
            }
        }
    })
}

fn may_pass(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| passes(code) || kind(code) == ErrorKind::Rewind)
}

fn move_on(consumer: &PatientConsumer, to: TopicPartitionList) -> Result<(), Error> {
    if to.count() == 0 {
        return Ok(());
    }
    consumer.call("move the group on", LOOKUP, move |consumer| consumer.commit(&to, CommitMode::Sync))
}

/// Makes decided starts the group's offsets. That it fails is no harm yet: the next member decides anew.
pub(crate) fn remember(consumer: &PatientConsumer, decided: TopicPartitionList) {
    if let Err(error) = move_on(consumer, decided) {
        tracing::warn!("where to begin is not committed, and will be decided anew after a restart: {error}");
    }
}

/// Topics and numbers of these partitions.
fn places<'a>(elements: impl Iterator<Item = &'a TopicPartitionListElem<'a>>) -> Vec<(String, i32)> {
    elements.map(|element| (element.topic().to_owned(), element.partition())).collect()
}

fn offset_of(list: &TopicPartitionList, topic: &str, number: i32) -> Option<i64> {
    match list.find_partition(topic, number)?.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

fn set(list: &mut TopicPartitionList, topic: &str, number: i32, offset: Offset) -> Result<(), Error> {
    let set = list.set_partition_offset(topic, number, offset);
    set.map_err(|error| failed_call("set where to begin", &error))
}

fn list(partitions: &[(String, i32)], offset: Offset) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    for (topic, number) in partitions {
        list.add_partition(topic, *number);
        set(&mut list, topic, *number, offset)?;
    }
    Ok(list)
}

/// The end of each partition, as an offset.
fn ends(consumer: &PatientConsumer, partitions: &[(String, i32)]) -> Result<TopicPartitionList, Error> {
    lookup(consumer, list(partitions, Offset::End)?)
}

/// Partitions that have no record of that time or later begin at their end.
fn after_last(consumer: &PatientConsumer, mut found: TopicPartitionList) -> Result<TopicPartitionList, Error> {
    let missing = places(found.elements().iter().filter(|element| !matches!(element.offset(), Offset::Offset(_))));
    if missing.is_empty() {
        return Ok(found);
    }
    for element in ends(consumer, &missing)?.elements() {
        set(&mut found, element.topic(), element.partition(), element.offset())?;
    }
    Ok(found)
}

/// Replaces times by offsets; the end counts as a time.
fn lookup(consumer: &PatientConsumer, times: TopicPartitionList) -> Result<TopicPartitionList, Error> {
    let doing = "look up offsets by time";
    let found = consumer.call(doing, LOOKUP, move |consumer| consumer.offsets_for_times(times, LOOKUP))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_or_made_anew_begins_elsewhere() {
        let starts = |start, on_missing| Starts::new(start, on_missing, BTreeMap::from([("a".to_owned(), 2)]));
        let mut latest = starts(Start::Latest, OnMissingOffset::Stop);
        assert_eq!((latest.of("a", 0), latest.of("a", 1)), (Start::Latest, Start::Latest));
        assert_eq!((latest.of("a", 2), latest.of("later", 0)), (Start::Earliest, Start::Earliest));
        latest.on_missing_offset = OnMissingOffset::Earliest;
        latest.remade.insert("a".to_owned());
        assert_eq!(latest.of("a", 1), Start::Earliest);
        let mut earliest = starts(Start::Earliest, OnMissingOffset::Latest);
        earliest.remade.insert("a".to_owned());
        assert_eq!((earliest.of("a", 1), earliest.of("b", 1)), (Start::Latest, Start::Earliest));
        assert_eq!(starts(Start::Timestamp(5), OnMissingOffset::Stop).of("a", 7), Start::Timestamp(5));
    }
}
