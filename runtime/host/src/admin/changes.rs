use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::access::Permit;
use super::{Admin, Problem};
use crate::change::{Asker, Changed, Refusal};
use crate::config::{Digest, Size};
use crate::supervisor::Running;

/// How long a plugin may take to come in.
const UPLOAD_WITHIN: Duration = Duration::from_secs(60);
/// Characters of who and why that are kept.
const WORDS_MAX: usize = 200;

pub(super) type Answer = Result<Json<Changed>, Problem>;

/// What a change is told beside its address.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Asked {
    /// Who asks, in their own words.
    pub(super) by: Option<String>,
    pub(super) why: Option<String>,
    /// The digest that the plugin given must have, or that a rollback must bring back.
    pub(super) digest: Option<String>,
}

impl Asked {
    pub(super) fn asker(&self, Permit(peer): &Permit) -> Asker {
        let by = self.by.as_deref().map(words).map(|by| format!(" ({by})")).unwrap_or_default();
        Asker { who: format!("{}{by}", words(&peer.to_string())), why: self.why.as_deref().map(words) }
    }

    pub(super) fn digest(&self) -> Result<Option<Digest>, Problem> {
        let wrong = |text: &String| {
            let message = format!("digest={text}: expected sha256: and 64 hexadecimal digits");
            Problem(StatusCode::BAD_REQUEST, message)
        };
        self.digest.as_ref().map(|text| Digest::parse(text).ok_or_else(|| wrong(text))).transpose()
    }
}

/// Bounded, and on one line.
fn words(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect::<String>().trim().to_owned()
}

pub(super) async fn load(
    State(admin): State<Admin>,
    permit: Permit,
    Path((pipeline, stage)): Path<(String, String)>,
    Query(asked): Query<Asked>,
    body: Body,
) -> Answer {
    let running = admin.pipeline(&pipeline)?;
    let (digest, asker) = (asked.digest()?, asked.asker(&permit));
    let bytes = receive(&admin, &running, &stage, body).await?;
    let app = Arc::clone(&admin.app);
    on_own_thread(move || running.pipeline().load_plugin(&app, &stage, bytes, digest.as_ref(), &asker)).await
}

/// The plugin that comes in for a stage. None of one that there is not: the refusal will name those that there are.
pub(super) async fn receive(admin: &Admin, running: &Running, stage: &str, body: Body) -> Result<Vec<u8>, Problem> {
    let pipeline = running.pipeline();
    let Some(config) = pipeline.config.stages.iter().find(|config| config.name == stage) else {
        return Ok(Vec::new());
    };
    let max = config.limits.file_size.0;
    let busy = |_| Problem(StatusCode::SERVICE_UNAVAILABLE, "the endpoint is closing".into());
    let _permit = admin.uploads.acquire().await.map_err(busy)?;
    let received =
        tokio::time::timeout(UPLOAD_WITHIN, to_bytes(body, usize::try_from(max).unwrap_or(usize::MAX))).await;
    match received {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => {
            let message =
                format!("cannot take the plugin: {error}; limits.file-size of the stage allows {}", Size(max));
            Err(Problem(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(_) => {
            Err(Problem(StatusCode::REQUEST_TIMEOUT, format!("the plugin did not come within {UPLOAD_WITHIN:?}")))
        }
    }
}

pub(super) async fn reset(
    State(admin): State<Admin>,
    permit: Permit,
    Path((pipeline, stage)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Answer {
    let (running, asker) = (admin.pipeline(&pipeline)?, asked.asker(&permit));
    let app = Arc::clone(&admin.app);
    on_own_thread(move || running.pipeline().reset_plugin(&app, &stage, &asker)).await
}

pub(super) async fn roll_back(
    State(admin): State<Admin>,
    permit: Permit,
    Path((pipeline, stage)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Answer {
    let (running, asker, to) = (admin.pipeline(&pipeline)?, asked.asker(&permit), asked.digest()?);
    on_own_thread(move || running.pipeline().roll_back(&stage, to.as_ref(), &asker)).await
}

pub(super) async fn set_paused<const PAUSED: bool>(
    State(admin): State<Admin>,
    permit: Permit,
    Path(pipeline): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let (running, asker) = (admin.pipeline(&pipeline)?, asked.asker(&permit));
    on_own_thread(move || running.pipeline().pause(PAUSED, &asker)).await
}

/// Compiling takes its time, and a plugin that is tried out may block: no tokio thread is for that.
pub(super) async fn on_own_thread(change: impl FnOnce() -> Result<Changed, Refusal> + Send + 'static) -> Answer {
    let (send, receive) = oneshot::channel();
    let run = move || {
        // Nobody may be there any more to be told; the journal has it.
        let _ = send.send(change());
    };
    let failed = |message: String| Problem(StatusCode::INTERNAL_SERVER_ERROR, message);
    std::thread::Builder::new().name("change".into()).spawn(run).map_err(|error| failed(error.to_string()))?;
    match receive.await {
        Ok(Ok(changed)) => Ok(Json(changed)),
        Ok(Err(refusal)) => Err(refusal.into()),
        Err(_) => Err(failed("the change crashed; this is a fault of sluicegate: please report it".into())),
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Unknown(_) => StatusCode::NOT_FOUND,
            Refusal::Conflict(_) => StatusCode::CONFLICT,
            Refusal::Unfit(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Problem(status, refusal.message().to_owned())
    }
}
