//! The composition root: the only file that names concrete sources, sinks and transforms.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sluicegate_core::{
    Clock, Error, ErrorKind, Meters, OutputLimits, Sink, Source, Stage, Stop, Transaction, Worker, WorkerSettings,
};
use sluicegate_kafka::{KafkaSinkConfig, KafkaSourceConfig, OnMissingOffset, Patience};
use sluicegate_local::{IdHeader, LocalSink, LocalSource, Log, SinkSettings, SourceSettings};
use sluicegate_wasm::{
    Engine, EngineSettings, Instance, InstanceLimits, InstanceSpec, LoadOptions, Plugin, PluginCounters,
};

use crate::config::{self, Partitioning, Pipeline};
use crate::exit::Exit;
use crate::seat::Seat;

/// A drain that takes longer leaves what is in flight to the next worker: with leaving the group it stays within 10 s.
const DRAIN: Duration = Duration::from_secs(7);
/// The sink's own bound on one record where it has none: the embedded log.
const LOCAL_OUTPUT_BYTES_MAX: usize = 64 << 20;

/// What all pipelines of the process share: one engine, and one handle of each embedded log.
pub struct App {
    engine: Engine,
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
    seat: Seat,
}

/// A stage whose plugin is loaded.
pub struct LoadedStage {
    /// Its name.
    pub name: String,
    /// Its plugin.
    pub plugin: Plugin,
    /// What the plugin itself counts.
    pub counters: Arc<PluginCounters>,
}

/// The four seams but the transform, connected.
struct Seams {
    source: Box<dyn Source>,
    sink: Box<dyn Sink>,
    transaction: Box<dyn Transaction>,
    bytes_per_output: usize,
}

impl App {
    /// Starts the engine. Compiled plugins are kept in the user's cache folder, if there is one.
    ///
    /// # Errors
    /// The machine does not run wasmtime.
    pub fn new() -> Result<Self, Exit> {
        let folders = directories::ProjectDirs::from("", "", "sluicegate");
        let cache_dir = folders.map(|folders| folders.cache_dir().join("compiled"));
        let engine = Engine::new(&EngineSettings { cache_dir }).or_else(|error| {
            tracing::warn!("{error}; plugins are compiled at each start");
            Engine::new(&EngineSettings::default())
        })?;
        Ok(App { engine, logs: Mutex::default() })
    }

    /// Loads a plugin from a file.
    ///
    /// # Errors
    /// What is wrong with it; names the file.
    pub fn plugin(&self, path: &Path, options: &LoadOptions) -> Result<Plugin, Exit> {
        Plugin::open(&self.engine, path, options).map_err(|error| {
            let named = matches!(error, sluicegate_wasm::LoadError::Read { .. });
            let exit = Exit::from(error);
            if named { exit } else { exit.within(&format!("plugin {}", path.display())) }
        })
    }

    /// Loads a pipeline's plugins, checks their digests and configurations. Connects to nothing.
    ///
    /// # Errors
    /// The first plugin or configuration that does not fit, by stage.
    pub fn load(&self, config: Pipeline) -> Result<LoadedPipeline, Exit> {
        let stages = config.stages.iter().map(|stage| {
            self.load_stage(stage)
                .map_err(|exit| exit.within(&format!("pipeline '{}', stage '{}'", config.name, stage.name)))
        });
        let stages: Vec<LoadedStage> = stages.collect::<Result<_, _>>()?;
        let meters = Arc::new(Meters::new(stages.iter().map(|stage| stage.name.as_str())));
        let seat = Seat::take(&config.name);
        let loaded = LoadedPipeline { config, stages, meters, seat };
        // One instance of each, so that a plugin that refuses its configuration is known before anything is connected.
        loaded.transforms(LOCAL_OUTPUT_BYTES_MAX)?;
        Ok(loaded)
    }

    fn load_stage(&self, stage: &config::Stage) -> Result<LoadedStage, Exit> {
        let options = LoadOptions {
            file_size_max: stage.limits.file_size.0,
            allow: stage.allow.clone(),
            ..LoadOptions::default()
        };
        let plugin = self.plugin(&stage.plugin, &options)?;
        if let Some(pinned) = &stage.digest {
            let found = &plugin.artifact().digest;
            if !found.eq_ignore_ascii_case(pinned.hex()) {
                let path = stage.plugin.display();
                return Err(Exit::usage(format!(
                    "plugin {path} has digest sha256:{found}, pinned is sha256:{}",
                    pinned.hex()
                )));
            }
        }
        if let Some(schema) = &plugin.description().config_schema {
            check_config(schema, stage)?;
        }
        Ok(LoadedStage { name: stage.name.clone(), plugin, counters: Arc::default() })
    }

