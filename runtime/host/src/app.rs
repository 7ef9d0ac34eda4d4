//! The composition root: only here, and in the folder of this name, are sources, sinks and transforms named.

mod candidates;
mod dead_letters;
mod engine;
mod plugins;
mod schema;
mod seams;
mod versions;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use sluicegate_core::{
    Clock, Delivery, Error, Meters, OutputLimits, Role, Seams, SinkLimits, Stage, Stop, Worker, WorkerSettings,
};
use sluicegate_kafka::Patience;
use sluicegate_local::Log;
use sluicegate_wasm::{
    Allow, Engine, Instance, InstanceLimits, InstanceSpec, LogWindow, Plugin, PluginCounters, Topics,
};

pub(crate) use candidates::Tryout;
pub(crate) use dead_letters::{Outlet, dead_letter_topic};
pub(crate) use seams::Connected;
pub(crate) use sluicegate_kafka::Silence;
pub(crate) use versions::Swapped;

use crate::config::{self, Pipeline};
use crate::exit::Exit;
use crate::journal::Journal;
use crate::registry::Registry;
use crate::seat::Seat;
pub(crate) use plugins::load_options;
use plugins::refuse;
use seams::LOCAL_LIMITS;
use versions::{Version, Versions};

/// A drain that takes longer leaves what is in flight to the next worker: with leaving the group it stays within 10 s.
const DRAIN: Duration = Duration::from_secs(7);

/// The hidden command by which the program has itself compile a plugin in a process of its own.
pub const COMPILE: &str = "compile-plugin";

/// What all pipelines of the process share: one engine, and one handle of each embedded log.
pub struct App {
    engine: Engine,
    /// Where its plugins are compiled to, if that is no folder that stays; goes with it.
    _compiled: Option<engine::TemporaryFolder>,
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
    /// What was changed while it ran; also by those that it succeeds.
    pub(crate) journal: Arc<Journal>,
    /// Puts itself between the workers and their seams; none but while somebody looks on.
    pub(crate) onlooker: Option<Onlooker>,
    versions: Versions,
    /// Taken by the first worker: whoever only looks takes nobody's.
    seat: Arc<OnceLock<Seat>>,
}

/// Called with a worker's seams, on its thread, for those that it is to have.
pub(crate) type Onlooker = Box<dyn Fn(Seams) -> Seams + Send + Sync>;

/// A stage whose plugin is loaded.
pub struct LoadedStage {
    /// Its name.
    pub name: String,
    /// What the plugin itself counts, in whichever version.
    pub counters: Arc<PluginCounters>,
    /// What its lines in the log are limited by.
    log: Arc<LogWindow>,
}

impl App {
    /// Starts the engine. What plugins are compiled to, and those that were fetched, are kept in the user's cache folder,
    /// if there is one that can be used.
    ///
    /// # Errors
    /// The machine does not run wasmtime.
    pub fn new() -> Result<Self, Exit> {
        let folders = directories::ProjectDirs::from("", "", "sluicegate");
        let cache = |name| folders.as_ref().map(|folders| folders.cache_dir().join(name));
        let (engine, compiled) = engine::start(cache("compiled").as_deref(), &std::env::temp_dir())?;
        Ok(App { engine, _compiled: compiled, registry: Registry::new(cache("plugins")), logs: Mutex::default() })
    }

    /// Loads a pipeline's plugins, checks their digests, signatures and configurations. Connects to no broker.
    ///
    /// # Errors
    /// The first plugin or configuration that does not fit, and where the file names it.
    pub fn load(&self, config: Pipeline) -> Result<LoadedPipeline, Exit> {
        self.load_with(Arc::default(), config)
    }

