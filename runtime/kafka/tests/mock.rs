//! Source, sink and transaction against librdkafka's own mock cluster: protocol and behaviour, not durability. What a
//! real broker does with aborted transactions and crashes is tested in the workspace's `tests`.

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::{Seen, connect, counted, mock, produce, properties, read, sink, source, worker};
use sluicegate_core::{
    Batch, Delivery, Destination, ErrorKind, Meters, NO_TIMESTAMP, Output, Partition, Polled, Positions, Progress,
    Sink as _, Source as _, Stop, Ticket, Transaction as _,
};
use sluicegate_kafka::{ClientConfig, Connection, KafkaSinkConfig, KafkaSourceConfig, Produce, Reader, Start, Writer};

fn straight_line(delivery: Delivery) {
    let mock = mock(&[("in", 3), ("out", 3)]);
    let brokers = mock.bootstrap_servers();
    produce(&brokers, "in", 3, 0..3000);
    let connection = connect(&source(&brokers, "g"), &sink(&brokers, delivery)).unwrap();
    assert!(connection.limits.bytes > 500_000);
    let stop = Arc::new(Stop::default());
    let run = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || worker(connection, delivery).run(&stop).map(drop))
    };
    let (inputs, outputs) = (read(&brokers, "in", 3000), read(&brokers, "out", 3000));
    stop.request();
    run.join().unwrap().unwrap();
    assert_eq!((inputs.len(), outputs.len()), (3000, 3000));
    for number in 0..3 {
        assert_eq!(of(&inputs, number).len(), 1000);
        assert!(of(&inputs, number) == of(&outputs, number), "partition {number}, order and timestamps included");
    }
    if delivery == Delivery::ExactlyOnce {
        return; // The mock forgets offsets that come in transactions.
    }
    // A second worker of the group has nothing left to do.
    let mut again = connect(&source(&brokers, "g"), &sink(&brokers, delivery)).unwrap();
    assert_eq!(poll_for(&mut again, Duration::from_secs(5)), 0);
}

fn poll_for(connection: &mut Connection, time: Duration) -> usize {
    let (mut batch, mut records, end) = (Batch::default(), 0, Instant::now() + time);
    while Instant::now() < end {
        if connection.source.poll(&mut batch, Duration::from_millis(50)).unwrap() == Polled::Batch {
            records += batch.len();
        }
    }
    records
}

#[test]
fn a_straight_line_at_least_once() {
    straight_line(Delivery::AtLeastOnce);
}

#[test]
fn a_straight_line_exactly_once() {
    straight_line(Delivery::ExactlyOnce);
}

/// A worker that starts anew after an error that passes, as the supervisor does it.
struct Member {
    stop: Arc<Stop>,
    meters: Arc<Meters>,
    thread: thread::JoinHandle<()>,
}

impl Member {
    fn join(brokers: &str, assignor: &str) -> Self {
        let (stop, meters) = (Arc::new(Stop::default()), Arc::new(Meters::new([])));
        let (delivery, told, counts) = (Delivery::AtLeastOnce, Arc::clone(&stop), Arc::clone(&meters));
        let mut source = source(brokers, "g");
        source.properties.insert("partition.assignment.strategy".into(), assignor.into());
        let sink = sink(brokers, delivery);
        let run = move || {
            while let Err(error) = counted(connect(&source, &sink).unwrap(), delivery, Arc::clone(&counts)).run(&told) {
                println!("a worker starts anew: {error}");
                assert!(matches!(error.kind, ErrorKind::Retry | ErrorKind::Rewind), "{error}");
            }
        };
        Member { stop, meters, thread: thread::spawn(run) }
    }

    /// How many records it has read.
    fn has_read(&self) -> u64 {
        self.meters.tally().records_in
    }

    fn leave(self) {
        self.stop.request();
        self.thread.join().unwrap();
    }
}

