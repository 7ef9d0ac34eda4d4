//! Keeps workers going: each on a thread of its own, started again after a growing pause when it fails for a passing reason.
//! Pipelines come, change and go while others run.

mod course;
mod jitter;
mod state;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::{Ended, Error, ErrorKind, Stop};

use crate::app::{App, Connected, LoadedPipeline, Silence};
use crate::exit::Exit;
use course::{Course, STOP_MAX};
use jitter::jittered;
use state::Slot;
pub use state::WorkerState;

const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The pause after a stage's breaker tripped.
const PAUSE_FIRST: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// A worker that ran this long is taken to be well again: its next pause is short.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// A running pipeline, as the admin endpoint sees it.
pub struct Running {
    name: String,
    /// Replaced when its configuration changes.
    pipeline: Mutex<Arc<LoadedPipeline>>,
    workers: Mutex<Vec<Slot>>,
    failure: Mutex<Option<Error>>,
    /// For this pipeline's workers alone.
    stop: Arc<Stop>,
    connected_once: AtomicBool,
    /// How often a worker was started again, by the name of the error's kind.
    restarts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Running {
    fn new(pipeline: LoadedPipeline) -> Self {
        Running {
            name: pipeline.config.name.clone(),
            workers: Mutex::new((0..pipeline.config.workers).map(|_| Slot::new()).collect()),
            pipeline: Mutex::new(Arc::new(pipeline)),
            failure: Mutex::default(),
            stop: Arc::default(),
            connected_once: AtomicBool::new(false),
            // There from the start, so that the first one shows as a rise.
            restarts: Mutex::new(PASSING.map(|kind| (kind.name(), 0)).into()),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pipeline, as it is configured now.
    pub fn pipeline(&self) -> Arc<LoadedPipeline> {
        Arc::clone(&lock(&self.pipeline))
    }

    fn is_still(&self, pipeline: &Arc<LoadedPipeline>) -> bool {
        Arc::ptr_eq(&lock(&self.pipeline), pipeline)
    }

    /// What each worker is doing.
    pub fn states(&self) -> Vec<WorkerState> {
        lock(&self.workers).iter().map(Slot::shown).collect()
    }

    /// How often a worker was started again, by the name of the error's kind.
    pub(crate) fn restarts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.restarts).clone()
    }

    /// Whether all workers stream.
    pub fn is_ready(&self) -> bool {
        self.states().iter().all(|state| *state == WorkerState::Running)
    }

    /// Whether some worker has ended, and has no seams left to hand over.
    pub(crate) fn lacks_workers(&self) -> bool {
        lock(&self.workers).iter().any(|worker| worker.state.is_ended())
    }

    /// Why it ended by itself, if it did.
    pub(crate) fn failure(&self) -> Option<Error> {
        lock(&self.failure).clone().filter(|_| self.has_ended())
    }

    fn has_ended(&self) -> bool {
        lock(&self.workers).iter().all(|worker| worker.state.is_ended())
    }

    fn set(&self, worker: u32, state: WorkerState) {
        if let Some(slot) = lock(&self.workers).get_mut(worker as usize) {
            slot.state = state;
        }
    }

    fn set_silence(&self, worker: u32, silence: Silence) {
        if let Some(slot) = lock(&self.workers).get_mut(worker as usize) {
            slot.silence = silence;
        }
    }

    fn count_restart(&self, why: ErrorKind) {
        *lock(&self.restarts).entry(why.name()).or_default() += 1;
    }
}

/// How workers ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything that they read is done and committed.
    Drained,
    /// Not everything is, or not all of them ended: the next start goes on from the committed offsets.
    Cut,
}

/// The workers of all pipelines.
pub struct Supervisor {
    app: Arc<App>,
    running: Mutex<Vec<Arc<Running>>>,
    course: Arc<Course>,
    has_started: AtomicBool,
}

impl Supervisor {
    /// A supervisor of no pipelines yet. `more_may_come`: they may also be added while somebody waits for their end.
    pub(crate) fn new(app: &Arc<App>, more_may_come: bool) -> Self {
        let course = Arc::<Course>::default();
        course.change(|at| at.more_may_come = more_may_come);
        Supervisor { app: Arc::clone(app), running: Mutex::default(), course, has_started: AtomicBool::new(false) }
    }