    /// Connects worker number `index` of a pipeline, which `stop` will ask to end. Blocks while brokers answer; call it on
    /// the worker's own thread.
    ///
    /// # Errors
    /// A system cannot be reached, or refuses.
    pub fn worker(&self, pipeline: &LoadedPipeline, index: u32, stop: &Arc<Stop>) -> Result<Worker, Error> {
        let config = &pipeline.config;
        let seams = self.seams(pipeline, index, stop)?;
        let stages = pipeline.transforms(seams.bytes_per_output)?;
        let settings = WorkerSettings {
            pipeline: config.name.clone(),
            delivery: config.delivery.into(),
            commit: config.commit.into(),
            budget: config.budget.bytes(),
            drain: DRAIN,
        };
        let clock = Box::new(SystemClock(Instant::now()));
        let meters = Arc::clone(&pipeline.meters);
        Ok(Worker::new(settings, seams.source, stages, seams.sink, seams.transaction, clock, meters))
    }

    fn seams(&self, pipeline: &LoadedPipeline, index: u32, stop: &Arc<Stop>) -> Result<Seams, Error> {
        let config = &pipeline.config;
        match (&config.source, &config.sink) {
            (config::Source::Kafka(source), config::Sink::Kafka(sink)) => {
                let id = format!("{}-{}-{index}", config.name, pipeline.seat.name());
                kafka(config, source, sink, id, Patience::new(stop, DRAIN))
            }
            (config::Source::Local(source), config::Sink::Local(sink)) => self.local(config, source, sink, index),
            (source, sink) => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "pipeline '{}': a {} source with a {} sink is not supported yet; use the same system for both",
                    config.name,
                    source.kind(),
                    sink.kind()
                ),
            )),
        }
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

    fn local(
        &self,
        config: &Pipeline,
        source: &config::LocalSource,
        sink: &config::LocalSink,
        index: u32,
    ) -> Result<Seams, Error> {
        let log = self.log(&source.path)?;
        let settings = SourceSettings {
            topics: source.topics.clone(),
            group: source.group.clone(),
            start: match source.start {
                config::Start::Earliest => sluicegate_local::Start::Earliest,
                config::Start::Latest => sluicegate_local::Start::Latest,
                config::Start::At(ms) => sluicegate_local::Start::Timestamp(ms),
            },
            worker: index,
            workers: config.workers,
            batch: sluicegate_local::BatchLimits {
                records: config.batch.records as usize,
                bytes: config.batch.bytes.bytes(),
            },
        };
        let local_source = LocalSource::open(&log, &settings)?;
        let sink_log = self.log(&sink.path)?;
        let local_sink = LocalSink::open(
            &sink_log,
            &SinkSettings {
                topic: sink.topic.clone(),
                outputs: sink.outputs.iter().map(|(_, topic)| topic.to_owned()).collect(),
                dead_letter: config.dead_letter.as_ref().map(|dead_letter| dead_letter.topic.clone()),
                partition: match sink.partition {
                    Partitioning::ByKey => sluicegate_local::PartitionBy::Key,
                    Partitioning::Same => sluicegate_local::PartitionBy::Same,
                },
                new_partitions: log.partitions_of(source.topics.iter().map(String::as_str))?,
                id_header: sink.id_header.clone().map(|name| IdHeader { name, pipeline: config.name.clone() }),
            },
        )?;
        // By what the paths lead to: two spellings of one folder are one log.
        let transaction = local_source.transaction((log == sink_log).then_some(&local_sink));
        Ok(Seams {
            source: Box::new(local_source),
            sink: Box::new(local_sink),
            transaction: Box::new(transaction),
            bytes_per_output: LOCAL_OUTPUT_BYTES_MAX,
        })
    }
}

