//! Keeps workers going: a thread each, started again with a growing pause after whatever may pass.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use sluicegate_core::{Error, ErrorKind, Stop};

use crate::app::{App, LoadedPipeline};
use crate::exit::Exit;

const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The pause after a stage's breaker tripped.
const PAUSE_FIRST: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// How long workers may take to end once a signal asked for it; those that hang on a broker then end with the process.
const STOP_MAX: Duration = Duration::from_secs(9);
/// A worker that ran this long is taken to be well again.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum WorkerState {
    /// It is connecting.
    Starting,
    /// It streams.
    Running,
    /// It failed and will start again.
    Restarting {
        /// Why.
        reason: String,
    },
    /// A stage's breaker tripped. It will try again.
    Paused {
        /// Why.
        reason: String,
    },
    /// It was asked to end, and did so well.
    Stopped,
    /// It ended for good.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A pipeline that runs: looked at by the admin endpoint.
pub struct Running {
    /// The pipeline.
    pub pipeline: LoadedPipeline,
    states: Mutex<Vec<WorkerState>>,
    failure: Mutex<Option<Error>>,
    /// Asks this pipeline's workers alone.
    stop: Arc<Stop>,
    connected_once: AtomicBool,
}

impl Running {
    /// What each worker is doing.
    pub fn states(&self) -> Vec<WorkerState> {
        lock(&self.states).clone()
    }

    /// Whether all workers stream.
    pub fn is_ready(&self) -> bool {
        self.states().iter().all(|state| *state == WorkerState::Running)
    }

    fn set(&self, worker: u32, state: WorkerState) {
        if let Some(slot) = lock(&self.states).get_mut(worker as usize) {
            *slot = state;
        }
    }
}

/// The workers of all pipelines.
pub struct Supervisor {
    running: Vec<Arc<Running>>,
    threads: Vec<JoinHandle<()>>,
    course: Arc<Course>,
}

/// How far the workers are: wakes those that pause before a restart, and whoever waits for their end.
#[derive(Default)]
struct Course {
    at: Mutex<At>,
    changed: Condvar,
}

#[derive(Default)]
struct At {
    /// When all were asked to end.
    stopping: Option<Instant>,
    /// Threads that go on.
    threads: usize,
}

impl Course {
    fn change(&self, change: impl FnOnce(&mut At)) {
        change(&mut lock(&self.at));
        self.changed.notify_all();
    }

    /// Waits until all are asked to end, or time is up.
    fn pause(&self, time: Duration) {
        let waited = self.changed.wait_timeout_while(lock(&self.at), time, |at| at.stopping.is_none());
        drop(waited);
    }

