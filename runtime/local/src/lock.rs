use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use sluicegate_core::{Error, ErrorKind};

use crate::error::config;

const FILE: &str = "sluicegate.lock";
/// A process that is just ending may still hold the lock for a moment.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Keeps other processes out of a directory for as long as it lives. The system lets go of it when the process ends,
/// in whatever way.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Locks the directory for this process.
    pub(crate) fn take(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(FILE);
        let failed = |error| config(format!("local log {}: cannot lock it: {error}", directory.display()));
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let give_up = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < give_up => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Err(taken(directory, &mut file)),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        // Only for the message that others get; the lock does not depend on it.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(DirectoryLock { _file: file })
    }
}

fn taken(directory: &Path, file: &mut File) -> Error {
    let mut owner = String::new();
    let _ = file.rewind().and_then(|()| file.take(20).read_to_string(&mut owner));
    let owner = if owner.is_empty() { String::new() } else { format!(" {owner}") };
    Error::new(
        ErrorKind::Config,
        format!(
            "local log {}: process{owner} is using it, and pipelines on it run in one only; stop that process, or give \
             it both pipelines (`produce`, `consume` and `topics` work beside it)",
            directory.display()
        ),
    )
}
