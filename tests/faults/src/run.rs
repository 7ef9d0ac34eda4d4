//! A run: load, a fault under load, recovery, an end in good order, and the judgement.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use anyhow::{Context, Result};
use sluicegate_audit::{Invariant, Report};
use sluicegate_tests::build::target_folder;
use sluicegate_tests::client::Client;
use sluicegate_tests::random::Random;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::fault::{Course, End, Fault};
use crate::feed::Feed;
use crate::fleet::Fleet;
use crate::judge::{Evidence, Reading, judge};
use crate::plan::Planned;
use crate::scene::{Journal, Scene};
use crate::setting::{plugins, sinks, source};
use crate::watch::Watch;

/// Partitions of the source.
pub const PARTITIONS: i32 = 6;
/// Partitions of the topics that outputs go to, and of a source that grew.
pub const PARTITIONS_MAX: i32 = 9;
/// How long the lag may take to end once there is no more load.
const DONE_WITHIN: Duration = Duration::from_secs(90);
/// Violations of one run that are shown; its logs have the others.
const SHOWN: usize = 3;
/// Who looks on waits for no broker that is down.
const WATCHER: &[(&str, &str)] = &[("request.timeout.ms", "3000"), ("socket.connection.setup.timeout.ms", "1000")];

/// Where the logs of runs that failed are kept, unless told otherwise.
pub fn logs(seed: u64) -> Result<PathBuf> {
    Ok(target_folder()?.join("faults").join(seed.to_string()))
}

/// What all runs share.
#[derive(Debug)]
pub struct Ground {
    cluster: Cluster,
    writer: Arc<Client>,
    watcher: Arc<Client>,
    cache: TempDir,
    logs: PathBuf,
    runs: usize,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was planned.
    pub planned: Planned,
    /// From the end of the fault until every partition moved again.
    pub recovery: Option<Duration>,
    /// How long all of it took.
    pub took: Duration,
    /// The most memory that a process had, in bytes.
    pub memory: Option<u64>,
    /// The auditor's word.
    pub report: Report,
    /// What must not have happened, in words.
    pub violations: Vec<String>,
}

impl fmt::Display for Outcome {
    /// What was violated, if anything was: the first of it, and how to have it again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.violations.len();
        if count > 0 {
            writeln!(f, "{count} violations with {}", self.planned)?;
        }
        self.violations.iter().take(SHOWN).try_for_each(|violation| writeln!(f, "  {violation}"))
    }
}

impl Ground {
    /// Starts Kafka and its clients. Whatever has to be built or fetched is there afterwards.
    pub fn start(seed: u64, logs: &Path) -> Result<Self> {
        plugins()?;
        let cluster = Cluster::start(seed)?;
        let writer = Arc::new(Client::connect_to(&cluster.direct(), &[])?);
        let watcher = Arc::new(Client::connect_to(&cluster.direct(), WATCHER)?);
        let cache = tempfile::Builder::new().prefix("sluicegate-cache-").tempdir()?;
        Ok(Self { cluster, writer, watcher, cache, logs: logs.to_owned(), runs: 0 })
    }

    /// Makes a fault in a setting. A run that cannot be judged has failed, and says why.
    pub fn run(&mut self, planned: Planned) -> Result<Outcome> {
        self.runs += 1;
        let name = format!("{}-{}", planned.fault.name, self.runs);
        let begin = Instant::now();
        let judged = self.judged(&name, planned).unwrap_or_else(|error| Judged {
            violations: vec![format!("it could not be judged: {error:#}")],
            ..Judged::default()
        });
        if !judged.violations.is_empty() {
            self.cluster.keep(&self.logs.join(&name))?;
        }
        self.clear(&name)?;
        let Judged { recovery, memory, report, violations } = judged;
        Ok(Outcome { planned, recovery, took: begin.elapsed(), memory, report, violations })
    }