    /// The same, and the pipeline goes on with this journal, which keeps the plugins: once others have taken their places,
    /// nobody else may have them any more.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn load_with(&self, journal: Arc<Journal>, config: Pipeline) -> Result<LoadedPipeline, Exit> {
        let load = |stage: &config::Stage| self.load_stage(&config, stage, &journal);
        let plugins: Vec<Plugin> = config.stages.iter().map(load).collect::<Result<_, _>>()?;
        let stage = |stage: &config::Stage| LoadedStage {
            name: stage.name.clone(),
            counters: Arc::default(),
            log: Arc::default(),
        };
        let stages: Vec<LoadedStage> = config.stages.iter().map(stage).collect();
        let meters = Arc::new(Meters::new(stages.iter().map(|stage| stage.name.as_str())));
        let (versions, onlooker, seat) = (Versions::new(plugins), None, Arc::default());
        let loaded = LoadedPipeline { config, stages, meters, journal, onlooker, versions, seat };
        // One instance of each, so that a plugin that refuses its configuration is known before anything is connected.
        for (index, stage) in loaded.config.stages.iter().enumerate() {
            let started = loaded.instance(index, &loaded.version(index).plugin, LOCAL_LIMITS, None);
            started.map_err(|error| refuse(stage, &["config"], error.message))?;
        }
        Ok(loaded)
    }

    /// Connects worker number `index` of a pipeline, which `stop` will ask to end. Blocks while brokers answer; call it on
    /// the worker's own thread.
    ///
    /// # Errors
    /// A system cannot be reached, or refuses.
    pub(crate) fn connect(&self, pipeline: &LoadedPipeline, index: u32, stop: &Arc<Stop>) -> Result<Connected, Error> {
        let seat = pipeline.seat.get_or_init(|| Seat::take(&pipeline.config.name));
        let connected = Connected::connect(self, &pipeline.config, seat.name(), index, Patience::new(stop, DRAIN))?;
        Ok(match &pipeline.onlooker {
            Some(look_on) => Connected { seams: look_on(connected.seams), ..connected },
            None => connected,
        })
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
    /// Counts as the same process to the broker as another, which ends: whatever that leaves open is ended at once.
    pub(crate) fn take_seat_of(&mut self, before: &LoadedPipeline) {
        self.seat = Arc::clone(&before.seat);
    }

    /// A worker over these seams, with fresh instances of the plugins.
    pub(crate) fn worker(&self, connected: Connected, delivery: Delivery) -> Result<Worker, Error> {
        let Connected { seams, limits, .. } = connected;
        let config = &self.config;
        let (inbox, versions, tryout) = self.versions.enlist(limits);
        let mut stages = self.transforms(&versions, limits)?;
        if let Some(tryout) = tryout {
            self.join_tryout(&tryout, &mut stages, limits);
        }
        let settings = WorkerSettings {
            pipeline: config.name.clone(),
            delivery,
            commit: config.commit.into(),
            budget: config.budget.bytes(),
            drain: DRAIN,
        };
        let (clock, meters) = (Box::new(SystemClock(Instant::now())), Arc::clone(&self.meters));
        let worker = Worker::new(settings, seams, stages, clock, meters).with_inbox(inbox);
        Ok(if config.sink.plugin_header() { worker.with_plugin_header() } else { worker })
    }

    /// The stages, with fresh instances of these versions.
    fn transforms(&self, versions: &[Version], sink: SinkLimits) -> Result<Vec<Stage>, Error> {
        let stages = versions.iter().zip(&self.config.stages).enumerate().map(|(index, (version, config))| {
            let instance = self
                .instance(index, &version.plugin, sink, None)
                .map_err(|error| error.within(&format!("pipeline '{}', stage '{}'", self.config.name, config.name)))?;
            let policy = config.on_failure.policy(self.config.dead_letter.is_some());
            let (outputs, deadline) = (self.config.sink.outputs().names().len(), config.limits.deadline.0);
            let limits = output_limits(config, sink);
            let stage = Stage::new(config.name.clone(), Box::new(instance), policy, limits, outputs, deadline);
            Ok(stage.with_breaker(config.on_failure.breaker).with_version(version.number, version.is_on_trial()))
        });
        stages.collect()
    }

    /// A fresh instance of a plugin for one stage: as the stage's own, or as a candidate in this role.
    fn instance(&self, index: usize, plugin: &Plugin, sink: SinkLimits, role: Option<Role>) -> Result<Instance, Error> {
        let (config, loaded) = (&self.config.stages[index], &self.stages[index]);
        let output = output_limits(config, sink);
        let spec = InstanceSpec {
            pipeline: self.config.name.clone(),
            stage: config.name.clone(),
            config: config.config.to_json(),
            outputs: self.config.sink.outputs().names(),
            topics: topics(&self.config),
            limits: InstanceLimits {
                memory_bytes: config.limits.memory.bytes(),
                deadline: config.limits.deadline.0,
                output,
                ..InstanceLimits::default()
            },
            allow: Allow::of(config.allow.iter().map(|capability| (*capability).into())),
            // What a shadow counts is of no record that went on.
            counters: if role == Some(Role::Shadow) { Arc::default() } else { Arc::clone(&loaded.counters) },
            // A candidate that says much does not silence the stage's own plugin.
            log: if role.is_some() { Arc::default() } else { Arc::clone(&loaded.log) },
            role: role.map(candidates::name),
        };
        Instance::new(plugin, &Arc::new(spec))
    }
}

fn topics(pipeline: &Pipeline) -> Topics {
    let input = match pipeline.source.topics() {
        // A regular expression may mean many.
        [topic] if !topic.starts_with('^') => Some(topic.clone()),
        _ => None,
    };
    Topics { input, output: Some(pipeline.sink.topic().to_owned()) }
}

fn output_limits(stage: &config::Stage, sink: SinkLimits) -> OutputLimits {
    OutputLimits {
        outputs_per_record: stage.limits.outputs_per_record,
        bytes_per_record: stage.limits.output_bytes_per_record.bytes(),
        sink,
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
