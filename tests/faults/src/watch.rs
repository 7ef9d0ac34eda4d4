//! Looks on while a run goes: what the group has committed, and how far the outputs' logs reach.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use sluicegate_tests::client::{Client, Isolation, Offsets};
use sluicegate_tests::wait::eventually;

use crate::clock::Clock;
use crate::setting::{sinks, source};

const TOPICS_WITHIN: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(50);

/// What was seen at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it was complete.
    pub at: Clock,
    /// The group's offsets.
    pub committed: Offsets,
    /// The ends of each topic's partitions that outputs go to, asked for after that: whatever was durable then is below them.
    pub ends: BTreeMap<String, Offsets>,
    /// A fault struck just before, or lasts.
    pub fault: bool,
}

/// Somebody who looks on until this is dropped.
#[derive(Debug)]
pub struct Watch {
    eye: Arc<Eye>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Eye {
    client: Arc<Client>,
    run: String,
    samples: Mutex<Vec<Sample>>,
    /// Held while looking, so that samples are in the order of what they saw.
    looking: Mutex<()>,
    struck: AtomicBool,
    lasts: AtomicBool,
    over: AtomicBool,
}

impl Watch {
    /// Begins to look at the group and the topics of this run.
    pub fn start(client: Arc<Client>, run: &str) -> Result<Self> {
        let no = || AtomicBool::new(false);
        let (samples, looking) = (Mutex::default(), Mutex::default());
        let eye = Eye { client, run: run.to_owned(), samples, looking, struck: no(), lasts: no(), over: no() };
        let eye = Arc::new(eye);
        // Brokers hear of a new topic one after the other.
        eventually(TOPICS_WITHIN, "the topics", || Ok(eye.look().ok()))?;
        let looking = Arc::clone(&eye);
        let thread = thread::Builder::new().name("watch".into()).spawn(move || looking.look_until_over())?;
        Ok(Self { eye, thread: Some(thread) })
    }

    /// A fault has struck: remembers where things stand. Where brokers do not answer now, the next look counts.
    pub fn strike(&self) {
        self.eye.struck.store(true, SeqCst);
        let _no_answer = self.eye.look();
    }

    /// From now on, or no longer, a fault may strike at any moment.
    pub fn fault_lasts(&self, lasts: bool) {
        self.eye.lasts.store(lasts, SeqCst);
    }

    /// The group's offsets, as last seen.
    pub fn committed(&self) -> Offsets {
        self.eye.samples().last().map(|sample| sample.committed.clone()).unwrap_or_default()
    }

    /// How many records the group has committed, as last seen.
    pub fn total(&self) -> i64 {
        self.committed().values().sum()
    }

    /// The group's offsets as they are after this call.
    pub fn committed_now(&self, within: Duration) -> Result<Offsets> {
        eventually(within, "the group's offsets", || Ok(self.eye.look().ok()))?;
        Ok(self.committed())
    }

    /// All that was seen.
    pub fn samples(&self) -> Vec<Sample> {
        self.eye.samples().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.eye.over.store(true, SeqCst);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Eye {
    fn look_until_over(&self) {
        while !self.over.load(SeqCst) {
            // Brokers that are down do not answer; who needs to know waits for the next look.
            let _no_answer = self.look();
            thread::sleep(EVERY);
        }
    }

    fn look(&self) -> Result<()> {
        let _turn = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let struck = self.struck.swap(false, SeqCst);
        let seen = self.see();
        match seen {
            Ok((committed, ends)) => {
                let fault = struck || self.lasts.load(SeqCst);
                self.samples().push(Sample { at: Clock::now(), committed, ends, fault });
                Ok(())
            }
            Err(error) => {
                self.struck.fetch_or(struck, SeqCst);
                Err(error)
            }
        }
    }

    fn see(&self) -> Result<(Offsets, BTreeMap<String, Offsets>)> {
        let committed = self.client.committed(&self.run, &source(&self.run))?;
        let ends = sinks(&self.run).map(|topic| {
            let ends = self.client.end_offsets(&topic, Isolation::ReadUncommitted)?;
            Ok((topic, ends))
        });
        Ok((committed, ends.into_iter().collect::<Result<_>>()?))
    }

    fn samples(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
