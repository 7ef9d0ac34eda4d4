use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::canary::Share;
use crate::findings::Findings;
use crate::seams::Transform;

/// What the workers of one pipeline are told while they run.
///
/// A worker checks once a batch, after reading it and before running it; the check is one atomic load. The counter moves
/// only once every worker's inbox is filled. So when one worker has seen a new version, every other sees it in whatever it
/// reads afterwards, and a partition that moves never meets an older one.
#[derive(Debug, Default)]
pub struct Commands {
    round: AtomicU64,
    desk: Mutex<Desk>,
    obeyed: Condvar,
}

/// What a worker can be told.
#[derive(Debug)]
pub enum Command {
    /// Another version of a stage's plugin.
    Replace(Replacement),
    /// A candidate beside a stage's plugin, in the place of one that is there.
    Try(Candidate),
    /// Give up the stage's candidate.
    Dismiss {
        /// Which stage, from 0.
        stage: usize,
    },
    /// Finish what is in flight, commit it, and run nothing more; the membership of the group is kept.
    Pause,
    /// Go on.
    Resume,
    /// Finish what is in flight, commit it, and leave the seams to the worker that comes next.
    HandOver,
}

/// A new version of a stage's plugin: a live instance, configured, for one worker.
pub struct Replacement {
    /// Which stage, from 0.
    pub stage: usize,
    /// The instance.
    pub transform: Box<dyn Transform + Send>,
    /// Names the version in the [`crate::Error`] of a worker that it ends.
    pub version: u64,
    /// Whether the version before it takes over again should this one end the worker.
    pub on_trial: bool,
}

impl std::fmt::Debug for Replacement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (stage, plugin, version) = (self.stage, self.transform.identity(), self.version);
        f.debug_struct("Replacement").field("stage", &stage).field("plugin", plugin).field("version", &version).finish()
    }
}

/// A plugin that is tried out beside a stage's own: a live instance, configured, for one worker.
pub struct Candidate {
    /// Which stage, from 0.
    pub stage: usize,
    /// The instance.
    pub transform: Box<dyn Transform + Send>,
    /// What it is there for.
    pub role: Role,
    /// What all workers find out about it.
    pub findings: Arc<Findings>,
}

/// What a candidate is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It sees every record too; what it makes of them is compared, and thrown away.
    Shadow,
    /// Its outputs count for its share of the records. A record it fails on goes to the stage's own plugin, so a canary makes
    /// no dead letter.
    Canary(Share),
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (stage, plugin, role) = (self.stage, self.transform.identity(), self.role);
        f.debug_struct("Candidate").field("stage", &stage).field("plugin", plugin).field("role", &role).finish()
    }
}

#[derive(Debug, Default)]
struct Desk {
    /// The number of the next inbox.
    next: u64,
    inboxes: BTreeMap<u64, Letters>,
}

#[derive(Debug, Default)]
struct Letters {
    waiting: Vec<Command>,
    /// The round up to which all is done.
    obeyed: u64,
}

impl Commands {
    /// An inbox for one more worker, with nothing in it.
    pub fn join(self: &Arc<Self>) -> Inbox {
        let mut desk = self.desk();
        let number = desk.next;
        let seen = self.round.load(Ordering::Acquire);
        desk.next += 1;
        desk.inboxes.insert(number, Letters { waiting: Vec::new(), obeyed: seen });
        Inbox { commands: Arc::clone(self), number, seen }
    }

    /// The numbers of the inboxes of workers that have not ended.
    pub fn members(&self) -> BTreeSet<u64> {
        self.desk().inboxes.keys().copied().collect()
    }

    /// Tells these workers, by the numbers of their inboxes, all at the same moment. Those that have ended are skipped.
    /// Returns the number of this round.
    pub fn send(&self, commands: impl IntoIterator<Item = (u64, Command)>) -> u64 {
        let mut desk = self.desk();
        for (number, command) in commands {
            if let Some(letters) = desk.inboxes.get_mut(&number) {
                letters.waiting.push(command);
            }
        }
        self.round.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Waits until all workers have done what they were told up to this round, or have ended. Returns how many have not when
    /// time is up.
    pub fn wait(&self, round: u64, within: Duration) -> usize {
        let behind = |desk: &Desk| desk.inboxes.values().filter(|letters| letters.obeyed < round).count();
        let waited = self.obeyed.wait_timeout_while(self.desk(), within, |desk| behind(desk) > 0);
        behind(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's end of [`Commands`]; nothing more is sent to it once it is dropped.
#[derive(Debug)]
pub struct Inbox {
    commands: Arc<Commands>,
    number: u64,
    seen: u64,
}

impl Inbox {
    /// Its number among those of the pipeline.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What came since the last call; nearly always nothing.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Vec<Command>> {
        if self.commands.round.load(Ordering::Acquire) == self.seen { None } else { Some(self.open()) }
    }

    #[cold]
    fn open(&mut self) -> Vec<Command> {
        let mut desk = self.commands.desk();
        self.seen = self.commands.round.load(Ordering::Acquire);
        desk.inboxes.get_mut(&self.number).map(|letters| std::mem::take(&mut letters.waiting)).unwrap_or_default()
    }

    /// What was taken out is carried out.
    pub(crate) fn done(&self) {
        if let Some(letters) = self.commands.desk().inboxes.get_mut(&self.number) {
            letters.obeyed = self.seen;
        }
        self.commands.obeyed.notify_all();
    }
}

/// An inbox that nobody writes to.
impl Default for Inbox {
    fn default() -> Self {
        Arc::new(Commands::default()).join()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.commands.desk().inboxes.remove(&self.number);
        self.commands.obeyed.notify_all();
    }
}
