//! The JVMs of the harness: Kafka's jars from Maven Central, and the classes of `tests/java`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::project;
use crate::cache;
use crate::process::output;

/// The version of Apache Kafka: the broker's and its clients'.
pub const KAFKA_VERSION: &str = "4.4.0";

/// What fetches jars, and how to get it.
pub const MAVEN: &str = "Maven 3.6 or newer, which fetches Apache Kafka (Debian: apt-get install maven)";
/// What runs and compiles Java, and how to get it.
pub const JDK: &str = "a JDK, 17 or newer (Debian: apt-get install openjdk-17-jdk-headless)";

/// `java` with Kafka's jars and the classes of `tests/java` on its path, ready for a class's name
/// and arguments. Whatever is missing is fetched or compiled first.
pub fn java(options: &[&str]) -> Result<Command> {
    let libs = libs()?;
    let classes = classes(&libs)?;
    output(Command::new(tool("java")).arg("-version"), JDK)?;
    let mut command = Command::new(tool("java"));
    command.args(options).arg("-cp").arg(class_path(&classes, &libs));
    Ok(command)
}

fn class_path(classes: &Path, libs: &Path) -> OsString {
    let mut path = classes.as_os_str().to_owned();
    path.push(":");
    path.push(libs.join("*"));
    path
}

/// A tool of the JDK at `JAVA_HOME`, or else of the one on the path.
pub fn tool(name: &str) -> PathBuf {
    let home = env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
    let tool = home.map(|home| Path::new(&home).join("bin").join(name));
    tool.filter(|tool| tool.exists()).unwrap_or_else(|| name.into())
}

fn libs() -> Result<PathBuf> {
    let kafka = cache::once(&format!("kafka-{KAFKA_VERSION}"), |folder| {
        fs::write(folder.join("pom.xml"), pom())?;
        let mut maven = Command::new("mvn");
        maven.current_dir(folder).args(["-q", "-B", "dependency:copy-dependencies"]);
        maven.args(["-DincludeScope=runtime", "-DoutputDirectory=libs"]);
        output(&mut maven, MAVEN).map(drop)
    })?;
    Ok(kafka.join("libs"))
}

fn pom() -> String {
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
  </dependencies>
</project>
"#
    )
}

/// The compiled classes, in a folder of the cache that the sources' hash names.
fn classes(libs: &Path) -> Result<PathBuf> {
    let sources = project().join("tests/java");
    let files = files(&sources)?;
    cache::once_for(&format!("java-{KAFKA_VERSION}"), &files, |folder| {
        let mut javac = Command::new(tool("javac"));
        javac.args(["--release", "17", "-proc:none", "-cp"]).arg(libs.join("*"));
        javac.arg("-d").arg(folder);
        let is_java = |file: &&PathBuf| file.extension().is_some_and(|kind| kind == "java");
        output(javac.args(files.iter().filter(is_java)), JDK)?;
        fs::copy(sources.join("log4j2.properties"), folder.join("log4j2.properties"))?;
        Ok(())
    })
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}