    /// What is to run from the start has been added, or refused.
    pub(crate) fn set_started(&self) {
        self.has_started.store(true, Relaxed);
    }

    /// Whether what is to run from the start has been added, or refused.
    pub(crate) fn has_started(&self) -> bool {
        self.has_started.load(Relaxed)
    }

    /// Starts the workers of one more pipeline, whose name no other has. Does nothing once all were asked to end.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub(crate) fn add(&self, pipeline: LoadedPipeline) -> Result<(), Exit> {
        let workers = pipeline.config.workers;
        if pipeline.config.workers_by_cores {
            tracing::info!(pipeline = %pipeline.config.name, "workers: {workers}, one a core; set 'workers' for another number");
        }
        let running = Arc::new(Running::new(pipeline));
        // Locked until all is done: whoever asks all to end asks this one too.
        let mut all = lock(&self.running);
        if self.course.is_stopping() {
            return Ok(());
        }
        all.push(Arc::clone(&running));
        (0..workers).try_for_each(|worker| self.spawn(&running, worker)).inspect_err(|_| {
            running.stop.request();
            all.pop();
        })
    }

    fn spawn(&self, running: &Arc<Running>, worker: u32) -> Result<(), Exit> {
        let (app, course) = (Arc::clone(&self.app), Arc::clone(&self.course));
        let kept = Arc::clone(running);
        self.course.change(|at| at.threads += 1);
        let keep = move || {
            keep_running(&app, &kept, worker, &course);
            course.change(|at| at.threads -= 1);
        };
        let name = format!("{}-{worker}", running.name);
        let spawned = std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(keep);
        spawned.inspect_err(|_| self.course.change(|at| at.threads -= 1))?;
        Ok(())
    }

    /// Has a pipeline's workers go on with `next`, as the same members of their group.
    pub(crate) fn change(&self, running: &Running, next: LoadedPipeline) {
        let before = std::mem::replace(&mut *lock(&running.pipeline), Arc::new(next));
        self.course.wake();
        let behind = before.hand_over();
        if behind > 0 {
            tracing::warn!(pipeline = %running.name, "{behind} workers have not come to the changed configuration yet");
        }
    }

    /// Has a pipeline finish what is in flight and leave its group. Waits until it has, or has hung for too long.
    pub(crate) fn remove(&self, running: &Arc<Running>) {
        running.stop.request();
        self.course.wake();
        running.pipeline().retire();
        if !self.course.wait_until(|| running.has_ended(), STOP_MAX) {
            tracing::warn!(pipeline = %running.name, "its workers did not end within {STOP_MAX:?}, and are left alone");
        }
        lock(&self.running).retain(|other| !Arc::ptr_eq(other, running));
    }

    /// The pipelines.
    pub fn running(&self) -> Vec<Arc<Running>> {
        lock(&self.running).clone()
    }

    /// The pipeline of this name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Running>> {
        lock(&self.running).iter().find(|running| running.name == name).cloned()
    }

    /// Asks all workers to drain and end. May be called from any thread.
    pub fn stop(&self) {
        let all = lock(&self.running);
        all.iter().for_each(|running| running.stop.request());
        self.course.stop();
    }

    /// Waits until all workers have ended, or hang for too long after they were asked to.
    ///
    /// # Errors
    /// Why the first of the pipelines that failed did so, if any did.
    pub fn wait(&self) -> Result<Ending, Exit> {
        let left = self.course.wait();
        if left > 0 {
            tracing::warn!(
                "{left} workers did not end within {STOP_MAX:?}: brokers do not answer, or calls of plugins last too long"
            );
        }
        for running in self.running() {
            if let Some(error) = lock(&running.failure).take() {
                return Err(Exit::from(error).within(&format!("pipeline '{}'", running.name)));
            }
        }
        Ok(if left > 0 || self.course.is_cut() { Ending::Cut } else { Ending::Drained })
    }
}

/// wasmtime takes 512 KiB of a worker's stack for its guest.
const STACK_BYTES: usize = 4 << 20;

