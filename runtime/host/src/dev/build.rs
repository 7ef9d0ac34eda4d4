//! `sluicegate build`: a plugin's component from its project.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use serde_json::Value;
use sluicegate_wasm::Artifact;

use crate::files;

const TARGET: &str = "wasm32-wasip2";

/// A plugin that was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Built {
    /// The component, in the project's folder.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes, as a pipeline's `digest:` takes it.
    pub digest: String,
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = bytesize::ByteSize(self.bytes).display().iec();
        write!(f, "{}  {size}  {}", self.path.display(), self.digest)
    }
}

/// Builds the project in `folder` and copies the component to `<name>.wasm` there. The compiler's own output goes to
/// standard error.
///
/// # Errors
/// What is missing and how to get it, that the build failed, or why what it made is no plugin.
pub fn build(folder: &Path) -> anyhow::Result<Built> {
    if !folder.join("Cargo.toml").is_file() {
        bail!("{}", no_rust_project(folder));
    }
    check_target(folder)?;
    let (name, component) = cargo_build(folder)?;
    let bytes = std::fs::read(&component).with_context(|| format!("cannot read {}", component.display()))?;
    // A wrong world is better known now than at the start of a pipeline.
    let artifact = Artifact::read(&bytes).with_context(|| format!("{} is no plugin", component.display()))?;
    let path = folder.join(format!("{name}.wasm"));
    files::replace(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Built { path, bytes: bytes.len() as u64, digest: format!("sha256:{}", artifact.digest) })
}

fn no_rust_project(folder: &Path) -> String {
    let other = [("go.mod", "Go"), ("package.json", "JavaScript"), ("pyproject.toml", "Python"), ("Makefile", "C")];
    let shown = folder.display();
    match other.iter().find(|(file, _)| folder.join(file).is_file()) {
        Some((_, language)) => {
            format!(
                "{shown} looks like a {language} project: build it as its SDK's README says; 'build' knows Rust only"
            )
        }
        None if folder.is_dir() => {
            format!("there is no Cargo.toml in {shown}: 'sluicegate new rust <name>' makes a project")
        }
        None => format!("there is no folder {shown}"),
    }
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
    let mut child = child.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow!("cargo is missing: install Rust from https://rustup.rs"),
        _ => anyhow!("cannot start cargo: {error}"),
    })?;
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

    #[test]
    fn other_folders_are_refused_with_a_way_on() {
        let folder = tempfile::tempdir().unwrap();
        let message = |folder: &Path| build(folder).unwrap_err().to_string();
        assert!(message(folder.path()).contains("sluicegate new rust"));
        assert!(message(&folder.path().join("nope")).contains("there is no folder"));
        std::fs::write(folder.path().join("go.mod"), "module x").unwrap();
        assert!(message(folder.path()).contains("a Go project"));
    }
}
