//! The composition root: only here, and in the folder of this name, are sources, sinks and transforms named.

mod dead_letters;
mod plugins;
mod seams;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use sluicegate_core::{Clock, Delivery, Error, Meters, OutputLimits, Stage, Stop, Worker, WorkerSettings};
use sluicegate_kafka::Patience;
use sluicegate_local::Log;
use sluicegate_wasm::{
    Allow, CompilerProgram, Engine, EngineSettings, Instance, InstanceLimits, InstanceSpec, Plugin, PluginCounters,
};

pub(crate) use dead_letters::{Outlet, dead_letter_topic};
pub(crate) use seams::Seams;

use crate::config::{self, Pipeline};
use crate::exit::Exit;
use crate::registry::Registry;
use crate::seat::Seat;
use plugins::refuse;
use seams::LOCAL_OUTPUT_BYTES_MAX;

/// A drain that takes longer leaves what is in flight to the next worker: with leaving the group it stays within 10 s.
const DRAIN: Duration = Duration::from_secs(7);

/// The hidden command by which the program has itself compile a plugin in a process of its own.
pub const COMPILE: &str = "compile-plugin";

/// What all pipelines of the process share: one engine, and one handle of each embedded log.
pub struct App {
    engine: Engine,
    registry: Registry,
    logs: Mutex<BTreeMap<PathBuf, Log>>,
}

/// A pipeline whose plugins are loaded, and from which workers are made.
pub struct LoadedPipeline {
    /// Its configuration.
    pub config: Pipeline,
    /// Its stages, in order.
    pub stages: Vec<LoadedStage>,
    /// Its counters.
    pub meters: Arc<Meters>,
    /// Taken by the first worker: whoever only looks takes nobody's.
    seat: OnceLock<Seat>,
}

/// A stage whose plugin is loaded.
pub struct LoadedStage {
    /// Its name.
    pub name: String,
    /// Its plugin.
    pub plugin: Plugin,
    /// The digest of the manifest that led to it, where it was looked up in an OCI registry.
    pub manifest: Option<config::Digest>,
    /// What the plugin itself counts.
    pub counters: Arc<PluginCounters>,
}

impl App {
    /// Starts the engine. What plugins are compiled to, and those that were fetched, are kept in the user's cache folder,
    /// if there is one.
    ///
    /// # Errors
    /// The machine does not run wasmtime.
    pub fn new() -> Result<Self, Exit> {
        let folders = directories::ProjectDirs::from("", "", "sluicegate");
        let cache = |name| folders.as_ref().map(|folders| folders.cache_dir().join(name));
        let cache_dir = cache("compiled");
        let compiler = cache_dir.as_ref().and_then(|cache_dir| {
            let arguments = vec![COMPILE.into(), cache_dir.into()];
            Some(CompilerProgram { program: std::env::current_exe().ok()?, arguments })
        });
        let engine = Engine::new(&EngineSettings { cache_dir, compiler }).or_else(|error| {
            tracing::warn!("{error}; plugins are compiled at each start");
            Engine::new(&EngineSettings::default())
        })?;
        Ok(App { engine, registry: Registry::new(cache("plugins")), logs: Mutex::default() })
    }

    /// Loads a pipeline's plugins, checks their digests, signatures and configurations. Connects to no broker.
    ///
    /// # Errors
    /// The first plugin or configuration that does not fit, and where the file names it.
    pub fn load(&self, config: Pipeline) -> Result<LoadedPipeline, Exit> {
        let stages: Vec<LoadedStage> =
            config.stages.iter().map(|stage| self.load_stage(&config, stage)).collect::<Result<_, _>>()?;
        let meters = Arc::new(Meters::new(stages.iter().map(|stage| stage.name.as_str())));
        let loaded = LoadedPipeline { config, stages, meters, seat: OnceLock::new() };
        // One instance of each, so that a plugin that refuses its configuration is known before anything is connected.
        for (index, stage) in loaded.config.stages.iter().enumerate() {
            let started = loaded.transform(index, LOCAL_OUTPUT_BYTES_MAX);
            started.map_err(|error| refuse(stage, &["config"], error.message))?;
        }
        Ok(loaded)
    }

