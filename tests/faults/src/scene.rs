//! Where a fault is made: all that it may lay hands on.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluicegate_tests::client::{Client, Isolation};
use sluicegate_tests::process::Signal;
use sluicegate_tests::random::Random;
use sluicegate_tests::record::Record;
use sluicegate_tests::wait::eventually;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::feed::Feed;
use crate::fleet::{Fleet, Number};
use crate::frame::Api;
use crate::network::{Caught, Way};
use crate::run::PARTITIONS;
use crate::setting::{Setting, source};
use crate::watch::Watch;

/// How long outputs may take to flow once nothing hinders them.
pub const FLOW_WITHIN: Duration = Duration::from_secs(90);
/// The most records between two faults.
const APART_MAX: u64 = 400;
/// How often a process that ends by itself is started again.
const FALLS_MAX: usize = 4;
/// A fault strikes at any moment within so much time.
const MOMENT_MS: u64 = 60;

/// One run, while its fault is made.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The run's name: that of its pipeline and of its group.
    pub name: &'a str,
    /// Under what the fault is made.
    pub setting: Setting,
    /// Kafka.
    pub cluster: &'a mut Cluster,
    /// For what Kafka has to be asked.
    pub client: &'a Client,
    /// The processes.
    pub fleet: Fleet,
    /// The load.
    pub feed: Feed,
    /// Who looks on.
    pub watch: &'a Watch,
    /// What is left to chance.
    pub random: Random,
    /// Offsets, by partition, whose records were deleted before anybody read them.
    pub gone: BTreeMap<i32, Range<i64>>,
    /// The exit code with which processes may end by themselves, if there is one.
    pub may_fall: Option<i32>,
    /// How many processes have ended by themselves.
    pub falls: usize,
    /// What was done.
    pub journal: Journal,
}

/// What was done, and what happened that must not.
#[derive(Debug, Default)]
pub struct Journal {
    /// A line for each thing done.
    pub lines: Vec<String>,
    /// What must not have happened.
    pub complaints: Vec<String>,
}

impl Journal {
    /// Writes down what was done.
    pub fn note(&mut self, what: &str) {
        self.lines.push(format!("{:?} {what}", Clock::now()));
    }

    /// Writes down what must not have happened.
    pub fn complain(&mut self, what: &str) {
        self.note(what);
        self.complaints.push(what.to_owned());
    }
}

impl Scene<'_> {
    /// One of the processes, by chance.
    pub fn any(&mut self) -> Result<Number> {
        let numbers = self.fleet.numbers();
        ensure!(!numbers.is_empty(), "no process runs");
        Ok(*self.random.pick(&numbers))
    }

    /// Lets some records pass, and ends at any moment after that.
    pub fn some_progress(&mut self) -> Result<()> {
        let until = self.watch.total() + 1 + self.random.below(APART_MAX) as i64;
        eventually(FLOW_WITHIN, "progress", || {
            self.mend()?;
            Ok((self.watch.total() >= until).then_some(()))
        })?;
        thread::sleep(Duration::from_millis(self.random.below(MOMENT_MS)));
        Ok(())
    }

    /// Waits until every partition has moved from where it is now.
    pub fn wait_for_flow(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let before = self.watch.committed_now(FLOW_WITHIN)?;
        let mut standing = Vec::<i32>::new();
        let waited = eventually(FLOW_WITHIN, "every partition to move", || {
            self.mend()?;
            let now = self.watch.committed();
            standing = (0..PARTITIONS).filter(|partition| now.get(partition) <= before.get(partition)).collect();
            Ok(standing.is_empty().then_some(()))
        });
        waited.with_context(|| format!("partitions {standing:?} stand still"))?;
        Ok(start.elapsed())
    }

    /// Waits until the workers of so many processes share the partitions, each at least one.
    pub fn wait_for_members(&mut self, processes: usize) -> Result<()> {
        let members = processes * self.setting.workers;
        eventually(FLOW_WITHIN, &format!("{members} members to read"), || {
            self.mend()?;
            Ok((self.client.members(self.name)? == members as u64).then_some(()))
        })
    }

    /// Lets what was begun last so long.
    pub fn last(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        eventually(time * 2, "time to pass", || {
            self.mend()?;
            Ok((Instant::now() >= end).then_some(()))
        })
    }

    /// Starts processes that ended by themselves again, as whoever runs them would. Unless the fault allows it none may.
    pub fn mend(&mut self) -> Result<()> {
        for (number, code) in self.fleet.fallen()? {
            let what = format!("process {number} ended by itself with {code:?}");
            match code {
                Some(_) if code == self.may_fall => self.journal.note(&what),
                _ => self.journal.complain(&what),
            }
            self.falls += 1;
            ensure!(self.falls < FALLS_MAX, "processes go on ending by themselves");
            self.watch.strike();
            self.start()?;
        }
        Ok(())
    }

    /// Starts a process.
    pub fn start(&mut self) -> Result<Number> {
        let number = self.fleet.start()?;
        self.journal.note(&format!("process {number} started"));
        Ok(number)
    }

    /// Kills a process, and starts another.
    pub fn kill(&mut self, victim: Number) -> Result<()> {
        self.fleet.kill(victim)?;
        self.journal.note(&format!("process {victim} killed"));
        self.watch.strike();
        self.start().map(drop)
    }

    /// Stops a process in its tracks, or lets it go on.
    pub fn freeze(&mut self, victim: Number, signal: Signal) -> Result<()> {
        self.fleet.signal(victim, signal)?;
        self.journal.note(&format!("{signal:?} to process {victim}"));
        self.watch.strike();
        Ok(())
    }

    /// What the source holds in the end: all that was written, and where all brokers were killed maybe some batch twice.
    /// Idempotence of a writer without transactions does not reach over that.
    pub fn held(&self) -> Result<Vec<Record>> {
        let held = self.client.consume(&source(self.name), Isolation::ReadUncommitted)?;
        let all: HashSet<_> = held.iter().map(|record| (record.partition, &record.key, &record.value)).collect();
        let lost = |record: &&Record| !all.contains(&(record.partition, &record.key, &record.value));
        let lost = self.feed.written().iter().filter(lost).count();
        ensure!(lost == 0, "{lost} acknowledged records are not in the source");
        Ok(held)
    }

    /// Stops the next such request of this process, or the answer to one.
    pub fn catch(&mut self, api: Api, way: Way, process: Number) -> Result<Caught> {
        let receiver = self.cluster.network().catch(api, way, &self.fleet.client(process));
        let caught = self.receive(&receiver).with_context(|| format!("{api:?} {way:?} of process {process}"))?;
        self.journal.note(&format!("{api:?} {way:?} of process {process} stopped"));
        Ok(caught)
    }

    /// Waits for what a trap catches.
    pub fn receive(&mut self, receiver: &Receiver<Caught>) -> Result<Caught> {
        eventually(FLOW_WITHIN, "a frame", || {
            self.mend()?;
            Ok(receiver.try_recv().ok())
        })
    }
}
