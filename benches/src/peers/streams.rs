//! Kafka Streams, from Maven Central.

use std::process::Command;

use anyhow::Result;

use super::java;
use crate::contender::Task;

pub(crate) fn command(task: &Task<'_>) -> Result<Command> {
    java::command("streams", "Streams", &[], task)
}
