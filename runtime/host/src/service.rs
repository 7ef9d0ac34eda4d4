//! A process at work: workers, the admin endpoint, and the one path by which it all stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{self, Guard};
use crate::app::{App, LoadedPipeline};
use crate::config;
use crate::exit::Exit;
use crate::supervisor::{Ending, Running, Supervisor};
use crate::watch::{Folder, FolderWatch, Watch};

/// What a shell reports for a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Pipelines that run, and what surrounds them.
pub struct Service {
    app: Arc<App>,
    supervisor: Arc<Supervisor>,
    /// Until it is followed.
    folder: Option<Folder>,
    /// They end with the service.
    watch: Option<(Watch, Option<FolderWatch>)>,
    admin: Option<SocketAddr>,
    /// Whether there may be something to drain.
    is_started: Arc<AtomicBool>,
    /// Control only: the workers have threads of their own.
    runtime: Runtime,
}

impl Service {
    /// Opens the admin endpoint, if there is to be one. Nothing runs yet, and `/ready` says so: loading plugins may take longer
    /// than a probe of `/live` waits. Until then SIGINT and SIGTERM end the process at once, also where it is the first of a
    /// container, which no signal ends by itself.
    ///
    /// # Errors
    /// The address is taken, or a file of `admin.tls` is no good.
    pub(crate) fn open(app: &Arc<App>, admin: Option<config::Admin>, folder: Option<Folder>) -> Result<Self, Exit> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = admin.as_ref().map(|admin| runtime.block_on(admin::bind(admin.listen))).transpose()?;
        let guard = Guard::of(admin.as_ref())?;
        let supervisor = Arc::new(Supervisor::new(app, folder.is_some()));
        let files = folder.as_ref().map(Folder::files).unwrap_or_default();
        let is_started = Arc::<AtomicBool>::default();
        let (stop, may_drain) = (stopper(&supervisor), Arc::clone(&is_started));
        stop_on_signals(&runtime, move || {
            if !may_drain.load(Relaxed) {
                std::process::exit(0);
            }
            stop();
        })?;
        let mut service =
            Service { app: Arc::clone(app), supervisor, folder, watch: None, admin: None, is_started, runtime };
        if let Some(listener) = listener {
            let address = listener.local_addr()?;
            tracing::info!("admin endpoint on {}://{address}", guard.scheme());
            let supervisor = Arc::clone(&service.supervisor);
            service.runtime.spawn(admin::serve(listener, Arc::clone(app), supervisor, files, guard));
            service.admin = Some(address);
        }
        Ok(service)
    }

    /// Starts the workers of these pipelines, and begins to follow the folder. From now on SIGINT and SIGTERM drain and end all
    /// workers first.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub(crate) fn start(mut self, pipelines: Vec<LoadedPipeline>) -> Result<Self, Exit> {
        self.is_started.store(true, Relaxed);
        pipelines.into_iter().try_for_each(|pipeline| self.supervisor.add(pipeline))?;
        let watch = Watch::start(&self.app, &self.supervisor)?;
        let followed = self.folder.take().map(|folder| folder.follow(&self.app, &self.supervisor)).transpose()?;
        if followed.is_none() {
            self.supervisor.set_started();
        }
        self.watch = Some((watch, followed));
        Ok(self)
    }

    /// The pipelines.
    pub fn running(&self) -> Vec<Arc<Running>> {
        self.supervisor.running()
    }

    /// Where the admin endpoint listens.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// A handle by which any thread may ask everything to drain and end.
    pub fn stopper(&self) -> impl Fn() + Send + 'static {
        stopper(&self.supervisor)
    }

    /// Waits until all workers have ended, or have hung for too long after they were asked to.
    ///
    /// # Errors
    /// That of the first pipeline that failed.
    pub fn wait(self) -> Result<Ending, Exit> {
        let ended = self.supervisor.wait();
        drop(self.watch);
        self.runtime.shutdown_background();
        ended
    }
}

fn stopper(supervisor: &Arc<Supervisor>) -> impl Fn() + Send + 'static {
    let supervisor = Arc::clone(supervisor);
    move || supervisor.stop()
}

/// Calls `stop` on the first SIGINT or SIGTERM, and ends the process on the second.
///
/// # Errors
/// The operating system takes no handler.
pub(crate) fn stop_on_signals(runtime: &Runtime, stop: impl Fn() + Send + 'static) -> Result<(), Exit> {
    let _guard = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    runtime.spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        tracing::info!("stopping: finishing what is in flight; a second signal ends at once");
        stop();
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}
