//! What a pipeline must not say, found without looking at anything but the file.

use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use sluicegate_kafka::Role;
use sluicegate_wasm::FILE_BYTES_MAX;

use super::admin;
use super::endpoint::{Sink, Source};
use super::error::{ConfigError, Text};
use super::pipeline::{Delivery, OnFailure, Pipeline, Stage, Then};
use super::quantity::{Size, Time};
use super::secret::Properties;
use super::topics;
use super::tree::{Node, Path};
use super::trust;
use crate::registry::PluginRef;

const NAME_LENGTH_MAX: usize = 100;
const STAGES_MAX: usize = 64;
const OUTPUTS_MAX: usize = 256;

/// The file that is checked, for the places of errors.
pub(super) struct Checked<'a> {
    pub(super) source: &'a Text,
    pub(super) root: &'a Node,
}

impl Checked<'_> {
    pub(super) fn error(&self, path: Path<'_>, message: impl Into<String>) -> ConfigError {
        self.source.error(Some(self.root.place_of(path)), message)
    }

    fn refuse<T>(&self, path: Path<'_>, message: impl Into<String>) -> Result<T, ConfigError> {
        Err(self.error(path, message))
    }

    /// Names appear in metrics, files and topics: letters that are safe in all of them.
    fn name(&self, path: Path<'_>, what: &str, name: &str) -> Result<(), ConfigError> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        // Folders and files are called by it: '..' would be another's.
        if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.chars().all(legal) || name.starts_with('.') {
            let rule = format!(
                "1 to {NAME_LENGTH_MAX} characters of a-z, 0-9, '-', '_' and '.', of which '.' is not the first"
            );
            return self.refuse(path, format!("{what} '{name}' is no name: {rule}"));
        }
        Ok(())
    }

    fn size(&self, path: Path<'_>, size: Size, least: Size, most: Size) -> Result<(), ConfigError> {
        let key = path.last().unwrap_or(&"");
        match size {
            size if size < least => self.refuse(path, format!("{key} is {size}; the least is {least}")),
            size if size > most => self.refuse(path, format!("{key} is {size}; the most is {most}")),
            _ => Ok(()),
        }
    }

    fn time(&self, path: Path<'_>, time: Time, least: Time, most: Time) -> Result<(), ConfigError> {
        let key = path.last().unwrap_or(&"");
        match time {
            time if time < least => self.refuse(path, format!("{key} is {time}; the least is {least}")),
            time if time > most => self.refuse(path, format!("{key} is {time}; the most is {most}")),
            _ => Ok(()),
        }
    }

    fn count(&self, path: Path<'_>, count: u64, least: u64, most: u64) -> Result<(), ConfigError> {
        let key = path.last().unwrap_or(&"");
        match count {
            count if count < least => self.refuse(path, format!("{key} is {count}; the least is {least}")),
            count if count > most => self.refuse(path, format!("{key} is {count}; the most is {most}")),
            _ => Ok(()),
        }
    }

    fn says(&self, path: Path<'_>) -> bool {
        self.root.get(path).is_some()
    }
}

/// Checks everything that the types do not.
pub(super) fn check(pipeline: &Pipeline, file: &Checked<'_>) -> Result<(), ConfigError> {
    file.name(&["name"], "the pipeline's name", &pipeline.name)?;
    check_endpoints(pipeline, file)?;
    check_stages(pipeline, file)?;
    topics::check(pipeline, file)?;
    admin::check(pipeline, file)?;
    trust::check(pipeline, file)?;
    check_delivery(pipeline, file)?;
    check_numbers(pipeline, file)
}

