//! Kafka Streams, from Maven Central.

use std::process::Command;

use anyhow::Result;
use sluicegate_tests::java::{JDK, MAVEN, tool};
use sluicegate_tests::process::output;

use super::{built, sources};
use crate::contender::Task;

pub(crate) fn command(task: &Task<'_>) -> Result<Command> {
    let folder = built("streams", &["pom.xml", "Streams.java", "log4j2.properties"], |folder| {
        let sources = sources("streams");
        for file in ["pom.xml", "log4j2.properties"] {
            std::fs::copy(sources.join(file), folder.join(file))?;
        }
        let mut maven = Command::new("mvn");
        maven.current_dir(folder).args(["-q", "-B", "dependency:copy-dependencies"]);
        output(maven.args(["-DincludeScope=runtime", "-DoutputDirectory=libs"]), MAVEN)?;
        let mut javac = Command::new(tool("javac"));
        javac.args(["--release", "17", "-cp"]).arg(folder.join("libs/*")).arg("-d").arg(folder);
        output(javac.arg(sources.join("Streams.java")), JDK).map(drop)
    })?;
    let mut command = Command::new(tool("java"));
    command.arg("-cp").arg(format!("{}:{}", folder.display(), folder.join("libs/*").display())).arg("Streams");
    command.args([&task.brokers, task.input, task.output, &task.delivery.to_string()]);
    Ok(command)
}