/// A second member joins while records flow, and the first leaves once both have read some of what came since. Returns
/// what went in and what came out; with repeats, as the mock, unlike Kafka, takes no offsets while a group rebalances.
fn rebalance(assignor: &str) -> (Vec<Seen>, Vec<Seen>) {
    const ROUND: u32 = 400;
    const BETWEEN: Duration = Duration::from_millis(100);
    let mock = mock(&[("in", 4), ("out", 4)]);
    let brokers = mock.bootstrap_servers();
    let mut written = 0;
    let mut write = || {
        produce(&brokers, "in", 4, written..written + ROUND);
        written += ROUND;
        written as usize
    };
    write();
    let first = Member::join(&brokers, assignor);
    assert!(read(&brokers, "out", ROUND as usize).len() >= ROUND as usize);
    let second = Member::join(&brokers, assignor);
    let (mut before, end) = (None, Instant::now() + Duration::from_secs(60));
    while before.is_none_or(|before| first.has_read() == before) {
        assert!(Instant::now() < end, "they read {} and {} records", first.has_read(), second.has_read());
        write();
        thread::sleep(BETWEEN);
        before = before.or((second.has_read() > 0).then(|| first.has_read()));
    }
    first.leave();
    let written = write();
    let outputs = read(&brokers, "out", written);
    second.leave();
    (read(&brokers, "in", written), outputs)
}

/// The records of a partition in order, repeats left out.
fn of(records: &[Seen], number: u32) -> Vec<Seen> {
    let mut known = HashSet::new();
    records.iter().filter(|seen| seen.0 == number && known.insert(&seen.1)).cloned().collect()
}

#[test]
fn members_come_and_go_eagerly() {
    let (inputs, outputs) = rebalance("range");
    (0..4).for_each(|number| assert!(of(&inputs, number) == of(&outputs, number), "partition {number}"));
}

#[test]
fn members_come_and_go_cooperatively() {
    let (inputs, outputs) = rebalance("cooperative-sticky");
    (0..4).for_each(|number| assert!(of(&inputs, number) == of(&outputs, number), "partition {number}"));
}

fn output<'a>(source: &'a Partition, batch: &'a Batch) -> impl Iterator<Item = Output<'a>> {
    batch.rows().map(|row| Output {
        to: Destination::Default,
        source,
        offset: row.offset,
        index: 0,
        timestamp: row.timestamp,
        key: row.key,
        value: row.value,
        headers: row.headers,
        added: &[],
    })
}

/// Some records of every awkward kind.
fn awkward() -> Batch {
    let mut batch = Batch::default();
    batch.push(0, 1_700_000_000_000, None, Some(b"no key"));
    batch.push(1, 1_700_000_000_001, Some(b""), Some(b"an empty key"));
    batch.push(2, 1_700_000_000_002, Some(b"tombstone"), None);
    batch.push(3, 1_700_000_000_003, Some(b"an empty value"), Some(b""));
    batch.push(4, 5, Some(b"headers"), Some(b"\0\xff"));
    batch.push_header(b"twice", Some(b"1"));
    batch.push_header(b"twice", Some(b"2"));
    batch.push_header(b"null", None);
    batch.push_header(b"empty", Some(b""));
    batch.push_header(b"\xff\xfe", Some(b"not UTF-8"));
    batch.push_header(b"", Some(b"without a name"));
    batch.push(5, NO_TIMESTAMP, Some(b"no time"), Some(b"x"));
    batch
}

#[test]
fn nothing_of_a_record_is_lost_or_changed() {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let brokers = mock.bootstrap_servers();
    // Out by the sink, in by the source.
    let mut config = source(&brokers, "g");
    config.topics = vec!["out".into()];
    let mut connection = connect(&config, &sink(&brokers, Delivery::AtLeastOnce)).unwrap();
    let (sent, mut progress) = (awkward(), Progress::default());
    let partition = Partition { topic: "in".into(), number: 0 };
    let ticket = progress.begin(partition.clone(), 6, 6, sent.bytes(), Duration::ZERO);
    for output in output(&partition, &sent) {
        connection.sink.write(&output, ticket).unwrap();
    }
    progress.written(ticket, 6);
    let end = Instant::now() + Duration::from_secs(10);
    while progress.reached().is_empty() && Instant::now() < end {
        connection.sink.acknowledged(&mut progress, Duration::from_millis(100)).unwrap();
    }
    assert_eq!(progress.reached().get(&partition), Some(&6), "all six are acknowledged");

    let (mut batch, mut got) = (Batch::default(), Vec::new());
    while got.len() < 6 && Instant::now() < end {
        if connection.source.poll(&mut batch, Duration::from_millis(100)).unwrap() == Polled::Batch {
            assert_eq!(&*batch.partition.topic, "out");
            assert_eq!(batch.log_end, Some(6));
            got.extend(batch.rows().map(|row| text(&row)));
        }
    }
    assert_eq!(got, sent.rows().map(|row| text(&row)).collect::<Vec<_>>());
}