    /// Waits until no thread goes on, or has gone on for too long after all were asked to end. How many still do.
    fn wait(&self) -> usize {
        let mut at = lock(&self.at);
        while at.threads > 0 {
            let Some(since) = at.stopping else {
                at = self.changed.wait(at).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = STOP_MAX.saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            at = self.changed.wait_timeout(at, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        at.threads
    }
}

impl Supervisor {
    /// Starts the workers of these pipelines.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn start(app: &Arc<App>, pipelines: Vec<LoadedPipeline>) -> Result<Self, Exit> {
        let mut supervisor = Supervisor { running: Vec::new(), threads: Vec::new(), course: Arc::default() };
        for pipeline in pipelines {
            let workers = pipeline.config.workers;
            let running = Arc::new(Running {
                states: Mutex::new(vec![WorkerState::Starting; workers as usize]),
                pipeline,
                failure: Mutex::default(),
                stop: Arc::default(),
                connected_once: AtomicBool::new(false),
            });
            for worker in 0..workers {
                let (app, running, course) = (Arc::clone(app), Arc::clone(&running), Arc::clone(&supervisor.course));
                let name = format!("{}-{worker}", running.pipeline.config.name);
                course.change(|at| at.threads += 1);
                let keep = move || {
                    keep_running(&app, &running, worker, &course);
                    course.change(|at| at.threads -= 1);
                };
                supervisor.threads.push(std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(keep)?);
            }
            supervisor.running.push(running);
        }
        Ok(supervisor)
    }

    /// The pipelines.
    pub fn running(&self) -> &[Arc<Running>] {
        &self.running
    }

    /// A handle by which any thread may ask all workers to drain and end.
    pub fn stopper(&self) -> impl Fn() + Send + 'static {
        let stops: Vec<Arc<Stop>> = self.running.iter().map(|running| Arc::clone(&running.stop)).collect();
        let course = Arc::clone(&self.course);
        move || {
            stops.iter().for_each(|stop| stop.request());
            course.change(|at| at.stopping = at.stopping.or_else(|| Some(Instant::now())));
        }
    }

    /// Waits until all workers have ended, or hang for too long after they were asked to.
    ///
    /// # Errors
    /// The first failure of a pipeline, if there is one.
    pub fn wait(self) -> Result<(), Exit> {
        match self.course.wait() {
            0 => self.threads.into_iter().for_each(|thread| {
                // A worker's panic is caught in its thread and is in the pipeline's failure.
                let _ = thread.join();
            }),
            left => tracing::warn!(
                "{left} workers did not end within {STOP_MAX:?}, as brokers do not answer; the next start goes on from the \
                 committed offsets"
            ),
        }
        for running in &self.running {
            if let Some(error) = lock(&running.failure).take() {
                return Err(Exit::from(error).within(&format!("pipeline '{}'", running.pipeline.config.name)));
            }
        }
        Ok(())
    }
}

/// wasmtime takes 512 KiB of a worker's stack for its guest.
const STACK_BYTES: usize = 4 << 20;

/// The life of one worker's thread.
fn keep_running(app: &App, running: &Running, worker: u32, course: &Course) {
    let name = &running.pipeline.config.name;
    let mut backoff = BACKOFF_FIRST;
    loop {
        running.set(worker, WorkerState::Starting);
        let started = Instant::now();
        let Err(error) = run_once(app, running, worker) else {
            running.set(worker, WorkerState::Stopped);
            return;
        };
        if let Some(culprit) = error.culprit
            && !running.stop.requested()
            && running.pipeline.go_back_from(culprit, &error.message)
        {
            tracing::warn!(pipeline = %name, worker, "{error}; the version before runs again");
            continue;
        }
        let may_pass = may_pass(&error, running);
        if may_pass && running.stop.requested() {
            tracing::warn!(pipeline = %name, worker, "{error}; the next start goes on from the committed offsets");
            running.set(worker, WorkerState::Stopped);
            return;
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
        tracing::warn!(pipeline = %name, worker, "{error}; starting again in {backoff:?} from the committed offsets");
        let reason = error.message;
        running.set(worker, if tripped { WorkerState::Paused { reason } } else { WorkerState::Restarting { reason } });
        course.pause(backoff);
        backoff = (backoff * 2).min(if tripped { PAUSE_MAX } else { BACKOFF_MAX });
    }
}

/// An unreachable broker at the first start is most likely a wrong address, later most likely a passing fault.
fn may_pass(error: &Error, running: &Running) -> bool {
    match error.kind {
        ErrorKind::Rewind | ErrorKind::Retry | ErrorKind::Tripped => true,
        ErrorKind::Unreachable => running.connected_once.load(Relaxed),
        ErrorKind::Config | ErrorKind::Promise | ErrorKind::Stopped => false,
    }
}

fn run_once(app: &App, running: &Running, worker: u32) -> Result<(), Error> {
    if running.stop.requested() {
        return Ok(());
    }
    let run = || {
        let connected = app.worker(&running.pipeline, worker, &running.stop)?;
        running.connected_once.store(true, Relaxed);
        running.set(worker, WorkerState::Running);
        tracing::info!(pipeline = %running.pipeline.config.name, worker, "running");
        connected.run(&running.stop)
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Stopped, "the worker crashed; this is a fault of sluicegate: please report it"))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
