//! Apache Flink in one process, from Maven Central.

use std::process::Command;

use anyhow::Result;

use super::java;
use crate::contender::Task;

/// What its start script asks of a JVM of version 17 or later, for its serializers.
const OPENS: [&str; 2] = ["--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED"];

pub(crate) fn command(task: &Task<'_>) -> Result<Command> {
    java::command("flink", "Flink", &OPENS, task)
}
