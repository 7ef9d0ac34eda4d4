use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use sluicegate_core::Error;

use crate::error::{Fault, config};

/// The version of the tables below, in `PRAGMA user_version`.
const VERSION: i64 = 1;
/// "SLGC", in `PRAGMA application_id`: tells a log from somebody else's database.
const APPLICATION: i64 = 0x534c_4743;
/// In this process a mutex lets writers in one by one; another process's visit is short.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this size once its pages are in the database.
const WAL_BYTES_KEPT: i64 = 64 << 20;
/// Pages cached by a connection, in KiB (SQLite counts KiB below zero).
const CACHE_KIB: i64 = -8192;
const STATEMENTS_CACHED: usize = 64;

/// `partitions.id` is never used twice, so who remembers a deleted topic's finds nothing rather than another's.
/// `batches.records` comes last: SQLite reads a row's other columns without its overflow pages.
const TABLES: &str = "
CREATE TABLE topics (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    retention_bytes INTEGER,      -- of each partition; null: no limit
    retention_ms INTEGER          -- null: for ever
) STRICT;
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic INTEGER NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    next INTEGER NOT NULL DEFAULT 0,   -- the offset of the next record
    bytes INTEGER NOT NULL DEFAULT 0,  -- of all its batches
    UNIQUE (topic, number)
) STRICT;
CREATE TABLE batches (
    partition INTEGER NOT NULL REFERENCES partitions (id) ON DELETE CASCADE,
    first INTEGER NOT NULL,            -- offset of the first record
    next INTEGER NOT NULL,             -- offset after the last
    latest INTEGER NOT NULL,           -- the greatest timestamp, ms since the Unix epoch
    written INTEGER NOT NULL,          -- when it was appended, ms since the Unix epoch
    bytes INTEGER NOT NULL,            -- length of records
    records BLOB NOT NULL,
    PRIMARY KEY (partition, first)
) STRICT;
CREATE TABLE offsets (
    consumer_group TEXT NOT NULL,
    partition INTEGER NOT NULL REFERENCES partitions (id) ON DELETE CASCADE,
    next INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, partition)
) STRICT, WITHOUT ROWID;
CREATE INDEX offsets_of_partition ON offsets (partition);
";

/// Opens the database for writing, and makes its tables if it is new.
pub(crate) fn open_writer(file: &Path) -> Result<Connection, Error> {
    let explain = |fault: Fault| fault.explain(file, "open the database");
    let mut connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
        .map_err(|error| explain(error.into()))?;
    prepare(&mut connection, file).map_err(explain)?;
    Ok(connection)
}

/// Opens another connection to a database that [`open_writer`] made, for reading only.
pub(crate) fn open_reader(file: &Path) -> Result<Connection, Error> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    open().map_err(|error| Fault::from(error).explain(file, "open the database"))
}

fn connect(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    Ok(connection)
}

fn prepare(connection: &mut Connection, file: &Path) -> Result<(), Fault> {
    let pragma = |connection: &Connection, name: &str| -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, name, |row| row.get(0))
    };
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (application, version) = (pragma(connection, "application_id")?, pragma(connection, "user_version")?);
    let file = file.display();
    if tables > 0 && application != APPLICATION {
        return Err(
            config(format!("local log {file}: the file is another program's database; choose another path")).into()
        );
    }
    if version > VERSION {
        let message = format!(
            "local log {file}: written by a newer version of sluicegate (tables of version {version}, this one knows up \
             to {VERSION}); use that version, or choose another path"
        );
        return Err(config(message).into());
    }
    if tables == 0 {
        // Has to be said before the first table; lets a deleted topic's pages go back to the file system.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))?;
    // A commit is on the disk when it returns. NORMAL would keep the log consistent in itself, but a power cut could
    // take back the last commits, after a producer, or Kafka's group offset, has relied on them.
    connection.pragma_update(None, "synchronous", "FULL")?;
    if version == 0 {
        let sql = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been first.
        if pragma(&sql, "user_version")? == 0 {
            sql.execute_batch(TABLES)?;
            sql.pragma_update(None, "application_id", APPLICATION)?;
            sql.pragma_update(None, "user_version", VERSION)?;
        }
        sql.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sluicegate_core::ErrorKind;

    use super::*;

    #[test]
    fn tables_of_a_newer_version_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log.db");
        let connection = open_writer(&file).unwrap();
        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        drop(connection);
        let error = open_writer(&file).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.contains("newer version"), "{error}");
    }

    #[test]
    fn another_programs_database_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log.db");
        Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
        let error = open_writer(&file).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.contains("another program's"), "{error}");
    }

    #[test]
    fn commits_reach_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open_writer(&directory.path().join("log.db")).unwrap();
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((pragma("synchronous"), pragma("auto_vacuum"), pragma("foreign_keys")), (2, 2, 1));
    }
}
