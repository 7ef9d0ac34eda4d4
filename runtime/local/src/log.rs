use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use sluicegate_core::Error;

use crate::error::{Fault, config};
use crate::lock::DirectoryLock;
use crate::offsets::Claims;
use crate::schema;

const FILE: &str = "log.db";

/// Topics, their records and the groups' offsets, in a directory that this process owns, or visits.
///
/// Cheap to clone; all clones are the same log, and may be used on any thread. Whoever writes takes a turn at the one
/// writing connection; readers have connections of their own and are never held up. The directory must be on a local
/// disk: SQLite's write-ahead log does not work over a network.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    file: PathBuf,
    desk: Mutex<Desk>,
    ends: Ends,
    /// None for a visitor. The last field, so that the database is closed before another process may own it.
    lock: Option<DirectoryLock>,
}

/// What belongs to whoever has the turn to write.
struct Desk {
    connection: Connection,
    claims: Claims,
    /// SQLite's count of other processes' commits, when they were last looked for.
    version: Option<i64>,
    /// When old records were last looked for.
    swept: Option<Instant>,
}

/// A turn at writing: one transaction, and what it changes outside the database if it is committed.
pub(crate) struct Turn<'a> {
    pub(crate) sql: &'a Transaction<'a>,
    pub(crate) claims: &'a mut Claims,
    pub(crate) now_ms: i64,
    ends: Vec<(i64, Option<u64>)>,
}

impl Turn<'_> {
    /// Tells readers, once the turn is committed, where a partition ends now.
    pub(crate) fn ends_at(&mut self, partition: i64, next: u64) {
        self.ends.push((partition, Some(next)));
    }

    /// Tells readers, once the turn is committed, that a partition is no more.
    pub(crate) fn is_gone(&mut self, partition: i64) {
        self.ends.push((partition, None));
    }
}

/// The logs of this process, so that opening one twice gives the same.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Inner>>>> = LazyLock::new(Mutex::default);