/// The life of one worker's thread.
fn keep_running(app: &App, running: &Running, worker: u32, course: &Course) {
    let name = &running.name;
    let mut backoff = BACKOFF_FIRST;
    let mut handed_over = None;
    // Whether the worker before undid what it had read, and none has come since to read it again.
    let mut is_undone = false;
    loop {
        if running.stop.requested() && handed_over.is_none() {
            course.change(|at| at.is_cut |= is_undone);
            running.set(worker, WorkerState::Stopped);
            return;
        }
        is_undone = false;
        let (pipeline, started) = (running.pipeline(), Instant::now());
        let error = match run_once(app, running, &pipeline, worker, handed_over.take()) {
            Ok(None) => {
                running.set(worker, WorkerState::Stopped);
                return;
            }
            Ok(seams) => {
                tracing::info!(pipeline = %name, worker, "goes on with the changed configuration");
                handed_over = seams;
                continue;
            }
            Err(error) => error,
        };
        is_undone = true;
        if let Some(culprit) = error.culprit
            && !running.stop.requested()
            && pipeline.go_back_from(culprit, &error.message)
        {
            tracing::warn!(pipeline = %name, worker, "{error}; the version before runs again");
            running.count_restart(error.kind);
            if pipeline.is_succeeded() {
                // What takes its place is not there yet.
                course.wait_until(|| running.stop.requested() || !running.is_still(&pipeline), BACKOFF_MAX);
            }
            continue;
        }
        let may_pass = may_pass(&error, running);
        if may_pass && running.stop.requested() {
            tracing::warn!(pipeline = %name, worker, "{error}; the next start goes on from the committed offsets");
            continue;
        }
        if !may_pass {
            tracing::error!(pipeline = %name, worker, "{error}");
            running.set(worker, WorkerState::Failed { reason: error.message.clone() });
            lock(&running.failure).get_or_insert(error);
            // The others would go on without this one's share, and nobody would notice.
            running.stop.request();
            return;
        }
        if started.elapsed() >= WELL_AFTER {
            backoff = BACKOFF_FIRST;
        }
        let tripped = error.kind == ErrorKind::Tripped;
        if tripped {
            backoff = backoff.max(PAUSE_FIRST);
        }
        tracing::warn!(pipeline = %name, worker, "{error}; starting again within {backoff:?} from the committed offsets");
        running.count_restart(error.kind);
        let (culprit, reason) = (error.culprit, error.message);
        running.set(worker, if tripped { WorkerState::Paused { reason } } else { WorkerState::Restarting { reason } });
        let is_replaced = || culprit.is_some_and(|culprit| pipeline.is_replaced(culprit));
        let may_start = || running.stop.requested() || !running.is_still(&pipeline) || is_replaced();
        course.wait_until(may_start, jittered(backoff));
        let longer = (backoff * 2).min(if tripped { PAUSE_MAX } else { BACKOFF_MAX });
        backoff = if is_replaced() { BACKOFF_FIRST } else { longer };
    }
}

/// The kinds of errors that may pass.
const PASSING: [ErrorKind; 5] =
    [ErrorKind::Rewind, ErrorKind::Retry, ErrorKind::Tripped, ErrorKind::Unreachable, ErrorKind::Login];

/// An unreachable broker at the first start is most likely a wrong address, and a refused login a wrong password;
/// later, both are most likely passing faults.
fn may_pass(error: &Error, running: &Running) -> bool {
    let is_of_access = matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Login);
    PASSING.contains(&error.kind) && (!is_of_access || running.connected_once.load(Relaxed))
}

/// One worker, until it is asked to stop, or hands its seams over to the one that comes next.
fn run_once(
    app: &App,
    running: &Running,
    pipeline: &LoadedPipeline,
    worker: u32,
    handed_over: Option<Connected>,
) -> Result<Option<Connected>, Error> {
    let run = || {
        let connected = match handed_over {
            Some(connected) => connected,
            None => {
                running.set(worker, WorkerState::Starting);
                let connected = app.connect(pipeline, worker, &running.stop)?;
                running.connected_once.store(true, Relaxed);
                tracing::info!(pipeline = %running.name, worker, "running");
                connected
            }
        };
        let (limits, silence) = (connected.limits, connected.silence.clone());
        running.set_silence(worker, silence.clone());
        let made = pipeline.worker(connected, pipeline.config.delivery.into())?;
        running.set(worker, WorkerState::Running);
        Ok(match made.run(&running.stop)? {
            Ended::Left => None,
            Ended::HandedOver(seams) => Some(Connected { seams, limits, silence }),
        })
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Stopped, "the worker crashed; this is a fault of sluicegate: please report it"))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
