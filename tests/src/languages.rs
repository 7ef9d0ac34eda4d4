//! Plugins in every language that has an SDK, built by `sluicegate build` as their authors would.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::build::{project, target_folder};
use crate::cache;
use crate::process::output;
use crate::program::{Program, sluicegate};

/// A first build fetches and compiles what a toolchain brings.
const BUILD_WITHIN: Duration = Duration::from_secs(900);
/// The C compiler, as PyPI has it.
const ZIG: &str = "ziglang==0.17.1";
const PYTHON: &str = "Python 3.10 or newer with venv (Debian: apt-get install python3-venv)";

/// The folder of a language's SDK.
pub fn sdk(language: &str) -> PathBuf {
    let folder = match language {
        "cpp" => "c",
        "ts" => "js",
        other => other,
    };
    project().join("plugins/sdk").join(folder)
}

/// The component of the conformance plugin in this language.
pub fn conformance(language: &str) -> Result<PathBuf> {
    component("conformance", language, &project().join("tests/conformance").join(language))
}

/// The language of a plugin's project that is not in a workspace of cargo's.
pub(crate) fn of(source: &Path) -> Option<&'static str> {
    let has = |file: &str| source.join(file).is_file();
    [("go.mod", "go"), ("pyproject.toml", "python")]
        .into_iter()
        .find_map(|(file, language)| has(file).then_some(language))
}

/// The component `name` of the project in `source`; built when its sources, its SDK, the boundary or the way of building have
/// changed.
pub(crate) fn component(name: &str, language: &str, source: &Path) -> Result<PathBuf> {
    let file = format!("{name}.wasm");
    let built = once_for(name, language, source, |folder| {
        // What is installed there may be an older SDK.
        for environment in [".venv", "node_modules"].map(|name| source.join(name)) {
            if environment.exists() {
                fs::remove_dir_all(&environment)?;
            }
        }
        build(source)?;
        Ok(fs::rename(source.join(&file), folder.join(&file))?)
    })?;
    Ok(built.join(file))
}

/// The cache's folder of what `make` makes of a plugin's sources: made anew when they, the language's SDK, the boundary or the way
/// of building change.
pub fn once_for(name: &str, language: &str, source: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let ways = project().join("runtime/host/src/dev/build");
    let mut files = Vec::new();
    for folder in [source, &sdk(language), &ways, &project().join("wit")] {
        add(folder, &mut files)?;
    }
    cache::once_for(&format!("{name}-{language}"), &files, make)
}

/// What tools make beside sources.
const MADE: [&str; 7] = ["target", "build", ".venv", "__pycache__", "node_modules", "Cargo.lock", "package-lock.json"];

/// Adds the sources in a folder, in the order of their names.
fn add(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && !MADE.iter().any(|made| name == *made) {
            add(&path, files)?;
        } else if path.is_file() && !MADE.iter().any(|made| name == *made) && !name.to_string_lossy().ends_with(".wasm")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Runs `sluicegate build` on a project.
pub fn build(project: &Path) -> Result<()> {
    let build = sluicegate(["build".as_ref(), project.as_os_str(), "--json".as_ref()])?;
    let built = with_toolchains(build)?.spawn()?.wait(BUILD_WITHIN)?;
    ensure!(built.code == Some(0), "{} does not build: {}{}", project.display(), built.stdout, built.stderr);
    let built: Value = serde_json::from_str(&built.stdout)?;
    ensure!(built["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{built}");
    Ok(())
}

/// Runs zig, which is also a C compiler, with these arguments and then these files.
pub fn zig(args: &[&str], files: &[&Path]) -> Result<()> {
    let mut zig = Command::new(tools()?.join("python3"));
    output(zig.args(["-m", "ziglang"]).args(args).args(files), PYTHON).map(drop)
}

/// Puts on the program's path what languages need and PyPI has. Go, Python and Node.js have to be there: `build` names
/// what is missing.
fn with_toolchains(program: Program) -> Result<Program> {
    let target = target_folder()?.join("languages");
    Ok(program.env("PATH", before_the_path(&tools()?)?).env("CARGO_TARGET_DIR", target))
}

/// The folder of the programs that come from PyPI.
fn tools() -> Result<PathBuf> {
    let made = cache::once(&format!("tools-{}", ZIG.replace("==", "-")), |folder| {
        output(Command::new("python3").args(["-m", "venv"]).arg(folder), PYTHON)?;
        let mut pip = Command::new(folder.join("bin/python3"));
        output(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ZIG]), PYTHON).map(drop)
    })?;
    Ok(made.join("bin"))
}

fn before_the_path(folder: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(std::iter::once(folder.to_owned()).chain(env::split_paths(&path)))?)
}