impl Log {
    /// Opens the log in `directory`, which is made if there is none. In one process, every call for the same
    /// directory gives the same log.
    ///
    /// # Errors
    /// `Config`, naming the path and the remedy, if another process owns the directory, it cannot be written, the
    /// database is damaged, another program's, or of a newer version. `Retry` if the disk is full.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, Error> {
        let directory = directory.as_ref();
        let key = make(directory)?;
        let mut open = locked(&OPEN);
        if let Some(inner) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(Log { inner });
        }
        let inner = Arc::new(Inner::open(directory, Some(DirectoryLock::take(directory)?))?);
        open.retain(|_, log| log.strong_count() > 0);
        open.insert(key, Arc::downgrade(&inner));
        drop(open);
        let log = Log { inner };
        log.sweep()?;
        Ok(log)
    }

    /// Opens the log in `directory` beside the process that may own it, for [`crate::Writer`], [`crate::Reader`] and
    /// topics. Pipelines need an owner.
    ///
    /// # Errors
    /// As of [`Log::open`], but for the owner.
    pub fn visit(directory: impl AsRef<Path>) -> Result<Self, Error> {
        let directory = directory.as_ref();
        make(directory)?;
        Ok(Log { inner: Arc::new(Inner::open(directory, None)?) })
    }

    /// Whether this process owns the log, and so may hold the places of a group's members.
    pub(crate) fn is_owned(&self) -> bool {
        self.inner.lock.is_some()
    }

    /// The directory, as it was given.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    pub(crate) fn file(&self) -> &Path {
        &self.inner.file
    }

    pub(crate) fn ends(&self) -> &Ends {
        &self.inner.ends
    }

    /// A connection of the caller's own, for reading.
    pub(crate) fn connect(&self) -> Result<Connection, Error> {
        schema::open_reader(self.file())
    }

    /// Does `work` in one transaction, durable when this returns, and then tells waiting readers. `doing` completes
    /// "cannot …" in an error; then nothing of the work is done.
    pub(crate) fn write<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut Turn<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let mut desk = locked(&self.inner.desk);
        let Desk { connection, claims, .. } = &mut *desk;
        let attempt = || -> Result<_, Fault> {
            // Immediate: a transaction that reads first and writes later could find the database changed in between.
            let sql = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut turn = Turn { sql: &sql, claims, now_ms: unix_ms(), ends: Vec::new() };
            let result = work(&mut turn)?;
            let ends = turn.ends;
            sql.commit()?;
            Ok((result, ends))
        };
        let (result, ends) = attempt().map_err(|fault| fault.explain(self.file(), doing))?;
        self.inner.ends.change(&ends);
        Ok(result)
    }

    /// Takes notice of what other processes wrote, once whoever is writing just now is done.
    pub(crate) fn look_around(&self) -> Result<(), Error> {
        self.look_around_at(locked(&self.inner.desk))
    }

    /// The same, unless somebody is writing just now; says whether it looked. Costs a look at shared memory where nobody wrote.
    pub(crate) fn try_look_around(&self) -> Result<bool, Error> {
        let desk = match self.inner.desk.try_lock() {
            Ok(desk) => desk,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        self.look_around_at(desk).map(|()| true)
    }

    fn look_around_at(&self, desk: MutexGuard<'_, Desk>) -> Result<(), Error> {
        self.inner.look_around(desk).map_err(|error| Fault::from(error).explain(self.file(), "look for new records"))
    }

    /// Reads on the writing connection: for what is asked seldom.
    pub(crate) fn read<T>(&self, doing: &str, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Error> {
        work(&locked(&self.inner.desk).connection).map_err(|fault| fault.explain(self.file(), doing))
    }

    /// Whether `pause` has passed since this last said yes.
    pub(crate) fn is_time_to_sweep(&self, pause: Duration) -> bool {
        let mut desk = locked(&self.inner.desk);
        let due = desk.swept.is_none_or(|swept| swept.elapsed() >= pause);
        if due {
            desk.swept = Some(Instant::now());
        }
        due
    }

    /// It is time again, whenever that was last.
    pub(crate) fn sweep_again(&self) {
        locked(&self.inner.desk).swept = None;
    }
}

/// Calls `turn` until it says that there is no more to do, and lets others have as much time in between: neither the desk nor
/// SQLite's lock is given to whoever has waited longest.
pub(crate) fn in_turns(mut turn: impl FnMut() -> Result<bool, Error>) -> Result<(), Error> {
    loop {
        let start = Instant::now();
        if !turn()? {
            return Ok(());
        }
        thread::sleep(start.elapsed());
    }
}

/// Makes the directory if there is none. Gives the same path for all spellings.
fn make(directory: &Path) -> Result<PathBuf, Error> {
    let made = std::fs::create_dir_all(directory).and_then(|()| directory.canonicalize());
    made.map_err(|error| config(format!("local log {}: cannot make the directory: {error}", directory.display())))
}

/// Whether they are the same log, and so share transactions.
impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Log {}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("directory", &self.inner.directory).finish_non_exhaustive()
    }
}

impl Inner {
    fn open(directory: &Path, lock: Option<DirectoryLock>) -> Result<Self, Error> {
        let file = directory.join(FILE);
        let connection = schema::open_writer(&file)?;
        let desk = Desk { connection, claims: Claims::default(), version: None, swept: None };
        let inner =
            Inner { directory: directory.to_owned(), file, desk: Mutex::new(desk), ends: Ends::default(), lock };
        let looked = inner.look_around(locked(&inner.desk));
        looked.map_err(|error| Fault::from(error).explain(&inner.file, "read the partitions"))?;
        Ok(inner)
    }