impl LoadedPipeline {
    /// A fresh instance of each stage's plugin.
    fn transforms(&self, bytes_per_output: usize) -> Result<Vec<Stage>, Error> {
        let has_dead_letter = self.config.dead_letter.is_some();
        let outputs = self.config.sink.outputs().names();
        let stages = self.config.stages.iter().zip(&self.stages).map(|(config, loaded)| {
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
                counters: Arc::clone(&loaded.counters),
            };
            let place = format!("pipeline '{}', stage '{}'", self.config.name, config.name);
            let instance = Instance::new(&loaded.plugin, &Arc::new(spec)).map_err(|error| error.within(&place))?;
            let policy = config.on_failure.policy(has_dead_letter);
            let deadline = config.limits.deadline.0;
            let stage = Stage::new(config.name.clone(), Box::new(instance), policy, output, outputs.len(), deadline);
            Ok(stage.with_breaker(config.on_failure.breaker))
        });
        stages.collect()
    }
}

fn kafka(
    config: &Pipeline,
    source: &config::KafkaSource,
    sink: &config::KafkaSink,
    transactional_id: String,
    patience: Patience,
) -> Result<Seams, Error> {
    let properties = |properties: &config::Properties| {
        properties.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>()
    };
    let source = KafkaSourceConfig {
        brokers: source.brokers.clone(),
        topics: source.topics.clone(),
        group: source.group.clone(),
        start: match source.start {
            config::Start::Earliest => sluicegate_kafka::Start::Earliest,
            config::Start::Latest => sluicegate_kafka::Start::Latest,
            config::Start::At(ms) => sluicegate_kafka::Start::Timestamp(ms),
        },
        on_missing_offset: match source.on_missing_offset {
            config::OnMissingOffset::Stop => OnMissingOffset::Stop,
            config::OnMissingOffset::Earliest => OnMissingOffset::Earliest,
            config::OnMissingOffset::Latest => OnMissingOffset::Latest,
        },
        properties: properties(&source.properties),
        batch_records: config.batch.records as usize,
        batch_bytes: config.batch.bytes.bytes(),
        queue_bytes: FETCH_BYTES,
    };
    let sink = KafkaSinkConfig {
        brokers: sink.brokers.clone(),
        topic: sink.topic.clone(),
        outputs: sink.outputs.iter().map(|(name, topic)| (name.to_owned(), topic.to_owned())).collect(),
        dead_letter: config.dead_letter.as_ref().map(|dead_letter| dead_letter.topic.clone()),
        partition: match sink.partition {
            Partitioning::ByKey => sluicegate_kafka::PartitionBy::Key,
            Partitioning::Same => sluicegate_kafka::PartitionBy::Same,
        },
        id_header: sink.id_header.clone(),
        pipeline: config.name.clone(),
        properties: properties(&sink.properties),
        delivery: config.delivery.into(),
        transactional_id,
        queue_bytes: SEND_BYTES,
    };
    let connection = sluicegate_kafka::connect(&source, &sink, patience)?;
    Ok(Seams {
        source: Box::new(connection.source),
        sink: Box::new(connection.sink),
        transaction: Box::new(connection.transaction),
        bytes_per_output: connection.bytes_per_output,
    })
}

/// What librdkafka fetches ahead of each partition. More costs memory and gains nothing that was measured.
const FETCH_BYTES: usize = 1 << 20;
/// What a worker's outputs may take in librdkafka before the source has to wait.
const SEND_BYTES: usize = 4 << 20;

/// Checks a stage's configuration against what its plugin says it takes.
fn check_config(schema: &str, stage: &config::Stage) -> Result<(), Exit> {
    let schema =
        serde_json::from_str(schema).map_err(|error| Exit::usage(format!("its config-schema is not JSON: {error}")))?;
    let validator = jsonschema::validator_for(&schema)
        .map_err(|error| Exit::usage(format!("its config-schema is no schema: {error}")))?;
    let config = serde_json::Value::Object(stage.config.object().clone());
    match validator.iter_errors(&config).next() {
        None => Ok(()),
        // The value itself may be a secret: masked.
        Some(error) => {
            let place = error.instance_path().to_string().replace('/', ".");
            let error = error.masked();
            Err(Exit::usage(format!(
                "config{place} does not fit the plugin: {error}; 'sluicegate inspect' shows what it takes"
            )))
        }
    }
}

/// The machine's clocks.
struct SystemClock(Instant);

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn unix_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
