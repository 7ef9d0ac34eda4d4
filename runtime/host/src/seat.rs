use std::fs::File;
use std::path::PathBuf;

/// What tells this process from others that run the same pipeline, in transactional ids.
///
/// A successor must have its predecessor's, so that it ends at once what a `kill -9` left open, and two processes at
/// a time must never share one. So a process takes the lowest number on its machine whose lock file is free; the
/// operating system frees the lock when a process ends, however it ends.
pub(crate) struct Seat {
    name: String,
    /// Held as long as the process lives.
    _lock: Option<File>,
}

/// More processes of one pipeline on one machine than anybody runs.
const SEATS_MAX: u32 = 1024;

impl Seat {
    /// Takes a seat for this pipeline; `SLUICEGATE_INSTANCE` names one instead, where the machine's name is not stable.
    pub(crate) fn take(pipeline: &str) -> Seat {
        if let Some(name) = std::env::var("SLUICEGATE_INSTANCE").ok().filter(|name| !name.is_empty()) {
            return Seat { name, _lock: None };
        }
        let host = hostname();
        match folder().and_then(|folder| lock_lowest(&folder, pipeline)) {
            Some((number, lock)) => Seat { name: format!("{host}-{number}"), _lock: Some(lock) },
            None => {
                tracing::warn!(
                    "no folder for lock files: after a crash, open transactions end only by their time-out; set \
                     SLUICEGATE_INSTANCE to a name that is this instance's own and survives restarts"
                );
                Seat { name: format!("{host}-pid{}", std::process::id()), _lock: None }
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

fn folder() -> Option<PathBuf> {
    let folder = directories::ProjectDirs::from("", "", "sluicegate")?.cache_dir().join("seats");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder)
}

fn lock_lowest(folder: &std::path::Path, pipeline: &str) -> Option<(u32, File)> {
    (0..SEATS_MAX).find_map(|number| {
        let path = folder.join(format!("{pipeline}-{number}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
        file.try_lock().is_ok().then_some((number, file))
    })
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "host".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_exclusive_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let take = || lock_lowest(folder.path(), "p").unwrap();
        let (first, second) = (take(), take());
        assert_eq!((first.0, second.0), (0, 1));
        drop(first);
        assert_eq!(take().0, 0);
    }
}