    /// The desk stays taken meanwhile, so that no end of this process's own is overwritten by an older one.
    fn look_around(&self, mut desk: MutexGuard<'_, Desk>) -> rusqlite::Result<()> {
        // Counts commits of other connections only, and no other of this process's writes.
        let version = desk.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if desk.version != Some(version) {
            let mut statement = desk.connection.prepare_cached("SELECT id, next FROM partitions")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
            self.ends.replace(rows.collect::<rusqlite::Result<_>>()?);
            drop(statement);
            desk.version = Some(version);
        }
        Ok(())
    }
}

/// Where each partition ends, by its id, and a bell that rings when one grows: who waits for records waits here,
/// asleep, and reads nothing meanwhile. What other processes write shows after [`Log::look_around`].
#[derive(Default)]
pub(crate) struct Ends {
    nexts: Mutex<HashMap<i64, u64>>,
    changed: Condvar,
}

impl Ends {
    fn replace(&self, nexts: HashMap<i64, u64>) {
        *locked(&self.nexts) = nexts;
        self.changed.notify_all();
    }

    fn change(&self, ends: &[(i64, Option<u64>)]) {
        if ends.is_empty() {
            return;
        }
        let mut nexts = locked(&self.nexts);
        for (partition, next) in ends {
            match next {
                Some(next) => nexts.insert(*partition, *next),
                None => nexts.remove(partition),
            };
        }
        drop(nexts);
        self.changed.notify_all();
    }

    /// The offset after the last record of a partition; none if it was deleted.
    pub(crate) fn of(&self, partition: i64) -> Option<u64> {
        locked(&self.nexts).get(&partition).copied()
    }

    /// Waits, until `deadline` at most, for `find` to find something.
    pub(crate) fn wait_for<T>(
        &self,
        deadline: Instant,
        mut find: impl FnMut(&HashMap<i64, u64>) -> Option<T>,
    ) -> Option<T> {
        let mut nexts = locked(&self.nexts);
        loop {
            if let Some(found) = find(&nexts) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            nexts = self.changed.wait_timeout(nexts, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A thread that panicked in its turn left no half-done work: its transaction was rolled back.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Now, in milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use sluicegate_core::ErrorKind;

    use super::*;
    use crate::{NewRecord, Retention, TopicSettings, Writer};

    #[test]
    fn what_is_written_counts_though_old_records_cannot_be_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path()).unwrap();
        let retention = Retention { bytes: None, age: Some(Duration::from_secs(60)) };
        log.create_topic("t", &TopicSettings { partitions: 1, retention }).unwrap();
        let mut writer = Writer::open(&log, "t").unwrap();
        let mut write = || {
            writer.send(&NewRecord::default()).unwrap();
            writer.flush().unwrap();
        };
        write();
        let old = "UPDATE batches SET written = 0;
                   CREATE TRIGGER kept BEFORE DELETE ON batches BEGIN SELECT raise(ABORT, 'kept'); END";
        log.read("make a fault", |sql| Ok(sql.execute_batch(old)?)).unwrap();
        assert!(log.sweep().is_err());
        log.sweep_again();
        write();
        assert_eq!(log.topics().unwrap()[0].partitions[0].end, 2);
    }

    #[test]
    fn a_full_disk_is_passing_and_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path()).unwrap();
        log.create_topic("t", &TopicSettings::default()).unwrap();
        let limit = |pages: i64| {
            log.read("limit", |sql| Ok(sql.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?))
                .unwrap();
        };
        let mut writer = Writer::open(&log, "t").unwrap();
        limit(50);
        writer.send(&NewRecord { value: Some(&[7; 1_000_000]), ..NewRecord::default() }).unwrap();
        let error = writer.flush().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Retry);
        assert!(
            error.message.contains(directory.path().to_str().unwrap()) && error.message.contains("full"),
            "{error}"
        );
        limit(1_000_000);
        writer.flush().unwrap();
        assert_eq!(log.topics().unwrap()[0].partitions[0].end, 1);
    }
}