fn text(row: &sluicegate_core::Row<'_>) -> String {
    let headers: Vec<_> = row.headers.collect();
    format!("{} {} {:?} {:?} {headers:?}", row.offset, row.timestamp, row.key, row.value)
}

#[test]
fn a_batch_keeps_to_its_bounds() {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let brokers = mock.bootstrap_servers();
    let config = ClientConfig { brokers: brokers.clone(), ..ClientConfig::default() };
    let mut writer = Writer::new(&config, "in").unwrap();
    for _ in 0..100 {
        writer.write(&Produce { partition: Some(0), value: Some(&[7; 1000]), ..Produce::default() }).unwrap();
    }
    writer.flush(Duration::from_secs(10)).unwrap();
    let mut source = source(&brokers, "g");
    (source.batch_records, source.batch_bytes) = (8, 3500);
    let mut connection = connect(&source, &sink(&brokers, Delivery::AtLeastOnce)).unwrap();
    let (mut batch, mut offsets, end) = (Batch::default(), Vec::new(), Instant::now() + Duration::from_secs(20));
    while offsets.len() < 100 && Instant::now() < end {
        if connection.source.poll(&mut batch, Duration::from_millis(100)).unwrap() == Polled::Batch {
            assert!(batch.len() <= 4 && batch.bytes() < 3500 + 1000, "{} records", batch.len());
            offsets.extend_from_slice(&batch.offsets);
        }
    }
    assert_eq!(offsets, (0..100).collect::<Vec<u64>>());
}

