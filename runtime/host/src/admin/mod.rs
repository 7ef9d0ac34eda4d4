//! The admin endpoint: what runs, how it is, its metrics, and changes to it. `openapi.json` says it for machines.

mod access;
mod changes;
mod connections;
mod refusals;
mod status;
mod tls;
mod tryouts;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::app::App;
use crate::exit::Exit;
use crate::metrics;
use crate::supervisor::{Running, Supervisor, WorkerState};
use crate::watch::{Files, Found};
use access::Access;
pub use access::Guard;
pub(crate) use refusals::Refusals;
use status::{FileStatus, PipelineStatus};
use tls::TlsListener;

const OPENAPI: &str = include_str!("openapi.json");
/// How many uploaded plugins are held in memory at a time, each from its first byte to the end of its change.
const UPLOADS_MAX: usize = 2;

#[derive(Clone)]
struct Admin {
    app: Arc<App>,
    supervisor: Arc<Supervisor>,
    files: Files,
    access: Access,
    refusals: Arc<Refusals>,
    uploads: Arc<Semaphore>,
}

/// Takes the address.
///
/// # Errors
/// It is taken already, or not this machine's.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener, Exit> {
    TcpListener::bind(listen).await.map_err(|error| {
        Exit::usage(format!("admin.listen: cannot listen on {listen}: {error}; choose another address"))
    })
}

/// Serves until the runtime ends. Clients that change something must show what the guard asks for.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    supervisor: Arc<Supervisor>,
    files: Files,
    guard: Guard,
) {
    let Guard { access, certificates } = guard;
    let (refusals, uploads) = (Arc::default(), Arc::new(Semaphore::new(UPLOADS_MAX)));
    let admin = Admin { app, supervisor, files, access, refusals, uploads };
    let router = router(admin);
    match certificates {
        Some(certificates) => {
            connections::serve(TlsListener::new(listener, certificates), router, connections::BOUNDS).await;
        }
        None => connections::serve(listener, router, connections::BOUNDS).await,
    }
}

fn router(admin: Admin) -> Router {
    let routes = routes().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    let routes = routes.route_layer(from_fn_with_state(admin.clone(), access::check_host));
    // Probes and scrapes ask by whatever name they know.
    let plain = Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(prometheus));
    plain.merge(routes).with_state(admin)
}

/// What `openapi.json` describes.
fn routes() -> [(&'static str, MethodRouter<Admin>); 10] {
    [
        ("/v1/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) })),
        ("/v1/files", get(files)),
        ("/v1/pipelines", get(list)),
        ("/v1/pipelines/{pipeline}", get(one)),
        ("/v1/pipelines/{pipeline}/history", get(history)),
        ("/v1/pipelines/{pipeline}/pause", post(changes::set_paused::<true>)),
        ("/v1/pipelines/{pipeline}/resume", post(changes::set_paused::<false>)),
        ("/v1/pipelines/{pipeline}/stages/{stage}/plugin", put(changes::load).delete(changes::reset)),
        (
            "/v1/pipelines/{pipeline}/stages/{stage}/candidate",
            get(tryouts::report).put(tryouts::begin).delete(tryouts::stop),
        ),
        ("/v1/pipelines/{pipeline}/stages/{stage}/rollback", post(changes::roll_back)),
    ]
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.why_not_ready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn prometheus(State(admin): State<Admin>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        metrics::render(&admin.supervisor.running(), &admin.files, &admin.refusals),
    )
}

async fn files(State(admin): State<Admin>) -> Json<Vec<FileStatus>> {
    Json(admin.files.list().into_iter().map(FileStatus::of).collect())
}

async fn list(State(admin): State<Admin>) -> Json<Vec<PipelineStatus>> {
    Json(admin.supervisor.running().iter().map(|running| PipelineStatus::of(running)).collect())
}

async fn one(State(admin): State<Admin>, Path(pipeline): Path<String>) -> Result<Json<PipelineStatus>, Problem> {
    Ok(Json(PipelineStatus::of(&*admin.pipeline(&pipeline)?)))
}

async fn history(State(admin): State<Admin>, Path(pipeline): Path<String>) -> Result<Response, Problem> {
    Ok(Json(admin.pipeline(&pipeline)?.pipeline().journal.history()).into_response())
}

impl Admin {
    fn why_not_ready(&self) -> Option<String> {
        if !self.supervisor.has_started() {
            return Some("starting".into());
        }
        let running = self.supervisor.running();
        let why_not = |running: &Arc<Running>| {
            let states = running.states();
            // If one fails for good, the others end because of it.
            let failed = states.iter().find(|state| matches!(state, WorkerState::Failed { .. }));
            let why = failed.into_iter().chain(&states).find_map(WorkerState::why_not_running)?;
            Some(format!("pipeline '{}': {why}", running.name()))
        };
        if let Some(why) = running.iter().find_map(why_not) {
            return Some(why);
        }
        let runs = |name: &String| running.iter().any(|running| running.name() == name);
        let is_idle = |found: &Found| found.refused.is_some() && !found.pipeline.as_ref().is_some_and(runs);
        let (file, _) = self.files.list().into_iter().find(|(_, found)| is_idle(found))?;
        Some(format!("{} is refused, and nothing runs from it; /v1/files says why", file.display()))
    }

    fn pipeline(&self, name: &str) -> Result<Arc<Running>, Problem> {
        self.supervisor.find(name).ok_or_else(|| {
            let known: Vec<_> = self.supervisor.running().iter().map(|running| running.name().to_owned()).collect();
            let message = format!("no pipeline '{name}' runs here; those that do: {}", known.join(", "));
            Problem(StatusCode::NOT_FOUND, message)
        })
    }
}

/// An answer that says what is wrong.
struct Problem(StatusCode, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_describes_every_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let described: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(described, routes().iter().map(|(path, _)| *path).collect());
    }
}