    fn judged(&mut self, name: &str, planned: Planned) -> Result<Judged> {
        self.writer.create_topic(&source(name), PARTITIONS, &[])?;
        sinks(name).iter().try_for_each(|topic| self.writer.create_topic(topic, PARTITIONS_MAX, &[]))?;
        let watch = Watch::start(Arc::clone(&self.watcher), name)?;
        let logs = self.logs.join(name);
        let mut scene = self.scene(name, planned, &watch)?;
        let acted = act(&mut scene, planned.fault).unwrap_or_else(|error| {
            scene.journal.complain(&format!("{error:#}"));
            Acted::default()
        });
        scene.fleet.kill_all()?; // None is left where all went well.
        scene.cluster.heal()?;
        scene.feed.end()?;
        watch.committed_now(DONE_WITHIN)?;
        let held = if planned.fault.course == Course::Brokers { Some(scene.held()?) } else { None };
        let evidence = Evidence {
            run: name,
            delivery: planned.setting.delivery,
            inputs: held.as_deref().unwrap_or_else(|| scene.feed.written()),
            gone: &scene.gone,
            samples: &watch.samples(),
            coordinators_move: planned.fault.course == Course::Brokers,
            outputs: [&acted.middle, &Reading::now(scene.client, name)?],
            memory: &acted.memory,
        };
        let report = judge(&evidence)?;
        let violations = violations(&report, planned.fault.end, &scene.journal.complaints);
        if !violations.is_empty() {
            keep(&logs, &scene, &evidence, &violations)?;
        }
        Ok(Judged { recovery: acted.recovery, memory: acted.memory.into_iter().max(), report, violations })
    }

    fn scene<'a>(&'a mut self, name: &'a str, planned: Planned, watch: &'a Watch) -> Result<Scene<'a>> {
        let Planned { fault, setting, seed, .. } = planned;
        let yaml = setting.pipeline(name, &self.cluster.doors(), fault.tuning)?;
        Ok(Scene {
            name,
            setting,
            cluster: &mut self.cluster,
            client: &self.writer,
            fleet: Fleet::new(name, &yaml, self.cache.path())?,
            feed: Feed::start(Arc::clone(&self.writer), &source(name), PARTITIONS, seed)?,
            watch,
            random: Random::new(seed),
            gone: BTreeMap::new(),
            may_fall: None,
            falls: 0,
            journal: Journal::default(),
        })
    }

    /// Leaves the cluster as the next run wants it.
    fn clear(&mut self, run: &str) -> Result<()> {
        self.cluster.heal()?;
        for topic in sinks(run).into_iter().chain([source(run)]) {
            let gone = self.writer.delete_topic(&topic);
            // One that was deleted by its fault is gone already.
            gone.or_else(|error| if format!("{error:#}").contains("UnknownTopic") { Ok(()) } else { Err(error) })?;
        }
        self.cluster.wait_in_sync(&self.writer)
    }
}

#[derive(Debug, Default)]
struct Judged {
    recovery: Option<Duration>,
    memory: Option<u64>,
    report: Report,
    violations: Vec<String>,
}

#[derive(Debug, Default)]
struct Acted {
    recovery: Option<Duration>,
    middle: Reading,
    memory: Vec<u64>,
}

fn act(scene: &mut Scene<'_>, fault: &Fault) -> Result<Acted> {
    for _ in 0..fault.processes {
        scene.start()?;
    }
    scene.wait_for_members(fault.processes).context("before the fault")?;
    scene.wait_for_flow().context("before the fault")?;
    scene.watch.fault_lasts(fault.course != Course::Told);
    (fault.make)(scene).context("the fault")?;
    scene.journal.note("the fault is over");
    if fault.end == End::Refuses {
        return Ok(Acted::default());
    }
    let recovery = Some(scene.wait_for_flow().context("after the fault")?);
    scene.watch.fault_lasts(false);
    scene.journal.note("outputs flow");
    let middle = Reading::now(scene.client, scene.name)?;
    scene.feed.end()?;
    scene.journal.note("no more load");
    scene.client.wait_until_consumed(scene.name, &source(scene.name), DONE_WITHIN)?;
    scene.watch.committed_now(DONE_WITHIN)?;
    scene.journal.note("no more lag");
    scene.mend()?;
    let memory = scene.fleet.memory()?;
    let all = scene.fleet.numbers();
    scene.fleet.stop(&all)?;
    scene.journal.note("all processes ended");
    Ok(Acted { recovery, middle, memory })
}

/// What was complained of, and what the auditor found but for what this end of a fault brings with it.
fn violations(report: &Report, end: End, complaints: &[String]) -> Vec<String> {
    let counts = |invariant| end == End::Recovers || invariant != Invariant::NoLag;
    let found = report.violations().iter().filter(|violation| counts(violation.invariant));
    complaints.iter().cloned().chain(found.map(ToString::to_string)).collect()
}

fn keep(folder: &Path, scene: &Scene<'_>, evidence: &Evidence<'_>, violations: &[String]) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("violations.txt"), violations.join("\n"))?;
    fs::write(folder.join("journal.txt"), scene.journal.lines.join("\n"))?;
    evidence.keep(folder)?;
    scene.fleet.keep(folder)
}
