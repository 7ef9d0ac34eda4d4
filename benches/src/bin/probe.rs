//! Measures how long records take from one topic to another, from outside: an open loop.
//!
//! ```text
//! probe <brokers> <in> <out> <records a second> <seconds>
//! ```
//!
//! Records are sent on a fixed schedule whatever becomes of them, and a record's latency counts from the moment at which it was
//! due, so that a stall counts for all that had to wait (what is called coordinated omission otherwise). A reader of committed
//! records takes the time. Before the schedule begins, as many records as can be go the same way, as a virtual machine compiles
//! what is called often, in the broker and in contenders; and what is due in the first third of the schedule does not count. Prints
//! milliseconds as JSON.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;

/// Bounds a wait for what does not come.
const WAIT: Duration = Duration::from_secs(60);
/// Before the first output, which says that the contender is up.
const HELLO_EVERY: Duration = Duration::from_millis(100);
/// So many records go through before the schedule begins.
const WARM_UP: u64 = 300_000;

/// What the two threads share.
struct Shared {
    start: Instant,
    /// Some output was seen.
    flows: AtomicBool,
    /// Records that were sent.
    sent: AtomicU64,
    /// Records that came out.
    seen: AtomicU64,
    /// What is due from here on counts, in nanoseconds since the start.
    counts_from: AtomicU64,
    /// All were sent.
    done: AtomicBool,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, from, to, rate, seconds] = &arguments[..] else {
        bail!("usage: probe <brokers> <in> <out> <records a second> <seconds>");
    };
    let (rate, seconds): (u64, u64) = (rate.parse()?, seconds.parse()?);
    let shared = Shared {
        start: Instant::now(),
        flows: AtomicBool::default(),
        sent: AtomicU64::default(),
        seen: AtomicU64::default(),
        counts_from: AtomicU64::new(u64::MAX),
        done: AtomicBool::default(),
    };
    let (histogram, counted) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&shared, brokers, from, rate, seconds));
        let received = receive(&shared, brokers, to);
        let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
        sent.and(received)
    })?;
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    println!("{}", json!({ "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0), "records": counted }));
    Ok(())
}

fn send(shared: &Shared, brokers: &str, to: &str, rate: u64, seconds: u64) -> Result<()> {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("linger.ms", "1").create()?;
    let one = |id: u64, due: Duration| -> Result<()> {
        let (key, value) = (id.to_string(), value(due));
        let record = BaseRecord::to(to).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).context("the broker does not keep up with the schedule")?;
        shared.sent.fetch_add(1, Relaxed);
        Ok(())
    };
    while !shared.flows.load(Relaxed) {
        ensure!(shared.start.elapsed() < WAIT, "no output within {WAIT:?}");
        one(0, shared.start.elapsed())?;
        producer.poll(HELLO_EVERY);
    }
    for _ in 0..WARM_UP {
        while producer.in_flight_count() > 10_000 {
            producer.poll(Duration::from_millis(1));
        }
        one(0, shared.start.elapsed())?;
    }
    while shared.seen.load(Relaxed) < shared.sent.load(Relaxed) {
        ensure!(shared.start.elapsed() < 2 * WAIT, "the warm-up does not end");
        producer.poll(HELLO_EVERY);
    }
    let begin = shared.start.elapsed();
    let counts_from = begin + Duration::from_secs(seconds / 3);
    shared.counts_from.store(counts_from.as_nanos() as u64, Relaxed);
    for id in 0..rate * seconds {
        let due = begin + Duration::from_nanos(id * 1_000_000_000 / rate);
        while let Some(early) = due.checked_sub(shared.start.elapsed()) {
            producer.poll(Duration::ZERO);
            std::thread::sleep(early.min(Duration::from_millis(1)));
        }
        one(id, due)?;
    }
    producer.flush(WAIT)?;
    shared.done.store(true, Relaxed);
    Ok(())
}

/// 200 bytes, with the moment at which the record was due, in nanoseconds.
fn value(due: Duration) -> String {
    format!(r#"{{"due":"{:020}","symbol":"acme","note":"{}"}}"#, due.as_nanos(), "x".repeat(144))
}

/// Latencies in microseconds, and how many there are.
fn receive(shared: &Shared, brokers: &str, from: &str) -> Result<(Histogram<u64>, u64)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("probe-{from}"))
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "5")
        .create()?;
    consumer.subscribe(&[from])?;
    let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3)?;
    let (mut seen, mut last) = (0u64, Instant::now());
    while !shared.done.load(Relaxed) || seen < shared.sent.load(Relaxed) {
        ensure!(last.elapsed() < WAIT, "{seen} of {} records came", shared.sent.load(Relaxed));
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let (message, now) = (message?, shared.start.elapsed());
        let value = message.payload().context("a value")?;
        let digits = value.get(8..28).context("200 bytes")?;
        let due: u64 = std::str::from_utf8(digits)?.parse()?;
        (seen, last) = (seen + 1, Instant::now());
        shared.seen.store(seen, Relaxed);
        shared.flows.store(true, Relaxed);
        if due >= shared.counts_from.load(Relaxed) {
            histogram.saturating_record(now.saturating_sub(Duration::from_nanos(due)).as_micros() as u64);
        }
    }
    ensure!(seen == shared.sent.load(Relaxed), "{seen} records came of {}", shared.sent.load(Relaxed));
    let counted = histogram.len();
    Ok((histogram, counted))
}
