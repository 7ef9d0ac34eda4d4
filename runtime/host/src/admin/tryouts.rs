use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sluicegate_core::{Conduct, FailureKind, Report, Role, Sample, Share};

use super::access::Permit;
use super::changes::{Answer, Asked, on_own_thread, receive};
use super::{Admin, Problem};
use crate::app::Tryout;
use crate::change::{Begin, parse_share, share_words, try_plugin};
use crate::config::Time;
use crate::journal::time;
use crate::record::{Found, show_bytes};

/// How long a canary runs by default.
const CANARY_TIME: Duration = Duration::from_secs(600);

/// What is to be tried out, and how.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct AskedTryout {
    role: AskedRole,
    share: Option<String>,
    #[serde(default)]
    of: AskedOf,
    r#for: Option<String>,
    by: Option<String>,
    why: Option<String>,
    digest: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AskedRole {
    Shadow,
    Canary,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AskedOf {
    #[default]
    Keys,
    Partitions,
}

impl AskedTryout {
    fn begin(&self) -> Result<Begin, Problem> {
        let wrong = |message: String| Problem(StatusCode::BAD_REQUEST, message);
        if let AskedRole::Shadow = self.role {
            return match (&self.share, &self.r#for) {
                (None, None) => Ok(Begin { role: Role::Shadow, time: None }),
                _ => {
                    Err(wrong("a shadow sees all records until it is stopped: 'share' and 'for' are a canary's".into()))
                }
            };
        }
        let share = self.share.as_deref().ok_or_else(|| wrong("a canary needs share=, such as 10%25".into()))?;
        let points = parse_share(share).map_err(|expected| wrong(format!("share={share}: {expected}")))?;
        let read = |text: &String| text.parse::<Time>().map_err(|expected| wrong(format!("for={text}: {expected}")));
        let Time(time) = self.r#for.as_ref().map(read).transpose()?.unwrap_or(Time(CANARY_TIME));
        let share = Share { points, of_keys: matches!(self.of, AskedOf::Keys) };
        Ok(Begin { role: Role::Canary(share), time: Some(time) })
    }
}

pub(super) async fn begin(
    State(admin): State<Admin>,
    permit: Permit,
    Path((pipeline, stage)): Path<(String, String)>,
    Query(asked): Query<AskedTryout>,
    body: Body,
) -> Answer {
    let running = admin.pipeline(&pipeline)?;
    let begin = asked.begin()?;
    let asked = Asked { by: asked.by, why: asked.why, digest: asked.digest };
    let (digest, asker) = (asked.digest()?, asked.asker(&permit));
    let upload = receive(&admin, &running, &stage, body).await?;
    let app = Arc::clone(&admin.app);
    let begin = move |bytes| try_plugin(&running.pipeline(), &app, &stage, bytes, digest.as_ref(), begin, &asker);
    upload.change(begin).await
}

pub(super) async fn stop(
    State(admin): State<Admin>,
    permit: Permit,
    Path((pipeline, stage)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Answer {
    let (running, asker) = (admin.pipeline(&pipeline)?, asked.asker(&permit));
    on_own_thread(move || running.pipeline().stop_tryout(&stage, &asker)).await
}

/// What was found out, with records that show it. As these are data, only clients that may change something see them.
pub(super) async fn report(
    State(admin): State<Admin>,
    _: Permit,
    Path((pipeline, stage)): Path<(String, String)>,
) -> Result<Json<TryoutReport>, Problem> {
    let pipeline = admin.pipeline(&pipeline)?.pipeline();
    let index = pipeline.stage_index(&stage)?;
    let Some(tryout) = pipeline.tryout().filter(|tryout| tryout.stage == index) else {
        let message =
            format!("nothing was tried out in stage '{stage}' since the start, or something elsewhere after it");
        return Err(Problem(StatusCode::CONFLICT, message));
    };
    let report = tryout.findings.report();
    let names = pipeline.config.sink.outputs().names();
    let samples = report.samples.iter().map(|sample| SampleStatus::of(sample, &names)).collect();
    Ok(Json(TryoutReport { status: TryoutStatus::new(&tryout, report), samples }))
}

/// A candidate as `status` shows it.
#[derive(Serialize)]
pub(super) struct TryoutStatus {
    role: &'static str,
    plugin: String,
    version: String,
    digest: String,
    since: String,
    /// A canary's.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<String>,
    /// When a canary is judged for the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Of the records that a shadow saw, those of which it made something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    differing: Option<u64>,
    live: ConductStatus,
    candidate: ConductStatus,
    /// Why it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
}

#[derive(Serialize)]
struct ConductStatus {
    records: u64,
    failures: BTreeMap<&'static str, u64>,
    overruns: u64,
    /// By the clock of whole calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    ns_per_record: Option<u64>,
}

/// A candidate as its own page shows it.
#[derive(Serialize)]
pub(super) struct TryoutReport {
    #[serde(flatten)]
    status: TryoutStatus,
    samples: Vec<SampleStatus>,
}

#[derive(Serialize)]
struct SampleStatus {
    topic: String,
    partition: u32,
    offset: u64,
    key: String,
    live: String,
    candidate: String,
    /// Whether something was too long to be kept in full.
    cut: bool,
}

impl TryoutStatus {
    pub(super) fn of(tryout: &Tryout) -> Self {
        Self::new(tryout, tryout.findings.report())
    }

    fn new(tryout: &Tryout, report: Report) -> Self {
        let description = tryout.plugin.description();
        TryoutStatus {
            role: tryout.role_name(),
            plugin: description.name.clone(),
            version: description.version.clone(),
            digest: tryout.digest.to_string(),
            since: time(tryout.since),
            share: match &tryout.role {
                Role::Canary(share) => Some(share_words(share)),
                Role::Shadow => None,
            },
            until: tryout.until.map(|(_, at)| time(at)),
            differing: (!tryout.is_canary()).then_some(report.differing),
            live: ConductStatus::of(&report.live),
            candidate: ConductStatus::of(&report.candidate),
            ended: report.ended,
        }
    }
}

impl ConductStatus {
    fn of(conduct: &Conduct) -> Self {
        let failures = FailureKind::ALL.iter().map(|kind| (kind.name(), conduct.failures[*kind as usize]));
        let nanoseconds = u64::try_from(conduct.time.as_nanos()).unwrap_or(u64::MAX);
        ConductStatus {
            records: conduct.records,
            failures: failures.filter(|(_, count)| *count > 0).collect(),
            overruns: conduct.overruns,
            ns_per_record: nanoseconds.checked_div(conduct.records),
        }
    }
}

impl SampleStatus {
    fn of(sample: &Sample, names: &[String]) -> Self {
        let describe = |made| Found::of(made, names).describe();
        SampleStatus {
            topic: sample.partition.topic.to_string(),
            partition: sample.partition.number,
            offset: sample.offset,
            key: show_bytes(sample.key.as_deref()),
            live: describe(&sample.live),
            candidate: describe(&sample.candidate),
            cut: sample.is_cut,
        }
    }
}
