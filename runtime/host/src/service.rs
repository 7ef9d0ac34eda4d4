//! A process at work: workers, the admin endpoint, and the one path by which it all stops.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{self, Guard};
use crate::app::{App, LoadedPipeline};
use crate::config;
use crate::exit::Exit;
use crate::supervisor::{Ending, Running, Supervisor};
use crate::watch::{Folder, FolderWatch, Watch};

/// What a shell reports for a program that a second SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Pipelines that run, and what surrounds them.
pub struct Service {
    supervisor: Arc<Supervisor>,
    /// Both end with the service.
    watch: (Watch, Option<FolderWatch>),
    admin: Option<SocketAddr>,
    /// Control only: the workers have threads of their own.
    runtime: Runtime,
}

impl Service {
    /// Starts all workers, those of a folder's files too, and, if asked, the admin endpoint. From now on SIGINT and SIGTERM
    /// drain and end them.
    ///
    /// # Errors
    /// The address is taken, or the machine has no threads left.
    pub(crate) fn start(
        app: &Arc<App>,
        pipelines: Vec<LoadedPipeline>,
        folder: Option<Folder>,
        admin: Option<config::Admin>,
    ) -> Result<Self, Exit> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = admin.as_ref().map(|admin| runtime.block_on(admin::bind(admin.listen))).transpose()?;
        let guard = Guard::of(admin.as_ref())?;
        let supervisor = Arc::new(Supervisor::start(app, pipelines, folder.is_some())?);
        stop_on_signals(&runtime, stopper(&supervisor))?;
        let files = folder.as_ref().map(Folder::files).unwrap_or_default();
        let followed = folder.map(|folder| folder.follow(app, &supervisor)).transpose()?;
        let watch = (Watch::start(app, &supervisor)?, followed);
        let mut service = Service { supervisor, watch, admin: None, runtime };
        if let Some(listener) = listener {
            let address = listener.local_addr()?;
            tracing::info!("admin endpoint on {}://{address}", guard.scheme());
            let supervisor = Arc::clone(&service.supervisor);
            service.runtime.spawn(admin::serve(listener, Arc::clone(app), supervisor, files, guard));
            service.admin = Some(address);
        }
        Ok(service)
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

    /// Waits until all workers have ended, or hang for too long after they were asked to.
    ///
    /// # Errors
    /// The first pipeline's that failed.
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
