use std::path::Path;

use rusqlite::ErrorCode;
use sluicegate_core::{Error, ErrorKind};

/// What goes wrong in a piece of work on the database. SQLite's errors are put into words later, by [`explain`].
#[derive(Debug)]
pub(crate) enum Fault {
    Sql(rusqlite::Error),
    Said(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Said(error)
    }
}

impl Fault {
    /// The error for a worker, where `doing` says what was tried with the database `file`.
    pub(crate) fn explain(self, file: &Path, doing: &str) -> Error {
        match self {
            Fault::Sql(error) => explain(file, doing, &error),
            Fault::Said(error) => error,
        }
    }
}

/// The one place that maps SQLite's causes to what follows from them.
pub(crate) fn explain(file: &Path, doing: &str, error: &rusqlite::Error) -> Error {
    let file = file.display();
    let (kind, remedy) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            (ErrorKind::Retry, "the disk is full; free some space, or keep less with the topics' retention")
        }
        Some(ErrorCode::SystemIoFailure) => (ErrorKind::Retry, "the disk failed to read or write"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Retry, "another program holds the database open; close it")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            (ErrorKind::Config, "the file is damaged or no database; restore it from a backup, or choose another path")
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            (ErrorKind::Config, "the file cannot be opened for writing; check its permissions and its directory's")
        }
        Some(ErrorCode::TooBig) => (ErrorKind::Config, "a record is larger than the database takes"),
        _ => (ErrorKind::Stopped, "unexpected; please report it"),
    };
    Error::new(kind, format!("local log {file}: cannot {doing}: {remedy} ({error})"))
}

/// A configuration error.
pub(crate) fn config(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// The error where a row cannot be what this program wrote.
pub(crate) fn damaged(file: &Path, what: &str) -> Error {
    let file = file.display();
    config(format!("local log {file}: the file is damaged ({what}); restore it from a backup, or choose another path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_become_consequences() {
        let kind_of = |code| {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            let error = explain(Path::new("data/log.db"), "commit", &error);
            assert!(error.message.contains("data/log.db") && error.message.contains("cannot commit"), "{error}");
            error.kind
        };
        assert_eq!(kind_of(rusqlite::ffi::SQLITE_FULL), ErrorKind::Retry);
        assert_eq!(kind_of(rusqlite::ffi::SQLITE_IOERR), ErrorKind::Retry);
        assert_eq!(kind_of(rusqlite::ffi::SQLITE_NOTADB), ErrorKind::Config);
        assert_eq!(kind_of(rusqlite::ffi::SQLITE_READONLY), ErrorKind::Config);
        assert_eq!(kind_of(rusqlite::ffi::SQLITE_MISUSE), ErrorKind::Stopped);
    }
}
