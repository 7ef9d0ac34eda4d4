//! The load: records that go on coming until nobody needs them any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use sluicegate_tests::client::Client;
use sluicegate_tests::random::Random;
use sluicegate_tests::record::Record;
use sluicegate_tests::trades;

use crate::task;

/// Records that wait before a process starts, so that it starts under load.
const FIRST: usize = 2_000;
/// Records of one step, and the time between two of them.
const STEP: usize = 100;
const EVERY: Duration = Duration::from_millis(100);

/// A writer in a thread of its own.
#[derive(Debug)]
pub struct Feed {
    enough: Option<Sender<()>>,
    partitions: Arc<AtomicI32>,
    thread: Option<JoinHandle<Result<Vec<Record>>>>,
    written: Vec<Record>,
}

impl Feed {
    /// Writes the first records, and goes on with some hundreds a second. The seed decides what they say.
    pub fn start(client: Arc<Client>, topic: &str, partitions: i32, seed: u64) -> Result<Self> {
        let mut written = trades::generate(seed, FIRST, partitions);
        task::assign(&mut written);
        client.produce(topic, &written)?;
        let (enough, enough_said) = channel();
        let partitions = Arc::new(AtomicI32::new(partitions));
        let (topic, count, mut random) = (topic.to_owned(), Arc::clone(&partitions), Random::new(seed));
        let feed = move || {
            while enough_said.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let mut records = trades::generate(random.number(), STEP, count.load(SeqCst));
                task::assign(&mut records);
                // The first records have large ones enough; here they would be most of the load.
                records.retain(|record| record.value.as_ref().is_none_or(|value| value.len() < trades::LARGE));
                client.produce(&topic, &records)?;
                written.extend(records);
            }
            Ok(written)
        };
        let thread = Some(thread::Builder::new().name("feed".into()).spawn(feed)?);
        Ok(Self { enough: Some(enough), partitions, thread, written: Vec::new() })
    }

    /// Spreads what comes from now on over so many partitions.
    pub fn spread(&self, partitions: i32) {
        self.partitions.store(partitions, SeqCst);
    }

    /// Ends the load, if it goes on.
    pub fn end(&mut self) -> Result<()> {
        self.enough = None;
        if let Some(thread) = self.thread.take() {
            self.written = thread.join().map_err(|_| anyhow!("the writer panicked"))?.context("the load")?;
        }
        Ok(())
    }

    /// All that was written, in order, once the load has ended.
    pub fn written(&self) -> &[Record] {
        &self.written
    }
}