    /// Connects worker number `index` of a pipeline, which `stop` will ask to end. Blocks while brokers answer; call it on
    /// the worker's own thread.
    ///
    /// # Errors
    /// A system cannot be reached, or refuses.
    pub fn worker(&self, pipeline: &LoadedPipeline, index: u32, stop: &Arc<Stop>) -> Result<Worker, Error> {
        let seat = pipeline.seat.get_or_init(|| Seat::take(&pipeline.config.name));
        let seams = Seams::connect(self, &pipeline.config, seat.name(), index, Patience::new(stop, DRAIN))?;
        pipeline.worker(seams, pipeline.config.delivery.into())
    }

    /// The embedded log in this folder, opened once a process.
    ///
    /// # Errors
    /// Another process has it open, or it is damaged.
    pub fn log(&self, path: &Path) -> Result<Log, Error> {
        let mut logs = self.logs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(log) = logs.get(path) {
            return Ok(log.clone());
        }
        let log = Log::open(path)?;
        logs.insert(path.to_owned(), log.clone());
        Ok(log)
    }
}

impl LoadedPipeline {
    /// A worker over these seams, with fresh instances of the plugins.
    pub(crate) fn worker(&self, seams: Seams, delivery: Delivery) -> Result<Worker, Error> {
        let config = &self.config;
        let stages = self.transforms(seams.bytes_per_output)?;
        let settings = WorkerSettings {
            pipeline: config.name.clone(),
            delivery,
            commit: config.commit.into(),
            budget: config.budget.bytes(),
            drain: DRAIN,
        };
        let (clock, meters) = (Box::new(SystemClock(Instant::now())), Arc::clone(&self.meters));
        Ok(Worker::new(settings, seams.source, stages, seams.sink, seams.transaction, clock, meters))
    }

    /// A fresh instance of each stage's plugin.
    fn transforms(&self, bytes_per_output: usize) -> Result<Vec<Stage>, Error> {
        let named = |index: usize, error: Error| {
            error.within(&format!("pipeline '{}', stage '{}'", self.config.name, self.config.stages[index].name))
        };
        let start = |index| self.transform(index, bytes_per_output).map_err(|error| named(index, error));
        (0..self.stages.len()).map(start).collect()
    }

    /// A fresh instance of one stage's plugin.
    fn transform(&self, index: usize, bytes_per_output: usize) -> Result<Stage, Error> {
        let (config, loaded) = (&self.config.stages[index], &self.stages[index]);
        let outputs = self.config.sink.outputs().names();
        let output = OutputLimits {
            outputs_per_record: config.limits.outputs_per_record,
            bytes_per_record: config.limits.output_bytes_per_record.bytes(),
            bytes_per_output,
        };
        let spec = InstanceSpec {
            pipeline: self.config.name.clone(),
            stage: config.name.clone(),
            config: config.config.to_json(),
            outputs: outputs.clone(),
            limits: InstanceLimits {
                memory_bytes: config.limits.memory.bytes(),
                deadline: config.limits.deadline.0,
                output,
                ..InstanceLimits::default()
            },
            allow: Allow::of(config.allow.iter().map(|capability| (*capability).into())),
            counters: Arc::clone(&loaded.counters),
        };
        let instance = Instance::new(&loaded.plugin, &Arc::new(spec))?;
        let policy = config.on_failure.policy(self.config.dead_letter.is_some());
        let deadline = config.limits.deadline.0;
        let stage = Stage::new(config.name.clone(), Box::new(instance), policy, output, outputs.len(), deadline);
        Ok(stage.with_breaker(config.on_failure.breaker))
    }
}

/// The machine's clocks.
struct SystemClock(Instant);

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn unix_ms(&self) -> i64 {
        config::unix_ms(SystemTime::now()).unwrap_or(0)
    }
}
