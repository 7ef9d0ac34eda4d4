//! Rust projects, by cargo: its target `wasm32-wasip2` makes components.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use super::Made;
use super::tool::cannot_start;

const TARGET: &str = "wasm32-wasip2";

pub(super) fn build(folder: &Path) -> anyhow::Result<Made> {
    check_target(folder)?;
    let (name, file) = cargo_build(folder)?;
    let component = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Made { name, component })
}

/// Asks the compiler whether it has the target's standard library, for a better answer than its own "can't find crate
/// for `core`".
fn check_target(folder: &Path) -> anyhow::Result<()> {
    let arguments = ["--print", "target-libdir", "--target", TARGET];
    // Without rustc, or with one that cannot say, cargo gets its turn and speaks for itself.
    let Ok(output) = Command::new("rustc").args(arguments).current_dir(folder).stderr(Stdio::null()).output() else {
        return Ok(());
    };
    let library = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && !Path::new(library.trim()).is_dir() {
        bail!("the target {TARGET} is missing: rustup target add {TARGET}");
    }
    Ok(())
}

/// Runs cargo. Gives the package's name and the component's path.
fn cargo_build(folder: &Path) -> anyhow::Result<(String, PathBuf)> {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    let child = command.current_dir(folder).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| cannot_start("cargo", &error, "install Rust from https://rustup.rs"))?;
    let manifest = std::path::absolute(folder.join("Cargo.toml"))?;
    let mut components = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            components.extend(serde_json::from_str(&line?).ok().and_then(|said| component(&said, &manifest)));
        }
    }
    if !child.wait()?.success() {
        bail!("the build failed");
    }
    components
        .pop()
        .ok_or_else(|| anyhow!("the build made no component: Cargo.toml needs [lib] crate-type = [\"cdylib\"]"))
}

/// The package's name and the component, where this line of cargo's is about one of the project's own.
fn component(said: &Value, manifest: &Path) -> Option<(String, PathBuf)> {
    let own =
        said["reason"] == "compiler-artifact" && is_same_file(Path::new(said["manifest_path"].as_str()?), manifest);
    let file = said["filenames"].as_array()?.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm"))?;
    let name = package_name(said["package_id"].as_str()?)?;
    own.then(|| (name.to_owned(), PathBuf::from(file)))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().ok().is_some_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// The name in a package id such as `path+file:///x/name#0.1.0` or `path+file:///x#name@0.1.0`.
fn package_name(id: &str) -> Option<&str> {
    let (url, version) = id.split_once('#')?;
    match version.split_once('@') {
        Some((name, _)) => Some(name),
        None => url.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn package_ids_of_both_shapes_are_read() {
        assert_eq!(package_name("path+file:///x/my-plugin#0.1.0"), Some("my-plugin"));
        assert_eq!(package_name("path+file:///x/folder#my_plugin@0.1.0"), Some("my_plugin"));
        assert_eq!(package_name("my-plugin 0.1.0"), None);
    }

    #[test]
    fn only_the_projects_own_component_counts() {
        let mut said = json!({
            "reason": "compiler-artifact",
            "manifest_path": "/x/p/Cargo.toml",
            "package_id": "path+file:///x/p#0.1.0",
            "filenames": ["/x/target/p.d", "/x/target/p.wasm"],
        });
        let own = Some(("p".to_owned(), PathBuf::from("/x/target/p.wasm")));
        assert_eq!(component(&said, Path::new("/x/p/Cargo.toml")), own);
        assert_eq!(component(&said, Path::new("/x/other/Cargo.toml")), None);
        said["filenames"] = json!(["/x/target/libp.rlib"]);
        assert_eq!(component(&said, Path::new("/x/p/Cargo.toml")), None);
    }
}