fn check_endpoints(pipeline: &Pipeline, file: &Checked<'_>) -> Result<(), ConfigError> {
    let source = pipeline.source.kind();
    if pipeline.source.group().is_empty() || pipeline.source.group().len() > 249 {
        return file.refuse(&["source", source, "group"], "a group's name has 1 to 249 bytes");
    }
    if let Source::Kafka(kafka) = &pipeline.source {
        check_brokers(&kafka.brokers, &["source", "kafka", "brokers"], file)?;
        let role = Role::Source(pipeline.delivery.into());
        check_properties(&kafka.properties, role, &["source", "kafka", "properties"], file)?;
    }
    if let Sink::Kafka(kafka) = &pipeline.sink {
        if kafka.brokers.is_empty() && !file.says(&["sink", "kafka", "brokers"]) {
            return file.refuse(&["sink", "kafka"], "'kafka' needs the key 'brokers', as the source is not Kafka");
        }
        check_brokers(&kafka.brokers, &["sink", "kafka", "brokers"], file)?;
        let role = Role::Sink(pipeline.delivery.into());
        check_properties(&kafka.properties, role, &["sink", "kafka", "properties"], file)?;
    }
    let sink = pipeline.sink.kind();
    check_id_header(pipeline.sink.id_header(), &["sink", sink, "id-header"], file)?;
    file.count(&["sink", sink, "outputs"], pipeline.sink.outputs().len() as u64, 0, OUTPUTS_MAX as u64)?;
    for (name, _) in pipeline.sink.outputs().iter() {
        let path = ["sink", sink, "outputs", name];
        file.name(&path, "the output's name", name)?;
        if ["default", "dead-letter"].contains(&name) {
            return file
                .refuse(&path, format!("an output cannot be called '{name}': every pipeline has one of that name"));
        }
    }
    Ok(())
}

fn check_id_header(name: Option<&str>, path: Path<'_>, file: &Checked<'_>) -> Result<(), ConfigError> {
    let meant_as_none =
        |name: &str| ["", "none", "off", "no", "null", "false"].contains(&name.to_ascii_lowercase().as_str());
    match name.filter(|name| meant_as_none(name)) {
        Some(name) => Err(file
            .error(path, format!("'{name}' would be the header's name"))
            .with_hint("write 'id-header: false' for no id")),
        None => Ok(()),
    }
}

fn check_brokers(brokers: &str, path: Path<'_>, file: &Checked<'_>) -> Result<(), ConfigError> {
    if brokers.split(',').any(|broker| broker.is_empty() || broker.contains(char::is_whitespace)) {
        return file.refuse(path, "expected host:port of one or more brokers, such as localhost:9092");
    }
    Ok(())
}

fn check_properties(
    properties: &Properties,
    role: Role,
    path: Path<'_>,
    file: &Checked<'_>,
) -> Result<(), ConfigError> {
    sluicegate_kafka::check(role, &properties.to_map()).map_err(|refusal| {
        let path: Vec<&str> = path.iter().copied().chain([refusal.key.as_str()]).collect();
        file.error(&path, refusal.to_string())
    })
}

fn check_stages(pipeline: &Pipeline, file: &Checked<'_>) -> Result<(), ConfigError> {
    file.count(&["stages"], pipeline.stages.len() as u64, 0, STAGES_MAX as u64)?;
    for (index, stage) in pipeline.stages.iter().enumerate() {
        let index_text = index.to_string();
        let at = ["stages", index_text.as_str()];
        check_plain_http(stage, &at, file)?;
        let named = if file.says(&[&at[..], &["name"]].concat()) { "name" } else { "plugin" };
        let name_path = [&at[..], &[named]].concat();
        file.name(&name_path, "the stage's name", &stage.name)?;
        if pipeline.stages[..index].iter().any(|other| other.name == stage.name) {
            let name = &stage.name;
            return file.refuse(&name_path, format!("two stages are called '{name}'; give one of them another 'name'"));
        }
        let interval = [&at[..], &["reload-interval"]].concat();
        file.time(&interval, stage.reload_interval, Time::ms(1000), Time::ms(86_400_000))?;
        check_limits(stage, &at, file)?;
        check_on_failure(&stage.on_failure, pipeline.dead_letter.is_some(), &at, file)?;
    }
    Ok(())
}

