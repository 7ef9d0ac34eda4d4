//! A process at work: workers, the admin endpoint, and the one path by which it all stops.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin;
use crate::app::{App, LoadedPipeline};
use crate::exit::Exit;
use crate::supervisor::{Running, Supervisor};
use crate::watch::Watch;

/// What a shell reports for a program that a second SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Pipelines that run, and what surrounds them.
pub struct Service {
    supervisor: Supervisor,
    /// Ends with the service.
    watch: Watch,
    admin: Option<SocketAddr>,
    /// Control only: the workers have threads of their own.
    runtime: Runtime,
}

impl Service {
    /// Starts all workers and, if asked, the admin endpoint. From now on SIGINT and SIGTERM drain and end them.
    ///
    /// # Errors
    /// The address is taken, or the machine has no threads left.
    pub fn start(app: &Arc<App>, pipelines: Vec<LoadedPipeline>, listen: Option<SocketAddr>) -> Result<Self, Exit> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = listen.map(|listen| runtime.block_on(admin::bind(listen))).transpose()?;
        let admins = pipelines.iter().filter_map(|pipeline| pipeline.config.admin.as_ref());
        let token = admins.filter_map(|admin| admin.token.clone()).next();
        let supervisor = Supervisor::start(app, pipelines)?;
        let watch = Watch::start(app, supervisor.running())?;
        let mut service = Service { supervisor, watch, admin: None, runtime };
        if let Some(listener) = listener {
            let address = listener.local_addr()?;
            service.runtime.spawn(admin::serve(listener, Arc::clone(app), service.running().into(), token));
            tracing::info!("admin endpoint on http://{address}");
            service.admin = Some(address);
        }
        stop_on_signals(&service.runtime, service.stopper())?;
        Ok(service)
    }

    /// The pipelines.
    pub fn running(&self) -> &[Arc<Running>] {
        self.supervisor.running()
    }

    /// Where the admin endpoint listens.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// A handle by which any thread may ask everything to drain and end.
    pub fn stopper(&self) -> impl Fn() + Send + 'static {
        self.supervisor.stopper()
    }

    /// Waits until all workers have ended.
    ///
    /// # Errors
    /// The first pipeline's that failed.
    pub fn wait(self) -> Result<(), Exit> {
        let ended = self.supervisor.wait();
        drop(self.watch);
        self.runtime.shutdown_background();
        ended
    }
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
