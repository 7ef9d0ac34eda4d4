//! Redpanda Connect, from the Go module proxy, with the components that the work needs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use sluicegate_tests::process::output;

use super::{built, sources};
use crate::contender::Task;

const GO: &str = "Go, 1.26 or newer (https://go.dev)";
const RUST: &str = "Rust (https://rustup.rs)";
const TARGET: &str = "wasm32-unknown-unknown";
/// For throughput: batches of its input, which may overtake each other. Without, it passes on what a fetch has brought.
const UNORDERED: &str = "{ enabled: true, checkpoint_limit: 100000, batching: { count: 5000, period: 50ms } }";
const VERSION: &str = "github.com/redpanda-data/connect/v4@v4.100.0";

/// Its own mapping language.
pub(crate) fn native(task: &Task<'_>) -> Result<Command> {
    command(task, "mapping: 'root = content().uppercase()'")
}

/// Its `wasm` processor, on a core module in Rust.
pub(crate) fn wasm(task: &Task<'_>) -> Result<Command> {
    command(task, &format!("wasm: {{ module_path: '{}', function: process }}", guest()?.display()))
}

fn command(task: &Task<'_>, processor: &str) -> Result<Command> {
    let file = task.folder.join("connect.yaml");
    let config = std::fs::read_to_string(sources("connect").join("connect.yaml"))?;
    let unordered = if task.setup.for_latency { "{ enabled: false }" } else { UNORDERED };
    let config = config.replace("${BROKERS}", &task.brokers).replace("${INPUT}", task.input);
    let config = config.replace("${UNORDERED}", unordered);
    std::fs::write(&file, config.replace("${OUTPUT}", task.output).replace("${PROCESSOR}", processor))?;
    let mut command = Command::new(program()?);
    command.arg("-c").arg(&file);
    Ok(command)
}

fn program() -> Result<PathBuf> {
    let folder = built("connect", &["main.go"], |folder| {
        std::fs::copy(sources("connect").join("main.go"), folder.join("main.go"))?;
        let go = |arguments: &[&str]| output(Command::new("go").current_dir(folder).args(arguments), GO).map(drop);
        go(&["mod", "init", "connect"])?;
        go(&["get", VERSION])?;
        go(&["mod", "tidy"])?;
        go(&["build", "-p", "2", "-o", "connect", "."])
    })?;
    Ok(folder.join("connect"))
}

fn guest() -> Result<PathBuf> {
    let folder = built("connect", &["guest.rs"], |folder| {
        // It takes core modules, which the project's own target does not make.
        output(Command::new("rustup").args(["target", "add", TARGET]), RUST)?;
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2024", "--target", TARGET, "--crate-type=cdylib", "-O"]);
        rustc.args(["-C", "target-feature=+simd128", "-o"]).arg(folder.join("guest.wasm"));
        output(rustc.arg(sources("connect").join("guest.rs")), RUST).map(drop)
    })?;
    Ok(folder.join("guest.wasm"))
}