fn check_plain_http(stage: &Stage, at: Path<'_>, file: &Checked<'_>) -> Result<(), ConfigError> {
    match &stage.plugin {
        PluginRef::File(_) | PluginRef::Https(_) if stage.plain_http => {
            file.refuse(&[at, &["plain-http"]].concat(), "'plain-http' is for oci:// only; leave it out")
        }
        _ => Ok(()),
    }
}

fn check_limits(stage: &Stage, at: Path<'_>, file: &Checked<'_>) -> Result<(), ConfigError> {
    let limits = &stage.limits;
    let path = |key| [at, &["limits", key]].concat();
    file.size(&path("memory"), limits.memory, Size::mib(1), Size::mib(4096))?;
    file.time(&path("deadline"), limits.deadline, Time::ms(1), Time::ms(60_000))?;
    file.count(&path("outputs-per-record"), limits.outputs_per_record.into(), 1, 1_000_000)?;
    file.size(&path("output-bytes-per-record"), limits.output_bytes_per_record, Size(1), Size::mib(1024))?;
    file.size(&path("file-size"), limits.file_size, Size(1), Size(FILE_BYTES_MAX))?;
    file.time(&path("compile-time"), limits.compile_time, Time::ms(1000), Time::ms(600_000))
}

fn check_on_failure(
    on_failure: &OnFailure,
    has_dead_letter: bool,
    at: Path<'_>,
    file: &Checked<'_>,
) -> Result<(), ConfigError> {
    file.count(&[at, &["on-failure", "breaker"]].concat(), on_failure.breaker.into(), 1, u32::MAX.into())?;
    let rule = (Some(on_failure.retries), Some(on_failure.backoff), on_failure.then);
    check_rule(rule, has_dead_letter, &[at, &["on-failure"]].concat(), file)?;
    for (kind, exception) in on_failure.kinds.iter() {
        let at = [at, &["on-failure", "kinds", kind.name()]].concat();
        if kind == sluicegate_core::FailureKind::Rejected && exception.retries.is_some_and(|retries| retries > 0) {
            let message = "a rejection is the plugin's own answer and is never tried again; leave 'retries' out";
            return file.refuse(&[&at[..], &["retries"]].concat(), message);
        }
        check_rule((exception.retries, exception.backoff, exception.then), has_dead_letter, &at, file)?;
    }
    Ok(())
}

fn check_rule(
    (retries, backoff, then): (Option<u32>, Option<Time>, Option<Then>),
    has_dead_letter: bool,
    at: Path<'_>,
    file: &Checked<'_>,
) -> Result<(), ConfigError> {
    let path = |key| [at, &[key]].concat();
    file.count(&path("retries"), retries.unwrap_or(0).into(), 0, 1000)?;
    file.time(&path("backoff"), backoff.unwrap_or(Time::ms(0)), Time::ms(0), Time::ms(60_000))?;
    if then == Some(Then::DeadLetter) && !has_dead_letter {
        let error = file.error(&path("then"), "'then: dead-letter' needs a dead-letter topic");
        return Err(error.with_hint("add 'dead-letter: { topic: … }' to the pipeline, or choose skip or stop"));
    }
    Ok(())
}

