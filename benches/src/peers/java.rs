//! Peers of one class on libraries from Maven Central.

use std::process::Command;

use anyhow::Result;
use sluicegate_tests::java::{JDK, MAVEN, tool};
use sluicegate_tests::process::output;

use super::{arguments, built, sources};
use crate::contender::Task;

/// All that a JVM of this work needs. By default it would take a quarter of the machine's memory before it collects.
const HEAP: &str = "-Xmx512m";

/// Runs the class of the peer's folder, with these options of the JVM beside [`HEAP`].
pub(crate) fn command(peer: &str, class: &str, options: &[&str], task: &Task<'_>) -> Result<Command> {
    let file = format!("{class}.java");
    let folder = built(peer, &["pom.xml", &file, "log4j2.properties"], |folder| {
        let sources = sources(peer);
        for file in ["pom.xml", "log4j2.properties"] {
            std::fs::copy(sources.join(file), folder.join(file))?;
        }
        let mut maven = Command::new("mvn");
        maven.current_dir(folder).args(["-q", "-B", "dependency:copy-dependencies"]);
        output(maven.args(["-DincludeScope=runtime", "-DoutputDirectory=libs"]), MAVEN)?;
        let mut javac = Command::new(tool("javac"));
        javac.args(["--release", "17", "-cp"]).arg(folder.join("libs/*")).arg("-d").arg(folder);
        output(javac.arg(sources.join(file.as_str())), JDK).map(drop)
    })?;
    let mut command = Command::new(tool("java"));
    command.arg(HEAP).args(options).arg("-cp").arg(format!("{}:{}", folder.display(), folder.join("libs/*").display()));
    command.arg(class).args(arguments(task));
    Ok(command)
}
