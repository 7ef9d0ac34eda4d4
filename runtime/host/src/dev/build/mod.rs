//! `sluicegate build`: a plugin's component from its project, by its language's own tools.

mod c;
mod component;
mod go;
mod js;
mod python;
mod rust;
mod tool;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;
use sluicegate_wasm::Artifact;

use super::language::Language;
use crate::files;

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

/// What a language's tools made: the plugin's name, and its component.
struct Made {
    name: String,
    component: Vec<u8>,
}

/// Builds the project in `project` and writes the component to `<name>.wasm` there; of a core module, makes the
/// component beside it. The compilers' own output goes to standard error.
///
/// # Errors
/// What is missing and how to get it, that the build failed, or why what it made is no plugin.
pub fn build(project: &Path) -> anyhow::Result<Built> {
    if project.is_file() {
        return build_module(project);
    }
    let Some(language) = Language::of(project) else {
        match project.is_dir() {
            true => bail!("{}", no_project(project)),
            false => bail!("there is no folder {}", project.display()),
        }
    };
    let mut made = match language {
        Language::Rust => rust::build(project)?,
        Language::C | Language::Cpp => c::build(project)?,
        Language::Go => go::build(project)?,
        Language::Python => python::build(project)?,
        Language::Js | Language::Ts => js::build(project)?,
    };
    if language != Language::Rust {
        component::name_sdk(&mut made.component, language.name());
    }
    finish(&project.join(format!("{}.wasm", made.name)), &made.component)
}

/// `name.core.wasm`, or any module whose name does not end so, becomes `name.wasm` or `name.component.wasm`.
fn build_module(module: &Path) -> anyhow::Result<Built> {
    let bytes = std::fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = component::of_module(&bytes).with_context(|| module.display().to_string())?;
    let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = match name.strip_suffix(".core.wasm") {
        Some(name) => format!("{name}.wasm"),
        None => format!("{}.component.wasm", name.strip_suffix(".wasm").unwrap_or(&name)),
    };
    finish(&module.with_file_name(name), &component)
}

fn no_project(folder: &Path) -> String {
    let mut markers = Language::ALL.map(Language::marker).to_vec();
    markers.dedup(); // Languages that share one stand side by side.
    format!(
        "{} has none of {}: 'sluicegate new <{}> <name>' makes a project",
        folder.display(),
        markers.join(", "),
        Language::ALL.map(Language::name).join("|")
    )
}

/// Checks the component and puts it in its place.
fn finish(path: &Path, component: &[u8]) -> anyhow::Result<Built> {
    // A wrong world is better known now than at the start of a pipeline.
    let artifact = Artifact::read(component).with_context(|| format!("{} is no plugin", path.display()))?;
    files::replace(path, component).with_context(|| format!("cannot write {}", path.display()))?;
    let digest = format!("sha256:{}", artifact.digest);
    Ok(Built { path: path.to_owned(), bytes: component.len() as u64, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_folders_are_refused_with_a_way_on() {
        let folder = tempfile::tempdir().unwrap();
        let message = |folder: &Path| build(folder).unwrap_err().to_string();
        assert!(message(folder.path()).contains("sluicegate new <rust|"));
        assert!(message(&folder.path().join("nope")).contains("there is no folder"));
    }

    #[test]
    fn a_module_that_is_none_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join("x.wasm");
        std::fs::write(&module, "text").unwrap();
        let message = format!("{:#}", build(&module).unwrap_err());
        assert!(message.contains("x.wasm") && message.contains("no core WebAssembly module"), "{message}");
    }
}
