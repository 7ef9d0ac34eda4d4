//! Kafka's own Java clients: what the tests write and read topics with, so that nothing of ours
//! judges itself. `tests/java/Driver.java` holds them, in a JVM of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tempfile::TempDir;

use crate::java::java;
use crate::kafka::Kafka;
use crate::process::{Process, tail};
use crate::record::{Record, read_file, write_file};
use crate::wait::eventually;

const TOPIC_WITHIN: Duration = Duration::from_secs(30);

/// Offsets by partition.
pub type Offsets = BTreeMap<i32, i64>;

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Those of committed transactions, and those written outside of any.
    ReadCommitted,
    /// All, aborted ones too.
    ReadUncommitted,
}

impl Isolation {
    fn setting(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its records become visible.
    Commit,
    /// Its records stay in the log, and a `read_committed` reader never sees them.
    Abort,
}

/// The Java clients of one Kafka. Threads may share it; it does one thing at a time.
#[derive(Debug)]
pub struct Client {
    driver: Mutex<Driver>,
    folder: TempDir,
}

#[derive(Debug)]
struct Driver {
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    _process: Process,
}

impl Ending {
    fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Abort => "abort",
        }
    }
}

impl Client {
    /// The client that the tests of this process share, of [`Kafka::shared`].
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Client, String>> = OnceLock::new();
        let connect = || Kafka::shared().and_then(Self::connect);
        let shared = SHARED.get_or_init(|| connect().map_err(|error| format!("{error:#}")));
        shared.as_ref().map_err(|error| anyhow!("no shared client: {error}"))
    }

    /// Starts the Java clients of this Kafka. They live through a restart of it.
    pub fn connect(kafka: &Kafka) -> Result<Self> {
        Self::connect_to(&kafka.bootstrap(), &[])
    }

    /// The same for brokers at these addresses, with settings that override those of the harness, such as
    /// `request.timeout.ms`.
    pub fn connect_to(bootstrap: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sluicegate-client-").tempdir()?;
        let mut java = java(&["-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])?;
        java.args(["Driver", bootstrap]);
        java.args(settings.iter().map(|(name, value)| format!("{name}={value}")));
        java.stdin(Stdio::piped()).stdout(Stdio::piped());
        java.stderr(File::create(folder.path().join("driver.log"))?);
        let mut process = Process::spawn(&mut java, folder.path())?;
        let child = process.child();
        let requests = child.stdin.take().context("a pipe")?;
        let replies = BufReader::new(child.stdout.take().context("a pipe")?);
        let driver = Mutex::new(Driver { requests, replies, _process: process });
        Ok(Self { driver, folder })
    }

    /// Creates a topic and waits for its leaders. Records stay whatever their timestamps say,
    /// unless the settings have another `retention.ms`.
    pub fn create_topic(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
        let count = partitions.to_string();
        let mut request = vec!["create".into(), topic.into(), count, "retention.ms=-1".to_owned()];
        request.extend(settings.iter().map(|(name, value)| format!("{name}={value}")));
        self.ask(&request)?;
        self.wait_for_leaders(topic, partitions)
    }

    /// Raises a topic's partitions to this number and waits for their leaders.
    pub fn grow_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        self.ask(&["grow", topic, &partitions.to_string()])?;
        self.wait_for_leaders(topic, partitions)
    }

    /// Deletes each partition's records before an offset, as retention would.
    pub fn delete_records(&self, topic: &str, before: &Offsets) -> Result<()> {
        let mut request = vec!["delete-records".to_owned(), topic.into()];
        request.extend(pairs(before));
        self.ask(&request).map(drop)
    }

    /// Sets a group's own settings, such as `consumer.session.timeout.ms`.
    pub fn configure_group(&self, group: &str, settings: &[(&str, &str)]) -> Result<()> {
        let mut request = vec!["configure-group".to_owned(), group.into()];
        request.extend(settings.iter().map(|(name, value)| format!("{name}={value}")));
        self.ask(&request).map(drop)
    }

    /// Deletes a topic and waits until it is gone.
    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        self.ask(&["delete", topic])?;
        self.wait_for_leaders(topic, 0)
    }

    /// Lets a user in by this password, where a listener takes `SCRAM-SHA-512`.
    pub fn admit(&self, user: &str, password: &str) -> Result<()> {
        self.ask(&["admit", user, password]).map(drop)
    }

    /// Refuses an operation on a topic, such as `READ` or `WRITE`, to everyone, by an ACL. The broker needs an authorizer.
    pub fn refuse(&self, topic: &str, operation: &str) -> Result<()> {
        self.ask(&["refuse", topic, operation]).map(drop)
    }

    fn wait_for_leaders(&self, topic: &str, partitions: i32) -> Result<()> {
        let wanted = [partitions.to_string()];
        eventually(TOPIC_WITHIN, &format!("leaders of {topic}'s {partitions} partitions"), || {
            Ok((self.ask(&["partitions", topic])? == wanted).then_some(()))
        })
    }

    /// How many partitions, of all topics, lack a replica that is in sync.
    pub fn out_of_sync(&self) -> Result<u64> {
        count(&self.ask(&["out-of-sync"])?)
    }

    /// How many members of the group have partitions to read; none while it rebalances.
    pub fn members(&self, group: &str) -> Result<u64> {
        Ok(self.member_ids(group)?.len() as u64)
    }

    /// The ids of the members of the group that have partitions to read; none while it rebalances.
    pub fn member_ids(&self, group: &str) -> Result<Vec<String>> {
        self.ask(&["members", group])
    }

    /// Produces these records, in order, and waits for their acknowledgements (idempotence,
    /// `acks=all`). Their offsets are ignored.
    pub fn produce(&self, topic: &str, records: &[Record]) -> Result<()> {
        self.send(topic, records, "plain")
    }

    /// Produces these records in one transaction, which ends as told once all are in the log.
    pub fn produce_in_transaction(&self, topic: &str, records: &[Record], ending: Ending) -> Result<()> {
        self.send(topic, records, ending.word())
    }

    /// Produces these records in a transaction that stays open until [`Client::end_transaction`].
    pub fn open_transaction(&self, topic: &str, records: &[Record]) -> Result<()> {
        self.send(topic, records, "open")
    }

    /// Ends the transaction that [`Client::open_transaction`] left open.
    pub fn end_transaction(&self, ending: Ending) -> Result<()> {
        self.ask(&["end", ending.word()]).map(drop)
    }

    fn send(&self, topic: &str, records: &[Record], ending: &str) -> Result<()> {
        let (_folder, file) = self.file()?;
        write_file(&file, records)?;
        self.ask(&["produce", path(&file)?, topic, ending]).map(drop)
    }

    /// All records from the beginning up to the end offsets of now, by partition and offset.
    pub fn consume(&self, topic: &str, isolation: Isolation) -> Result<Vec<Record>> {
        let (_folder, file) = self.file()?;
        self.ask(&["consume", path(&file)?, topic, isolation.setting()])?;
        read_file(&file)
    }

    /// The end offset of each partition: the next offset of all, or with
    /// [`Isolation::ReadCommitted`] the first of an open transaction.
    pub fn end_offsets(&self, topic: &str, isolation: Isolation) -> Result<Offsets> {
        offsets(&self.ask(&["end-offsets", topic, isolation.setting()])?)
    }

    /// How many offsets the topic has ever had: of records, whether they are committed or not, and of marks of transactions.
    pub fn offsets_taken(&self, topic: &str) -> Result<i64> {
        Ok(self.end_offsets(topic, Isolation::ReadUncommitted)?.values().sum())
    }

    /// The group's committed offsets; a partition without one is left out.
    pub fn committed(&self, group: &str, topic: &str) -> Result<Offsets> {
        offsets(&self.ask(&["committed", group, topic])?)
    }

    /// Commits offsets in the name of a group that has no members.
    pub fn commit(&self, group: &str, topic: &str, offsets: &Offsets) -> Result<()> {
        let mut request = vec!["commit".to_owned(), group.into(), topic.into()];
        request.extend(pairs(offsets));
        self.ask(&request).map(drop)
    }

    /// How far the group is from the end of each partition, for a `read_committed` reader; a
    /// partition without a commit counts from 0.
    pub fn lag(&self, group: &str, topic: &str) -> Result<Offsets> {
        // In this order: what is committed afterwards cannot be beyond the ends read first.
        let ends = self.end_offsets(topic, Isolation::ReadCommitted)?;
        let committed = self.committed(group, topic)?;
        let lag = |(partition, end)| (partition, end - committed.get(&partition).unwrap_or(&0));
        Ok(ends.into_iter().map(lag).collect())
    }

    /// Waits until the group has committed the end of every partition.
    pub fn wait_until_consumed(&self, group: &str, topic: &str, within: Duration) -> Result<()> {
        let mut lag = Offsets::new();
        let waited = eventually(within, "the lag to end", || {
            lag = self.lag(group, topic)?;
            Ok(lag.values().all(|lag| *lag <= 0).then_some(()))
        });
        waited.with_context(|| format!("group {group} of topic {topic} lags: {lag:?}"))
    }

    fn file(&self) -> Result<(TempDir, PathBuf)> {
        let folder = tempfile::tempdir_in(self.folder.path())?;
        let file = folder.path().join("records");
        Ok((folder, file))
    }

    fn ask<S: AsRef<str>>(&self, request: &[S]) -> Result<Vec<String>> {
        let fields: Vec<_> = request.iter().map(AsRef::as_ref).collect();
        ensure!(!fields.iter().any(|field| field.contains(['\t', '\n', '\r'])), "{fields:?}");
        let line = fields.join("\t");
        let log = || tail(&self.folder.path().join("driver.log"));
        let reply = self.exchange(&line).with_context(|| format!("the driver ended:\n{}", log()))?;
        let mut reply = reply.split('\t').map(str::to_owned);
        match reply.next().as_deref() {
            Some("ok") => Ok(reply.collect()),
            Some("error") => bail!("{line:?}: {}", reply.collect::<String>()),
            other => bail!("{line:?}: the driver answered {other:?}"),
        }
    }

    fn exchange(&self, line: &str) -> Result<String> {
        let mut driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        driver.requests.write_all(format!("{line}\n").as_bytes())?;
        let mut reply = String::new();
        driver.replies.read_line(&mut reply)?;
        reply.strip_suffix('\n').map(str::to_owned).context("no reply")
    }
}

fn path(file: &Path) -> Result<&str> {
    file.to_str().context("a temporary folder whose name is not UTF-8")
}

fn count(fields: &[String]) -> Result<u64> {
    Ok(fields.first().context("a count")?.parse()?)
}

fn pairs(offsets: &Offsets) -> impl Iterator<Item = String> {
    offsets.iter().map(|(partition, offset)| format!("{partition}={offset}"))
}

fn offsets(fields: &[String]) -> Result<Offsets> {
    let parse = |field: &String| {
        let (partition, offset) = field.split_once('=').context("PARTITION=OFFSET")?;
        Ok((partition.parse()?, offset.parse()?))
    };
    fields.iter().map(parse).collect()
}
