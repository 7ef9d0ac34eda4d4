//! What follows from each error of the protocol, on librdkafka's mock cluster: one table of cases. The guarantee itself is
//! tested on a real Kafka, as the mock shows aborted records to everybody.

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{Mock, connect, mock, produce, sink, source};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::types::RDKafkaApiKey::{self as Call, *};
use rdkafka::types::RDKafkaRespErr::{self as Code, *};
use sluicegate_core::{
    Batch, Delivery, Destination, Error, ErrorKind, Output, Partition, Polled, Positions, Progress, Sink as _,
    Source as _, Ticket, Transaction as _,
};
use sluicegate_kafka::{Connection, KafkaSinkConfig};

/// What must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// Nothing that a worker would notice: the call was made again.
    Success,
    /// The worker aborts and goes back, and the same consumer and producer are good for more.
    Rewind,
    /// The worker is replaced.
    Replace,
    /// The program ends, by this kind.
    Stop(ErrorKind),
}

use Follows::{Replace, Rewind, Stop, Success};
const MEND: Follows = Stop(ErrorKind::Config);
const YIELD: Follows = Stop(ErrorKind::Promise);

/// A call, the answer to it, how often that comes in a row, and what follows.
type Case = (Call, Code, usize, Follows);

/// Calls of the producer, in a transaction.
const TRANSACTION: &[Case] = &[
    (FindCoordinator, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, 2, Success),
    // The consumer asks too.
    (FindCoordinator, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 20, MEND),
    (InitProducerId, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2, Success),
    (InitProducerId, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Success),
    (InitProducerId, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 2, Success),
    (InitProducerId, RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT, 1, MEND),
    (InitProducerId, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 1, MEND),
    (InitProducerId, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, 1, MEND),
    (AddPartitionsToTxn, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 3, Success),
    (AddPartitionsToTxn, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Success),
    (AddPartitionsToTxn, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2, Success),
    (AddPartitionsToTxn, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1, MEND),
    (AddPartitionsToTxn, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 1, MEND),
    (AddPartitionsToTxn, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, 1, YIELD),
    (AddPartitionsToTxn, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1, YIELD),
    (AddPartitionsToTxn, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, 1, Replace),
    (Produce, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, 2, Success),
    (Produce, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 2, Success),
    (Produce, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, 2, Success),
    (Produce, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 1, MEND),
    (Produce, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1, MEND),
    (Produce, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, 1, MEND),
    (Produce, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, 1, YIELD),
    (AddOffsetsToTxn, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 2, Success),
    (AddOffsetsToTxn, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Success),
    (AddOffsetsToTxn, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 1, MEND),
    (AddOffsetsToTxn, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, 1, YIELD),
    (AddOffsetsToTxn, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, 1, Replace),
    (TxnOffsetCommit, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2, Success),
    (TxnOffsetCommit, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Success),
    (TxnOffsetCommit, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, 1, Rewind),
    (TxnOffsetCommit, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, 1, Rewind),
    (TxnOffsetCommit, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 1, Rewind),
    (TxnOffsetCommit, RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH, 1, Rewind),
    (TxnOffsetCommit, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, 1, YIELD),
    (TxnOffsetCommit, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 1, MEND),
    (TxnOffsetCommit, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1, MEND),
    (TxnOffsetCommit, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, 1, YIELD),
    (EndTxn, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 2, Success),
    (EndTxn, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Success),
    (EndTxn, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2, Success),
    (EndTxn, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, 1, YIELD),
    (EndTxn, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1, YIELD),
    (EndTxn, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, 1, Replace),
    // The connection is lost, and with it the certainty that no request comes late.
    (EndTxn, RD_KAFKA_RESP_ERR__TRANSPORT, 1, Replace),
    (TxnOffsetCommit, RD_KAFKA_RESP_ERR__TRANSPORT, 1, Replace),
    (AddPartitionsToTxn, RD_KAFKA_RESP_ERR__TRANSPORT, 1, Replace),
];