fn check_delivery(pipeline: &Pipeline, file: &Checked<'_>) -> Result<(), ConfigError> {
    if pipeline.delivery == Delivery::AtLeastOnce {
        return Ok(());
    }
    if one_system(&pipeline.source, &pipeline.sink) {
        return check_deadlines(pipeline, file);
    }
    let path: Path<'_> = if file.says(&["delivery"]) { &["delivery"] } else { &["sink"] };
    let (source, sink) = match (&pipeline.source, &pipeline.sink) {
        (Source::Kafka(source), Sink::Kafka(sink)) => {
            (format!("Kafka at {}", source.brokers), format!("Kafka at {}", sink.brokers))
        }
        (Source::Local(source), Sink::Local(sink)) => {
            (format!("the log in {}", source.path.display()), format!("the log in {}", sink.path.display()))
        }
        (source, sink) => (system_name(source.kind()).into(), system_name(sink.kind()).into()),
    };
    let reason = format!("exactly-once needs source and sink in one system; the source is {source}, the sink {sink}");
    let hint = format!(
        "set 'delivery: at-least-once'; each output then carries a stable id by which consumers can tell repeats, in the \
         header that 'sink.{}.id-header' names",
        pipeline.sink.kind()
    );
    Err(file.error(path, reason).with_hint(hint))
}

/// A transaction is open while a plugin runs: one that may take longer than the coordinator waits would be aborted, and run
/// again, for ever.
fn check_deadlines(pipeline: &Pipeline, file: &Checked<'_>) -> Result<(), ConfigError> {
    let Sink::Kafka(kafka) = &pipeline.sink else { return Ok(()) };
    let timeout = sluicegate_kafka::transaction_timeout(&kafka.properties.to_map());
    for (index, stage) in pipeline.stages.iter().enumerate() {
        let deadline = stage.limits.deadline;
        if deadline.0 > timeout / 2 {
            let index = index.to_string();
            let most = Time(timeout / 2);
            let message =
                format!("deadline is {deadline}; exactly once, the most is half of transaction.timeout.ms: {most}");
            let hint = "set a shorter deadline, or a larger transaction.timeout.ms in 'sink.kafka.properties'";
            return Err(file.error(&["stages", &index, "limits", "deadline"], message).with_hint(hint));
        }
    }
    Ok(())
}

fn system_name(kind: &str) -> &str {
    if kind == "kafka" { "Kafka" } else { "the embedded log" }
}

/// Whether one transaction can span both.
pub(super) fn one_system(source: &Source, sink: &Sink) -> bool {
    let sorted = |brokers: &str| {
        let mut brokers: Vec<String> = brokers.split(',').map(str::to_ascii_lowercase).collect();
        brokers.sort_unstable();
        brokers.dedup();
        brokers
    };
    match (source, sink) {
        (Source::Kafka(source), Sink::Kafka(sink)) => sorted(&source.brokers) == sorted(&sink.brokers),
        (Source::Local(source), Sink::Local(sink)) => plain(&source.path) == plain(&sink.path),
        _ => false,
    }
}

/// The path without `.` and `..`, as far as that can be told without looking at the file system.
fn plain(path: &FilePath) -> PathBuf {
    use std::path::Component;
    path.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            other => plain.push(other),
        }
        plain
    })
}

fn check_numbers(pipeline: &Pipeline, file: &Checked<'_>) -> Result<(), ConfigError> {
    let commit = &pipeline.commit;
    file.time(&["commit", "interval"], commit.interval, Time::ms(1), Time(Duration::from_secs(30)))?;
    file.count(&["commit", "records"], commit.records.unwrap_or(1), 1, u64::MAX)?;
    file.size(&["commit", "bytes"], commit.bytes.unwrap_or(Size(1)), Size(1), Size(u64::MAX))?;
    file.count(&["batch", "records"], pipeline.batch.records.into(), 1, 65_536)?;
    file.size(&["batch", "bytes"], pipeline.batch.bytes, Size::kib(1), Size::mib(256))?;
    file.size(&["budget"], pipeline.budget, Size::mib(1), Size(u64::MAX))?;
    if pipeline.batch.bytes > pipeline.budget {
        let (batch, budget) = (pipeline.batch.bytes, pipeline.budget);
        return file.refuse(&["batch", "bytes"], format!("a batch of {batch} does not fit the budget of {budget}"));
    }
    file.count(&["workers"], pipeline.workers.into(), 1, 256)
}
