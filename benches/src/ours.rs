//! How sluicegate itself takes part: with the workload's own plugin, or with one in another language that does the same.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sluicegate_tests::{build, plugins};

use crate::contender::{Setup, Task};
use crate::language::{self, LANGUAGES};
use crate::workload::{INTERPRETER, Workload};

/// What each stage runs.
struct Stage {
    plugin: PathBuf,
    /// YAML in one line.
    config: String,
    /// YAML in one line.
    limits: &'static str,
}

/// With the workload's own plugin.
pub(crate) fn own(task: &Task<'_>) -> Result<Command> {
    let Workload { plugin, config, limits, table, .. } = task.workload;
    if let Some(table) = table {
        std::fs::write(task.folder.join(table.name), (table.text)())?;
    }
    command(task, &Stage { plugin: plugins::plugin(plugin)?, config: (*config).to_owned(), limits })
}

pub(crate) fn c(task: &Task<'_>) -> Result<Command> {
    in_language("c", "{}", task)
}

pub(crate) fn go(task: &Task<'_>) -> Result<Command> {
    in_language("go", "{}", task)
}

pub(crate) fn js(task: &Task<'_>) -> Result<Command> {
    in_language("js", INTERPRETER, task)
}

pub(crate) fn python(task: &Task<'_>) -> Result<Command> {
    in_language("python", INTERPRETER, task)
}

/// With the plugin of `benches/languages` that writes values in capitals.
fn in_language(name: &str, limits: &'static str, task: &Task<'_>) -> Result<Command> {
    let language = LANGUAGES.iter().find(|language| language.name == name).context("a language with an SDK")?;
    command(task, &Stage { plugin: language.component()?, config: language::Task::Rewrite.config(), limits })
}

fn command(task: &Task<'_>, stage: &Stage) -> Result<Command> {
    let mut command = Command::new(build::program()?);
    command.arg("run").env("XDG_STATE_HOME", task.folder);
    for output in task.setup.outputs(task.output) {
        let file = task.folder.join(format!("{output}.yaml"));
        std::fs::write(&file, pipeline(task, &output, stage))?;
        command.arg(file);
    }
    Ok(command)
}

fn pipeline(task: &Task<'_>, output: &str, stage: &Stage) -> String {
    let Task { workload, brokers, input, setup, .. } = task;
    let Setup { delivery, commit, workers, .. } = setup;
    let outputs: Vec<String> = workload.outputs.iter().map(|name| format!("{name}: {output}-{name}")).collect();
    let (outputs, commit, stages) = (outputs.join(", "), commit.as_millis(), stage.times(setup.stages));
    format!(
        "name: {output}\n\
         source: {{ kafka: {{ brokers: '{brokers}', topics: [{input}] }} }}\n\
         sink: {{ kafka: {{ topic: {output}, outputs: {{ {outputs} }}, id-header: false }} }}\n\
         delivery: {delivery}\n\
         commit: {{ interval: {commit}ms }}\n\
         workers: {workers}\n\
         {stages}"
    )
}

impl Stage {
    /// So many of them, one after the other.
    fn times(&self, count: u32) -> String {
        let Stage { plugin, config, limits } = self;
        let (plugin, name) = (plugin.display(), Path::file_stem(plugin).unwrap_or_default().display());
        let stage = |number| {
            format!("  - {{ name: {name}-{number}, plugin: '{plugin}', config: {config}, limits: {limits} }}\n")
        };
        format!("stages:\n{}", (1..=count).map(stage).collect::<String>())
    }
}