/// Calls of the consumer, under at-least-once.
const GROUP: &[Case] = &[
    (FindCoordinator, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, 2, Success),
    (FindCoordinator, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 20, MEND),
    (JoinGroup, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2, Success),
    (JoinGroup, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, 1, Success),
    (JoinGroup, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 3, MEND),
    (JoinGroup, RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL, 3, MEND),
    (SyncGroup, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 1, Success),
    (OffsetFetch, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2, Success),
    (OffsetFetch, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Success),
    (OffsetFetch, RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT, 2, Success),
    (OffsetFetch, RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH, 2, Success),
    (OffsetFetch, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 1, MEND),
    (Heartbeat, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 2, Success),
    (Heartbeat, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, 2, Success),
    (OffsetCommit, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 1, Success),
    (OffsetCommit, RD_KAFKA_RESP_ERR_NOT_COORDINATOR, 1, Success),
    (OffsetCommit, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 3, Success),
    (OffsetCommit, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, 200, Rewind),
    (OffsetCommit, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, 1, Rewind),
    (OffsetCommit, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, 1, Rewind),
    (OffsetCommit, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 1, MEND),
    (OffsetCommit, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1, MEND),
];

/// What followed.
fn followed<T>(result: Result<T, Error>) -> (Follows, String) {
    match result {
        Ok(_) => (Success, String::new()),
        Err(Error { kind: ErrorKind::Rewind, message, .. }) => (Rewind, message),
        Err(Error { kind: ErrorKind::Retry | ErrorKind::Unreachable, message, .. }) => (Replace, message),
        Err(Error { kind, message, .. }) => (Stop(kind), message),
    }
}

