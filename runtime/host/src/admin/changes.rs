use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::access::Permit;
use super::{Admin, Problem};
use crate::change::{Asker, Changed, Refusal};
use crate::config::{Digest, Size};
use crate::supervisor::Running;

/// How long a plugin may take to come in.
const UPLOAD_WITHIN: Duration = Duration::from_secs(60);
/// How many characters of 'by' and 'why' are kept.
const WORDS_MAX: usize = 200;

pub(super) type Answer = Result<Json<Changed>, Problem>;

/// The query of a request for a change.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Asked {
    /// Who asks, in their own words.
    pub(super) by: Option<String>,
    pub(super) why: Option<String>,
    /// The digest that the uploaded plugin must have, or that of the version a rollback must bring back.
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

/// The text on one line, cut where it is too long.
pub(super) fn words(text: &str) -> String {
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
    let upload = receive(&admin, &running, &stage, body).await?;
    let app = Arc::clone(&admin.app);
    upload.change(move |bytes| running.pipeline().load_plugin(&app, &stage, bytes, digest.as_ref(), &asker)).await
}

/// A plugin that was uploaded.
pub(super) struct Upload {
    bytes: Vec<u8>,
    /// Its place among the uploads that are held in memory.
    place: Option<OwnedSemaphorePermit>,
}

impl Upload {
    /// Makes a change with the plugin. The plugin keeps its place until the change has ended, even if the client has gone by
    /// then.
    pub(super) async fn change(
        self,
        change: impl FnOnce(Vec<u8>) -> Result<Changed, Refusal> + Send + 'static,
    ) -> Answer {
        let Upload { bytes, place } = self;
        on_own_thread(move || {
            let _place = place;
            change(bytes)
        })
        .await
    }
}

/// Receives the plugin uploaded for a stage. For a stage that does not exist nothing is read; the change is then refused,
/// naming the stages there are.
pub(super) async fn receive(admin: &Admin, running: &Running, stage: &str, body: Body) -> Result<Upload, Problem> {
    let pipeline = running.pipeline();
    let Some(config) = pipeline.config.stages.iter().find(|config| config.name == stage) else {
        return Ok(Upload { bytes: Vec::new(), place: None });
    };
    let max = config.limits.file_size.0;
    let closing = |_| Problem(StatusCode::SERVICE_UNAVAILABLE, "the endpoint is closing".into());
    let place = Arc::clone(&admin.uploads).acquire_owned().await.map_err(closing)?;
    let received =
        tokio::time::timeout(UPLOAD_WITHIN, to_bytes(body, usize::try_from(max).unwrap_or(usize::MAX))).await;
    match received {
        Ok(Ok(bytes)) => Ok(Upload { bytes: bytes.into(), place: Some(place) }),
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

/// Runs a change on a thread of its own: compiling takes long, and a plugin that is tried out may block.
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

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn an_upload_counts_until_its_change_has_ended_whoever_waits_for_it() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().ok();
        let upload = Upload { bytes: b"plugin".to_vec(), place };
        let (begin, begun) = oneshot::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let asked = tokio::spawn(upload.change(move |bytes| {
            begin.send(bytes).unwrap();
            ended.recv().unwrap();
            Err(Refusal::Conflict("it was only tried".into()))
        }));
        assert_eq!(begun.await.unwrap(), b"plugin");
        asked.abort();
        assert!(asked.await.is_err(), "whoever asked is gone");
        assert!(places.try_acquire().is_err(), "the plugin is still held");
        end.send(()).unwrap();
        assert!(tokio::time::timeout(UPLOAD_WITHIN, places.acquire()).await.unwrap().is_ok());
    }
}
