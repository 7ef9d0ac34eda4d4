//! Builds what the tests run, with the cargo that runs them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::process::output;

const RUST: &str = "Rust (https://rustup.rs)";
const COMPONENT_TARGET: &str = "wasm32-wasip2";

/// A file that cargo built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The target's name, with `-` for `_`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// The folder that the project is checked out in: that of the package that cargo runs. Where this was compiled says
/// less, as checkouts may share a target folder.
pub fn project() -> &'static Path {
    static PROJECT: OnceLock<PathBuf> = OnceLock::new();
    PROJECT.get_or_init(|| {
        let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));
        let running = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| compiled.to_owned(), PathBuf::from);
        let root = running.ancestors().find(|folder| folder.join("rust-toolchain.toml").is_file());
        root.unwrap_or(&running).to_owned()
    })
}

/// The folder that cargo builds the project into, wherever it was told to.
pub fn target_folder() -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let find = || {
        let mut metadata = cargo(project());
        metadata.args(["metadata", "--no-deps", "--format-version=1"]);
        let metadata: Value = serde_json::from_slice(&output(&mut metadata, RUST)?)?;
        let folder = metadata["target_directory"].as_str().context("no target_directory")?;
        Ok(PathBuf::from(folder))
    };
    once(&FOLDER, find)
}

/// Builds the program `sluicegate` as it is released: with the whole workspace selected, so that features are what they
/// are for the tests, and nothing is compiled twice. Not where `SLUICEGATE_PROGRAM` names the one to judge.
pub fn program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("SLUICEGATE_PROGRAM").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let mut build = cargo(project());
    build.args(["build", "--release", "--workspace", "--bin", "sluicegate"]);
    executable(&mut build, "sluicegate")
}

fn executable(build: &mut Command, name: &str) -> Result<PathBuf> {
    let built = artifacts(build, |message| message["executable"].as_str().into_iter().collect())?;
    let program = built.into_iter().find(|artifact| artifact.name == name);
    Ok(program.with_context(|| format!("cargo built no program `{name}`"))?.path)
}

/// Builds all components of a workspace of guests into the folder `target`.
pub fn components(workspace: &Path, target: &Path) -> Result<Vec<Artifact>> {
    modules(workspace, COMPONENT_TARGET, target)
}

/// Builds all WebAssembly files of a workspace for a target of the compiler's.
pub fn modules(workspace: &Path, compile_for: &str, target: &Path) -> Result<Vec<Artifact>> {
    let mut build = cargo(workspace);
    // A guest is built as its own workspace says, not as the host's flags say.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        build.env_remove(name);
    }
    build.args(["build", "--release", "--target", compile_for, "--target-dir"]).arg(target);
    artifacts(&mut build, |message| {
        let files = message["filenames"].as_array().into_iter().flatten();
        files.filter_map(Value::as_str).filter(|file| file.ends_with(".wasm")).collect()
    })
}

fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    command
}

fn artifacts(build: &mut Command, files: impl Fn(&Value) -> Vec<&str>) -> Result<Vec<Artifact>> {
    let said = output(build.arg("--message-format=json-render-diagnostics"), RUST)?;
    let mut artifacts = Vec::new();
    for line in String::from_utf8(said)?.lines() {
        let message: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let name = message["target"]["name"].as_str().unwrap_or_default().replace('_', "-");
        for path in files(&message) {
            artifacts.push(Artifact { name: name.clone(), path: path.into() });
        }
    }
    Ok(artifacts)
}

/// What `make` makes, or why it could not, once in this process.
pub(crate) fn once<T: Clone>(cell: &OnceLock<Result<T, String>>, make: impl FnOnce() -> Result<T>) -> Result<T> {
    cell.get_or_init(|| make().map_err(|error| format!("{error:#}"))).clone().map_err(|error| anyhow!(error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn package(folder: &Path, manifest: &str, file: &str, source: &str) -> Result<()> {
        fs::create_dir(folder.join("src"))?;
        fs::write(folder.join("src").join(file), source)?;
        let package = "[workspace]\n[package]\nname = \"does-nothing\"\nedition = \"2024\"\n";
        Ok(fs::write(folder.join("Cargo.toml"), format!("{package}{manifest}"))?)
    }

    #[test]
    fn a_program_is_built_where_cargo_says() -> Result<()> {
        let folder = tempfile::tempdir()?;
        package(folder.path(), "", "main.rs", "fn main() {}")?;
        let mut build = cargo(folder.path());
        build.args(["build", "--target-dir", "elsewhere"]);
        let program = executable(&mut build, "does-nothing")?;
        assert!(program.starts_with(folder.path().join("elsewhere")), "{program:?}");
        output(&mut Command::new(program), RUST).map(drop)
    }

    #[test]
    fn a_workspace_of_guests_gives_its_components() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let workspace = folder.path();
        package(workspace, "[lib]\ncrate-type = [\"cdylib\"]\n", "lib.rs", "")?;
        let built = components(workspace, &workspace.join("elsewhere"))?;
        assert_eq!(built.len(), 1, "{built:?}");
        assert_eq!(built[0].name, "does-nothing");
        assert!(built[0].path.starts_with(workspace.join("elsewhere")), "{built:?}");
        assert!(fs::read(&built[0].path)?.starts_with(b"\0asm"));
        Ok(())
    }

    #[test]
    fn a_failed_build_tells_the_compilers_words() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let error = components(folder.path(), &folder.path().join("target")).expect_err("no manifest");
        assert!(format!("{error:#}").contains("Cargo.toml"), "{error:#}");
        Ok(())
    }
}