/// Runs all cases at once, each on a cluster of its own, and compares.
fn judge(cases: &[Case], try_it: fn(Case) -> (Follows, String)) {
    let tried = thread::scope(|scope| {
        let threads: Vec<_> = cases.iter().map(|case| scope.spawn(|| try_it(*case))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut wrong = Vec::new();
    for ((call, code, times, expected), (follows, said)) in cases.iter().zip(tried) {
        println!("{call:?} {code:?} {times}: {follows:?} {said}");
        if follows != *expected {
            wrong.push(format!("{call:?} {code:?} {times} times: {follows:?} instead of {expected:?}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn inject(mock: &Mock, (call, code, times, _): Case) {
    mock.request_errors(call, &vec![code; times]);
}

fn input() -> Partition {
    Partition { topic: "in".into(), number: 0 }
}

fn write(connection: &mut Connection) -> Result<(), Error> {
    let mut batch = Batch::default();
    batch.push(0, 5, Some(b"k"), Some(b"v"));
    batch.rows().try_for_each(|row| {
        let (offset, timestamp) = (row.offset, row.timestamp);
        let (key, value, headers) = (row.key, row.value, row.headers);
        let (to, source, index, added) = (Destination::Default, &input(), 0, &[][..]);
        let output = Output { to, source, offset, index, timestamp, key, value, headers, added };
        connection.sink.write(&output, Ticket(0))
    })
}

/// One transaction, with an output and an offset.
fn transact(connection: &mut Connection) -> Result<(), Error> {
    connection.transaction.begin()?;
    write(connection)?;
    connection.transaction.commit(&Positions::from([(input(), 1)]))
}

fn exactly_once(brokers: &str) -> KafkaSinkConfig {
    let mut sink = sink(brokers, Delivery::ExactlyOnce);
    sink.properties.insert("transaction.timeout.ms".into(), "10000".into());
    sink
}

fn in_a_transaction(case: Case) -> (Follows, String) {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let brokers = mock.bootstrap_servers();
    let is_early = matches!(case.0, FindCoordinator | InitProducerId);
    if is_early {
        inject(&mock, case);
    }
    let mut connection = match connect(&source(&brokers, "g"), &exactly_once(&brokers)) {
        Ok(connection) => connection,
        Err(error) => return followed(Err::<(), _>(error)),
    };
    if !is_early {
        inject(&mock, case);
    }
    let result = followed(transact(&mut connection));
    if result.0 == Rewind {
        connection.transaction.abort().unwrap();
    }
    if matches!(result.0, Rewind | Success) {
        transact(&mut connection).expect("the same producer is good for another transaction");
    }
    result
}

#[test]
fn errors_in_a_transaction() {
    judge(TRANSACTION, in_a_transaction);
}

/// The first offset of the next batch.
fn next(connection: &mut Connection) -> Result<u64, Error> {
    let (mut batch, end) = (Batch::default(), Instant::now() + Duration::from_secs(40));
    while Instant::now() < end {
        match connection.source.poll(&mut batch, Duration::from_millis(50))? {
            Polled::Batch => return Ok(batch.offsets[0]),
            Polled::Idle => {}
            Polled::Revoked { .. } => drop(connection.source.release()?),
        }
    }
    panic!("no record came")
}

fn in_a_group(case: Case) -> (Follows, String) {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let brokers = mock.bootstrap_servers();
    produce(&brokers, "in", 1, 0..10);
    let (source, sink) = (source(&brokers, "g"), sink(&brokers, Delivery::AtLeastOnce));
    let is_late = matches!(case.0, Heartbeat | OffsetCommit);
    if !is_late {
        inject(&mock, case);
    }
    let mut connection = match connect(&source, &sink) {
        Ok(connection) => connection,
        Err(error) => return followed(Err::<(), _>(error)),
    };
    if !is_late {
        return followed(next(&mut connection));
    }
    assert_eq!(next(&mut connection).unwrap(), 0);
    inject(&mock, case);
    let result = followed(connection.transaction.commit(&Positions::from([(input(), 4)])));
    mock.clear_request_errors(case.0);
    if result.0 == Rewind {
        let why = Error::new(ErrorKind::Rewind, &*result.1);
        connection.source.rewind(&why).unwrap();
        assert_eq!(next(&mut connection).unwrap(), 0, "what was not committed comes again");
        connection.transaction.commit(&Positions::from([(input(), 10)])).unwrap();
    }
    if case.0 == Heartbeat {
        // Some heartbeats later the member is one still.
        produce(&brokers, "in", 1, 10..11);
        assert_eq!(next(&mut connection).unwrap(), 10);
        connection.transaction.commit(&Positions::from([(input(), 11)])).unwrap();
    }
    result
}

#[test]
fn errors_in_a_group() {
    judge(GROUP, in_a_group);
}

/// Its id is gone by then, and the offsets of a transaction that come from no member are compared with no generation.
#[test]
fn a_member_that_has_lost_its_partitions_commits_nothing() {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let brokers = mock.bootstrap_servers();
    produce(&brokers, "in", 1, 0..1);
    let mut connection = connect(&source(&brokers, "g"), &exactly_once(&brokers)).unwrap();
    assert_eq!(next(&mut connection).unwrap(), 0);
    inject(&mock, (Heartbeat, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, 1, Rewind));
    let end = Instant::now() + Duration::from_secs(20);
    let (follows, said) = loop {
        assert!(Instant::now() < end, "it commits on");
        match followed(transact(&mut connection)) {
            (Success, _) => thread::sleep(Duration::from_millis(50)),
            ended => break ended,
        }
    };
    assert!(follows == Rewind && said.contains("went on without this member"), "{follows:?}: {said}");
}

/// The group gave it partitions, and it could not take them over.
#[test]
fn a_member_leaves_at_once_that_has_not_answered() {
    for assignor in ["range", "cooperative-sticky"] {
        let mock = mock(&[("in", 1), ("out", 1)]);
        let brokers = mock.bootstrap_servers();
        let mut source = source(&brokers, "g");
        source.properties.insert("partition.assignment.strategy".into(), assignor.into());
        let mut connection = connect(&source, &sink(&brokers, Delivery::AtLeastOnce)).unwrap();
        mock.request_errors(OffsetFetch, &[RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]);
        assert_eq!(followed(next(&mut connection)).0, MEND);
        let start = Instant::now();
        connection.source.close();
        drop(connection);
        assert!(start.elapsed() < Duration::from_secs(2), "{assignor}: {:?}", start.elapsed());
    }
}

/// A cluster of two, with an open transaction whose output is written.
fn half_way() -> (Mock, KafkaSinkConfig, Connection) {
    let mock = MockCluster::new(2).unwrap();
    ["in", "out"].iter().for_each(|topic| mock.create_topic(topic, 1, 1).unwrap());
    let brokers = mock.bootstrap_servers();
    let sink = exactly_once(&brokers);
    mock.coordinator(MockCoordinator::Transaction(sink.transactional_id.clone()), 1).unwrap();
    mock.coordinator(MockCoordinator::Group("g".into()), 1).unwrap();
    let mut connection = connect(&source(&brokers, "g"), &sink).unwrap();
    transact(&mut connection).unwrap();
    connection.transaction.begin().unwrap();
    write(&mut connection).unwrap();
    (mock, sink, connection)
}

#[test]
fn coordinators_that_move_are_followed() {
    let (mock, sink, mut connection) = half_way();
    mock.coordinator(MockCoordinator::Transaction(sink.transactional_id), 2).unwrap();
    mock.coordinator(MockCoordinator::Group("g".into()), 2).unwrap();
    connection.transaction.commit(&Positions::from([(input(), 2)])).unwrap();
    transact(&mut connection).unwrap();
}

#[test]
fn slow_coordinators_are_waited_for() {
    let (mock, _, mut connection) = half_way();
    (1..=2).for_each(|broker| mock.broker_round_trip_time(broker, Duration::from_millis(700)).unwrap());
    connection.transaction.commit(&Positions::from([(input(), 2)])).unwrap();
}

/// It may still be on its way, and take effect on the next transaction.
#[test]
fn a_request_that_was_not_answered_in_time_costs_the_producer() {
    let (mock, mut sink, connection) = half_way();
    drop(connection);
    sink.properties.insert("socket.timeout.ms".into(), "1000".into());
    let mut connection = connect(&source(&mock.bootstrap_servers(), "g"), &sink).unwrap();
    transact(&mut connection).unwrap();
    let slow = |time| (1..=2).for_each(|broker| mock.broker_round_trip_time(broker, time).unwrap());
    connection.transaction.begin().unwrap();
    write(&mut connection).unwrap();
    slow(Duration::from_millis(1500));
    let start = Instant::now();
    let committed = connection.transaction.commit_while(&Positions::from([(input(), 2)]), &mut || {
        // By then librdkafka, which looks once in a second, has given up the first.
        if start.elapsed() > Duration::from_millis(2500) {
            slow(Duration::ZERO);
        }
        false
    });
    let (follows, said) = followed(committed);
    assert!(follows == Replace && said.contains("which was committed"), "{said}");
}

#[test]
fn coordinators_that_are_gone_are_not_waited_for_beyond_the_limit() {
    let (mock, _, mut connection) = half_way();
    (1..=2).for_each(|broker| mock.broker_down(broker).unwrap());
    let start = Instant::now();
    assert_eq!(followed(connection.transaction.commit(&Positions::from([(input(), 2)]))).0, Replace);
    assert!(start.elapsed() < Duration::from_secs(35), "{:?}", start.elapsed());
}

/// At least once the acknowledgements tell.
#[test]
fn an_output_that_is_refused_ends_the_worker() {
    for (code, expected) in [
        (RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, MEND),
        (RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, MEND),
        (RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, Success),
    ] {
        let mock = mock(&[("in", 1), ("out", 1)]);
        let brokers = mock.bootstrap_servers();
        let mut connection = connect(&source(&brokers, "g"), &sink(&brokers, Delivery::AtLeastOnce)).unwrap();
        mock.request_errors(Produce, &[code]);
        let mut progress = Progress::default();
        let ticket = progress.begin(input(), 1, 1, 1, Duration::ZERO);
        write(&mut connection).unwrap();
        progress.written(ticket, 1);
        let mut result = Ok(());
        let end = Instant::now() + Duration::from_secs(20);
        while result.is_ok() && progress.reached().is_empty() && Instant::now() < end {
            result = connection.sink.acknowledged(&mut progress, Duration::from_millis(50));
        }
        assert_eq!(followed(result).0, expected, "{code:?}");
        assert_eq!(progress.reached().is_empty(), expected != Success);
    }
}
