//! Notice of changes in folders, from the operating system where it gives any.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// Whoever writes a file pauses for less than this while writing.
const QUIET: Duration = Duration::from_millis(100);
/// A folder that changes all the time is looked at after this time all the same.
const QUIET_WITHIN: Duration = Duration::from_secs(2);
/// Files are looked at this often in any case: not every file system reports changes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What somebody who waits is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Something may have changed.
    Changed,
    /// It is over.
    End,
}

/// Waits for changes in folders. Whether a file has changed, its [`Stamp`](crate::files::Stamp) tells.
pub(crate) struct Notice {
    watcher: Option<RecommendedWatcher>,
    heard: Receiver<News>,
}

impl Notice {
    /// A notice over a channel, of which it needs both ends: the operating system's news are sent into it too.
    pub(crate) fn new(news: Sender<News>, heard: Receiver<News>) -> Self {
        let tell = move |event: notify::Result<notify::Event>| {
            // Reading them is no change: we do that ourselves.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                let _ = news.send(News::Changed);
            }
        };
        let watcher = notify::recommended_watcher(tell).inspect_err(|error| {
            tracing::debug!("no notice of changed files: {error}; they are looked at now and then")
        });
        Notice { watcher: watcher.ok(), heard }
    }

    /// Asks for notice of changes in these folders too, not in those below them.
    pub(crate) fn observe(&mut self, folders: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for folder in folders {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!("no notice of changes in {}: {error}", folder.display());
            }
        }
    }

    /// Waits until something may have changed and nothing more does for a moment, or it is time to look in any case; or
    /// until it is over.
    pub(crate) fn wait(&self) -> News {
        match self.heard.recv_timeout(LOOK_EVERY) {
            Ok(News::Changed) => self.wait_for_quiet(),
            Err(RecvTimeoutError::Timeout) => News::Changed,
            Ok(News::End) | Err(RecvTimeoutError::Disconnected) => News::End,
        }
    }

    fn wait_for_quiet(&self) -> News {
        let since = Instant::now();
        while since.elapsed() < QUIET_WITHIN {
            match self.heard.recv_timeout(QUIET) {
                Ok(News::Changed) => {}
                Ok(News::End) | Err(RecvTimeoutError::Disconnected) => return News::End,
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        News::Changed
    }
}