#[test]
fn headers_that_cannot_be_read_are_an_error_and_come_after_the_records_before() {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let brokers = mock.bootstrap_servers();
    let config = ClientConfig { brokers: brokers.clone(), ..ClientConfig::default() };
    let mut writer = Writer::new(&config, "in").unwrap();
    let headers = vec![(&b"h"[..], None); 100_001];
    for headers in [&headers[..100_000], &headers] {
        writer.write(&Produce { partition: Some(0), value: Some(b"x"), headers, ..Produce::default() }).unwrap();
    }
    writer.flush(Duration::from_secs(10)).unwrap();
    let (mut batch, mut given, end) = (Batch::default(), 0, Instant::now() + Duration::from_secs(20));
    let mut reader = Reader::new(&config, "in", true).unwrap();
    let error = loop {
        assert!(Instant::now() < end, "no error came");
        match reader.read(&mut batch, Duration::from_millis(100)) {
            Ok(_) => given += batch.rows().map(|row| row.headers.count()).sum::<usize>(),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::Stopped, "it is no use to try it again");
    assert!(error.message.contains("in[0] offset 1 (its headers cannot be read"), "{error}");
    assert_eq!(given, 100_000, "of the record before");
}

#[test]
fn a_member_without_partitions_notices_silence() {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let brokers = mock.bootstrap_servers();
    let nothing = KafkaSourceConfig { topics: vec!["^none".into()], ..source(&brokers, "g") };
    let mut connection = connect(&nothing, &sink(&brokers, Delivery::AtLeastOnce)).unwrap();
    let (silence, end) = (connection.source.silence(), Instant::now() + Duration::from_secs(60));
    mock.broker_down(1).unwrap();
    while !silence.is_now() {
        assert!(Instant::now() < end, "it is silent for longer than 30 s");
        poll_for(&mut connection, Duration::from_secs(1));
    }
}

#[test]
fn an_abort_with_queued_outputs_does_not_block() {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let brokers = mock.bootstrap_servers();
    let mut config = sink(&brokers, Delivery::ExactlyOnce);
    config.properties.insert("linger.ms".into(), "30000".into());
    let mut connection = connect(&source(&brokers, "g"), &config).unwrap();
    let (batch, partition) = (awkward(), Partition { topic: "in".into(), number: 0 });
    for _ in 0..2 {
        connection.transaction.begin().unwrap();
        for output in output(&partition, &batch) {
            connection.sink.write(&output, Ticket(0)).unwrap();
        }
        let start = Instant::now();
        connection.transaction.abort().unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
    assert_eq!(read(&brokers, "out", 0), []);
    // The producer is still good for a transaction, and that does not wait for linger.ms.
    while !matches!(connection.source.poll(&mut Batch::default(), Duration::from_millis(100)), Ok(Polled::Idle)) {}
    for output in output(&partition, &batch) {
        connection.transaction.begin().unwrap();
        connection.sink.write(&output, Ticket(1)).unwrap();
    }
    let start = Instant::now();
    connection.transaction.commit(&Positions::new()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(read(&brokers, "out", 6).len(), 6);
}

#[test]
fn outputs_do_not_wait_for_company_that_does_not_come() {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let brokers = mock.bootstrap_servers();
    let mut config = sink(&brokers, Delivery::AtLeastOnce);
    config.properties.insert("linger.ms".into(), "120000".into());
    let connection = connect(&source(&brokers, "g"), &config).unwrap();
    let stop = Arc::new(Stop::default());
    let told = Arc::clone(&stop);
    let run = thread::spawn(move || worker(connection, Delivery::AtLeastOnce).run(&told).map(drop));
    for records in [0..1, 1..11] {
        produce(&brokers, "in", 1, records);
    }
    // Which takes half a minute at most.
    assert_eq!(read(&brokers, "out", 11).len(), 11);
    stop.request();
    run.join().unwrap().unwrap();
}

#[test]
fn closing_does_not_wait_for_a_broker_that_is_gone() {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let brokers = mock.bootstrap_servers();
    let mut connection = connect(&source(&brokers, "g"), &sink(&brokers, Delivery::ExactlyOnce)).unwrap();
    poll_for(&mut connection, Duration::from_secs(4));
    let (batch, partition) = (awkward(), Partition { topic: "in".into(), number: 0 });
    connection.transaction.begin().unwrap();
    mock.broker_down(1).unwrap();
    for output in output(&partition, &batch) {
        connection.sink.write(&output, Ticket(0)).unwrap();
    }
    let start = Instant::now();
    connection.source.close();
    assert!(start.elapsed() < Duration::from_secs(5), "close took {:?}", start.elapsed());
    drop(connection);
    assert!(start.elapsed() < Duration::from_secs(12), "close and drop took {:?}", start.elapsed());
}

#[test]
fn a_partition_without_an_offset_begins_where_start_says() {
    let mock = mock(&[("in", 1), ("out", 1)]);
    let brokers = mock.bootstrap_servers();
    produce(&brokers, "in", 1, 0..10);
    let mut latest = source(&brokers, "late");
    latest.start = Start::Latest;
    let mut connection = connect(&latest, &sink(&brokers, Delivery::AtLeastOnce)).unwrap();
    assert_eq!(poll_for(&mut connection, Duration::from_secs(5)), 0, "nothing came since");
    connection.source.close();
    drop(connection);
    // What came while nobody was there is not passed over: the start was decided, and committed, before.
    produce(&brokers, "in", 1, 10..15);
    let mut connection = connect(&latest, &sink(&brokers, Delivery::AtLeastOnce)).unwrap();
    assert_eq!(poll_for(&mut connection, Duration::from_secs(5)), 5);
}

fn refusal(source: &KafkaSourceConfig, sink: &KafkaSinkConfig) -> (ErrorKind, String) {
    let error = connect(source, sink).err().expect("a refusal");
    (error.kind, error.message)
}

#[test]
fn what_does_not_fit_is_said_in_plain_words() {
    let mock = mock(&[("in", 2), ("out", 2), ("narrow", 1)]);
    let brokers = mock.bootstrap_servers();
    let (good_source, good_sink) = (source(&brokers, "g"), sink(&brokers, Delivery::ExactlyOnce));

    let narrow = KafkaSinkConfig { topic: "narrow".into(), ..good_sink.clone() };
    let (kind, message) = refusal(&good_source, &narrow);
    assert!(kind == ErrorKind::Config && message.contains("'narrow' has 1"), "{message}");

    let unknown = KafkaSourceConfig { properties: properties(&[("no.such", "1")]), ..good_source.clone() };
    let (kind, message) = refusal(&unknown, &good_sink);
    assert!(kind == ErrorKind::Config && message.contains("no.such"), "{message}");

    let refused = KafkaSinkConfig { properties: properties(&[("acks", "1")]), ..good_sink.clone() };
    let (kind, message) = refusal(&good_source, &refused);
    assert!(kind == ErrorKind::Config && message.contains("acks"), "{message}");

    let nobody = KafkaSourceConfig { brokers: "127.0.0.1:1".into(), ..good_source };
    let (kind, message) = refusal(&nobody, &good_sink);
    assert!(kind == ErrorKind::Unreachable && message.contains("127.0.0.1:1"), "{message}");
    assert!(message.contains("refused"), "{message}");
}
