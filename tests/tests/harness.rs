//! The harness judged by itself: what it tells of Kafka is what Kafka holds.

use std::time::Duration;

use anyhow::Result;
use sluicegate_tests::client::{Client, Ending, Isolation, Offsets};
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::record::{Record, as_stored, difference};
use sluicegate_tests::trades;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn trades_come_back_byte_for_byte_and_in_order() -> Result<()> {
    let client = Client::shared()?;
    client.create_topic("round-trip", 4, &[])?;
    let trades = trades::generate(1, 2_000, 4);
    client.produce("round-trip", &trades)?;
    for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
        let seen = client.consume("round-trip", isolation)?;
        assert_eq!(difference(&as_stored(&trades), &seen), None);
        assert!(seen.is_sorted_by_key(|record| (record.partition, record.offset)));
    }
    Ok(())
}

#[test]
fn only_committed_transactions_are_visible_to_read_committed() -> Result<()> {
    let client = Client::shared()?;
    client.create_topic("transactions", 2, &[])?;
    let trades = trades::generate(2, 200, 2);
    let (aborted, committed) = trades.split_at(100);
    client.produce_in_transaction("transactions", aborted, Ending::Abort)?;
    assert_eq!(client.consume("transactions", Isolation::ReadCommitted)?, []);
    client.produce_in_transaction("transactions", committed, Ending::Commit)?;

    let visible = client.consume("transactions", Isolation::ReadCommitted)?;
    assert_eq!(difference(committed, &visible), None);
    let all = client.consume("transactions", Isolation::ReadUncommitted)?;
    assert_eq!(difference(&trades, &all), None);
    let ends = client.end_offsets("transactions", Isolation::ReadCommitted)?;
    assert_eq!(ends.values().sum::<i64>(), 200 + 4, "each transaction marks each partition");
    Ok(())
}

#[test]
fn the_producer_chooses_where_it_is_left_to() -> Result<()> {
    let client = Client::shared()?;
    client.create_topic("chosen", 4, &[])?;
    let records: Vec<_> = (0..40).map(|n| Record::new(&format!("key-{n}"), "value")).collect();
    client.produce("chosen", &records)?;
    let seen = client.consume("chosen", Isolation::ReadCommitted)?;
    assert_eq!(seen.len(), records.len());
    assert!(seen.iter().any(|record| record.partition != seen[0].partition));
    assert!(seen.iter().all(|record| record.timestamp > 1_700_000_000_000));
    Ok(())
}

#[test]
fn lag_is_waited_for() -> Result<()> {
    let client = Client::shared()?;
    client.create_topic("lagging", 3, &[])?;
    let records = [Record::new("a", "1").in_partition(0), Record::new("b", "2").in_partition(2)];
    client.produce("lagging", &records)?;
    assert_eq!(client.committed("lagging-group", "lagging")?, Offsets::new());
    client.commit("lagging-group", "lagging", &Offsets::from([(0, 1)]))?;

    assert_eq!(client.committed("lagging-group", "lagging")?, Offsets::from([(0, 1)]));
    assert_eq!(client.lag("lagging-group", "lagging")?, Offsets::from([(0, 0), (1, 0), (2, 1)]));
    let waited = client.wait_until_consumed("lagging-group", "lagging", Duration::ZERO);
    let error = format!("{:#}", waited.expect_err("partition 2 lags"));
    assert!(error.contains("2: 1"), "{error}");
    client.commit("lagging-group", "lagging", &Offsets::from([(2, 1)]))?;
    client.wait_until_consumed("lagging-group", "lagging", SOON)
}

#[test]
fn errors_are_told_and_the_driver_goes_on() -> Result<()> {
    let client = Client::shared()?;
    client.create_topic("gone", 1, &[("max.message.bytes", "1000")])?;
    let large = Record::new("key", &"x".repeat(2_000));
    let error = client.produce("gone", &[large]).expect_err("too large").to_string();
    assert!(error.contains("RecordTooLarge"), "{error}");
    let error = client.create_topic("gone", 1, &[]).expect_err("it exists").to_string();
    assert!(error.contains("TopicExists"), "{error}");
    client.delete_topic("gone")?;
    assert!(client.consume("gone", Isolation::ReadCommitted).is_err());
    client.create_topic("gone", 2, &[])?;
    assert_eq!(client.consume("gone", Isolation::ReadCommitted)?, []);
    Ok(())
}

#[test]
fn records_live_through_the_brokers_end() -> Result<()> {
    let mut kafka = Kafka::start()?;
    let client = Client::connect(&kafka)?;
    client.create_topic("kept", 2, &[])?;
    let trades = trades::generate(3, 100, 2);
    client.produce("kept", &trades)?;
    kafka.kill()?;
    kafka.restart()?;
    assert_eq!(difference(&as_stored(&trades), &client.consume("kept", Isolation::ReadCommitted)?), None);
    kafka.restart()?;
    client.produce("kept", &trades)?;
    assert_eq!(client.consume("kept", Isolation::ReadCommitted)?.len(), 2 * trades.len());
    Ok(())
}
